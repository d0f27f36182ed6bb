"""Which atoms see each other: all pairs closer than the cutoff, images included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array
from vesin import NeighborList

from schemas.errors import TrainingError
from schemas.frames import Floats


@dataclass(frozen=True, eq=False)
class Edges:
    """Directed pairs of atoms, sorted by centre; each pair stands in both directions."""

    index: NDArray[np.int64]
    """(2, edges): centre, then neighbour."""
    shift: NDArray[np.int32]
    """(edges, 3) in cell vectors: the neighbour is at positions[neighbour] + shift @ cell."""

    @property
    def count(self) -> int:
        """Number of directed pairs."""
        return int(self.index.shape[1])


def neighbours(positions: Floats, cell: Floats, pbc: NDArray[np.bool_], cutoff: float) -> Edges:
    """Return all pairs closer than cutoff (Å), each in both directions.

    positions is (atoms, 3), cell (3, 3) with rows of zeros where there is no vector, pbc (3,). An atom is its own neighbour through
    an image, never in place. Cost grows linearly with atoms. Raises TrainingError for a periodic axis without a vector.
    """
    pbc = np.asarray(pbc, dtype=bool)
    box = complete_cell(positions, cell, pbc)
    if len(positions) == 0:
        return Edges(np.zeros((2, 0), dtype=np.int64), np.zeros((0, 3), dtype=np.int32))
    search = NeighborList(cutoff=cutoff, full_list=True, n_threads=1)
    points = np.ascontiguousarray(positions, dtype=np.float64)
    # Views into the search, which lives until they are sorted.
    pairs, shift = search.compute(points, box, pbc if not pbc.all() else True, quantities="PS", copy=False)
    return _by_centre(pairs.view(np.int64), shift, len(points))


def _by_centre(pairs: NDArray[np.int64], shift: NDArray[np.int32], atoms: int) -> Edges:
    """Return pairs (edges, 2) sorted by centre; the neighbours of one atom stay in the order of the search, which is the same each time."""
    count = len(pairs)
    # A column an edge, with its one entry in the row of its centre: by rows, these are the edges of each atom in order.
    columns = csc_array((np.ones(count, np.int8), pairs[:, 0].astype(np.int32), np.arange(count + 1, dtype=np.int32)), (atoms, count))
    rows = columns.tocsr()
    index = np.empty((2, count), dtype=np.int64)
    index[0] = np.repeat(np.arange(atoms), np.diff(rows.indptr))
    index[1] = pairs[:, 1][rows.indices]
    return Edges(index, np.take(shift, rows.indices, axis=0))


def complete_cell(positions: Floats, cell: Floats, pbc: NDArray[np.bool_]) -> Floats:
    """Return a cell of three independent vectors: the periodic ones kept, others replaced by a long one across them."""
    cell = np.asarray(cell, dtype=np.float64)
    lengths = np.linalg.norm(cell, axis=1)
    if (pbc & (lengths < 1e-8)).any():
        axes = [axis for axis in range(3) if pbc[axis] and lengths[axis] < 1e-8]
        raise TrainingError(f"the frame is periodic along cell vectors {axes} but they are zero; give the cell or switch pbc off there")
    kept = cell[pbc]
    if len(kept) == 3:
        if abs(np.linalg.det(cell)) < 1e-8:
            raise TrainingError(f"the cell {cell.tolist()} has no volume; its vectors must be independent")
        return cell
    across = np.linalg.svd(kept)[2][len(kept) :] if len(kept) else np.eye(3)
    extent = float(np.ptp(positions, axis=0).max()) if len(positions) else 0.0
    box = cell.copy()
    box[~pbc] = across * (extent + 1.0)
    return box
