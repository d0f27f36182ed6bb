"""Embargoes of projects: statements that are only ever added, one small object each; the last word of the lake's keepers holds.

A statement is 'set' (by the keepers: this day and no other) or 'asked' (with a deposit: not before this day). What holds for a project
is its newest 'set', or the latest day that was asked for since, whichever is later. So a deposit can make an embargo longer, never shorter.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Final

import polars as pl

from lake.place import Place
from schemas.access import Embargo
from schemas.errors import QueryError, UnknownName, closest
from schemas.json import from_json, to_json

FOLDER: Final = "embargoes"
EVERY_PROJECT: Final = "*"
"""Name in a reader's profile that stands for all projects."""
_SET, _ASKED = "set", "asked"
_TIME: Final = "%Y%m%dT%H%M%S%f"


def embargo(lake: Place, project: str, until: str, why: str = "") -> Embargo:
    """Put a project under embargo until a day (ISO 8601), instead of any day named before, and return what holds now.

    All data of the project are meant, those deposited before too. Raises QueryError for a day that is none or is not to come.
    """
    if not project:
        raise QueryError(
            "data without a project cannot be put under embargo, since no reader's profile could name them; deposit them again"
        )
    if day_of(until) <= today():
        raise QueryError(f"embargo of {project!r} until {until}: this day is not to come; to end one now use --lift (lift())")
    _say(lake, _SET, Embargo(project, day_of(until).isoformat(), why, _now()))
    return embargoes(lake)[project]


def lift(lake: Place, project: str) -> Embargo:
    """End the embargo of a project now and return what holds; raises UnknownName for a project that has none."""
    held = embargoes(lake)
    if project not in held:
        raise UnknownName(f"{lake.url}: project {project!r} was never under embargo{closest(project, held)}")
    _say(lake, _SET, Embargo(project, today().isoformat(), "lifted", _now()))
    return embargoes(lake)[project]


def ask(lake: Place, wishes: Iterable[tuple[str, str, str, bool]]) -> None:
    """Keep the embargoes that deposits ask for, as (project, day, key, again) each; to be called before their data become visible.

    again says that the deposit was read before: its wish was heard then, and is not repeated over what the keepers decided since.
    """
    held: dict[str, Embargo] | None = None
    for project, until, key, again in wishes:
        held = embargoes(lake) if held is None else held
        known = held.get(project)
        if known is not None and (again or known.until >= until):
            continue
        held[project] = Embargo(project, day_of(until).isoformat(), key, _now())
        _say(lake, _ASKED, held[project])


def embargoes(lake: Place) -> dict[str, Embargo]:
    """Return what holds for each project that was ever under embargo, sorted by project; those that have ended too."""
    found: dict[str, tuple[str, str]] = {}
    for _, kind, until, project, key in sorted(_statements(lake)):
        known = found.get(project)
        if known is None or kind == _SET or until > known[0]:
            found[project] = (until, key)
    return {project: from_json(Embargo, lake.store.get(key)) for project, (_, key) in sorted(found.items())}


def hidden_projects(lake: Place) -> Mapping[str, str]:
    """Return the projects that the reader of these settings does not see now, with the day from which on all do; costs one listing."""
    days: dict[str, str] = {}
    for _, kind, until, project, _ in sorted(_statements(lake)):
        if project not in days or kind == _SET or until > days[project]:
            days[project] = until
    named = lake.settings.profile.projects
    now = today().isoformat()
    return {project: day for project, day in sorted(days.items()) if day > now and project not in named and EVERY_PROJECT not in named}


def visible_sources(lake: Place, version: int | None = None) -> pl.LazyFrame:
    """Return the rows of `sources` but those that projects under embargo deposited which the reader's profile does not name."""
    rows, projects = lake.all_sources(version), hidden_projects(lake)
    return rows.filter(~pl.col("project").is_in(list(projects))) if projects else rows


def hidden_deposits(lake: Place) -> dict[str, int]:
    """Return the number of objects that `visible_sources` leaves out, by project."""
    projects = hidden_projects(lake)
    if not projects:
        return {}
    rows = lake.all_sources().filter(pl.col("project").is_in(list(projects)))
    return dict(rows.group_by("project").agg(pl.col("source_id").n_unique()).sort("project").collect().iter_rows())


def visible_rejections(lake: Place, version: int | None = None) -> pl.LazyFrame:
    """Return the rows of `rejections` but those of the sources that `visible_sources` leaves out."""
    rows, projects = lake.all_rejections(version), hidden_projects(lake)
    if not projects:
        return rows
    closed = lake.all_sources().filter(pl.col("project").is_in(list(projects))).select("source_id").unique()
    return rows.join(closed, on="source_id", how="anti")


def day_of(text: str) -> date:
    """Return the day that a text names; raises QueryError."""
    try:
        return date.fromisoformat(text.strip())
    except ValueError as error:
        raise QueryError(f"{text!r} is no day; write it like 2027-01-31") from error


def today() -> date:
    """Return the day that it is, UTC."""
    return datetime.now(UTC).date()


def _statements(lake: Place) -> Iterable[tuple[str, str, str, str, str]]:
    """Yield (time, kind, day, project, key) of each statement, all of it out of the keys."""
    for found in lake.store.list(FOLDER):
        _, code, name = found.key.split("/")
        time, kind, until = name.removesuffix(".json").split("_")[:3]
        yield time, kind, until, _project(code), found.key


def _say(lake: Place, kind: str, statement: Embargo) -> None:
    time = datetime.fromisoformat(statement.set_at).strftime(_TIME)
    key = f"{FOLDER}/{_code(statement.project)}/{time}_{kind}_{statement.until}_{secrets.token_hex(4)}.json"
    lake.store.put(key, to_json(statement).encode())


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _code(project: str) -> str:
    return base64.urlsafe_b64encode(project.encode()).decode().rstrip("=") or "-"


def _project(code: str) -> str:
    try:
        return base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise QueryError(f"{FOLDER}/{code}: this folder names no project; another program wrote it") from error
