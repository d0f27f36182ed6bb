"""Text and netCDF outputs of ABINIT."""
