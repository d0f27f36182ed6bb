"""A trained potential: what it predicts, and its files in a folder or in the lake."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_weights
from safetensors.torch import save as save_weights

from schemas.errors import TrainingError
from schemas.frames import Floats, FrameArrays
from schemas.json import from_json, to_json
from schemas.potentials import MACE, PotentialCard
from training.accelerators import find_device
from training.batch import collate, graph
from training.calculator import PotentialCalculator
from training.committee import Committee
from training.neighbours import neighbours
from training.potentials import find_potential
from training.potentials.base import EnergyModel

if TYPE_CHECKING:
    from lake import Lake

FORMAT = 1
"""Of config.json; older ones stay readable."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a potential says of frames, in their order."""

    energy: Floats
    """(n,) eV"""
    forces: Floats
    """(atoms, 3) eV/Å"""
    stress: Floats
    """(n, 3, 3) eV/Å³, tension positive; NaN for frames that are not periodic along three axes."""
    atomic_energies: Floats
    """(atoms,) eV"""


@dataclass(frozen=True, eq=False)
class Potential:
    """A trained potential with its card."""

    model: EnergyModel
    card: PotentialCard
    extra_files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """What is stored beside weights and configuration: 'parity.png', 'history.json'."""
    work: Path | None = None
    """Folder of the run that made it; None for one that was loaded."""

    def in_precision(self, dtype: str) -> Potential:
        """Return the same potential in float32 or float64."""
        return dataclasses.replace(self, model=copy.deepcopy(self.model).to(getattr(torch, dtype)))

    def on(self, device: str) -> Potential:
        """Return the same potential on a device: cpu, cuda, cuda:1. Raises TrainingError where there is none of that name."""
        return dataclasses.replace(self, model=copy.deepcopy(self.model).to(find_device(device)))

    def calculator(self, *, dtype: str = "float64", skin: float = 0.0, theory: str = "", device: str = "cpu") -> PotentialCalculator:
        """Return an ASE calculator; skin (Å) lets it keep its neighbour list while no atom moved by half of that.

        theory is one of the levels that the potential tells apart; its default one (`card.default_theory`) where it is left out.
        device is cpu or cuda; on a GPU float32 is much faster than float64.
        """
        return PotentialCalculator(self.in_precision(dtype).model.to(find_device(device)), skin=skin, theory=theory)

    def energy_forces_stress(self, arrays: FrameArrays, *, max_atoms: int = 1024) -> Predictions:
        """Return predictions for all frames, in the precision of the weights; max_atoms bounds the memory of a step.

        A potential that tells levels of theory apart takes that of each frame (`FrameArrays.theories`), or else its default one.
        """
        parts, start = [], 0
        while start < arrays.count:
            stop = max(int(np.searchsorted(arrays.offsets, arrays.offsets[start] + max_atoms, side="right")) - 1, start + 1)
            parts.append(self._predict(arrays, start, stop))
            start = stop
        if not parts:
            return Predictions(np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3, 3)), np.zeros(0))
        energy, forces, stress, atomic = (np.concatenate(row) for row in zip(*parts, strict=True))
        return Predictions(energy, forces, stress, atomic)

    def named(self, arrays: FrameArrays, theories: Sequence[str]) -> FrameArrays:
        """Return frames of a dataset of these levels of theory with their level, where that is one of several that the potential knows."""
        if len(theories) != 1 or theories[0] not in self.model.theories:
            return arrays
        return dataclasses.replace(arrays, theories=[theories[0]] * arrays.count)

    def to_files(self, version: int | None = None) -> tuple[PotentialCard, dict[str, bytes]]:
        """Return the card, with version and hashes put in, and all files: what `load` reads back."""
        files = {**files_of_model(self.model), **self.extra_files}
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
        card = dataclasses.replace(self.card, version=version or self.card.version, files=hashes)
        return card, {**files, "card.json": to_json(card).encode()}

    def save(self, folder: Path) -> None:
        """Write all files into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.to_files()[1].items():
            (folder / name).write_bytes(content)

    def clear_work(self) -> None:
        """Delete the checkpoints and logs of the run that made it."""
        if self.work is not None:
            shutil.rmtree(self.work, ignore_errors=True)

    def _predict(self, arrays: FrameArrays, start: int, stop: int) -> tuple[Floats, Floats, Floats, Floats]:
        graphs = []
        for frame in range(start, stop):
            atoms = slice(int(arrays.offsets[frame]), int(arrays.offsets[frame + 1]))
            edges = neighbours(arrays.positions[atoms], arrays.cell[frame], arrays.pbc[frame], self.model.cutoff)
            graphs.append(graph(arrays, frame, edges, self.model.elements, self.model.theories))
        with torch.no_grad():
            found = self.model(collate(graphs).to(self.model.device)).on_cpu()
        tensors = (found.energy, found.forces.double(), found.stress.double(), found.atomic_energies)
        energy, forces, stress, atomic = (tensor.numpy() for tensor in tensors)
        return energy, forces, stress, atomic


def load(name_or_path: str | Path, *, lake: Lake | None = None, version: int | None = None) -> Potential:
    """Return a potential out of a folder, or of the lake by name (the champion, or else the newest, without a version).

    'mace:FILE' is a model that MACE trained; see `training.external`.
    Raises TrainingError for files that do not fit together, and where a name is given without a lake.
    """
    if str(name_or_path).startswith(f"{MACE}:"):
        from training.external import open_external

        return open_external(str(name_or_path))
    folder = Path(name_or_path)
    if (folder / "config.json").is_file():
        files = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        if "card.json" not in files:
            raise TrainingError(f"{folder} has no card.json; save a potential with Potential.save or atomlake potentials export")
        return from_files(from_json(PotentialCard, files["card.json"]), files, where=str(folder))
    if lake is None:
        raise TrainingError(
            f"{name_or_path!r} is no folder with a potential (config.json); give a folder, or a lake to look the name up in"
        )
    from lake.potentials import read_potential

    card, stored = read_potential(lake, str(name_or_path), version)
    return from_files(card, stored, where=f"potential {card.name} version {card.version}")


def from_files(card: PotentialCard, files: Mapping[str, bytes], *, where: str) -> Potential:
    """Return the potential of these files; where names them in errors. Raises TrainingError for damaged or missing ones."""
    if card.architecture == MACE:
        from training.external import external_from_files

        return external_from_files(card, files, where=where)
    for name in ("config.json", "weights.safetensors"):
        if name not in files:
            raise TrainingError(f"{where} has no {name}; its files are {', '.join(sorted(files)) or 'none'}")
        found, expected = hashlib.sha256(files[name]).hexdigest(), card.files.get(name)
        if expected not in (None, found):
            raise TrainingError(f"{where}: {name} has SHA-256 {found[:12]}, the card says {str(expected)[:12]}; the file is damaged")
    config = json.loads(files["config.json"])
    if config["format"] > FORMAT:
        raise TrainingError(f"{where} has format {config['format']}, this atomlake reads up to {FORMAT}; update atomlake")
    model = model_of_files(files, where=where)
    extra = {name: content for name, content in files.items() if name not in ("config.json", "weights.safetensors", "card.json")}
    return Potential(model, card, extra)


def files_of_model(model: EnergyModel) -> dict[str, bytes]:
    """Return configuration and weights as `model_of_files` reads them."""
    return {"weights.safetensors": save_weights(_weights(model)), "config.json": _config(model)}


def model_of_files(files: Mapping[str, bytes], *, where: str) -> EnergyModel:
    """Return the model of config.json and weights.safetensors; raises TrainingError where they do not fit together."""
    model = model_from_config(json.loads(files["config.json"]))
    try:
        model.load_state_dict(load_weights(files["weights.safetensors"]))
    except (RuntimeError, SafetensorError) as error:
        raise TrainingError(f"{where}: the weights do not fit the configuration: {error}") from error
    return model


def model_from_config(config: Mapping[str, object]) -> EnergyModel:
    """Return the model of a configuration, its weights not yet set."""
    elements: tuple[str, ...] = tuple(config["elements"])  # type: ignore[arg-type]
    cutoff, shape = float(config["cutoff"]), config["shape"]  # type: ignore[arg-type]
    if config["potential"] == Committee.name:
        members = [model_from_config({**config, **member}) for member in shape["members"]]  # type: ignore[index]
        return Committee(members)
    model = find_potential(str(config["potential"])).build(elements, cutoff, shape)  # type: ignore[arg-type]
    model.references = tuple(config["references"])  # type: ignore[arg-type]
    model.scale = float(config["scale"])  # type: ignore[arg-type]
    model.repulsive = bool(config.get("repulsion", False))
    theories: tuple[str, ...] = tuple(config.get("theories", ()))  # type: ignore[arg-type]
    if theories:
        rows = tuple(tuple(row) for row in config["theory_references"])  # type: ignore[attr-defined]
        model.tell_apart(theories, rows, head=bool(config["theory_head"]))
    return model.to(getattr(torch, str(config["dtype"])))


def _config(model: EnergyModel) -> bytes:
    record = {
        "format": FORMAT,
        "potential": model.name,
        "elements": model.elements,
        "cutoff": model.cutoff,
        "references": model.references,
        "scale": model.scale,
        "repulsion": model.repulsive,
        "dtype": str(model.dtype).removeprefix("torch."),
        "shape": model.config(),
        **model.told_apart(),
    }
    return json.dumps(record, indent=1).encode()


def _weights(model: EnergyModel) -> dict[str, torch.Tensor]:
    return {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
