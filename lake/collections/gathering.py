"""Closing the reader of a format without units: a fault of data or reader becomes a Rejection."""

from __future__ import annotations

from lake.collections.records import Collection, CollectionReader
from lake.feeding import our_fault
from schemas.errors import UnreadableOutput
from schemas.sources import Rejection


def gathered(path: str, name: str, reader: CollectionReader) -> Collection | Rejection:
    """Return what a reader of that name collected from the file at a path, or why that is nothing."""
    try:
        return reader.collected()
    except UnreadableOutput as error:
        return Rejection(path, error.reason, error.detail, error.remedy)
    except Exception as error:  # noqa: BLE001 the edge of a reader: its fault must not cost the other members
        return our_fault(path, f"the reader of {name}", error)
