"""A dataset as memory-mapped arrays on a local disk: streamed there once by columns, then read in any order at the speed of memory.

One .npy file a column and a card that names them, so that numpy alone can read a copy. The folder of a copy appears by one rename
when all is written: a process that is killed leaves nothing that could be taken for a copy, and of several that want the same one
makes it while the others wait.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import QueryError, TableError, UnknownName, closest
from schemas.frames import FrameArrays
from schemas.json import from_json, to_json

COLUMNS: Final = ("energy", "forces", "stress")
"""Labels that a copy can hold or leave out; structures (numbers, positions, cell, pbc) are always in it."""
MAX_BYTES: Final = 64 * 2**30
CARD: Final = "copy.json"

MEMORY_SHARE: Final = 0.5
"""Share of the machine's memory above which a copy is not expected to stay in it."""
_HASH_BLOCK: Final = 2**24
_LAYOUT: Final[Mapping[str, tuple[str, tuple[int, ...], bool]]] = {
    "offsets": ("<i8", (), False),
    "systems": ("<i4", (), False),
    "numbers": ("<i2", (), True),
    "positions": ("<f8", (3,), True),
    "cell": ("<f8", (3, 3), False),
    "pbc": ("|b1", (3,), False),
    "energy": ("<f8", (), False),
    "forces": ("<f8", (3,), True),
    "stress": ("<f8", (3, 3), False),
}
"""Type, shape of an entry, and whether there is one for each atom (else for each frame)."""


@dataclass(frozen=True)
class CopyCard:
    """What a copy holds; written into its folder."""

    dataset: str
    content_hash: str
    """Content hash of the dataset."""
    split: str
    """'' for all frames."""
    n_frames: int
    n_atoms: int
    element_systems: tuple[str, ...]
    """Names that the numbers of the column systems stand for."""
    sizes: Mapping[str, int]
    """Bytes of the file of each column."""
    hashes: Mapping[str, str]
    """SHA-256 of the file of each column."""
    format: int = 1


@dataclass(frozen=True)
class CopyPlan:
    """What is to be copied: names, numbers of frames and atoms, and the labels wanted."""

    dataset: str
    content_hash: str
    split: str
    n_frames: int
    n_atoms: int
    columns: tuple[str, ...] = COLUMNS
    key: str = ""
    """Folder that the copy gets; differs for whatever makes the content differ."""
    max_bytes: int = MAX_BYTES

    def layout(self) -> list[str]:
        """Return the columns that the copy holds, in order."""
        return [name for name in _LAYOUT if name not in COLUMNS or name in self.columns]

    def bytes(self) -> int:
        """Return the bytes that the copy takes, but for the headers of its files."""
        return sum(self._count(name) * _entry_bytes(name) for name in self.layout())

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a column."""
        return (self._count(name), *_LAYOUT[name][1])

    def _count(self, name: str) -> int:
        return self.n_atoms if _LAYOUT[name][2] else self.n_frames + (name == "offsets")


@dataclass(frozen=True)
class LocalCopy:
    """A copy of a dataset (or one split of it) in a folder; frames stand in the order of the dataset's index. Can be pickled.

    The arrays are memory maps, read-only: what is not asked for is never read, and several processes share one page cache.
    """

    folder: Path
    card: CopyCard

    @property
    def count(self) -> int:
        """Number of frames."""
        return self.card.n_frames

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(n+1,) frame i owns the atoms offsets[i]:offsets[i+1]; held in memory."""
        return np.array(self.column("offsets"))

    @property
    def natoms(self) -> NDArray[np.int64]:
        """(n,) number of atoms of each frame."""
        return np.diff(self.offsets)

    def column(self, name: str) -> NDArray[Any]:
        """Return a column as a read-only memory map, shaped as in `FrameArrays`; raises UnknownName for one that was left out."""
        if name not in self._maps:
            raise UnknownName(f"{self.folder}: the copy has no column {name!r}{closest(name, self._maps)}; it has {', '.join(self._maps)}")
        return self._maps[name]

    def gather(self, indices: Sequence[int] | NDArray[np.integer[Any]]) -> FrameArrays:
        """Return the frames of these numbers, in this order, as arrays of their own; labels that were left out are NaN.

        indices is (m,), 0 <= index < count, in any order, repeated as one likes. frame_ids stays empty (`Dataset.frame_ids`
        has them in the order of the copy). Costs memory for these frames only. Raises QueryError for a frame that is not there.
        """
        frames = np.asarray(indices, np.int64).reshape(-1)
        if len(frames) and not 0 <= int(frames.min()) <= int(frames.max()) < self.count:
            raise QueryError(f"{self.folder}: frames {int(frames.min())} to {int(frames.max())} were asked for; the copy has {self.count}")
        return gathered(self._maps, self.offsets, self.system_names, frames)

    def shuffled(self, seed: int, *, batch: int = 256, memory: int = 2**30) -> Iterator[FrameArrays]:
        """Yield all frames once, in batches, in a random order that the disk can follow; see `lake.shuffling`."""
        from lake.shuffling import shuffled

        return shuffled(self, seed, batch=batch, memory=memory)

    def verify(self) -> None:
        """Read every file again and compare with its hash; raises TableError where one differs."""
        for name, expected in self.card.hashes.items():
            with file_of(self.folder, name).open("rb") as stream:
                found = hashlib.file_digest(stream, "sha256").hexdigest()
            if found != expected:
                raise TableError(f"{self.folder}: {name}.npy reads as {found[:16]}, its card says {expected[:16]}; remove the folder")

    @cached_property
    def _maps(self) -> dict[str, NDArray[Any]]:
        found = {name: np.load(file_of(self.folder, name), mmap_mode="r") for name in self.card.sizes}
        if sum(self.card.sizes.values()) > MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
            # What lies around a frame would be thrown out before it is asked for: reading ahead only costs.
            for each in found.values():
                if each.size:
                    each._mmap.madvise(mmap.MADV_RANDOM)
        # A plain array over the map: indexing a np.memmap makes an object of its own each time.
        return {name: np.asarray(each) for name, each in found.items()}

    @cached_property
    def system_names(self) -> NDArray[np.object_]:
        """Names that the numbers of the column systems stand for."""
        return np.array(self.card.element_systems, dtype=object)

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "card": self.card}


