"""Records to JSON and back: dataclasses, strictly; the only text form in which atomlake keeps records."""

from __future__ import annotations

import collections.abc
import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Hashable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from schemas.errors import SchemaMismatch, closest

Record = TypeVar("Record")


def to_json(record: object, *, indent: int | None = 1) -> str:
    """Return a record (a dataclass instance) as JSON text; NaN becomes null, a time ISO 8601.

    Raises SchemaMismatch for a value that JSON cannot hold (an infinity, an array).
    """
    return json.dumps(_plain(record, type(record).__name__), ensure_ascii=False, indent=indent, allow_nan=False)


def from_json(kind: type[Record], text: str | bytes) -> Record:
    """Return the record of that type which to_json wrote.

    A field that is not in the text takes its default. Raises SchemaMismatch for an unknown or missing field, a value of
    another type, and for text that is no JSON.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        raise SchemaMismatch(f"{kind.__name__}: the text is not JSON ({error}); the object is damaged or is something else") from error
    return typing.cast(Record, _record(kind, values, kind.__name__))


def _plain(value: object, where: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, bool | int | str) or value is None:
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise SchemaMismatch(f"{where} is {value}; JSON has no infinity, use a finite number or NaN for 'not known'")
        return None if math.isnan(value) else value
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{where}[{key!r}]") for key, item in value.items()}
    if isinstance(value, Sequence | frozenset | set) and not isinstance(value, bytes | bytearray):
        items = sorted(value) if isinstance(value, frozenset | set) else value
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(items)]
    raise SchemaMismatch(f"{where} is a {type(value).__name__}, which has no JSON form; records hold text, numbers, lists and records")


@functools.cache
def _hints(kind: Hashable) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _record(kind: type[Any], values: object, where: str) -> object:
    if not isinstance(values, dict):
        raise SchemaMismatch(f"{where}: found {type(values).__name__}, expected an object with fields")
    hints = _hints(typing.cast(Hashable, kind))
    known = {f.name: f for f in dataclasses.fields(kind) if f.init}
    for name in values:
        if name not in known:
            raise SchemaMismatch(f"{where}: unknown field {name!r}{closest(name, known)}; was it written by a newer atomlake?")
    given = {name: _value(hints[name], item, f"{where}.{name}") for name, item in values.items()}
    for name, field in known.items():
        if name not in given and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SchemaMismatch(f"{where}: field {name!r} is missing")
    return kind(**given)


def _value(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is object or kind is Any:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record(kind, value, where)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _value(next(a for a in arguments if a is not type(None)), value, where)
    if origin is tuple and isinstance(value, list):
        return _tuple(arguments, value, where)
    if origin is collections.abc.Sequence and isinstance(value, list):
        return tuple(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin is frozenset and isinstance(value, list):
        return frozenset(_value(arguments[0], item, f"{where}[{i}]") for i, item in enumerate(value))
    if origin in (collections.abc.Mapping, dict) and isinstance(value, dict):
        return {key: _value(arguments[1], item, f"{where}[{key!r}]") for key, item in value.items()}
    return _scalar(kind, value, where)


def _tuple(kinds: tuple[Any, ...], values: list[Any], where: str) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_value(kinds[0], item, f"{where}[{i}]") for i, item in enumerate(values))
    if len(kinds) != len(values):
        raise SchemaMismatch(f"{where}: found {len(values)} entries, expected {len(kinds)}")
    return tuple(_value(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, values, strict=True)))


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is float and value is None:
        return math.nan
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if kind is datetime and isinstance(value, str):
        return datetime.fromisoformat(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind in (str, int, bool) and type(value) is kind:
        return value
    raise SchemaMismatch(f"{where} is {value!r}, expected {getattr(kind, '__name__', kind)}")
