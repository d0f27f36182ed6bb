"""Real calculations of two codes brought to one zero of energy: structures that both have calculated agree afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from lake.alignment import STRUCTURES
from lake.commit import commit_batch, stage
from lake.inbox import discover
from lake.lake import Lake
from lake.reading import read_source
from lake.store import connect
from schemas.datasets import FrameQuery

QE, GPAW = "PBE/plane waves/qe", "PBE/plane waves/gpaw"
OXIDES = FrameQuery(elements=("Ca", "Mg", "O"), subsystems=True)


@pytest.mark.shared
def test_oxides_of_two_codes_agree_to_some_mev_an_atom(shared: Path, folder_lake: Lake) -> None:
    store = connect(str(shared / "dataset-mgcao"), folder_lake.settings.store)
    now = datetime.now(UTC) + timedelta(days=1)
    sources = discover(store, set(), bucket="inbox", quiet_seconds=0, now=now)
    readings = [read_source(each, store, folder_lake.settings.limits) for each in sources]
    commit_batch(folder_lake, [stage(folder_lake, readings, "b" * 64, 0)], "b" * 64)
    dataset = folder_lake.publish("both", OXIDES, theories=(QE, GPAW), align=QE)
    alignment = dataset.manifest.alignment
    assert alignment is not None
    (step,) = alignment.steps
    assert (step.method, step.rank) == (STRUCTURES, 2), "no mixture of MgO and CaO tells three elements apart"
    assert step.n_equations >= 10
    assert 0.001 < step.rms < 0.01
    assert alignment.notes == ()
    found = dataset.frames().filter(pl.col("natoms") > 1).group_by("configuration_hash").agg("code", "energy_per_atom").collect()
    both = found.filter(pl.col("code").list.n_unique() == 2)
    spread = both.select((pl.col("energy_per_atom").list.max() - pl.col("energy_per_atom").list.min()).alias("spread"))["spread"]
    assert both.height >= 10
    assert spread.max() < 0.02, "eV/atom; before, it was some hundred"
    before = folder_lake.select(OXIDES).filter(pl.col("element_system") == "Mg-O").group_by("code").agg(pl.col("energy_per_atom").mean())
    energies = dict(before.collect().iter_rows())
    assert abs(energies["qe"] - energies["gpaw"]) > 100
    dataset.verify()
