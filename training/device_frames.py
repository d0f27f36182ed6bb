"""Frames that lie on the device where they are trained on: batches are gathered there, and nothing but their numbers is copied."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.batch import Batch, Graph

CHUNK: Final = 256
"""Frames that go to the device at once."""

_ATOMS: Final = ("species", "positions", "forces", "counts")
_EDGES: Final = ("neighbour", "offset")
_FRAMES: Final = ("stress", "weight")
_SMALL: Final = frozenset({"species", "counts", "neighbour"})
"""Places and numbers within a frame: 32 bits hold them."""


class DeviceFrames:
    """All frames of a split, their edges included, flat on one device. Batches are those of `training.batch.collate`, bit for bit."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.nbytes = 0
        """Bytes on the device."""
        self.count = 0
        """Number of frames."""
        self._parts: dict[str, list[Tensor]] = {}
        self._flat: dict[str, Tensor] = {}
        self._sizes: list[tuple[int, int, int]] = []

    def add(self, graphs: Sequence[Graph]) -> None:
        """Put more frames on the device."""
        columns = {name: torch.cat([getattr(g, name) for g in graphs]) for name in (*_ATOMS, *_EDGES)}
        columns |= {name: torch.stack([getattr(g, name) for g in graphs]) for name in _FRAMES}
        columns["scalars"] = torch.tensor([[g.volume, g.energy] for g in graphs], dtype=torch.float64)
        columns["theory"] = torch.tensor([g.theory for g in graphs], dtype=torch.int64)
        for name, column in columns.items():
            placed = (column.int() if name in _SMALL else column).to(self.device)
            self._parts.setdefault(name, []).append(placed)
            self.nbytes += placed.nbytes
        self._sizes += [(len(g.species), len(g.neighbour), g.width) for g in graphs]
        self.count += len(graphs)

    def close(self) -> None:
        """Make each column one piece; no more frames can come."""
        for name in list(self._parts):
            # One after the other, so that never more than one stands twice.
            self._flat[name] = torch.cat(self._parts.pop(name))
        self._atoms, self._edges, self._width = np.array(self._sizes, dtype=np.int64).T
        self._first_atom, self._first_edge = (np.cumsum(column) - column for column in (self._atoms, self._edges))

    def batch(self, frames: Sequence[int]) -> Batch:
        """Return these frames as one batch on the device."""
        chosen = np.asarray(frames, dtype=np.int64)
        atoms, edges = self._atoms[chosen], self._edges[chosen]
        starts, edge_starts = np.cumsum(atoms) - atoms, np.cumsum(edges) - edges
        numbers, atoms_of, first, edges_of, first_edge, start = self._sent(
            [chosen, atoms, self._first_atom[chosen] - starts, edges, self._first_edge[chosen] - edge_starts, starts]
        )
        frame, places = _ragged(atoms_of, first, int(atoms.sum()))
        frame_of_edge, edge_places = _ragged(edges_of, first_edge, int(edges.sum()))
        found: dict[str, Any] = {name: self._flat[name].index_select(0, places) for name in _ATOMS}
        found |= {name: self._flat[name].index_select(0, edge_places) for name in _EDGES}
        found |= {name: self._flat[name].index_select(0, numbers) for name in (*_FRAMES, "theory")}
        found |= {name: found[name].long() for name in _SMALL}
        shift = start.index_select(0, frame_of_edge)
        volume, energy = self._flat["scalars"].index_select(0, numbers).T.contiguous()
        found["neighbour"].add_(shift)
        width = max(int(self._width[chosen].max(initial=0)), 1)
        return Batch(frame=frame, natoms=atoms_of.double(), volume=volume, energy=energy, width=width, **found)

    def _sent(self, rows: Sequence[NDArray[np.int64]]) -> Tensor:
        """Return the rows on the device; the host does not wait for it."""
        table = torch.from_numpy(np.stack(rows))
        return table if self.device.type == "cpu" else table.pin_memory().to(self.device, non_blocking=True)


def frames_on(graphs: Iterable[Graph], count: int, device: torch.device, room: int) -> DeviceFrames | None:
    """Return count frames, one at least, on a device where they fit into room bytes; None where they do not.

    While their columns are made one piece, half as much more is taken.
    """
    found, rest = DeviceFrames(device), iter(graphs)
    while chunk := list(islice(rest, CHUNK)):
        found.add(chunk)
        # Those at the beginning may be larger than others, but not by much.
        if found.nbytes > room or found.nbytes * count > 2 * room * found.count:
            return None
    found.close()
    return found


def _ragged(lengths: Tensor, shift: Tensor, total: int) -> tuple[Tensor, Tensor]:
    """Return (total,) the number of the range that each place of joined ranges is in, and where it lies before they were joined."""
    owner = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths, output_size=total)
    return owner, torch.arange(total, device=lengths.device) + shift.index_select(0, owner)
