"""Level of theory: which physics and which numerics made a number."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

U_NOT_TOLD: Final = ("hubbard_u", "on")
"""Entry of `LevelOfTheory.extra` where there is a Hubbard U, or U and V, of which the output does not tell the values."""


@dataclass(frozen=True)
class LevelOfTheory:
    """What a calculation approximates, as read from its output; None or empty where the output does not say."""

    code: str
    """'qe', 'vasp', ..."""
    functional: str = ""
    """Common name: 'PBE', 'LDA', 'PBEsol', 'r2SCAN', 'PBE0', 'HSE06'; the code's own words where it has no common name."""
    dispersion: str = ""
    """'D2', 'D3(0)', 'D3(BJ)', 'D4', 'TS', 'MBD', 'rVV10', ..., the same word for every code; empty for none."""
    hubbard_u: tuple[tuple[str, str, float], ...] = ()
    """(element, shell, U - J in eV), sorted; ('Ni', 'd', 6.2)."""
    exact_exchange: float | None = None
    """Fraction of exact exchange; None for none."""
    basis: str = ""
    """'plane waves', 'LCAO', 'GTO', 'LAPW', 'grid'."""
    cutoff: float | None = None
    """Kinetic-energy cutoff of the wave functions in eV."""
    density_cutoff: float | None = None
    """Cutoff of the density in eV."""
    pseudopotentials: tuple[tuple[str, str], ...] = ()
    """(element, identity), sorted by element; the identity is the file's or data set's title, with its hash where printed."""
    kpoints: tuple[int, int, int] | None = None
    """Mesh, where the output tells it."""
    n_kpoints: int | None = None
    """Number of k points used."""
    kpoint_spacing: float | None = None
    """Largest distance between neighbouring k points of the mesh, 1/Å with the factor 2π."""
    smearing: str = ""
    """'none', 'gaussian', 'fermi-dirac', 'methfessel-paxton', 'marzari-vanderbilt', 'tetrahedra', ..."""
    smearing_width: float | None = None
    """eV"""
    spin: str = "none"
    """'none', 'collinear', 'noncollinear', 'spin-orbit'."""
    charge: float = 0.0
    """Total charge of the cell in e."""
    relativity: str = ""
    """'scalar', 'full', or empty where it is the pseudopotential's matter."""
    extra: tuple[tuple[str, str], ...] = field(default=())
    """Anything else that changes the physics (external field, dipole correction, ...), as (name, value)."""
