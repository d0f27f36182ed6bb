"""Potentials that another program trained, behind a worker process in an environment of its own: MACE."""

# ASE has few annotations of its own.
# mypy: untyped-calls-exclude="ase"

from __future__ import annotations

import hashlib
import importlib.util
import io
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray
from torch import Tensor

from schemas.elements import SYMBOLS
from schemas.errors import TrainingError
from schemas.frames import FrameArrays
from schemas.potentials import MACE, PotentialCard
from schemas.settings import load as load_settings
from training.batch import Batch, species_of
from training.potentials.base import EnergyModel
from training.stored import Potential, Predictions
from training.structures import from_atoms

MODEL_FILE: Final = "mace.model"
"""Name of the model among the files of a registered potential."""

_WORKER: Final = Path(__file__).with_name("mace_worker.py")


class Worker:
    """A process that holds a model and answers with npz messages, as `training/mace_worker.py` says; it ends with this object."""

    def __init__(self, model: Path, python: str) -> None:
        self.where = f"{MACE}:{model}"
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        try:
            self._process = subprocess.Popen(
                [python, "-W", "ignore", str(_WORKER), str(model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
            )
        except OSError as error:
            self._errors.close()
            raise TrainingError(f"{python!r}, the Python of MACE (setting partners.mace_python), does not run: {error}") from error
        self._end = weakref.finalize(self, _end, self._process, self._errors)
        self.about = self._answer()

    def ask(self, frames: FrameArrays) -> dict[str, NDArray[Any]]:
        """Return energy (n,), forces (atoms, 3) and stress (n, 3, 3) of frames; raises TrainingError where the worker fails."""
        body = io.BytesIO()
        arrays: dict[str, Any] = {name: np.asarray(getattr(frames, name)) for name in ("offsets", "numbers", "positions", "cell", "pbc")}
        np.savez(body, **arrays)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(len(body.getvalue()).to_bytes(8, "little") + body.getvalue())
            self._process.stdin.flush()
        except BrokenPipeError:
            self._died()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._end()

    def _answer(self) -> dict[str, NDArray[Any]]:
        assert self._process.stdout is not None
        head = self._process.stdout.read(8)
        body = self._process.stdout.read(int.from_bytes(head, "little")) if len(head) == 8 else b""
        if not body:
            self._died()
        with np.load(io.BytesIO(body)) as stored:
            found = dict(stored)
        if "error" in found:
            raise TrainingError(f"{self.where}: {found['error']}")
        return found

    def _died(self) -> None:
        code = self._process.wait()
        self._errors.seek(0)
        tail = self._errors.read().decode(errors="replace").splitlines()[-10:]
        raise TrainingError(f"{self.where}: its worker ended with code {code}:\n" + "\n".join(tail))


def _end(process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
    process.terminate()
    process.wait()
    errors.close()


class ExternalModel(EnergyModel):
    """What is known here of a model that another program computes: its elements and its cutoff."""

    name = MACE

    @property
    def dtype(self) -> torch.dtype:
        """Precision of what the worker says."""
        return torch.float64

    def atomic_energies(self, batch: Batch, vectors: Tensor) -> Tensor:
        """Refuse: only whole structures are given to the other program."""
        del batch, vectors
        raise TrainingError("a potential of MACE is computed by its own program; use energy_forces_stress or the calculator")

    def config(self) -> Mapping[str, object]:
        """Return nothing: the model's file has all of it."""
        return {}

    def standardise(self, batches: Iterable[Batch]) -> None:
        """Refuse: it was trained elsewhere."""
        del batches
        raise TrainingError("a potential of MACE is trained by its own program; see docs/partners.md")


@dataclass(frozen=True, eq=False)
class ExternalPotential(Potential):
    """A potential that another program trained: evaluated, run and judged as one of ours, in double precision."""

    worker: Worker = field(kw_only=True)
    file: Path = Path()
    """The model that was opened, where it lies on this disk."""

    def in_precision(self, dtype: str) -> ExternalPotential:
        """Return the same potential, whose precision is its own."""
        del dtype
        return self

    def calculator(self, *, dtype: str = "float64", skin: float = 0.0, device: str = "cpu") -> ExternalCalculator:  # type: ignore[override]
        """Return an ASE calculator; neighbour lists and devices are the other program's matter."""
        del dtype, skin, device
        return ExternalCalculator(self)

    def energy_forces_stress(self, arrays: FrameArrays, *, max_atoms: int = 1024) -> Predictions:
        """Return predictions for all frames; energies of single atoms are not known (NaN)."""
        del max_atoms
        species_of(np.unique(arrays.numbers), self.model.elements)
        found = self.worker.ask(arrays)
        return Predictions(found["energy"], found["forces"], found["stress"], np.full(len(arrays.numbers), np.nan))

    def to_files(self, version: int | None = None) -> tuple[PotentialCard, dict[str, bytes]]:
        """Refuse: its only file is the other program's."""
        del version
        raise TrainingError("a potential of MACE has no files of ours; keep its model, or `atomlake potentials add` it to the registry")


class ExternalCalculator(Calculator):
    """ASE calculator of an external potential: energy = free_energy (eV), forces (eV/Å), stress (eV/Å³, Voigt order, tension positive)."""

    implemented_properties: list[str] = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (as in ASE)

    def __init__(self, potential: ExternalPotential) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.potential = potential

    def calculate(
        self, atoms: Atoms | None = None, properties: Sequence[str] = ("energy",), system_changes: Sequence[str] = tuple(all_changes)
    ) -> None:
        """Compute all properties of a structure at once."""
        super().calculate(atoms, properties, system_changes)  # type: ignore[no-untyped-call]
        assert self.atoms is not None
        if "stress" in properties and not self.atoms.pbc.all():
            raise PropertyNotImplementedError("stress needs a structure that is periodic along three axes; this one is not")
        found = self.potential.energy_forces_stress(from_atoms([self.atoms]))
        energy = float(found.energy[0])
        self.results = {"energy": energy, "free_energy": energy, "forces": found.forces}
        if self.atoms.pbc.all():
            self.results["stress"] = full_3x3_to_voigt_6_stress(found.stress[0])


def open_external(reference: str) -> ExternalPotential:
    """Return the potential of 'mace:FILE', a file that mace_run_train wrote; raises TrainingError where it cannot be used.

    The file is a Python pickle, as MACE has it: it runs what its author put in when it is opened. Open only what you trust.
    """
    file = Path(reference.removeprefix(f"{MACE}:")).expanduser().absolute()
    if not file.is_file():
        raise TrainingError(f"{reference}: there is no such file; give the path of a model that mace_run_train wrote")
    worker = Worker(file, mace_python())
    about = worker.about
    elements = tuple(SYMBOLS[int(number)] for number in np.sort(about["numbers"]))
    cutoff = float(about["cutoff"])
    card = PotentialCard(
        name=file.stem, version=1, architecture=MACE, state="candidate", elements=elements, cutoff=cutoff, dataset="", dataset_hash="",
        table_versions={}, theories=(), settings={}, metrics={}, references={}, notes=(f"Trained by another program: {MACE}.",),
        software=dict(str(each).split("=", 1) for each in about["software"]), created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training_seconds=0.0, n_parameters=int(about["parameters"]),
    )  # fmt: skip
    return ExternalPotential(ExternalModel(elements, cutoff), card, worker=worker, file=file)


def external_from_files(card: PotentialCard, files: Mapping[str, bytes], *, where: str) -> ExternalPotential:
    """Return an external potential out of the registry; raises TrainingError for a damaged or missing model."""
    content = files.get(MODEL_FILE)
    if content is None or hashlib.sha256(content).hexdigest() != card.files.get(MODEL_FILE):
        raise TrainingError(f"{where}: {MODEL_FILE} is {'not there' if content is None else 'damaged'}; add the model again")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / MODEL_FILE
        file.write_bytes(content)
        worker = Worker(file, mace_python())
    return ExternalPotential(ExternalModel(card.elements, card.cutoff), card, worker=worker)


def mace_python() -> str:
    """Return the Python that has MACE: that of the setting partners.mace_python, or else this one where it has it."""
    found = load_settings().partners.mace_python
    if found:
        return found
    if importlib.util.find_spec("mace") is not None:
        return sys.executable
    raise TrainingError(
        "MACE is not installed here, and no Python that has it is named; make an environment of its own (python -m venv mace; "
        "mace/bin/pip install mace-torch) and set partners.mace_python, or ATOMLAKE_PARTNERS_MACE_PYTHON, to mace/bin/python"
    )
