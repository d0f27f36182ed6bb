"""A printed decimal becomes the nearest float64, times one constant of CODATA 2018: bit for bit, no detour by other units.

Every energy, force, stress, position and cell component that is stored must be `float(text) * factor` of a number that the file prints.
Where a reader has to compute (positions out of fractions of the cell, a sum of two printed energies) that label is named here with the
operation, and is not in the test. Files are the committed examples of tests/data and, where they are there, those of ../shared.
"""

from __future__ import annotations

import gzip
import re
import tarfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lake.collections.records import gathers
from lake.feeding import closed
from lake.readers import READERS, find_reader
from schemas.frames import Floats, FrameBlock
from schemas.units import (
    BOHR,
    GPA,
    HARTREE,
    HARTREE_PER_BOHR,
    HARTREE_PER_BOHR3,
    KBAR,
    RYDBERG,
    RYDBERG_PER_BOHR,
    RYDBERG_PER_BOHR3,
)

DATA = Path(__file__).resolve().parent.parent / "data"
SHARED = Path(__file__).resolve().parents[3] / "shared"
NUMBER = re.compile(rb"[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[EeDd][-+]))(?:[EeDd][-+]?\d+)?")
MOST_FILES, MOST_BYTES, LARGEST = 4, 4_000_000, 1e100
EV, FORCE, STRESS = (1.0,), (1.0,), (1.0, 0.0)
ATOMIC = {"energy": (HARTREE,), "forces": (HARTREE_PER_BOHR,), "stress": (HARTREE_PER_BOHR3,)}
FACTORS: dict[str, dict[str, tuple[float, ...]]] = {
    "pw.x stdout": {"energy": (RYDBERG,), "forces": (RYDBERG_PER_BOHR,), "stress": (-KBAR, -RYDBERG_PER_BOHR3)},
    "pw.x XML": {
        "energy": (HARTREE,),
        "forces": (HARTREE_PER_BOHR,),
        "stress": (-HARTREE_PER_BOHR3,),
        "positions": (BOHR,),
        "cell": (BOHR,),
    },
    "vasprun.xml": {"energy": EV, "forces": FORCE, "stress": (-KBAR,), "cell": (1.0,)},
    "OUTCAR": {
        "energy": EV,
        "energy_sigma0": EV,
        "energy_internal": EV,
        "forces": FORCE,
        "stress": (-KBAR,),
        "cell": (1.0,),
        "positions": (1.0,),
    },
    "CP2K log": {"energy": (HARTREE,), "forces": (HARTREE_PER_BOHR,), "stress": (-GPA,), "positions": (1.0,)},
    "ABINIT output": ATOMIC,
    "ABINIT log": ATOMIC,
    "SIESTA output": {"energy_internal": EV, "forces": FORCE, "stress": (1.0, KBAR), "cell": (1.0,)},
    "OpenMX output": {"energy": (HARTREE,), "forces": (HARTREE_PER_BOHR,), "cell": (1.0,)},
    "OpenMX .md": {"energy": (HARTREE,), "forces": (HARTREE_PER_BOHR,), "cell": (1.0,), "positions": (1.0,)},
    "FHI-aims output": {"energy": EV, "energy_sigma0": EV, "energy_internal": EV, "forces": FORCE, "stress": (1.0,), "cell": (1.0,)},
    "CASTEP output": {"energy": EV, "energy_sigma0": EV, "forces": FORCE, "stress": (GPA,), "cell": (1.0,)},
    "CASTEP trajectory": ATOMIC | {"positions": (BOHR,), "cell": (BOHR,)},
    "GPAW text": {"energy": EV, "energy_sigma0": EV, "forces": FORCE, "stress": (1.0,), "cell": (1.0,), "positions": (1.0,)},
    "NWChem log": {"energy": (HARTREE,), "forces": (-HARTREE_PER_BOHR,), "positions": (1.0, BOHR)},
    "Gaussian log": {"energy": (HARTREE,), "forces": (HARTREE_PER_BOHR,), "positions": (1.0,)},
    "ORCA output": {"energy": (HARTREE,), "forces": (-HARTREE_PER_BOHR,), "positions": (1.0,)},
    "ABACUS log": {"energy": EV, "forces": FORCE, "stress": (-KBAR,)},
    "Elk INFO.OUT": {"energy": (HARTREE,), "forces": (HARTREE_PER_BOHR,), "cell": (BOHR,)},
    "extxyz": {"energy": EV, "forces": FORCE, "positions": (1.0,), "cell": (1.0,)},
    "RuNNer input.data": {"energy": EV, "forces": FORCE, "positions": (1.0,), "cell": (1.0,)},
}
"""By reader: the labels that are a printed number times one of these factors. Of collections the factor 1: units are the depositor's."""
COMPUTED = {
    "pw.x stdout": "positions * alat or fractions @ cell; cell = axes * (celldm * bohr); mean of off-diagonal stress",
    "pw.x XML": "the mean of two off-diagonal components of the stress",
    "vasprun.xml": "fractions @ cell; energy_sigma0 and energy_internal = F + differences of the cycle (T2)",
    "CP2K log": "vectors of the cell are stretched to their printed lengths",
    "ABINIT output": "fractions @ cell; cell = acell * rprim",
    "SIESTA output": "FreeEng = E_KS + (FreeEng - E_KS of the cycle); positions scaled or in bohr",
    "OpenMX output": "fractions @ cell where they agree with the Cartesian ones",
    "FHI-aims output": "fractions @ cell where geometry.in has them",
    "CASTEP output": "fractions @ cell; dispersion is in the energy",
    "ABACUS log": "positions and cell * lattice constant",
    "Elk INFO.OUT": "fractions @ cell",
}
"""What readers compute, and how; these labels are not looked for."""
BINARY = {"vaspout.h5", "ABINIT HIST.nc", "ABINIT GSR.nc", "GPAW .gpw", "DeePMD npy", "ASE trajectory", "ASE db", "ASE JSON db"}
"""Files that hold float64, not printed decimals."""


