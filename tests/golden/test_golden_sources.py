"""Whole archives and folders of ../shared as sources: what is taken of each, grouped, with its level of theory."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from lake.inspection import inspect_file
from lake.reading import read_stream
from lake.theory import conflicts, verdict
from schemas.settings import LimitSettings
from schemas.theory import LevelOfTheory

pytestmark = pytest.mark.shared
LIMITS = LimitSettings()


def levels_of(files: list[Path]) -> Iterator[LevelOfTheory]:
    for file in files:
        for calculation in read_stream(file.name, lambda file=file: file.open("rb"), LIMITS).calculations:  # type: ignore[misc]
            yield calculation.run.level_of_theory


def test_every_run_of_the_dataset_comes_out_of_its_archive(shared: Path) -> None:
    folder = shared / "dataset-mgcao"
    with (folder / "expected.csv").open() as file:
        expected = [row for row in csv.DictReader(file) if row["code"] == "qe"]
    for archive in sorted({row["archive"] for row in expected}):
        found = inspect_file(folder / archive, LIMITS)
        assert found["rejections"] == [], archive
        runs = {calculation["member"]: calculation for calculation in found["calculations"]}
        rows = {row["member"]: row for row in expected if row["archive"] == archive}
        assert set(runs) == set(rows)
        for member, row in rows.items():
            compare(runs[member], row)


def compare(run: dict[str, Any], row: dict[str, str]) -> None:
    assert run["n_frames"] == int(row["n_energies"])
    assert (run["code_version"], run["natoms"]) == (row["version"], int(row["natoms"]))
    assert run["frames"][0]["energy"] == pytest.approx(float(row["E_first_eV"]), abs=1e-6)
    assert run["frames"][-1]["energy"] == pytest.approx(float(row["E_last_eV"]), abs=1e-6)
    assert run["frames"][-1]["max_force"] == pytest.approx(float(row["fmax_last_eV_per_A"]), abs=1e-5)
    assert sum(f["scf_converged"] is False for f in run["frames"]) == int(row["n_scf_not_converged"])
    assert run["complete"] is (row["complete"] == "yes")
    assert not {"sources_disagree", "companion_of_other_run"} & set(run["flags"])


def test_one_level_goes_together_over_all_systems_and_two_do_not(shared: Path) -> None:
    folder = shared / "dataset-mgcao"
    pbe = list(levels_of(sorted(folder.glob("*/qe-pbe_*"))))
    lda = list(levels_of(sorted(folder.glob("*/qe-lda_*"))))
    assert len(pbe) > 100
    assert conflicts(pbe) == []
    assert conflicts(lda) == []
    assert {verdict(a, b).kind for a in pbe[:20] for b in lda[:20]} == {"incompatible"}
    assert {verdict(a, b).kind for a, b in combinations(pbe[::7], 2)} <= {"same", "compatible"}


@pytest.mark.parametrize(
    "case", ["h2o-md10-v5.4.4", "ge-vdw-v5.4.4", "si-exit-ionic-unconverged", "si-r2scan-relax-v6.4.1", "licl64-rattled-11"]
)
def test_vasprun_and_outcar_of_one_run_are_one_calculation(shared: Path, case: str) -> None:
    (calculation,) = inspect_file(shared / "dft" / "vasp" / case, LIMITS)["calculations"]
    assert [file.rpartition("/")[2].split(".")[0] for file in calculation["files"]] == ["vasprun", "OUTCAR"]
    assert calculation["flags"] == []


def test_an_outcar_with_fewer_steps_is_a_note(shared: Path) -> None:
    (calculation,) = inspect_file(shared / "dft" / "vasp" / "ti32-aimd-nwrite0-v6.3.0", LIMITS)["calculations"]
    assert calculation["n_frames"] == 10
    assert "vasprun.xml has 10 steps, OUTCAR has 2" in calculation["notes"]


def test_the_xml_of_another_run_is_not_merged(shared: Path) -> None:
    log, xml = inspect_file(shared / "dft" / "qe" / "aq-failed-interrupted-stdout", LIMITS)["calculations"]
    assert (log["files"], xml["files"]) == (["aiida.out"], ["data-file-schema.xml"])
    assert "companion_of_other_run" in log["flags"]
    assert xml["flags"] == []


def test_images_of_an_elastic_band_are_runs_of_their_own(shared: Path) -> None:
    found = inspect_file(shared / "dft" / "vasp" / "nh3-neb-v5.4.4", LIMITS)["calculations"]
    assert [c["n_frames"] for c in found if c["format"] == "OUTCAR"] == [23, 23, 23]
