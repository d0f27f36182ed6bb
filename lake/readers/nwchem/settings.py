"""What a log of NWChem prints before an energy: functional, basis, charge, criteria and what of the cycle is known."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from lake.readers.nwchem.functional import exact_share, functional_of
from lake.readers.nwchem.geometry import ghosts_of, read_basis
from lake.readers.nwchem.others import (
    CHARGES,
    HELD,
    hamiltonian_of,
    has_cores,
    in_field,
    restrained,
    solvent_of,
)  # fmt: skip
from lake.readers.rows import number
from lake.readers.text_steps import NAN
from schemas.theory import LevelOfTheory
from schemas.units import HARTREE

_ROW: Final = re.compile(rb"\n d= *\d+,ls=[0-9.]+,diis +(\d{1,5}) +\S+ +(\S+) +(\S+) ")
_WANTED: Final = re.compile(rb"\n +Convergence on (energy|density) requested: +(\S+)")
_CHARGE: Final = re.compile(rb"\n +Charge +: +(-?\d{1,4}) *\n")
_ELECTRONS: Final = re.compile(rb"\n +No\. of electrons +: +(\d{1,6}) *\n")
_SMEARED: Final = re.compile(rb"\n +Smearing applied: +(\S+) +\(hartree\)")
_SHELL: Final = re.compile(rb"\n +Wavefunction type: +([^\n]*?)\. *\n")
_XC: Final = re.compile(rb"\n +XC Information\n +-+\n((?: +\S[^\n]*\n)+)")
_BASIS: Final = re.compile(rb"\n +Tag +Description +Shells[^\n]*\n[- ]+\n((?: \S+ +\S[^\n]*\n)+)")
_MODEL: Final = re.compile(rb"\n(?: +DFT-|\+ )(D\w+(?= Model)|XDM(?=:))")
_MODELS: Final = {b"D3": "D3(0)", b"D3BJ": "D3(BJ)"}


@dataclass(frozen=True)
class Settings:
    """What was printed last, before an energy."""

    shell: str = "closed shell"
    charge: float = 0.0
    xc: tuple[str, ...] = ()
    basis: tuple[tuple[str, str], ...] = ()
    dispersion: str = ""
    solvent: tuple[tuple[str, str], ...] = ()
    smeared: float = NAN
    """Hartree"""
    hamiltonian: tuple[tuple[str, str], ...] = ()
    """Range of the exchange and relativistic terms"""
    limits: tuple[float, float] = (NAN, NAN)
    """Criteria of energy and density."""
    converged: int = -1
    n_scf: int = -1
    electrons: float = NAN
    """Those that are computed, without the ones that core potentials replace."""
    held: bool = False
    """The task lists atoms that it holds fixed."""
    restrained: bool = False
    charged: bool = False
    """The task stands in the field of point charges."""
    cores: bool = False
    """Core potentials stand around the atoms."""
    ghosts: tuple[tuple[str, str], ...] = ()


def updated(known: Settings, text: bytes) -> Settings:
    """Return the settings with what a text prints of them."""
    shell, charge, xc, basis = _SHELL.search(text), _CHARGE.search(text), _XC.search(text), _BASIS.findall(text)
    wanted = {name: number(value) for name, value in _WANTED.findall(text)}
    limits = (wanted.get(b"energy", known.limits[0]), wanted.get(b"density", known.limits[1]))
    electrons, smeared = _ELECTRONS.search(text), _SMEARED.findall(text)
    rows, model = _ROW.findall(text), _MODEL.findall(text)
    converged = known.converged
    if rows:
        change = [abs(number(field)) for field in rows[-1][1:]]
        met = all(value <= 1.05 * limit for value, limit in zip(change, limits, strict=True) if not np.isnan(limit))
        converged = -1 if np.isnan(limits).all() else int(met and b"Calculation failed to converge" not in text)
    return Settings(
        shell=shell.group(1).decode("latin-1") if shell else known.shell,
        charge=float(charge.group(1)) if charge else known.charge,
        xc=tuple(" ".join(line.decode("latin-1").split()) for line in xc.group(1).split(b"\n") if line.strip()) if xc else known.xc,
        basis=read_basis(basis[-1]) if basis else known.basis,
        dispersion=_MODELS.get(model[-1], model[-1].decode("latin-1")) if model else known.dispersion,
        solvent=solvent_of(text) or known.solvent,
        hamiltonian=hamiltonian_of(text) if xc else known.hamiltonian,
        smeared=number(smeared[-1]) if smeared else NAN if shell else known.smeared,
        limits=limits,
        converged=converged,
        n_scf=int(rows[-1][0]) if rows else known.n_scf,
        electrons=float(electrons.group(1)) if electrons else known.electrons,
        held=known.held or HELD in text,
        restrained=known.restrained or restrained(text),
        charged=known.charged or CHARGES in text or in_field(text),
        cores=known.cores or has_cores(text),
        ghosts=ghosts_of(basis[-1]) if basis else known.ghosts,
    )


def level_of(settings: Settings, *, dispersed: bool) -> LevelOfTheory:
    """Return the level of theory; dispersed tells that a correction stands among the parts of the energy."""
    exact = exact_share(settings.xc)
    return LevelOfTheory(
        code="nwchem",
        functional=functional_of(settings.xc),
        dispersion=(settings.dispersion or "unnamed") if dispersed else "",
        exact_exchange=exact if exact > 0 else None,
        basis="GTO",
        pseudopotentials=settings.basis,
        smearing="gaussian" if settings.smeared > 0 else "none",
        smearing_width=settings.smeared * HARTREE if settings.smeared > 0 else None,
        spin="none" if settings.shell.startswith("closed") else "collinear",
        charge=settings.charge,
    )
