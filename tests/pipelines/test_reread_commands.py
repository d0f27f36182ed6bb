"""The commands that read sources again, and that put several levels of theory into one dataset."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_homes import run
from made_up_readings import MGO, PBE, made_block, made_calculation, made_reading

import lake
from lake.commit import commit_batch, stage
from lake.inbox import upload
from lake.store import connect, make_bucket
from lake.theory import theory_key
from pipelines.ingesting import ingest_once
from schemas.settings import Settings, load

VASP = replace(PBE, code="vasp", cutoff=520.0, pseudopotentials=(("Mg", "PAW_PBE Mg"), ("O", "PAW_PBE O")))


@pytest.fixture
def settings(moto_settings: Settings, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Return settings, as the environment has them too, of a lake that took two of the examples."""
    values = {
        "HOME": str(tmp_path), "STORE_ENDPOINT_URL": moto_settings.store.endpoint_url, "STORE_ACCESS_KEY": "test",
        "STORE_SECRET_KEY": "test", "STORE_INBOX_BUCKET": "reread-drops", "STORE_LAKE_URL": "s3://lake-of-reread",
        "INGEST_QUIET_SECONDS": "0", "DASK_WORKERS": "1",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(f"ATOMLAKE_{name}", value)
    found = load()
    make_bucket("reread-drops", found.store)
    files = sorted((root / "examples/mgcao").glob("qe-pbe_mgo_rattle-*.tar.gz"))[:2]
    upload(connect("s3://reread-drops", found.store), files, project="oxides")
    ingest_once(found)
    return found


def test_what_the_lake_has_otherwise_is_read_again(settings: Settings) -> None:
    opened = lake.open(settings=settings)
    expected = opened.frames(only_good=False).sort("frame_id").collect()
    assert expected.height == 2
    opened.table("frames").update({"n_scf_steps": "null"})
    run("reread", code=2)
    looked = json.loads(run("reread", "--code", "qe", "--dry-run", "--json"))
    assert looked["columns"] == {"frames.n_scf_steps": expected.height}
    assert opened.frames(only_good=False).collect()["n_scf_steps"].null_count() == expected.height
    words = run("reread", "--code", "qe")
    assert "2 sources read again" in words
    assert "frames.n_scf_steps" in words
    assert opened.frames(only_good=False).sort("frame_id").collect().equals(expected)
    connect("s3://reread-drops", settings.store).delete(opened.sources().collect()["key"].sort()[0])
    again = run("reread", "--everything")
    assert "missing oxides/qe-pbe_mgo_rattle" in again
    assert json.loads(run("reread", "--outdated", "--json"))["n_sources"] == 0


def test_a_dataset_of_two_codes_shows_how_it_was_aligned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOMLAKE_HOME", str(tmp_path))
    monkeypatch.setenv("ATOMLAKE_STORE_LAKE_URL", str(tmp_path / "lake"))
    opened = lake.open(settings=load()).create()
    block = made_block(MGO, 5, 1)
    shifted = replace(block, energy=block.energy - 4000.0)
    calculations = [made_calculation(MGO, block=block), made_calculation(MGO, block=shifted, level=VASP)]
    commit_batch(opened, [stage(opened, [made_reading("a.tar", *calculations)], "b" * 64, 0)], "b" * 64)
    theories = ["--theory", theory_key(PBE), "--theory", theory_key(VASP)]
    words = run("dataset", "create", "both", "--elements", "Mg,O", *theories, "--align-to", theory_key(PBE))
    assert f"energies aligned to {theory_key(PBE)}" in words
    assert "5 equal structures fixed 1 offsets; left: 0.00 meV/atom rms" in words
    assert "only in sums" in words
    assert "energies aligned to" in run("dataset", "show", "both")
    told = json.loads(run("dataset", "show", "both", "--json"))["alignment"]
    assert sum(each["offset"] for each in told["offsets"]) == pytest.approx(2000.0)
    assert "content hash" in run("dataset", "verify", "both")
