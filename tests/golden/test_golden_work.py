"""Sign and unit of forces, code by code, by the work they do in real relaxations and dynamics: no other reader has a part in it.

From one step to the next the energy changes by minus the mean of both steps' forces times the displacement, and by the mean stress
times the strain of the cell: with the wrong sign the slope were -1, with a wrong unit 1.9, 2 or 27. Where no real output of a code
has two steps with forces, something else that the code prints of the same forces decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from lake.readers import READERS
from lake.readers.described import READER_DOCS
from lake.reading import Part, read_parts
from schemas.calculations import Calculation
from schemas.frames import Floats, FrameBlock
from schemas.settings import LimitSettings
from schemas.units import BOHR, HARTREE

pytestmark = pytest.mark.shared
LONGEST_MOVE = 0.1
"""Å; the mean of two steps is near enough to the mean along the way."""
LARGEST_STRAIN = 0.02
MOVING: dict[str, tuple[str, ...]] = {
    "vasp": (
        "dft/vasp/h2o-md10-v5.4.4", "dft/vasp/ti32-aimd-nwrite0-v6.3.0", "dft/vasp/nh3-neb-v5.4.4/01", "dft/vasp/si8-cell-relax-v5.4.1",
    ),
    "qe": ("dft/qe/qe-suite-md-wfc-extrap1", "dft/qe/qe-suite-vc-relax2", "dataset-mgcao/mgo/qe-pbe_mgo_md-1200K.tar.gz"),
    "cp2k": ("dft/cp2k/water-md-virial-v7.1",),
    "gpaw": ("dataset-mgcao/mgo/gpaw-pbe_mgo_md-600K.tar.gz", "dataset-mgcao/mgo/gpaw-pbe_mgo_relax.tar.gz"),
    "castep": ("dft/castep/o2-geom-spin", "dft/castep/si8-md-npt"),
    "fhi-aims": ("dft/fhi-aims/si-geomopt",),
    "openmx": ("dft/openmx/aln-relax", "dft/openmx/methane"),
    "orca": ("dft/orca/dvb-gopt-v5.0",),
    "abacus": ("dft/abacus/cell-relax",),
    "nwchem": ("dft/nwchem/ch4", "dft/nwchem/geometry-opt", "dataset-mgcao/other-codes/other-codes_h2o_nwchem-optimize.tar.gz"),
}  # fmt: skip
"""Real outputs with several steps, by code."""
WITHIN = {"vasp": 0.01, "qe": 0.01, "cp2k": 0.01, "gpaw": 0.01, "castep": 0.05, "openmx": 0.01}
"""By how much the slope may differ from 1; others 0.1: their steps are few or long, or the cell moves at a fixed cutoff."""
OTHERWISE = {
    "siesta": "test_forces_of_siesta_are_the_stress_of_a_molecule",
    "gaussian": "test_forces_of_gaussian_predict_its_change_of_energy",
    "abinit": "test_stress_derivative::test_forces_are_minus_the_derivative_of_the_energy",
    "elk": "test_stress_derivative::test_forces_are_minus_the_derivative_of_the_energy",
}
"""Codes without such outputs, and what proves the sign and unit of their forces."""


@cache
def calculations(path: Path) -> tuple[Calculation, ...]:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    parts = [Part(file.name, str(file.relative_to(path)).removeprefix("."), partial(file.open, "rb")) for file in files]
    return read_parts(parts, LimitSettings()).calculations


def pairs(frames: FrameBlock) -> Iterator[tuple[float, float, float]]:
    """Yield work and change of the energy (eV) between neighbouring steps that are near each other, and the strain between them."""
    cells = np.where(frames.cell.any(axis=(1, 2))[:, None, None], frames.cell, np.eye(3) * 1e3)
    for a in range(frames.count - 1):
        if 0 in frames.scf_converged[a : a + 2] or "machine_learned" in frames.flags[a] + frames.flags[a + 1]:
            continue
        first, second = cells[a], cells[a + 1]
        strain = np.linalg.solve(first, second)
        strain = (strain + strain.T) / 2 - np.eye(3)
        moved = frames.positions[a + 1] @ np.linalg.inv(second) - frames.positions[a] @ np.linalg.inv(first)
        moved = (moved - np.round(moved)) @ (first + second) / 2
        work = -np.sum((frames.forces[a] + frames.forces[a + 1]) * moved) / 2
        largest = float(np.abs(strain).max())
        if largest > 1e-7:
            volume = (abs(np.linalg.det(first)) + abs(np.linalg.det(second))) / 2
            work += volume * np.tensordot(frames.stress[a] + frames.stress[a + 1], strain) / 2
        change = frames.energy[a + 1] - frames.energy[a]
        if np.isfinite(work + change) and np.linalg.norm(moved, axis=1).max() < LONGEST_MOVE and largest < LARGEST_STRAIN:
            yield float(work), float(change), largest


def work_and_change(shared: Path, code: str) -> Floats:
    """Return (pairs, 3): work, change of the energy and strain between near neighbours of all steps of the real outputs of a code."""
    found = []
    for case in MOVING[code]:
        runs = [each for each in calculations(shared / case) if each.run.code == code]
        assert runs, case
        for calculation in runs:
            found += list(pairs(calculation.run.frames))
    return np.array(found).reshape(-1, 3)


@pytest.mark.parametrize("code", MOVING)
def test_forces_do_the_work_that_the_energy_loses(shared: Path, code: str, record_property: pytest.RecordProperty) -> None:
    work, change, strain = work_and_change(shared, code).T
    slope = float(work @ change / (work @ work))
    record_property("slope", slope)
    print(f"{code}: {len(work)} pairs of steps, {int((strain > 1e-7).sum())} of them strained: change of energy = {slope:.4f} x work")
    assert len(work) >= 2
    assert slope == pytest.approx(1.0, abs=WITHIN.get(code, 0.1))
    assert np.abs(work - change).sum() < 0.15 * np.abs(change).sum()


def test_every_code_with_a_stress_has_its_proof(shared: Path) -> None:
    """Where a real output gives a stress its reader names a test: a strain derivative, the code's own pressure, or a file that has one."""
    proofs = {doc.name: doc.proof for doc in READER_DOCS}
    files = [file for file in (shared / "dft").rglob("*") if file.is_file() and file.stat().st_size < 2_000_000 and file.suffix != ".csv"]
    given = {
        calculation.run.format
        for file in files
        for calculation in read_parts([Part(file.name, "", partial(file.open, "rb"))], LimitSettings()).calculations
        if np.isfinite(calculation.run.frames.stress).any()
    }
    assert given >= {"pw.x stdout", "pw.x XML", "vasprun.xml", "OUTCAR", "CP2K log", "ABINIT output", "SIESTA output", "CASTEP output"}
    assert given >= {"FHI-aims output", "ABACUS log", "ABINIT GSR.nc", "ABINIT log"}
    assert [name for name in given - {"ASE trajectory"} if "::" not in proofs[name]] == []


