"""The level of theory of a Gaussian run: route, basis, solvent, field, as the text before its first energy tells them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from lake.readers.gaussian.geometry import FIELD, Geometry
from lake.readers.gaussian.others import keywords, refuse_method
from lake.readers.words import plain_places
from schemas.elements import SYMBOLS
from schemas.theory import LevelOfTheory

BASIS: Final = re.compile(
    rb"\n (?:Standard basis: ([^\n]*?)|(General basis) read from [^\n]*?:|(Basis read from chk)[^\n]*?) *(\(\dD, *\d+F\))? *(?=\n)"
)
_BASIS_WORDS: Final = (b" Standard basis: ", b" General basis read from ", b" Basis read from chk")
_ROUTE: Final = re.compile(rb"\n -{4,}\n (#.*?)\n -{4,}(?=\n)", re.S)
_STATE: Final = re.compile(rb"\n Charge = +(-?\d{1,4}) Multiplicity = +(\d{1,3})")
_MESH: Final = re.compile(rb"\n Using k point mesh[^\n]*\n K space mesh: X= *(\d{1,5}) Y= *(\d{1,5}) Z= *(\d{1,5}) *(?=\n)")
_POINTS: Final = re.compile(rb"\n CountK=T Total number of k points: +(\d{1,7}) *(?=\n)")
_PRINTED_DISPERSION: Final = re.compile(rb"\n R6Disp: +(\S+) Dispersion energy=")
_SOLVENT: Final = re.compile(rb"\n Polarizable Continuum Model \(PCM\)\n =+\n(.*?)\n (?:Spheres list|-{9})", re.S)
_OF_SOLVENT: Final = re.compile(rb"(?:^|\n) (Model|Atomic radii|Cavity type) +: +([^\n]*)")
_NAME: Final = re.compile(rb"\n Solvent +: +(.*)", re.S)
_CENTRES: Final = re.compile(rb"((?:\n Centers: +[\d ]+)+)\n(.*?)\n \*{4}(?=\n)", re.S)
_PRINTED: Final = re.compile(rb"\n AO basis set in the form of general basis input[^\n]*:\n(.*?)\n *\n", re.S)
_PRINTED_CENTRE: Final = re.compile(rb"(?:^|\n) +(\d+) 0 *(\n.*?)\n \*{4}", re.S)
_PRINTED_SHELL: Final = re.compile(rb"\n Atom [A-Z][a-z]?(\d+) +Shell +\d+ +(\w+) +[^\n]*((?:\n +-?\d[^\n]*)+)")
_HEAD_OF_SHELL: Final = re.compile(rb"\n +([A-Z]+) +\d+ [^\n]*")
_CORES: Final = re.compile(rb"\n +Pseudopotential Parameters\n =+\n[^\n]*\n[^\n]*\n =+\n(.*?)\n =+\n", re.S)
_CORE: Final = re.compile(rb"(?:^|\n) +(\d+) +\d+(?: +(\d+))? *\n(.*?)(?=\n +\d+ +\d+(?: +\d+)? *\n|\Z)", re.S)

_FUNCTIONALS: Final = {
    "PBEPBE": "PBE", "PBE1PBE": "PBE0", "HSEH1PBE": "HSE06", "TPSSTPSS": "TPSS", "SVWN": "LDA-VWN", "SVWN5": "LDA-VWN", "B-LYP": "BLYP",
    "PBE-PBE": "PBE", "S-VWN": "LDA-VWN", "PBEH1PBE": "PBEh", "REVPBEPBE": "revPBE", "PW91PW91": "PW91", "BP86": "BP86",
    "CAM-B3LYP": "CAM-B3LYP", "B-P86": "BP86", "B+HF-LYP": "B3LYP", "B+HF-PW91": "B3PW91", "B+HF-P86": "B3P86", "M062X": "M06-2X",
    "M06L": "M06-L", "WB97X": "wB97X", "WB97XD": "wB97X-D", "WB97": "wB97", "O-LYP": "OLYP",
}  # fmt: skip
_OPTX: Final = re.compile(r"O-|O3LYP|O(?:V?LYP|V5LYP|PBE|V?P86|V5P86|PW91|TPSS|B95|PL|KCIS|BRC|TPSSH?)\Z")
"""Functionals with the exchange of Handy and Cohen, whose names begin as those of restricted open shells do."""
_EXCHANGE: Final = {"PBE0": 0.25, "HSE06": 0.25, "B3LYP": 0.2, "HF": 1.0, "MN15": 0.44, "M06-2X": 0.54, "M06": 0.27, "B3PW91": 0.2}
_DISPERSION: Final = (("gd3bj", "D3(BJ)"), ("gd3", "D3(0)"), ("gd2", "D2"), ("pfd", "PFD"))
_DISPERSION_LINES: Final = {b"Grimme-D3(BJ)": "D3(BJ)", b"Grimme-D3": "D3(0)", b"Grimme-D2": "D2"}
_OWN_DISPERSION: Final = re.compile(r"b97-?d|b97d3|apf-?d|xd\b|plypd|sogga")
"""Functionals whose names say that dispersion is in them."""
_KINDS: Final = (
    ("opt", "relax"),
    ("fopt", "relax"),
    ("popt", "relax"),
    ("bomd", "md"),
    ("admp", "md"),
    ("freq", "phonon"),
    ("irc", "relax"),
)


def route_of(text: bytes) -> str:
    """Return the route that is printed last in a text, in small letters, '' without one."""
    found = _ROUTE.findall(text) if b"\n #" in text else []
    return found[-1].decode("latin-1").replace("\n ", "").lower() if found else ""


def kind_of(route: str) -> str:
    """Return the kind of run that a route asks for."""
    words = keywords(route)
    return next((kind for word, kind in _KINDS if word in words), "static")


def with_method(level: LevelOfTheory, method: str) -> LevelOfTheory:
    """Return a level with the functional and spin that a method 'RPBEPBE' names; raises UnreadableOutput for what is no functional."""
    restricted, name = _split(method)
    refuse_method(name)
    functional = _FUNCTIONALS.get(name, name)
    extra = tuple(sorted({*level.extra, ("open_shells", "restricted")})) if restricted == "RO" else level.extra
    spin = "none" if restricted in ("R", "") else "collinear"
    return replace(level, functional=functional, spin=spin, exact_exchange=_EXCHANGE.get(functional), extra=extra)


def _split(method: str) -> tuple[str, str]:
    """Return 'R', 'U', 'RO' or '', and the name of a method: 'UMN15' and 'ROMN15' are of MN15, 'RO-LYP' is R and O-LYP."""
    if method.startswith("RO") and not _OPTX.match(method[1:]):
        return "RO", method[2:]
    return (method[0], method[1:]) if method[:1] in ("R", "U") else ("", method)


def read_level(text: bytes, route: str, geometry: Geometry) -> LevelOfTheory:
    """Return the level that the text before the first energy tells; the energy's own line names the functional."""
    state = _STATE.search(text)
    points, (mesh, spacing) = _POINTS.findall(text), _mesh(text, route, geometry)
    return LevelOfTheory(
        code="gaussian",
        dispersion=_dispersion(text, route),
        basis="GTO",
        pseudopotentials=bases_of(text, route, geometry.numbers),
        kpoints=mesh,
        n_kpoints=int(points[-1]) if points and mesh else None,
        kpoint_spacing=spacing,
        smearing="none",
        charge=float(state.group(1)) if state else 0.0,
        extra=_extra(text, route, int(state.group(2)) if state else 1),
    )


