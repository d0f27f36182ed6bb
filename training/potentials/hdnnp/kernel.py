"""The compiled sums of the descriptor: moments.c, made for one shape by the machine's C compiler when it is first needed."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lake.compiled import library
from training.batch import Batch
from training.potentials.hdnnp.harmonics import reduced_harmonics

FLAGS: Final = (
    "-O3", "-march=native", "-funroll-loops", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-signed-zeros",
    "-fassociative-math", "-freciprocal-math", "-fPIC", "-shared",
)  # fmt: skip
"""Not -ffast-math: linked into a library it makes small numbers zero in the whole process."""

LANE_BYTES: Final = 64


@dataclass(frozen=True)
class KernelShape:
    """What a kernel is compiled for."""

    radial_functions: int
    species_channels: int
    l_max: int
    channels: int
    triples: int
    """Kinds of products of three moments."""
    cubics: tuple[tuple[int, int, int, int, float], ...]
    """Terms of them: triple, three harmonics, factor."""
    dtype: torch.dtype


@dataclass(frozen=True, eq=False)
class KernelWeights:
    """What a potential knows, as `Weights` of inference.c has it."""

    embedding: Tensor
    mixing: Tensor
    rows: Tensor
    matrices: Tensor
    widths: Tensor


class Kernel:
    """Functions of moments.c and inference.c on tensors of one type, all contiguous on the CPU; shapes as told there."""

    def __init__(self, library: ctypes.CDLL, shape: KernelShape) -> None:
        self._library, self.shape = library, shape
        self.terms, self.mixed = (shape.l_max + 1) ** 2, shape.radial_functions * shape.species_channels
        self.size = shape.channels + shape.l_max * (shape.channels * (shape.channels + 1) // 2) + shape.triples * shape.channels
        self._real = ctypes.c_float if shape.dtype == torch.float32 else ctypes.c_double

    def vectors(self, start: Tensor, batch: Batch) -> Tensor:
        """Return what `Batch.vectors` does, in the kernel's type."""
        out = torch.empty((len(batch.neighbour), 3), dtype=self.shape.dtype)
        self._call("vectors_of", len(start) - 1, start, batch.neighbour, batch.positions, batch.image, batch.images, out)
        return out

    def sums(self, start: Tensor, vectors: Tensor, weights: Tensor, cutoff: float) -> Tensor:
        """Return (atoms, terms, mixed) sums over neighbours."""
        out = vectors.new_empty((len(start) - 1, self.terms, self.mixed))
        self._call("sums", len(out), start, vectors, weights, self._real(cutoff), out)
        return out

    def push(self, start: Tensor, vectors: Tensor, weights: Tensor, cutoff: float, change: Tensor) -> Tensor:
        """Return how the sums change with the vectors."""
        out = vectors.new_empty((len(start) - 1, self.terms, self.mixed))
        self._call("push", len(out), start, vectors, weights, self._real(cutoff), change, out)
        return out

    def pull(self, start: Tensor, vectors: Tensor, weights: Tensor, cutoff: float, *, given: Tensor, out: Tensor) -> None:
        """Put derivatives by vectors (edges, 3) into out, from derivatives by the sums."""
        self._call("pull", len(given), start, vectors, weights, self._real(cutoff), given, out, None)

    def pull_weights(self, start: Tensor, vectors: Tensor, weights: Tensor, cutoff: float, given: Tensor) -> Tensor:
        """Return derivatives by the weights, from derivatives by the sums."""
        out = torch.empty_like(weights)
        self._call("pull", len(given), start, vectors, weights, self._real(cutoff), given, None, out)
        return out

    def push_weights(self, start: Tensor, vectors: Tensor, weights: Tensor, cutoff: float, *, given: Tensor, change: Tensor) -> Tensor:
        """Return derivatives by the weights of change times the derivatives by vectors."""
        out = torch.empty_like(weights)
        self._call("push_weights", len(given), start, vectors, weights, self._real(cutoff), given, change, out)
        return out

    def invariants(self, moments: Tensor) -> Tensor:
        """Return (atoms, size) invariants of moments (atoms, terms, channels)."""
        out = moments.new_empty((len(moments), self.size))
        self._call("invariants", len(moments), moments, out)
        return out

    def invariants_pull(self, moments: Tensor, given: Tensor) -> Tensor:
        """Return derivatives by moments from derivatives by invariants."""
        out = torch.empty_like(moments)
        self._call("invariants_pull", len(moments), moments, given, out)
        return out

    def invariants_curve(self, moments: Tensor, given: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
        """Return what change times invariants_pull's result has as derivatives by moments and by given."""
        by_given, by_moments = torch.empty_like(given), torch.empty_like(moments)
        self._call("invariants_curve", len(moments), moments, given, change, by_given, by_moments)
        return by_moments, by_given

    def evaluate(self, graph: Sequence[Tensor], vectors: Tensor, cutoff: float, weights: KernelWeights) -> tuple[Tensor, Tensor]:
        """Return energies (atoms,) and derivatives of their sum by vectors; graph is start, neighbour and species."""
        energies, by_vector = vectors.new_empty(len(graph[0]) - 1), torch.empty_like(vectors)
        layers = ctypes.c_long(len(weights.widths) - 1)
        tables = (weights.embedding, weights.mixing, weights.rows, weights.matrices, weights.widths)
        if self._call("evaluate", len(energies), *graph, vectors, self._real(cutoff), *tables, layers, energies, by_vector):
            raise MemoryError("the kernel of hdnnp found no memory for the layers of the network")
        return energies, by_vector

    def assemble(self, graph: Sequence[Tensor], vectors: Tensor, by_vector: Tensor, frames: int) -> tuple[Tensor, Tensor]:
        """Return forces (atoms, 3) and virials (frames, 3, 3); graph is start, neighbour of each edge and frame of each atom."""
        atoms = len(graph[0]) - 1
        forces, virials = vectors.new_zeros((atoms, 3)), vectors.new_zeros((frames, 3, 3))
        self._call("assemble", atoms, *graph, vectors, by_vector, forces, virials)
        return forces, virials

    def assemble_back(self, graph: Sequence[Tensor], vectors: Tensor, by_force: Tensor, by_virial: Tensor) -> Tensor:
        """Return derivatives by vectors' derivatives from derivatives by forces and virials."""
        out = torch.empty_like(vectors)
        self._call("assemble_back", len(graph[0]) - 1, *graph, vectors, by_force, by_virial, out)
        return out

    def _call(self, name: str, atoms: int, *values: Tensor | ctypes.c_float | ctypes.c_double | ctypes.c_long | None) -> int:
        pointers = []
        for value in values:
            if isinstance(value, Tensor):
                assert value.is_contiguous(), name
                assert value.dtype in (self.shape.dtype, torch.int64, torch.int32, torch.float64), name
                pointers.append(ctypes.c_void_p(value.data_ptr()))
            else:
                pointers.append(ctypes.c_void_p(None) if value is None else value)  # type: ignore[arg-type]
        return getattr(self._library, name)(ctypes.c_long(atoms), *pointers)  # type: ignore[no-any-return]


@cache
def kernel_for(shape: KernelShape) -> Kernel | str:
    """Return the kernel of a shape, from its file where it was made before, or else why there is none."""
    made = library("the descriptor's kernel", _source(shape), FLAGS)
    return made if isinstance(made, str) else Kernel(made, shape)


def _source(shape: KernelShape) -> str:
    powers, table = reduced_harmonics(shape.l_max)
    place = {power: row for row, power in enumerate(powers)}
    parents, axes, slopes = [0], [0], []
    for power in powers[1:]:
        axis = next(axis for axis in (2, 0, 1) if power[axis])
        parents.append(place[_lowered(power, axis)])
        axes.append(axis)
    for row, power in enumerate(powers):
        slopes += [(row, axis, place[_lowered(power, axis)], power[axis]) for axis in range(3) if power[axis]]
    real = "float" if shape.dtype == torch.float32 else "double"
    lines = [
        f"#define REAL {real}",
        f"#define INTEGER {'int' if real == 'float' else 'long'}",
        f"#define LANES {LANE_BYTES // (4 if real == 'float' else 8)}",
        f"#define RADIAL {shape.radial_functions}",
        f"#define SPECIES {shape.species_channels}",
        f"#define CHANNELS {shape.channels}",
        f"#define DEGREES {shape.l_max}",
        f"#define TERMS {len(powers)}",
        f"#define SLOPES {len(slopes)}",
        f"#define TRIPLES {shape.triples}",
        f"#define CUBICS {len(shape.cubics)}",
        f"static const int PARENT[] = {_list(parents)}, AXIS[] = {_list(axes)};",
        f"static const int SLOPE[][4] = {_list([*slopes, (0, 0, 0, 0)])};",
        f"static const int CUBIC[][4] = {_list([*(cubic[:4] for cubic in shape.cubics), (0, 0, 0, 0)])};",
        f"static const REAL FACTOR[] = {_list([*(cubic[4] for cubic in shape.cubics), 0.0])};",
        f"static const REAL HARMONICS[TERMS][TERMS] = {_list(table)}, HARMONICS_T[TERMS][TERMS] = {_list(table.T)};",
    ]
    return "\n".join([*lines, *(Path(__file__).with_name(name).read_text() for name in ("moments.c", "inference.c"))])


def _list(values: Sequence[object] | NDArray[np.float64]) -> str:
    parts = (
        _list(value) if isinstance(value, tuple | np.ndarray) else repr(value) if type(value) is int else f"{value:.17g}"
        for value in values
    )
    return "{" + ", ".join(parts) + "}"


def _lowered(powers: tuple[int, int, int], axis: int) -> tuple[int, int, int]:
    lower = list(powers)
    lower[axis] -= 1
    return lower[0], lower[1], lower[2]
