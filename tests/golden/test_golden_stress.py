"""Sign and unit of the stress of VASP and Quantum ESPRESSO, proved by energies of real runs alone: no other reader has a part in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lake.reading import read_stream
from schemas.calculations import Calculation
from schemas.frames import Floats, FrameBlock
from schemas.settings import LimitSettings
from schemas.units import GPA

pytestmark = pytest.mark.shared


def calculations(file: Path) -> tuple[Calculation, ...]:
    return read_stream(file.name, lambda: file.open("rb"), LimitSettings()).calculations


def work_and_change(frames: FrameBlock) -> Floats:
    """Return (n - 1, 2): work of mean stress and mean forces from each step to the next, and the change of the energy (eV)."""
    found = []
    for a in range(frames.count - 1):
        first, second = frames.cell[a], frames.cell[a + 1]
        strain = np.linalg.solve(first, second)
        strain = (strain + strain.T) / 2 - np.eye(3)
        volume = (abs(np.linalg.det(first)) + abs(np.linalg.det(second))) / 2
        moved = frames.positions[a + 1] @ np.linalg.inv(second) - frames.positions[a] @ np.linalg.inv(first)
        moved = (moved - np.round(moved)) @ (first + second) / 2
        work = volume * np.tensordot(frames.stress[a] + frames.stress[a + 1], strain) / 2
        work -= np.sum((frames.forces[a] + frames.forces[a + 1]) * moved) / 2
        found.append((work, frames.energy[a + 1] - frames.energy[a]))
    return np.array(found)


@pytest.mark.parametrize("file", ["vasprun.xml", "OUTCAR.gz"])
def test_vasp_stress_is_the_strain_derivative_of_the_energy(shared: Path, file: str) -> None:
    """A relaxation whose forces vanish by symmetry keeps its plane waves: stress times strain is the change of the energy."""
    (calculation,) = calculations(shared / "dft/vasp/si-ionic-unfinished/out" / file)
    frames = calculation.run.frames
    assert np.abs(frames.forces).max() < 1e-4
    ((work, change),) = work_and_change(frames)
    assert change < -1e-3
    assert work == pytest.approx(change, rel=0.01)


def test_vasp_stress_and_forces_do_the_work_of_a_relaxation(shared: Path) -> None:
    (calculation,) = calculations(shared / "dft/vasp/si8-cell-relax-v5.4.1/vasprun.xml")
    work, change = work_and_change(calculation.run.frames)[1:4].T
    np.testing.assert_allclose(work, change, rtol=0.02)


@pytest.mark.parametrize("material", ["mgo", "cao"])
def test_qe_stress_is_the_volume_derivative_of_the_energy(shared: Path, material: str) -> None:
    """At a fixed cutoff both differ by the nearly constant Pulay stress, so their changes are compared: a slope of 1, not -1, 1/2 or 2."""
    frames = [each.run.frames for each in calculations(shared / f"dataset-mgcao/{material}/qe-pbe_{material}_eos.tar.gz")]
    rows = np.array(sorted((abs(np.linalg.det(f.cell[-1])), f.energy[-1], np.trace(f.stress[-1]) / 3) for f in frames))
    volume, energy, stress = rows.T
    derivative = np.polynomial.Polynomial.fit(volume, energy, 3).deriv()(volume)
    slope, offset = np.polynomial.Polynomial.fit(derivative, stress, 1).convert().coef[::-1]
    assert slope == pytest.approx(1.0, abs=0.15)
    assert abs(offset / GPA) < 20
