"""What `atomlake inspect --json` prints."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_outputs import MADE_READERS, made_run, tar_of, written
from made_up_readings import made_block

from lake.inspection import inspect_file
from schemas.errors import UnreadableOutput
from schemas.settings import LimitSettings

LIMITS = LimitSettings()
BLOCK = made_block([12, 12, 8, 8], 3, 1)
CALCULATION = "calculation_id, code, code_version, kind, files, theory, numerics, natoms, element_system, n_frames, complete, flags, frames"
FRAME = "step, energy, energy_sigma0, energy_internal, energy_source, max_force, stress, scf_converged, n_scf_steps, flags"
ARRAYS = "numbers, positions, cell, pbc, forces"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    stress, forces = BLOCK.stress.copy(), BLOCK.forces.copy()
    stress[1] = np.nan
    forces[2] = np.nan
    file = tmp_path / "a.tar.gz"
    log = written(made_run(replace(BLOCK, stress=stress, forces=forces)))
    file.write_bytes(gzip.compress(tar_of({"run/pw.out": log, "bad/OUTCAR": b"?"})))
    return file


def test_the_records_are_those_of_the_design(archive: Path) -> None:
    found = inspect_file(archive, LIMITS, readers=MADE_READERS)
    assert set(found) == {"calculations", "rejections"}
    (calculation,) = found["calculations"]
    assert set(CALCULATION.split(", ")) <= set(calculation)
    assert (calculation["element_system"], calculation["natoms"], calculation["n_frames"]) == ("Mg-O", 4, 3)
    assert (calculation["theory"], calculation["files"]) == ("PBE/plane waves/qe", ["run/pw.out"])
    first, second, third = calculation["frames"]
    assert list(first) == FRAME.split(", ")
    assert first["energy"] == BLOCK.energy[0]
    assert first["stress"] == BLOCK.stress[0].reshape(9).tolist()
    assert first["max_force"] == pytest.approx(np.linalg.norm(BLOCK.forces[0], axis=1).max())
    assert (second["stress"], second["flags"]) == (None, ["missing_stress"])
    assert (third["max_force"], third["flags"]) == (None, ["missing_forces"])
    assert found["rejections"][0]["member"] == "bad/OUTCAR"
    assert set(found["rejections"][0]) == {"member", "reason", "detail", "remedy"}


def test_arrays_on_demand_and_strict_json(archive: Path) -> None:
    found = inspect_file(archive, LIMITS, arrays=True, readers=MADE_READERS)
    frames = json.loads(json.dumps(found, allow_nan=False))["calculations"][0]["frames"]
    assert list(frames[0]) == f"{FRAME}, {ARRAYS}".split(", ")
    assert frames[0]["numbers"] == [12, 12, 8, 8]
    assert np.array_equal(frames[0]["positions"], BLOCK.positions[0])
    assert np.array_equal(frames[0]["cell"], BLOCK.cell[0])
    assert np.array_equal(frames[0]["forces"], BLOCK.forces[0])
    assert frames[2]["forces"] is None
    assert frames[0]["pbc"] == [True, True, True]


def test_a_folder_is_read_like_a_folder_of_loose_files(tmp_path: Path) -> None:
    (tmp_path / "run" / "pw.save").mkdir(parents=True)
    (tmp_path / "run" / "pw.out").write_bytes(written(made_run(BLOCK)))
    (tmp_path / "run" / "pw.save" / "data.xml").write_bytes(written(made_run(BLOCK, name="made xml")))
    (calculation,) = inspect_file(tmp_path, LIMITS, readers=MADE_READERS)["calculations"]
    assert calculation["files"] == ["run/pw.out", "run/pw.save/data.xml"]
    assert calculation["member"] == "run"


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnreadableOutput, match="no such file"):
        inspect_file(tmp_path / "nothing", LIMITS)
