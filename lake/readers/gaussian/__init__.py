"""Logs of Gaussian."""
