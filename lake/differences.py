"""What sources give now, compared with what the lake holds of them: which rows are to be replaced, which are new, which are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from lake.keys import rows_of
from lake.place import Place
from lake.rereading import Group, HeldSource
from lake.rows import calculation_rows, frame_rows
from schemas.calculations import Calculation
from schemas.columns import CALCULATIONS, FRAMES
from schemas.sources import REASONS, SourceReading
from schemas.version import __version__

RETRYABLE: Final = frozenset(reason.code for reason in REASONS if reason.retryable)
_STAMPS: Final = ("batch_id", "ingested_at", "formerly")
"""Columns of a calculation that stay when it is read again."""
_UNTOLD: Final = (*_STAMPS, "reader_version")


@dataclass(frozen=True)
class Change:
    """What became of one calculation."""

    key: str
    """Its source."""
    member: str
    what: str
    """changed, new, renamed (another id in the place of former ones), gone, kept (gone, but an origin of it cannot be read)."""
    calculation_id: str
    formerly: tuple[str, ...] = ()
    columns: Mapping[str, int] = field(default_factory=dict)
    """Values that changed by column: 'frames.good'."""
    why: str = ""
    """Why it is gone: the rejections of its member."""


@dataclass(frozen=True, eq=False)
class Differences:
    """What a group of sources gives now against what the lake holds of it."""

    changes: tuple[Change, ...]
    n_unchanged: int
    rows: tuple[Mapping[str, Any], ...]
    """Whole rows of `calculations` to be put in, in the place of those of the same id."""
    frames: tuple[pa.Table, ...]
    """Frames to be put in, one table a calculation, in the place of those of the same calculation."""
    gone: Mapping[str, str]
    """Calculation -> element system of those to be taken out."""
    readings: tuple[tuple[HeldSource, SourceReading], ...]
    """Sources that were read, less those of which nothing differs from the newest attempt."""
    missing: tuple[str, ...] = ()
    """Keys of sources whose bytes are not in the inbox any more."""
    failed: tuple[str, ...] = ()
    """Keys of sources that could not be read this time, with the reason."""
    departed: tuple[tuple[dict[str, Any], tuple[str, ...]], ...] = ()
    """Rows of those to be taken out, with the structures that each had."""


@dataclass(frozen=True, eq=False)
class _Found:
    """A calculation as one reading gives it."""

    held: HeldSource
    calculation: Calculation
    row: dict[str, Any]
    project: str
    licence: str

    def frames(self) -> pa.Table:
        """Return its rows of `frames`."""
        return frame_rows(self.calculation, project=self.project, licence=self.licence)


def differences(lake: Place, group: Group, readings: Sequence[SourceReading], tables: Mapping[str, DeltaTable]) -> Differences:
    """Return how what a group of sources gives now differs from the rows of calculations and frames in tables.

    readings are those of the sources of the group that are there, in order.
    """
    read = dict(zip((held.source.source_id for held in group if held.is_there), readings, strict=True))
    good = {name: each for name, each in read.items() if RETRYABLE.isdisjoint(r.reason for r in each.rejections)}
    unread = [held for held in group if held.source.source_id not in good]
    found: dict[str, list[_Found]] = {}
    for held in group:
        for each in _found(held, good.get(held.source.source_id)):
            found.setdefault(each.calculation.calculation_id, []).append(each)
    claimed = {name for held in group if held.source.source_id in good for name in held.calculation_ids}
    old = _old_calculations(lake, tables["calculations"], claimed | set(found))
    stored = _old_frames(lake, tables["frames"], old)
    changes, rows, frames, n_unchanged = [], [], [], 0
    lost = {name: old[name] for name in sorted(claimed - set(found)) if name in old}
    heirs = _heirs(group, lost, {name: each for name, each in found.items() if name not in old}, stored)
    for name, row in old.items():
        for gone in lost if name in found and row["formerly"] else ():
            # A run before this one was killed between putting the new in and taking the former out.
            if set(_roots(lost[gone])) <= set(row["formerly"]):
                heirs[gone].add(name)
    for name, candidates in found.items():
        if name not in old:
            former = [gone for gone, own in heirs.items() if name in own]
            chosen = candidates[0]
            rows.append(_new_row(chosen.row, [lost[gone] for gone in former]))
            frames.append(chosen.frames())
            changes.append(_change(chosen, "renamed" if former else "new", formerly=tuple(former)))
            continue
        chosen, columns = _nearest(candidates, old[name])
        table = chosen.frames()
        in_frames = _differing(stored.get(name), pl.DataFrame(table))
        if in_frames:
            frames.append(table)
        if columns or old[name]["reader_version"] != chosen.row["reader_version"]:
            rows.append({**chosen.row, **{stamp: old[name][stamp] for stamp in _STAMPS}})
        told = {**{f"calculations.{column}": 1 for column in columns}, **{f"frames.{column}": n for column, n in in_frames.items()}}
        n_unchanged += not told
        if told:
            changes.append(_change(chosen, "changed", columns=told))
    kept = {name for held in unread for name in held.calculation_ids if name in lost and not heirs[name]}
    changes += [_end(group, read, name, "kept" if name in kept else "gone") for name in lost if name in kept or not heirs[name]]
    gone_rows = {name: row for name, row in lost.items() if name not in kept}
    return Differences(
        tuple(changes), n_unchanged, tuple(rows), tuple(frames), {name: row["element_system"] for name, row in gone_rows.items()},
        tuple((held, good[held.source.source_id]) for held in group if _is_news(held, good.get(held.source.source_id))),
        tuple(held.source.key for held in group if not held.is_there),
        tuple(_failure(held, read[held.source.source_id]) for held in unread if held.is_there),
        tuple((row, tuple(stored[name]["configuration_hash"]) if name in stored else ()) for name, row in gone_rows.items()),
    )  # fmt: skip


def _found(held: HeldSource, reading: SourceReading | None) -> list[_Found]:
    if reading is None:
        return []
    project, licence = reading.metadata.get("project", ""), reading.metadata.get("licence", "")
    pairs = zip(reading.calculations, calculation_rows(reading), strict=True)
    return [_Found(held, calculation, row, project, licence) for calculation, row in pairs]


def _old_calculations(lake: Place, table: DeltaTable, names: set[str]) -> dict[str, dict[str, Any]]:
    rows = rows_of(lake, table, "calculation_id", names, CALCULATIONS.names())
    return {row["calculation_id"]: row for row in rows.iter_rows(named=True)}


def _old_frames(lake: Place, table: DeltaTable, old: Mapping[str, Mapping[str, Any]]) -> dict[str, pl.DataFrame]:
    """Return the frames of calculations, by calculation."""
    systems = sorted({row["element_system"] for row in old.values()})
    names = [name for name in FRAMES.names() if name not in FRAMES.partition_by]
    if not systems:
        return {}
    rows = rows_of(lake, table, "calculation_id", set(old), names, systems=systems)
    return {str(name): part for (name,), part in rows.partition_by("calculation_id", as_dict=True).items()}


def _nearest(candidates: Sequence[_Found], old: Mapping[str, Any]) -> tuple[_Found, list[str]]:
    """Return the origin whose row differs least from the stored one, and the columns in which it differs."""
    told = [(each, [name for name in each.row if name not in _UNTOLD and each.row[name] != old[name]]) for each in candidates]
    return min(told, key=lambda pair: len(pair[1]))


def _differing(old: pl.DataFrame | None, new: pl.DataFrame) -> dict[str, int]:
    """Return how many values of each column differ between frames of one calculation; all of them where the lake has other frames."""
    columns = [name for name in FRAMES.names() if name not in FRAMES.partition_by]
    new = new.sort("step").select(columns)
    if old is None or old.height != new.height or not old["frame_id"].sort().equals(new["frame_id"].sort()):
        return dict.fromkeys(columns, new.height)
    before = old.sort("step").select(pl.col(name).cast(new.schema[name]) for name in columns)
    counts = {name: int((~before[name].eq_missing(new[name])).sum()) for name in columns}
    return {name: n for name, n in counts.items() if n}


def _heirs(
    group: Group, lost: Mapping[str, Any], new: Mapping[str, Sequence[_Found]], stored: Mapping[str, pl.DataFrame]
) -> dict[str, set[str]]:
    """Return for each calculation that no source gives any more the new ones that stand in its place, or share a structure with it."""
    heirs: dict[str, set[str]] = {name: set() for name in lost}
    for name in lost:
        places = {(held.source.source_id, held.member(name)) for held in group if name in held.calculation_ids}
        for other, candidates in new.items():
            if any((each.held.source.source_id, each.calculation.member) in places for each in candidates):
                heirs[name].add(other)
        if not heirs[name] and name in stored:
            structures = set(stored[name]["configuration_hash"])
            heirs[name] = {
                other for other, candidates in new.items() if structures & set(candidates[0].frames()["configuration_hash"].to_pylist())
            }
    return heirs


def _new_row(row: dict[str, Any], former: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the row of a new calculation; one that stands in the place of former ones has their time and first ids."""
    if not former:
        return row
    roots = sorted({root for each in former for root in _roots(each)})
    return {**row, "formerly": roots, "ingested_at": min(each["ingested_at"] for each in former)}


