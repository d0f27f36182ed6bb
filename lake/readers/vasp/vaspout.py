"""Reader of vaspout.h5 (VASP 6.2 and newer, compiled with HDF5), for runs of which neither vasprun.xml nor OUTCAR is there.

Layout: the definitions of py4vasp (vasp-dev/py4vasp, `_raw/definition.py`) and the page "vaspout.h5" of the VASP wiki. Steps are in
intermediate/ion_dynamics: positions are fractional, forces eV/Å, stress kbar and positive under compression as `in kB` of the OUTCAR,
energies named by energies_tags. Of input/potcar/content only titles, valences and cutoffs are looked at. Versions before 6.5 store
nothing of the cycles of self-consistency: an OSZICAR of the same folder, with as many steps of the same energies, tells them.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from lake.readers.base import PushReader, ReaderSpec
from lake.readers.hdf5 import MAGIC, as_text, names_in, open_hdf5, read_array, read_text
from lake.readers.in_memory import InMemoryReader
from lake.readers.rows import number
from lake.readers.vasp.cycles import Criterion, Judgement, criterion_of
from lake.readers.vasp.frames import NAN, Ending, Geometry, StepEnergies, StepTable, finish_run
from lake.readers.vasp.header import Header
from lake.readers.vasp.level import Mesh
from lake.readers.vasp.oszicar import NAME as OSZICAR
from lake.readers.vasp.oszicar import Cycle, judged_by, read_cycles
from lake.readers.vasp.species import IonType
from lake.readers.vasp.tags import Tags
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats

FORMAT: Final = "vaspout.h5"

_STEPS: Final = "intermediate/ion_dynamics"
_FREE: Final = ("free energy toten", "ion-electron toten")
"""Names of the free energy: of a static run or relaxation, and of a molecular dynamics, whose total has kinetic energy in it."""
_SIGMA0: Final = "energy(sigma->0)"
_INTERNAL: Final = "energy without entropy"
_LOGICAL: Final = frozenset({
    "LHFCALC", "LUSE_VDW", "LVDW", "LDAU", "LSORBIT", "LNONCOLLINEAR", "LTHOMAS", "LDIPOL", "LSOL", "LEPSILON", "LCALCEPS",
    "LCHIMAG", "LMONO", "LSPIRAL", "LCEP", "ML_LMLFF",
})  # fmt: skip
"""Tags whose value may be stored as a number."""
_MOST_IONS: Final = 10_000_000
_LENGTH_SLACK: Final = 1e-6
"""Relative; two cells that agree to it are the same."""


def recognises(name: str, head: bytes) -> bool:
    """Return whether the first bytes are those of an HDF5 file of VASP: by its name, or by the name of its group of steps."""
    return head.startswith(MAGIC) and (re.search(r"vaspout.*\.h5", name) is not None or b"ion_dynamics" in head)


class VaspoutReader(InMemoryReader):
    """Reader of a vaspout.h5, with the OSZICAR beside it."""

    def __init__(self) -> None:
        self._cycles: tuple[Cycle, ...] = ()
        self._used = False
        super().__init__(self._runs)

    def take_companion(self, name: str, text: bytes) -> bool:
        """Take the OSZICAR; returns whether it has a step."""
        self._cycles = read_cycles(text) if name == OSZICAR else ()
        return bool(self._cycles)

    @property
    def companions_used(self) -> tuple[str, ...]:
        """Return the names of the files that the runs were read from."""
        return (OSZICAR,) if self._used else ()

    def _runs(self, file: io.BytesIO) -> tuple[Run, ...]:
        with open_hdf5(file) as opened:
            header = _header(opened)
            run, self._used = _run(opened, header, self._cycles)
            return (run,)


def is_companion(name: str) -> bool:
    """Return whether a base name is that of a file which may tell the cycles of a vaspout.h5."""
    return name == OSZICAR


def _run(opened: h5py.File, header: Header, cycles: Sequence[Cycle]) -> tuple[Run, bool]:
    """Return the run, and whether its cycles were told by those given."""
    energies, natoms = _energies(opened), header.natoms
    places = _steps(opened, "position_ions", (natoms, 3))
    cells = _steps(opened, "lattice_vectors", (3, 3))
    lengths = {0 if values is None else len(values) for values in (energies, places, cells)}
    n = min(lengths)
    if energies is None or places is None or cells is None or n == 0:
        words = f"vaspout.h5 of VASP {header.version} has no ionic step with geometry and energy"
        raise UnreadableOutput("no_complete_step", words, "deposit vasprun.xml or OUTCAR of the run too")
    cells = cells[:n] * _scale(opened, cells[n - 1])
    forces, stress = _steps(opened, "forces", (natoms, 3)), _steps(opened, "stress", (3, 3))
    table = StepTable()
    flags = _doubts(header.tags)
    criterion = criterion_of(header.tags)
    judgements = _judgements(opened, criterion, n)
    beside = judged_by(cycles, energies, criterion) if judgements is None and lengths == {n} else None
    for k, judgement in enumerate(judgements or beside or [Judgement()] * n):
        table.add(k, energies[k], judgement, flags)
    forces, stress = _padded(forces, n, (natoms, 3)), _padded(stress, n, (3, 3))
    stress[(stress == 0.0).all(axis=(1, 2))] = NAN
    geometry = Geometry(
        cell=cells,
        positions=np.einsum("nij,njk->nik", places[:n], cells),
        forces=_whole(forces),
        stress=_whole(stress),
        unreadable=np.asarray(~(np.isfinite(cells).all(axis=(1, 2)) & np.isfinite(places[:n]).all(axis=(1, 2)))),
        malformed=_torn(forces) | _torn(stress),
    )
    notes = ("the file does not tell whether the run came to its regular end", *_notes(header.tags))
    if judgements is None and cycles and beside is None:
        notes += (f"the OSZICAR beside the file has {len(cycles)} steps, not the {n} of the file with their energies, and was not used",)
    ending = Ending(
        format=FORMAT,
        energy_source="VASP free energy TOTEN",
        stress_source="VASP stress in kB",
        complete=len(lengths) == 1,
        lost_steps=max(lengths) - n,
        notes=notes,
    )
    return finish_run(header, table, geometry, ending), beside is not None


def _header(opened: h5py.File) -> Header:
    symbols, counts = read_array(opened, "results/positions/ion_types"), read_array(opened, "results/positions/number_ion_types")
    if symbols is None or counts is None:
        symbols, counts = read_array(opened, "input/poscar/ion_types"), read_array(opened, "input/poscar/number_ion_types")
    if symbols is None or counts is None or counts.size != symbols.size or not 0 < int(counts.sum()) < _MOST_IONS or counts.min() < 1:
        raise UnreadableOutput("unreadable_output", "vaspout.h5 names no ions", "deposit vasprun.xml or OUTCAR of the run too")
    potentials = _potentials(read_text(opened, "input/potcar/content"))
    names = [_symbol(as_text(np.asarray(symbol))) for symbol in symbols.ravel()]
    potentials = potentials if len(potentials) == len(names) else [("", NAN, NAN)] * len(names)
    kinds = tuple(
        IonType(int(count), title, symbol, valence=valence)
        for count, symbol, (title, valence, _) in zip(counts.ravel().tolist(), names, potentials, strict=True)
    )
    types = np.repeat(np.arange(len(kinds), dtype=np.int32), [kind.count for kind in kinds])
    held = read_array(opened, "results/positions/selective_dynamics_ions")
    numbers = (read_array(opened, f"version/{part}") for part in ("major", "minor", "patch"))
    return Header(
        version=".".join(str(int(value)) for value in numbers if value is not None and value.size == 1),
        tags=_tags(opened, [cutoff for _, _, cutoff in potentials]),
        kinds=kinds,
        types=types,
        mesh=_mesh(opened),
        fixed=held == 0 if held is not None and held.shape == (len(types), 3) else None,
    )


def _symbol(word: str) -> str:
    match = re.match(r"[A-Z][a-z]?", word)
    return match.group() if match else word


def _potentials(text: str) -> list[tuple[str, float, float]]:
    """Return (title, valence, ENMAX) of each potential of a POTCAR; nothing else of it is kept."""
    found = []
    for block in text.split("End of Dataset"):
        title = re.search(r"TITEL\s*=\s*([^\n]*)", block)
        valence, cutoff = re.search(r"ZVAL\s*=\s*(\S+)", block), re.search(r"ENMAX\s*=\s*([\d.]+)", block)
        if title:
            charge, energy = (number(match.group(1).encode()) if match else NAN for match in (valence, cutoff))
            found.append((" ".join(title.group(1).split()), charge, energy))
    return found


def _tags(opened: h5py.File, cutoffs: list[float]) -> Tags:
    """Return the tags of the INCAR, with the default cutoff of the potentials and the number of electrons where the file has them."""
    values = {}
    for name in names_in(opened, "input/incar"):
        value = read_array(opened, f"input/incar/{name}")
        if value is not None and value.size < 10_000:
            values[name.upper()] = _value(name.upper(), value)
    given = not values.keys().isdisjoint({"ENCUT", "ENMAX"})
    if not given and cutoffs and np.isfinite(cutoffs).all() and values.get("PREC", "N")[:1].upper() in ("N", "A", "S"):
        values["ENCUT"] = repr(max(cutoffs))
    electrons = read_array(opened, "results/electron_eigenvalues/nelectrons")
    if "NELECT" not in values and electrons is not None and electrons.size == 1 and electrons.dtype.kind in "fi":
        values["NELECT"] = repr(float(electrons.ravel()[0]))
    return Tags(values)


def _value(name: str, value: NDArray[Any]) -> str:
    """Return a tag's value as an INCAR has it."""
    if value.dtype.kind in "fiub":
        numbers = value.ravel().tolist()
        if name in _LOGICAL and len(numbers) == 1:
            return ".TRUE." if numbers[0] else ".FALSE."
        return " ".join(repr(each) for each in numbers)
    return " ".join(as_text(np.asarray(part)) for part in value.ravel())


