"""Reader of ASE's database in JSON (`*.json`): one object of rows by their numbers, as `ase.db` writes it.

A file that is cut gives its whole rows, and says so.
"""

from __future__ import annotations

import io
import json
import re
from typing import Any, Final

import numpy as np

from lake.collections.records import Collection
from lake.readers.base import ReaderSpec
from lake.readers.collections.ase_database import COLUMNS, collection_of_rows
from lake.readers.in_memory import DAMAGE
from lake.readers.unlabelled import Unlabelled
from schemas.errors import UnreadableOutput

FORMAT: Final = "ASE JSON db"
_OPENING: Final = re.compile(rb'\s*\{\s*"\d{1,12}"\s*:\s*\{')
_ROW: Final = re.compile(r'[\s{,]*"([^"\\]{1,100})"\s*:\s*')
_LAST: Final = "nextid"
"""What ASE writes behind the rows."""
_ARRAYS: Final = {"numbers": "<i4", "positions": "<f8", "cell": "<f8", "forces": "<f8", "stress": "<f8"}


class AseJsonReader(Unlabelled):
    """Reads one database; frames are numbered from 0 by the order of their rows."""

    def __init__(self) -> None:
        self._file = io.BytesIO()

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        self._file.write(chunk)

    def collected(self) -> Collection:
        """Return the rows; raises UnreadableOutput where there is none or the file is damaged."""
        text = self._file.getvalue().decode("utf-8", "replace")
        decoder, place, rows, metadata = json.JSONDecoder(), 0, [], {}
        ended = False
        try:
            while (key := _ROW.match(text, place)) is not None:
                value, place = decoder.raw_decode(text, key.end())
                if key[1].isdigit():
                    rows.append((int(key[1]), value))
                elif key[1] == "metadata":
                    metadata = value
                ended = ended or key[1] == _LAST
        except (ValueError, RecursionError):
            ended = False
        try:
            found = [_as_stored(row) for _, row in sorted(rows, key=lambda item: item[0])]
            return collection_of_rows(FORMAT, found, metadata, truncated=not (ended and text.rstrip().endswith("}")))
        except DAMAGE as error:
            words = f"a damaged database: {type(error).__name__}: {str(error)[:100]}"
            raise UnreadableOutput("unreadable_output", words, "deposit the file as ASE wrote it") from error


def _as_stored(row: Any) -> dict[str, Any]:
    """Return a row as SQLite has it: arrays as bytes, pbc as bits, nested values as JSON; values that are no such thing are None."""
    found: dict[str, Any] = dict.fromkeys(COLUMNS)
    if not isinstance(row, dict):
        return found
    for name in COLUMNS:
        value = row.get(name)
        if name in _ARRAYS:
            value = value["array"] if isinstance(value, dict) and "array" in value else value
            found[name] = np.array(_plain(value), dtype=float).astype(_ARRAYS[name]).tobytes() if value is not None else None
        elif name == "pbc":
            found[name] = sum(bool(along) << k for k, along in enumerate(np.ravel(_plain(value) if value is not None else [])))
        elif name in ("calculator", "energy", "free_energy"):
            found[name] = value
        elif value is not None:
            found[name] = json.dumps(_plain(value))
    return found


def _plain(value: Any) -> Any:
    """Return a value with ASE's arrays, `{"__ndarray__": [shape, type, numbers]}`, as nested lists."""
    if isinstance(value, dict) and "__ndarray__" in value:
        shape, _, numbers = value["__ndarray__"]
        return np.array(numbers).reshape(shape).tolist()
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value


def recognises(_name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of a database of ASE in JSON."""
    return _OPENING.match(head) is not None and b'"cell"' in head and (b'"ctime"' in head or b'"calculator"' in head)


ASE_JSON: Final = ReaderSpec(FORMAT, "ase", recognises, AseJsonReader, rank=91, in_memory=True)
