"""Folders of DeePMD-kit: one a composition, with type.raw, type_map.raw and set.000/*.npy (eV, Å, eV/Å).

Words and shapes as in the DeePMD-kit manual ("Formats of a system"): coord and force (frames, 3 atoms), box and virial
(frames, 9), energy (frames,); the file `nopbc` stands for frames without a cell. The virial is -stress x volume, in eV.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from lake.exports.base import Batch, Progress, batches
from schemas.elements import composition, formula, symbols_of


def write_deepmd(frames: pl.LazyFrame, folder: Path, progress: Progress) -> int:
    """Write frames below a folder and return how many; memory is bounded by a batch, whatever the number of frames.

    Frames of one formula that have different labels go to folders of their own ('Mg2O2-no_virial'), since a system of DeePMD-kit
    has a label for all its frames or for none. Atoms are sorted by symbol, in their order within each element.
    """
    folder.mkdir(parents=True)
    systems: dict[str, _System] = {}
    written = 0
    for batch in batches(frames, progress):
        for name, members in _grouped(batch).items():
            system = systems.setdefault(name, _System(folder / name))
            system.append(batch, members)
        written += batch.arrays.count
    for system in systems.values():
        system.close()
    return written


def _grouped(batch: Batch) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for i in range(batch.arrays.count):
        there = {
            "cell": batch.periodic(i, "DeePMD-kit"),
            "energy": batch.energy(i) is not None,
            "force": batch.has_forces(i),
            "virial": batch.has_stress(i) and bool(batch.arrays.cell[i].any()),
        }
        name = formula(composition(batch.arrays.numbers[batch.atoms(i)]))
        groups.setdefault("-".join([name, *(f"no_{label}" for label, found in there.items() if not found)]), []).append(i)
    return groups


@dataclass
class _System:
    """One folder; frames are appended to its arrays, whose headers get their number of frames at the end."""

    folder: Path
    count: int = 0
    widths: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def append(self, batch: Batch, members: list[int]) -> None:
        """Add frames that have the same formula and the same labels."""
        rows = [_frame(batch, i) for i in members]
        if not self.count:
            self._begin(batch, members[0], rows[0])
        for name, width in self.widths.items():
            data = np.stack([row[name] for row in rows]).reshape(len(rows), *width)
            with self._file(name).open("ab") as stream:
                stream.write(data.tobytes())
        self.count += len(members)

    def close(self) -> None:
        """Write the number of frames into the headers, which numpy makes long enough for any."""
        for name, width in self.widths.items():
            with self._file(name).open("r+b") as stream:
                _write_header(stream, (self.count, *width))

    def _begin(self, batch: Batch, i: int, row: Mapping[str, NDArray[np.float64]]) -> None:
        self._file("x").parent.mkdir(parents=True)
        symbols = sorted(symbols_of(batch.arrays.numbers[batch.atoms(i)]))
        kinds = sorted(set(symbols))
        (self.folder / "type.raw").write_text("".join(f"{kinds.index(symbol)}\n" for symbol in symbols))
        (self.folder / "type_map.raw").write_text("".join(f"{symbol}\n" for symbol in kinds))
        if "box" not in row:
            (self.folder / "nopbc").touch()
        self.widths = {name: (values.size,) if name != "energy" else () for name, values in row.items()}
        for name, width in self.widths.items():
            with self._file(name).open("wb") as stream:
                _write_header(stream, (0, *width))

    def _file(self, name: str) -> Path:
        return self.folder / "set.000" / f"{name}.npy"


def _frame(batch: Batch, i: int) -> dict[str, NDArray[np.float64]]:
    arrays, atoms = batch.arrays, batch.atoms(i)
    order = np.argsort(np.array(symbols_of(arrays.numbers[atoms])), kind="stable")
    row = {"coord": arrays.positions[atoms][order]}
    if arrays.pbc[i].all():
        row["box"] = arrays.cell[i]
    if batch.energy(i) is not None:
        row["energy"] = arrays.energy[i : i + 1]
    if batch.has_forces(i):
        row["force"] = arrays.forces[atoms][order]
    if batch.has_stress(i) and arrays.cell[i].any():
        row["virial"] = -arrays.stress[i] * abs(np.linalg.det(arrays.cell[i]))
    return row


def _write_header(stream: Any, shape: tuple[int, ...]) -> None:
    """Write the header of a .npy file; numpy keeps room for 21 digits of the first axis, so that its length does not change."""
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f8", "fortran_order": False, "shape": shape})