def _mesh(opened: h5py.File) -> Mesh:
    counts = [read_array(opened, f"input/kpoints/nkp{axis}") for axis in "xyz"]
    divisions = [int(value.ravel()[0]) if value is not None and value.size == 1 else 0 for value in counts]
    points = read_array(opened, "results/electron_eigenvalues/kpoint_coords")
    a, b, c = divisions
    return Mesh((a, b, c) if min(divisions) > 0 else None, len(points) if points is not None and points.ndim == 2 else None)


def _steps(opened: h5py.File, name: str, shape: tuple[int, ...]) -> Floats | None:
    """Return an array of all steps (n, *shape), None where there is none of that shape."""
    values = read_array(opened, f"{_STEPS}/{name}")
    if values is None or values.dtype.kind not in "fi" or values.shape[1:] != shape:
        return None
    return values.astype(np.float64)


def _energies(opened: h5py.File) -> list[StepEnergies] | None:
    """Return the energies of all steps; raises UnreadableOutput where none of them is the free energy."""
    values, tags = read_array(opened, f"{_STEPS}/energies"), read_array(opened, f"{_STEPS}/energies_tags")
    if values is None or tags is None or values.ndim != 2 or values.dtype.kind != "f" or values.shape[1] != tags.size:
        return None
    names = [" ".join(as_text(np.asarray(tag)).lower().split()) for tag in tags.ravel()]
    columns = {name: values[:, k].tolist() for k, name in enumerate(names)}
    free = next((columns[name] for name in _FREE if name in columns), None)
    if free is None:
        words = f"vaspout.h5 has the energies {', '.join(names)}, none of which is the free energy of DFT"
        raise UnreadableOutput("not_energies", words, "deposit the ground-state run that it started from")
    none = [NAN] * len(values)
    rows = zip(free, columns.get(_SIGMA0, none), columns.get(_INTERNAL, none), strict=True)
    return [StepEnergies(*row) for row in rows]


