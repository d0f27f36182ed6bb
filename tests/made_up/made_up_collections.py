"""Made-up frames of a chain of springs as extended XYZ, input.data and arrays, in any units; energies and forces belong together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SYMBOLS = ("Mg", "O", "Mg", "O", "O")
CELL = np.array([[12.0, 0.0, 0.0], [0.5, 9.0, 0.0], [0.0, 0.0, 9.5]])
STIFFNESS = 8.0
"""eV/Å²"""


@dataclass(frozen=True, eq=False)
class MadeFrame:
    """One frame in eV and Å; stress is tension positive, eV/Å³."""

    symbols: tuple[str, ...]
    positions: NDArray[np.float64]
    cell: NDArray[np.float64]
    energy: float
    forces: NDArray[np.float64]
    stress: NDArray[np.float64]


def made_frames(count: int, seed: int = 1, symbols: tuple[str, ...] = SYMBOLS, base: float = -5.2) -> list[MadeFrame]:
    """Return frames of atoms on springs about a chain with bonds of 2.05 Å; base is the energy per atom at rest."""
    random = np.random.default_rng(seed)
    rest = np.zeros((len(symbols), 3))
    rest[:, 0] = 2.05 * np.arange(len(symbols))
    frames = []
    for _ in range(count):
        moved = random.normal(scale=0.06, size=rest.shape)
        stress = random.normal(scale=0.01, size=(3, 3))
        energy = base * len(symbols) + 0.5 * STIFFNESS * float((moved**2).sum())
        frames.append(MadeFrame(symbols, rest + moved, CELL, energy, -STIFFNESS * moved, (stress + stress.T) / 2))
    return frames


def numbers(values: NDArray[np.float64]) -> str:
    """Return numbers with all their digits."""
    return " ".join(repr(float(value)) for value in np.ravel(values))


def extxyz_of(frame: MadeFrame, *, energy: float = 1.0, length: float = 1.0, prefix: str = "", more: str = "") -> str:
    """Return a frame as extended XYZ, energies divided by energy and lengths by length (the units in eV and Å)."""
    head = f'Lattice="{numbers(frame.cell / length)}" Properties=species:S:1:pos:R:3:{prefix}forces:R:3'
    lines = [str(len(frame.symbols)), f'{head} {prefix}energy={frame.energy / energy!r} {more} pbc="T T T"']
    for symbol, place, force in zip(frame.symbols, frame.positions / length, frame.forces / energy * length, strict=True):
        lines.append(f"{symbol} {numbers(place)} {numbers(force)}")
    return "\n".join(lines) + "\n"


def fixed_extxyz_of(frame: MadeFrame) -> str:
    """Return a frame in fixed columns, as ASE writes it."""
    head = f'Lattice="{numbers(frame.cell)}" Properties=species:S:1:pos:R:3:forces:R:3 energy={frame.energy:.8f} pbc="T T T"'
    rows = zip(frame.symbols, frame.positions, frame.forces, strict=True)
    return f"{len(frame.symbols)}\n{head}\n" + "".join(
        f"{symbol:<2}{''.join(f' {value:16.8f}' for value in (*place, *force))}\n" for symbol, place, force in rows
    )


def runner_of(frame: MadeFrame, *, energy: float = 1.0, length: float = 1.0) -> str:
    """Return a frame as a structure of input.data."""
    lines = ["begin", "comment made up", *(f"lattice {numbers(vector / length)}" for vector in frame.cell)]
    for symbol, place, force in zip(frame.symbols, frame.positions / length, frame.forces / energy * length, strict=True):
        lines.append(f"atom {numbers(place)} {symbol} 0.0 0.0 {numbers(force)}")
    return "\n".join([*lines, f"energy {frame.energy / energy!r}", "charge 0.0", "end"]) + "\n"
