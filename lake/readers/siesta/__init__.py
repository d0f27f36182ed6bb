"""Outputs of SIESTA."""
