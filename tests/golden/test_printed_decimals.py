"""A printed decimal becomes the nearest float64, times one constant of CODATA 2018: bit for bit, no detour by other units."""

from __future__ import annotations

import re
import tarfile
from pathlib import Path

import pytest

from lake.readers import find_reader
from schemas.units import HARTREE, HARTREE_PER_BOHR, RYDBERG, RYDBERG_PER_BOHR

DATA = Path(__file__).resolve().parent.parent / "data" / "strain"
N = rb" +(-?\d+\.\d+(?:[ED][+-]\d+)?)"
PRINTED = {
    "qe": ("pw.out", rb"\n! +total energy +=" + N, RYDBERG, rb"\n +atom +2 type +1 +force =" + N * 3, RYDBERG_PER_BOHR),
    "abinit": ("run.abo", rb"\n ETOT +\d+" + N, HARTREE, rb"forces \(hartree/bohr\) at end:\n[^\n]*\n +2" + N * 3, HARTREE_PER_BOHR),
    "cp2k": ("run.out", rb"\n ENERGY\| Total FORCE_EVAL[^:]*:" + N, HARTREE, rb"\n +2 +1 +Al" + N * 3 + rb"\n SUM", HARTREE_PER_BOHR),
    "gpaw": ("gpaw.txt", rb"\nFree energy:" + N, 1.0, rb"\nForces in eV/Ang:\n[^\n]*\n +1 Al" + N * 3, 1.0),
    "elk": ("INFO.OUT", rb"\n total energy +:" + N, HARTREE, rb"\n +total force +:" + N * 3, HARTREE_PER_BOHR),
    "nwchem": ("run.out", rb"\n +Total DFT energy =" + N, HARTREE, rb"\n +3 H" + N * 6, -HARTREE_PER_BOHR),
}  # fmt: skip


@pytest.mark.parametrize("code", PRINTED)
def test_energies_and_forces_are_the_printed_decimals_times_one_constant(code: str) -> None:
    file, energy, energy_unit, force, force_unit = PRINTED[code]
    with tarfile.open(DATA / f"{code}.tar.xz") as tar:
        member = tar.extractfile(f"move-y-plus/{file}")
        assert member is not None
        text = member.read()
    spec = find_reader(file, text[:65536])
    assert spec is not None
    reader = spec.open()
    reader.feed(text)
    (run,) = reader.close()
    assert run.frames.energy[-1] == float(re.findall(energy, text)[-1]) * energy_unit
    row = re.findall(force, text)[-1]
    assert run.frames.forces[-1, -1].tolist() == [float(field) * force_unit for field in row[-3:]]
