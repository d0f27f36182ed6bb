"""Runs out of a collection: the depositor's answers say which numbers are labels and in which units; nothing is guessed here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from lake.checks import held_zero
from lake.collections.answers import COMPRESSION, TENSION, Answers
from lake.collections.label_names import Candidates, candidates, is_gradient, no_label, stem
from lake.collections.records import Collection, Column, Series
from lake.collections.unit_names import energy_unit, stress_unit
from schemas.calculations import Run
from schemas.errors import QueryError, closest
from schemas.frames import Floats, FrameBlock
from schemas.theory import LevelOfTheory

_DIGESTS: Final[WeakKeyDictionary[Collection, str]] = WeakKeyDictionary()
"""Names of collections that are still there."""


@dataclass(frozen=True)
class Chosen:
    """Which numbers of a collection are the labels; '' for none."""

    energy: str = ""
    forces: str = ""
    stress: str = ""
    virial: str = ""
    open: tuple[str, ...] = ()
    """What is left to be said, in words."""
    notes: tuple[str, ...] = ()


def choose(collection: Collection, answers: Answers) -> Chosen:
    """Return the labels that the answers name, or the only ones that there can be; raises QueryError for a name that is not there."""
    found, keys = candidates(collection), answers.keys
    vectors = tuple(dict.fromkeys(name for series in collection.series for name in series.vectors))
    energy, open_energy = _choice(collection, "energy", keys.energy, found.energy, tuple(collection.columns))
    if keys.forces.lower() == "none":
        forces, open_forces = "", ""
    else:
        near = tuple(name for name in found.forces if stem(name) == stem(energy)) if keys.energy and len(found.forces) > 1 else found.forces
        forces, open_forces = _choice(collection, "forces", keys.forces, near or found.forces, vectors)
    stress, virial, left = _stress_and_virial(collection, answers, found)
    used = {energy, forces, stress, virial}
    notes = [f"labels: {', '.join(f'{kind} is {name!r}' for kind, name in _pairs(energy, forces, stress, virial) if name)}"]
    for name in (*found.energy, *found.forces):
        if name not in used and name != collection.sigma0:
            why = no_label(name)
            notes.append(f"{name!r} was not used: {f'by its name {why}' if why else 'not named as a label'}")
    if is_gradient(forces):
        notes.append(f"forces are {forces!r} with the opposite sign, for by its name it is the gradient of the energy")
    return Chosen(energy, forces, stress, virial, tuple(words for words in (open_energy, open_forces) if words), (*notes, *left))


def _pairs(energy: str, forces: str, stress: str, virial: str) -> tuple[tuple[str, str], ...]:
    return (("energy", energy), ("forces", forces), ("stress", stress), ("virial", virial))


def _choice(collection: Collection, kind: str, given: str, found: tuple[str, ...], known: tuple[str, ...]) -> tuple[str, str]:
    """Return (name, '') or ('', what is left to be said)."""
    if given:
        if given not in known:
            raise QueryError(f"keys: {kind}={given}: no frame has {given!r}{closest(given, known)}; there are {', '.join(known) or 'none'}")
        return given, ""
    if len(found) == 1 and not no_label(found[0]):
        return found[0], ""
    if not found:
        return "", ""
    if kind == "energy" and not no_label(found[0]) and _all_equal([collection.columns[name] for name in found]):
        return next((name for name in found if name.lower() == "energy"), found[0]), ""
    return "", f"which of {', '.join(found)} is the {kind}"


def _all_equal(columns: list[Column]) -> bool:
    first = columns[0]
    return all(
        np.array_equal(first.places, other.places) and np.array_equal(first.values, other.values, equal_nan=True) for other in columns[1:]
    )


def _stress_and_virial(collection: Collection, answers: Answers, found: Candidates) -> tuple[str, str, tuple[str, ...]]:
    """Return the names of stress and virial, each taken only where its unit is said, and notes on what is left out."""
    names, notes = [], []
    for kind, given, unit, known in (
        ("stress", answers.keys.stress, answers.units.stress, found.stress),
        ("virial", answers.keys.virial, answers.units.virial, found.virial),
    ):
        name, left = _choice(collection, kind, given, known, tuple(collection.columns))
        if name and collection.columns[name].values.shape[1] not in (6, 9):
            raise QueryError(f"keys: {kind}={name}: it has {collection.columns[name].values.shape[1]} numbers, expected 6 or 9")
        if left or (name and not unit):
            what = f"which of {', '.join(known)} is it" if left else f"its unit: units {kind}=..., and {kind}_sign"
            notes.append(f"{kind} was left out; to take it, say {what}")
        names.append("" if left or not unit else name)
    if names[0] and names[1]:
        notes.append(f"virial {names[1]!r} was not used: there is a stress")
        names[1] = ""
    return names[0], names[1], tuple(notes)


def label(collection: Collection, answers: Answers, chosen: Chosen) -> tuple[Run, ...]:
    """Return one run for each series (and each total charge in it), in eV, Å, eV/Å and eV/Å³; a step's number is its place in the file."""
    words = _Words.of(collection, answers, chosen)
    runs: list[Run] = []
    for index, series in enumerate(collection.series):
        charges = _charges(collection, series)
        for charge in np.unique(charges):
            part = np.flatnonzero(charges == charge)
            block = _block(collection, series, part, answers, chosen)
            frames = _flag_constrained(replace(block, fixed=collection.fixed.get(index)))
            level = level_of(collection, answers, index)
            runs.append(words.run(frames, level, float(charge), first=not runs))
    return tuple(runs)