def _roots(row: Mapping[str, Any]) -> list[str]:
    return row["formerly"] or [row["calculation_id"]]


def _change(found: _Found, what: str, *, columns: Mapping[str, int] | None = None, formerly: tuple[str, ...] = ()) -> Change:
    calculation = found.calculation
    return Change(found.held.source.key, calculation.member, what, calculation.calculation_id, formerly, columns or {})


def _end(group: Group, read: Mapping[str, SourceReading], name: str, what: str) -> Change:
    """Return what is told of a calculation that no source gives any more."""
    held = next(held for held in group if name in held.calculation_ids)
    member = held.member(name) or ""
    reading = read.get(held.source.source_id)
    rejections = () if reading is None else reading.rejections
    own = [each for each in rejections if each.member.startswith(member)] or list(rejections)
    counted = Counter(f"{each.reason}: {each.detail}" for each in own)
    return Change(held.source.key, member, what, name, why="; ".join(list(counted)[:3]))


def _is_news(held: HeldSource, reading: SourceReading | None) -> bool:
    """Return whether a source gives other calculations or rejections than at its newest attempt, or was read by another atomlake."""
    if reading is None:
        return False
    given = (
        [each.calculation_id for each in reading.calculations], [each.member for each in reading.calculations], len(reading.rejections),
    )  # fmt: skip
    row = held.row
    return given != (row["calculation_ids"], row["members"], row["n_rejections"]) or row["reader_version"] != __version__


def _failure(held: HeldSource, reading: SourceReading) -> str:
    first = next(each for each in reading.rejections if each.reason in RETRYABLE)
    return f"{held.source.key}: {first.reason}: {first.detail}"
