"""Rows of `frames`, of many calculations at once: built column by column, a few calls of Arrow for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lake.checks import Derived, derive
from lake.identity import configuration_hashes
from lake.theory import numerics_key, theory_key
from schemas.calculations import Calculation
from schemas.columns import FRAMES
from schemas.elements import composition, element_system, formula, reduced_formula
from schemas.flags import DISQUALIFYING
from schemas.frames import FrameBlock

_NUMBERS_AT_ONCE: Final = 1 << 20
"""Positions of calculations whose columns are made together; those of a longer one share memory with its arrays."""
_DERIVED: Final = ("max_force", "net_force", "pressure", "volume", "density", "min_distance")

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Labelled:
    """A calculation and what its depositor says of it."""

    calculation: Calculation
    project: str
    licence: str

    @property
    def block(self) -> FrameBlock:
        """Its frames."""
        return self.calculation.run.frames


def frame_table(given: Sequence[Labelled]) -> pa.Table:
    """Return the rows of `frames` of at least one calculation, in order."""
    return pa.concat_tables([_Columns(part).table() for part in _parts(given)])


def _parts(given: Sequence[Labelled]) -> Iterator[Sequence[Labelled]]:
    """Yield calculations that are made rows of together."""
    part: list[Labelled] = []
    size = 0
    for each in given:
        own = each.block.positions.size
        if part and size + own > _NUMBERS_AT_ONCE:
            yield part
            part, size = [], 0
        part.append(each)
        size += own
    yield part


class _Columns:
    """The columns of the frames of some calculations."""

    def __init__(self, given: Sequence[Labelled]) -> None:
        self.given = given
        self.blocks = [each.block for each in given]
        self.counts: Ints = np.array([block.count for block in self.blocks], dtype=np.int64)
        self.natoms: Ints = np.repeat(np.array([block.natoms for block in self.blocks], dtype=np.int64), self.counts)

    def table(self) -> pa.Table:
        """Return the table that they make."""
        columns = {**self._names(), **self._arrays(), **self._labels()}
        schema = FRAMES.arrow_schema()
        return pa.Table.from_arrays([_as(columns[field.name], field.type) for field in schema], schema=schema)

    @cached_property
    def _no_stress(self) -> NDArray[np.bool_]:
        return np.concatenate([_empty(block.stress) for block in self.blocks])

    def _names(self) -> dict[str, pa.Array]:
        """Return the columns of text."""
        ids = [each.calculation.calculation_id for each in self.given]
        runs = [each.calculation.run for each in self.given]
        names = [_names_of(block.numbers.tobytes(), block.numbers.dtype.str) for block in self.blocks]
        flags = [names for run in runs for names in _flags(run.frames.flags, run.flags)]
        numbered = zip(ids, self.blocks, strict=True)
        return {
            "element_system": self._repeated(system for system, _, _ in names),
            "frame_id": pa.array([f"{name}:{step}" for name, block in numbered for step in block.step.tolist()], pa.string()),
            "calculation_id": self._repeated(ids),
            "configuration_hash": pa.array([name for block in self.blocks for name in configuration_hashes(block)], pa.string()),
            "formula": self._repeated(whole for _, whole, _ in names),
            "reduced_formula": self._repeated(reduced for _, _, reduced in names),
            "energy_source": self._repeated(block.energy_source for block in self.blocks),
            "stress_source": self._repeated((block.stress_source for block in self.blocks), self._no_stress),
            "flags": pa.array(flags, pa.list_(pa.string())),
            "good": pa.array([DISQUALIFYING.isdisjoint(names) for names in flags], pa.bool_()),
            "theory": self._repeated(theory_key(run.level_of_theory) for run in runs),
            "numerics": self._repeated(numerics_key(run.level_of_theory) for run in runs),
            "code": self._repeated(run.code for run in runs),
            "project": self._repeated(each.project for each in self.given),
            "licence": self._repeated(each.licence for each in self.given),
        }

    def _arrays(self) -> dict[str, pa.Array]:
        """Return the columns of lists."""
        blocks, nine = self.blocks, np.full(len(self.natoms), 9)
        no_forces = np.concatenate([_empty(block.forces) for block in blocks])
        return {
            "numbers": _lists([np.repeat(block.numbers[None, :], block.count, axis=0) for block in blocks], self.natoms),
            "positions": _lists([block.positions for block in blocks], 3 * self.natoms),
            "cell": _lists([block.cell for block in blocks], nine),
            "pbc": _lists([np.repeat(block.pbc[None, :], block.count, axis=0) for block in blocks], np.full(len(self.natoms), 3)),
            "forces": _lists([block.forces for block in blocks], 3 * self.natoms, no_forces),
            "stress": _lists([block.stress for block in blocks], nine, self._no_stress),
            "fixed": self._fixed(),
        }

    def _fixed(self) -> pa.Array:
        told = np.repeat(np.array([block.fixed is not None for block in self.blocks]), self.counts)
        if not told.any():
            return pa.nulls(len(told), pa.list_(pa.bool_()))
        parts = [
            np.broadcast_to(block.fixed.reshape(1, -1), (block.count, 3 * block.natoms)) for block in self.blocks if block.fixed is not None
        ]
        return _lists(parts, np.where(told, 3 * self.natoms, 0), ~told)

    def _labels(self) -> dict[str, pa.Array]:
        """Return the columns of one number a frame."""
        derived = [derive(block) for block in self.blocks]
        energy, steps = self._joined("energy"), self._joined("n_scf_steps")
        converged = self._joined("scf_converged")
        return {
            "step": pa.array(self._joined("step"), pa.int32()),
            "natoms": pa.array(self.natoms.astype(np.int32)),
            "energy": _scalars(energy),
            "energy_per_atom": _scalars(energy / self.natoms),
            "energy_sigma0": _scalars(self._joined("energy_sigma0")),
            "energy_internal": _scalars(self._joined("energy_internal")),
            **{name: _scalars(np.concatenate([_of(each, name) for each in derived])) for name in _DERIVED},
            "scf_converged": pa.array(converged == 1, mask=converged < 0),
            "n_scf_steps": pa.array(steps, pa.int32(), mask=steps < 0),
        }

    def _joined(self, name: str) -> NDArray[Any]:
        return np.concatenate([getattr(block, name) for block in self.blocks])

    def _repeated(self, texts: Iterable[str], missing: NDArray[np.bool_] | None = None) -> pa.Array:
        """Return a column with one text a calculation; null in frames that miss it."""
        data = [text.encode() for text in texts]
        lengths = np.repeat(np.array([len(text) for text in data], dtype=np.int64), self.counts)
        values = b"".join([text * count for text, count in zip(data, self.counts.tolist(), strict=True)])
        there = None if missing is None or not missing.any() else pa.py_buffer(np.packbits(~missing, bitorder="little"))
        return pa.StringArray.from_buffers(len(lengths), pa.py_buffer(_offsets(lengths)), pa.py_buffer(values), there)


@lru_cache(maxsize=256)
def _names_of(raw: bytes, kind: str) -> tuple[str, str, str]:
    """Return element system, formula and reduced formula of atomic numbers; calculations of one material follow each other."""
    counts = composition(np.frombuffer(raw, dtype=kind))
    return element_system(counts), formula(counts), reduced_formula(counts)


def _flags(own: Sequence[tuple[str, ...]], shared: tuple[str, ...]) -> list[list[str]]:
    """Return the sorted flags of frames: their own, and those of their run."""
    known = {flags: sorted({*flags, *shared}) for flags in set(own)}
    return [known[flags] for flags in own]


def _of(derived: Derived, name: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = getattr(derived, name)
    return values


def _as(column: pa.Array, type_: pa.DataType) -> pa.Array:
    return column if column.type.equals(type_) else column.cast(type_)


def _empty(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which frames have no number at all, (n,)."""
    rows = values.reshape(len(values), -1)
    if rows.shape[1] and not np.isnan(rows[:, 0]).any():
        return np.zeros(len(rows), dtype=bool)
    return np.asarray(np.isnan(rows).all(axis=1))


def _offsets(lengths: Ints) -> NDArray[np.int32]:
    offsets = np.zeros(len(lengths) + 1, dtype=np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return offsets


def _lists(parts: Sequence[NDArray[Any]], lengths: Ints, missing: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return one list a frame out of arrays whose first axis is the frame; frames that are missing become null."""
    flat = pa.array(parts[0].reshape(-1) if len(parts) == 1 else np.concatenate([part.reshape(-1) for part in parts]))
    mask = None if missing is None or not missing.any() else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(_offsets(lengths)), flat, mask=mask)


def _scalars(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)