def _flag_constrained(frames: FrameBlock) -> FrameBlock:
    """Flag frames whose atoms that are held fixed have no force: `get_forces` of ASE makes it zero unless it is told not to."""
    held = held_zero(frames)
    if not held.any():
        return frames
    flags = zip(frames.flags, held.tolist(), strict=True)
    return replace(frames, flags=tuple(tuple(sorted({*names, "constrained_forces"})) if zero else names for names, zero in flags))


@dataclass(frozen=True)
class _Words:
    """What all runs of a collection share."""

    collection: Collection
    version: str
    flags: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, collection: Collection, answers: Answers, chosen: Chosen) -> _Words:
        told = "; ".join(f"{name}: {text}" for name, text in answers.texts().items())
        flags = ("malformed_steps",) * bool(collection.n_malformed) + ("truncated",) * collection.truncated
        more = collection.n_malformed - len(collection.malformed)
        left_out = [f"{words} (left out)" for words in collection.malformed] + ([f"{more} more frames were left out"] if more > 0 else [])
        notes = ("a step's number is the place of the frame in the file, from 0", f"as said: {told}", *chosen.notes, *left_out)
        return cls(collection, answers.theory.code_version, tuple(sorted(flags)), (*notes, *collection.notes))

    def run(self, frames: FrameBlock, level: LevelOfTheory, charge: float, *, first: bool) -> Run:
        """Return the run of some frames; malformed frames of the file are counted with the first."""
        return Run(
            code=level.code,
            code_version=self.version,
            kind="collection",
            format=self.collection.format,
            level_of_theory=replace(level, charge=charge) if charge else level,
            frames=frames,
            complete=not self.collection.truncated,
            flags=self.flags,
            notes=self.notes,
            n_malformed_steps=self.collection.n_malformed if first else 0,
        )


def level_of(collection: Collection, answers: Answers, index: int = 0) -> LevelOfTheory:
    """Return the level of theory of a series, as it is said; where no functional is, the collection itself is its name.

    Frames of an unknown level go with those of their own file only: two collections of unknown levels are never one.
    """
    given, known = answers.theory, collection.levels.get(index)
    functional = given.functional or (known.functional if known is not None else "")
    return LevelOfTheory(
        code=given.code or (known.code if known is not None else collection.code),
        functional=functional,
        dispersion=given.dispersion or (known.dispersion if known is not None else ""),
        basis=given.basis or (known.basis if known is not None else ""),
        cutoff=float(given.cutoff) if given.cutoff else (known.cutoff if known is not None else None),
        spin=given.spin or (known.spin if known is not None else "none"),
        extra=() if functional else (("collection", _digest(collection)),),
    )


def _digest(collection: Collection) -> str:
    """Return a name (12 hex digits) of what a collection holds, whatever its file is called; made once, for it is asked by each series."""
    known = _DIGESTS.get(collection)
    if known is None:
        digest = hashlib.sha256()
        for series in collection.series:
            for values in (series.numbers, series.positions, series.cell):
                digest.update(np.ascontiguousarray(values).tobytes())
        known = _DIGESTS[collection] = digest.hexdigest()[:12]
    return known


def _charges(collection: Collection, series: Series) -> Floats:
    """Return (n,) the total charges in e: whole numbers, 0 where none is said or where it is no whole number (a sum of fitted charges)."""
    names = [key for key in collection.columns if key.lower() in ("charge", "total_charge", "tot_charge", "total charge")]
    columns = [collection.columns[name] for name in names if collection.columns[name].values.shape[1] == 1]
    if not columns:
        return np.zeros(series.count)
    values = np.nan_to_num(columns[0].at(series.places)[:, 0], nan=0.0)
    whole = np.round(values)
    return np.where(np.abs(values - whole) < 0.05, whole, 0.0) + 0.0


