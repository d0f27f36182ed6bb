"""The lake: object store, archives, readers, checks, levels of theory, tables, queries, datasets, potentials and exports."""

from lake.lake import Lake, open

__all__ = ["Lake", "open"]
