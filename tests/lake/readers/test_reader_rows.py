"""Fixed-width rows to float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.readers.rows import Columns, RowBatch, cast_fields, decode_rows, find_columns, number


@settings(max_examples=60, derandomize=True, deadline=None, database=None)
@given(st.lists(st.floats(-9_999, 9_999, allow_nan=False), min_size=3, max_size=30), st.integers(1, 8))
def test_a_batch_gives_the_nearest_doubles(values: list[float], decimals: int) -> None:
    values = values[: len(values) // 3 * 3]
    rows = [values[i : i + 3] for i in range(0, len(values), 3)]
    lines = [b"label" + b"".join(f"{v:{decimals + 8}.{decimals}f}".encode() for v in row) + b"\n" for row in rows]
    batch = RowBatch(1)
    for line in lines:
        batch.add(line)
    expected = np.array([[float(f"{v:.{decimals}f}") for v in row] for row in rows])
    np.testing.assert_array_equal(batch.values()[:, 0], expected)
    np.testing.assert_array_equal(decode_rows([line[:-1] for line in lines], 3), expected)


@pytest.mark.parametrize(("text", "value"), [(b" -1.5 ", -1.5), (b"1.5D-3", 1.5e-3), (b"-.00012", -0.00012), (b"7", 7.0), (b"1e2", 100.0)])
def test_numbers(text: bytes, value: float) -> None:
    assert number(text) == value


@pytest.mark.parametrize("text", [b"", b"****", b"nan", b"inf", b"1_0", b"0x10", b"1.0.0", b"1e999", b"-"])
def test_what_is_no_number_is_nan(text: bytes) -> None:
    assert np.isnan(number(text))
    assert np.isnan(cast_fields(np.frombuffer(text.ljust(8), dtype=np.uint8).reshape(1, 8))).all()


def test_columns_come_from_the_decimal_points() -> None:
    glued = find_columns(b"Fe1    -0.1234567890-1234.5678901234   10.0000000000    0   0   1", 3)
    assert glued == Columns(4, 16, 3)
    assert find_columns(b"Fe1 0.1234567890 1.5678901234       10.0000000000", 3) is None
    assert find_columns(b"no numbers", 3) is None


def test_blocks_that_are_not_alike_are_read_row_by_row() -> None:
    batch = RowBatch(2)
    batch.add(b"a    1.5000-200.2500    3.0000\na    1.5000    2.2500    3.0000\n")
    batch.add(b"a    1.5000    2.2500    3.0000\na    ******    2.2500    3.0000\n")
    batch.add(b"b  1.5 2.25   3.0\nb    1.5   2.25    3.0\n")
    batch.skip()
    expected = [
        [[1.5, -200.25, 3.0], [1.5, 2.25, 3.0]],
        [[1.5, 2.25, 3.0], [np.nan, 2.25, 3.0]],
        [[1.5, 2.25, 3.0], [1.5, 2.25, 3.0]],
        [[np.nan] * 3] * 2,
    ]
    np.testing.assert_array_equal(batch.values(), expected)
