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
_EDGES: Final = ("neighbour", "image")
_FRAMES: Final = ("stress", "weight")
_SMALL: Final = ("species", "counts")
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
        self._sizes: list[tuple[int, int, int, int]] = []

    def add(self, graphs: Sequence[Graph]) -> None:
        """Put more frames on the device."""
        columns = {name: torch.cat([getattr(g, name) for g in graphs]) for name in (*_ATOMS, *_EDGES, "images")}
        columns |= {name: torch.stack([getattr(g, name) for g in graphs]) for name in _FRAMES}
        columns["scalars"] = torch.tensor([[g.volume, g.energy] for g in graphs], dtype=torch.float64)
        columns["theory"] = torch.tensor([g.theory for g in graphs], dtype=torch.int64)
        for name, column in columns.items():
            placed = (column.int() if name in _SMALL else column).to(self.device)
            self._parts.setdefault(name, []).append(placed)
            self.nbytes += placed.nbytes
        self._sizes += [(len(g.species), len(g.neighbour), len(g.images), g.width) for g in graphs]
        self.count += len(graphs)

    def close(self) -> None:
        """Make each column one piece; no more frames can come."""
        for name in list(self._parts):
            # One after the other, so that never more than one stands twice.
            self._flat[name] = torch.cat(self._parts.pop(name))
        *lengths, self._width = np.array(self._sizes, dtype=np.int64).T
        self._lengths = np.stack(lengths)
        self._first = np.cumsum(self._lengths, axis=1) - self._lengths

    def batch(self, frames: Sequence[int]) -> Batch:
        """Return these frames as one batch on the device."""
        chosen = np.asarray(frames, dtype=np.int64)
        lengths = self._lengths[:, chosen]
        starts = np.cumsum(lengths, axis=1) - lengths
        sent = self._sent([chosen, *lengths, *(self._first[:, chosen] - starts), starts[0], starts[2]])
        numbers, of, shift, first_atom, first_image = sent[0], sent[1:4], sent[4:7], sent[7], sent[8]
        totals = lengths.sum(axis=1).tolist()
        (frame, places), (frame_of_edge, edge_places), (_, image_places) = map(_ragged, of, shift, totals)
        found: dict[str, Any] = {name: self._flat[name].index_select(0, places) for name in _ATOMS}
        found |= {name: self._flat[name].index_select(0, edge_places) for name in _EDGES}
        found |= {name: self._flat[name].index_select(0, numbers) for name in (*_FRAMES, "theory")}
        found |= {name: found[name].long() for name in _SMALL}
        found["images"] = self._flat["images"].index_select(0, image_places)
        for name, first in (("neighbour", first_atom), ("image", first_image)):
            found[name].add_(first.int().index_select(0, frame_of_edge))
        volume, energy = self._flat["scalars"].index_select(0, numbers).T.contiguous()
        width = max(int(self._width[chosen].max(initial=0)), 1)
        return Batch(frame=frame, natoms=of[0].double(), volume=volume, energy=energy, width=width, **found)

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