def test_every_code_with_forces_has_its_evidence() -> None:
    """Every reader of one code's output is here, either by steps of real outputs or by a test that exists."""
    codes = {spec.code for spec in READERS} - {"extxyz", "runner", "deepmd", "ase"}
    assert codes == set(MOVING) | set(OTHERWISE)
    texts = {file.stem: file.read_text() for file in Path(__file__).parent.glob("test_*.py")}
    for proof in OTHERWISE.values():
        file, _, name = proof.rpartition("::")
        assert f"def {name}(" in texts[file or Path(__file__).stem]


def molecule(frames: FrameBlock, k: int) -> tuple[Floats, Floats]:
    """Return stress times volume of a step, and what it is for a molecule alone in its cell: minus the sum of r times F (eV, 3x3)."""
    cell = frames.cell[k]
    scaled = frames.positions[k] @ np.linalg.inv(cell)
    positions = (scaled - np.round(scaled - scaled[0])) @ cell
    forces = frames.forces[k] - frames.forces[k].mean(axis=0)
    return frames.stress[k] * abs(np.linalg.det(cell)), -positions.T @ forces


def test_forces_of_siesta_are_the_stress_of_a_molecule(shared: Path) -> None:
    """The printed pressure fixes the sign of the stress (`test_golden_other_codes`), and this, up to the molecules around, the forces."""
    (calculation,) = calculations(shared / "dft/siesta/h2o-scf")
    stress, expected = molecule(calculation.run.frames, 0)
    assert expected[0, 0] == pytest.approx(-0.99, abs=0.01)
    np.testing.assert_allclose(stress, expected, atol=0.1)


def test_stress_of_abacus_is_that_of_a_molecule(shared: Path) -> None:
    """The cutoff adds to the stress what is nearly the same in all steps, so the change from the first to the second is compared."""
    (calculation,) = calculations(shared / "dft/abacus/cell-relax")
    (first, forces), (second, other) = (molecule(calculation.run.frames, k) for k in (0, 1))
    change, expected = second - first, other - forces
    assert np.abs(expected).max() > 6
    assert float(np.sum(change * expected) / np.sum(expected**2)) == pytest.approx(1.0, abs=0.05)


def test_forces_of_gaussian_predict_its_change_of_energy(shared: Path) -> None:
    """Its optimiser prints where each coordinate goes and by how much the energy will fall: half the work of our forces."""
    (calculation,) = calculations(shared / "dft/gaussian/methane-g16/methane.log")
    text = (shared / "dft/gaussian/methane-g16/methane.log").read_bytes()
    rows = re.findall(rb"\n +[XYZ]\d+ +(-?\d+\.\d+)(?: +-?\d+\.\d+){4} +(-?\d+\.\d+)(?=\n)", text)
    moved = np.array([float(new) - float(old) for old, new in rows]).reshape(-1, 3) * BOHR
    printed = re.search(rb"Predicted change in Energy=(\S+)", text)
    assert printed is not None
    predicted = float(printed[1].replace(b"D", b"E")) * HARTREE
    assert predicted < 0
    assert -np.sum(calculation.run.frames.forces[0] * moved) / 2 == pytest.approx(predicted, rel=0.05)
