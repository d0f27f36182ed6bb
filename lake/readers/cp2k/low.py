"""What a log of PRINT_LEVEL LOW leaves out, taken from the input beside it: atoms, cell, level of theory, place of a single point.

An input counts only where it is the log's own: by the name, the project and the run type that the log prints, by the number of atoms, and
by that of the electrons where the names of the pseudopotentials tell it. Coordinates of an input are those of a single point only, and the
overlap of the cores at them must be the one that is printed (`cp2k_cores`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from lake.readers.cp2k.cores import other_places
from lake.readers.cp2k.given import Given, GivenAtoms, atoms_of, cell_of, cores_of, electrons_of, is_single_point, periodicity_of
from lake.readers.cp2k.given_level import with_given_level
from lake.readers.cp2k.header import Header
from lake.readers.cp2k.input import UnclearInput
from schemas.elements import SYMBOLS
from schemas.errors import UnreadableOutput
from schemas.frames import Floats

_FOLLOWED: Final = frozenset({"md", "vc-md", "relax", "vc-relax"})
"""Kinds of runs whose steps are written to one trajectory."""
_TABLE: Final = re.compile(r"-1_0\.(?:xyz|stress_tensor)$")
_TITLES: Final = (b"ATOMIC FORCES in [", b"FORCES| Atomic forces [", b"STRESS TENSOR [", b"stress tensor [")
_ROW: Final = re.compile(rb"^ +\d+ +\d+ +([A-Za-z]+)\w* +\S+ +\S+ +\S+ *$", re.M)


@dataclass(frozen=True, eq=False)
class Settled:
    """What a log says, or for it its input."""

    header: Header
    numbers: NDArray[np.int16]
    cell: Floats | None
    """(3, 3) Å, of the first evaluation; None where only the trajectory knows it"""
    positions: Floats | None = None
    """(natoms, 3) Å of a single point, where the log does not print them"""
    files: tuple[str, ...] = ()
    """Names of the files that were used."""
    cells_change: bool = False
    """Frames without a cell of their own have none."""


def is_table(name: str) -> bool:
    """Return whether a file has the name of a table that a single point writes beside its log: PROJECT-1_0.xyz has its forces."""
    return _TABLE.search(name) is not None


def settled(header: Header, given: tuple[list[Given], list[str]], files: Mapping[str, bytes], evaluations: int) -> Settled:
    """Return what a log without coordinates leaves to its inputs; raises UnreadableOutput where they do not tell it."""
    single = is_single_point(header.run_type) and evaluations == 1
    if not single and header.kind not in _FOLLOWED:
        _refuse(header, [f"a run of type {header.run_type or 'unknown'} is not read without them"])
    inputs, reasons = given
    if not inputs:
        _refuse(header, reasons)
    try:
        return _single(header, inputs, files) if single else _followed(header, inputs, files)
    except UnclearInput as fault:
        _refuse(header, [*reasons, f"{inputs[0].name} beside it does not help: {fault}"])


def _refuse(header: Header, reasons: list[str]) -> NoReturn:
    words = "; ".join([f"the log of CP2K {header.version} prints no coordinates", *reasons])
    single = is_single_point(header.run_type)
    beside = f"the input {header.input_name or '*.inp'} with all that it includes" + ("" if single else f" and {header.project}-pos-1.xyz")
    raise UnreadableOutput("no_complete_step", words, f"deposit {beside} beside the log, or run it with PRINT_LEVEL MEDIUM")


def _single(header: Header, inputs: list[Given], files: Mapping[str, bytes]) -> Settled:
    own = inputs[0]
    cell = header.cell if header.cell is not None else cell_of(own)
    atoms, others = atoms_of(own, files, cell)
    _fit(header, own, atoms)
    if header.cores is not None and (words := other_places(header.cores, cores_of(own, atoms), atoms.positions, cell, periodicity_of(own))):
        raise UnclearInput(words)
    found = _with_level(header, own, atoms, cell, (*own.files, *others))
    return replace(found, positions=atoms.positions)


def _followed(header: Header, inputs: list[Given], files: Mapping[str, bytes]) -> Settled:
    """Return what the input of a dynamics or an optimisation tells: its positions are in the trajectory."""
    changes = header.kind in ("vc-relax", "vc-md")
    cell, atoms, fault = header.cell, None, UnclearInput("it has no atoms")
    used: list[str] = []
    for each in inputs:
        try:
            if cell is None and not (changes and each.is_restart):
                cell = cell_of(each)
                used += each.files
        except UnclearInput as unclear:
            fault = unclear
        try:
            if atoms is None:
                found, others = atoms_of(each, files, np.eye(3), where=False)
                _fit(header, each, found)
                atoms = found
                used += [*each.files, *others]
        except UnclearInput as unclear:
            fault = unclear
    if atoms is None or (cell is None and not changes):
        raise fault
    return replace(
        _with_level(header, inputs[0], atoms, cell, tuple(dict.fromkeys(used))), cells_change=header.kind == "vc-relax" or cell is None
    )


def _fit(header: Header, given: Given, atoms: GivenAtoms) -> None:
    """Raise UnclearInput where a log was made of another number of atoms or electrons."""
    if header.natoms not in (0, len(atoms.numbers)):
        raise UnclearInput(f"it has {len(atoms.numbers)} atoms, and the log tells of {header.natoms}")
    electrons = electrons_of(given, atoms)
    if electrons is not None and header.electrons >= 0 and electrons != header.electrons:
        raise UnclearInput(f"its pseudopotentials leave {electrons} electrons, and the log counts {header.electrons}")
    if is_single_point(header.run_type) and header.natoms == 0 and (electrons is None or header.electrons < 0):
        raise UnclearInput("the log tells neither of atoms nor of electrons by which it could be known")


def _with_level(header: Header, given: Given, atoms: GivenAtoms, cell: Floats | None, files: tuple[str, ...]) -> Settled:
    elements = {label: SYMBOLS[number] for label, number in zip(atoms.labels, atoms.numbers.tolist(), strict=True)}
    level = with_given_level(header.level, given, elements, cell)
    told = replace(header, level=level, pbc=periodicity_of(given))
    return Settled(told, atoms.numbers, cell, files=files)


def table_text(files: Mapping[str, bytes], settled: Settled) -> tuple[bytes, tuple[str, ...]]:
    """Return the tables that a single point wrote beside its log, each behind a line end, and the names of their files.

    A file is taken whose atoms are those of the run, and in which there is one table: CP2K appends those of a second run.
    """
    texts, names = [], []
    for name in (f"{settled.header.project}-1_0.xyz", f"{settled.header.project}-1_0.stress_tensor"):
        text = files.get(name, b"").replace(b"\r", b"")
        rows = [symbol.decode("latin-1").capitalize() for symbol in _ROW.findall(text)]
        others = b"ATOMIC FORCES in [" in text and rows != [SYMBOLS[number] for number in settled.numbers.tolist()]
        if sum(map(text.count, _TITLES)) == 1 and not others:
            texts.append(b"\n" + text)
            names.append(name)
    return b"".join(texts), tuple(names)