def surroundings(text: bytes) -> tuple[str, str]:
    """Return the solvent and the external field that a text prints, '' for one that it does not."""
    return _printed_solvent(text), _printed_field(text)


def _extra(text: bytes, route: str, multiplicity: int) -> tuple[tuple[str, str], ...]:
    """Return what changes energies beside the functional; the state of several unpaired electrons too, as the charge does."""
    solvent, field = surroundings(text)
    asked = re.search(r"scrf(?:=?\(([^)]*)\)|=(\S+))?", route)
    if asked and not solvent:
        options = sorted(word.strip() for word in (asked.group(1) or asked.group(2) or "").split(","))
        solvent = f"scrf={','.join(options)}" + (f", {_not_told(text)}" if {"check", "checkpoint", "read"} & set(options) else "")
    given = re.search(r"\bfield=\S+", route)
    found = (
        ("solvent", solvent),
        ("field", field or (f"{given.group()}, {_not_told(text)}" if given else "")),
        ("hamiltonian", "DKH" if re.search(r"\b(?:dkh|douglaskroll)", route) else ""),
        ("iop", ",".join(sorted(set(re.findall(r"\b3/\d+ *= *-?\d+", _options(route)))))),
        ("multiplicity", str(multiplicity) if multiplicity > 2 else ""),
    )
    return tuple((name, value) for name, value in found if value)


