"""The head of OUTCAR: version, input tags, POTCAR titles, ions; everything before the first `Iteration`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from math import comb
from typing import Final

import numpy as np

from lake.readers.rows import number
from lake.readers.vasp_frames import Header
from lake.readers.vasp_level import Mesh, Tags, version_of
from lake.readers.vasp_species import IonType
from schemas.errors import UnreadableOutput

_TAG: Final = re.compile(rb"\b([A-Za-z][A-Za-z0-9_]*)[ \t]*=[ \t]*([^;\r\n]*)")
_ECHO: Final = re.compile(rb"^[ \t]*([A-Za-z][A-Za-z0-9_]*)[ \t]*=[ \t]*([^;\r\n]*)", re.MULTILINE)
_TITLE: Final = re.compile(rb"TITEL[ \t]*=[ \t]*([^\r\n]*)")
_POTCAR: Final = re.compile(rb"POTCAR:[ \t]*([^\r\n]*)")
_SYMBOL: Final = re.compile(rb"VRHFIN[ \t]*=[ \t]*([A-Za-z]+)")
_MASS: Final = re.compile(rb"POMASS[ \t]*=[ \t]*([\d.]+);[ \t]*ZVAL[ \t]*=[ \t]*([\d.]+)")
_ATOM_ENERGY: Final = re.compile(rb"EATOM=[ \t]*(-?[\d.]+)\s+kinetic energy error for atom=[ \t]*(-?[\d.]+)")
_COUNTS: Final = re.compile(rb"ions per type =((?:[ \t\r\n]*\d)+)")
_MESH: Final = re.compile(rb"generate k-points for:[ \t]*(\d{1,6})[ \t]+(\d{1,6})[ \t]+(\d{1,6})")
_MOST_SPLITS: Final = 300_000
_FINER: Final = ("ENCUT", "SIGMA", "EDIFF", "AEXX", "HFSCREEN")
"""Tags of which the list of parameters shows few digits, the copy of INCAR all."""


def read_header(head: bytes, atomic_energy: float) -> Header:
    """Return what the bytes of an OUTCAR before its first iteration say.

    atomic_energy (eV) is the `atomic energy  EATOM` of the first iteration, NaN where it is not printed: it tells the number of
    ions of each type where the list is cut. Raises UnreadableOutput where number or types of the ions are not known.
    """
    natoms = ion_count(head)
    kinds, notes = _ion_types(head, natoms, atomic_energy)
    version = re.search(rb"vasp\.([^\s]*)", head)
    return Header(
        version=version_of(version.group(1).decode("latin-1")) if version else "",
        tags=read_tags(head),
        kinds=kinds,
        types=np.repeat(np.arange(len(kinds), dtype=np.int32), [kind.count for kind in kinds]),
        mesh=_mesh(head),
        notes=notes,
    )


def ion_count(head: bytes) -> int:
    """Return NIONS; raises UnreadableOutput where it is not printed."""
    match = re.search(rb"NIONS[ \t]*=[ \t]*(\d{1,9})\b", head)
    if match is None or int(match.group(1)) == 0:
        raise UnreadableOutput("unreadable_output", "OUTCAR without the number of ions (NIONS)", "deposit the whole OUTCAR")
    return int(match.group(1))


def read_tags(head: bytes) -> Tags:
    """Return the tags in force: the list of parameters first, then the copy of INCAR that newer versions print."""
    start = head.find(b"Startparameter for this run")
    used = _first_of_each(_TAG, head[start:] if start >= 0 else head)
    copied = head.find(b" INCAR:")
    asked = _first_of_each(_ECHO, head[copied : head.find(b"POTCAR:", copied)]) if copied >= 0 else {}
    merged = {**asked, **used}
    for name in _FINER:
        fine, coarse = (Tags(values).number(name, float("nan")) for values in (asked, used))
        if abs(fine - coarse) <= 0.1 * abs(fine):
            merged[name] = asked[name]
    if b"LDA+U is selected" in head:
        merged["LDAU"] = "T"
    if b"Running the NEB" in head:
        merged.setdefault("IMAGES", "1")
    return Tags(merged)


def _first_of_each(pattern: re.Pattern[bytes], text: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in pattern.findall(text):
        found.setdefault(name.decode("latin-1").upper(), value.decode("latin-1"))
    return found


def _mesh(head: bytes) -> Mesh:
    points = re.search(rb"NKPTS[ \t]*=[ \t]*(\d{1,9})\b", head)
    match = _MESH.search(head)
    divisions = (int(match.group(1)), int(match.group(2)), int(match.group(3))) if match else None
    return Mesh(divisions if divisions and min(divisions) > 0 else None, int(points.group(1)) if points else None)


def _ion_types(head: bytes, natoms: int, atomic_energy: float) -> tuple[tuple[IonType, ...], tuple[str, ...]]:
    titles = [text.decode("latin-1").strip() for text in _TITLE.findall(head)]
    counts = _counts(head, natoms)
    notes: tuple[str, ...] = ()
    if counts and sum(counts) < natoms and len(counts) < len(titles):
        counts = _complete(counts, natoms, _atom_energies(head, len(titles)), atomic_energy)
        notes = (f"the list of ions per type is cut; {counts} follows from the energies of the atoms",)
    if sum(counts) != natoms:
        raise UnreadableOutput(
            "unreadable_output",
            f"OUTCAR lists {counts} ions per type for {natoms} ions of {len(titles)} POTCAR blocks",
            "deposit the vasprun.xml of the same run",
        )
    if len(titles) < len(counts):
        titles = [text.decode("latin-1").strip() for text in _POTCAR.findall(head)]
    if len(titles) < len(counts):
        raise UnreadableOutput(
            "unreadable_output",
            f"OUTCAR names {len(titles)} POTCAR titles for {len(counts)} types",
            "deposit the vasprun.xml of the same run",
        )
    symbols = [text.decode("latin-1") for text in _SYMBOL.findall(head)]
    masses = [(number(mass), number(valence)) for mass, valence in _MASS.findall(head)]
    symbols = symbols if len(symbols) == len(counts) else [""] * len(counts)
    masses = masses if len(masses) == len(counts) else [(float("nan"), float("nan"))] * len(counts)
    rows = zip(counts, titles[: len(counts)], symbols, masses, strict=True)
    return tuple(IonType(count, title, symbol, *mass) for count, title, symbol, mass in rows), notes


def _counts(head: bytes, natoms: int) -> list[int]:
    """Return the ions per type; where the numbers glue (I4), they are cut into columns."""
    match = _COUNTS.search(head)
    if match is None:
        return []
    counts = [int(word[:9]) for word in match.group(1).split()]
    if sum(counts) <= natoms:
        return counts
    text = match.group(1).replace(b"\n", b"").replace(b"\r", b"")
    text = text.rjust(-(-len(text) // 4) * 4)
    columns = [text[place : place + 4].strip() for place in range(0, len(text), 4)]
    return [int(column) for column in columns if column.isdigit()]


def _atom_energies(head: bytes, types: int) -> list[float]:
    """Return the energy of the atom of each type (eV, corrected as VASP does), nothing where they are not all printed."""
    found = [-number(energy) - number(error) for energy, error in _ATOM_ENERGY.findall(head)]
    return found if len(found) == types else []


def _complete(counts: Sequence[int], natoms: int, energies: Sequence[float], total: float) -> list[int]:
    """Return the ions of all types, of which VASP prints ten: the only numbers whose atoms have together the printed energy."""
    missing, ions = len(energies) - len(counts), natoms - sum(counts)
    if not energies or not np.isfinite(total) or not 0 < missing <= ions or comb(ions - 1, missing - 1) > _MOST_SPLITS:
        return list(counts)
    rest = total - float(np.dot(counts, energies[: len(counts)]))
    cuts = np.array([(0, *cut, ions) for cut in combinations(range(1, ions), missing - 1)])
    splits = np.diff(cuts, axis=1)
    fitting = splits[np.abs(splits @ np.array(energies[len(counts) :]) - rest) < 1e-4 * natoms]
    return [*counts, *(int(count) for count in fitting[0])] if len(fitting) == 1 else list(counts)
