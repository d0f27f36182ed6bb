"""Sign, unit and order of stress and forces, and which energy they belong to, proved by finite differences of energies of real runs.

How the runs were made stands in tests/data/strain/README.md. Nothing but the printed energies and the geometry of the inputs decides.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lake.reading import read_stream
from schemas.frames import Floats, FrameBlock
from schemas.settings import LimitSettings
from schemas.units import GPA

DATA = Path(__file__).resolve().parent.parent / "data" / "strain"
AXES = "xyz"
STRESS_WITHIN = {"qe": 0.08, "abinit": 0.02, "gpaw": 0.02, "cp2k": 0.06}
"""GPa. The stress has components up to 20 GPa; QE and CP2K have a finite cutoff each, hence their Pulay stress."""
FORCES_WITHIN = {"qe": 1e-4, "abinit": 1e-4, "gpaw": 2e-4, "cp2k": 1e-4, "elk": 5e-4, "nwchem": 3e-3}
"""eV/Å. The forces are up to 0.2 eV/Å, of the water molecule 3 eV/Å; Elk and NWChem integrate on atom-centred grids."""
CELL_WITHIN = {"cp2k": 5e-4}
"""The log of CP2K prints the cell with three decimals of an Å."""
COMPONENTS = ["xx", "yy", "zz", "yz", "xz", "xy"]


@cache
def runs(code: str) -> dict[str, FrameBlock]:
    """Return the one frame of each run by the name of its folder."""
    file = DATA / f"{code}.tar.xz"
    contents = read_stream(file.name, lambda: file.open("rb"), LimitSettings())
    assert contents.rejections == ()
    return {calculation.member: calculation.run.frames for calculation in contents.calculations}


def strain(component: str) -> Floats:
    """Return the symmetric strain by which plus and minus differ, shape (3, 3)."""
    given = np.zeros((3, 3))
    i, j = (AXES.index(axis) for axis in component)
    given[i, j] = given[j, i] = 0.01 if i == j else 0.005
    return given


def strain_of_cells(base: FrameBlock, plus: FrameBlock, minus: FrameBlock) -> Floats:
    gradient = np.linalg.solve(base.cell[0], plus.cell[0] - minus.cell[0])
    return np.asarray((gradient + gradient.T) / 2)


@pytest.mark.parametrize("component", COMPONENTS)
@pytest.mark.parametrize("code", STRESS_WITHIN)
def test_stress_is_the_strain_derivative_of_the_energy(code: str, component: str) -> None:
    base, plus, minus = (runs(code)[name] for name in ("base", f"strain-{component}-plus", f"strain-{component}-minus"))
    np.testing.assert_allclose(strain_of_cells(base, plus, minus), strain(component), atol=CELL_WITHIN.get(code, 1e-5))
    volume = abs(np.linalg.det(base.cell[0]))
    work = np.tensordot(base.stress[0], strain(component))
    change = (plus.energy[0] - minus.energy[0]) / volume
    assert work == pytest.approx(change, abs=STRESS_WITHIN[code] * GPA * 0.01)


@pytest.mark.parametrize("code", STRESS_WITHIN)
def test_the_strains_tell_wrong_readings_apart(code: str) -> None:
    """Another sign, another unit and any other order of the components would be seen, for each is beyond the tolerance."""
    stress = runs(code)["base"].stress[0] / GPA
    values = np.array([stress[AXES.index(a), AXES.index(b)] for a, b in COMPONENTS])
    apart = np.abs(values[:, None] - values)[~np.eye(6, dtype=bool)]
    assert apart.min() > 3 * STRESS_WITHIN[code]
    assert np.abs(values).min() > 3 * STRESS_WITHIN[code]


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("code", FORCES_WITHIN)
def test_forces_are_minus_the_derivative_of_the_energy(code: str, axis: str) -> None:
    base, plus, minus = (runs(code)[name] for name in ("base", f"move-{axis}-plus", f"move-{axis}-minus"))
    moved = plus.positions[0] - minus.positions[0]
    (atom,) = np.flatnonzero(np.abs(moved).max(axis=1) > 1e-3)
    assert moved[atom, AXES.index(axis)] == pytest.approx(0.02, abs=1e-5)
    slope = -(plus.energy[0] - minus.energy[0]) / moved[atom, AXES.index(axis)]
    assert base.forces[0, atom, AXES.index(axis)] == pytest.approx(slope, abs=FORCES_WITHIN[code])


@pytest.mark.parametrize("code", ["qe", "abinit", "cp2k", "elk"])
def test_the_energy_is_the_free_energy(code: str) -> None:
    """The internal energy, which these codes print too, has another derivative by far more than the tolerance."""
    found = runs(code)
    for axis in AXES:
        plus, minus = found[f"move-{axis}-plus"], found[f"move-{axis}-minus"]
        moved = plus.positions[0, 1, AXES.index(axis)] - minus.positions[0, 1, AXES.index(axis)]
        slope = -(plus.energy_internal[0] - minus.energy_internal[0]) / moved
        assert abs(slope - found["base"].forces[0, 1, AXES.index(axis)]) > 0.05


def test_the_extrapolated_energy_of_gpaw_is_not_the_free_energy_either() -> None:
    found = runs("gpaw")
    plus, minus, base = found["move-x-plus"], found["move-x-minus"], found["base"]
    slope = -(plus.energy_sigma0[0] - minus.energy_sigma0[0]) / (plus.positions[0, 1, 0] - minus.positions[0, 1, 0])
    assert abs(slope - base.forces[0, 1, 0]) > 0.02
