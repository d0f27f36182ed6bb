"""Between the files of RuNNer or n2p2 and a potential of ours."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from schemas import units
from schemas.elements import NUMBERS
from schemas.errors import TrainingError
from schemas.potentials import PotentialCard
from training.card import software_versions
from training.potentials.acsf import Acsf, AcsfConfig
from training.runner_files import RunnerFiles, read_runner_files, write_runner_files
from training.runner_settings import RunnerSettings
from training.stored import Potential


@dataclass(frozen=True)
class RunnerUnits:
    """What a number in the files of a potential is worth: no unit is written in them."""

    energy: float
    """eV"""
    length: float
    """Å"""


ATOMIC_UNITS: Final = RunnerUnits(units.HARTREE, units.BOHR)
"""Hartree and Bohr, the habit of RuNNer."""

EV_ANGSTROM: Final = RunnerUnits(1.0, 1.0)


def read_runner(folder: Path, file_units: RunnerUnits = ATOMIC_UNITS, *, name: str = "") -> Potential:
    """Return the potential of a folder with input.nn, scaling.data and weights.ZZZ.data, in float64.

    name is that of the card, by default that of the folder. Raises TrainingError, naming file and line, for files that cannot be read.
    """
    folder = Path(folder)
    files = read_runner_files(folder)
    model = from_runner(files, file_units)
    worth = f"1 of energy was taken as {file_units.energy} eV, 1 of length as {file_units.length} Å"
    notes = [f"Read from files of RuNNer or n2p2 ({folder.name}); trained elsewhere, errors are not known; {worth}."]
    if files.settings.unread:
        notes.append(f"Keywords of input.nn that are not known: {', '.join(files.settings.unread)}.")
    card = PotentialCard(
        name=name or folder.name,
        version=1,
        architecture=model.name,
        state="candidate",
        elements=model.elements,
        cutoff=model.cutoff,
        dataset="",
        dataset_hash="",
        table_versions={},
        theories=(),
        settings={"potential": model.name, "cutoff": model.cutoff, "hidden": list(model.shape.hidden)},
        metrics={},
        references=dict(zip(model.elements, model.references, strict=True)),
        notes=tuple(notes),
        software=software_versions(),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        training_seconds=0.0,
        n_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )
    return Potential(model, card)


def write_runner(potential: Potential, folder: Path, file_units: RunnerUnits = ATOMIC_UNITS) -> None:
    """Write a potential on symmetry functions as files of RuNNer and n2p2; raises TrainingError for another architecture."""
    if not isinstance(potential.model, Acsf):
        raise TrainingError(
            f"potential {potential.card.name} is {potential.model.name}: only potentials on symmetry functions (acsf) have files of RuNNer"
        )
    write_runner_files(to_runner(potential.model, file_units), folder)


def from_runner(files: RunnerFiles, file_units: RunnerUnits) -> Acsf:
    """Return the model of these files, in float64; energies in eV, lengths in Å."""
    settings = files.settings
    shape = AcsfConfig(
        symmetry_functions=tuple(function.line() for function in settings.functions),
        length_unit=file_units.length,
        cutoff_type=settings.cutoff_type,
        cutoff_alpha=settings.cutoff_alpha,
        scaling=settings.scaling,
        scale_min=settings.scale_min,
        scale_max=settings.scale_max,
        hidden=settings.nodes,
        activations=settings.activations,
        normalize_nodes=settings.normalize_nodes,
    )
    reach = max(function.cutoff for function in settings.functions)
    model = Acsf(settings.elements, reach * file_units.length, shape).double()
    offsets = settings.atom_energies or {}
    model.references = tuple((settings.mean_energy + offsets.get(symbol, 0.0)) * file_units.energy for symbol in settings.elements)
    model.scale = file_units.energy / settings.conv_energy
    weights: dict[str, Tensor] = {}
    for place, symbol in enumerate(settings.elements):
        weights[f"scalings.{place}.statistics"] = torch.from_numpy(files.scaling[symbol])
        for layer, (matrix, biases) in enumerate(files.weights[symbol]):
            weights[f"networks.{place}.hidden.{layer}"] = torch.from_numpy(matrix)
            weights[f"networks.{place}.biases.{layer}"] = torch.from_numpy(biases)
    model.load_state_dict(weights)
    return model


def to_runner(model: Acsf, file_units: RunnerUnits) -> RunnerFiles:
    """Return the files of a model in these units.

    The energy scale goes into the last layer, which every reader of the format understands; into conv_energy, which n2p2 alone knows,
    where the output is not linear. References become atom_energy.
    """
    shape = model.shape
    scale = model.scale / file_units.energy
    linear = shape.letters[-1] == "l"
    state = {name: value.detach().cpu().double().numpy() for name, value in model.state_dict().items()}
    weights, scaling = {}, {}
    for place, symbol in enumerate(model.elements):
        layers = [
            (state[f"networks.{place}.hidden.{layer}"], state[f"networks.{place}.biases.{layer}"]) for layer in range(len(shape.hidden) + 1)
        ]
        if linear:
            layers[-1] = (layers[-1][0] * scale, layers[-1][1] * scale)
        weights[symbol] = tuple(layers)
        scaling[symbol] = np.asarray(state[f"scalings.{place}.statistics"])
    factor = shape.length_unit / file_units.length
    settings = RunnerSettings(
        tuple(sorted(model.elements, key=lambda symbol: NUMBERS[symbol])),
        tuple(function.in_unit(factor) for function in model.functions),
        shape.hidden,
        shape.letters,
        cutoff_type=shape.cutoff_type,
        cutoff_alpha=shape.cutoff_alpha,
        scaling=shape.scaling,
        scale_min=shape.scale_min,
        scale_max=shape.scale_max,
        normalize_nodes=shape.normalize_nodes,
        atom_energies={
            symbol: reference / file_units.energy for symbol, reference in zip(model.elements, model.references, strict=True) if reference
        },
        conv_energy=1.0 if linear else 1.0 / scale,
    )
    return RunnerFiles(settings, scaling, weights)