def gathered(
    columns: Mapping[str, NDArray[Any]], offsets: NDArray[np.int64], systems: NDArray[np.object_], frames: NDArray[np.int64]
) -> FrameArrays:
    """Return frames (m,) of columns as arrays of their own; systems are the names that the column systems counts, labels not there NaN."""
    starts = offsets[frames]
    natoms = offsets[frames + 1] - starts
    own = np.concatenate([np.zeros(1, np.int64), np.cumsum(natoms)])
    atoms = np.repeat(starts - own[:-1], natoms) + np.arange(own[-1])
    taken: dict[str, Any] = {}
    for name, (_, shape, by_atom) in _LAYOUT.items():
        if name not in ("offsets", "systems"):
            wanted = atoms if by_atom else frames
            taken[name] = _entries(columns[name], name)[wanted] if name in columns else np.full((len(wanted), *shape), np.nan)
    for name in columns.keys() & taken.keys():
        kind, shape, _ = _LAYOUT[name]
        taken[name] = taken[name].view(kind).reshape(len(taken[name]), *shape)
    return FrameArrays(offsets=own, element_systems=systems[columns["systems"][frames]].tolist(), **taken)


def _entries(column: NDArray[Any], name: str) -> NDArray[Any]:
    """Return a column with one item an entry: numpy then moves whole entries instead of single numbers."""
    shape = _LAYOUT[name][1]
    if not shape:
        return column
    return column.reshape(len(column), int(np.prod(shape))).view(np.dtype((np.void, _entry_bytes(name))))[:, 0]


def open_copy(folder: Path) -> LocalCopy:
    """Return the copy in a folder; raises TableError where there is none or a file of it has another size than its card says."""
    try:
        card = from_json(CopyCard, (folder / CARD).read_bytes())
        found = {name: file_of(folder, name).stat().st_size for name in card.sizes}
    except OSError as error:
        raise TableError(f"{folder} holds no copy of a dataset ({error}); make one with Dataset.local_copy") from error
    wrong = [name for name, size in card.sizes.items() if found[name] != size]
    if wrong:
        raise TableError(f"{folder}: {', '.join(wrong)} have other sizes than the card says; remove the folder, then copy again")
    return LocalCopy(folder, card)


