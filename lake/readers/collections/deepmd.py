"""Systems of DeePMD-kit: a folder with type.raw, type_map.raw and set.*/*.npy, read together wherever its files stand in a source.

A folder without sets may have the same numbers as text, one frame a line: coord.raw, box.raw, energy.raw, force.raw, virial.raw ("Raw
data" in the manual); beside sets these are what the sets were made of, and are passed over.
Names, shapes and the virial's sign as in the DeePMD-kit manual ("Formats of a system"): coord and force (frames, 3 atoms), box and virial
(frames, 9), energy (frames,), `nopbc` for no cell; mixed systems have set.*/real_atom_types.npy (frames, atoms), -1 for no atom.
"""

from __future__ import annotations

import io
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lake.collections.answers import Answers, Keys
from lake.collections.records import Collection, Column, Series
from lake.readers.base import PushReader, ReaderSpec
from lake.readers.in_memory import DAMAGE
from lake.readers.species import number_of
from lake.readers.unlabelled import Unlabelled
from schemas.errors import UnreadableOutput

_SET_FILE: Final = re.compile(r"(?:(?P<folder>.*)/)?set\.[^/]+/(?:box|coord|energy|force|virial|real_atom_types)\.npy\Z")
_SYSTEM_FILE: Final = re.compile(r"(?:(?P<folder>.*)/)?(?:(?:type|type_map|box|coord|energy|force|virial)\.raw|nopbc)\Z")
_WIDTHS: Final = {"box": 9, "energy": 1, "virial": 9}
_LABELS: Final = frozenset({"energy", "force", "virial"})
_MAGIC: Final = b"\x93NUMPY"


