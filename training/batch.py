"""Frames as one flat graph: what a potential computes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.elements import NUMBERS, SYMBOLS
from schemas.errors import TrainingError, closest
from schemas.frames import FrameArrays
from training.joining import images_of, joined, owners, record_of
from training.neighbours import Edges


@dataclass(frozen=True, eq=False)
class Batch:
    """Frames joined into one graph; lengths in Å, labels in eV, eV/Å, eV/Å³, NaN where a label is missing."""

    species: Tensor
    """(atoms,) place of the atom's element among those of the potential."""
    positions: Tensor
    """(atoms, 3) float64"""
    frame: Tensor
    """(atoms,) the frame of each atom."""
    counts: Tensor
    """(atoms,) neighbours of each atom; its edges lie together, in the order of atoms."""
    neighbour: Tensor
    """(edges,) int32"""
    image: Tensor
    """(edges,) int32: the neighbour is at positions[neighbour] + images[image]."""
    images: Tensor
    """(images, 3) float64, Å: lattice translations, those of each frame by themselves."""
    natoms: Tensor
    """(frames,) float64"""
    volume: Tensor
    """(frames,) float64, Å³; NaN for a frame that is not periodic along three axes."""
    energy: Tensor
    """(frames,) float64"""
    forces: Tensor
    """(atoms, 3) float64"""
    stress: Tensor
    """(frames, 3, 3) float64"""
    theory: Tensor
    """(frames,) place of the frame's level of theory among those of the potential; 0 where it knows but one."""
    weight: Tensor
    """(frames, 3) float64, by how much energy, forces and stress count in a loss; one over all training frames, on average."""
    width: int
    """Most neighbours of any atom, at least 1."""
    places: tuple[Tensor, Tensor, Tensor] | None = None
    """Centre, slot and offset of the edges, where they are known already."""

    @cached_property
    def centre(self) -> Tensor:
        """(edges,) the atom that the edge belongs to, sorted."""
        return self.places[0] if self.places else owners(self.counts, len(self.neighbour))

    @cached_property
    def slot(self) -> Tensor:
        """(edges,) place of the edge among those of its centre, from 0."""
        if self.places:
            return self.places[1]
        first = self.counts.cumsum(0) - self.counts
        return torch.arange(len(self.neighbour), device=first.device) - first.index_select(0, self.centre)

    @cached_property
    def offset(self) -> Tensor:
        """(edges, 3) float64, Å: the neighbour is at positions[neighbour] + offset."""
        return self.places[2] if self.places else self.images.index_select(0, self.image)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return int(self.species.shape[0])

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.natoms.shape[0])

    def vectors(self) -> Tensor:
        """Return (edges, 3), from centre to neighbour, float64."""
        ends, starts = (self.positions.index_select(0, atoms) for atoms in (self.neighbour, self.centre))
        return ends.sub_(starts).add_(self.offset)

    def starts(self) -> Tensor:
        """Return (atoms + 1,) the first edge of each atom, and the number of edges."""
        return torch.cat([self.counts.new_zeros(1), self.counts.cumsum(0)])

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device; the host does not wait for a copy out of pinned memory."""
        if self.positions.device == device:
            return self
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """Return the batch in memory that an accelerator copies from by itself."""
        return self._with(Tensor.pin_memory)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        moved: dict[str, Any] = {f.name: change(getattr(self, f.name)) for f in fields(self) if f.name not in ("width", "places")}
        return Batch(**moved, width=self.width)


@dataclass(frozen=True, eq=False)
class Graph:
    """One frame ready to be joined with others; fields as in `Batch`, places counted from the frame's first atom."""

    species: Tensor
    positions: Tensor
    counts: Tensor
    neighbour: Tensor
    image: Tensor
    images: Tensor
    forces: Tensor
    stress: Tensor
    """(3, 3)"""
    weight: Tensor
    """(3,)"""
    volume: float
    energy: float
    width: int
    """Most neighbours of any atom; 0 without any."""
    theory: int = 0

    @cached_property
    def record(self) -> tuple[int, ...]:
        """Where the columns lie and how long they are, for what joins frames."""
        return record_of(self)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))


def place_of_theory(theories: Sequence[str], name: str) -> int:
    """Return the place of a level of theory among those of a potential; raises TrainingError with the closest known one."""
    if name not in theories:
        known = ", ".join(theories) or "not told apart by it"
        raise TrainingError(f"the potential does not know the level of theory {name!r}{closest(name, theories)}; its levels are {known}")
    return theories.index(name)


def species_of(numbers: NDArray[np.int16] | NDArray[np.int64], elements: Sequence[str]) -> NDArray[np.int64]:
    """Return (atoms,) the place of each atom's element in elements; raises TrainingError for one that is not among them."""
    places = np.full(len(SYMBOLS), -1, dtype=np.int64)
    places[[NUMBERS[symbol] for symbol in elements]] = np.arange(len(elements))
    species = places[np.asarray(numbers, dtype=np.int64)]
    if (species < 0).any():
        unknown = sorted({SYMBOLS[int(number)] for number in np.asarray(numbers)[species < 0]})
        raise TrainingError(
            f"the potential knows {', '.join(elements)} but the structure also has {', '.join(unknown)};"
            " use a potential trained with these elements"
        )
    return species


def graph(arrays: FrameArrays, frame: int, edges: Edges, elements: Sequence[str], theories: Sequence[str] = ()) -> Graph:
    """Return one frame of arrays with its edges as a Graph; elements and theories are those of the potential."""
    atoms = slice(int(arrays.offsets[frame]), int(arrays.offsets[frame + 1]))
    cell = arrays.cell[frame]
    volume = abs(float(np.linalg.det(cell))) if bool(arrays.pbc[frame].all()) else float("nan")
    centre, neighbour = edges.index
    image, shifts = images_of(edges.shift)
    counts = np.bincount(centre, minlength=atoms.stop - atoms.start)
    return Graph(
        species=_tensor(species_of(arrays.numbers[atoms], elements)),
        positions=_tensor(arrays.positions[atoms]),
        counts=_tensor(counts),
        neighbour=_tensor(neighbour, torch.int32),
        image=_tensor(image, torch.int32),
        images=_tensor(shifts @ cell),
        forces=_tensor(arrays.forces[atoms]),
        stress=_tensor(arrays.stress[frame]),
        weight=_tensor(arrays.weights[frame] if len(arrays.weights) else np.ones(3)),
        volume=volume,
        energy=float(arrays.energy[frame]),
        width=int(counts.max(initial=0)),
        theory=place_of_theory(theories, arrays.theories[frame]) if theories and len(arrays.theories) else 0,
    )


def collate(graphs: Sequence[Graph]) -> Batch:
    """Return the frames as one graph; no frames give an empty one that a potential can still compute on."""
    return Batch(**joined(graphs), width=max([1, *(g.width for g in graphs)]))


def _tensor(values: NDArray[np.generic], kind: torch.dtype | None = None) -> Tensor:
    """Return a copy in memory of torch, whose alignment is always the same: sums and products round differently with it."""
    kind = kind or (torch.int64 if values.dtype.kind in "iu" else torch.float64)
    return torch.tensor(np.ascontiguousarray(values), dtype=kind)
