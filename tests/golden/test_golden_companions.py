"""Folders of ../shared with trajectories and input files beside the outputs, read as the lake reads them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from lake.inspection import inspect_file
from lake.reading import read_stream
from schemas.settings import LimitSettings

pytestmark = pytest.mark.shared
LIMITS = LimitSettings()


@pytest.mark.parametrize(
    ("case", "frames", "companions"),
    [
        ("cp2k/md-nvt-v2023.1", 4, {"cp2k-pos-1.xyz"}),
        ("cp2k/md-npt-f-v2023.1", 4, {"cp2k-pos-1.xyz"}),
        ("cp2k/water-md-virial-v7.1", 6, {"water-pos-1.xyz", "water-frc-1.xyz"}),
        ("cp2k/h2o-geo-opt", 13, {"H2O-pos-1.xyz"}),
        ("cp2k/ionic-liquid-md-v2022.1", 1, {"IL-pos-1.xyz", "IL-frc-1.xyz"}),
        ("openmx/aln-relax", 5, {"AlN.md"}),
    ],
)
def test_all_steps_with_a_geometry_are_there(shared: Path, case: str, frames: int, companions: set[str]) -> None:
    found = inspect_file(shared / "dft" / case, LIMITS)
    (calculation,) = found["calculations"]
    assert (calculation["n_frames"], set(calculation["files"][1:])) == (frames, companions)
    assert "companion_of_other_run" not in calculation["flags"]
    assert found["rejections"] == []


@pytest.mark.parametrize("case", ["cp2k/water-md-virial-v7.1", "openmx/aln-relax"])
def test_packed_in_any_order_it_is_the_same_calculation(shared: Path, case: str) -> None:
    folder = shared / "dft" / case
    (loose,) = inspect_file(folder, LIMITS)["calculations"]
    for backwards in (False, True):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
            for path in sorted(folder.iterdir(), reverse=backwards):
                tar.add(path, f"some/where/{path.name}")
        (packed,) = read_stream("a.tar.gz", lambda buffer=buffer: io.BytesIO(buffer.getvalue()), LIMITS).calculations  # type: ignore[misc]
        assert packed.calculation_id == loose["calculation_id"]


def test_input_files_of_vasp_fill_what_an_outcar_leaves_open(shared: Path) -> None:
    found = inspect_file(shared / "dft/vasp/nh3-neb-v5.4.4", LIMITS)["calculations"]
    images = [each for each in found if each["format"] == "OUTCAR"]
    assert len(images) == 3
    for image in images:
        assert "KPOINTS" in image["files"]
        assert "dk 1.05" in image["numerics"]


def test_no_input_file_of_the_reference_runs_contradicts_its_output(shared: Path) -> None:
    for case in ("gaas-r2scan-static-v6.4.1", "nio-plus-u-v6.4.1", "licl64-rattled-2-ispin2", "sn8-tight-relax-v6.1.2"):
        for calculation in inspect_file(shared / "dft/vasp" / case, LIMITS)["calculations"]:
            assert "sources_disagree" not in calculation["flags"], case
