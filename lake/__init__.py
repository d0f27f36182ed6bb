"""The lake: object store, archives, readers, checks, tables, query, search, datasets, exports."""