def _block(collection: Collection, series: Series, part: NDArray[np.intp], answers: Answers, chosen: Chosen) -> FrameBlock:
    places, n, natoms = series.places[part], len(part), len(series.numbers)
    length = answers.length.factor
    cell = series.cell[part] * length
    energy = collection.columns[chosen.energy].at(places)[:, 0] * answers.energy.factor if chosen.energy else np.full(n, np.nan)
    vectors = series.vectors.get(chosen.forces)
    factor = answers.force.factor * (-1.0 if is_gradient(chosen.forces) else 1.0)
    forces = np.full((n, natoms, 3), np.nan) if vectors is None else vectors[part] * factor
    forces[np.isnan(forces).any(axis=(1, 2))] = np.nan
    stress, source = _stress(collection.columns, places, cell, answers, chosen)
    bad = np.array([place in collection.torn for place in places.tolist()], dtype=bool)
    bad &= np.isnan(energy) | np.isnan(forces).any(axis=(1, 2))
    return FrameBlock(
        numbers=series.numbers,
        pbc=series.pbc,
        cell=cell,
        positions=series.positions[part] * length,
        energy=energy,
        forces=forces,
        stress=stress,
        energy_sigma0=_sigma0(collection, places, answers),
        energy_internal=np.full(n, np.nan),
        scf_converged=np.full(n, -1, dtype=np.int8),
        n_scf_steps=np.full(n, -1, dtype=np.int32),
        step=places.astype(np.int32),
        flags=tuple(("malformed_values", "scf_unknown") if torn else ("scf_unknown",) for torn in bad.tolist()),
        energy_source=f"{collection.format} {chosen.energy!r} in {answers.units.energy}",
        stress_source=source if np.isfinite(stress).any() else "",
    )


def _sigma0(collection: Collection, places: NDArray[np.int64], answers: Answers) -> Floats:
    column = collection.columns.get(collection.sigma0)
    return np.full(len(places), np.nan) if column is None else column.at(places)[:, 0] * answers.energy.factor


def _stress(columns: Mapping[str, Column], places: NDArray[np.int64], cell: Floats, answers: Answers, chosen: Chosen) -> tuple[Floats, str]:
    """Return (n, 3, 3) the stress, tension positive, and what it was made of; NaN for frames without a cell."""
    name = chosen.stress or chosen.virial
    if not name:
        return np.full((len(places), 3, 3), np.nan), ""
    tensor = tensors(columns[name].at(places), answers.units.stress_order.split())
    volume = np.abs(np.linalg.det(cell))
    tensor[~(volume > 1e-9)] = np.nan
    if chosen.stress:
        sign = 1.0 if answers.units.stress_sign == TENSION else -1.0
        return tensor * (
            sign * stress_unit(answers.units.stress).factor
        ), f"{name!r} in {answers.units.stress}, {answers.units.stress_sign} positive"
    sign = -1.0 if answers.units.virial_sign == COMPRESSION else 1.0
    factor = sign * energy_unit(answers.units.virial).factor
    with np.errstate(divide="ignore", invalid="ignore"):
        made = tensor * factor / volume[:, None, None]
    return made, f"{name!r} in {answers.units.virial}, {answers.units.virial_sign} positive, divided by the volume"


def tensors(values: Floats, order: list[str]) -> Floats:
    """Return (n, 3, 3) symmetric tensors of six numbers in an order, or of nine by rows; NaN where nine are not symmetric to 1e-3."""
    n, width = values.shape
    if width == 6:
        by_name = {name: values[:, k] for k, name in enumerate(order)}
        rows = (("xx", "xy", "xz"), ("xy", "yy", "yz"), ("xz", "yz", "zz"))
        return np.stack([by_name[name] for row in rows for name in row], axis=1).reshape(n, 3, 3)
    full = values.reshape(n, 3, 3)
    largest = np.abs(full).max(axis=(1, 2), initial=0.0)
    uneven = np.abs(full - full.transpose(0, 2, 1)).max(axis=(1, 2), initial=0.0) > 1e-3 * largest
    upper = np.triu(full)
    result = upper + np.triu(full, 1).transpose(0, 2, 1)
    result[uneven] = np.nan
    return np.asarray(result)
