"""A lake written by an earlier schema is told what to do, migrated, and used on; the earlier schema is made up."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import made_up_earlier
import pyarrow as pa
import pytest
from deltalake import DeltaTable
from made_up_earlier import lacking_at
from made_up_readings import CAO, MGO, made_calculation, made_reading

from lake.commit import commit_batch, stage
from lake.compaction import compact
from lake.keys import present
from lake.lake import Lake
from lake.migrations import MIGRATIONS, Migration, migrate
from lake.place import SPECS, VERSION_KEY
from lake.store import ObjectStore
from lake.tables import live_files
from lake.transactions import try_commit
from schemas.columns import SCHEMA_VERSION
from schemas.datasets import FrameQuery
from schemas.errors import SchemaMismatch
from schemas.settings import Settings

LACKING: dict[str, tuple[str, ...]] = {"frames": ("energy_internal", "stress_source"), "calculations": ("smearing_width",)}
STEPS = (Migration(0, SCHEMA_VERSION, LACKING),)
READINGS = [
    made_reading("a.tar", made_calculation(MGO, 5, 1), made_calculation(CAO, 4, 2)),
    made_reading("b.tar", made_calculation(MGO, 3, 3)),
]
ALL = FrameQuery(only_good=False)


def earlier(today: Lake, url: str, *, version: str = "0", settings: Settings | None = None) -> Lake:
    """Return a lake of the made-up earlier schema, with the rows and datasets of a lake of today."""
    return made_up_earlier.earlier(today, url, LACKING, version=version, settings=settings)


@pytest.fixture
def today(folder_lake: Lake) -> Lake:
    """Return a lake with two batches' worth of rows in one commit, and a dataset of them."""
    commit_batch(folder_lake, [stage(folder_lake, READINGS, "b" * 64, 0)], "b" * 64)
    folder_lake.publish("d", ALL)
    return folder_lake


def test_an_older_table_says_to_migrate_and_a_newer_one_does_not(today: Lake, tmp_path: Path) -> None:
    old = earlier(today, str(tmp_path / "old"))
    with pytest.raises(
        SchemaMismatch, match=f"has schema version 0, this atomlake reads and writes {SCHEMA_VERSION}; run 'atomlake migrate'"
    ):
        old.frames()
    with pytest.raises(SchemaMismatch, match="install the atomlake that wrote it, or a newer one"):
        earlier(today, str(tmp_path / "new"), version="99").calculations()


