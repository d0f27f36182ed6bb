"""Extended XYZ as ASE, MACE and NequIP read it: energy, forces, stress (tension positive), theory and frame_id."""

from __future__ import annotations

from pathlib import Path
from typing import Final, TextIO

import polars as pl

from lake.exports.base import Batch, Progress, batches
from schemas.elements import symbols_of

UNITS: Final = "energy=eV,length=Angstrom,stress=eV/Angstrom^3"
"""What each frame says of its numbers, so that the lake takes the file back without asking (`lake.collections.answers`)."""


def write_extxyz(frames: pl.LazyFrame, file: Path, progress: Progress) -> int:
    """Write frames one after another, numbers with all their digits, and return how many."""
    written = 0
    with file.open("w", encoding="utf-8") as stream:
        for batch in batches(frames, progress):
            for i in range(batch.arrays.count):
                _write_frame(batch, i, stream)
            written += batch.arrays.count
    return written


def _write_frame(batch: Batch, i: int, stream: TextIO) -> None:
    arrays, atoms = batch.arrays, batch.atoms(i)
    place = arrays.positions[atoms].tolist()
    energy, forces = batch.energy(i), batch.has_forces(i)
    parts = [f"Properties=species:S:1:pos:R:3{':forces:R:3' if forces else ''}"]
    if arrays.cell[i].any():
        parts.insert(0, f'Lattice="{_numbers(arrays.cell[i].ravel().tolist())}"')
    if energy is not None:
        parts.append(f"energy={energy!r} free_energy={energy!r}")
    if batch.has_stress(i):
        parts.append(f'stress="{_numbers(arrays.stress[i].ravel().tolist())}"')
    parts.append(f'units="{UNITS}"')
    parts.append(f'pbc="{" ".join("T" if periodic else "F" for periodic in arrays.pbc[i].tolist())}"')
    parts.append(f'frame_id="{arrays.frame_ids[i]}" theory="{_quoted(batch.theories[i])}"')
    stream.write(f"{len(place)}\n{' '.join(parts)}\n")
    symbols = symbols_of(arrays.numbers[atoms])
    force = arrays.forces[atoms].tolist() if forces else [[] for _ in place]
    stream.writelines(f"{symbol} {_numbers([*xyz, *push])}\n" for symbol, xyz, push in zip(symbols, place, force, strict=True))


def _numbers(values: list[float]) -> str:
    return " ".join(map(repr, values))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
