"""The head of vasprun.xml: version, input tags, k points, ions; read with regular expressions, for real files are often not XML."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from lake.readers.remembered import remembered
from lake.readers.rows import number
from lake.readers.vasp.header import Header
from lake.readers.vasp.level import Mesh, version_of
from lake.readers.vasp.species import IonType
from lake.readers.vasp.tags import Tags
from schemas.errors import UnreadableOutput

_ITEM: Final = re.compile(r"<[iv]\b[^<>]*?\bname=\"([^\"<>]+)\"[^<>]*>([^<]*)</[iv]>", re.ASCII)
_ATOM: Final = re.compile(rb"<rc>\s*<c>([^<]*)</c>\s*<c>([^<]*)</c>\s*</rc>")
_TYPE: Final = re.compile(rb"<rc>\s*<c>([^<]*)</c>\s*<c>([^<]*)</c>\s*<c>([^<]*)</c>\s*<c>([^<]*)</c>\s*<c>([^<]*)</c>\s*</rc>")
_DIVISIONS: Final = re.compile(rb"name=\"divisions\"[^<>]*>\s*(\d+)\s+(\d+)\s+(\d+)")
_DIGITS: Final = 9
_LOGICAL: Final = re.compile(rb"<v type=\"logical\"\s*>\s*([TF])\s+([TF])\s+([TF])\s*</v>")


def read_header(head: bytes) -> Header:
    """Return what the bytes of a vasprun.xml before its first step say; raises UnreadableOutput where the ions are not listed."""
    version = re.search(rb"name=\"version\"[^<>]*>([^<]*)<", head[:4096])
    sections = [_section(head, name) for name in (b"incar", b"parameters", b"kpoints", b"atominfo")]
    start = head.rfind(b'<varray name="selective"')
    selective = head[start : max(start, head.find(b"</varray>", start))] if start >= 0 else b""
    return header_of(version.group(1) if version else b"", *sections, selective)


def header_at(buffer: bytes | bytearray, places: Sequence[int]) -> Header:
    """Return what `read_header` does, of a head whose parts lie between places (12,): the arguments of `header_of`, from and to."""
    return header_of(*(bytes(buffer[start:end]) for start, end in zip(places[::2], places[1::2], strict=True)))


@remembered
def header_of(version: bytes, incar: bytes, parameters: bytes, kpoints: bytes, atominfo: bytes, selective: bytes) -> Header:  # noqa: PLR0917
    """Return what the parts of a head say; raises UnreadableOutput where the ions are not listed."""
    kinds, types = _ions(atominfo)
    fixed = _fixed(selective, len(types))
    return Header(version_of(version.decode("latin-1")), _tags(incar, parameters), kinds, types, _mesh(kpoints), fixed)


def _section(head: bytes, name: bytes) -> bytes:
    """Return the first element of this name, to the end of the head where it is not closed; b'' for none."""
    start = head.find(b"<" + name + b">")
    if start < 0:
        return b""
    end = head.find(b"</" + name + b">", start)
    return head[start : end if end >= 0 else len(head)]


def _items(section: bytes) -> dict[str, str]:
    """Return the named values of a section; the first of equal names stands (`response functions` has another NELM)."""
    return dict(reversed(_ITEM.findall(section.decode("latin-1"))))


@remembered
def _tags(incar: bytes, parameters: bytes) -> Tags:
    """Return the tags in force; `parameters` cuts lists of LDAU* after one value, so the longer of the two stands."""
    asked, used = _items(incar), _items(parameters)
    for name in ("LDAUL", "LDAUU", "LDAUJ"):
        if len(asked.get(name, "").split()) > len(used.get(name, "").split()):
            used[name] = asked[name]
    return Tags({**asked, **used})


@remembered
def _mesh(section: bytes) -> Mesh:
    divisions = _DIVISIONS.search(section)
    start = section.find(b'name="kpointlist"')
    points = section.count(b"<v>", start, section.find(b"</varray>", start)) if start >= 0 else 0
    mesh = Mesh(points=points or None)
    if divisions is None:
        return mesh
    a, b, c = (int(text[:9]) for text in divisions.groups())
    return replace(mesh, divisions=(a, b, c)) if min(a, b, c) > 0 else mesh


@remembered
def _ions(section: bytes) -> tuple[tuple[IonType, ...], NDArray[np.int32]]:
    place = section.find(b'name="atomtypes"')
    listed = _ATOM.findall(section, 0, place if place >= 0 else len(section))
    kinds = tuple(_ion_type(*row) for row in _TYPE.findall(section, max(place, 0)))
    indices = [_integer(index) - 1 for _, index in listed]
    if kinds and indices and not all(0 <= index < len(kinds) for index in indices):
        indices = [index for index, kind in enumerate(kinds) for _ in range(min(kind.count, len(listed)))]
    declared = re.search(rb"<atoms>\s*(\d{1,9})\s*</atoms>", section)
    types = re.search(rb"<types>\s*(\d{1,9})\s*</types>", section)
    even = types is None or int(types.group(1)) == len(kinds)
    if not kinds or not indices or not even or (declared and int(declared.group(1)) != len(indices)):
        told = declared.group(1).decode() if declared else "no"
        words = f"atominfo lists {len(listed)} ions of {len(kinds)} types, {told} ions are declared"
        raise UnreadableOutput(
            "unreadable_output",
            words if listed or kinds else "vasprun.xml ends before the list of its ions, in what it tells of the run's input",
            "deposit the whole vasprun.xml, or the OUTCAR of the same run",
        )
    types_of_ions = np.array(indices, dtype=np.int32)
    types_of_ions.flags.writeable = False
    return kinds, types_of_ions


def _ion_type(count: bytes, symbol: bytes, mass: bytes, valence: bytes, title: bytes) -> IonType:
    return IonType(_integer(count), title.decode("latin-1").strip(), symbol.decode("latin-1").strip(), number(mass), number(valence))


def _integer(text: bytes) -> int:
    if text.strip().isdigit() and len(text) <= _DIGITS:
        return int(text)
    value = number(text)
    return int(value) if abs(value) < 1e9 else -1


def _fixed(selective: bytes, natoms: int) -> NDArray[np.bool_] | None:
    """Return the coordinates that selective dynamics holds (natoms, 3); the file has T where they move."""
    rows = _LOGICAL.findall(selective)
    if len(rows) != natoms:
        return None
    fixed = np.array([[flag == b"F" for flag in row] for row in rows], dtype=bool)
    fixed.flags.writeable = False
    return fixed
