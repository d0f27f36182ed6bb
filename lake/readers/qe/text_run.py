"""One run of pw.x, built from the pieces of its stdout."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lake.readers.cross_checks import summed_up
from lake.readers.qe.level import altered, stress_is_partial
from lake.readers.qe.news import FINAL_SCF, News
from lake.readers.qe.text_checks import contradictions, other_new_volume
from lake.readers.qe.text_geometry import CellTitle, Positions, read_cell, read_fixed, read_positions
from lake.readers.qe.text_header import Header, element_numbers, read_header, seen_later
from lake.readers.qe.text_step import Labels, Tables, last_threshold, read_labels
from lake.readers.rows import RowBatch
from lake.readers.text_steps import ASYMMETRY
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import FrameBlock
from schemas.units import KBAR, RYDBERG, RYDBERG_PER_BOHR, RYDBERG_PER_BOHR3

Floats = NDArray[np.float64]

_HEADER_END: Final = b"\n     Self-consistent Calculation"
_NOT_ACHIEVED: Final = re.compile(rb"convergence NOT achieved after +(\d+) iterations")
_ERROR: Final = re.compile(rb"%%%%\n +(?:Error in routine|from) ([^\n]+)\n([^\n%]*)")
_MOTIONS: Final[tuple[tuple[bytes, str], ...]] = (
    (b"BFGS Geometry Optimization", "relax"),
    (b"Damped Dynamics Calculation", "relax"),
    (b"Dynamics Minimization", "relax"),
    (b"FIRE algorithm", "relax"),
    (b"Molecular Dynamics Calculation", "md"),
    (b"Langevin Dynamics Calculation", "md"),
    (b"Beeman Dynamics:", "md"),
    (b"Cell Dynamics:", "md"),
)
_FORCES: Final = b"\n     Forces acting on atoms"
_FLAGS: Final = ("scf_not_converged", "scf_unknown", "malformed_values", "final_scf_other_basis", "pulay_suspect", "contradictory_values")
_PULAY_TOLERANCE: Final = 1e-5
"""Relative change of a cell vector that counts as a change: the first cell is printed with six decimals."""


class _Frame(NamedTuple):
    step: int
    labels: Labels
    unit: str
    factor: float
    cell: Floats
    final: bool
    told: str


class RunBuilder:
    """Takes the pieces of one run in order; each begins with the banner or with a geometry block."""

    def __init__(self) -> None:
        self._header: Header | None = None
        self._first = b""
        self._cell: Floats | None = None
        self._cell_title = CellTitle()
        self._positions: Positions | None = None
        self._model: Positions | None = None
        self._fixed: NDArray[np.bool_] | None = None
        self._threshold = float("nan")
        self._seen = 0
        self._frames: list[_Frame] = []
        self._rows: dict[str, RowBatch] = {}
        self._pending: tuple[_Frame, Positions, Tables] | None = None
        self._motion = ""
        self._variable_cell = self._final = False
        self._malformed = 0
        self._notes: list[str] = []
        self._bands_only = self._done = False
        self._tail, self._told = b"", ""

    def add(self, piece: bytes, news: News) -> None:
        """Take the next piece."""
        if self._pending is not None:
            self._settle(more=True)
        if self._header is None:
            self._begin(piece)
        elif piece.startswith(b"\nCELL_PARAMETERS"):
            self._cell, self._cell_title = read_cell(piece, self._header.alat, self._cell_title)
            self._told = other_new_volume(self._tail, self._cell)
            self._variable_cell = self._variable_cell or b"\nBegin final coordinates" not in self._tail
        elif piece.startswith(b"\nATOMIC_POSITIONS"):
            self._move(piece, self._header)
        if self._seen == 0 or not self._motion:
            self._follow(piece)
        if news.watched:
            self._watch(piece)
        if self._header is not None:
            self._label(piece, self._header, news)
        if news.thresholds:
            self._threshold = last_threshold(piece, self._threshold)
        self._tail = piece[-2000:]

    def _begin(self, piece: bytes) -> None:
        end = piece.find(_HEADER_END)
        self._first = piece[: end if end > 0 else None]
        self._header = read_header(self._first)
        if self._header is not None:
            self._cell, self._told = self._header.cell, self._header.told
            self._positions = Positions(self._header.site_rows, "alat", self._header.alat)
            self._variable_cell = b"press convergence thresh" in self._first or b"cell mass =" in self._first

    def _move(self, piece: bytes, header: Header) -> None:
        self._positions = self._model = read_positions(piece, header.labels, header.alat, self._model)
        if self._positions is not None and self._fixed is None:
            self._fixed = read_fixed(self._positions.rows, header.natoms) | header.fixed

    def _follow(self, piece: bytes) -> None:
        """Note how the atoms and the cell move, till that is known, and whether there are bands before any energy."""
        if not self._motion:
            self._motion = next((kind for words, kind in _MOTIONS if words in piece), "")
            self._variable_cell = self._variable_cell or b"Cell gradient error" in piece or b"Cell Dynamics" in piece
        self._bands_only = self._bands_only or (self._seen == 0 and b"End of band structure calculation" in piece)

    def _watch(self, piece: bytes) -> None:
        """Note what the piece says about the run as a whole."""
        self._final = self._final or FINAL_SCF in piece
        self._done = self._done or b"JOB DONE." in piece
        failed = _NOT_ACHIEVED.search(piece) if b"NOT achieved" in piece else None
        if failed:
            self._notes.append(f"SCF of step {self._seen}: convergence NOT achieved after {int(failed.group(1))} iterations")
        if b"Maximum CPU time exceeded" in piece:
            self._notes.append(f"stopped at max_seconds in step {self._seen}")
        for routine, message in _ERROR.findall(piece) if b"%%%%" in piece else ():
            self._notes.append(f"pw.x stopped in {_words(routine)} {_words(message)}")

    def _label(self, piece: bytes, header: Header, news: News) -> None:
        if b"!" not in piece and _FORCES not in piece:
            return
        found = read_labels(piece, header.natoms, self._threshold, hybrid=header.hybrid, plain=not news.watched, steady=not news.thresholds)
        if found is None and _FORCES in piece:
            self._malformed += 1
            self._notes.append(f"step {self._seen}: it has forces, but no energy that can be read; the step was left out")
            self._seen += 1
        if found is None:
            return
        labels, tables = found
        if self._seen == 0:
            self._header = header = replace(header, level=seen_later(header.level, piece))
        step, self._seen = self._seen, self._seen + labels.merged
        if labels.merged > 1:
            self._malformed += labels.merged
            self._notes.append(f"steps {step} to {self._seen - 1} run into each other, for no geometry stands between; they were left out")
            return
        if self._positions is None or self._cell is None or not np.isfinite(labels.energy):
            self._malformed += 1
            what = "energy" if self._positions is not None and self._cell is not None else "geometry"
            self._notes.append(f"step {step}: the {what} cannot be read; the step was left out")
            return
        frame = _Frame(step, labels, self._positions.unit, self._positions.factor, self._cell, self._final, self._told)
        self._pending = (frame, self._positions, tables)

    def _settle(self, *, more: bool) -> None:
        """Accept the configuration read last, where nothing more was to come for it: another one follows, or it is whole."""
        if self._pending is None:
            return
        (frame, positions, tables), self._pending = self._pending, None
        if more or tables.ended or self._whole(frame.labels):
            self._frames.append(frame)
            self._keep("positions", positions.rows)
            self._keep("forces", tables.forces)
            self._keep("stress", tables.stress)

    def _whole(self, labels: Labels) -> bool:
        """Return whether labels has every table that earlier steps of the run have."""
        earlier = [frame.labels for frame in self._frames]
        if not earlier or labels.torn:
            return False
        return labels.has_forces >= any(e.has_forces for e in earlier) and labels.has_stress >= any(e.has_stress for e in earlier)

    def _keep(self, name: str, rows: bytes | None) -> None:
        batch = self._rows.get(name)
        if batch is None:
            natoms = self._header.natoms if self._header else 0
            batch = self._rows[name] = RowBatch(3 if name == "stress" else natoms)
        if rows is None:
            batch.skip()
        else:
            batch.add(rows)

    def finish(self, form: str) -> Run:
        """Return the run; raises UnreadableOutput where it has no complete step."""
        self._settle(more=False)
        numbers = element_numbers(self._header) if self._header else None
        if self._header is None or not self._frames:
            raise self._refusal()
        if numbers is None:
            known = ", ".join(sorted(set(self._header.labels)))
            raise UnreadableOutput(
                "unreadable_output", f"atom labels {known}: not all are elements", "send an output with its table of atomic species"
            )
        frames = self._block(numbers)
        if frames is None:
            raise UnreadableOutput(
                "no_complete_step", f"all {self._malformed} steps have unreadable rows", "send the output as pw.x wrote it"
            )
        flags = {flag for flag, holds in (("truncated", not self._done), ("malformed_steps", self._malformed > 0)) if holds}
        if any(entry.mixed for entry in self._header.species):
            flags.add("virtual_crystal")
        if notes := altered(self._header.level):
            flags.add("altered_potential")
            self._notes += notes
        return Run(
            code="qe",
            code_version=self._header.version,
            kind=self._kind(),
            format=form,
            level_of_theory=self._header.level,
            frames=frames,
            complete=self._done,
            flags=tuple(sorted(flags)),
            notes=tuple(self._notes),
            n_malformed_steps=self._malformed,
        )

    def _kind(self) -> str:
        motion = self._motion
        if not motion and re.search(rb"force convergence thresh", self._first):
            moving = re.search(rb"force convergence thresh\. *= *0\.0E\+00", self._first)
            motion = "md" if moving else "relax"
        if not motion:
            return "unknown" if self._variable_cell else "static"
        return f"vc-{motion}" if self._variable_cell else motion

    def _block(self, numbers: NDArray[np.int16]) -> FrameBlock | None:
        """Return the frames whose geometry could be decoded, or None where there is none."""
        cell = np.array([frame.cell for frame in self._frames])
        raw = self._rows["positions"].values()
        crystal = np.array([frame.unit == "crystal" for frame in self._frames])
        positions = raw * np.array([frame.factor for frame in self._frames])[:, None, None]
        if bool(crystal.any()):
            positions[crystal] = np.einsum("nai,nij->naj", raw[crystal], cell[crystal])
        good = np.isfinite(positions).all(axis=(1, 2)) & np.isfinite(cell).all(axis=(1, 2))
        for place in np.flatnonzero(~good):
            self._malformed += 1
            self._notes.append(f"step {self._frames[place].step}: the geometry cannot be read; the step was left out")
        if not bool(good.any()):
            return None
        forces, force_holes = _scaled(self._rows["forces"].values(), np.full(len(good), RYDBERG_PER_BOHR))
        kbar = np.array([frame.labels.stress_in_kbar for frame in self._frames])
        stress, stress_holes = _scaled(self._rows["stress"].values(), -np.where(kbar, KBAR, RYDBERG_PER_BOHR3))
        odd = np.abs(stress - stress.transpose(0, 2, 1)).max(axis=(1, 2)) > ASYMMETRY * np.abs(stress).max(axis=(1, 2))
        stress[odd], stress_holes[odd] = np.nan, True
        if self._header is not None and stress_is_partial(self._header.level):
            stress[:] = np.nan
        told = contradictions(self._frames, forces, self._held(), stress)
        self._notes += summed_up(told)
        flags = self._flags(cell, force_holes, stress_holes, {step for step, _ in told})
        chosen = [int(place) for place in np.flatnonzero(good)]
        kept = [self._frames[place] for place in chosen]
        hybrid = any(frame.labels.hybrid for frame in kept)
        return FrameBlock(
            numbers=numbers,
            pbc=np.ones(3, dtype=bool),
            cell=cell[good],
            positions=positions[good],
            energy=np.array([frame.labels.energy for frame in kept]) * RYDBERG,
            forces=forces[good],
            stress=0.5 * (stress + stress.transpose(0, 2, 1))[good],
            energy_sigma0=np.full(len(kept), np.nan),
            energy_internal=np.array([frame.labels.internal for frame in kept]) * RYDBERG,
            scf_converged=np.array([frame.labels.converged for frame in kept], dtype=np.int8),
            n_scf_steps=np.array([frame.labels.n_scf for frame in kept], dtype=np.int32),
            step=np.array([frame.step for frame in kept], dtype=np.int32),
            flags=tuple(flags[place] for place in chosen),
            energy_source=f"pw.x '{'!!' if hybrid else '!'}' total energy F = E - TS",
            stress_source=self._stress_source(kbar[good], stress[good]),
            fixed=self._held(),
        )

    def _held(self) -> NDArray[np.bool_] | None:
        fixed = self._fixed if self._fixed is not None else self._header.fixed if self._header else None
        return fixed if fixed is not None and bool(fixed.any()) else None

    def _stress_source(self, kbar: NDArray[np.bool_], stress: Floats) -> str:
        if not bool(np.isfinite(stress).any()):
            return ""
        return f"pw.x total stress, {'kbar' if bool(kbar.any()) else 'Ry/bohr**3'} columns, sign turned"

    def _flags(
        self, cell: Floats, force_holes: NDArray[np.bool_], stress_holes: NDArray[np.bool_], told: set[int]
    ) -> list[tuple[str, ...]]:
        scale = np.linalg.norm(cell[0], axis=1).max()
        moved = np.abs(cell - cell[0]).max(axis=(1, 2)) > _PULAY_TOLERANCE * scale
        combined: dict[tuple[bool, ...], tuple[str, ...]] = {}
        result = []
        for place, frame in enumerate(self._frames):
            labels = frame.labels
            marks = (
                labels.converged == 0,
                labels.converged < 0,
                labels.torn or bool(force_holes[place] and labels.has_forces) or bool(stress_holes[place] and labels.has_stress),
                frame.final and self._variable_cell,
                bool(moved[place]) and not frame.final,
                frame.step in told,
            )
            if marks not in combined:
                combined[marks] = tuple(sorted(name for name, holds in zip(_FLAGS, marks, strict=True) if holds))
            result.append(combined[marks])
        return result

    def _refusal(self) -> UnreadableOutput:
        """Return why no frame could be made, in the order in which a reason explains the others."""
        said = "; ".join(self._notes)
        if self._bands_only and self._seen == 0:
            words = "bands or nscf run: it has no total energies"
            return UnreadableOutput("not_energies", words, "send the output of the scf run before it")
        if said:
            return UnreadableOutput("no_complete_step", said, "mend the input, run again, and send the new output")
        last = _words(next((line for line in reversed(self._tail.split(b"\n")) if line.strip()), b""))
        words = f"the output ends before the first step is done; its last line is {last!r}"
        return UnreadableOutput("no_complete_step", words, "let the run end and send its output")


def _scaled(values: Floats, factors: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return values times one factor a frame, and which frames lack a number; those are all NaN."""
    holes: NDArray[np.bool_] = np.asarray(~np.isfinite(values).all(axis=(1, 2)), dtype=np.bool_)
    scaled = values * factors[:, None, None]
    scaled[holes] = np.nan
    return scaled, holes


def _words(text: bytes) -> str:
    return " ".join(text.decode("latin-1").split())[:200]
