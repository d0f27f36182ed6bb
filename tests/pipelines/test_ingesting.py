"""Reading on Dask and committing, without Prefect: exactly once, retries, and what a batch deals to whom."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

import lake
from lake.commit import commit_batch, stage
from lake.inbox import upload
from lake.store import connect, make_bucket
from pipelines.artifacts import batch_summary, batch_table
from pipelines.ingesting import ATTEMPTS, failed_by_the_store, ingest_once, retry_source, shares
from pipelines.reference import compare
from schemas.errors import UnknownName
from schemas.settings import DaskSettings, IngestSettings, Settings
from schemas.sources import Rejection, SourceObject, SourceReading

ARCHIVES = ("qe-pbe_mgo_rattle-000.tar.gz", "qe-pbe_mg1ca3_rattle.tar.bz2", "qe-pbe_mg3ca1_rattle.tar.xz", "scf-not-converged.tar.gz")


def source(key: str, size: int) -> SourceObject:
    return SourceObject("inbox", key, "etag", size, datetime(2026, 1, 1, tzinfo=UTC), ())


@pytest.fixture(scope="module")
def settings(moto_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    store = replace(moto_settings.store, lake_url="s3://lake-of-ingest", inbox_bucket="drops")
    home = tmp_path_factory.mktemp("ingest")
    made = Settings(home=home, store=store, ingest=IngestSettings(quiet_seconds=0, batch_sources=2), dask=DaskSettings(workers=1))
    make_bucket("drops", store)
    return made


def test_archives_are_taken_once(settings: Settings, root: Path) -> None:
    files = [root / "examples/mgcao" / name for name in ARCHIVES]
    upload(connect("s3://drops", settings.store), files, project="oxides", materials=["periclase"])
    reports = ingest_once(settings)
    assert len(reports) == 2, "four sources in batches of two"
    rows = {row["source"]: row for report in reports for row in batch_table(report)}
    assert {key: row["state"] for key, row in rows.items()} == {
        f"oxides/{name}": "rejected" if "scf" in name else "taken" for name in ARCHIVES
    }
    assert "no_complete_step" in str(rows["oxides/scf-not-converged.tar.gz"]["reasons"])
    assert "new frames" in batch_summary(reports[0])
    opened = lake.open(settings=settings)
    found = compare(opened, root / "examples/mgcao-expected.csv", {name: f"oxides/{name}" for name in ARCHIVES})
    assert len(found) == 16
    assert [c for c in found if not c.agrees] == []
    assert opened.search("PERICLASE").systems[0].n_frames > 0
    assert ingest_once(settings) == [], "the second look finds nothing new"


def test_a_retry_is_a_new_attempt_and_adds_no_frame(settings: Settings) -> None:
    opened = lake.open(settings=settings)
    before = opened.frames().select(pl.len()).collect().item()
    (report,) = retry_source(settings, "oxides/qe-pbe_mgo_rattle-000.tar.gz")
    assert (report.n_frames_new, report.n_calculations_new) == (0, 0)
    assert opened.frames().select(pl.len()).collect().item() == before
    attempts = opened.sources().filter(pl.col("key") == "oxides/qe-pbe_mgo_rattle-000.tar.gz").select("attempt").collect()
    assert sorted(attempts["attempt"]) == [1, 2]
    with pytest.raises(UnknownName, match="did you mean"):
        retry_source(settings, "oxides/qe-pbe_mgo_rattle-00.tar.gz")


def test_what_the_store_failed_to_deliver_is_read_again_by_itself(tmp_path: Path) -> None:
    opened = lake.open(str(tmp_path / "lake"), Settings(home=tmp_path)).create()
    for attempt in range(1, ATTEMPTS + 1):
        for key, reason in (("flaky.zip", "store_failed"), ("broken.zip", "corrupt_archive")):
            reading = SourceReading(replace(source(key, 1), attempt=attempt), (), (Rejection("", reason, "found", "do"),))
            commit_batch(opened, [stage(opened, [reading], f"{key}-{attempt}", 0)], f"{key}-{attempt}")
        expected = {source("flaky.zip", 1).source_id} if attempt < ATTEMPTS else set()
        assert failed_by_the_store(opened, "inbox") == expected


def test_shares_are_even_and_always_the_same() -> None:
    sources = [source(f"{number:02d}.tar.gz", 10**6 * (1 + number % 3)) for number in range(20)]
    dealt = shares(sources, 4)
    assert sorted(s.key for share in dealt for s in share) == [s.key for s in sources]
    loads = [sum(s.size for s in share) for share in dealt]
    assert max(loads) - min(loads) <= 3 * 10**6
    assert shares(list(reversed(sources)), 4) == dealt
    assert shares(sources[:2], 8) == [[sources[1]], [sources[0]]]


def test_settings_can_be_sent_to_workers_and_hide_the_secret(settings: Settings) -> None:
    secret = replace(settings.store, secret_key="not-to-be-seen")
    assert "not-to-be-seen" not in repr(replace(settings, store=secret))
