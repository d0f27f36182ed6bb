"""Energies of several levels of theory brought to one zero for each element, by least squares, with what is left unexplained.

Codes, pseudopotentials and cutoffs put the zero of energy elsewhere for each element, and little else (`lake.theory`, verdict
'alignable'). An element as one kind of calculation has it is a zero; the zeros of the theory aligned to stay, each other one gets an
offset. What fixes the offsets, the best first; what a better kind of evidence has fixed no worse one changes:

1. equal structures (one configuration_hash) calculated with several zeros: their energies must agree;
2. equal compositions (one reduced formula): the lowest energies per atom must agree;
3. element references: energies of elements fitted to the lowest energies of all compositions are the same.

What none of them fixes gets the solution of minimum norm. Frames of all splits take part: an offset says what a label means, it is
no part of a model.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl

from lake.rows import level_of_theory
from lake.theory import numerics_key, theory_key, verdict
from lake.theory_rules import COMPATIBLE, SAME
from schemas.datasets import Alignment, AlignmentStep, EnergyOffset
from schemas.elements import parse_formula
from schemas.errors import QueryError, closest
from schemas.frames import Floats
from schemas.theory import LevelOfTheory

STRUCTURES: Final = "equal structures"
COMPOSITIONS: Final = "equal compositions"
REFERENCES: Final = "element references"
MINIMUM_NORM: Final = "minimum norm"
REFERENCE: Final = "reference"
LARGE_RESIDUAL: Final = 0.01
"""eV/atom; converged PBE energies of two codes agree to about a tenth of it (Lejaeghere et al., Science 351, aad3000, 2016)."""
_SINGULAR: Final = 1e-7
"""Combinations of offsets with a smaller weight in the equations are not fixed by them; the fractions in these are of order one."""
COLUMNS: Final = ("calculation_id", "configuration_hash", "formula", "reduced_formula", "natoms", "energy")
"""Columns of frames that `align` needs."""


@dataclass(frozen=True)
class _Zero:
    """One element as one kind of calculation has it."""

    element: str
    leader: LevelOfTheory
    """The most frequent settings, restricted to this element; the others are compatible with them."""
    theories: frozenset[str]
    n_frames: int
    is_reference: bool


@dataclass(frozen=True)
class _Evidence:
    """Equations rows @ offsets = values of one kind, in eV/atom."""

    method: str
    rows: Floats
    values: Floats


@dataclass(frozen=True)
class _Solved:
    """Offsets with the directions (unknowns, m) that nothing has fixed, and the evidence that each unknown came from."""

    offsets: Floats
    free: Floats
    methods: tuple[str, ...]
    steps: tuple[AlignmentStep, ...]


def align(what: str, frames: pl.DataFrame, described: pl.DataFrame, to: str) -> tuple[Alignment, pl.DataFrame]:
    """Return how the energies of frames are brought to the zeros of a theory, and calculation_id with energy_offset (eV) of each.

    frames has COLUMNS, described the rows of their calculations; to is a key of theory, or '' for the one with the most frames.
    Levels that are incompatible must have been refused before. Raises QueryError for a theory that is not there.
    """
    counts = frames.group_by("calculation_id").agg(pl.len().alias("n"), pl.col("formula").first())
    rows = described.join(counts.select("calculation_id", "n", pl.col("formula").alias("own_formula")), on="calculation_id").to_dicts()
    to = _target(what, rows, to)
    zeros, setups = _zeros(rows, to)
    unknowns = {place: n for n, place in enumerate(place for place, zero in enumerate(zeros) if not zero.is_reference)}
    kinds = _kinds(rows, setups)
    table = frames.join(kinds.drop("formula"), on="calculation_id").filter(pl.col("energy").is_not_null())
    vectors = _Vectors(unknowns)
    solved = _solve((_structures(table, vectors), _compositions(table, vectors), _references(table, vectors)), len(unknowns))
    offsets = kinds.select("formula", "setup").unique().sort("formula", "setup")
    sums = [float(vectors.atoms(formula, setup) @ solved.offsets) for formula, setup in offsets.iter_rows()]
    loose = [_is_loose(vectors.atoms(formula, setup), solved.free) for formula, setup in offsets.iter_rows()]
    told = offsets.with_columns(pl.Series("energy_offset", sums, pl.Float64), pl.Series("loose", loose, pl.Boolean))
    by_calculation = kinds.join(told, on=["formula", "setup"])
    alignment = Alignment(
        to, _told_offsets(zeros, unknowns, solved), solved.steps, _notes(solved, by_calculation.join(counts, on="calculation_id"))
    )
    return alignment, by_calculation.select("calculation_id", "energy_offset")


def _target(what: str, rows: Sequence[Mapping[str, Any]], to: str) -> str:
    """Return the theory to align to: the one named (or whose key begins so up to a '/'), or the one with the most frames."""
    frames: dict[str, int] = {}
    for row in rows:
        frames[row["theory"]] = frames.get(row["theory"], 0) + row["n"]
    wanted = to.rstrip("/")
    named = [theory for theory in frames if not wanted or theory == wanted or theory.startswith(wanted + "/")]
    if not named:
        raise QueryError(f"{what} has no theory {to!r} to align to{closest(to, frames)}; there are {', '.join(map(repr, sorted(frames)))}")
    return max(sorted(named), key=lambda theory: frames[theory])


def _zeros(rows: Sequence[Mapping[str, Any]], to: str) -> tuple[list[_Zero], dict[str, dict[str, int]]]:
    """Return the zeros met, and for each calculation element -> its zero.

    The settings of an element join the most frequent ones that they are compatible with, those of the theory aligned to first.
    """
    met: dict[str, dict[LevelOfTheory, int]] = {}
    theories: dict[tuple[str, LevelOfTheory], set[str]] = {}
    own: dict[str, dict[str, LevelOfTheory]] = {}
    known: dict[tuple[LevelOfTheory, str], dict[str, LevelOfTheory]] = {}
    for row in rows:
        level = _bare(level_of_theory(row))
        settings = known.setdefault((level, row["element_system"]), {e: _of_element(level, e) for e in row["element_system"].split("-")})
        own[row["calculation_id"]] = settings
        for element, setting in settings.items():
            met.setdefault(element, {}).setdefault(setting, 0)
            met[element][setting] += row["n"]
            theories.setdefault((element, setting), set()).add(row["theory"])
    zeros: list[_Zero] = []
    place: dict[tuple[str, LevelOfTheory], int] = {}
    for element in sorted(met):
        first = len(zeros)
        for setting, n in sorted(met[element].items(), key=lambda item: (to not in theories[element, item[0]], -item[1], repr(item[0]))):
            home = next((i for i in range(first, len(zeros)) if verdict(zeros[i].leader, setting).kind in (SAME, COMPATIBLE)), len(zeros))
            names = frozenset(theories[element, setting])
            if home == len(zeros):
                zeros.append(_Zero(element, setting, names, n, is_reference=home == first))
            else:
                zeros[home] = replace(zeros[home], theories=zeros[home].theories | names, n_frames=zeros[home].n_frames + n)
            place[element, setting] = home
    return zeros, {name: {e: place[e, setting] for e, setting in settings.items()} for name, settings in own.items()}


def _bare(level: LevelOfTheory) -> LevelOfTheory:
    """Return a level without what never moves a zero: k points, smearing, spin, density cutoff."""
    unheeded: dict[str, Any] = dict.fromkeys(("kpoints", "n_kpoints", "kpoint_spacing", "smearing_width", "density_cutoff"))
    return replace(level, **unheeded, smearing="", spin="none")


def _of_element(level: LevelOfTheory, element: str) -> LevelOfTheory:
    return replace(level, pseudopotentials=tuple(each for each in level.pseudopotentials if each[0] == element))


def _kinds(rows: Sequence[Mapping[str, Any]], setups: Mapping[str, Mapping[str, int]]) -> pl.DataFrame:
    """Return calculation_id, formula and setup, the text that names the zeros of its elements: 'Mg:0 O:2'."""
    names = [" ".join(f"{element}:{zero}" for element, zero in sorted(setups[row["calculation_id"]].items())) for row in rows]
    return pl.DataFrame(
        {"calculation_id": [row["calculation_id"] for row in rows], "formula": [row["own_formula"] for row in rows], "setup": names},
        schema={"calculation_id": pl.String, "formula": pl.String, "setup": pl.String},
    )


@dataclass(frozen=True)
class _Vectors:
    """Compositions as numbers of atoms of each unknown."""

    unknowns: Mapping[int, int]
    """Place of a zero -> number of its unknown; zeros that hold have none."""

    def atoms(self, formula: str, setup: str) -> Floats:
        """Return (unknowns,) atoms of a formula whose offset is unknown."""
        found = np.zeros(len(self.unknowns))
        counts = parse_formula(formula)
        for element, place in _places(setup):
            if place in self.unknowns:
                found[self.unknowns[place]] += counts[element]
        return found

    def fractions(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """Return (pairs, unknowns) the atoms of each (formula, setup) divided by all its atoms."""
        known = {pair: self.atoms(*pair) / sum(parse_formula(pair[0]).values()) for pair in dict.fromkeys(pairs)}
        return np.array([known[pair] for pair in pairs]).reshape(len(pairs), len(self.unknowns))


def _places(setup: str) -> Iterable[tuple[str, int]]:
    for word in setup.split(" "):
        element, _, place = word.partition(":")
        yield element, int(place)


def _structures(table: pl.DataFrame, vectors: _Vectors) -> _Evidence:
    return _differences(table, ["configuration_hash", "formula"], pl.col("energy_per_atom").mean(), STRUCTURES, vectors)


def _compositions(table: pl.DataFrame, vectors: _Vectors) -> _Evidence:
    return _differences(table, ["reduced_formula"], pl.col("energy_per_atom").min(), COMPOSITIONS, vectors)


def _differences(table: pl.DataFrame, same: list[str], energy: pl.Expr, method: str, vectors: _Vectors) -> _Evidence:
    """Return that what is the same in some columns has one energy per atom, whatever the zeros: one equation for each setup but one."""
    per_atom = (pl.col("energy") / pl.col("natoms")).alias("energy_per_atom")
    grouped = table.with_columns(per_atom).group_by(*same, "setup").agg(energy, pl.col("formula").first().alias("own_formula"))
    grouped = grouped.filter(pl.len().over(same) > 1).sort(*same, "setup")
    base = [pl.col(name).first().over(same).alias(f"base_{name}") for name in ("energy_per_atom", "setup", "own_formula")]
    pairs = grouped.with_columns(base).filter(pl.col("setup") != pl.col("base_setup"))
    own = vectors.fractions(list(pairs.select("own_formula", "setup").iter_rows()))
    other = vectors.fractions(list(pairs.select("base_own_formula", "base_setup").iter_rows()))
    return _Evidence(method, own - other, (pairs["base_energy_per_atom"] - pairs["energy_per_atom"]).to_numpy())


def _references(table: pl.DataFrame, vectors: _Vectors) -> _Evidence:
    """Return that the lowest energies of all compositions are sums of energies of their elements, those energies eliminated."""
    per_atom = (pl.col("energy") / pl.col("natoms")).alias("energy_per_atom")
    grouped = table.with_columns(per_atom).group_by("reduced_formula", "setup").agg(pl.col("energy_per_atom").min())
    pairs = list(grouped.sort("reduced_formula", "setup").select("reduced_formula", "setup").iter_rows())
    energies = grouped.sort("reduced_formula", "setup")["energy_per_atom"].to_numpy()
    compositions = [parse_formula(formula) for formula, _ in pairs]
    elements = sorted({element for counts in compositions for element in counts})
    fractions = np.array([[counts.get(e, 0.0) / sum(counts.values()) for e in elements] for counts in compositions])
    basis, sizes, _ = np.linalg.svd(fractions.reshape(len(pairs), len(elements)), full_matrices=False)
    basis = basis[:, sizes > _SINGULAR]
    rows = vectors.fractions(pairs)
    return _Evidence(REFERENCES, rows - basis @ (basis.T @ rows), basis @ (basis.T @ energies) - energies)


def _solve(evidence: Sequence[_Evidence], n: int) -> _Solved:
    """Return the offsets that fit each kind of evidence best among those that fit the kinds before it best, of minimum norm."""
    offsets, free = np.zeros(n), np.eye(n)
    methods = [MINIMUM_NORM] * n
    steps = []
    for each in evidence:
        # An upper triangle of n rows has the same singular values and right vectors as the many equations.
        triangle = np.linalg.qr(each.rows @ free, mode="r") if len(each.rows) else np.zeros((0, free.shape[1]))
        _, sizes, right = np.linalg.svd(triangle, full_matrices=True)
        fixed = right[: len(sizes)][sizes > _SINGULAR * max(1.0, np.sqrt(len(each.rows)))]
        if not len(fixed):
            continue
        directions = free @ fixed.T
        found = np.linalg.lstsq(each.rows @ directions, each.values - each.rows @ offsets, rcond=None)[0]
        offsets = offsets + directions @ found
        left = each.values - each.rows @ offsets
        heard = np.abs(each.rows @ directions).max(axis=1) > _SINGULAR
        steps.append(_step(each.method, left[heard], len(fixed)))
        for unknown in np.flatnonzero(np.linalg.norm(directions, axis=1) > _SINGULAR):
            methods[unknown] = each.method
        free = free @ right[len(fixed) :].T
    return _Solved(offsets, free, tuple(methods), tuple(steps))


def _step(method: str, left: Floats, rank: int) -> AlignmentStep:
    if len(left) <= rank:
        return AlignmentStep(method, len(left), rank, float("nan"), float("nan"))
    return AlignmentStep(method, len(left), rank, float(np.sqrt(np.mean(left**2))), float(np.abs(left).max()))


def _is_loose(atoms: Floats, free: Floats) -> bool:
    """Return whether the offset of a composition is not fixed by any evidence."""
    return bool(free.shape[1]) and float(np.abs(atoms @ free).max()) > 1e-6 * max(1.0, float(np.abs(atoms).max()))


def _told_offsets(zeros: Sequence[_Zero], unknowns: Mapping[int, int], solved: _Solved) -> tuple[EnergyOffset, ...]:
    told = []
    for place, zero in enumerate(zeros):
        unknown = unknowns.get(place)
        offset = 0.0 if unknown is None else float(solved.offsets[unknown])
        method = REFERENCE if unknown is None else solved.methods[unknown]
        alone = unknown is None or not solved.free.shape[1] or float(np.abs(solved.free[unknown]).max()) < 1e-6
        told.append(EnergyOffset(zero.element, tuple(sorted(zero.theories)), _words(zero.leader), offset, method, alone, zero.n_frames))
    return tuple(told)


def _words(setting: LevelOfTheory) -> str:
    names = [identity for _, identity in setting.pseudopotentials]
    cutoff = [numerics_key(setting)] if setting.cutoff is not None else []
    return ", ".join([theory_key(setting), *names, *cutoff])


def _notes(solved: _Solved, frames: pl.DataFrame) -> tuple[str, ...]:
    notes = []
    for step in solved.steps:
        if step.rms > LARGE_RESIDUAL:
            notes.append(
                f"{step.method} still differ by {1000 * step.rms:.1f} meV/atom (rms), {1000 * step.largest:.1f} at most, after the "
                "alignment: constants of the elements do not bring these levels together; look at 'atomlake conflicts' and at the k meshes"
                if step.method == STRUCTURES
                else f"{step.method} still differ by {1000 * step.rms:.1f} meV/atom (rms), {1000 * step.largest:.1f} at most, after the "
                "alignment: they hold other structures; calculate some structures at both levels"
            )
        if step.method == REFERENCES:
            notes.append(
                f"{step.rank} offsets, or sums of them, come from element references: energies of formation of what only one level holds "
                "are in them; do not compare energies of such compositions before some structures are calculated at both levels"
            )
        if np.isnan(step.rms):
            notes.append(f"{step.n_equations} {step.method} fix {step.rank} offsets: there is nothing left to tell how good they are")
    loose = frames.filter(pl.col("loose"))
    if loose.height:
        formulas = loose["formula"].unique().sort().to_list()
        notes.append(
            f"{int(loose['n'].sum())} frames ({', '.join(formulas[:5])}{', ...' if len(formulas) > 5 else ''}) have offsets that no data "
            "fix: the compositions do not tell the elements apart, the solution of minimum norm was taken"
        )
    return tuple(notes)
