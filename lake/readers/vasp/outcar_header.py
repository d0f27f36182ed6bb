"""The head of OUTCAR: version, input tags, POTCAR titles, ions; everything before the first `Iteration`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from math import comb, isnan
from typing import Final

import numpy as np

from lake import native
from lake.readers.remembered import remembered
from lake.readers.rows import number
from lake.readers.vasp.header import Header
from lake.readers.vasp.level import Mesh, version_of
from lake.readers.vasp.species import IonType
from lake.readers.vasp.tags import Tags
from lake.readers.words import Found, Words
from schemas.errors import UnreadableOutput

_TAG: Final = re.compile(r"\b([A-Za-z][A-Za-z0-9_]*)[ \t]*=[ \t]*([^;\r\n]*)", re.ASCII)
_ECHO: Final = re.compile(r"^[ \t]*([A-Za-z][A-Za-z0-9_/]*)[ \t]*=[ \t]*([^;\r\n]*)", re.MULTILINE | re.ASCII)
_TITLE: Final = re.compile(rb"TITEL[ \t]*=[ \t]*([^\r\n]*)")
_POTCAR: Final = re.compile(rb"POTCAR:[ \t]*([^\r\n]*)")
_SYMBOL: Final = re.compile(rb"VRHFIN[ \t]*=[ \t]*([A-Za-z]+)")
_MASS: Final = re.compile(rb"POMASS[ \t]*=[ \t]*([\d.]+);[ \t]*ZVAL[ \t]*=[ \t]*([\d.]+)")
_ATOM_ENERGY: Final = re.compile(rb"EATOM=[ \t]*(-?[\d.]+)\s+kinetic energy error for atom=[ \t]*(-?[\d.]+)")
_COUNTS: Final = re.compile(rb"ions per type =((?:[ \t\r\n]*\d)+)")
_MESH: Final = re.compile(rb"generate k-points for:[ \t]*(\d{1,6})[ \t]+(\d{1,6})[ \t]+(\d{1,6})")
_NIONS: Final = re.compile(rb"NIONS[ \t]*=[ \t]*(\d{1,9})\b")
_NKPTS: Final = re.compile(rb"NKPTS[ \t]*=[ \t]*(\d{1,9})\b")
_METAGGA: Final = re.compile(rb"\n *METAGGA = *(\S+) +LMAXTAU =")
"""Stands before the list of parameters, which has LMETAGGA under the same name; five letters of it up to VASP 6.1 (R2SCA)."""
_PLUS_U: Final = b"LDA+U is selected"
_BAND: Final = b"Running the NEB"
_LIST: Final = b"Startparameter for this run"
_PER_TYPE: Final = b"ions per type ="
_GENERATED: Final = b"generate k-points for:"
_WORDS: Final = Words(
    _LIST, _PER_TYPE, _GENERATED, _PLUS_U, _BAND, b"NIONS", b"NKPTS", b"TITEL", b"POTCAR:", b"VRHFIN", b"POMASS", b"EATOM=", b" INCAR:",
    b"LMAXTAU", b"kinetic energy error for atom", b"vasp.",
)  # fmt: skip
"""What patterns begin with, and other words that are looked for."""
_MOST_SPLITS: Final = 300_000
_FINER: Final = ("ENCUT", "SIGMA", "EDIFF", "AEXX", "HFSCREEN")
"""Tags of which the list of parameters shows few digits, the copy of INCAR all."""


@dataclass(frozen=True, eq=False)
class Head:
    """What stands before the first iteration of a run."""

    text: bytes
    known: dict[float | None, Header] = field(default_factory=dict)
    """What `read_header` made of it, by the energy of the atoms."""

    @cached_property
    def found(self) -> Found:
        """The words of the head with their places: all in one pass, since tables of k points and positions make it long."""
        return Found(self.text, _WORDS)

    @cached_property
    def _start(self) -> int:
        """Where the list of parameters begins; the copies of INCAR and POTCAR and the numbers of ions and k points are before it."""
        return self.found.first(_LIST)

    def find_all(self, words: bytes, pattern: re.Pattern[bytes]) -> list[tuple[bytes, ...]]:
        """Return the groups of all matches of a pattern that begins with words; what stands before the list of parameters counts first."""
        places = self.found.all(words)
        before = self._groups(pattern, [place for place in places if place < self._start])
        return before or self._groups(pattern, [place for place in places if place >= self._start])

    def _groups(self, pattern: re.Pattern[bytes], places: Sequence[int]) -> list[tuple[bytes, ...]]:
        return [match.groups() for place in places if (match := pattern.match(self.text, place)) is not None]

    @cached_property
    def natoms(self) -> int:
        """NIONS; raises UnreadableOutput where it is not printed."""
        found = self.find_all(b"NIONS", _NIONS)
        if not found or int(found[0][0]) == 0:
            raise UnreadableOutput("unreadable_output", "OUTCAR without the number of ions (NIONS)", "deposit the whole OUTCAR")
        return int(found[0][0])

    @cached_property
    def tags(self) -> Tags:
        """The tags in force: the list of parameters first, then the copy of INCAR that newer versions print."""
        listed = lines_with(self.text, b"=", max(0, self._start))
        copied = self.found.first(b" INCAR:")
        echo = self.text[copied : self.found.first(b"POTCAR:", copied)] if copied >= 0 else b""
        chosen = self.found.line(_METAGGA, b"LMAXTAU")
        said = b" ".join(words for words in (_PLUS_U, _BAND) if words in self.found)
        return _tags(listed, echo, b"" if chosen is None else chosen[1], said)


def head_of(text: bytes) -> Head:
    """Return the head that a text is: that of another run of the campaign where the lines that are read say the same."""
    return _known_head(_telling_lines(text))


_known_head: Final = remembered(Head)


def _telling_lines(text: bytes) -> bytes:
    """Return the lines of a head that anything is read from, without the positions and k points between; all of it without a compiler."""
    found = Found(text, _WORDS)
    start, copied = max(0, found.first(_LIST)), found.first(b" INCAR:")
    behind = found.first(b"POTCAR:", copied) if copied >= 0 else 0
    ranges = ((max(0, copied), behind if behind >= 0 else len(text)), (start, len(text)))
    return native.telling_lines(text, sorted(found.places()), ranges)


@remembered
def _tags(listed: bytes, echo: bytes, metagga: bytes, said: bytes) -> Tags:
    """Return the tags of the list of parameters, the copy of INCAR, the chosen meta-GGA, and words of the head."""
    used, asked = _first_of_each(_TAG, listed), _first_of_each(_ECHO, echo)
    merged = {**asked, **used}
    for name in _FINER:
        fine, coarse = (Tags(values).number(name, float("nan")) for values in (asked, used))
        if abs(fine - coarse) <= 0.1 * abs(fine):
            merged[name] = asked[name]
    if metagga:
        merged["METAGGA"] = metagga.decode("latin-1")
    if _PLUS_U in said:
        merged["LDAU"] = "T"
    if _BAND in said:
        merged.setdefault("IMAGES", "1")
    return Tags(merged)


def lines_with(text: bytes, mark: bytes, start: int) -> bytes:
    """Return the lines from start on that hold a mark, each ending with a newline."""
    lines = []
    place = text.find(mark, start)
    while place >= 0:
        following = text.find(b"\n", place)
        following = following if following >= 0 else len(text)
        lines.append(text[text.rfind(b"\n", start, place) + 1 or start : following])
        place = text.find(mark, following)
    return b"\n".join([*lines, b""])


def read_header(head: Head, atomic_energy: float) -> Header:
    """Return what the head of a run says.

    atomic_energy (eV) is the `atomic energy  EATOM` of the first iteration, NaN where it is not printed: it tells the number of
    ions of each type where the list is cut. Raises UnreadableOutput where number or types of the ions are not known.
    """
    key = None if isnan(atomic_energy) else atomic_energy
    if key not in head.known:
        head.known[key] = _make_header(head, atomic_energy)
    return head.known[key]


def _make_header(head: Head, atomic_energy: float) -> Header:
    kinds, notes = _ion_types(head, atomic_energy)
    types = np.repeat(np.arange(len(kinds), dtype=np.int32), [kind.count for kind in kinds])
    types.flags.writeable = False
    version = re.search(rb"vasp\.([^\s]*)", head.text)
    return Header(
        version=version_of(version.group(1).decode("latin-1")) if version else "",
        tags=head.tags,
        kinds=kinds,
        types=types,
        mesh=_mesh(head),
        notes=notes,
    )


def _first_of_each(pattern: re.Pattern[str], text: bytes) -> dict[str, str]:
    return {name.upper(): value for name, value in reversed(pattern.findall(text.decode("latin-1")))}


def _mesh(head: Head) -> Mesh:
    points = head.find_all(b"NKPTS", _NKPTS)
    match = _MESH.match(head.text, max(0, head.found.first(_GENERATED)))
    divisions = (int(match.group(1)), int(match.group(2)), int(match.group(3))) if match else None
    return Mesh(divisions if divisions and min(divisions) > 0 else None, int(points[0][0]) if points else None)


def _ion_types(head: Head, atomic_energy: float) -> tuple[tuple[IonType, ...], tuple[str, ...]]:
    natoms = head.natoms
    titles = [text.decode("latin-1").strip() for (text,) in head.find_all(b"TITEL", _TITLE)]
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
        titles = [text.decode("latin-1").strip() for (text,) in head.find_all(b"POTCAR:", _POTCAR)]
    if len(titles) < len(counts):
        raise UnreadableOutput(
            "unreadable_output",
            f"OUTCAR names {len(titles)} POTCAR titles for {len(counts)} types",
            "deposit the vasprun.xml of the same run",
        )
    symbols = [text.decode("latin-1") for (text,) in head.find_all(b"VRHFIN", _SYMBOL)]
    masses = [(number(mass), number(valence)) for mass, valence in head.find_all(b"POMASS", _MASS)]
    symbols = symbols if len(symbols) == len(counts) else [""] * len(counts)
    masses = masses if len(masses) == len(counts) else [(float("nan"), float("nan"))] * len(counts)
    rows = zip(counts, titles[: len(counts)], symbols, masses, strict=True)
    return tuple(IonType(count, title, symbol, *mass) for count, title, symbol, mass in rows), notes


def _counts(head: Head, natoms: int) -> list[int]:
    """Return the ions per type; where the numbers glue (I4), they are cut into columns."""
    place = head.found.first(_PER_TYPE)
    match = _COUNTS.search(head.text, place) if place >= 0 else None
    if match is None:
        return []
    counts = [int(word[:9]) for word in match.group(1).split()]
    if sum(counts) <= natoms:
        return counts
    text = match.group(1).replace(b"\n", b"").replace(b"\r", b"")
    text = text.rjust(-(-len(text) // 4) * 4)
    columns = [text[place : place + 4].strip() for place in range(0, len(text), 4)]
    return [int(column) for column in columns if column.isdigit()]


def _atom_energies(head: Head, types: int) -> list[float]:
    """Return the energy of the atom of each type (eV, corrected as VASP does), nothing where they are not all printed."""
    found = [-number(energy) - number(error) for energy, error in head.find_all(b"EATOM=", _ATOM_ENERGY)]
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
