"""Outputs and trajectories of OpenMX."""