def test_every_reader_is_named() -> None:
    assert {spec.name for spec in READERS} == set(FACTORS) | BINARY
    assert set(COMPUTED) <= set(FACTORS)


def texts() -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of files and members of archives, unpacked."""
    folders = [DATA, *([SHARED / "dft", SHARED / "dataset-mgcao/other-codes", SHARED / "dataset-mgcao/mgo"] if SHARED.is_dir() else [])]
    for file in sorted(file for folder in folders for file in folder.rglob("*") if file.is_file() and file.stat().st_size < MOST_BYTES):
        if ".tar." in file.name:
            with tarfile.open(file) as tar:
                for member in [m for m in tar.getmembers() if m.isfile()][:8]:
                    opened = tar.extractfile(member)
                    yield member.name.rpartition("/")[2], opened.read() if opened else b""
        else:
            data = file.read_bytes()
            yield file.name.removesuffix(".gz"), gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


@cache
def examples() -> dict[str, list[tuple[str, bytes]]]:
    """Return some texts by the name of their reader."""
    found: dict[str, list[tuple[str, bytes]]] = {}
    for name, data in texts():
        spec = find_reader(name, data[:65536])
        if spec is not None and spec.name in FACTORS and len(found.setdefault(spec.name, [])) < 3 * MOST_FILES and len(data) < MOST_BYTES:
            found[spec.name].append((name, data))
    return found


def labels(name: str, data: bytes) -> Iterator[dict[str, Floats]]:
    """Yield the labels of each run, or of each series of a collection as it is written."""
    spec = find_reader(name, data[:65536])
    assert spec is not None
    reader = spec.open()
    reader.feed(data)
    if gathers(reader):
        collection = reader.collected()
        for series in collection.series:
            energies = {k: v.values for k, v in collection.columns.items() if k.lower().endswith("energy") and v.values.shape[1] == 1}
            yield {"positions": series.positions, "cell": series.cell, "forces": np.array(list(series.vectors.values())), **energies}
        return
    runs = closed(name, spec, reader)
    for run in runs if isinstance(runs, tuple) else ():
        yield {key: getattr(run.frames, key) for key in vars(FrameBlock)["__dataclass_fields__"]}


def printed(data: bytes) -> Floats:
    """Return the different numbers that a text prints, and zero."""
    tokens = {token.upper().replace(b"D", b"E") for token in NUMBER.findall(data)}
    values = np.unique(np.array([0.0, *(float(token) for token in tokens)]))
    return np.asarray(values[np.abs(values) < LARGEST])


@pytest.mark.parametrize("reader", FACTORS)
def test_every_number_is_a_printed_decimal_times_one_constant(reader: str) -> None:
    files = examples().get(reader, [])
    if not files:
        pytest.skip(f"no file of {reader} is committed, and the reference data in ../shared are not here")
    looked: dict[str, int] = {}
    for name, data in files:
        numbers = printed(data)
        for found in labels(name, data) if sum(looked.values()) < 200_000 else ():
            for label, factors in FACTORS[reader].items():
                if label not in found:
                    continue
                averaged = label == "stress" and "mean" in COMPUTED.get(reader, "")
                values = np.diagonal(found[label], axis1=1, axis2=2) if averaged else found[label]
                values = np.unique(values[np.isfinite(values)])
                missing = values[~np.any([np.isin(values, numbers * factor) for factor in factors], axis=0)]
                assert missing.size == 0, (name, label, missing[:3], len(missing), len(values))
                looked[label] = looked.get(label, 0) + values.size
    print(reader, looked)
    assert {"energy", "positions"} & set(looked) or reader == "SIESTA output"