def _scale(opened: h5py.File, last: Floats) -> float:
    """Return the factor on the cells of the steps; that of a POSCAR applies unless the last cell is the final one without it."""
    for path in (f"{_STEPS}/scale", "results/positions/scale"):
        value = read_array(opened, path)
        if value is not None and value.size == 1:
            scale = float(value.ravel()[0])
            break
    else:
        return 1.0
    if not scale > 0:
        raise UnreadableOutput("unreadable_output", f"the scale of the cell is {scale}", "deposit vasprun.xml or OUTCAR of the run too")
    final, factor = read_array(opened, "results/positions/lattice_vectors"), read_array(opened, "results/positions/scale")
    if final is not None and factor is not None and final.shape == (3, 3) and factor.size == 1:
        end = final * float(factor.ravel()[0])
        near = _LENGTH_SLACK * float(np.abs(end).max())
        if float(np.abs(last - end).max()) < near:
            return 1.0
    return scale


def _judgements(opened: h5py.File, criterion: Criterion, n: int) -> list[Judgement] | None:
    """Return how the cycle of each step ended by the rows of OSZICAR that newer versions (6.5) store, None where there are none."""
    rows, words = read_array(opened, f"{_STEPS}/oszicar"), read_array(opened, f"{_STEPS}/electronic_step_converged")
    labels = read_array(opened, f"{_STEPS}/oszicar_label")
    names = [as_text(np.asarray(label)) for label in labels.ravel()] if labels is not None else []
    if rows is None or rows.ndim != 2 or rows.shape[1] != len(names) or not {"N", "dE"} <= set(names):
        return None
    starts = np.flatnonzero(rows[:, names.index("N")] == 1)
    if len(starts) != n or starts[0] != 0:
        return None
    unconverged = words.ravel() != 0 if words is not None and words.size == n else np.zeros(n, dtype=bool)
    cycles = np.split(rows, starts[1:])
    return [
        criterion.judge(len(cycle), float(cycle[-1, names.index("dE")]), said_unconverged=bool(failed))
        for cycle, failed in zip(cycles, unconverged, strict=True)
    ]


