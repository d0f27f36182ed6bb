"""Outputs of ORCA."""
