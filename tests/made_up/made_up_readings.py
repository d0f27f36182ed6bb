"""Made-up readings for tests: calculations of any composition with reproducible numbers, as readers would give them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import numpy as np

from schemas.calculations import Calculation, Run
from schemas.frames import FrameBlock
from schemas.sources import Rejection, SourceObject, SourceReading
from schemas.theory import LevelOfTheory

PBE = LevelOfTheory("qe", "PBE", basis="plane waves", cutoff=500.0, pseudopotentials=(("Ca", "Ca.upf"), ("Mg", "Mg.upf"), ("O", "O.upf")))
LDA = LevelOfTheory("qe", "LDA", basis="plane waves", cutoff=500.0, pseudopotentials=(("Ca", "Ca.lda"), ("Mg", "Mg.lda"), ("O", "O.lda")))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MGO, CAO, MGCAO = [12, 12, 8, 8], [20, 20, 8, 8], [12, 20, 8, 8]


def made_block(
    numbers: list[int], n: int, seed: int, *, flags: tuple[str, ...] = (), forces: bool = True, stress: bool = True
) -> FrameBlock:
    """Return n frames near a rock-salt-like cell."""
    rng = np.random.default_rng(seed)
    natoms = len(numbers)
    cell = np.broadcast_to(np.eye(3) * (2.2 * natoms ** (1 / 3) + 1.5), (n, 3, 3)) * (1 + 0.01 * rng.random((n, 1, 1)))
    grid = np.stack(np.meshgrid(*[np.arange(3)] * 3), -1).reshape(-1, 3)[:natoms] * 2.2
    push = rng.normal(0, 0.5, (n, natoms, 3))
    strain = rng.normal(0, 0.01, (n, 3, 3))
    return FrameBlock(
        numbers=np.array(numbers, np.int16),
        pbc=np.ones(3, bool),
        cell=np.ascontiguousarray(cell),
        positions=grid + rng.normal(0, 0.05, (n, natoms, 3)),
        energy=-7.0 * natoms + rng.normal(0, 0.1, n),
        forces=push - push.mean(axis=1, keepdims=True) if forces else np.full((n, natoms, 3), np.nan),
        stress=strain + strain.transpose(0, 2, 1) if stress else np.full((n, 3, 3), np.nan),
        energy_sigma0=np.full(n, np.nan),
        energy_internal=-7.0 * natoms + rng.normal(0, 0.1, n),
        scf_converged=np.where(np.arange(n) % 5 == 4, -1, 1).astype(np.int8),
        n_scf_steps=np.full(n, 12, np.int32),
        step=np.arange(n, dtype=np.int32),
        flags=tuple(flags for _ in range(n)),
        energy_source="made up",
        stress_source="made up" if stress else "",
    )


def made_calculation(
    numbers: list[int], n: int = 5, seed: int = 0, *, level: LevelOfTheory = PBE, block: FrameBlock | None = None, member: str = ""
) -> Calculation:
    """Return a calculation whose id follows from its arguments, so that a copy of it is the same calculation."""
    block = block if block is not None else made_block(numbers, n, seed)
    name = hashlib.sha256(repr((numbers, n, seed, level, block.energy.tolist())).encode()).hexdigest()
    run = Run("qe", "7.3", "md", "pw.x stdout", level, block, complete=True)
    return Calculation(name, run, member, ("run.out",))


def made_source(key: str, *, etag: str = "e1", attempt: int = 1) -> SourceObject:
    return SourceObject("inbox", key, etag, 1000, NOON, (), attempt=attempt)


def made_reading(
    key: str, *calculations: Calculation, rejections: tuple[Rejection, ...] = (), metadata: dict[str, str] | None = None, attempt: int = 1
) -> SourceReading:
    return SourceReading(made_source(key, attempt=attempt), calculations, rejections, metadata or {}, 5000, 0.5)


BAD = Rejection("bad/run.out", "no_complete_step", "ends in the first SCF", "run it to its end")


def six_readings() -> list[SourceReading]:
    """Return six sources: three systems, a copy of a run, a rejected one, and one partly taken."""
    shared = made_calculation(MGO, 7, 3)
    return [
        made_reading(
            "a.tar",
            made_calculation(MGO, 5, 1),
            made_calculation(CAO, 4, 2),
            metadata={"project": "p", "material": "periclase;ペリクレース"},
        ),
        made_reading("b.tar", shared),
        made_reading("c.tar", made_calculation(MGCAO, 6, 4)),
        made_reading("d.tar", shared, metadata={"project": "copy"}),
        made_reading("e.tar", rejections=(BAD,)),
        made_reading("f.tar", made_calculation(MGCAO, 3, 5), made_calculation(CAO, 4, 6), rejections=(BAD,)),
    ]
