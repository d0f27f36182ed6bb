"""Input files of VASP beside an output: INCAR, KPOINTS, and of POTCAR the titles alone.

Outputs do not tell everything: the copy of INCAR in a vasprun.xml lacks tags (IVDW), an OUTCAR often lacks the mesh. An input file can
also have been edited after the run. So what it says fills what the output leaves open, and where it contradicts the output it is not
used at all. Format of the files: https://www.vasp.at/wiki/index.php/INCAR, .../KPOINTS, .../POTCAR.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isclose
from typing import Any, Final

from lake.readers.remembered import once, remembered
from lake.readers.vasp.beyond import altered
from lake.readers.vasp.level import Mesh, level_of_theory, mesh_spacing
from lake.readers.vasp.species import IonType, element_of
from lake.readers.vasp.tags import Tags
from schemas.calculations import Run
from schemas.elements import SYMBOLS
from schemas.errors import UnreadableOutput

MAX_TEXT_BYTES: Final = 2**20
"""An INCAR or KPOINTS that is longer is not read."""
MAX_POTCAR_BYTES: Final = 2**28
"""Behind this much no title of a POTCAR is looked for."""

_NAME: Final = re.compile(r"^(?:.*[._-])?(INCAR|KPOINTS|POTCAR)(?:[._-].*)?$")
_WORDS: Final = re.compile(r"INCAR|KPOINTS|POTCAR|OUTCAR|vasprun|vaspout|\.xml|\.h5|\.gz|\.bz2|\.xz|\.zst")
_COMMENT: Final = re.compile(r"[#!].*")
_TITLE: Final = re.compile(rb"^[ \t]*TITEL[ \t]*=[ \t]*([^\r\n]*)", re.MULTILINE)
_LONGEST_LINE: Final = 2**16
_FIELDS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("functional", ("GGA", "METAGGA", "LHFCALC", "LUSE_VDW")),
    ("dispersion", ("IVDW", "LVDW")),
    ("hubbard_u", ("LDAU",)),
    ("exact_exchange", ("LHFCALC",)),
    ("cutoff", ("ENCUT", "ENMAX")),
    ("smearing", ("ISMEAR",)),
    ("smearing_width", ("SIGMA",)),
    ("spin", ("ISPIN", "LSORBIT", "LNONCOLLINEAR")),
)
"""What an INCAR says of a level of theory where it has one of these tags."""
_ALWAYS_TOLD: Final = ("hubbard_u", "exact_exchange")
"""Every output tells these: where it is empty there is none."""


@dataclass(frozen=True)
class VaspInput:
    """What one input file says."""

    path: str
    kind: str
    """'INCAR', 'KPOINTS', 'POTCAR'"""
    tags: Tags = Tags({})  # noqa: RUF009 a frozen record
    mesh: tuple[int, int, int] | None = None
    titles: tuple[str, ...] = ()


def input_kind(name: str) -> str:
    """Return 'INCAR', 'KPOINTS' or 'POTCAR' for a base name like 'INCAR' or 'INCAR.relax1', else an empty string."""
    match = _NAME.match(name)
    return match.group(1) if match else ""


def read_input(path: str, kind: str, chunks: Iterable[bytes]) -> VaspInput | None:
    """Return what an input file of VASP says, or None where it is too long; of a POTCAR only the titles are kept."""
    if kind == "POTCAR":
        return VaspInput(path, kind, titles=tuple(_titles(chunks)))
    data = b""
    for chunk in chunks:
        data += chunk
        if len(data) > MAX_TEXT_BYTES:
            return None
    text = data.decode("latin-1")
    if kind == "KPOINTS":
        return VaspInput(path, kind, mesh=read_kpoints(text))
    return VaspInput(path, kind, tags=read_incar(text))


@remembered
def read_incar(text: str) -> Tags:
    """Return the tags of an INCAR; of equal names the first stands, as in VASP."""
    found: dict[str, str] = {}
    for line in re.sub(r"\\[ \t]*\r?\n", " ", text).splitlines():
        for statement in _COMMENT.sub("", line).split(";"):
            name, equals, value = statement.partition("=")
            if equals and name.strip():
                found.setdefault(name.strip().upper(), value.strip())
    return Tags(found)


@remembered
def read_kpoints(text: str) -> tuple[int, int, int] | None:
    """Return the mesh of a KPOINTS file with automatic generation around Gamma or after Monkhorst and Pack, or None for other kinds."""
    lines = text.splitlines()
    if len(lines) < 4 or lines[1].split()[:1] != ["0"] or lines[2].strip()[:1].upper() not in ("G", "M"):
        return None
    words = lines[3].split()[:3]
    if len(words) < 3 or not all(word.isdigit() and 0 < int(word[:9]) < 10**6 for word in words):
        return None
    return int(words[0]), int(words[1]), int(words[2])


def _titles(chunks: Iterable[bytes]) -> Iterator[str]:
    carried, size = b"", 0
    for chunk in chunks:
        text = carried + chunk
        place = text.rfind(b"\n") + 1
        yield from (title.decode("latin-1").strip() for title in _TITLE.findall(text, 0, place))
        carried = text[place:][-_LONGEST_LINE:]
        size += len(chunk)
        if size > MAX_POTCAR_BYTES:
            return


def inputs_of(path: str, inputs: Iterable[VaspInput], *, alone: bool) -> list[VaspInput]:
    """Return the inputs that go with an output: INCAR with OUTCAR, INCAR.relax1 with OUTCAR.relax1; alone: no other run is there."""
    found: dict[str, VaspInput] = {}
    own = _suffix(path)
    for each in sorted(inputs, key=lambda each: (_suffix(each.path) != own, each.path)):
        if _suffix(each.path) == own or (alone and not _suffix(each.path)):
            found.setdefault(each.kind, each)
    return [found[kind] for kind in ("INCAR", "KPOINTS", "POTCAR") if kind in found]


def _suffix(path: str) -> str:
    return _suffix_of(path.rpartition("/")[2])


@lru_cache(maxsize=1024)
def _suffix_of(name: str) -> str:
    return _WORDS.sub("", name).strip("._-").lower()


def with_inputs(run: Run, path: str, inputs: Sequence[VaspInput]) -> tuple[Run, tuple[str, ...]]:
    """Return the run with what inputs add to the level of theory that its output at path gives, and the paths of the files that did.

    A contradiction raises sources_disagree, with both values in the notes.
    """
    used: list[str] = []
    for each in inputs:
        said = _said(each, run)
        level = run.level_of_theory
        wrong = [(name, value) for name, value in said if _contradicts(name, value, getattr(level, name))]
        missing = {name: value for name, value in said if value not in (None, "", ()) and getattr(level, name) in (None, "", ())}
        if wrong:
            words = "; ".join(
                f"{name} is {_words(getattr(level, name))} in {path}, {_words(value)} in {each.path}" for name, value in wrong
            )
            notes = (*run.notes, f"{words}: the input was probably edited after the run and is not used")
            run = replace(run, flags=tuple(sorted({*run.flags, "sources_disagree"})), notes=notes)
        elif missing:
            run = replace(run, level_of_theory=replace(level, **missing))
            used.append(each.path)
        if not wrong and run.format == "OUTCAR" and (added := altered(each.tags)) and not _flagged(run):
            run = _with_altered(run, added, each.path)
            used += [] if each.path in used else [each.path]
    return run, tuple(used)


def _flagged(run: Run) -> bool:
    return any("altered_potential" in flags for flags in run.frames.flags)


def _with_altered(run: Run, added: Sequence[str], path: str) -> Run:
    """Return a run whose OUTCAR, before version 6, does not tell what its INCAR puts into the energies."""
    flags = tuple(tuple(sorted({*flags, "altered_potential"})) for flags in run.frames.flags)
    notes = (*run.notes, f"in the energies or forces there is {'; '.join(added)}, as {path} says")
    return replace(run, frames=replace(run.frames, flags=flags), notes=notes)


def _said(given: VaspInput, run: Run) -> list[tuple[str, Any]]:
    """Return the fields of a level of theory that an input file states."""
    if given.kind == "POTCAR":
        titled = _titled(given.titles)
        return [("pseudopotentials", titled)] if titled else []
    if given.kind == "KPOINTS":
        told = given.mesh is None or run.level_of_theory.kpoint_spacing is not None
        spacing = None if told else mesh_spacing(Mesh(given.mesh), run.frames.cell[0])
        return [("kpoints", given.mesh), ("kpoint_spacing", spacing)] if given.mesh is not None else []
    titles = dict(run.level_of_theory.pseudopotentials)
    numbers = [number for number, _ in itertools.groupby(run.frames.numbers.tolist())]
    kinds = [IonType(1, titles.get(SYMBOLS[number], "")) for number in numbers]
    level = level_of_theory(given.tags, kinds, numbers, mesh=Mesh(), cell=run.frames.cell[0])
    names = list(_named(given.tags))
    if given.tags.true("LDAU") and len(given.tags.numbers("LDAUL")) != len(numbers):
        names = [name for name in names if name != "hubbard_u"]
    if not any(given.tags.text(tag) for tag in ("ISMEAR",)) or level.smearing_width is None:
        names = [name for name in names if name != "smearing_width"]
    return [(name, getattr(level, name)) for name in names]


@once
def _named(tags: Tags) -> tuple[str, ...]:
    """Return the fields of a level of theory that tags of an INCAR tell."""
    return tuple(name for name, telling in _FIELDS if any(tags.text(tag) for tag in telling))


def _titled(titles: Sequence[str]) -> tuple[tuple[str, str], ...]:
    found = set()
    for title in titles:
        try:
            number, _ = element_of(IonType(1, title))
        except UnreadableOutput:
            return ()
        found.add((SYMBOLS[number], " ".join(title.split())))
    return tuple(sorted(found))


def _contradicts(name: str, value: Any, known: Any) -> bool:
    """Return whether an input says something else than an output, where the output says something."""
    if name == "kpoint_spacing" or (name == "functional" and not value):
        return False
    if known in (None, "", ()):
        return name in _ALWAYS_TOLD and value not in (None, "", ())
    if isinstance(known, float):
        return value is None or not isclose(known, value, rel_tol=1e-3, abs_tol=1e-3)
    return bool(value != known)


def _words(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(" ".join(map(str, each)) if isinstance(each, tuple) else str(each) for each in value) or "none"
    return "none" if value in (None, "") else f"{value:g}" if isinstance(value, float) else str(value)
