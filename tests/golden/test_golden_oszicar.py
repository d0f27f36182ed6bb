"""Real OSZICARs: the cycles that they tell are those of the OUTCAR of the same run; one of another run of the folder tells nothing."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest

from lake.readers.vasp.cycles import Criterion
from lake.readers.vasp.frames import StepEnergies
from lake.readers.vasp.oszicar import Cycle, judged_by, read_cycles
from lake.readers.vasp.outcar import OUTCAR
from schemas.frames import FrameBlock


def content(folder: Path, name: str) -> bytes:
    packed = folder / f"{name}.gz"
    return gzip.decompress(packed.read_bytes()) if packed.is_file() else (folder / name).read_bytes()


def both(folder: Path) -> tuple[Sequence[Cycle], FrameBlock, list[StepEnergies]]:
    reader = OUTCAR.open()
    reader.feed(content(folder, "OUTCAR"))
    (run,) = reader.close()
    return read_cycles(content(folder, "OSZICAR")), run.frames, [StepEnergies(free, free, free) for free in run.frames.energy.tolist()]


@pytest.mark.parametrize("run", ["gaas-r2scan-static-v6.4.1", "znps-phonondb-static-v5.4.1"])
def test_cycles_of_an_oszicar_are_those_of_the_outcar(shared: Path, run: str) -> None:
    cycles, frames, energies = both(shared / "dft" / "vasp" / run)
    judged = judged_by(cycles, energies, Criterion(60, 1.0, cycle=True))
    assert judged is not None
    assert [steps for steps, *_ in judged] == frames.n_scf_steps.tolist()


@pytest.mark.parametrize("image", ["01", "02", "03"])
def test_an_oszicar_of_another_run_of_the_folder_tells_nothing(shared: Path, image: str) -> None:
    """The OUTCARs of this path of images are of a repetition: the first energies agree to all digits, the numbers of steps do not."""
    cycles, frames, energies = both(shared / "dft" / "vasp" / "nh3-neb-v5.4.4" / image)
    assert len(cycles) != frames.count
    assert judged_by(cycles, energies, Criterion(60, 1.0, cycle=True)) is None