def _options(route: str) -> str:
    """Return the internal options of a route; those of overlay 3 change the functional: shares and range of exchange, dispersion."""
    return " ".join(re.findall(r"iop=?\(([^)]*)\)", route))


def _printed_solvent(text: bytes) -> str:
    """Return model, radii, cavity, name and constants of the continuum that is printed last in a text."""
    found = _SOLVENT.findall(text) if b"Polarizable Continuum" in text else []
    if not found:
        return ""
    block = b"\n" + found[-1]
    words = [value.decode("latin-1").strip(" .") for _, value in _OF_SOLVENT.findall(block)]
    name = _NAME.search(block)
    words += [" ".join(line.split()) for line in name.group(1).decode("latin-1").split("\n")] if name else []
    return "; ".join(word for word in words if word)


def _printed_field(text: bytes) -> str:
    found = FIELD.findall(text) if b"finite field(s)" in text else []
    return "; ".join(" ".join(line.split()) for line in found[-1].decode("latin-1").strip().split("\n")) if found else ""


def _dispersion(text: bytes, route: str) -> str:
    """Return the correction that the route asks for, or that is printed where the functional does not say so by its name."""
    asked = next((label for word, label in _DISPERSION if word in route), "")
    printed = _PRINTED_DISPERSION.search(text)
    return asked or ("" if printed is None or _OWN_DISPERSION.search(route) else _DISPERSION_LINES.get(printed.group(1), ""))


def _mesh(text: bytes, route: str, geometry: Geometry) -> tuple[tuple[int, int, int] | None, float | None]:
    """Return the k mesh of a periodic run, one point along what is not periodic, and its spacing in 1/Å."""
    found = [(b"1", b"1", b"1")] if "gammaonly" in route else _MESH.findall(text)
    if not found or not len(geometry.vectors):
        return None, None
    mesh = (max(1, int(found[-1][0])), max(1, int(found[-1][1])), max(1, int(found[-1][2])))
    reciprocal = 2.0 * np.pi * np.linalg.norm(np.linalg.pinv(geometry.cell()), axis=0)
    return mesh, float(np.max(reciprocal / np.asarray(mesh)))


def basis_name(text: bytes) -> bytes:
    """Return the line that names the basis last in a text, b'' without one, or where it is kept from the job before."""
    found = [match for match in _bases_in(text) if not match.group(3)]
    return found[-1].group().strip() if found else b""


def _bases_in(text: bytes) -> list[re.Match[bytes]]:
    """Return the lines that name a basis, in order."""
    starts = sorted(text.rfind(b"\n", 0, place) for word in _BASIS_WORDS for place in plain_places(text, word, 0, len(text)))
    return [match for start in starts if start >= 0 and (match := BASIS.match(text, start)) is not None]


