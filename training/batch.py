"""Frames as one flat graph: what a potential computes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.elements import NUMBERS, SYMBOLS
from schemas.errors import TrainingError, closest
from schemas.frames import Floats, FrameArrays
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
    centre: Tensor
    """(edges,) sorted."""
    neighbour: Tensor
    """(edges,)"""
    slot: Tensor
    """(edges,) place of the edge among those of its centre, from 0."""
    offset: Tensor
    """(edges, 3) float64: the neighbour is at positions[neighbour] + offset."""
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
        counts = torch.bincount(self.centre, minlength=self.n_atoms)
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)])

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        tensors = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "width"}
        return Batch(**tensors, width=self.width)


@dataclass(frozen=True, eq=False)
class Graph:
    """One frame ready to be joined with others."""

    species: NDArray[np.int64]
    positions: Floats
    edges: Edges
    offset: Floats
    volume: float
    energy: float
    forces: Floats
    stress: Floats
    weight: Floats
    theory: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        arrays = (self.species, self.positions, self.edges.index, self.edges.shift, self.offset, self.forces, self.stress)
        return sum(array.nbytes for array in arrays)


_EVEN = np.ones(3)


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
    return Graph(
        species_of(arrays.numbers[atoms], elements),
        arrays.positions[atoms],
        edges,
        edges.shift @ cell,
        volume,
        float(arrays.energy[frame]),
        arrays.forces[atoms],
        arrays.stress[frame],
        arrays.weights[frame] if len(arrays.weights) else _EVEN,
        place_of_theory(theories, arrays.theories[frame]) if theories and len(arrays.theories) else 0,
    )


def collate(graphs: Sequence[Graph]) -> Batch:
    """Return the frames as one graph; no frames give an empty one that a potential can still compute on."""
    natoms = np.array([len(g.species) for g in graphs], dtype=np.int64)
    first = np.concatenate([[0], np.cumsum(natoms)])
    index = _joined([g.edges.index + start for g, start in zip(graphs, first[:-1], strict=True)], (2, 0), np.int64, axis=1)
    counts = np.bincount(index[0], minlength=int(first[-1]))
    slot = np.arange(index.shape[1]) - np.repeat(np.cumsum(counts) - counts, counts)
    arrays = {
        "species": _joined([g.species for g in graphs], (0,), np.int64),
        "positions": _joined([g.positions for g in graphs], (0, 3)),
        "frame": np.repeat(np.arange(len(graphs)), natoms),
        "centre": index[0],
        "neighbour": index[1],
        "slot": slot,
        "offset": _joined([g.offset for g in graphs], (0, 3)),
        "natoms": natoms.astype(np.float64),
        "volume": np.array([g.volume for g in graphs], dtype=np.float64),
        "energy": np.array([g.energy for g in graphs], dtype=np.float64),
        "forces": _joined([g.forces for g in graphs], (0, 3)),
        "stress": np.array([g.stress for g in graphs], dtype=np.float64).reshape(-1, 3, 3),
        "theory": np.array([g.theory for g in graphs], dtype=np.int64),
        "weight": np.array([g.weight for g in graphs], dtype=np.float64).reshape(-1, 3),
    }
    # Memory of torch, whose alignment is always the same: sums and products round differently with it.
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)).clone() for name, value in arrays.items()}
    return Batch(**tensors, width=max(int(counts.max(initial=0)), 1))


def _joined(parts: Sequence[NDArray[np.generic]], empty: tuple[int, ...], dtype: type = np.float64, axis: int = 0) -> NDArray[np.generic]:
    return np.concatenate(parts, axis=axis).astype(dtype, copy=False) if parts else np.zeros(empty, dtype=dtype)
