"""Frames for benchmarks: made up in bulk with numpy, of realistic shapes and sizes, and committed as an ingest commits."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lake.commit import BatchReport, _source_row, commit_batch
from lake.lake import Lake
from lake.rows import calculation_table, source_table
from lake.staging import StagedBatch, StagedFrames, StagedSource, count_rows, write_frames
from lake.tables import CHECKPOINT_EVERY, portions, write_file
from lake.tidying import FILES, tidy
from lake.transactions import commit_ahead, newest, newest_version, put_entry
from schemas.columns import CALCULATIONS, FRAMES
from schemas.elements import NUMBERS, composition, formula, reduced_formula
from schemas.sources import SourceObject

ELEMENTS = (
    "Ca Mg O Al Si Fe Ti Na K Li Mn Cr Ni Co Cu Zn Zr Y La Ce Sr Ba P S F Cl N C B H Ga Ge As Se Sn Sb Te I Pb Bi V Sc Nb Mo Ru Rh "
    "Pd Ag Cd In Hf Ta W Re Pt Au Hg Rb Cs Br"
).split()
RUN = 50
"""Frames of one calculation."""
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def system_names(n: int) -> list[str]:
    """Return n element systems: all subsets of Ca-Mg-O first, then others of two to four elements."""
    groups = [[each for k in (1, 2, 3) for each in itertools.combinations(ELEMENTS[:3], k)]]
    groups += [[each for k in (2, 3, 4) for each in itertools.combinations(ELEMENTS, k)]]
    names = dict.fromkeys("-".join(sorted(each)) for each in itertools.chain(*groups))
    return list(names)[:n]


def calculation_id(system: str, place: int, natoms: int) -> str:
    return hashlib.sha256(f"{system} {place} {natoms}".encode()).hexdigest()


def made_numbers(system: str, natoms: int) -> np.ndarray:
    symbols = system.split("-")
    return np.sort(np.resize([NUMBERS[symbol] for symbol in symbols], natoms)).astype(np.int16)


def frame_table(system: str, runs: range, natoms: int, rng: np.random.Generator) -> pa.Table:
    """Return RUN frames of each run of an element system as rows of `frames`; numbers have all their digits."""
    n = RUN * len(runs)
    numbers = made_numbers(system, natoms)
    counts = composition(numbers)
    edge = (10.0 * natoms) ** (1 / 3)
    grid = rng.random((natoms, 3)) * edge
    forces = rng.normal(0, 0.8, (n, natoms, 3))
    energy = -6.0 * natoms + rng.normal(0, 0.05 * natoms, n)
    stress = rng.normal(0, 0.01, (n, 3, 3))
    cells = np.eye(3) * edge * (1 + 0.02 * rng.random((n, 1, 1)))
    ids = pa.array(np.repeat([calculation_id(system, run, natoms) for run in runs], RUN))
    steps = pa.array(np.tile(np.arange(RUN, dtype=np.int32), len(runs)))
    known: dict[str, Any] = {
        "element_system": pa.repeat(system, n),
        "frame_id": pc.binary_join_element_wise(ids, steps.cast(pa.string()), ":"),
        "calculation_id": ids,
        "step": steps,
        "configuration_hash": _hashes(n, rng),
        "formula": pa.repeat(formula(counts), n),
        "reduced_formula": pa.repeat(reduced_formula(counts), n),
        "natoms": pa.repeat(pa.scalar(natoms, pa.int32()), n),
        "numbers": _lists(np.tile(numbers, (n, 1))),
        "positions": _lists(grid + rng.normal(0, 0.1, (n, natoms, 3))),
        "cell": _lists(cells),
        "pbc": _lists(np.ones((n, 3), bool)),
        "forces": _lists(forces - forces.mean(axis=1, keepdims=True)),
        "stress": _lists(stress + stress.transpose(0, 2, 1)),
        "energy": energy,
        "energy_per_atom": energy / natoms,
        "energy_internal": energy + 0.01,
        "energy_source": pa.repeat("free energy", n),
        "stress_source": pa.repeat("total stress", n),
        "max_force": np.sqrt((forces**2).sum(axis=2)).max(axis=1),
        "net_force": np.zeros(n),
        "pressure": -np.trace(stress, axis1=1, axis2=2) / 3,
        "volume": cells[:, 0, 0] ** 3,
        "density": rng.normal(4, 0.2, n),
        "min_distance": rng.normal(1.9, 0.05, n),
        "scf_converged": np.ones(n, bool),
        "n_scf_steps": rng.integers(8, 20, n).astype(np.int32),
        "good": np.ones(n, bool),
        "theory": pa.repeat("PBE/plane waves/qe", n),
        "numerics": pa.repeat("500 eV", n),
        "code": pa.repeat("qe", n),
        "project": pa.repeat("made-up", n),
    }
    schema = FRAMES.arrow_schema()
    arrays = [_column(known.get(field.name), field, n) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def commit_runs(lake: Lake, wanted: Mapping[str, range], natoms: int, seed: int, *, spent: dict[str, float] | None = None) -> BatchReport:
    """Commit some runs of some element systems as one batch; a source holds the runs of one system.

    spent gets the wall and CPU time of the commit alone.
    """
    rng = np.random.default_rng(seed)
    batch = hashlib.sha256(f"batch {seed} {natoms} {sorted(wanted)[:1]} {len(wanted)}".encode()).hexdigest()
    frames, rows, sources = [], [], []
    for system, runs in wanted.items():
        table = frame_table(system, runs, natoms, rng)
        frames += [StagedFrames(write_frames(lake, part, system, f"{batch[:16]}-0"), count_rows(part)) for part in portions(table)]
        names = [calculation_id(system, run, natoms) for run in runs]
        rows += [_calculation_row(system, name, natoms) for name in names]
        sources.append(_source(f"{system}-{runs.start}-{natoms}.tar", names))
    staged = StagedBatch(batch, 0, tuple(rows), tuple(frames), tuple(sources))
    wall, cpu = time.perf_counter(), time.process_time()
    report = commit_batch(lake, [staged], batch)
    if spent is not None:
        spent |= {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    return report


def lay_history(lake: Lake, numbers: range) -> None:
    """Lay commits of the past: the files and log entries that those of a source with one run leave, without looking anything up."""
    versions = {name: newest_version(lake, name) for name in ("calculations", "frames", "sources")}
    for number in numbers:
        for name, rows in _history_rows(number).items():
            if name == "frames":
                file = write_file(lake, name, rows, label=f"{number:016x}", partition={"element_system": "Mg-O"})
                commit_ahead(lake, name, f"{number:064x}", lambda _, file=file: [file])
                continue
            versions[name] += 1
            assert put_entry(lake, name, versions[name], f"{number:064x}", [write_file(lake, name, rows, label=f"{number:016x}")])
            if versions[name] % (FILES // 2) == 0:
                versions[name] += bool(tidy(lake, name))
            if versions[name] % CHECKPOINT_EVERY == 0:
                with newest(lake, name) as table:
                    table.create_checkpoint()


def _history_rows(number: int) -> dict[str, pa.Table]:
    system, label, runs = "Mg-O", f"{number:064x}", range(10**7 + number, 10**7 + number + 1)
    name = calculation_id(system, runs.start, 8)
    source = _source(f"history-{number}.tar", [name])
    return {
        "calculations": calculation_table([_calculation_row(system, name, 8)], batch_id=label, now=NOON),
        "frames": frame_table(system, runs, 8, np.random.default_rng(number)),
        "sources": source_table([_source_row(source, "taken")], batch_id=label, now=NOON),
    }


def _column(values: Any, field: pa.Field, n: int) -> pa.Array:
    if values is not None:
        found = values if isinstance(values, pa.Array) else pa.array(values)
        return found.cast(field.type)
    if field.nullable:
        return pa.nulls(n, field.type)
    return pa.array([_nothing(field.type)] * n, field.type)


def _nothing(kind: pa.DataType) -> Any:
    if pa.types.is_list(kind):
        return []
    return "" if pa.types.is_string(kind) else 0


def _lists(values: np.ndarray) -> pa.Array:
    width = int(np.prod(values.shape[1:]))
    return pa.ListArray.from_arrays(np.arange(0, len(values) * width + 1, width, dtype=np.int32), pa.array(values.reshape(-1)))


def _hashes(n: int, rng: np.random.Generator) -> pa.Array:
    text = rng.bytes(32 * n).hex().encode()
    return pa.StringArray.from_buffers(n, pa.py_buffer(np.arange(0, 64 * n + 1, 64, dtype=np.int32)), pa.py_buffer(text))


def _calculation_row(system: str, name: str, natoms: int) -> dict[str, Any]:
    counts = composition(made_numbers(system, natoms))
    empty = {c.name: _nothing(c.type) for c in CALCULATIONS.columns if not c.nullable and c.name not in ("batch_id", "ingested_at")}
    return {
        **empty,
        "calculation_id": name,
        "element_system": system,
        "formula": formula(counts),
        "reduced_formula": reduced_formula(counts),
        "natoms": natoms,
        "code": "qe",
        "code_version": "7.3",
        "kind": "md",
        "files": ["run/pw.out"],
        "n_frames": RUN,
        "n_good": RUN,
        "complete": True,
        "theory": "PBE/plane waves/qe",
        "numerics": "500 eV",
        "functional": "PBE",
        "basis": "plane waves",
        "project": "made-up",
        "materials": ["periclase"] if system == "Mg-O" else [],
    }


def _source(key: str, names: list[str]) -> StagedSource:
    return StagedSource(
        source=SourceObject("inbox", key, hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(), 10**6, NOON, ()),
        calculation_ids=tuple(names),
        members=tuple(f"run-{i}" for i in range(len(names))),
        n_frames=(RUN,) * len(names),
        rejections=(),
        project="made-up",
        bytes_read=10**7,
        seconds=0.5,
    )