@dataclass
class Systems:
    """The files of the systems of a source, by folder."""

    limit: int
    """Most bytes that are held."""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Folder -> name in it -> bytes."""
    n_bytes: int = 0
    crowded: set[str] = field(default_factory=set)
    """Folders of which a file was left out for want of room."""

    def add(self, path: str, data: bytes | None) -> None:
        """Take a file of a system; None for one that is too large."""
        folder = folder_of(path) or ""
        held = self.files.setdefault(folder, {})
        name = path[len(folder) :].lstrip("/")
        if data is None or self.n_bytes + len(data) > self.limit:
            self.crowded.add(folder)
        elif name not in held:
            held[name] = data
            self.n_bytes += len(data)

    def forget(self, inside: str) -> None:
        """Drop what came from a container; inside is its path with a '/', or '' for all."""
        self.files = {folder: held for folder, held in self.files.items() if not f"{folder}/".startswith(inside)}

    def whole(self) -> Iterator[tuple[str, Mapping[str, bytes]]]:
        """Yield the folders that are systems, with their files."""
        for folder, held in self.files.items():
            if "type.raw" in held and ("coord.raw" in held or any(_SET_FILE.match(name) for name in held)):
                yield folder, held


def folder_of(path: str) -> str | None:
    """Return the folder of the system that a file belongs to by its name, None for other files."""
    found = _SET_FILE.match(path) or _SYSTEM_FILE.match(path)
    return None if found is None else found.group("folder") or ""


def read_system(held: Mapping[str, bytes], type_map: str = "") -> Collection:
    """Return the frames of a system, the sets one after another by name; raises UnreadableOutput where they do not fit together.

    type_map are the elements by type where no type_map.raw is there.
    """
    try:
        return _system(held, type_map)
    except DAMAGE as error:
        raise _unreadable(f"{type(error).__name__}: {str(error)[:200]}") from error


def _system(held: Mapping[str, bytes], type_map: str) -> Collection:
    kinds = np.array(held["type.raw"].split(), dtype=int)
    elements = _elements(held, type_map)
    sets = sorted({name.split("/")[0] for name in held if "/" in name})
    parts = [_read_set(held, name, kinds) for name in sets] or [_checked(held, _read_raw(held, kinds), "the folder")]
    joined = _joined(parts, sets)
    n = len(joined["coord"])
    places = np.arange(n, dtype=np.int64)
    notes = tuple(
        f"{name}: frames {start} to {start + len(part['coord']) - 1}" for name, start, part in _starts(sets or ["the folder"], parts)
    )
    columns: dict[str, Column] = {}
    for name in ("energy", "virial"):
        if name in joined:
            columns[name] = Column(places, joined[name].reshape(n, -1))
    return Collection(
        format="DeePMD npy" if sets else "DeePMD raw",
        code="deepmd",
        series=tuple(_series(joined, kinds, elements, places)),
        columns=columns,
        said=Answers(keys=Keys("energy", "force" if "force" in joined else "", virial="virial" if "virial" in joined else "")),
        virial_is_energy=True,
        notes=notes if len(sets) > 1 else (),
    )


def _joined(parts: list[dict[str, NDArray[Any]]], sets: list[str]) -> dict[str, NDArray[Any]]:
    """Return the arrays of all sets; energies, forces and virials that a set lacks are NaN, for each set has its own ("find_energy")."""
    names = dict.fromkeys(key for part in parts for key in part)
    torn = [name for name in names if name not in _LABELS and not all(name in part for part in parts)]
    where = f"in every set ({', '.join(sets)})" if sets else "there as .raw"
    if torn or "coord" not in names:
        raise _unreadable(f"{', '.join(torn) or 'coord'} is not {where}")
    if "energy" not in names:
        found = f"no energy is {'in any set' if sets else where}: a system of dipoles, densities of states or structures alone"
        raise UnreadableOutput("no_complete_step", found, "deposit systems with energies")
    for part in parts:
        for name in names.keys() & _LABELS - part.keys():
            width = next(other[name].shape[1] for other in parts if name in other)
            part[name] = np.full((len(part["coord"]), width), np.nan)
    return {name: np.concatenate([part[name] for part in parts]) for name in names}


def _starts(sets: list[str], parts: list[dict[str, NDArray[Any]]]) -> Iterator[tuple[str, int, dict[str, NDArray[Any]]]]:
    start = 0
    for name, part in zip(sets, parts, strict=True):
        yield name, start, part
        start += len(part["coord"])


def _elements(held: Mapping[str, bytes], type_map: str) -> NDArray[np.int16]:
    names = held.get("type_map.raw", b"").split()
    if not all(number_of(name) for name in names) or not names:
        names = type_map.encode().split() or names
    if not names:
        raise UnreadableOutput(
            "needs_units",
            "a DeePMD system without type_map.raw: which element is each type?",
            "say it: --keys 'type_map=O H', or add the file",
        )
    numbers = np.array([number_of(name) for name in names], dtype=np.int16)
    if not bool((numbers > 0).all()):
        told = b" ".join(names).decode("utf-8", "replace")
        raise UnreadableOutput(
            "needs_units",
            f"type_map.raw names {told}, not all of which are elements",
            "say the element of each type: --keys 'type_map=O H'",
        )
    return numbers


def _read_set(held: Mapping[str, bytes], name: str, kinds: NDArray[np.int_]) -> dict[str, NDArray[Any]]:
    """Return the arrays of one set, frames first."""
    found: dict[str, NDArray[Any]] = {}
    for key in ("coord", "box", "energy", "force", "virial", "real_atom_types"):
        data = held.get(f"{name}/{key}.npy")
        if data is None:
            continue
        array = np.load(io.BytesIO(data), allow_pickle=False)
        width = _WIDTHS.get(key, len(kinds) if key == "real_atom_types" else 3 * len(kinds))
        if array.ndim < 2 and array.size == width:  # DeePMD-kit takes a flat array for one frame
            array = array.reshape(1, width)
        if array.ndim == 0 or array.size != len(array) * width:
            raise _unreadable(f"{name}/{key}.npy has shape {array.shape}, expected {width} numbers a frame for {len(kinds)} atoms")
        found[key] = array.reshape(len(array), width) if key == "real_atom_types" else array.reshape(len(array), width).astype(float)
    return _checked(held, found, name)


def _read_raw(held: Mapping[str, bytes], kinds: NDArray[np.int_]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a folder of texts, frames first; each line is a frame."""
    found: dict[str, NDArray[Any]] = {}
    for key in ("coord", "box", "energy", "force", "virial"):
        lines = [line for line in held.get(f"{key}.raw", b"").split(b"\n") if line.strip()]
        width = _WIDTHS.get(key, 3 * len(kinds))
        wrong = next((k for k, line in enumerate(lines) if len(line.split()) != width), None)
        if wrong is not None:
            count = len(lines[wrong].split())
            raise _unreadable(f"line {wrong + 1} of {key}.raw has {count} numbers, expected {width} a frame for {len(kinds)} atoms")
        if lines:
            found[key] = np.array([field for line in lines for field in line.split()]).astype(float).reshape(len(lines), width)
    return found


