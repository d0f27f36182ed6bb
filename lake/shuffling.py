"""Reading a local copy that is larger than memory in random order, as fast as the disk reads what lies together.

A disk gives some thousand places a second, but a gigabyte a second in a row: frames in random order, each from a place of its own, would
wait for it. So blocks of frames that lie together are drawn at random, as many as memory allows, and frames are drawn at random among
these, while the next blocks are read. A block is short beside what is held, so a batch is a mixture of frames from all over the copy
(shuffle on two levels: Xu et al., In-Database Machine Learning with CorgiPile, SIGMOD 2022, arXiv 2206.05830).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lake.local_copy import LocalCopy, file_of, gathered, of_atoms
from schemas.errors import QueryError, TableError
from schemas.frames import FrameArrays

BLOCK_BYTES: Final = 2**22
"""Bytes of a block, all columns together: so long that the disk gives them about as fast as whole files."""
PAGE: Final = 4096
"""Bytes in whose multiples a disk is read directly."""
LEAST_BLOCKS: Final = 64
"""Blocks that are drawn from at once, at least: they get shorter where memory is small."""


@dataclass(frozen=True, eq=False)
class _Pool:
    """Frames that are held in memory."""

    offsets: NDArray[np.int64]
    """(n+1,)"""
    columns: dict[str, NDArray[Any]]


def shuffled(copy: LocalCopy, seed: int, *, batch: int = 256, memory: int = 2**30) -> Iterator[FrameArrays]:
    """Yield every frame of a copy once, in an order that the seed decides on, in batches of that many frames.

    memory is what is held at most beside the batches, in bytes: half of it frames that are drawn from, half those that come next. The last
    batch of what is held may have fewer frames. Raises QueryError for batches of no frame, or memory for less than two, and
    TableError for a file that is shorter than its card says.
    """
    frame_bytes = sum(copy.card.sizes.values()) / max(copy.count, 1)
    room = int(memory / 2 / frame_bytes)
    if batch < 1 or room < 1:
        raise QueryError(
            f"batches of {batch} frames with {memory} bytes of memory were asked for; give one frame or more, and "
            f"{2 * frame_bytes:.0f} bytes or more (a frame of this copy takes {frame_bytes:.0f}, and two are held)"
        )
    random = np.random.default_rng(seed)
    length = max(1, min(int(BLOCK_BYTES / frame_bytes), room // LEAST_BLOCKS))
    starts = random.permutation(np.arange(0, copy.count, length))
    held = room // length
    with ExitStack() as stack:
        files = {name: stack.enter_context(_File(file_of(copy.folder, name))) for name in copy.card.sizes}
        reader = stack.enter_context(ThreadPoolExecutor(1))
        first_memory, second_memory = _Memory(), _Memory()
        coming = reader.submit(_read, copy, files, starts[:held], length, first_memory)
        for following in range(held, len(starts) + held, held):
            pool = coming.result()
            first_memory, second_memory = second_memory, first_memory
            coming = reader.submit(_read, copy, files, starts[following : following + held], length, first_memory)
            order = random.permutation(len(pool.offsets) - 1)
            for first in range(0, len(order), batch):
                yield gathered(pool.columns, pool.offsets, copy.system_names, order[first : first + batch])


class _Memory:
    """Memory that is filled again and again: new memory costs more than what is read into it."""

    def __init__(self) -> None:
        self._bytes: dict[str, NDArray[np.uint8]] = {}

    def room(self, name: str, shape: tuple[int, ...], kind: np.dtype[Any]) -> NDArray[Any]:
        """Return an array of this shape and type, whatever is in it; the one of the same name before is no longer valid."""
        size = kind.itemsize * int(np.prod(shape, dtype=np.int64))
        if name not in self._bytes or len(self._bytes[name]) < size:
            self._bytes[name] = np.empty(size, np.uint8)
        return self._bytes[name][:size].view(kind).reshape(shape)


def _read(copy: LocalCopy, files: dict[str, _File], starts: NDArray[np.int64], length: int, memory: _Memory) -> _Pool:
    """Return the blocks of frames that start at these frames, held in memory."""
    ends = np.minimum(starts + length, copy.count)
    natoms = [np.diff(copy.offsets[a : b + 1]) for a, b in zip(starts, ends, strict=True)]
    offsets = np.concatenate([np.zeros(1, np.int64), *natoms]).cumsum()
    columns: dict[str, NDArray[Any]] = {}
    for name in copy.card.sizes:
        if name == "offsets":
            continue
        whole = copy.column(name)
        first, last = (copy.offsets[starts], copy.offsets[ends]) if of_atoms(name) else (starts, ends)
        columns[name] = memory.room(name, (int((last - first).sum()), *whole.shape[1:]), whole.dtype)
        head = copy.card.sizes[name] - whole.nbytes
        _fill(columns[name], files[name], head, (first, last))
    return _Pool(offsets, columns)


def _fill(target: NDArray[Any], file: _File, head: int, places: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    """Read the entries from places[0] to places[1] of a column, which begins at byte head, one after the other into target."""
    entry = target.itemsize * int(np.prod(target.shape[1:], dtype=np.int64))
    raw, done = target.reshape(-1).view(np.uint8), 0
    for first, last in zip(*(each.tolist() for each in places), strict=True):
        size = (last - first) * entry
        raw[done : done + size] = file.read(head + first * entry, size)
        done += size


class _File:
    """A file that is read past the page cache where its file system allows that: it would only push out what others keep there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = os.open(path, os.O_RDONLY | getattr(os, "O_DIRECT", 0))
        except OSError:
            self._file = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._file).st_size
        self._scratch = mmap.mmap(-1, BLOCK_BYTES)

    def read(self, place: int, size: int) -> NDArray[np.uint8]:
        """Return bytes from a place on, valid until the next call; raises TableError where the file ends before."""
        if place + size > self.size:
            raise TableError(f"{self._path} ends before byte {place + size}; remove the folder, then copy again")
        skipped = place % PAGE
        needed = -(-(skipped + size) // PAGE) * PAGE
        if len(self._scratch) < needed:
            self._scratch = mmap.mmap(-1, needed)
        found = os.preadv(self._file, [memoryview(self._scratch)[:needed]], place - skipped)
        if found < skipped + size:
            raise TableError(
                f"{self._path}: {found} of {skipped + size} bytes were read at byte {place - skipped}; the disk may be failing"
            )
        return np.frombuffer(self._scratch, np.uint8, size, skipped)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)
