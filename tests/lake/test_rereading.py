"""Sources read again with the present readers: what differs is replaced, the rest and older versions stay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from made_up_outputs import ARRAYS, MADE_LOG, MADE_READERS, MadeReader, made_run, part, tar_of, written
from made_up_readings import CAO, MGO, made_block

import lake.commit
import lake.differences
import lake.reader_versions
import lake.replacing
from lake.commit import commit_batch, stage
from lake.compaction import compact
from lake.inbox import discover
from lake.lake import Lake
from lake.reading import read_source
from lake.replacing import Rereading, commit_replacement, read_again
from lake.rereading import Wanted, plan
from lake.splits import side
from lake.store import ObjectStore, connect
from lake.vacuum import vacuum
from schemas.calculations import Run
from schemas.datasets import FrameQuery, Split
from schemas.errors import QueryError, UnknownName, UnreadableOutput
from schemas.frames import FrameBlock

ALL = FrameQuery(only_good=False)
THIRDS = Split(test=0.3, validation=0.3)
ONE, TWO, THREE = (written(made_run(made_block(numbers, n, seed))) for numbers, n, seed in ((MGO, 5, 1), (MGO, 4, 2), (CAO, 3, 3)))
Newer = Callable[[Run], Run]


@dataclass
class Inbox:
    """An inbox in a folder beside a lake, and what takes and reads it again."""

    lake: Lake
    store: ObjectStore

    def put(self, key: str, data: bytes) -> None:
        self.store.put(key, data)

    def take(self) -> None:
        now = datetime.now(UTC) + timedelta(seconds=1)
        sources = discover(self.store, self.lake.ledger("inbox"), bucket="inbox", quiet_seconds=0, now=now)
        readings = [read_source(each, self.store, self.lake.settings.limits, readers=MADE_READERS) for each in sources]
        name = f"{len(list(self.lake.store.list('sources')))}".rjust(64, "b")
        commit_batch(self.lake, [stage(self.lake, readings, name, 0)], name)

    def again(self, newer: Newer = lambda run: run, *, dry_run: bool = False, **wanted: object) -> Rereading:
        groups = plan(self.lake, self.store, "inbox", Wanted(**wanted))  # type: ignore[arg-type]
        readers = (replace(MADE_LOG, open=lambda: NewerReader(newer)), *MADE_READERS[1:])
        staged, told = read_again(self.lake, self.store, groups, "a" * 64, dry_run=dry_run, readers=readers)
        if not dry_run:
            commit_replacement(self.lake, [staged], "a" * 64)
        return told


class NewerReader(MadeReader):
    def __init__(self, newer: Newer) -> None:
        super().__init__("made log")
        self.newer = newer

    def close(self) -> tuple[Run, ...]:
        return tuple(self.newer(run) for run in super().close())


@pytest.fixture
def inbox(folder_lake: Lake, tmp_path: Path) -> Inbox:
    """Return an inbox of which three sources were taken: two runs, a copy of one of them repacked, and another."""
    (tmp_path / "inbox").mkdir()
    made = Inbox(folder_lake, connect(str(tmp_path / "inbox"), folder_lake.settings.store))
    made.put("p/a.tar", tar_of({"one/run.log": ONE, "two/run.log": TWO}))
    made.put("p/copy.tar", tar_of({"run.log": ONE.replace(b"\n", b"\r\n")}))
    made.put("p/c.tar", tar_of({"run.log": THREE}))
    made.take()
    assert folder_lake.calculations().collect().height == 3
    return made


def with_frames(**changes: Callable[[np.ndarray], object]) -> Newer:
    """Return a newer reader that gives other values for some arrays."""

    def newer(run: Run) -> Run:
        return replace(run, frames=replace(run.frames, **{name: made(getattr(run.frames, name)) for name, made in changes.items()}))

    return newer


def only_mgo(newer: Newer) -> Newer:
    return lambda run: newer(run) if 12 in run.frames.numbers else run


def whats(told: Rereading) -> list[tuple[str, str]]:
    return sorted((change.what, change.key) for change in told.changes)


def test_what_reads_the_same_is_left_alone(inbox: Inbox) -> None:
    before = inbox.lake.versions()
    told = inbox.again()
    assert (told.n_sources, told.n_unchanged, told.changes, told.missing, told.failed) == (3, 3, (), (), ())
    assert inbox.lake.versions() == before


def test_values_that_are_no_part_of_the_identity_are_replaced_and_counted(inbox: Inbox) -> None:
    dataset = inbox.lake.publish("d", ALL, THIRDS)
    before = inbox.lake.frames(only_good=False).sort("frame_id").collect()
    stamps = inbox.lake.calculations().sort("calculation_id").select("calculation_id", "ingested_at", "batch_id").collect()
    newer = only_mgo(with_frames(n_scf_steps=lambda steps: steps + np.arange(len(steps), dtype=np.int32)))
    looked = inbox.again(newer, dry_run=True)
    assert inbox.lake.frames(only_good=False).sort("frame_id").collect().equals(before)
    told = inbox.again(newer)
    assert told == looked
    assert told.columns() == {"frames.n_scf_steps": 4 + 3}
    assert whats(told) == [("changed", "p/a.tar"), ("changed", "p/a.tar")]
    after = inbox.lake.frames(only_good=False).sort("frame_id").collect()
    assert after.drop("n_scf_steps").equals(before.drop("n_scf_steps"))
    assert after["n_scf_steps"].sum() == before["n_scf_steps"].sum() + 10 + 6
    assert inbox.lake.calculations().sort("calculation_id").select(stamps.columns).collect().equals(stamps)
    dataset.verify()
    vacuum(inbox.lake, older_than_days=0, dry_run=False, alone=True)
    inbox.lake.dataset("d").verify()
    assert inbox.again(newer).changes == ()


def test_other_numbers_come_under_another_id_that_keeps_its_side(inbox: Inbox) -> None:
    before = inbox.lake.publish("before", ALL, THIRDS)
    old = {row["formula"]: row for row in inbox.lake.calculations().filter(pl.col("n_frames") != 5).collect().iter_rows(named=True)}
    copies = inbox.lake.calculations().filter(pl.col("n_frames") == 5).collect()["calculation_id"][0]
    newer = only_mgo(with_frames(energy=lambda energy: energy + 0.25))
    told = inbox.again(newer)
    assert whats(told) == [("renamed", "p/a.tar"), ("renamed", "p/a.tar")]
    calculations = inbox.lake.calculations().collect()
    assert calculations.height == 3
    renamed = calculations.filter(pl.col("formerly").is_not_null())
    assert sorted(renamed["formerly"].explode().to_list()) == sorted([copies, old["Mg2O2"]["calculation_id"]])
    assert set(calculations["ingested_at"]) == {old["Mg2O2"]["ingested_at"]}
    frames = inbox.lake.frames(only_good=False).collect()
    assert frames.height == frames["frame_id"].n_unique() == 12
    assert set(frames["calculation_id"]) == set(calculations["calculation_id"])
    origins = inbox.lake.sources().filter(pl.col("attempt") == 2).sort("key").collect()
    assert origins["key"].to_list() == ["p/a.tar", "p/copy.tar"]
    assert set(origins["calculation_ids"].explode()) == set(renamed["calculation_id"])
    after = inbox.lake.publish("after", ALL, THIRDS)
    sides = dict(after.index.select("calculation_id", "split").unique().iter_rows())
    assert {name: sides[name] for name in renamed["calculation_id"]} == {
        name: side(THIRDS, former[0]) for name, former in renamed.select("calculation_id", "formerly").iter_rows()
    }
    before.verify()
    assert before.arrays().count == 12
    again = inbox.again(only_mgo(with_frames(energy=lambda energy: energy + 0.5)))
    assert {change.what for change in again.changes} == {"renamed"}
    roots = inbox.lake.calculations().filter(pl.col("formerly").is_not_null()).collect()["formerly"]
    assert sorted(roots.explode().to_list()) == sorted([copies, old["Mg2O2"]["calculation_id"]]), "the first ids, whatever came between"


def test_more_or_fewer_frames_are_another_calculation(inbox: Inbox) -> None:
    told = inbox.again(only_mgo(lambda run: replace(run, frames=part(run.frames, slice(1, None)))))
    assert {change.what for change in told.changes} == {"renamed"}
    assert inbox.lake.frames(only_good=False).collect().height == 4 + 3 + 3
    assert sorted(inbox.lake.calculations().collect()["n_frames"]) == [3, 3, 4]


def test_what_a_newer_reader_rejects_is_gone_with_the_reason(inbox: Inbox) -> None:
    dataset = inbox.lake.publish("d", ALL, THIRDS)

    def not_dft(run: Run) -> Run:
        raise UnreadableOutput("not_dft", "energies of a force field", "leave it out")

    told = inbox.again(only_mgo(not_dft))
    assert {change.what for change in told.changes} == {"gone"}
    assert all("not_dft: energies of a force field" in change.why for change in told.changes)
    assert inbox.lake.frames(only_good=False).collect()["element_system"].unique().to_list() == ["Ca-O"]
    assert inbox.lake.calculations().collect().height == 1
    states = inbox.lake.sources().filter(pl.col("attempt") == 2).sort("key").collect()["state"].to_list()
    assert states == ["rejected", "rejected"]
    assert inbox.lake.rejections().filter(pl.col("reason") == "not_dft").collect().height == 3
    dataset.verify()


def test_a_source_that_is_gone_keeps_its_rows_and_is_told(inbox: Inbox) -> None:
    inbox.store.delete("p/c.tar")
    told = inbox.again(with_frames(energy=lambda energy: energy + 0.25))
    assert told.missing == ("p/c.tar",)
    assert told.n_sources == 2
    frames = inbox.lake.frames(only_good=False).collect()
    assert frames.filter(pl.col("element_system") == "Ca-O").height == 3
    inbox.store.delete("p/copy.tar")
    rejected = inbox.again(only_mgo(lambda run: _raise()))
    assert sorted(rejected.missing) == ["p/c.tar", "p/copy.tar"]
    assert whats(rejected) == [("gone", "p/a.tar"), ("kept", "p/a.tar")], "the copy that is gone has one of them too"
    assert inbox.lake.frames(systems="Mg-O", only_good=False).collect().height == 5


def _raise() -> Run:
    raise UnreadableOutput("not_dft", "found", "do")


def test_a_fault_of_the_reader_takes_nothing_away(inbox: Inbox) -> None:
    def faulty(run: Run) -> Run:
        raise IndexError("a fault of the reader")

    before = inbox.lake.versions()
    told = inbox.again(faulty)
    assert len(told.failed) == 3
    assert "reader_failed" in told.failed[0]
    assert (told.changes, inbox.lake.versions()) == ((), before)


def test_sources_are_chosen_by_code_key_day_and_version(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    def keys(**wanted: object) -> list[list[str]]:
        groups = plan(inbox.lake, inbox.store, "inbox", Wanted(**wanted))  # type: ignore[arg-type]
        return [[held.source.key for held in group] for group in groups]

    assert keys(code="made") == [["p/a.tar", "p/copy.tar"], ["p/c.tar"]]
    assert keys(source="p/copy.tar") == [["p/a.tar", "p/copy.tar"]], "copies are read together"
    assert keys(since="2999-01-01") == []
    assert keys(outdated=True) == []
    for wrong, error in (({"code": "mad"}, UnknownName), ({"source": "p/a.ta"}, UnknownName), ({"since": "yesterday"}, QueryError)):
        with pytest.raises(error):
            keys(**wrong)  # type: ignore[arg-type]
    for module in (lake.commit, lake.differences, lake.replacing):
        monkeypatch.setattr(module, "__version__", "9.9.0")
    assert keys(outdated=True) == [], "a release in which no reader changed"
    monkeypatch.setattr(lake.reader_versions, "SHARED", 1)
    inbox.lake.table("calculations").update({"reader_version": "'0.1.0'"}, predicate="element_system = 'Ca-O'")
    assert keys(outdated=True) == [], "from before readers had versions, which is 1.1"
    monkeypatch.setitem(lake.reader_versions._codes(), "made log", "made")
    monkeypatch.setitem(lake.reader_versions.VERSIONS, "made", 2)
    inbox.lake.table("calculations").update({"reader_version": "'1.2'"}, predicate="element_system = 'Ca-O'")
    assert keys(outdated=True) == [["p/a.tar", "p/copy.tar"]]
    told = inbox.again(outdated=True)
    assert (told.n_unchanged, told.changes) == (2, ())
    assert set(inbox.lake.calculations().collect()["reader_version"]) == {"1.2"}
    assert keys(outdated=True) == []
    monkeypatch.setattr(lake.reader_versions, "SHARED", 2)
    assert keys(outdated=True) == keys()


def test_a_column_that_rows_lack_is_filled(inbox: Inbox) -> None:
    expected = inbox.lake.frames(only_good=False).sort("frame_id").collect()
    inbox.lake.table("frames").update({"energy_internal": "null"})
    inbox.lake.table("frames").update({"stress_source": "null"}, predicate="element_system = 'Mg-O'")
    inbox.lake.table("calculations").update({"cutoff": "null"}, predicate="element_system = 'Ca-O'")
    told = inbox.again()
    assert told.columns() == {"calculations.cutoff": 1, "frames.energy_internal": 12, "frames.stress_source": 9}
    assert inbox.lake.frames(only_good=False).sort("frame_id").collect().equals(expected)


def test_rows_of_others_in_the_same_file_stay(inbox: Inbox) -> None:
    inbox.put("p/later.tar", tar_of({"run.log": written(made_run(made_block(MGO, 6, 9)))}))
    inbox.take()
    compact(inbox.lake, "frames")
    compact(inbox.lake, "calculations")
    assert inbox.lake.systems()["n_files"].to_list() == [1, 1]
    told = inbox.again(with_frames(n_scf_steps=lambda steps: steps + 1), source="p/a.tar")
    assert len(told.changes) == 2
    frames = inbox.lake.frames(only_good=False).collect()
    assert frames.height == frames["frame_id"].n_unique() == 18
    assert frames["n_scf_steps"].value_counts().sort("n_scf_steps")["count"].to_list() == [9, 9]
    names = {path.name for path in Path(inbox.lake.url, "frames").rglob("*.parquet") if "_delta_log" not in path.parts}
    vacuum(inbox.lake, older_than_days=0, dry_run=False, alone=True)
    left = {path.name for path in Path(inbox.lake.url, "frames").rglob("*.parquet") if "_delta_log" not in path.parts}
    assert left < names
    assert inbox.lake.frames(only_good=False).collect().height == 18


def drawn(inbox: Inbox, wanted: str, first: int) -> tuple[FrameBlock, str]:
    """Take runs of one frame until one draws this side by itself, and return its frame and its id."""
    for seed in range(first, first + 40):
        block, before = made_block(MGO, 1, seed), ids(inbox)
        inbox.put(f"p/{wanted}-{seed}.tar", tar_of({"run.log": written(made_run(block))}))
        inbox.take()
        (name,) = ids(inbox) - before
        if side(THIRDS, name) == wanted:
            return block, name
    raise AssertionError(f"no run draws {wanted}")


def ids(inbox: Inbox) -> set[str]:
    return set(inbox.lake.calculations().select("calculation_id").collect()["calculation_id"])


def side_of(inbox: Inbox, dataset: str, calculation: str) -> str:
    index = inbox.lake.publish(dataset, ALL, THIRDS).index
    (found,) = index.filter(pl.col("calculation_id") == calculation)["split"].unique()
    return str(found)


def linked(inbox: Inbox) -> tuple[str, str]:
    """Take a run that draws train, one that draws test and one with the frames of both; return the ids of the first and the last."""
    (train, name), (test, _) = drawn(inbox, "train", 20), drawn(inbox, "test", 60)
    assert side_of(inbox, "alone", name) == "train"
    both = {each: np.concatenate([getattr(train, each), getattr(test, each)]) for each in (*ARRAYS, "scf_converged", "n_scf_steps")}
    before = ids(inbox)
    link = replace(train, **both, step=np.arange(2, dtype=np.int32), flags=((), ()))
    inbox.put("p/link.tar", tar_of({"run.log": written(made_run(link, kind="relax"))}))
    inbox.take()
    (link_id,) = ids(inbox) - before
    assert side_of(inbox, "linked", name) == side_of(inbox, "linked", link_id) == "test"
    return name, link_id


def test_what_a_calculation_linked_stays_on_its_side_when_it_is_taken_out(inbox: Inbox) -> None:
    name, link = linked(inbox)

    def refuses(run: Run) -> Run:
        if run.kind == "relax":
            raise UnreadableOutput("not_dft", "no numbers of a code", "leave it out")
        return run

    assert whats(inbox.again(refuses)) == [("gone", "p/link.tar")]
    assert link not in ids(inbox)
    vacuum(inbox.lake, older_than_days=0, dry_run=False, alone=True)
    assert side_of(inbox, "after", name) == "test", "it drew train, but was in test since the link came"
    for found in list(inbox.lake.store.list("departed")):
        inbox.lake.store.delete(found.key)
    assert side_of(inbox, "forgotten", name) == "train", "which only the record of the link knows"


def test_what_comes_under_another_id_with_other_structures_stays_where_the_former_was(inbox: Inbox) -> None:
    _, link = linked(inbox)
    moved = with_frames(positions=lambda positions: positions + np.random.default_rng(1).normal(0, 0.3, positions.shape))
    told = inbox.again(lambda run: moved(run) if run.kind == "relax" else run)
    assert whats(told) == [("renamed", "p/link.tar")]
    (heir,) = inbox.lake.calculations().filter(pl.col("formerly").list.contains(link)).collect()["calculation_id"]
    assert side_of(inbox, "after", heir) == "test"