def _checked(held: Mapping[str, bytes], found: dict[str, NDArray[Any]], name: str) -> dict[str, NDArray[Any]]:
    """Return arrays of equally many frames, which have a box or say that there is none; raises UnreadableOutput for others."""
    counts = {key: len(array) for key, array in found.items()}
    if len(set(counts.values())) > 1:
        raise _unreadable(f"{name} has {', '.join(f'{count} frames of {key}' for key, count in counts.items())}")
    if "nopbc" in held:  # a box beside it is a stopgap
        found.pop("box", None)
    elif "box" not in found:
        raise _unreadable(f"{name} has no box, and there is no file nopbc")
    return found


def _series(
    joined: Mapping[str, NDArray[Any]], kinds: NDArray[np.int_], elements: NDArray[np.int16], places: NDArray[np.int64]
) -> Iterator[Series]:
    n, natoms = len(places), len(kinds)
    types = joined["real_atom_types"].astype(int) if "real_atom_types" in joined else np.broadcast_to(kinds, (n, natoms))
    if types.size and (int(types.max()) >= len(elements) or int(types.min()) < -1):
        raise _unreadable(f"types up to {int(types.max())}, and {len(elements)} elements")
    rows, index = np.unique(types, axis=0, return_inverse=True)
    for k in np.argsort([int(np.flatnonzero(index.reshape(-1) == k)[0]) for k in range(len(rows))]):
        part = np.flatnonzero(index.reshape(-1) == k)
        atoms = np.flatnonzero(rows[k] >= 0)
        tables = {name: joined[name].reshape(n, natoms, 3)[part][:, atoms] for name in ("coord", "force") if name in joined}
        if not len(atoms) or not bool(np.isfinite(tables["coord"]).all()):
            raise _unreadable("a frame without atoms, or a coordinate that is no number")
        yield Series(
            numbers=elements[rows[k][atoms]],
            pbc=np.full(3, "box" in joined),
            places=places[part],
            cell=joined["box"].reshape(n, 3, 3)[part] if "box" in joined else np.zeros((len(part), 3, 3)),
            positions=tables["coord"],
            vectors={"force": tables["force"]} if "force" in tables else {},
        )


def _unreadable(found: str) -> UnreadableOutput:
    return UnreadableOutput("unreadable_output", found, "deposit the folder as DeePMD-kit or dpdata wrote it")


class SingleArray(Unlabelled):
    """A file of a system alone, which holds no frame."""

    def feed(self, chunk: bytes) -> None:
        """Pass over the bytes."""

    def collected(self) -> Collection:
        """Say that a single file is no system."""
        raise _unreadable("one file of a DeePMD system without the others")


def _open() -> PushReader:
    return SingleArray()


def recognises(name: str, head: bytes) -> bool:
    """Return whether a file is an array of a system by its name; the others of the system are found by their folder."""
    return head.startswith(_MAGIC) and posixpath.basename(name) in ("coord.npy", "energy.npy", "force.npy", "box.npy", "virial.npy")


DEEPMD_NPY: Final = ReaderSpec("DeePMD npy", "deepmd", recognises, _open, rank=92)