def bases_of(text: bytes, route: str, numbers: Sequence[int]) -> tuple[tuple[str, str], ...]:
    """Return the basis of each element, with its effective core where one is printed.

    A general basis has the names that its input gives for the centres, or a digest of its functions, printed so or by GFInput. One
    that is not printed is equal to no other.
    """
    symbols = {z: SYMBOLS[z] for z in numbers}
    found = _bases_in(text)
    if found and found[-1].group(1):
        name = " ".join(b" ".join(part for part in found[-1].group(1, 4) if part).decode("latin-1").split())
        return tuple((symbol, name) for symbol in sorted(symbols.values()))
    if not found:
        asked = re.search(r"[a-z0-9)]\s*/\s*([^\s/,]+)", _INTERNAL.sub(" ", route))
        shells = sorted({"5d", "6d", "7f", "10f"} & set(keywords(route)))
        name = " ".join(["keyword", asked.group(1), *shells]) if asked and not asked.group(1).startswith("gen") else _not_told(text)
        return tuple((symbol, name) for symbol in sorted(symbols.values()))
    shells_of, cores = _functions(text[found[-1].end() :]), dict(_cores(text[found[-1].end() :]))
    kinds = (found[-1].group(4) or b"").decode("latin-1")
    elements: dict[str, set[str]] = {}
    for centre, z in enumerate(numbers, start=1):
        own = shells_of.get(centre)
        words = [_named(own) if own else _not_told(text), kinds, cores.get(centre, "")]
        elements.setdefault(symbols[z], set()).add(" ".join(word for word in words if word))
    return tuple((symbol, " and ".join(sorted(names))) for symbol, names in sorted(elements.items()))


_INTERNAL: Final = re.compile(r"iop=?\([^)]*\)")


def _functions(text: bytes) -> dict[int, list[bytes]]:
    """Return what is given for each centre, as the input of the basis is repeated, or as GFInput prints its functions."""
    given: dict[int, list[bytes]] = {}
    listed = text[:end] if (end := text.find(b" basis functions,")) > 0 else text
    for centres, block in _CENTRES.findall(listed.partition(b"Pseudopotential Parameters")[0]):
        for centre in re.findall(rb"\d+", centres):
            given.setdefault(int(centre), []).append(_plain(block.lower()))
    printed = _PRINTED.search(listed + b"\n\n") if not given else None
    for centre, block in _PRINTED_CENTRE.findall(printed.group(1)) if printed else ():
        given[int(centre)] = [b"\n" + _plain(_HEAD_OF_SHELL.sub(rb"\n \1", block))]
    if not given:
        for centre, shell, rows in _PRINTED_SHELL.findall(listed):
            given[int(centre)] = [given.get(int(centre), [b""])[0] + b"\n" + shell + b"\n" + _plain(rows)]
    return given


def _plain(block: bytes) -> bytes:
    return b"\n".join(b" ".join(line.split()) for line in block.strip(b"\n").split(b"\n"))


def _cores(text: bytes) -> list[tuple[int, str]]:
    """Return the centres whose inner electrons a potential stands for, with a digest of it."""
    table = _CORES.search(text)
    rows = _CORE.findall(table.group(1)) if table else []
    return [(int(centre), f"core {_digest(block)}, {int(valence)} electrons") for centre, valence, block in rows if valence]


def _named(blocks: list[bytes]) -> str:
    """Return the names of the sets that a centre has, where it has nothing else; a digest of its functions otherwise."""
    names = [block for block in blocks if b"\n" not in block and b" " not in block]
    rest = [block for block in blocks if block not in names]
    words = [name.decode("latin-1") for name in names] + ([f"functions {_digest(b'*'.join(rest))}"] if rest else [])
    return "General basis " + " + ".join(words)


def _not_told(text: bytes) -> str:
    """Return words for what a log does not tell, equal to those of no other run."""
    return f"not told, run {_digest(text)}"


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:12]
