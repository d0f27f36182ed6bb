"""Formats that hold frames of any source: extxyz, ASE, RuNNer, DeePMD."""
