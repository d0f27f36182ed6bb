"""Logs of ABACUS."""
