"""What the depositor says about a source: atomlake.yaml inside or beside it, or the user metadata of the object."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Final

import yaml

from lake.collections.answers import SECTIONS, Answers, read_answers, section_of
from schemas.errors import QueryError, UnreadableOutput, closest
from schemas.sources import Rejection

FILE_NAMES: Final = ("atomlake.yaml", "atomlake.yml")
"""Names of the description; beside an archive only the first is looked for."""
MAX_BYTES: Final = 2**16
"""Longest atomlake.yaml that is read."""
EMBARGO: Final = "embargo_until"
KEYS: Final = ("project", "owner", "licence", "notes", "material", "materials", EMBARGO, *SECTIONS)
"""Keys of atomlake.yaml; material is one name or a list of names, in any language, and materials the same; embargo_until is a day;
units, keys and theory say how files without units are to be read (`lake.collections.answers`)."""


def parse_metadata(text: bytes) -> dict[str, str]:
    """Return the values of an atomlake.yaml, the names of the material joined by ';' under 'material'.

    Raises UnreadableOutput('bad_metadata') for anything but known keys with text (or a list of texts for the material), and
    UnreadableOutput('unreadable_embargo') where that text speaks of an embargo: such data must not be taken as open.
    """
    try:
        return _parsed(text)
    except UnreadableOutput as error:
        if b"embargo" not in text:
            raise
        raise UnreadableOutput("unreadable_embargo", error.detail, error.remedy) from error


def _parsed(text: bytes) -> dict[str, str]:
    if len(text) > MAX_BYTES:
        raise _bad(f"more than {MAX_BYTES} bytes", "write only the keys that are known")
    try:
        values = yaml.safe_load(text.decode("utf-8-sig"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _bad(f"not YAML in UTF-8: {' '.join(str(error).split())}", "write lines like 'project: oxides'") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise _bad(f"a {type(values).__name__} instead of keys with values", "write lines like 'project: oxides'")
    result: dict[str, str] = {}
    for key, value in values.items():
        if key not in KEYS:
            raise _bad(f"an unknown key {key!r}{closest(str(key), KEYS)}", f"use only {', '.join(KEYS)}")
        if value is None:
            continue
        if key in SECTIONS:
            result[str(key)] = _section(str(key), value)
            continue
        name = "material" if key == "materials" else str(key)
        result[name] = ";".join(part for part in (result.get(name, ""), _text(str(key), value)) if part)
    return result


def with_answers(text: bytes, answers: Answers) -> bytes:
    """Return an atomlake.yaml with answers put in over those that it has; raises UnreadableOutput where the text is wrong."""
    sections = answers.over(read_answers(parse_metadata(text))).texts()
    values = yaml.safe_load(text.decode("utf-8-sig")) or {}
    for name, section in sections.items():
        values[name] = dict(pair.split("=", 1) for pair in section.split(","))
    return yaml.safe_dump(values, allow_unicode=True, sort_keys=False).encode()


def from_object(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the known keys among the user metadata of an object; others belong to other tools and are left aside."""
    result = {
        name: metadata[name].strip() for name in ("project", "owner", "licence", "notes", *SECTIONS) if metadata.get(name, "").strip()
    }
    if until := metadata.get("embargo-until", metadata.get(EMBARGO, "")).strip():
        result[EMBARGO] = until
    names = [metadata.get(key, "") for key in ("material", "materials")]
    materials = ";".join(part.strip() for text in names for part in text.split(";") if part.strip())
    return {**result, "material": materials} if materials else result


def together(*said: Mapping[str, str]) -> dict[str, str]:
    """Return what several descriptions say: the last word on each key, but the latest day of an embargo."""
    result = {key: value for each in said for key, value in each.items()}
    days = [each[EMBARGO] for each in said if EMBARGO in each]
    return {**result, EMBARGO: max(days)} if days else result


def withheld(metadata: Mapping[str, str]) -> Rejection | None:
    """Return why a source with this description must not be taken: its embargo would not hold; None where it may."""
    until = metadata.get(EMBARGO, "")
    if not until:
        return None
    try:
        date.fromisoformat(until)
    except ValueError:
        return Rejection("", "unreadable_embargo", f"embargo until {until!r}, which is no day", "write it like 2027-01-31, upload again")
    if not metadata.get("project"):
        words = "an embargo without a project, so that no reader's profile could name it"
        return Rejection("", "unreadable_embargo", words, "name the project too (put --project, or 'project:' in atomlake.yaml)")
    return None


def _section(key: str, value: object) -> str:
    if not isinstance(value, dict | str):
        raise _bad(f"{key} is {value!r}", f"write lines like 'energy: eV' below '{key}:'")
    try:
        return section_of(key, value)
    except QueryError as error:
        raise _bad(str(error), "use the names that are known") from error


def _text(key: str, value: object) -> str:
    if key == EMBARGO and isinstance(value, date):
        return value.isoformat()[:10]
    if isinstance(value, list) and key in ("material", "materials") and all(isinstance(item, str | int | float) for item in value):
        return ";".join(str(item).strip() for item in value)
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value).strip()
    raise _bad(f"{key} is {value!r}", f"write one line of text after '{key}:'")


def _bad(found: str, remedy: str) -> UnreadableOutput:
    return UnreadableOutput("bad_metadata", found, remedy)
