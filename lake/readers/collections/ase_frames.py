"""What ASE's own files hold, gathered to a collection: eV, Å, eV/Å and eV/Å³ (tension positive) by definition of ASE, nothing converted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from lake.collections.answers import Answers, Keys, Units
from lake.collections.records import Collection, Column, Series
from schemas.errors import UnreadableOutput
from schemas.frames import Floats
from schemas.theory import LevelOfTheory

NOT_DFT: Final = frozenset(
    "emt lj lennardjones morse eam tersoff sw stillingerweber lammps lammpslib lammpsrun gulp tip3p tip4p acn ff forcefield kim openkim "
    "amber gromacs dftb dftb+ mopac xtb tblite gfn2-xtb gfn1-xtb gfn2 gfn1 mace macecalculator nequip nequipcalculator allegro chgnet "
    "chgnetcalculator m3gnet m3gnetcalculator matgl megnet gap quip potential ace pace pyace deepmd dp schnet spk_calculator aimnet "
    "ani torchani orb orbcalculator sevennet sevennetcalculator mattersim mattersimcalculator fairchem fairchemcalculator "
    "ocpcalculator uma".split()
)
"""Names of calculators in ASE whose energies are not those of DFT."""
_UNNAMED: Final = frozenset(
    "unknown singlepointcalculator singlepointdftcalculator socketiocalculator socketclient checkpointcalculator sumcalculator "
    "linearcombinationcalculator averagecalculator mixedcalculator".split()
) | {""}
"""Names of calculators in ASE that do not say what calculated: results alone, and those that pass on the results of others."""
ASE_UNITS: Final = Units("eV", "Angstrom", stress="eV/Angstrom^3")


@dataclass(frozen=True, eq=False)
class AseFrame:
    """One configuration of a trajectory or database."""

    place: int
    numbers: NDArray[np.int16]
    positions: Floats
    cell: Floats
    pbc: tuple[bool, bool, bool]
    calculator: str = ""
    parameters: str = "{}"
    """JSON"""
    scalars: Mapping[str, float] = field(default_factory=dict)
    """energy, free_energy, and others by name"""
    forces: Floats | None = None
    stress: Floats | None = None
    """(6,) Voigt or (9,)"""
    vectors: Mapping[str, Floats] = field(default_factory=dict)
    fixed: NDArray[np.bool_] | None = None

    @property
    def kind(self) -> tuple[bytes, tuple[bool, bool, bool], str, str, bytes]:
        """Return what frames of one series share."""
        fixed = b"" if self.fixed is None else self.fixed.tobytes()
        return self.numbers.tobytes(), self.pbc, self.calculator.lower(), self.parameters, fixed


def collection_of(
    name: str, frames: Sequence[AseFrame], malformed: Sequence[str], *, truncated: bool = False, units: Units | None = None
) -> Collection:
    """Return the collection of frames with labels of ASE, or (units given) of numbers under other names.

    Raises UnreadableOutput where no frame is there, or where all are from calculators that are not DFT.
    """
    kept = [frame for frame in frames if frame.calculator.lower() not in NOT_DFT]
    if frames and not kept:
        names = ", ".join(sorted({frame.calculator for frame in frames}))
        raise UnreadableOutput("not_dft", f"{len(frames)} frames of the calculator {names}", "deposit results of DFT")
    if not kept:
        found = "; ".join(malformed[:3]) or "no frame"
        raise UnreadableOutput("no_complete_step", found, "deposit the file as ASE wrote it")
    groups: dict[Any, list[AseFrame]] = {}
    for frame in kept:
        groups.setdefault(frame.kind, []).append(frame)
    series = [_series(group) for group in groups.values()]
    firsts = [group[0] for group in groups.values()]
    columns = _columns(kept)
    free = "free_energy" in columns and units is None
    keys = Keys() if units is not None else _keys_of(columns, series, free=free)
    left_out = len(frames) - len(kept)
    notes = (f"{left_out} frames are of calculators that are not DFT and were left out",) * bool(left_out)
    if free and len(columns["free_energy"].places) < len(columns.get("energy", columns["free_energy"]).places):
        notes = (*notes, "frames without a free energy have no energy: ASE's energy of a smeared run is no label of its forces")
    return Collection(
        format=name,
        code="ase",
        series=tuple(series),
        columns=columns,
        said=Answers(units or ASE_UNITS, keys),
        certain=units is None,
        levels={i: level for i, first in enumerate(firsts) if (level := level_of(first.calculator, first.parameters)) is not None},
        sigma0="energy" if free else "",
        malformed=tuple(malformed[:20]),
        n_malformed=len(malformed),
        truncated=truncated,
        notes=notes,
        fixed={i: first.fixed for i, first in enumerate(firsts) if first.fixed is not None and bool(first.fixed.any())},
    )


def _keys_of(columns: Mapping[str, Column], series: Sequence[Series], *, free: bool) -> Keys:
    """Return the names of ASE's labels that are there."""
    energy = "free_energy" if free else "energy" if "energy" in columns else ""
    forces = "forces" if any("forces" in one.vectors for one in series) else ""
    return Keys(energy, forces, "stress" if "stress" in columns else "")


