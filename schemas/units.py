"""Physical constants and the conversions made at a reader's door.

CODATA 2018 (Tiesinga et al., Rev. Mod. Phys. 93, 025010, 2021). Everything inside atomlake is in eV, Å, eV/Å, eV/Å³, fs and u;
a factor named X turns a number printed in X into these.
"""

from __future__ import annotations

from typing import Final

HARTREE: Final = 27.211386245988
"""Hartree energy in eV."""

RYDBERG: Final = HARTREE / 2
"""Rydberg energy in eV."""

BOHR: Final = 0.529177210903
"""Bohr radius in Å."""

ELEMENTARY_CHARGE: Final = 1.602176634e-19
"""Elementary charge in C (exact), which is also eV in J."""

GPA: Final = 1e9 * 1e-30 / ELEMENTARY_CHARGE
"""Gigapascal in eV/Å³ (1/160.2176634)."""

KBAR: Final = 0.1 * GPA
"""Kilobar in eV/Å³."""

RYDBERG_PER_BOHR: Final = RYDBERG / BOHR
"""Ry/bohr in eV/Å."""

HARTREE_PER_BOHR: Final = HARTREE / BOHR
"""Ha/bohr in eV/Å."""

RYDBERG_PER_BOHR3: Final = RYDBERG / BOHR**3
"""Ry/bohr³ in eV/Å³."""

HARTREE_PER_BOHR3: Final = HARTREE / BOHR**3
"""Ha/bohr³ in eV/Å³."""

DALTON_PER_A3: Final = 1.66053906660
"""u/Å³ in g/cm³."""

BOLTZMANN: Final = 8.617333262e-5
"""Boltzmann constant in eV/K."""

AU_TIME: Final = 0.024188843265857
"""Atomic unit of time in fs."""

AVOGADRO: Final = 6.02214076e23
"""1/mol (exact)."""

KJ_PER_MOL: Final = 1000.0 / (AVOGADRO * ELEMENTARY_CHARGE)
"""kJ/mol in eV for one molecule."""

KCAL_PER_MOL: Final = 4.184 * KJ_PER_MOL
"""Thermochemical kcal/mol in eV for one molecule."""
