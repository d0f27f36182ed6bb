"""Every choice of a training run: one strict record, read from TOML or JSON and written back without loss."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final, get_type_hints

from schemas.errors import SettingsError, closest

COMPILE: Final = ("auto", "on", "off")
MATMUL: Final = ("highest", "high", "bf16")
ACCELERATORS: Final = ("cpu", "gpu", "auto")
DESCRIPTORS: Final = ("moments", "acsf")
REFERENCES: Final = ("fitted", "atoms")
LOGGERS: Final = ("csv", "tensorboard", "mlflow")
CLOCKS: Final = ("wall", "cpu")

SHAPE: Final = (
    "potential", "descriptor", "cutoff", "radial_functions", "channels", "species_channels", "l_max", "four_body", "four_body_l",
    "symmetry_functions", "hidden", "layers", "repulsion", "dtype",
)  # fmt: skip
"""Settings that the weights of a potential belong to."""

START_RATE: Final = 1.0
"""Learning rate of a training that begins with trained weights, relative to that which trained them: 0.2 gave forces that were 1.3 to 1.5
times worse on (Mg,Ca)O, whatever the number of new frames (docs/mgcao.md)."""

OPTIMISERS: Final = ("adamw", "soap")
"""What `training.optimisers` makes."""


@dataclass(frozen=True)
class TrainSettings:
    """How a potential is built and trained."""

    potential: str = "hdnnp"
    """Architecture, a name out of `training.potentials.POTENTIALS`."""
    descriptor: str = "moments"
    """What hdnnp sees of an atom's surroundings: moments of the density, or acsf, classical symmetry functions."""
    cutoff: float = 5.0
    """Distance beyond which atoms do not see each other, Å."""
    radial_functions: int = 8
    """Radial basis functions of each neighbour."""
    channels: int = 8
    """Learned radial functions that density moments are made with."""
    species_channels: int = 4
    """Most numbers by which a neighbour's element enters; the cost does not grow with more elements than this."""
    l_max: int = 3
    """Highest angular momentum of the density moments."""
    four_body: bool = False
    """Add contractions of three moments (4-body terms)."""
    four_body_l: int = 2
    """Highest angular momentum of the moments in contractions of three, up to l_max."""
    symmetry_functions: tuple[str, ...] = ()
    """Symmetry functions of the potential acsf, in Å: each what stands behind symfunction_short in input.nn; none generates a set."""
    hidden: tuple[int, ...] = (32, 32)
    """Widths of the hidden layers."""
    layers: int = 2
    """Layers of message passing of the potential nequip, of tensor products of allegro."""
    repulsion: bool = False
    """Add the repulsion of nuclei (Ziegler, Biersack, Littmark) at distances well below a bond; the sum is fitted."""
    start_from: str = ""
    """Earlier potential of the lake, NAME or NAME@VERSION, whose weights training begins with; empty begins anew."""
    references: str = "fitted"
    """Energies of elements that are taken off: fitted to the training frames, or atoms: those of isolated atoms among the frames."""
    default_theory: str = ""
    """Level of theory, of several in the dataset, that the potential has where none is named; empty for the one with most frames."""
    theory_head: bool = False
    """Learn for each level of theory but the default one a factor of atomic energies by element, beside its zeros."""
    epochs: int = 200
    """Passes over the training frames."""
    batch_atoms: int = 64
    """Atoms of one optimiser step, over all processes; whole frames, so a step may hold one frame more or less."""
    optimiser: str = "adamw"
    """Rule of the steps: adamw, or soap (Adam in the eigenbasis of Shampoo's preconditioner)."""
    learning_rate: float = 5e-3
    """Largest learning rate; it rises in warmup_steps and falls as a cosine to a hundredth."""
    warmup_steps: int = 50
    """Steps in which the learning rate rises from zero."""
    weight_decay: float = 1e-2
    """Decoupled weight decay of the hidden layers."""
    energy_weight: float = 30.0
    """Weight of the mean square energy error per atom, 1/eV²."""
    energy_weight_end: float = 0.0
    """Weight that energy_weight moves to until the end, by equal factors in equal times; 0 to keep it."""
    force_weight: float = 1.0
    """Weight of the mean square force error, Å²/eV²."""
    stress_weight: float = 1.0
    """Weight of the mean square error of the virial per atom, 1/eV²."""
    theory_weights: tuple[str, ...] = ()
    """Weights of levels of theory, each LEVEL=WEIGHT (PBE=1, LDA=0.1), LEVEL being a key or its beginning up to a '/'."""
    frame_weights: tuple[str, ...] = ()
    """Factors of frames' weights, each [energy|forces|stress:] VALUE [where CONDITION | in dataset NAME], in SQL of their columns."""
    weights_file: str = ""
    """CSV or Parquet file with frame_id and weight (or energy_weight, forces_weight, stress_weight) of single frames; empty for none."""
    energy_huber: float = 0.0
    """Error of the energy per atom (eV) beyond which the loss grows linearly, not as the square; 0 for squares everywhere."""
    force_huber: float = 0.0
    """Error of a force component (eV/Å) beyond which the loss grows linearly; 0 for squares everywhere."""
    gradient_clip: float = 10.0
    """Largest norm of the gradient; 0 for none."""
    ema: float = 0.99
    """Decay of the moving average of the weights that is validated and kept; 0 for none."""
    patience: int = 0
    """Validations without a better loss after which training stops and takes the best weights; 0 to go to the end and take the last."""
    validate_every: int = 5
    """Epochs between two validations."""
    max_seconds: float = 0.0
    """Time after which training stops, the learning rate having fallen by then; 0 for none. `atomlake reproduce` follows its pace."""
    clock: str = "wall"
    """The time that max_seconds counts: wall, or cpu (processor time of each process) for a machine that is shared."""
    seed: int = 0
    """Seed of the first weights and of the order of frames."""
    committee: int = 1
    """Potentials that are trained one after the other from other first weights, and predict their mean; max_seconds is for all."""
    dtype: str = "float32"
    """Precision of the network: float32 or float64."""
    compile: str = "auto"
    """Compiled energies and forces: auto where the machine can and it pays, on or else an error, off for plain torch operations."""
    matmul: str = "highest"
    """Precision of products of matrices on a GPU: highest, high (TF32) or bf16; forces are checked, or else it stays highest."""
    accelerator: str = "cpu"
    """What trains: cpu, gpu, or auto for a GPU where there is one."""
    devices: int = 1
    """Processes (or GPUs) on each node."""
    nodes: int = 1
    """Nodes; their processes are started by the cluster's launcher."""
    strategy: str = "auto"
    """Lightning strategy: auto takes DDP where there is more than one process."""
    threads: int = 1
    """Threads of each process; 0 leaves torch's choice."""
    loggers: tuple[str, ...] = ("csv", "tensorboard")
    """Where curves are logged: csv, tensorboard, mlflow (an extra of its own)."""
    mlflow_uri: str = ""
    """Address of the MLflow server; none logs into the run's folder."""
    cache_mb: int = 1024
    """Memory in which a process keeps neighbour lists, MB; those without room are made again each epoch."""
    device_share: float = 0.4
    """Share of a GPU's free memory in which frames may lie; those that do not fit are brought batch by batch."""
    copy_gb: float = 64.0
    """Largest local copy of a dataset, GB; the processes of a node share it."""
    checkpoint_steps: int = 0
    """Steps between two checkpoints; 0 for none by steps."""
    checkpoint_seconds: float = 20.0
    """Time between two checkpoints; 0 for none by time."""

    def __post_init__(self) -> None:
        for name in (
            "epochs",
            "batch_atoms",
            "radial_functions",
            "channels",
            "species_channels",
            "layers",
            "devices",
            "nodes",
            "validate_every",
            "committee",
        ):
            _require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        _require(self.cache_mb >= 0, "cache_mb", self.cache_mb, "0 or more")
        _require(
            self.energy_weight_end == 0 or min(self.energy_weight_end, self.energy_weight) > 0,
            "energy_weight_end",
            self.energy_weight_end,
            "0, or above zero like energy_weight",
        )
        _require(self.cutoff > 0, "cutoff", self.cutoff, "a positive number of Å")
        _require(0 <= self.l_max <= 6, "l_max", self.l_max, "0 to 6")
        _require(0 <= self.ema < 1, "ema", self.ema, "0 up to below 1")
        _require(self.dtype in ("float32", "float64"), "dtype", self.dtype, "float32 or float64")
        if self.optimiser not in OPTIMISERS:
            near = closest(self.optimiser, OPTIMISERS)
            raise SettingsError(f"training setting optimiser is {self.optimiser!r}{near}, expected {' or '.join(OPTIMISERS)}")
        _require(self.clock in CLOCKS, "clock", self.clock, " or ".join(CLOCKS))
        _require(self.compile in COMPILE, "compile", self.compile, " or ".join(COMPILE))
        _require(self.matmul in MATMUL, "matmul", self.matmul, " or ".join(MATMUL))
        _require(self.matmul == "highest" or self.dtype == "float32", "matmul", self.matmul, "highest where dtype is float64")
        _require(self.accelerator in ACCELERATORS, "accelerator", self.accelerator, " or ".join(ACCELERATORS))
        _require(0 <= self.device_share <= 0.6, "device_share", self.device_share, "0 to 0.6")
        _require(1 <= self.four_body_l <= 4, "four_body_l", self.four_body_l, "1 to 4")
        _require(all(width >= 1 for width in self.hidden), "hidden", self.hidden, "positive widths")
        _require(self.references in REFERENCES, "references", self.references, " or ".join(REFERENCES))
        _require(self.descriptor in DESCRIPTORS, "descriptor", self.descriptor, " or ".join(DESCRIPTORS))
        _require(set(self.loggers) <= set(LOGGERS), "loggers", self.loggers, f"names out of {', '.join(LOGGERS)}")
        if self.symmetry_functions:
            _require(self.architecture == "acsf", "potential", self.potential, "acsf where symmetry_functions are given")

    @property
    def architecture(self) -> str:
        """Name out of POTENTIALS: hdnnp with the descriptor acsf is the architecture acsf."""
        return "acsf" if self.potential == "hdnnp" and self.descriptor == "acsf" else self.potential

    def to_mapping(self) -> dict[str, object]:
        """Return all fields as values of JSON and TOML."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()}


def settings_from(values: Mapping[str, object], *, where: str = "training settings", base: TrainSettings | None = None) -> TrainSettings:
    """Return base (the defaults) with values put in; where names their origin in errors.

    Raises SettingsError for an unknown name, with the closest known one, and for a value of another type.
    """
    hints = get_type_hints(TrainSettings)
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in hints:
            raise SettingsError(f"{where}: there is no setting {name!r}{closest(name, hints)}")
        changes[name] = _as_type(value, hints[name], f"{where}: {name}")
    return dataclasses.replace(base or TrainSettings(), **changes)


def settings_of_start(values: Mapping[str, object], parent: Mapping[str, object]) -> TrainSettings:
    """Return the settings of a training that begins with the weights of an earlier potential, parent being the settings of that.

    What the weights belong to (SHAPE) is the parent's, and the learning rate START_RATE times its own, where values do not give them.
    """
    before = settings_from(parent, where="training settings of the potential to start from")
    kept: dict[str, Any] = {name: getattr(before, name) for name in SHAPE}
    rate = START_RATE * before.learning_rate
    return settings_from(values, base=dataclasses.replace(TrainSettings(), **kept, learning_rate=rate))


def settings_from_toml(text: str, *, where: str = "training settings") -> TrainSettings:
    """Return the settings that a TOML text gives; fields that it does not name keep their defaults."""
    try:
        return settings_from(tomllib.loads(text), where=where)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{where}: the text is not TOML: {error}") from error


def settings_to_toml(settings: TrainSettings) -> str:
    """Return the settings that differ from the defaults as TOML, each with its sentence; `settings_from_toml` reads them back."""
    documents, defaults, lines = _documents(), TrainSettings(), []
    for name, value in settings.to_mapping().items():
        if getattr(settings, name) != getattr(defaults, name):
            lines += [f"# {documents[name]}", f"{name} = {json.dumps(value, ensure_ascii=False)}"]
    return "\n".join(lines) + "\n"


def _documents() -> dict[str, str]:
    """Return the sentence under each field."""
    (body,) = (node.body for node in ast.parse(inspect.getsource(TrainSettings)).body if isinstance(node, ast.ClassDef))
    found = {}
    for field, text in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            found[field.target.id] = str(ast.literal_eval(text.value))
    return found


_EXPECTED = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a finite number"),
    (str, "text"),
    (tuple[int, ...], "a list of whole numbers"),
    (tuple[str, ...], "a list of texts"),
)

_LISTS = {tuple[int, ...]: int, tuple[str, ...]: str}


def _as_type(value: object, kind: object, where: str) -> object:
    """Return value as the declared type; a whole number passes as a float, and the text of a truth value as that."""
    if kind is bool and (isinstance(value, bool) or str(value) in ("True", "False")):
        return str(value) == "True"
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if kind is str and isinstance(value, str):
        return value
    if kind in _LISTS and isinstance(value, list | tuple) and all(type(item) is _LISTS[kind] for item in value):
        return tuple(value)
    expected = next(words for known, words in _EXPECTED if kind == known)
    raise SettingsError(f"{where} is {value!r}, expected {expected}")


def _require(holds: bool, name: str, value: object, expected: str) -> None:
    if not holds:
        raise SettingsError(f"training setting {name} is {value!r}, expected {expected}")