def _doubts(tags: Tags) -> tuple[str, ...]:
    """Return flags of all steps: which of them a force field made, and whether PSTRESS is in the energies, the file does not tell."""
    learned = ("machine_learned",) if tags.true("ML_LMLFF") else ()
    return learned + (("pressure_in_energy",) if tags.number("PSTRESS", 0.0) != 0.0 else ())


def _notes(tags: Tags) -> tuple[str, ...]:
    return ("the file does not tell which steps a learned force field made; all are flagged",) if tags.true("ML_LMLFF") else ()


def _padded(values: Floats | None, n: int, shape: tuple[int, ...]) -> Floats:
    """Return an array of n steps, NaN where there are fewer."""
    result = np.full((n, *shape), NAN)
    if values is not None:
        result[: len(values)] = values[:n]
    return result


def _torn(values: Floats) -> NDArray[np.bool_]:
    """Return which steps have some numbers, but not all, (n,)."""
    there = np.isfinite(values).reshape(len(values), -1)
    return np.asarray(there.any(axis=1) & ~there.all(axis=1))


def _whole(values: Floats) -> Floats:
    """Return the values with steps that are not whole as NaN throughout."""
    whole = np.asarray(np.isfinite(values).all(axis=(1, 2)))
    return np.where(whole[:, None, None], values, NAN)


def _open() -> PushReader:
    return VaspoutReader()


VASPOUT: Final = ReaderSpec(FORMAT, "vasp", recognises, _open, rank=2, companions=is_companion, in_memory=True)
