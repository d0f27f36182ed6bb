"""`input.nn`, the settings file of a RuNNer or n2p2 potential, read strictly and written back.

Keywords: n2p2 documentation, "NNP configuration: keywords". Numbers are those of the file; no unit stands in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

from schemas.elements import NUMBERS
from schemas.errors import TrainingError, closest
from training.potentials.acsf.cutoffs import CUTOFF_TYPES
from training.potentials.acsf.functions import SymmetryFunction, element, in_order, number, parse_function
from training.potentials.acsf.network import ACTIVATIONS

_ONCE: Final = (
    "number_of_elements", "elements", "cutoff_type", "cutoff_alpha", "scale_symmetry_functions", "scale_symmetry_functions_sigma",
    "center_symmetry_functions", "scale_min_short", "scale_max_short", "global_hidden_layers_short", "global_nodes_short",
    "global_activation_short", "normalize_nodes", "mean_energy", "conv_energy", "conv_length", "nnp_type",
)  # fmt: skip
_MANY: Final = ("symfunction_short", "atom_energy")
_FOREIGN: Final[Mapping[str, str]] = {
    "electrostatic_type": "a network for charges",
    "use_electrostatics": "a network for charges",
    "element_nodes_short": "other networks by element",
    "element_hidden_layers_short": "other networks by element",
    "element_activation_short": "other activations by element",
    "global_symfunction_short": "functions of all elements at once",
    "element_symfunction_short": "functions of many neighbours at once",
    "use_vdw": "a dispersion correction",
}
"""Keywords that change the energy in ways that are not read, and what they ask for."""

_TRAINING: Final = (
    "epochs", "updater_type", "parallel_mode", "jacobian_mode", "update_strategy", "selection_mode", "task_batch_size_energy",
    "task_batch_size_force", "random_seed", "random_number_type", "test_fraction", "force_weight", "short_energy_fraction",
    "short_force_fraction", "short_energy_error_threshold", "short_force_error_threshold", "rmse_threshold_trials", "weights_min",
    "weights_max", "write_trainpoints", "write_trainforces", "write_weights_epoch", "write_neuronstats", "write_trainlog",
    "kalman_type", "kalman_epsilon", "kalman_q0", "kalman_qtau", "kalman_qmin", "kalman_eta", "kalman_etatau", "kalman_etamax",
    "kalman_lambda_short", "kalman_nue_short", "use_short_forces", "use_short_nn", "memorize_symfunc_results", "repeated_energy_update",
    "precondition_weights", "nguyen_widrow_weights_short", "normalize_data_set", "force_energy_ratio", "main_error_metric", "nn_type_short",
    "runner_mode", "remove_atom_energies", "points_in_memory", "mix_all_points", "fitting_unit", "energy_threshold", "nnp_gen",
)  # fmt: skip
"""Keywords of training and of programs, which do not change what a finished potential says."""

_SCALINGS: Final = {
    (False, False, False): "none",
    (True, False, False): "scale",
    (False, True, False): "center",
    (True, True, False): "scale+center",
    (False, False, True): "sigma",
}
_SCALING_KEYWORDS: Final = ("scale_symmetry_functions", "center_symmetry_functions", "scale_symmetry_functions_sigma")


@dataclass(frozen=True)
class RunnerSettings:
    """What `input.nn` says of a potential."""

    elements: tuple[str, ...]
    """In order of atomic number."""
    functions: tuple[SymmetryFunction, ...]
    """In the order in which scaling.data and weights count them."""
    nodes: tuple[int, ...]
    """Of the hidden layers."""
    activations: str
    """A letter a layer, the output included."""
    cutoff_type: int = 1
    cutoff_alpha: float = 0.0
    scaling: str = "none"
    """One of `training.potentials.acsf.scaling.SCALINGS`."""
    scale_min: float = 0.0
    scale_max: float = 1.0
    normalize_nodes: bool = False
    atom_energies: Mapping[str, float] | None = None
    """Added for each atom of an element."""
    mean_energy: float = 0.0
    """Added for each atom."""
    conv_energy: float = 1.0
    """The network gives energies times this."""
    conv_length: float = 1.0
    """Used in training alone: descriptors have no unit."""
    unread: tuple[str, ...] = ()
    """Keywords that were seen but are not known."""

    def of(self, symbol: str) -> tuple[SymmetryFunction, ...]:
        """Return the functions of an element."""
        return tuple(function for function in self.functions if function.centre == symbol)


@dataclass(frozen=True)
class Line:
    """The words of one line that says something, and where it stands."""

    where: str
    words: tuple[str, ...]

    def value(self, what: str) -> str:
        """Return the one value of a keyword."""
        if len(self.words) != 2:
            raise TrainingError(f"{self.where}: {self.words[0]} has {len(self.words) - 1} values, expected one, {what}")
        return self.words[1]

    def number(self) -> float:
        """Return the one number of a keyword."""
        return number(self.value("a number"), f"{self.where}: {self.words[0]}")

    def integer(self) -> int:
        """Return the one whole number of a keyword."""
        return integer(self.value("a whole number"), f"{self.where}: {self.words[0]}")


def parse_settings(text: str, where: str) -> RunnerSettings:
    """Return what an input.nn says; keywords of training are passed over, those that would change the energy unread are errors."""
    once: dict[str, Line] = {}
    functions: list[SymmetryFunction] = []
    atoms: dict[str, float] = {}
    unread: list[str] = []
    for line in lines_of(text, where):
        keyword = line.words[0]
        if keyword == "symfunction_short":
            functions.append(parse_function(line.words[1:], line.where))
        elif keyword == "atom_energy":
            _add_atom_energy(line, atoms)
        elif keyword in _ONCE:
            if keyword in once:
                raise TrainingError(f"{line.where}: {keyword} stands a second time, first in {once[keyword].where}; keep one of them")
            once[keyword] = line
        else:
            _check_unread(line)
            if keyword not in _TRAINING:
                unread.append(keyword)
    elements = _elements(once, where)
    _check_elements(elements, functions, atoms, where)
    nodes, activations = _network(once, where)
    cutoff_type, alpha = _cutoff(once, where)
    numbers = {name: once[name].number() for name in ("mean_energy", "conv_energy", "conv_length") if name in once}
    limits = {name: once[f"{name}_short"].number() for name in ("scale_min", "scale_max") if f"{name}_short" in once}
    return RunnerSettings(
        elements,
        in_order(functions),
        nodes,
        activations,
        cutoff_type=cutoff_type,
        cutoff_alpha=alpha,
        scaling=_scaling_kind(once, where),
        normalize_nodes="normalize_nodes" in once,
        atom_energies=atoms,
        unread=tuple(dict.fromkeys(unread)),
        **limits,
        **numbers,
    )


def settings_text(settings: RunnerSettings) -> str:
    """Return an input.nn that gives the same settings back."""
    lines = [("number_of_elements", len(settings.elements)), ("elements", " ".join(settings.elements))]
    lines += [("atom_energy", f"{symbol} {float(energy)!r}") for symbol, energy in (settings.atom_energies or {}).items()]
    if (settings.mean_energy, settings.conv_energy, settings.conv_length) != (0.0, 1.0, 1.0):
        lines += [(name, repr(float(getattr(settings, name)))) for name in ("mean_energy", "conv_energy", "conv_length")]
    lines.append(("cutoff_type", f"{settings.cutoff_type} {float(settings.cutoff_alpha)!r}"))
    flags = next(flags for flags, kind in _SCALINGS.items() if kind == settings.scaling)
    lines += [(name, "") for name, flag in zip(_SCALING_KEYWORDS, flags, strict=True) if flag]
    lines += [("scale_min_short", repr(float(settings.scale_min))), ("scale_max_short", repr(float(settings.scale_max)))]
    lines += [("global_hidden_layers_short", len(settings.nodes)), ("global_nodes_short", " ".join(map(str, settings.nodes)))]
    lines += [("global_activation_short", " ".join(settings.activations))]
    lines += [("normalize_nodes", "")] if settings.normalize_nodes else []
    lines += [("symfunction_short", function.line()) for function in settings.functions]
    return "".join(f"{keyword:<32}{value}".rstrip() + "\n" for keyword, value in lines)


def lines_of(text: str, where: str) -> Iterator[Line]:
    """Return the lines that hold more than comments (#); where names the text in errors."""
    for place, line in enumerate(text.splitlines(), start=1):
        words = line.split("#", 1)[0].split()
        if words:
            yield Line(f"{where}:{place}", tuple(words))


def integer(word: str, where: str) -> int:
    """Return the whole number that word is; raises TrainingError, naming where, for anything else."""
    if not word.lstrip("+-").isdecimal():
        raise TrainingError(f"{where} is {word!r}, expected a whole number")
    return int(word)


def _check_unread(line: Line) -> None:
    keyword = line.words[0]
    if keyword in _FOREIGN:
        raise TrainingError(f"{line.where}: {keyword} asks for {_FOREIGN[keyword]}, which is not supported; the energies would be others")
    if keyword not in _TRAINING and get_close_matches(keyword, (*_ONCE, *_MANY), n=1, cutoff=0.85):
        raise TrainingError(f"{line.where}: there is no keyword {keyword!r}{closest(keyword, (*_ONCE, *_MANY))}")


def _add_atom_energy(line: Line, atoms: dict[str, float]) -> None:
    if len(line.words) != 3:
        raise TrainingError(f"{line.where}: atom_energy has {len(line.words) - 1} values, expected an element and an energy")
    symbol = element(line.words[1], line.where)
    if symbol in atoms:
        raise TrainingError(f"{line.where}: atom_energy of {symbol} stands a second time")
    atoms[symbol] = number(line.words[2], f"{line.where}: atom_energy")


def _needed(once: Mapping[str, Line], keyword: str, where: str) -> Line:
    if keyword not in once:
        raise TrainingError(f"{where} has no {keyword}, which every potential needs")
    return once[keyword]


def _elements(once: Mapping[str, Line], where: str) -> tuple[str, ...]:
    line = _needed(once, "elements", where)
    elements = tuple(element(word, line.where) for word in line.words[1:])
    count = _needed(once, "number_of_elements", where).integer()
    if len(set(elements)) != len(elements) or len(elements) != count:
        raise TrainingError(
            f"{line.where}: elements are {' '.join(elements)}, number_of_elements is {count}; they must be as many, each once"
        )
    if "nnp_type" in once and once["nnp_type"].value("2G-HDNNP") not in ("2G-HDNNP", "2"):
        raise TrainingError(f"{once['nnp_type'].where}: nnp_type is {once['nnp_type'].words[1]}; only 2G-HDNNP is supported")
    return tuple(sorted(elements, key=lambda symbol: NUMBERS[symbol]))


def _check_elements(elements: Sequence[str], functions: Sequence[SymmetryFunction], atoms: Mapping[str, float], where: str) -> None:
    for function in functions:
        strange = sorted({function.centre, *function.neighbours} - set(elements))
        if strange:
            raise TrainingError(f"{where}: symfunction_short {function.line()} names {strange[0]}; elements are {' '.join(elements)}")
    if set(atoms) - set(elements):
        raise TrainingError(f"{where}: atom_energy names {sorted(set(atoms) - set(elements))[0]}; elements are {' '.join(elements)}")
    for symbol in elements:
        if not any(function.centre == symbol for function in functions):
            raise TrainingError(f"{where}: {symbol} has no symfunction_short; its network would have no input")


def _network(once: Mapping[str, Line], where: str) -> tuple[tuple[int, ...], str]:
    layers = _needed(once, "global_hidden_layers_short", where).integer()
    line = _needed(once, "global_nodes_short", where)
    nodes = tuple(integer(word, f"{line.where}: global_nodes_short") for word in line.words[1:])
    if len(nodes) != layers or min(nodes, default=1) < 1:
        raise TrainingError(
            f"{line.where}: global_nodes_short {' '.join(line.words[1:])}, expected {layers} positive numbers, one a hidden layer"
        )
    line = _needed(once, "global_activation_short", where)
    letters = "".join(line.words[1:])
    if len(letters) != layers + 1 or not set(letters) <= set(ACTIVATIONS):
        raise TrainingError(
            f"{line.where}: global_activation_short {letters!r}, expected {layers + 1} letters out of {''.join(ACTIVATIONS)}"
        )
    return nodes, letters


def _cutoff(once: Mapping[str, Line], where: str) -> tuple[int, float]:
    line = _needed(once, "cutoff_type", where)
    if len(line.words) not in (2, 3):
        raise TrainingError(f"{line.where}: cutoff_type has {len(line.words) - 1} values, expected a number and perhaps alpha")
    kind = integer(line.words[1], f"{line.where}: cutoff_type")
    if kind not in CUTOFF_TYPES:
        raise TrainingError(f"{line.where}: there is no cutoff_type {kind}; known are {', '.join(map(str, CUTOFF_TYPES))}")
    alpha = number(line.words[2], f"{line.where}: alpha") if len(line.words) == 3 else 0.0
    if "cutoff_alpha" in once and len(line.words) == 2:
        alpha = once["cutoff_alpha"].number()
    if not 0 <= alpha < 1:
        raise TrainingError(f"{line.where}: alpha is {alpha}, expected 0 up to below 1")
    return kind, alpha


def _scaling_kind(once: Mapping[str, Line], where: str) -> str:
    flags = tuple(keyword in once for keyword in _SCALING_KEYWORDS)
    if flags not in _SCALINGS:
        raise TrainingError(f"{where}: scale_symmetry_functions_sigma stands with another scaling keyword; it must stand alone")
    return _SCALINGS[flags]
