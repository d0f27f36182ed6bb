"""The probe accepts stores that keep conditional writes apart and refuses those that do not."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_readings import six_readings

import lake
from lake.commit import commit_batch, commit_files, stage
from lake.compaction import compact
from lake.lake import Lake
from lake.lineage import retract
from lake.migrations import migrate
from lake.probe import probe
from lake.replacing import replace_rows
from lake.scalars import summarise
from lake.store import ObjectStore, connect
from lake.tables import write_file
from lake.tidying import tidy
from schemas.columns import CALCULATIONS
from schemas.datasets import FrameQuery
from schemas.errors import StoreUnsafe
from schemas.settings import StoreSettings


@pytest.mark.parametrize("kind", ["folder", "moto", pytest.param("weed", marks=pytest.mark.s3)])
def test_sound_stores_pass_and_nothing_is_left(kind: str, request: pytest.FixtureRequest) -> None:
    opened: lake.Lake = request.getfixturevalue(f"{kind}_lake")
    before = sorted(found.key for found in opened.store.list())
    start = time.monotonic()
    probe(opened.store)
    assert time.monotonic() - start < 5
    assert sorted(found.key for found in opened.store.list()) == before
    if opened.store.folder is not None:
        assert not (opened.store.folder / ".atomlake-probe").exists()


class IgnoresConditions(ObjectStore):
    """A store like some S3 servers: a conditional PUT is an unconditional one."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        self.put(key, data)
        return True


class LosesRaces(ObjectStore):
    """A store that looks before it writes, but not in one step."""

    def put_if_absent(self, key: str, data: bytes) -> bool:
        if self.exists(key):
            return False
        time.sleep(0.2)
        self.put(key, data)
        return True


@pytest.mark.parametrize(("kind", "found"), [(IgnoresConditions, "If-None-Match"), (LosesRaces, "8 writers racing")])
def test_unsafe_stores_are_refused(kind: type[ObjectStore], found: str, tmp_path: Path) -> None:
    store = kind(str(tmp_path), StoreSettings())
    with pytest.raises(StoreUnsafe, match=found):
        probe(store)
    assert list(connect(str(tmp_path), StoreSettings()).list()) == []


def deeds(opened: Lake) -> dict[str, Callable[[], object]]:
    """Return every way in which the lake is written."""
    file = write_file(opened, "calculations", CALCULATIONS.arrow_schema().empty_table(), label="x")
    return {
        "create": opened.create,
        "commit": lambda: commit_batch(opened, [stage(opened, six_readings(), "c" * 64, 0)], "c" * 64),
        "commit files": lambda: commit_files(opened, "rejections", "c" * 64, lambda _: [file]),
        "compact": lambda: compact(opened, "frames"),
        "tidy": lambda: tidy(opened, "calculations"),
        "migrate": lambda: migrate(opened),
        "replace": lambda: replace_rows(opened, "frames", "c" * 64, {"none"}),
        "scalars": lambda: summarise(opened),
        "publish": lambda: opened.publish("other", FrameQuery(only_good=False)),
        "retract": lambda: retract(opened, "a.tar", "wrong"),
    }


def test_nothing_is_committed_to_a_store_that_would_lose_it(moto_lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    commit_batch(moto_lake, [stage(moto_lake, six_readings(), "b" * 64, 0)], "b" * 64)
    before = moto_lake.versions(), [manifest.name for manifest in moto_lake.datasets()]
    monkeypatch.setattr("lake.probe._PROBED", set())
    monkeypatch.setattr(ObjectStore, "put_if_absent", IgnoresConditions.put_if_absent)
    for name, deed in deeds(moto_lake).items():
        with pytest.raises(StoreUnsafe):
            print(name, deed())
    assert (moto_lake.versions(), [manifest.name for manifest in moto_lake.datasets()]) == before


def test_every_conditional_write_of_the_room_is_probed(root: Path) -> None:
    for file in (root / "lake").rglob("*.py"):
        text = file.read_text()
        if file.stem not in ("store", "probe", "place"):
            assert ".put_if_absent(" not in text, f"{file.name}: write with Place.put_once, which probes the store"
        if "try_commit(" in text or "DeltaTable.create(" in text or "create_write_transaction(" in text:
            assert "probe_once(lake.store)" in text, f"{file.name}: commits without a probe of the store"
