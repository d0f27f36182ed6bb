"""Readings turned into rows: Arrow tables with the schemas of `schemas.columns`, built column by column without a Python object a frame."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lake.checks import derive
from lake.identity import configuration_hashes
from lake.reader_versions import reader_version
from lake.theory import numerics_key, theory_key
from schemas.calculations import Calculation
from schemas.columns import CALCULATIONS, FRAMES, REJECTIONS, SOURCES
from schemas.elements import composition, element_system, formula, reduced_formula, symbols_of
from schemas.flags import DISQUALIFYING
from schemas.frames import FrameBlock
from schemas.sources import Rejection, SourceObject, SourceReading
from schemas.theory import LevelOfTheory


def frame_rows(calculation: Calculation, *, project: str, licence: str) -> pa.Table:
    """Return the rows of `frames` of one calculation; the lists share memory with the arrays of its FrameBlock."""
    run = calculation.run
    block, n = run.frames, run.frames.count
    derived = derive(block)
    counts = composition(block.numbers)
    flags = [sorted({*own, *run.flags}) for own in block.flags]
    columns: dict[str, pa.Array] = {
        "element_system": _repeat(element_system(counts), n),
        "frame_id": pa.array([f"{calculation.calculation_id}:{step}" for step in block.step.tolist()]),
        "calculation_id": _repeat(calculation.calculation_id, n),
        "step": pa.array(block.step, pa.int32()),
        "configuration_hash": pa.array(configuration_hashes(block), pa.string()),
        "formula": _repeat(formula(counts), n),
        "reduced_formula": _repeat(reduced_formula(counts), n),
        "natoms": pa.array(np.full(n, block.natoms, np.int32)),
        **_array_columns(block),
        "energy": _scalars(block.energy),
        "energy_per_atom": _scalars(block.energy / block.natoms),
        "energy_sigma0": _scalars(block.energy_sigma0),
        "energy_internal": _scalars(block.energy_internal),
        "energy_source": _repeat(block.energy_source, n),
        "stress_source": _repeat(block.stress_source, n, missing=_empty(block.stress)),
        **{name: _scalars(getattr(derived, name)) for name in ("max_force", "net_force", "pressure", "volume", "density", "min_distance")},
        "scf_converged": pa.array(block.scf_converged == 1, mask=block.scf_converged < 0),
        "n_scf_steps": pa.array(block.n_scf_steps, pa.int32(), mask=block.n_scf_steps < 0),
        "flags": pa.array(flags, pa.list_(pa.string())),
        "good": pa.array([DISQUALIFYING.isdisjoint(each) for each in flags], pa.bool_()),
        "theory": _repeat(theory_key(run.level_of_theory), n),
        "numerics": _repeat(numerics_key(run.level_of_theory), n),
        "code": _repeat(run.code, n),
        "project": _repeat(project, n),
        "licence": _repeat(licence, n),
    }
    schema = FRAMES.arrow_schema()
    return pa.Table.from_arrays([_as(columns[field.name], field.type) for field in schema], schema=schema)


def _as(column: pa.Array, type_: pa.DataType) -> pa.Array:
    return column if column.type.equals(type_) else column.cast(type_)


def _array_columns(block: FrameBlock) -> dict[str, pa.Array]:
    n, natoms = block.count, block.natoms
    fixed = None if block.fixed is None else np.broadcast_to(block.fixed.reshape(1, -1), (n, 3 * natoms))
    return {
        "numbers": _lists(np.broadcast_to(block.numbers, (n, natoms))),
        "positions": _lists(block.positions),
        "cell": _lists(block.cell),
        "pbc": _lists(np.broadcast_to(block.pbc, (n, 3))),
        "forces": _lists(block.forces, missing=_empty(block.forces)),
        "stress": _lists(block.stress, missing=_empty(block.stress)),
        "fixed": pa.nulls(n, pa.list_(pa.bool_())) if fixed is None else _lists(fixed),
    }


def _empty(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which frames have no number at all, (n,)."""
    return np.asarray(np.isnan(values).reshape(len(values), -1).all(axis=1))