def make_copy(folder: Path, plan: CopyPlan, parts: Callable[[], Iterable[FrameArrays]]) -> LocalCopy:
    """Return the copy that a plan describes, below folder; where it is not there yet it is written from parts, in their order.

    parts is called only then. Raises QueryError where it would take more than the plan allows, or than the disk has, and
    TableError where parts are not what the plan says.
    """
    unknown = [name for name in plan.columns if name not in COLUMNS]
    if unknown:
        raise UnknownName(f"a copy has no choice of {unknown[0]!r}{closest(unknown[0], COLUMNS)}; choose of {', '.join(COLUMNS)}")
    place = folder / plan.key
    if (place / CARD).is_file():
        return open_copy(place)
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f"{plan.key}.lock"):
        if (place / CARD).is_file():
            return open_copy(place)
        for left in folder.glob(f"{plan.key}.part-*"):
            shutil.rmtree(left, ignore_errors=True)
        _check_room(folder, plan)
        part = folder / f"{plan.key}.part-{secrets.token_hex(6)}"
        part.mkdir()
        try:
            _write(part, plan, parts())
            part.rename(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return open_copy(place)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Let one process of this machine at a time through; the lock goes with the process that holds it."""
    with lock.open("wb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _check_room(folder: Path, plan: CopyPlan) -> None:
    needed, free = plan.bytes(), shutil.disk_usage(folder).free
    allowed, why = min((plan.max_bytes, "is allowed (max_bytes)"), (free, "is free on that disk"))
    if needed > allowed:
        raise QueryError(
            f"dataset {plan.dataset!r}: a copy of {plan.n_frames} frames with {plan.n_atoms} atoms takes {needed / 1e9:.1f} GB; "
            f"in {folder} {allowed / 1e9:.1f} GB {why}; leave out labels (columns), copy one split, or choose another folder"
        )


def _write(part: Path, plan: CopyPlan, parts: Iterable[FrameArrays]) -> None:
    codes: dict[str, int] = {}
    n_frames = n_atoms = 0
    with ExitStack() as stack:
        files = {name: stack.enter_context(_Column(part, plan, name)) for name in plan.layout()}
        files["offsets"].add(np.zeros(1, np.int64))
        for arrays in parts:
            files["offsets"].add(arrays.offsets[1:] + n_atoms)
            files["systems"].add(np.array([codes.setdefault(name, len(codes)) for name in arrays.element_systems], np.int32))
            for name in files.keys() - {"offsets", "systems"}:
                files[name].add(getattr(arrays, name))
            n_frames, n_atoms = n_frames + arrays.count, n_atoms + int(arrays.offsets[-1])
    if (n_frames, n_atoms) != (plan.n_frames, plan.n_atoms):
        raise TableError(
            f"dataset {plan.dataset!r}: {n_frames} frames with {n_atoms} atoms came, expected {plan.n_frames} with {plan.n_atoms}; "
            "files of the lake were lost or changed, see 'atomlake dataset verify'"
        )
    sizes = {name: file_of(part, name).stat().st_size for name in files}
    hashes = {name: file.hash.hexdigest() for name, file in files.items()}
    card = CopyCard(plan.dataset, plan.content_hash, plan.split, n_frames, n_atoms, tuple(codes), sizes, hashes)
    with (part / CARD).open("w", encoding="utf-8") as stream:
        stream.write(to_json(card))
        _to_disk(stream)


class _Column:
    """One .npy file on its way to disk: its length is known from the start, its hash grows with it."""

    def __init__(self, folder: Path, plan: CopyPlan, name: str) -> None:
        self._kind = np.dtype(_LAYOUT[name][0])
        self._file = file_of(folder, name).open("w+b")
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": np.lib.format.dtype_to_descr(self._kind), "fortran_order": False, "shape": plan.shape(name)}
        )
        self._file.seek(0)
        self.hash = hashlib.sha256(self._file.read())

    def add(self, values: NDArray[Any]) -> None:
        """Append entries."""
        data = np.ascontiguousarray(values, self._kind).reshape(-1).view(np.uint8)
        for start in range(0, len(data), _HASH_BLOCK):
            block = data[start : start + _HASH_BLOCK].data
            self.hash.update(block)
            self._file.write(block)

    def __enter__(self) -> _Column:
        return self

    def __exit__(self, *_: object) -> None:
        _to_disk(self._file)
        self._file.close()


def _to_disk(stream: IO[Any]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def file_of(folder: Path, name: str) -> Path:
    """Return the file of a column."""
    return folder / f"{name}.npy"


def of_atoms(name: str) -> bool:
    """Return whether a column has an entry for each atom, not for each frame."""
    return _LAYOUT[name][2]


def _entry_bytes(name: str) -> int:
    kind, shape, _ = _LAYOUT[name]
    return np.dtype(kind).itemsize * int(np.prod(shape, dtype=np.int64))
