"""Outputs and trajectories of CASTEP."""