def _series(group: Sequence[AseFrame]) -> Series:
    first = group[0]
    names = dict.fromkeys(name for frame in group for name in _vectors(frame))
    none = np.full(first.positions.shape, np.nan)
    return Series(
        numbers=first.numbers,
        pbc=np.array(first.pbc, dtype=np.bool_),
        places=np.array([frame.place for frame in group], dtype=np.int64),
        cell=np.array([frame.cell for frame in group]),
        positions=np.array([frame.positions for frame in group]),
        vectors={name: np.array([_vectors(frame).get(name, none) for frame in group]) for name in names},
    )


def _vectors(frame: AseFrame) -> dict[str, Floats]:
    return {**frame.vectors, **({} if frame.forces is None else {"forces": frame.forces})}


def _columns(frames: Sequence[AseFrame]) -> dict[str, Column]:
    found: dict[str, tuple[list[int], list[Floats]]] = {}
    for frame in frames:
        values: dict[str, Floats] = {name: np.array([value]) for name, value in frame.scalars.items()}
        if frame.stress is not None:
            values["stress"] = frame.stress
        for name, value in values.items():
            places, rows = found.setdefault(name, ([], []))
            if not rows or rows[0].shape == value.shape:
                places.append(frame.place)
                rows.append(value)
    return {name: Column(np.array(places, dtype=np.int64), np.array(rows)) for name, (places, rows) in found.items()}


def level_of(calculator: str, parameters: str) -> LevelOfTheory | None:
    """Return what name and parameters of a calculator say of the level of theory, None for a calculator without a name."""
    if calculator.lower() in _UNNAMED:
        return None
    try:
        given = json.loads(parameters)
    except ValueError:
        given = {}
    values = {str(key).lower(): value for key, value in given.items()} if isinstance(given, dict) else {}
    functional = next((values[key] for key in ("xc", "functional", "xc_functional") if isinstance(values.get(key), str)), "")
    cutoff = values.get("encut")
    return LevelOfTheory(
        code={"espresso": "qe", "aims": "fhi-aims"}.get(calculator.lower(), calculator.lower()),
        functional=functional.upper() if functional.islower() else functional,
        cutoff=float(cutoff) if isinstance(cutoff, int | float) and not isinstance(cutoff, bool) and cutoff > 0 else None,
    )


def fixed_of(constraints: object, natoms: int) -> NDArray[np.bool_] | None:
    """Return (natoms, 3) the coordinates that ASE's constraints hold fixed, None for none; other constraints are left aside."""
    if isinstance(constraints, str):
        try:
            constraints = json.loads(constraints)
        except ValueError:
            return None
    fixed = np.zeros((natoms, 3), dtype=bool)
    for each in constraints if isinstance(constraints, list) else ():
        name, given = (each.get("name"), each.get("kwargs")) if isinstance(each, dict) else ("", None)
        if not isinstance(given, dict):
            continue
        if name == "FixAtoms":
            atoms = np.array(given.get("indices", given.get("mask", ())))
            fixed[atoms if atoms.dtype == bool else atoms.astype(int)] = True
        elif name == "FixCartesian":
            fixed[np.atleast_1d(given.get("a", ()))] |= np.array(given.get("mask", (True, True, True)), dtype=bool)
    return fixed if bool(fixed.any()) else None