def _lists(values: NDArray[Any], missing: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return one list a frame out of an array whose first axis is the frame; frames that are missing become null."""
    n = len(values)
    width = int(np.prod(values.shape[1:]))
    offsets = np.arange(0, (n + 1) * width, width or 1, dtype=np.int32)[: n + 1] if width else np.zeros(n + 1, np.int32)
    flat = pa.array(np.ascontiguousarray(values).reshape(-1))
    mask = None if missing is None or not missing.any() else pa.array(missing)
    return pa.ListArray.from_arrays(pa.array(offsets), flat, mask=mask)


def _scalars(values: NDArray[np.float64]) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)


def _repeat(text: str, n: int, missing: NDArray[np.bool_] | None = None) -> pa.Array:
    if missing is not None and missing.any():
        return pa.array([None if gone else text for gone in missing.tolist()], pa.string())
    data = text.encode()
    offsets = np.arange(n + 1, dtype=np.int32) * np.int32(len(data))
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(data * n))


def calculation_rows(reading: SourceReading) -> list[dict[str, Any]]:
    """Return the rows of `calculations` of one source, without batch_id and ingested_at, which the commit adds."""
    return [_calculation_row(calculation, reading.metadata) for calculation in reading.calculations]


def _calculation_row(calculation: Calculation, metadata: Mapping[str, str]) -> dict[str, Any]:
    run, block = calculation.run, calculation.run.frames
    counts = composition(block.numbers)
    bad = sum(not DISQUALIFYING.isdisjoint({*own, *run.flags}) for own in block.flags)
    return {
        "calculation_id": calculation.calculation_id,
        "element_system": element_system(symbols_of(block.numbers)),
        "formula": formula(counts),
        "reduced_formula": reduced_formula(counts),
        "natoms": block.natoms,
        "code": run.code,
        "code_version": run.code_version,
        "kind": run.kind,
        "format": run.format,
        "files": list(calculation.files),
        "n_frames": block.count,
        "n_good": block.count - bad,
        "n_malformed_steps": run.n_malformed_steps,
        "complete": run.complete,
        "flags": sorted(run.flags),
        "notes": list(run.notes),
        **_theory_columns(run.level_of_theory),
        "project": metadata.get("project", ""),
        "owner": metadata.get("owner", ""),
        "licence": metadata.get("licence", ""),
        "materials": [name.strip() for name in metadata.get("material", "").split(";") if name.strip()],
        "reader_version": reader_version(run.format),
    }


def _theory_columns(level: LevelOfTheory) -> dict[str, Any]:
    return {
        "theory": theory_key(level),
        "numerics": numerics_key(level),
        "functional": level.functional,
        "dispersion": level.dispersion,
        "hubbard_u": [f"{element}-{shell}:{value!r}" for element, shell, value in level.hubbard_u],
        "exact_exchange": level.exact_exchange,
        "basis": level.basis,
        "cutoff": level.cutoff,
        "density_cutoff": level.density_cutoff,
        "pseudopotentials": [f"{element}:{identity}" for element, identity in level.pseudopotentials],
        "kpoints": None if level.kpoints is None else list(level.kpoints),
        "n_kpoints": level.n_kpoints,
        "kpoint_spacing": level.kpoint_spacing,
        "smearing": level.smearing,
        "smearing_width": level.smearing_width,
        "spin": level.spin,
        "charge": level.charge,
        "relativity": level.relativity,
        "theory_extra": [f"{name}={value}" for name, value in level.extra],
    }


def level_of_theory(row: Mapping[str, Any]) -> LevelOfTheory:
    """Return the level of theory that a row of `calculations` holds; the inverse of writing it."""
    hubbard = [(*text.rpartition(":")[0].partition("-")[::2], float(text.rpartition(":")[2])) for text in row["hubbard_u"]]
    return LevelOfTheory(
        code=row["code"],
        functional=row["functional"],
        dispersion=row["dispersion"],
        hubbard_u=tuple(hubbard),
        exact_exchange=row["exact_exchange"],
        basis=row["basis"],
        cutoff=row["cutoff"],
        density_cutoff=row["density_cutoff"],
        pseudopotentials=tuple((text.partition(":")[0], text.partition(":")[2]) for text in row["pseudopotentials"]),
        kpoints=None if row["kpoints"] is None else (row["kpoints"][0], row["kpoints"][1], row["kpoints"][2]),
        n_kpoints=row["n_kpoints"],
        kpoint_spacing=row["kpoint_spacing"],
        smearing=row["smearing"],
        smearing_width=row["smearing_width"],
        spin=row["spin"],
        charge=row["charge"],
        relativity=row["relativity"],
        extra=tuple((text.partition("=")[0], text.partition("=")[2]) for text in row["theory_extra"]),
    )


def calculation_table(rows: Sequence[Mapping[str, Any]], *, batch_id: str, now: datetime) -> pa.Table:
    """Return rows of `calculations` as an Arrow table, stamped with their batch and time."""
    return pa.Table.from_pylist([{**row, "batch_id": batch_id, "ingested_at": now} for row in rows], schema=CALCULATIONS.arrow_schema())


def source_table(rows: Sequence[Mapping[str, Any]], *, batch_id: str, now: datetime) -> pa.Table:
    """Return rows of `sources` as an Arrow table, stamped with their batch and time."""
    return pa.Table.from_pylist([{**row, "batch_id": batch_id, "ingested_at": now} for row in rows], schema=SOURCES.arrow_schema())


def rejection_rows(source: SourceObject, rejections: Sequence[Rejection]) -> list[dict[str, Any]]:
    """Return the rows of `rejections` of one source, without batch_id and rejected_at, which the commit adds."""
    rows: dict[str, dict[str, Any]] = {}
    for rejection in rejections:
        name = "\0".join((source.source_id, str(source.attempt), rejection.member, rejection.reason))
        rejection_id = hashlib.sha256(name.encode()).hexdigest()
        rows.setdefault(
            rejection_id,
            {
                "rejection_id": rejection_id,
                "source_id": source.source_id,
                "bucket": source.bucket,
                "key": source.key,
                "member": rejection.member,
                "reason": rejection.reason,
                "detail": rejection.detail,
                "remedy": rejection.remedy,
                "attempt": source.attempt,
            },
        )
    return list(rows.values())


def rejection_table(rows: Sequence[Mapping[str, Any]], *, batch_id: str, now: datetime) -> pa.Table:
    """Return rows of `rejections` as an Arrow table, stamped with their batch and time."""
    return pa.Table.from_pylist([{**row, "batch_id": batch_id, "rejected_at": now} for row in rows], schema=REJECTIONS.arrow_schema())
