"""The same work with compiled loops and without a compiler, compared to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from lake import native
from lake.readers import find_reader
from lake.readers.base import ReaderSpec
from schemas.errors import UnreadableOutput


@contextmanager
def without_loops() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "loops", lambda: None)
        yield


def both(work: Callable[[], Any]) -> Any:
    """Return what work gives with compiled loops, after a look that it gives the same to the last bit without."""
    assert native.loops() is not None
    found = work()
    with without_loops():
        assert plain(work()) == plain(found)
    return found


def plain(value: Any) -> Any:
    """Return a value in which all arrays are bytes."""
    if isinstance(value, np.ndarray):
        return value.shape, value.dtype.str, value.tobytes()
    if hasattr(value, "__dataclass_fields__"):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    if isinstance(value, UnreadableOutput):
        return value.reason, value.detail
    return repr(value) if isinstance(value, float) else value


def runs_of(text: bytes, chunk: int, spec: ReaderSpec | None = None) -> Any:
    """Return the runs of an output fed in chunks, or why it is refused."""
    spec = spec or find_reader("output", text[:65536])
    assert spec is not None
    reader = spec.open()
    try:
        for start in range(0, len(text), chunk):
            reader.feed(text[start : start + chunk])
        return reader.close()
    except UnreadableOutput as error:
        return error


def damaged(draw: Callable[[st.SearchStrategy[Any]], Any], whole: bytes, first: int) -> bytes:
    """Return a text as it is, cut, with a part removed, or with up to three other bytes, behind its first bytes."""
    text = bytearray(whole)
    kind = draw(st.sampled_from(["whole", "cut", "damaged", "damaged", "removed"]))
    if kind == "cut":
        del text[draw(st.integers(first, len(text))) :]
    elif kind == "removed":
        place = draw(st.integers(first, len(text) - 1))
        del text[place : place + draw(st.integers(1, 2000))]
    elif kind == "damaged":
        for _ in range(draw(st.integers(1, 3))):
            text[draw(st.integers(first, len(text) - 1))] = draw(st.sampled_from(b"0123456789 .-*E<>=!|\n\tfT"))
    return bytes(text)
