"""INFO.OUT of Elk."""
