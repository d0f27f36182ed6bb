"""Wiring: flows, the local stack, schedules and the command line."""
