"""Columns of many frames as those of a batch, and images of neighbours: by joining.c, or without a C compiler by numpy and torch."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lake.compiled import library

if TYPE_CHECKING:
    from training.batch import Graph

FLAGS: Final = ("-O3", "-march=native", "-fPIC", "-shared")

_SIZES: Final = slice(9, 12)
"""Atoms, edges and images in a record."""

_LOG = logging.getLogger(__name__)


def joined(graphs: Sequence[Graph]) -> Mapping[str, Any]:
    """Return the tensors of a `Batch` of these frames; the same bits in both ways."""
    made = _loops()
    return _by_operations(graphs) if made is None else _by_loops(made, graphs)


def record_of(graph: Graph) -> tuple[int, ...]:
    """Return what joining.c knows a frame by; it holds as long as the frame's tensors do."""
    columns = (graph.species, graph.positions, graph.forces, graph.counts, graph.neighbour, graph.image, graph.images, graph.stress)
    sizes = len(graph.species), len(graph.neighbour), len(graph.images)
    bits = np.array([graph.volume, graph.energy]).view(np.int64).tolist()
    return (*(column.data_ptr() for column in (*columns, graph.weight)), *sizes, graph.theory, *bits)


def images_of(shifts: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return (edges,) places and (images, 3), so that shifts (edges, 3) are images[places]; some images may stand for no edge."""
    if not len(shifts):
        return np.zeros(0, np.int32), np.zeros((0, 3), np.int32)
    made, shifts = _loops(), np.ascontiguousarray(shifts, dtype=np.int32)
    if made is None:
        low, high = shifts.min(axis=0), shifts.max(axis=0)
    else:
        low, high = np.empty((2, 3), np.int32)
        made.reach(len(shifts), _address(shifts), _address(low), _address(high))
    span = high.astype(np.int64) - low + 1
    if span.prod() > max(len(shifts), 64):
        images, inverse = np.unique(shifts, axis=0, return_inverse=True)
        return inverse.reshape(-1).astype(np.int32), images
    places: NDArray[np.int32]
    if made is None:
        places = np.ravel_multi_index(tuple((shifts - low).T), tuple(span)).astype(np.int32)
    else:
        places, spans = np.empty(len(shifts), np.int32), span.astype(np.int32)
        made.number(len(shifts), _address(shifts), _address(low), _address(spans), _address(places))
    return places, (np.indices(span).reshape(3, -1).T + low).astype(np.int32)


def owners(lengths: Tensor, total: int) -> Tensor:
    """Return (total,) the number of the range that each place of joined ranges is in; a device is not waited for."""
    return torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths, output_size=total)


@cache
def _loops() -> ctypes.CDLL | None:
    made = library("the joining of frames", Path(__file__).with_suffix(".c").read_text(), FLAGS)
    if isinstance(made, str):
        _LOG.info("batches are put together without compiled loops, more slowly: %s", made)
        return None
    for name, pointers in (("join", 15), ("reach", 3), ("number", 4)):
        getattr(made, name).argtypes, getattr(made, name).restype = (ctypes.c_long, *(ctypes.c_void_p,) * pointers), None
    return made


def _by_loops(made: ctypes.CDLL, graphs: Sequence[Graph]) -> Mapping[str, Tensor]:
    records = np.array([g.record for g in graphs], dtype=np.int64)
    frames, (atoms, edges, images) = len(graphs), records[:, _SIZES].sum(axis=0).tolist() if graphs else (0, 0, 0)
    found = {
        "species": torch.empty(atoms, dtype=torch.int64),
        "positions": torch.empty((atoms, 3), dtype=torch.float64),
        "forces": torch.empty((atoms, 3), dtype=torch.float64),
        "counts": torch.empty(atoms, dtype=torch.int64),
        "frame": torch.empty(atoms, dtype=torch.int64),
        "neighbour": torch.empty(edges, dtype=torch.int32),
        "image": torch.empty(edges, dtype=torch.int32),
        "images": torch.empty((images, 3), dtype=torch.float64),
        "stress": torch.empty((frames, 3, 3), dtype=torch.float64),
        "weight": torch.empty((frames, 3), dtype=torch.float64),
        "natoms": torch.empty(frames, dtype=torch.float64),
        "volume": torch.empty(frames, dtype=torch.float64),
        "energy": torch.empty(frames, dtype=torch.float64),
        "theory": torch.empty(frames, dtype=torch.int64),
    }
    made.join(frames, _address(records), *(column.data_ptr() for column in found.values()))
    return found


def _by_operations(graphs: Sequence[Graph]) -> Mapping[str, Tensor]:
    natoms = torch.tensor([len(g.species) for g in graphs], dtype=torch.int64)
    found = {
        "species": _column([g.species for g in graphs], (0,), torch.int64),
        "positions": _column([g.positions for g in graphs], (0, 3)),
        "forces": _column([g.forces for g in graphs], (0, 3)),
        "counts": _column([g.counts for g in graphs], (0,), torch.int64),
        "frame": owners(natoms, int(natoms.sum())),
        "images": _column([g.images for g in graphs], (0, 3)),
        "stress": _column([g.stress[None] for g in graphs], (0, 3, 3)),
        "weight": _column([g.weight[None] for g in graphs], (0, 3)),
        "natoms": natoms.double(),
        "volume": torch.tensor([g.volume for g in graphs], dtype=torch.float64),
        "energy": torch.tensor([g.energy for g in graphs], dtype=torch.float64),
        "theory": torch.tensor([g.theory for g in graphs], dtype=torch.int64),
    }
    edges = torch.tensor([len(g.neighbour) for g in graphs], dtype=torch.int64)
    images = torch.tensor([len(g.images) for g in graphs], dtype=torch.int64)
    for name, lengths in (("neighbour", natoms), ("image", images)):
        places = _column([getattr(g, name) for g in graphs], (0,), torch.int32)
        before = (lengths.cumsum(0) - lengths).int()
        found[name] = places.add_(before.repeat_interleave(edges, output_size=len(places)))
    return found


def _column(parts: Sequence[Tensor], empty: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.cat(parts) if parts else torch.zeros(empty, dtype=dtype)  # type: ignore[arg-type]


def _address(values: NDArray[Any]) -> int:
    place: int = values.__array_interface__["data"][0]
    return place
