"""Texts and .gpw files of GPAW."""