@pytest.mark.parametrize("kind", ["folder", "server"])
def test_a_migrated_lake_has_the_same_rows_and_takes_new_ones(
    today: Lake, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "server":
        server: Lake = request.getfixturevalue("moto_lake")
        old = earlier(today, f"{server.url}-old", settings=server.settings)
    else:
        old = earlier(today, str(tmp_path / "old"))
    done = {each.table: each for each in migrate(old, STEPS)}
    assert (done["frames"].before, done["frames"].after, done["frames"].added, done["frames"].version) == (
        0,
        SCHEMA_VERSION,
        LACKING["frames"],
        2,
    )
    assert (done["sources"].added, done["sources"].version) == ((), 2)
    frames, expected = (each.frames(only_good=False).sort("frame_id").collect() for each in (old, today))
    assert frames["energy_internal"].null_count() == frames.height == 12
    assert frames.drop(LACKING["frames"]).equals(expected.drop(LACKING["frames"]))
    more = made_reading("c.tar", made_calculation(MGO, 2, 9), made_calculation(MGO, 5, 1))
    report = commit_batch(old, [stage(old, [more], "c" * 64, 0)], "c" * 64)
    assert (report.n_frames_new, report.n_duplicates) == (2, 1)
    again = commit_batch(old, [stage(old, [made_reading("d.tar", *more.calculations, made_calculation(CAO, 4, 2))], "d" * 64, 0)], "d" * 64)
    assert (again.n_frames_new, again.n_duplicates) == (0, 3)
    assert compact(old, "frames").n_files_after == 1
    after = old.frames(only_good=False).collect()
    assert (after.height, after["energy_internal"].null_count()) == (14, 12)
    old.dataset("d").verify()
    assert old.dataset("d").arrays().natoms.sum() == 48
    assert old.publish("e", ALL).manifest.table_versions["frames"] == 4


@pytest.mark.parametrize("direction", [1, -1])
def test_files_of_both_schemas_are_searched_in_any_order(
    today: Lake, direction: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = earlier(today, str(tmp_path / "old"))
    migrate(old, STEPS)
    commit_batch(old, [stage(old, [made_reading("c.tar", made_calculation(MGO, 2, 9))], "c" * 64, 0)], "c" * 64)
    names = set(old.calculations().select("calculation_id").collect()["calculation_id"])
    assert len(names) == 4

    def turned(table: DeltaTable, systems: Sequence[str] | None = None) -> pa.Table:
        files = live_files(table, systems)
        return files.take(list(range(files.num_rows))[::direction])

    monkeypatch.setattr("lake.keys.live_files", turned)
    assert present(old, old.table("calculations"), "calculation_id", names) == names
    assert present(old, old.table("frames"), "calculation_id", names) == names


def test_a_second_migration_does_nothing(today: Lake, tmp_path: Path) -> None:
    old = earlier(today, str(tmp_path / "old"))
    first = migrate(old, STEPS)
    again = migrate(old, STEPS)
    assert [each.version for each in again] == [each.version for each in first]
    assert {(each.before, each.after, each.added) for each in again} == {(SCHEMA_VERSION, SCHEMA_VERSION, ())}
    assert {each.added for each in migrate(today)} == {()}


def test_a_migration_that_was_killed_is_gone_on_with(today: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = earlier(today, str(tmp_path / "old"))
    put, calls = ObjectStore.put_if_absent, []

    def dies_at_the_second(store: ObjectStore, key: str, data: bytes) -> bool:
        calls.append(key)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return put(store, key, data)

    monkeypatch.setattr(ObjectStore, "put_if_absent", dies_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        migrate(old, STEPS)
    assert sorted(each.before for each in migrate(old, STEPS)) == [0] * (len(SPECS) - 1) + [SCHEMA_VERSION]
    assert old.frames(only_good=False).collect().height == 12


def test_a_writer_that_comes_between_loses_nothing(today: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = earlier(today, str(tmp_path / "old"))
    late = old.open_table("frames")
    writers = [old.open_table("frames")]
    put = ObjectStore.put_if_absent

    def after_another(store: ObjectStore, key: str, data: bytes) -> bool:
        if writers and key.startswith("frames/"):
            assert try_commit(writers.pop(), "frames", "another", [])
        return put(store, key, data)

    monkeypatch.setattr(ObjectStore, "put_if_absent", after_another)
    assert {each.table: each.version for each in migrate(old, STEPS)}["frames"] == 3
    assert not try_commit(late, "frames", "late", [])
    assert int(old.table("frames").version()) == 3


def test_a_lake_of_each_earlier_version_is_brought_to_the_present_one(today: Lake, tmp_path: Path) -> None:
    for version in range(1, SCHEMA_VERSION):
        lacking = lacking_at(version)
        old = made_up_earlier.earlier(today, str(tmp_path / f"version-{version}"), lacking, version=str(version))
        with pytest.raises(SchemaMismatch, match="run 'atomlake migrate'"):
            old.calculations()
        assert {each.table: each.added for each in migrate(old)} == {name: lacking.get(name, ()) for name in SPECS}
        assert {(each.before, each.after) for each in migrate(old)} == {(SCHEMA_VERSION, SCHEMA_VERSION)}
        assert old.calculations().collect().height == today.calculations().collect().height == 3
        assert old.publish("more", ALL).manifest.n_frames == today.publish("more", ALL).manifest.n_frames
        old.dataset("d").verify()


def test_what_does_not_lead_to_the_present_schema_is_refused_before_anything_changes(today: Lake, tmp_path: Path) -> None:
    old = earlier(today, str(tmp_path / "old"))
    with pytest.raises(SchemaMismatch, match="no migration leads from 0 on"):
        migrate(old)
    with pytest.raises(SchemaMismatch, match="but not its columns: stress_source"):
        migrate(old, (Migration(0, SCHEMA_VERSION, {**LACKING, "frames": ("energy_internal",)}),))
    with pytest.raises(SchemaMismatch, match="install a newer one"):
        migrate(earlier(today, str(tmp_path / "new"), version="99"), STEPS)
    assert {int(old.open_table(name).version()) for name in SPECS} == {1}


def test_a_column_that_must_not_be_null_cannot_be_added(today: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LACKING, "frames", ("licence",))
    with pytest.raises(SchemaMismatch, match="licence cannot be added to rows that lack them"):
        migrate(earlier(today, str(tmp_path / "old")), STEPS)


def test_the_steps_lead_from_the_first_schema_to_the_present_one() -> None:
    version = 1
    for step in MIGRATIONS:
        assert step.before == version < step.after
        for table, added in step.added.items():
            assert set(added) <= set(SPECS[table].names())
        version = step.after
    assert version == SCHEMA_VERSION


def test_the_log_entry_keeps_what_else_is_said_of_a_table(today: Lake, tmp_path: Path) -> None:
    old = earlier(today, str(tmp_path / "old"))
    before = old.open_table("frames").metadata()
    migrate(old, STEPS)
    after = old.table("frames").metadata()
    assert (after.id, after.name, after.description, after.created_time) == (
        before.id,
        before.name,
        before.description,
        before.created_time,
    )
    assert after.configuration == {**before.configuration, VERSION_KEY: str(SCHEMA_VERSION)}
    assert after.partition_columns == ["element_system"]
    old.table("frames").create_checkpoint()
    assert json.loads((tmp_path / "old/frames/_delta_log/_last_checkpoint").read_text())["version"] == 2
    assert old.frames(only_good=False).collect().height == 12
