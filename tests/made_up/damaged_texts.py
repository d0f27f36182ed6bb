"""Outputs of which tests damage copies, and what of a damaged copy is told."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import made_up_logs as logs
import made_up_molecules as molecules
import made_up_orbitals as orbitals
import made_up_rare_logs as rare
import made_up_solids as solids
import made_up_vasp as vasp
import numpy as np

from lake.feeding import closed
from lake.readers import find_reader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.sources import Rejection

DATA = Path(__file__).resolve().parent.parent / "data" / "qe"
LABELS = ("cell", "positions", "energy", "forces", "stress")
STEPS = logs.make_steps(3)
SAMPLES: dict[str, tuple[str, Callable[[], bytes]]] = {
    "pw.x stdout": ("pw.x stdout", lambda: gzip.decompress((DATA / "md-unconverged.out.gz").read_bytes())),
    "pw.x XML": ("pw.x XML", lambda: gzip.decompress((DATA / "md-unconverged.xml.gz").read_bytes())),
    "vasprun.xml": ("vasprun.xml", lambda: vasp.xml_text(vasp.make_run(3, natoms=4))),
    "OUTCAR": ("OUTCAR", lambda: vasp.outcar_text(vasp.make_run(3, natoms=4))),
    "CP2K log": ("CP2K log", lambda: logs.cp2k_text(logs.make_steps(1))),
    "ABINIT, moving": ("ABINIT output", lambda: logs.abinit_text([STEPS], moving=True)),
    "ABINIT, static": ("ABINIT output", lambda: logs.abinit_text([logs.make_steps(1)])),
    "SIESTA, moving": ("SIESTA output", lambda: orbitals.siesta_text(STEPS, single=False)),
    "SIESTA, static": ("SIESTA output", lambda: orbitals.siesta_text(logs.make_steps(1))),
    "OpenMX output": ("OpenMX output", lambda: orbitals.openmx_text(STEPS, kind="opt")),
    "OpenMX .md": ("OpenMX .md", lambda: orbitals.openmx_md_text(STEPS, [0.0, 1.0, 2.0])),
    "FHI-aims output": ("FHI-aims output", lambda: rare.fhi_aims_text(STEPS)),
    "CASTEP output": ("CASTEP output", lambda: solids.castep_text(STEPS)),
    "GPAW text": ("GPAW text", lambda: rare.gpaw_text(STEPS)),
    "Gaussian log": ("Gaussian log", lambda: molecules.gaussian_text(STEPS)),
    "ORCA output": ("ORCA output", lambda: molecules.orca_text(STEPS)),
    "Gaussian, periodic": ("Gaussian log", lambda: molecules.gaussian_text(STEPS, periodic=3)),
    "NWChem, plane waves": ("NWChem log", lambda: molecules.plane_waves_text(STEPS)),
    "ABACUS log": ("ABACUS log", lambda: solids.abacus_text(STEPS)),
    "Elk INFO.OUT": ("Elk INFO.OUT", lambda: solids.elk_text(logs.make_steps(1))),
    "NWChem log": ("NWChem log", lambda: molecules.nwchem_text(STEPS)),
}
"""Made-up outputs: what they are, the reader, the text."""


def read(text: bytes) -> tuple[Run, ...]:
    """Return the runs of a text as the lake takes them; raises UnreadableOutput."""
    spec = find_reader("output", text[:65536])
    if spec is None:
        raise UnreadableOutput("unknown_format", "no reader", "none")
    reader = spec.open()
    reader.feed(text)
    found = closed("output", spec, reader)
    if isinstance(found, Rejection):
        assert found.reason != "reader_failed", found.detail
        raise UnreadableOutput(found.reason, found.detail, found.remedy)
    return found


def changed(text: bytes, whole: tuple[Run, ...]) -> str:
    """Return what a damaged text gives otherwise without a word, or nothing; 2e-3 is what the same number printed elsewhere may differ."""
    try:
        runs = read(text)
    except UnreadableOutput:
        return ""
    for run, sound in zip(runs, whole, strict=False):
        if set(run.flags) - set(sound.flags) or run.n_malformed_steps > sound.n_malformed_steps:
            continue
        if run.frames.numbers.tolist() != sound.frames.numbers.tolist():
            return "numbers"
        places = {int(step): place for place, step in enumerate(sound.frames.step)}
        for k, step in enumerate(run.frames.step):
            place = places.get(int(step), 0)
            if set(run.frames.flags[k]) - set(sound.frames.flags[place]):
                continue
            for name in LABELS:
                found, right = getattr(run.frames, name)[k], getattr(sound.frames, name)[place]
                if bool((np.isfinite(found) & (np.abs(found - right) > 2e-3)).any()):
                    return name
    return ""
