"""The card of a trained potential."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

MACE: Final = "mace"
"""Architecture of potentials that MACE trained, and what stands before the colon where a model of it is named."""


@dataclass(frozen=True)
class ErrorSummary:
    """Errors over one set of frames: mean absolute and root mean square; NaN (null in JSON) where there are no labels."""

    n_frames: int
    n_atoms: int
    energy_mae: float
    """eV/atom"""
    energy_rmse: float
    """eV/atom"""
    force_mae: float
    """eV/Å, over components"""
    force_rmse: float
    """eV/Å, over components"""
    stress_mae: float
    """eV/Å³, over components"""


@dataclass(frozen=True)
class Metrics:
    """How a potential does on a split, beside the trivial predictor (mean energy per composition, zero forces)."""

    split: str
    overall: ErrorSummary
    trivial: ErrorSummary
    by_system: Mapping[str, ErrorSummary]
    trivial_by_system: Mapping[str, ErrorSummary]
    by_theory: Mapping[str, ErrorSummary] = field(default_factory=dict)
    """By level of theory, where the potential tells several apart."""


@dataclass(frozen=True)
class GateCheck:
    """One thing that a potential must show to become champion."""

    name: str
    passed: bool
    detail: str
    """What was found, and what is let pass."""


@dataclass(frozen=True)
class Decision:
    """What the gate between candidate and champion found; a version that passes all checks is promoted."""

    against: str
    """The champion that it was compared with; empty where there was none."""
    checks: tuple[GateCheck, ...]
    decided_at: str
    """ISO 8601, UTC."""


@dataclass(frozen=True)
class PotentialCard:
    """What a potential is, what it was trained on, how well it does and what made it."""

    name: str
    version: int
    """1, 2, ... under one name."""
    architecture: str
    """A name out of `training.potentials.POTENTIALS`."""
    state: str
    """'candidate', 'champion' or 'retired'."""
    elements: tuple[str, ...]
    cutoff: float
    """Å"""
    dataset: str
    dataset_hash: str
    table_versions: Mapping[str, int]
    theories: tuple[str, ...]
    settings: Mapping[str, object]
    """The training settings, as given and as resolved."""
    metrics: Mapping[str, Metrics]
    """By split: 'train', 'validation', 'test'."""
    references: Mapping[str, float]
    """Energy of each element that is taken off before training, eV."""
    notes: tuple[str, ...]
    """What a user should know ('references of rank 2 for 3 elements: minimum norm')."""
    software: Mapping[str, str]
    """Versions of what made it."""
    created_at: str
    training_seconds: float
    n_parameters: int
    format: int = 1
    parent: str = ""
    """'NAME@VERSION' of the potential whose weights training began with; empty where it began anew."""
    steps: tuple[int, ...] = ()
    """Optimiser steps that were done, of each member of a committee, or the one; empty for versions from before it was kept."""
    epochs: tuple[int, ...] = ()
    """Passes over the training frames, likewise."""
    default_theory: str = ""
    """Level of theory that it has where none is named; empty where it knows but one."""
    theory_references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Energies of elements by level of theory, with what was learned of them, eV; none where it knows but one."""
    decision: Decision | None = None
    """Of the gate; None before that, and for versions from before there was one. Stands in the table, not in card.json."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 of each stored file by its name."""
