"""The registry of potentials: immutable files of each version, and a table of the states that each one was in."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from lake.place import Place
from lake.tables import DataFile, write_file
from lake.transactions import commit_files
from schemas.columns import POTENTIALS
from schemas.errors import AlreadyThere, QueryError, TableError, UnknownName, closest
from schemas.json import from_json, to_json
from schemas.potentials import Decision, Metrics, PotentialCard

FOLDER: Final = "potential-files"
"""Not below the folder of the table `potentials`, where a vacuum would take them for orphans."""

STATES: Final = ("candidate", "champion", "retired")
_CARD: Final = "card.json"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def publish_potential(lake: Place, card: PotentialCard, files: Mapping[str, bytes]) -> PotentialCard:
    """Store a potential for ever and register it in the state that its card says; return the card with the hashes of its files.

    The card is written first and only where none is, so of two that publish one version the first one wins; the row in the
    table, which makes it visible, comes last. The same card and files can be published again after a crash.
    Raises AlreadyThere for a version that holds something else.
    """
    if not _NAME.fullmatch(card.name) or card.version < 1 or card.state not in STATES:
        raise QueryError(
            f"potential {card.name!r} version {card.version} state {card.state!r}: expected a name of letters, digits, '.', '_', "
            f"'-', a version from 1, and a state out of {', '.join(STATES)}"
        )
    card = dataclasses.replace(card, files={name: hashlib.sha256(data).hexdigest() for name, data in sorted(files.items())})
    folder = _folder(card.name, card.version)
    text = to_json(card).encode()
    if not lake.put_once(f"{folder}/{_CARD}", text) and lake.store.get(f"{folder}/{_CARD}") != text:
        raise AlreadyThere(
            f"{lake.url}: potential {card.name!r} version {card.version} is there already and differs; "
            f"take version {next_version(lake, card.name)}"
        )
    for name, data in files.items():
        lake.store.put(f"{folder}/{name}", data)
    _record(lake, [(card, "published")], unless_there=True)
    return card


def name_and_version(text: str) -> tuple[str, int | None]:
    """Return name and version of 'NAME@VERSION', or the name and None; raises QueryError for a version that is no number."""
    name, at, version = text.partition("@")
    if at and not version.isdigit():
        raise QueryError(f"potential {text!r}: expected NAME or NAME@VERSION with a number, like {name or 'oxides'}@2")
    return name, int(version) if at else None


def ancestors(lake: Place, card: PotentialCard) -> list[PotentialCard]:
    """Return the cards of the potentials whose weights training began with, from the parent back to the first."""
    found: list[PotentialCard] = []
    while card.parent:
        card = card_of(lake, *name_and_version(card.parent))
        found.append(card)
    return found


def read_potential(lake: Place, name: str, version: int | None = None) -> tuple[PotentialCard, dict[str, bytes]]:
    """Return the card (with its present state) and the files of a potential.

    Without a version the champion, or where there is none the newest that is not retired. Raises UnknownName, and TableError
    where a file is not what the card says.
    """
    card = card_of(lake, name, version)
    folder = _folder(card.name, card.version)
    files = {}
    for file, expected in card.files.items():
        files[file] = lake.store.get(f"{folder}/{file}")
        found = hashlib.sha256(files[file]).hexdigest()
        if found != expected:
            raise TableError(
                f"{lake.url}/{folder}/{file} has SHA-256 {found[:16]}, its card says {expected[:16]}; restore it from a backup"
            )
    return card, files


def card_of(lake: Place, name: str, version: int | None = None) -> PotentialCard:
    """Return the card of a potential with its present state; see `read_potential` for what no version means."""
    cards = list_potentials(lake, name)
    if not cards:
        names = sorted({card.name for card in list_potentials(lake)})
        raise UnknownName(f"{lake.url}: there is no potential {name!r}{closest(name, names)}; there are {', '.join(names) or 'none'}")
    if version is None:
        usable = [card for card in cards if card.state != "retired"] or cards
        return max(usable, key=lambda card: (card.state == "champion", card.version))
    for card in cards:
        if card.version == version:
            return card
    raise UnknownName(f"{lake.url}: potential {name!r} has no version {version}; it has {', '.join(str(card.version) for card in cards)}")


def list_potentials(lake: Place, name: str | None = None) -> list[PotentialCard]:
    """Return the cards of all potentials, or of all versions of one, with their present states, sorted by name and version."""
    return _cards(lake.potentials(), name)


def next_version(lake: Place, name: str) -> int:
    """Return the first version number that is free under a name; versions that were begun and not finished count as taken."""
    taken = [card.version for card in list_potentials(lake, name)]
    for found in lake.store.list(f"{FOLDER}/{name}"):
        part = found.key.removeprefix(f"{FOLDER}/{name}/").partition("/")[0]
        taken.append(int(part) if part.isdigit() else 0)
    return max(taken, default=0) + 1


def set_state(lake: Place, name: str, version: int, state: str, why: str, *, decision: Decision | None = None) -> None:
    """Put a version into a state, with the reason; a new champion retires the one before it, in the same commit.

    decision is what the gate found; without one, that of before stays on the card.
    """
    if state not in STATES:
        raise QueryError(f"{state!r} is no state of a potential{closest(state, STATES)}; states are {', '.join(STATES)}")
    cards = {card.version: card for card in list_potentials(lake, name)}
    if version not in cards:
        raise UnknownName(f"{lake.url}: potential {name!r} has no version {version}; it has {', '.join(map(str, cards)) or 'none'}")
    card = cards[version]
    changes = [(dataclasses.replace(card, state=state, decision=decision or card.decision), why)]
    if state == "champion":
        before = [card for card in cards.values() if card.state == "champion" and card.version != version]
        changes += [(dataclasses.replace(card, state="retired"), f"version {version} became champion") for card in before]
    _record(lake, changes, unless_there=False)


def champion(lake: Place, name: str) -> PotentialCard | None:
    """Return the card of the champion of a name, or None where it has none."""
    found = [card for card in list_potentials(lake, name) if card.state == "champion"]
    return max(found, key=lambda card: card.version) if found else None


def states(lake: Place, name: str, version: int) -> list[tuple[datetime, str, str]]:
    """Return when a version came into which state and why, oldest first."""
    rows = lake.potentials().filter((pl.col("name") == name) & (pl.col("version") == version)).sort("recorded_at")
    return list(rows.select("recorded_at", "state", "why").collect().iter_rows())


def _cards(rows: pl.LazyFrame, name: str | None) -> list[PotentialCard]:
    if name is not None:
        rows = rows.filter(pl.col("name") == name)
    newest = rows.sort("recorded_at").group_by("name", "version").last().sort("name", "version").select("state", "card").collect()
    return [dataclasses.replace(from_json(PotentialCard, card), state=state) for state, card in newest.iter_rows()]


def _record(lake: Place, changes: Sequence[tuple[PotentialCard, str]], *, unless_there: bool) -> None:
    now = datetime.now(UTC)
    rows = [_row(card, why, now) for card, why in changes]

    def choose(table: DeltaTable) -> list[DataFile]:
        first = changes[0][0]
        if unless_there and any(card.version == first.version for card in _cards(lake.scan(table), first.name)):
            return []
        return [
            write_file(
                lake, "potentials", pa.Table.from_pylist(rows, schema=POTENTIALS.arrow_schema()), label=f"{first.name}-{first.version}"
            )
        ]

    commit_files(lake, "potentials", f"potential:{changes[0][0].name}", choose)


def _row(card: PotentialCard, why: str, now: datetime) -> dict[str, Any]:
    test: Metrics | None = card.metrics.get("test")
    return {
        "name": card.name,
        "version": card.version,
        "state": card.state,
        "architecture": card.architecture,
        "elements": list(card.elements),
        "dataset": card.dataset,
        "dataset_hash": card.dataset_hash,
        "theories": list(card.theories),
        "test_energy_mae": _number(test.overall.energy_mae) if test else None,
        "test_force_mae": _number(test.overall.force_mae) if test else None,
        "path": _folder(card.name, card.version),
        "card": to_json(card, indent=None),
        "why": why,
        "recorded_at": now,
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _folder(name: str, version: int) -> str:
    return f"{FOLDER}/{name}/{version}"
