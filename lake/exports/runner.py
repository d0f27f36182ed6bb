"""input.data of RuNNer and n2p2, in eV and Å (which the two programs take as they are: `cutoff` in Å then).

One block a structure, words as in the RuNNer manual: begin, comment, lattice, atom, energy, charge, end.
"""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import polars as pl

from lake.exports.base import Batch, Progress, batches
from schemas.elements import symbols_of
from schemas.errors import QueryError


def write_runner(frames: pl.LazyFrame, file: Path, progress: Progress) -> int:
    """Write frames one after another and return how many.

    An atom line holds position, symbol, charge (0), energy (0) and force; the units stand in each comment line.
    Raises QueryError for a frame without energy or forces: the format has no way to say that they are missing.
    """
    written = 0
    with file.open("w", encoding="utf-8") as stream:
        for batch in batches(frames, progress):
            for i in range(batch.arrays.count):
                _write_frame(batch, i, stream)
            written += batch.arrays.count
    return written


def _write_frame(batch: Batch, i: int, stream: TextIO) -> None:
    arrays, atoms = batch.arrays, batch.atoms(i)
    name, energy = arrays.frame_ids[i], batch.energy(i)
    if energy is None or not batch.has_forces(i):
        raise QueryError(
            f"frame {name} has no {'energy' if energy is None else 'forces'}, and input.data cannot say so; select frames with them "
            "(--with-forces, with_forces=True)"
        )
    stream.write(f"begin\ncomment units eV Angstrom eV/Angstrom; frame {name}; theory {batch.theories[i]}\n")
    if batch.periodic(i, "RuNNer"):
        stream.writelines(f"lattice {_numbers(vector)}\n" for vector in arrays.cell[i].tolist())
    symbols = symbols_of(arrays.numbers[atoms])
    rows = zip(symbols, arrays.positions[atoms].tolist(), arrays.forces[atoms].tolist(), strict=True)
    stream.writelines(f"atom {_numbers(place)} {symbol} 0.0 0.0 {_numbers(force)}\n" for symbol, place, force in rows)
    stream.write(f"energy {energy!r}\ncharge 0.0\nend\n")


def _numbers(values: list[float]) -> str:
    return " ".join(map(repr, values))
