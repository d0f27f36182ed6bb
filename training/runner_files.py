"""The files of a RuNNer or n2p2 potential: `input.nn`, `scaling.data` and `weights.ZZZ.data`, read strictly and written back.

Columns: the headers that n2p2's tools write into the files. Numbers are those of the files; no unit stands in them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from schemas.elements import NUMBERS
from schemas.errors import TrainingError
from schemas.frames import Floats
from training.potentials.acsf.functions import number
from training.runner_settings import RunnerSettings, integer, lines_of, parse_settings, settings_text

Layers = tuple[tuple[Floats, Floats], ...]
"""Weights (inputs, nodes) and biases (nodes,) of each layer."""


@dataclass(frozen=True, eq=False)
class RunnerFiles:
    """A whole potential; scaling holds (functions, 4) minimum, maximum, mean and standard deviation of each element."""

    settings: RunnerSettings
    scaling: Mapping[str, Floats]
    weights: Mapping[str, Layers]


def read_runner_files(folder: Path) -> RunnerFiles:
    """Return the potential of a folder; raises TrainingError, naming file and line, for anything that is missing or does not fit."""
    folder = Path(folder)
    settings = parse_settings(_text(folder / "input.nn"), str(folder / "input.nn"))
    scaling_file = folder / "scaling.data"
    if settings.scaling == "none" and not scaling_file.is_file():
        scaling = {symbol: np.tile([0.0, 1.0, 0.0, 1.0], (len(settings.of(symbol)), 1)) for symbol in settings.elements}
    else:
        scaling = parse_scaling(_text(scaling_file), settings, str(scaling_file))
    weights = {}
    for symbol in settings.elements:
        file = folder / weights_name(symbol)
        weights[symbol] = parse_weights(_text(file), (len(settings.of(symbol)), *settings.nodes, 1), str(file))
    return RunnerFiles(settings, scaling, weights)


def write_runner_files(files: RunnerFiles, folder: Path) -> None:
    """Write the potential into a folder, every number with all its digits."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "input.nn").write_text(settings_text(files.settings))
    (folder / "scaling.data").write_text(scaling_text(files))
    for symbol in files.settings.elements:
        (folder / weights_name(symbol)).write_text(weights_text(files.weights[symbol]))


def weights_name(symbol: str) -> str:
    """Return the name of an element's file of weights: 'weights.008.data'."""
    return f"weights.{NUMBERS[symbol]:03d}.data"


def parse_scaling(text: str, settings: RunnerSettings, where: str) -> dict[str, Floats]:
    """Return (functions, 4) for each element; RuNNer's files without the standard deviation give NaN there."""
    found = {symbol: np.full((len(settings.of(symbol)), 4), np.nan) for symbol in settings.elements}
    filled = {symbol: np.zeros(len(values), dtype=bool) for symbol, values in found.items()}
    for line in lines_of(text, where):
        if len(line.words) == 2:
            continue  # RuNNer ends the file with the range of energies: "-0.512 -0.498"
        if len(line.words) not in (5, 6):
            raise TrainingError(f"{line.where}: {len(line.words)} columns, expected 6: element, function, min, max, mean, sigma")
        place, column = (integer(word, f"{line.where}: index") for word in line.words[:2])
        if not 1 <= place <= len(settings.elements):
            raise TrainingError(f"{line.where}: element {place}, but input.nn has {len(settings.elements)} ({' '.join(settings.elements)})")
        symbol = settings.elements[place - 1]
        if not 1 <= column <= len(found[symbol]):
            raise TrainingError(f"{line.where}: function {column} of {symbol}, but input.nn has {len(found[symbol])} for it")
        if filled[symbol][column - 1]:
            raise TrainingError(f"{line.where}: function {column} of {symbol} stands a second time")
        filled[symbol][column - 1] = True
        values = [number(word, line.where) for word in line.words[2:]]
        found[symbol][column - 1, : len(values)] = values
    for symbol, seen in filled.items():
        if not seen.all():
            missing = int(np.flatnonzero(~seen)[0]) + 1
            raise TrainingError(f"{where}: {int((~seen).sum())} functions of {symbol} are missing, first {missing}; was the file cut off?")
        if settings.scaling == "sigma" and np.isnan(found[symbol]).any():
            raise TrainingError(f"{where}: no standard deviations (6th column), but input.nn asks for scale_symmetry_functions_sigma")
    return found


def parse_weights(text: str, widths: Sequence[int], where: str) -> Layers:
    """Return weights and biases of each layer; widths are the nodes of all layers, input and output included.

    Numbers come layer by layer, weights by start node then end node, then biases; where the columns that name them are there they must
    agree.
    """
    lines = list(lines_of(text, where))
    expected = sum((n + 1) * m for n, m in pairwise(widths))
    if len(lines) != expected:
        raise TrainingError(f"{where}: {len(lines)} numbers, expected {expected} for layers of {', '.join(map(str, widths))} nodes")
    values = np.array([number(line.words[0], f"{line.where}: connection") for line in lines])
    for line, place in zip(lines, _places(widths), strict=True):
        named = (line.words[1], *line.words[3:]) if len(line.words) > 1 else place
        if named != place:
            raise TrainingError(f"{line.where}: the connection is {' '.join(named)}, expected {' '.join(place)} here")
    layers, start = [], 0
    for n, m in pairwise(widths):
        layers.append((values[start : start + n * m].reshape(n, m), values[start + n * m : start + (n + 1) * m]))
        start += (n + 1) * m
    return tuple(layers)


def scaling_text(files: RunnerFiles) -> str:
    """Return the scaling.data."""
    rows = ["# element, function, minimum, maximum, mean, standard deviation"]
    for place, symbol in enumerate(files.settings.elements, start=1):
        for column, values in enumerate(files.scaling[symbol], start=1):
            rows.append(f"{place:10d} {column:10d} " + " ".join(f"{value:24.16E}" for value in values if np.isfinite(value)))
    return "\n".join(rows) + "\n"


def weights_text(layers: Layers) -> str:
    """Return the weights.ZZZ.data of one element."""
    widths = (layers[0][0].shape[0], *(len(biases) for _, biases in layers))
    values = np.concatenate([np.concatenate([weights.ravel(), biases]) for weights, biases in layers])
    rows = ["# connection, a weight or b bias, index, from layer and node (of a bias its own), to layer and node"]
    for index, (value, (kind, *ends)) in enumerate(zip(values, _places(widths), strict=True), start=1):
        rows.append(f"{value:24.16E} {kind} {index:9d} " + " ".join(f"{end:>5}" for end in ends))
    return "\n".join(rows) + "\n"


def _places(widths: Sequence[int]) -> Iterator[tuple[str, ...]]:
    for layer, (n, m) in enumerate(pairwise(widths)):
        for start in range(1, n + 1):
            for end in range(1, m + 1):
                yield ("a", str(layer), str(start), str(layer + 1), str(end))
        for end in range(1, m + 1):
            yield ("b", str(layer + 1), str(end))


def _text(file: Path) -> str:
    if not file.is_file():
        raise TrainingError(f"{file} is missing; a potential has input.nn, scaling.data and weights.ZZZ.data for each element")
    return file.read_text(encoding="utf-8", errors="replace")
