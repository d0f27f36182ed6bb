"""Columns of extended XYZ that are more than numbers: elements by label and number, and units in columns of words."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.collections.extxyz_comment import Layout
from lake.readers.species import number_of, numbers_of
from lake.readers.tokens import Table

_FALSE: Final = (b"f", b"false", b"0", b".false.", b".f.")


def units_of_columns(layout: Layout, natoms: int, rows: bytes) -> list[tuple[bytes, bytes]]:
    """Return the units that columns name, as pairs like those of the comment; of a column with several words both."""
    lines = [line.split() for line in rows.split(b"\n")[:natoms]]
    found = []
    for name, column in layout.units:
        words = {line[column] for line in lines if len(line) > column}
        found.append((name.encode(), b" or ".join(sorted(words))))
    return found


def held(layout: Layout, table: Table, n: int) -> NDArray[np.bool_] | None:
    """Return (n, natoms, 3) the coordinates that are held fixed, None where no column says so."""
    if not layout.moving:
        return None
    words = table.labels[:, [layout.words.index(column) for column in layout.moving]]
    fixed = np.isin(np.char.lower(words), _FALSE).reshape(n, -1, len(layout.moving))
    return np.ascontiguousarray(np.broadcast_to(fixed, (*fixed.shape[:2], 3)))


def elements(layout: Layout, table: Table, values: NDArray[np.float64]) -> NDArray[np.int16]:
    """Return (n, natoms) atomic numbers, 0 where a label is no element or where label and number disagree."""
    n, natoms = values.shape[:2]
    given = None
    if layout.number is not None:
        raw = values[:, :, layout.number]
        sound = np.isfinite(raw) & (raw == np.round(raw)) & (raw > 0) & (raw < 119)
        given = np.where(sound, np.nan_to_num(raw), 0).astype(np.int16)
    if layout.label is None:
        assert given is not None
        return given
    labels = numbers_of(table.labels[:, layout.words.index(layout.label)]).reshape(n, natoms)
    return labels if given is None else np.where(labels == given, labels, np.int16(0))


def unknown_label(layout: Layout, table: Table, i: int, natoms: int) -> str:
    """Return why the elements of frame i of a table are not known."""
    if layout.label is None:
        return "an atomic number is none of an element"
    labels = table.labels[i * natoms : (i + 1) * natoms, layout.words.index(layout.label)]
    unknown = next((label for label in labels if number_of(bytes(label)) == 0), None)
    if unknown is None:
        return "label and atomic number (column Z) of an atom disagree"
    return f"{bytes(unknown).decode('utf-8', 'replace')!r} is no element"
