"""The version of atomlake."""

__version__ = "0.1.0"
