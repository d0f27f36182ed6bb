"""Energies that atoms have by the three conventions of zero that codes use; each tells units that differ by a factor of two or more apart.

All-electron: the statistical atom with shell and exchange corrections, E = -0.768745 Z^(7/3) + Z^2/2 - 0.269900 Z^(5/3) Ha (Englert and
Schwinger, Phys. Rev. A 29, 2331, 1984), within 2 % from boron to krypton; helium to beryllium exact values, hydrogen -1/2 Ha.
Valence: the sum of the ionisation energies of the valence electrons (NIST Atomic Spectra Database, doi:10.18434/T4W30F): no
pseudopotential gives a total energy much above its negative. Relative to atoms: cohesive energies, 0.02 (Ne) to 8.9 eV (W)
(Kittel, Introduction to Solid State Physics, chapter 3), a few eV more where the atoms are not spin-polarised.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.units import HARTREE

RELATIVE: Final = (-15.0, 5.0)
"""eV an atom: energies relative to those of atoms."""
_LIGHT: Final = {1: -0.5, 2: -2.9037, 3: -7.4781, 4: -14.6674}
"""Ha"""
VALENCE: Final = np.array(
    [
        0.0, 13.6, 79.0, 5.4, 27.5, 71.4, 148.0, 266.9, 433.1, 658.9, 953.7, 5.1, 22.7, 53.3, 103.1, 176.9, 276.4, 408.6, 577.7, 4.3, 18.0,
        44.1, 91.2, 162.7, 263.5, 395.2, 559.7, 764.1, 1011.9, 1305.6, 1651.3, 57.2, 103.6, 169.6, 255.7, 366.1, 503.2, 4.2, 16.7, 39.0,
        77.4, 134.3, 214.0, 309.9, 435.6, 588.7, 773.7, 991.0, 1240.4, 52.7, 93.2, 149.4, 221.3, 313.0, 424.7, 3.9, 15.2, 35.9, 36.7, 37.7,
        38.4, 39.0, 40.3, 41.8, 38.8, 39.2, 40.5, 40.6, 40.7, 41.9, 43.5, 40.5, 77.4, 130.1, 204.8, 292.1, 403.7, 539.7, 701.4, 891.7,
        1109.6, 56.4, 96.7, 149.8, 217.1, 300.9, 402.9, 4.1, 15.4, 34.6, 36.7, 36.4, 37.6, 37.5, 38.6,
    ]
)  # fmt: skip
"""eV by atomic number: s and p electrons of the last shell, d electrons of the transition metals, three electrons of the f elements."""


def all_electron(numbers: NDArray[np.integer]) -> float:
    """Return the sum of the energies of free atoms with all their electrons, in eV."""
    z = numbers.astype(float)
    atoms = -0.768745 * z ** (7 / 3) + z**2 / 2 - 0.269900 * z ** (5 / 3)
    for number, energy in _LIGHT.items():
        atoms = np.where(numbers == number, energy, atoms)
    return float(atoms.sum()) * HARTREE


def all_electron_tolerance(numbers: NDArray[np.integer]) -> float:
    """Return the relative error of `all_electron`: 1.5 % and the relativistic part, which goes with Z squared (6 % for gold)."""
    return 0.015 + 0.07 * float(np.max(numbers, initial=0) / 79) ** 2


def valence(numbers: NDArray[np.integer]) -> float:
    """Return the sum of the energies of the atoms' valence electrons, in eV (negative)."""
    return -float(VALENCE[np.minimum(numbers, len(VALENCE) - 1)].sum())
