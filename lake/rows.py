"""Readings turned into rows: Arrow tables with the schemas of `schemas.columns`; those of frames are made in `lake.frame_table`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa

from lake.frame_table import Labelled, frame_table
from lake.reader_versions import reader_version
from lake.theory import numerics_key, theory_key
from schemas.calculations import Calculation
from schemas.columns import CALCULATIONS, REJECTIONS, SOURCES
from schemas.elements import composition, element_system, formula, reduced_formula, symbols_of
from schemas.flags import DISQUALIFYING
from schemas.sources import Rejection, SourceObject, SourceReading
from schemas.theory import LevelOfTheory


def frame_rows(calculation: Calculation, *, project: str, licence: str) -> pa.Table:
    """Return the rows of `frames` of one calculation."""
    return frame_table([Labelled(calculation, project, licence)])


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
