"""Logs of CP2K with their inputs and trajectories."""
