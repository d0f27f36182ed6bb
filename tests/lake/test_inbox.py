"""What lies in the inbox becomes sources and batches; what was read is not taken again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from made_up_readings import BAD, MGO, made_calculation, made_reading

from lake.commit import commit_batch, stage
from lake.inbox import Ledger, batch_id, discover, plan_batches, sources_in, upload
from lake.lake import Lake
from lake.store import ObjectStore, connect, make_bucket
from schemas.errors import QueryError
from schemas.settings import IngestSettings, Settings, StoreSettings
from schemas.sources import InboxObject, SourceObject

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def sources_of(*keys: str) -> dict[str, tuple[str, ...]]:
    objects = [InboxObject(key, f"e-{key}", 10, NOON) for key in keys]
    return {source.key: tuple(part.key for part in source.parts) for source in sources_in(objects, "inbox")}


def alone(*keys: str) -> dict[str, tuple[str, ...]]:
    return {key: (key,) for key in keys}


def test_archives_are_sources_wherever_they_lie() -> None:
    keys = ("x.tar", "p/y.TGZ", "p/f/z.tar.zst", "p/f/deep/w.zip")
    assert sources_of(*keys) == alone(*keys)


def test_loose_files_of_a_folder_are_one_source_with_its_subfolders() -> None:
    found = sources_of("p/f/run.out", "p/f/sub/a.out.gz", "p/f/more.tar", "p/g/run.out", "p/f/atomlake.yaml")
    assert found == {
        "p/f/": ("p/f/atomlake.yaml", "p/f/run.out", "p/f/sub/a.out.gz"), "p/g/": ("p/g/run.out",), "p/f/more.tar": ("p/f/more.tar",),
    }  # fmt: skip


def test_bare_files_of_a_project_are_sources_of_their_own() -> None:
    assert sources_of("run.out", "p/a.out", "p/b.out.gz", "p/atomlake.yaml", "atomlake.yaml", "p/") == alone(
        "run.out", "p/a.out", "p/b.out.gz"
    )


def test_files_that_one_run_always_writes_belong_together() -> None:
    assert sources_of("run/OUTCAR.gz", "run/vasprun.xml", "run/notes.txt") == {
        "run/": ("run/OUTCAR.gz", "run/notes.txt", "run/vasprun.xml")
    }


def test_a_folder_with_another_part_is_another_source() -> None:
    objects = [InboxObject("p/f/a", "1", 10, NOON), InboxObject("p/f/b", "2", 10, NOON + timedelta(seconds=5))]
    (first,) = sources_in(objects, "inbox")
    (again,) = sources_in(reversed(objects), "inbox")
    (changed,) = sources_in([objects[0], InboxObject("p/f/b", "3", 10, NOON)], "inbox")
    assert first == again
    assert (first.size, first.last_modified) == (20, NOON + timedelta(seconds=5))
    assert first.source_id != changed.source_id


@pytest.fixture
def inbox(tmp_path: Path) -> ObjectStore:
    store = connect(str(tmp_path / "inbox"), StoreSettings())
    for key in ("b.tar", "p/f/run.out", "a.tar"):
        store.put(key, key.encode())
    return store


def test_new_sources_are_found_when_they_are_quiet(inbox: ObjectStore) -> None:
    now = datetime.now(UTC)
    assert discover(inbox, set(), bucket="inbox", quiet_seconds=60, now=now) == []
    found = discover(inbox, set(), bucket="inbox", quiet_seconds=60, now=now + timedelta(seconds=90))
    assert [source.key for source in found] == ["a.tar", "b.tar", "p/f/"]
    seen = {(found[0].key, found[0].etag)}
    later = discover(inbox, seen, bucket="inbox", quiet_seconds=0, now=now + timedelta(seconds=90))
    assert [source.key for source in later] == ["b.tar", "p/f/"]


def test_a_changed_object_is_a_new_source(inbox: ObjectStore) -> None:
    later = datetime.now(UTC) + timedelta(seconds=90)
    found = discover(inbox, set(), bucket="inbox", quiet_seconds=0, now=later)
    seen = {(source.key, source.etag) for source in found}
    inbox.put("a.tar", b"other bytes")
    inbox.put("p/f/run2.out", b"more")
    assert [s.key for s in discover(inbox, seen, bucket="inbox", quiet_seconds=0, now=later)] == ["a.tar", "p/f/"]


def test_the_ledger_is_the_table_of_sources(folder_lake: Lake) -> None:
    reading = made_reading("a.tar", made_calculation(MGO), rejections=(BAD,))
    commit_batch(folder_lake, [stage(folder_lake, [reading], "b" * 64, 0)], "b" * 64)
    ledger = folder_lake.ledger("inbox")
    assert ledger == Ledger({("a.tar", "e1"): 1})
    assert ledger.next_attempt("a.tar", "e1") is None
    assert ledger.next_attempt("a.tar", "e2") == 1
    again = folder_lake.ledger("inbox", retry=frozenset({reading.source.source_id}))
    assert again.next_attempt("a.tar", "e1") == 2
    assert folder_lake.ledger("other").attempts == {}
    with pytest.raises(QueryError, match="has never been read"):
        folder_lake.ledger("inbox", retry=frozenset({"0" * 64}))


def source(key: str, size: int, attempt: int = 1) -> SourceObject:
    return SourceObject("inbox", key, "e", size, NOON, (), attempt=attempt)


def test_batches_are_planned_by_count_and_bytes_in_the_order_of_keys() -> None:
    sources = [source(key, size) for key, size in (("d", 1), ("a", 60), ("c", 50), ("b", 40), ("e", 500), ("f", 1))]
    planned = plan_batches(sources, IngestSettings(batch_sources=2, batch_bytes=100))
    assert [[each.key for each in batch] for batch in planned] == [["a", "b"], ["c", "d"], ["e"], ["f"]]
    assert plan_batches(sources[::-1], IngestSettings(batch_sources=2, batch_bytes=100)) == planned
    assert plan_batches([], IngestSettings()) == []


def test_a_batch_is_named_by_its_sources_and_attempts() -> None:
    a, b = source("a", 1), source("b", 1)
    assert batch_id([a, b]) == batch_id([b, a]) != batch_id([a])
    assert batch_id([a]) != batch_id([source("a", 1, attempt=2)])


@pytest.mark.parametrize("kind", ["folder", "moto", pytest.param("weed", marks=pytest.mark.s3)])
def test_uploads_put_what_is_not_there_yet(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = connect(str(tmp_path / "inbox"), StoreSettings())
    if kind != "folder":
        settings: Settings = request.getfixturevalue(f"{kind}_settings")
        make_bucket("inbox-tests", settings.store)
        store = connect(f"s3://inbox-tests/{tmp_path.name}", settings.store)
    (tmp_path / "runs" / "sub").mkdir(parents=True)
    (tmp_path / "runs" / "pw.out").write_bytes(b"one")
    (tmp_path / "runs" / "sub" / "pw 2.out").write_bytes(b"two")
    (tmp_path / "big.tar").write_bytes(bytes(range(256)) * 40_000)
    said: list[tuple[str, int, int]] = []
    paths = [tmp_path / "runs", tmp_path / "big.tar"]

    def put() -> list[str]:
        return upload(store, paths, project="p", materials=["カオリナイト", "kaolinite"], progress=lambda *each: said.append(each))

    assert sorted(put()) == ["p/big.tar", "p/runs/pw.out", "p/runs/sub/pw 2.out"]
    assert ("p/big.tar", 10_240_000, 10_240_000) in said
    metadata = store.metadata("p/runs/pw.out")
    assert (metadata["project"], metadata["material"]) == ("p", "カオリナイト;kaolinite")
    said.clear()
    assert put() == []
    assert sorted(said) == [("p/big.tar", -1, 10_240_000), ("p/runs/pw.out", -1, 3), ("p/runs/sub/pw 2.out", -1, 3)]
    (tmp_path / "runs" / "pw.out").write_bytes(b"new")
    assert put() == ["p/runs/pw.out"]
    found = discover(store, set(), bucket="b", quiet_seconds=0, now=datetime.now(UTC) + timedelta(seconds=90))
    assert [(each.key, len(each.parts)) for each in found] == [("p/big.tar", 1), ("p/runs/", 2)]


def test_paths_and_projects_that_cannot_be_are_said(inbox: ObjectStore, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="neither a file nor a folder"):
        upload(inbox, [tmp_path / "nothing"])
    with pytest.raises(QueryError, match="one folder of the inbox"):
        upload(inbox, [tmp_path], project="a/b")
