"""Energies of the cores' charges, which a log of CP2K prints at every PRINT_LEVEL, and which show whether places are those of a run.

The core of an atom is a Gaussian charge Z of the width r of its pseudopotential. Their own energy is the sum of -Z^2 / (2 sqrt(pi) r), that
of their overlap the sum of Z Z' erfc(d / sqrt(2 r^2 + 2 r'^2)) / d over pairs (`calculate_ecore_self`, `calculate_ecore_overlap` in
src/qs_core_energies.F): the first shows that the widths are those of the run, the second falls by a tenth where light neighbours part by
0.005 Å.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfc

from schemas.frames import Floats
from schemas.units import BOHR

_OF_CORES: Final = rb" energy of the core charge distribution: +(-?\d+\.\d+) *\n"
_PRINTED: Final = re.compile(rb"\n +Overlap" + _OF_CORES + rb" +Self" + _OF_CORES)
_MOST_ATOMS: Final = 400
"""Pairs of more are not worth the time."""
_REACH: Final = 6.0
"""erfc(6) is 2e-17."""
_SAME_SELF: Final = 1e-7
"""Of the energy of the cores."""
_SAME_OVERLAP: Final = (1e-4, 1e-9)
"""Of the energy of the overlap, and in hartree for each atom: CP2K leaves out pairs whose charges hardly touch."""


@cache
def _table() -> dict[tuple[str, str], tuple[int, float]]:
    """Return charge and width (bohr) by element and name of the pseudopotential in capitals."""
    found = {}
    for line in (files("lake.readers.cp2k") / "gth_radii.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            element, charge, radius, *names = line.split()
            found.update({(element, f"GTH-{name}"): (int(charge), float(radius)) for name in names})
    return found


def printed_energies(text: bytes) -> tuple[float, float] | None:
    """Return the energies of overlap and of the cores themselves (hartree) that a text prints last, None where it prints none."""
    found = _PRINTED.findall(text)
    return (float(found[-1][0]), float(found[-1][1])) if found else None


def other_places(
    printed: tuple[float, float], cores: Sequence[tuple[str, str]], positions: Floats, cell: Floats, pbc: NDArray[np.bool_]
) -> str:
    """Return in words that places (natoms, 3) in Å have another overlap of cores than the one printed, '' where they have it.

    cores are element and pseudopotential of each atom. '' also where their widths are not known, or are not those of the run.
    """
    known = [_table().get((element, name.upper())) for element, name in cores]
    found = [core for core in known if core is not None]
    if len(found) < len(known) or len(known) > _MOST_ATOMS:
        return ""
    charges, widths = np.array(found, dtype=np.float64).T
    overlap, own = printed
    if abs(own + float((charges**2 / widths).sum()) / (2.0 * np.sqrt(np.pi))) > _SAME_SELF * abs(own):
        return ""
    given = _overlap(charges, widths, positions / BOHR, cell / BOHR, pbc)
    if abs(given - overlap) <= _SAME_OVERLAP[0] * abs(overlap) + _SAME_OVERLAP[1] * len(charges):
        return ""
    return f"at its coordinates the cores would overlap with {given:.8g} hartree, and the log prints {overlap:.8g}"


def _overlap(charges: Floats, widths: Floats, positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> float:
    """Return the energy of the overlap in hartree; lengths are in bohr."""
    inverse = np.linalg.inv(cell)
    places = positions @ inverse
    places -= np.where(pbc, np.floor(places), 0.0)
    spread = np.sqrt(2.0 * (widths[:, None] ** 2 + widths[None, :] ** 2))
    heights = 1.0 / np.linalg.norm(inverse, axis=0)
    most = np.where(pbc, np.ceil(_REACH * spread.max() / heights).astype(int), 0).tolist()
    apart = places[:, None] - places[None, :]
    products = charges[:, None] * charges[None, :]
    total = 0.0
    for shift in product(*(range(-n, n + 1) for n in most)):
        distances = np.linalg.norm((apart + np.array(shift)) @ cell, axis=2)
        near = (distances < _REACH * spread) & (distances > 1e-4)
        total += 0.5 * float((products[near] * erfc(distances[near] / spread[near]) / distances[near]).sum())
    return total
