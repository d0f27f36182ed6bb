"""What Elk writes of the steps of an optimisation beside INFO.OUT: GEOMETRY_OPT.OUT, TOTENERGY_OPT.OUT and FORCES_OPT.OUT.

INFO.OUT is written anew in each step, so at the end it tells the last one. A record of GEOMETRY_OPT.OUT is the geometry after the update
of its step: the energy and the forces of a step belong to the geometry of the record before. Records 'Lattice optimisation step' have
an energy of a cell that was strained for the stress: only their geometry is used. That of the first step is in the input alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Final

import numpy as np

from lake.readers.rows import number
from lake.readers.text_steps import NAN, Step, as_floats, even_decimals
from schemas.frames import Floats
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR

GEOMETRIES: Final = "GEOMETRY_OPT.OUT"
ENERGIES: Final = "TOTENERGY_OPT.OUT"
FORCES: Final = "FORCES_OPT.OUT"
FILES: Final = frozenset({GEOMETRIES, ENERGIES, FORCES})

_RECORD: Final = re.compile(rb"\n! (Atomic position|Lattice) optimisation step : +(\d{1,6}) *\n")
_VECTORS: Final = re.compile(rb"\navec\n *(\S+) +(\S+) +(\S+) *\n *(\S+) +(\S+) +(\S+) *\n *(\S+) +(\S+) +(\S+) *\n *(?=\n)")
_ATOMS: Final = re.compile(rb"\natoms\n +(\d{1,4}) +: nspecies\n")
_SPECIES: Final = re.compile(rb"'[^'\n]*' +: spfname\n +(\d{1,6}) +: natoms[^\n]*\n")
_FORCE_RECORD: Final = re.compile(rb"\nAtomic position optimisation step : +(\d{1,6}) *\n")
_TOTAL_FORCE: Final = re.compile(rb"\n +total force +: +(\S+) +(\S+) +(\S+) *(?=\n)")
_LARGEST: Final = re.compile(rb"\nMaximum force magnitude over all atoms \(target\) : +(\S+) \(")
_SAME_PLACE: Final = 1e-6
"""Å; positions have eight decimals of a lattice vector, lattice vectors ten digits."""
_SAME_ENERGY: Final = 1e-9
"""Part of an energy, which has 10 to 12 digits."""
_SAME_FORCE: Final = 1e-7
"""Ha/bohr; forces have eight decimals."""


@dataclass(frozen=True, eq=False)
class Record:
    """One record of an optimisation: energy and forces of a step, and the geometry that it led to; eV, Å, eV/Å."""

    atomic: bool
    """Of the positions; else of the lattice, and then energy and forces are none of a known geometry."""
    cell: Floats
    positions: Floats
    energy: float
    forces: Floats | None


@dataclass(frozen=True, eq=False)
class Last:
    """What INFO.OUT says: a geometry, and its energy in eV, NaN where the step is not complete."""

    cell: Floats
    positions: Floats
    energy: float


def read_records(texts: dict[str, bytes], natoms: int) -> list[Record]:
    """Return the records that the files tell together, none where they do not count the same steps.

    Elk writes the energy of a step first and the forces last: a run that goes on can have one energy more and forces of one step less.
    """
    texts = {name: b"\n" + text.replace(b"\r", b"") for name, text in texts.items()}
    geometry = texts.get(GEOMETRIES, b"")
    heads = list(_RECORD.finditer(geometry))
    energies = _read_energies(texts.get(ENERGIES, b""))
    atomic = [head.group(1) == b"Atomic position" for head in heads]
    forces = _read_forces(texts[FORCES], natoms) if FORCES in texts else {}
    whole = len(heads) <= len(energies) <= len(heads) + 1 and (not forces or sum(atomic) - 1 <= len(forces) <= sum(atomic))
    if not whole or not _in_order([int(head.group(2)) for head in heads], atomic):
        return []
    records: list[Record] = []
    for k, head in enumerate(heads):
        end = heads[k + 1].start() if k + 1 < len(heads) else len(geometry)
        found = _read_geometry(geometry[head.end() - 1 : end], natoms)
        if found is None:
            return records if k + 1 == len(heads) else []
        step, given = forces.get(sum(atomic[:k]), (0, None)) if atomic[k] else (0, None)
        if step not in (0, int(head.group(2))):
            return []
        records.append(Record(atomic[k], *found, float(energies[k]), given))
    return records


def _in_order(numbers: list[int], atomic: list[bool]) -> bool:
    """Return whether steps of positions are counted from 1 for each lattice, and those of the lattice from 1."""
    counts = [0, 0]
    for found, moves_atoms in zip(numbers, atomic, strict=True):
        counts[moves_atoms] += 1
        if found != counts[moves_atoms]:
            return False
        counts[True] = counts[True] if moves_atoms else 0
    return True


def _read_energies(text: bytes) -> Floats:
    """Return the energies in eV; none where one of them has lost digits."""
    fields = text[: text.rfind(b"\n")].split()
    digits = {sum(byte in b"0123456789" for byte in field) for field in fields}
    return as_floats(fields) * HARTREE if len(digits) == 1 else np.empty(0)


def steps_of(records: Sequence[Record], last: Last) -> list[Step] | None:
    """Return the steps whose geometry, energy and forces the files tell, without that of INFO.OUT where it is complete.

    None where the geometry of INFO.OUT, with its energy, is at none of their ends: they are of another run.
    """
    place = _place(records, last)
    if place is None:
        return None
    stop = place if isfinite(last.energy) else len(records)
    steps, number_of = [], 0
    for k, record in enumerate(records[:stop]):
        if record.atomic and k > 0:
            before = records[k - 1]
            steps.append(Step(number_of, before.cell, before.positions, record.energy, forces=record.forces))
        number_of += record.atomic
    return steps


def number_of_last(records: Sequence[Record], last: Last) -> int:
    """Return the number of the step that INFO.OUT tells, counted from 0; 0 where the records are of another run."""
    place = _place(records, last)
    return sum(record.atomic for record in records[: place or 0])


def _place(records: Sequence[Record], last: Last) -> int | None:
    """Return the index of the record that INFO.OUT is of, len(records) for the step behind them; None where there is no such one."""
    for k in range(len(records), max(-1, len(records) - 3), -1):
        moved = k > 0 and not _same_geometry(records[k - 1], last)
        told = k < len(records) and records[k].atomic
        if moved or (k == 0 and not (told and isfinite(last.energy))):
            continue
        if not told or not isfinite(last.energy) or abs(records[k].energy - last.energy) <= _SAME_ENERGY * abs(last.energy):
            return k
    return None


def _same_geometry(record: Record, last: Last) -> bool:
    """Return whether cells are equal, and atoms but for one vector by which Elk shifts all to have a centre of symmetry at the origin."""
    if record.positions.shape != last.positions.shape or bool((np.abs(record.cell - last.cell) > _SAME_PLACE).any()):
        return False
    return is_shifted(record.positions, last.positions, last.cell)


def is_shifted(positions: Floats, others: Floats, cell: Floats) -> bool:
    """Return whether positions (natoms, 3) are others, but for whole lattice vectors and one vector by which all are shifted."""
    apart = (positions - others) @ np.linalg.inv(cell)
    apart -= apart[0]
    return bool((np.abs((apart - np.round(apart)) @ cell) < _SAME_PLACE).all())


def _read_geometry(text: bytes, natoms: int) -> tuple[Floats, Floats] | None:
    """Return cell and positions in Å of one record, or None where it is cut or of another number of atoms."""
    vectors, atoms = _VECTORS.search(text), _ATOMS.search(text)
    if vectors is None or atoms is None:
        return None
    cell = as_floats(vectors.groups()).reshape(3, 3)
    rows: list[bytes] = []
    place = atoms.end()
    for _ in range(int(atoms.group(1))):
        species = _SPECIES.match(text, place)
        if species is None:
            return None
        lines = text[species.end() :].split(b"\n", int(species.group(1)))
        if len(lines) <= int(species.group(1)):
            return None
        rows += lines[:-1]
        place = len(text) - len(lines[-1])
    fields = [row.split() for row in rows]
    if len(fields) != natoms or any(len(row) not in (3, 6) for row in fields) or not even_decimals([x for row in fields for x in row]):
        return None
    values = as_floats([field for row in fields for field in row[:3]]).reshape(-1, 3)
    positions = values if b"\nmolecule\n" in text else values @ cell
    whole = bool(np.isfinite(positions).all() and np.isfinite(cell).all()) and abs(float(np.linalg.det(cell))) > 1e-9
    return (cell * BOHR, positions * BOHR) if whole else None


def _read_forces(text: bytes, natoms: int) -> dict[int, tuple[int, Floats]]:
    """Return step and forces in eV/Å of each record; all NaN where they are not whole, or not of the largest force that is printed."""
    heads = list(_FORCE_RECORD.finditer(text))
    found = {}
    for k, head in enumerate(heads):
        piece = text[head.end() - 1 : heads[k + 1].start() if k + 1 < len(heads) else len(text)]
        fields = [field for row in _TOTAL_FORCE.findall(piece) for field in row]
        values = as_floats(fields).reshape(-1, 3)
        largest = _LARGEST.search(piece)
        printed = number(largest.group(1)) if largest else NAN
        whole = (
            len(values) == natoms and even_decimals(fields) and abs(float(np.linalg.norm(values, axis=1).max()) - printed) <= _SAME_FORCE
        )
        found[k] = int(head.group(1)), values * HARTREE_PER_BOHR if whole else np.full((natoms, 3), NAN)
    return found
