"""Logs of NWChem."""
