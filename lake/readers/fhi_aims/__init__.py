"""Outputs of FHI-aims."""
