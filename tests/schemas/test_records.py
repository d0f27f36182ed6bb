"""Records check themselves; columns are declared once and well."""

from __future__ import annotations

import numpy as np
import pytest

from schemas.columns import TABLES
from schemas.errors import ShapeMismatch
from schemas.flags import FLAGS
from schemas.frames import FrameArrays
from schemas.sources import REASONS


def test_every_column_has_a_meaning_and_its_name_once() -> None:
    for table in TABLES:
        names = table.names()
        assert len(set(names)) == len(names)
        assert set(table.partition_by) <= set(names)
        for column, field in zip(table.columns, table.arrow_schema(), strict=True):
            assert column.doc.endswith(".") or column.doc.endswith("...")
            assert field.metadata[b"unit"].decode() == column.unit


def test_codes_are_unique() -> None:
    assert len({flag.name for flag in FLAGS}) == len(FLAGS)
    assert len({reason.code for reason in REASONS}) == len(REASONS)


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    arrays = FrameArrays(
        np.array([0, 2]), np.array([12, 8], np.int16), np.zeros((2, 3)), np.zeros((1, 3, 3)), np.ones((1, 3), bool), np.zeros(1),
        np.zeros((2, 3)), np.zeros((1, 3, 3)),
    )  # fmt: skip
    assert (arrays.count, arrays.natoms.tolist()) == (1, [2])
    with pytest.raises(ShapeMismatch, match="positions"):
        FrameArrays(arrays.offsets, arrays.numbers, np.zeros((3, 3)), arrays.cell, arrays.pbc, arrays.energy, arrays.forces, arrays.stress)
