"""Which units the numbers of a collection can be in: distances against covalent radii, energies against those of atoms, the size of forces,
and energies against the work that the forces do between neighbouring frames.

Nothing here is a proof: it makes a proposal for the depositor, and tells units that can hardly be right.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from ase.data import covalent_radii

from lake.collections.label_names import is_gradient
from lake.collections.labels import Chosen
from lake.collections.records import Collection, Series
from lake.collections.reference_energies import RELATIVE, all_electron, all_electron_tolerance, valence
from lake.collections.unit_names import ENERGIES, LENGTHS
from lake.distances import has_cell
from schemas.frames import Floats

SAMPLE: Final = 40
"""Frames that are looked at for distances and energies."""
PAIRS: Final = 200
"""Pairs of neighbouring frames whose energies are compared."""
NEAR: Final = 0.3
"""Largest root mean square displacement between two frames whose energies are compared, in typical distances of neighbours."""
_TRIED: Final = 10 * PAIRS
"""Pairs that are looked at at most, near each other or not."""
_WIDEST: Final = 3.0
"""Nearest neighbours are never further apart, in sums of covalent radii."""
_SAME_CELL: Final = 1e-5
"""In the unit of the file."""
FORCE_SCALE: Final = 0.7
"""eV/Å; root mean square of force components in typical sets, from 0.02 (relaxed) to 20 (random)."""
POSITIVE: Final = 50.0
"""eV an atom above which no energy is believed, however compressed the atoms."""
_FAMILIAR: Final = {
    "eV": 0.0,
    "Ha": 1.0,
    "kcal/mol": 2.0,
    "Ry": 3.0,
    "kJ/mol": 3.0,
    "meV": 5.0,
    "Angstrom": 0.0,
    "bohr": 0.3,
    "nm": 1.0,
    "pm": 2.0,
}
"""How seldom units are used, as a cost."""
_SMALL: Final = 1.5
"""What small forces or small energies cost at most: relaxed structures have the first, energies relative to each other the second."""
_UNPAIRED: Final = 3.0
"""Cost of bohr with a unit of energy that is no atomic unit."""
_UNCUSTOMARY: Final = 3.0
"""Cost of a unit that is not the one that the manual of the format names."""
_MIXED: Final = 2.0
"""Cost of a unit of force that is not energy by length, where energies against the work of the forces can tell."""
_MIXED_UNSEEN: Final = 6.0
"""The same where nothing can."""
_BETWEEN: Final = 4.0
"""Cost of an energy below that of bound atoms and above that of all valence electrons: tight binding, or some electrons frozen."""
_APART: Final = 4.0
"""Distance to the nearest image, in sums of covalent radii, from which the one atom of a cell is taken for an isolated one."""


@dataclass(frozen=True)
class Evidence:
    """What the numbers of a collection show, in the units of the file; NaN where they show nothing."""

    distance_ratio: float
    """Median over frames of the smallest distance over the sum of covalent radii in Å: near 1 for Å, 1.9 for bohr."""
    noble: bool
    """All atoms are noble gases, whose distances are no bonds."""
    energies: tuple[tuple[float, float, float, float], ...]
    """For sampled frames: energy per atom, and per atom in eV the all-electron and valence energies of the atoms, and the tolerance."""
    bonds: tuple[float, ...]
    """For sampled frames: energy per atom over that of the isolated atoms that the file holds; () where it does not hold them."""
    force_rms: float
    """Median over frames of the root mean square force component."""
    work_ratio: float
    """Change of energy over the work of the forces, by regression over pairs of neighbouring frames: 1 where force = energy/length."""
    work_correlation: float
    n_pairs: int
    manual: bool = False
    """The manual of the format names eV and Å (DeePMD-kit, "Units"), which is a custom and no rule."""


@dataclass(frozen=True)
class Candidate:
    """One combination of units and what speaks against it."""

    energy: str
    length: str
    force: str
    cost: float


def gather(collection: Collection, chosen: Chosen) -> Evidence:
    """Return the evidence of a collection; cost is bounded, whatever its size."""
    numbers = [series.numbers for series in collection.series]
    ratio, correlation, n_pairs = _work(collection, chosen)
    return Evidence(
        distance_ratio=_median([_distance_ratio(series, i) for series, i in _sample(collection)]),
        noble=all(bool(np.isin(each, (2, 10, 18, 36, 54, 86)).all()) for each in numbers),
        energies=tuple(_energies(collection, chosen)),
        bonds=tuple(_bonds(collection, chosen)),
        force_rms=_force_rms(collection, chosen),
        work_ratio=ratio,
        work_correlation=correlation,
        n_pairs=n_pairs,
        manual=collection.code == "deepmd",
    )


def candidates(evidence: Evidence) -> tuple[Candidate, ...]:
    """Return all combinations of units, the most plausible first."""
    found = []
    for energy, length in itertools.product(ENERGIES, LENGTHS):
        forces = dict.fromkeys((f"{energy}/{length}", f"{energy}/Angstrom", f"{energy}/bohr", "eV/Angstrom", "Ha/bohr"))
        for force in forces if math.isfinite(evidence.force_rms) else (f"{energy}/{length}",):
            found.append(Candidate(energy, length, force, cost(evidence, energy, length, force)))
    return tuple(sorted(found, key=lambda each: each.cost))


def cost(evidence: Evidence, energy: str, length: str, force: str) -> float:
    """Return what speaks against units, as a negative logarithm of likelihood; 0 is best."""
    energy_factor, length_factor = ENERGIES[energy], LENGTHS[length]
    force_energy, _, force_length = force.rpartition("/")
    force_factor = ENERGIES[force_energy] / LENGTHS[force_length]
    total = _FAMILIAR[energy] + _FAMILIAR[length] + length_cost(evidence, length_factor) + zero_cost(evidence, energy_factor)
    if length == "bohr" and energy not in ("Ha", "Ry"):
        total += _UNPAIRED
    if evidence.manual:
        total += _UNCUSTOMARY * ((energy != "eV") + (length != "Angstrom"))
    if force != f"{energy}/{length}":
        total += _MIXED if trusted_work(evidence) else _MIXED_UNSEEN
    if math.isfinite(evidence.force_rms) and evidence.force_rms > 0:
        size = math.log(evidence.force_rms * force_factor / FORCE_SCALE) / 1.6
        total += 0.5 * size**2 if size > 0 else min(0.5 * size**2, _SMALL)
    return total + work_cost(evidence, energy_factor, length_factor, force_factor)


def zero_cost(evidence: Evidence, factor: float) -> float:
    """Return what speaks against a unit of energy: by the isolated atoms of the file where it holds them, else by the usual zeros."""
    if evidence.bonds:
        return float(np.median([_bond_cost(each * factor) for each in evidence.bonds]))
    return float(np.median([energy_cost(each, factor) for each in evidence.energies])) if evidence.energies else 0.0


def _bond_cost(per_atom: float) -> float:
    """Return what speaks against an energy of binding (eV an atom, negative): 1 to 9 eV hold an atom in molecules and solids."""
    return min(0.5 * (math.log(max(abs(per_atom), 1e-6) / 4.0) / 0.9) ** 2, 12.0) + (2.0 if per_atom > 0 else 0.0)


def length_cost(evidence: Evidence, factor: float) -> float:
    """Return what speaks against a unit of length."""
    if not math.isfinite(evidence.distance_ratio):
        return 0.0
    typical = 1.8 if evidence.noble else 0.97
    return min(40.0, 0.5 * (math.log(evidence.distance_ratio * factor / typical) / 0.15) ** 2)


def energy_cost(frame: tuple[float, float, float, float], factor: float) -> float:
    """Return what speaks against a unit of energy, by the convention of zero that fits the energy of a frame best."""
    per_atom, electrons, valences, tolerance = frame[0] * factor, *frame[1:]
    if per_atom > RELATIVE[1]:
        return 10.0
    fits = [60.0]
    if abs(per_atom / electrons - 1) < 3 * tolerance:
        fits.append(0.5 * ((per_atom / electrons - 1) / tolerance) ** 2)
    if RELATIVE[0] <= per_atom:
        fits.append(min(0.5 * (math.log(max(abs(per_atom), 1e-6) / 4.0) / 0.9) ** 2, _SMALL) + 1.0)
    if electrons * (1 + 3 * tolerance) <= per_atom < 0.75 * valences:
        fits.append(min(0.5 * (math.log(per_atom / valences) / 0.4) ** 2, 2.0) + 1.5)
    elif per_atom < 0:
        fits.append(_BETWEEN if per_atom > electrons else 40.0)
    return min(fits)


def energy_is_possible(frame: tuple[float, float, float, float], factor: float) -> bool:
    """Return whether some convention of zero gives such an energy: relative to atoms, or a total of valence or of all electrons."""
    per_atom, electrons, valences, tolerance = frame[0] * factor, *frame[1:]
    return RELATIVE[0] <= per_atom < POSITIVE or electrons * (1 + 3 * tolerance) <= per_atom < 0.75 * valences


def work_cost(evidence: Evidence, energy: float, length: float, force: float) -> float:
    """Return what speaks against units together, by energies against the work of the forces."""
    if not trusted_work(evidence):
        return 0.0
    slope = evidence.work_ratio * energy / (force * length)
    if slope <= 0:
        return 20.0
    spread = 0.05 + (1 - evidence.work_correlation)
    return min(30.0, 0.5 * (math.log(slope) / spread) ** 2)


def trusted_work(evidence: Evidence) -> bool:
    """Return whether enough neighbouring frames show a relation between energies and forces."""
    return evidence.n_pairs >= 5 and abs(evidence.work_correlation) > 0.9


def _median(values: list[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return float(np.median(finite)) if finite else math.nan


def _sample(collection: Collection) -> list[tuple[Series, int]]:
    """Return frames spread evenly over the collection: (series, index)."""
    series = collection.series
    if len(series) > SAMPLE:
        series = tuple(series[i] for i in np.linspace(0, len(series) - 1, SAMPLE).astype(int))
    each = max(1, SAMPLE // len(series))
    return [(one, int(i)) for one in series for i in np.unique(np.linspace(0, one.count - 1, min(each, one.count)).astype(int))]


def _distance_ratio(series: Series, i: int) -> float:
    """Return the smallest distance over the sum of covalent radii among some atoms and all others, nearest images included."""
    positions, cell, natoms = series.positions[i], series.cell[i], len(series.numbers)
    periodic = series.pbc & bool(has_cell(cell[None])[0])
    if natoms > 2000 or (natoms == 1 and not periodic.any()):
        return math.nan
    centres = np.unique(np.linspace(0, natoms - 1, min(natoms, 24)).astype(int))
    reach = [(-1, 0, 1) if along else (0,) for along in periodic]
    shifts = np.array(list(itertools.product(*reach)), dtype=float) @ cell
    radii = covalent_radii[series.numbers]
    smallest = math.inf
    for centre in centres:
        vectors = positions[None, :, :] - positions[centre] + shifts[:, None, :]
        ratios = np.sqrt((vectors**2).sum(axis=-1)) / (radii + radii[centre])
        ratios[np.all(shifts == 0, axis=1), centre] = math.inf
        smallest = min(smallest, float(ratios.min()))
    return smallest if smallest > 0 else math.nan


def _energies(collection: Collection, chosen: Chosen) -> list[tuple[float, float, float, float]]:
    if not chosen.energy:
        return []
    column, found = collection.columns[chosen.energy], []
    for series, i in _sample(collection):
        energy = float(column.at(series.places[i : i + 1])[0, 0])
        natoms = len(series.numbers)
        if math.isfinite(energy):
            bounds = all_electron(series.numbers) / natoms, valence(series.numbers) / natoms, all_electron_tolerance(series.numbers)
            found.append((energy / natoms, *bounds))
    return found


def _bonds(collection: Collection, chosen: Chosen) -> list[float]:
    """Return the energies per atom over those of isolated atoms; none where an element has no frame of one atom alone."""
    alone: dict[int, float] = {}
    for series in collection.series:
        if len(series.numbers) == 1 and chosen.energy and not _distance_ratio(series, 0) < _APART:
            energies = collection.columns[chosen.energy].at(series.places)[:, 0]
            if np.isfinite(energies).any():
                alone.setdefault(int(series.numbers[0]), float(np.nanmin(energies)))
    found: list[float] = []
    for series, i in _sample(collection) if alone else ():
        if len(series.numbers) > 1 and set(series.numbers.tolist()) <= alone.keys():
            energy = float(collection.columns[chosen.energy].at(series.places[i : i + 1])[0, 0])
            found.append((energy - sum(alone[number] for number in series.numbers.tolist())) / len(series.numbers))
    return [each for each in found if math.isfinite(each)]


def _force_rms(collection: Collection, chosen: Chosen) -> float:
    found = []
    for series, i in _sample(collection):
        vectors = series.vectors.get(chosen.forces)
        if vectors is not None and len(series.numbers) > 1:
            found.append(float(np.sqrt((vectors[i] ** 2).mean())))
    return _median([value for value in found if value > 0])


def _work(collection: Collection, chosen: Chosen) -> tuple[float, float, int]:
    """Return (ratio, correlation, pairs) of changes of energy to the work -F dx (mean force of both frames) between frames in a row."""
    energies: list[float] = []
    works: list[float] = []
    tried = 0
    sign = -1.0 if is_gradient(chosen.forces) else 1.0
    for series in collection.series:
        vectors = series.vectors.get(chosen.forces)
        if not chosen.energy or vectors is None or len(energies) >= PAIRS or tried >= _TRIED:
            break
        if series.count < 2:
            continue
        labels = collection.columns[chosen.energy].at(series.places)[:, 0]
        for i in range(min(series.count - 1, PAIRS - len(energies))):
            tried += 1
            if np.abs(series.cell[i] - series.cell[i + 1]).max() > _SAME_CELL:
                continue
            moved = _displacement(series, i)
            length = math.sqrt(float((moved**2).sum()) / len(moved))
            if 0 < length < NEAR * _WIDEST * _smallest_bond(series) and length < NEAR * _neighbour_distance(series, i):
                works.append(sign * float(-0.5 * ((vectors[i] + vectors[i + 1]) * moved).sum()))
                energies.append(float(labels[i + 1] - labels[i]))
    x, y = np.array(works), np.array(energies)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) < 2 or not (x**2).sum() or not (y**2).sum():
        return math.nan, 0.0, len(x)
    correlation = float((x * y).sum() / math.sqrt((x**2).sum() * (y**2).sum()))
    # Change of energy = ratio^-1 x work: the regression through zero of work on energy is biased alike both ways, so their mean is taken.
    return float(math.copysign(math.sqrt((y**2).sum() / (x**2).sum()), correlation)), correlation, len(x)


def _displacement(series: Series, i: int) -> Floats:
    moved = series.positions[i + 1] - series.positions[i]
    cell = series.cell[i]
    if bool(has_cell(cell[None])[0]) and series.pbc.any():
        fractional = moved @ np.linalg.inv(cell)
        moved = moved - (np.rint(fractional) * series.pbc) @ cell
    return np.asarray(moved)


def _neighbour_distance(series: Series, i: int) -> float:
    ratio = _distance_ratio(series, i) if i % 16 == 0 or series.count < 16 else math.nan
    return (ratio if math.isfinite(ratio) else 1.0) * _smallest_bond(series)


def _smallest_bond(series: Series) -> float:
    return 2 * float(covalent_radii[series.numbers].min())
