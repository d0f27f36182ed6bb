"""The gate between candidate and champion: errors by system, and properties that break in known ways."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from made_up_alloys import alloys, labelled

import training
from schemas.potentials import ErrorSummary, Metrics
from schemas.settings import GateSettings
from training.batch import Batch
from training.gate import check_properties, compare_errors, structures_of
from training.job import FrameSplits
from training.potentials.base import Prediction
from training.settings import TrainSettings

ERRORS = ErrorSummary(10, 80, 0.010, 0.012, 0.050, 0.070, float("nan"))
LIMITS = GateSettings(steps=60)


def metrics(energy: float = 0.010, force: float = 0.050, frames: int = 10, **systems: tuple[float, float]) -> Metrics:
    def errors(energy: float, force: float) -> ErrorSummary:
        return dataclasses.replace(ERRORS, energy_mae=energy, force_mae=force, n_frames=frames)

    own = {name: errors(*pair) for name, pair in systems.items()}
    return Metrics("test", errors(energy, force), ERRORS, own, own)


@pytest.mark.parametrize(
    ("energy", "force", "wins"),
    [(0.010, 0.050, True), (0.0104, 0.049, True), (0.011, 0.049, False), (0.005, 0.051, False), (float("nan"), 0.04, False)],
)
def test_forces_must_be_no_worse_and_energies_hardly(energy: float, force: float, wins: bool) -> None:
    (check,) = compare_errors(metrics(energy, force), metrics(), "version 1", 0.05)
    assert check.passed is wins
    assert "of version 1, on the same 10 test frames" in check.detail


def test_without_forces_the_energies_decide() -> None:
    nan = float("nan")
    assert compare_errors(metrics(0.009, nan), metrics(0.010, nan), "version 1", 0.05)[0].passed
    assert not compare_errors(metrics(0.0101, nan), metrics(0.010, nan), "version 1", 0.05)[0].passed


def test_one_element_system_that_got_worse_is_told() -> None:
    new, old = metrics(0.005, 0.020, MgO=(0.004, 0.020), CaO=(0.010, 0.060)), metrics(MgO=(0.010, 0.050), CaO=(0.010, 0.050))
    checks = {check.name: check for check in compare_errors(new, old, "version 1", 0.1)}
    assert {name: check.passed for name, check in checks.items()} == {"errors": True, "errors of MgO": True, "errors of CaO": False}
    assert "10.0 meV/atom and 60.0 meV/Å against 10.0 and 50.0 of version 1" in checks["errors of CaO"].detail
    assert compare_errors(new, old, "version 1", 0.25)[2].passed


def test_without_test_frames_nothing_is_compared_and_that_is_said() -> None:
    (check,) = compare_errors(metrics(float("nan"), float("nan"), 0), metrics(frames=0), "version 1", 0.05)
    assert check.passed
    assert "no test frames" in check.detail


@pytest.fixture(scope="module")
def frames() -> FrameSplits:
    return FrameSplits(labelled(alloys(24, 1)), labelled(alloys(4, 2)), labelled(alloys(4, 3)), "alloys", ("EMT",))


@pytest.fixture(scope="module")
def potential(frames: FrameSplits, tmp_path_factory: pytest.TempPathFactory) -> training.Potential:
    settings = TrainSettings(
        cutoff=4.0, channels=3, l_max=2, radial_functions=5, hidden=(8,), epochs=30, batch_atoms=24, learning_rate=0.02
    )
    return training.train(frames, settings, name="alloy", work=tmp_path_factory.mktemp("work"), progress=lambda progress: None)


def test_a_sound_potential_passes(potential: training.Potential, frames: FrameSplits) -> None:
    structures = structures_of(frames.test)
    assert len({atoms.get_chemical_formula() for atoms in structures}) == len(structures)
    checks = check_properties(potential, structures, LIMITS)
    assert [check.detail for check in checks if not check.passed] == []
    assert [check.name for check in checks] == ["derivatives"] * len(structures) + ["energy conservation", "pair scan"]
    assert "meV/atom" in checks[-2].detail
    assert not check_properties(potential, structures, dataclasses.replace(LIMITS, max_energy_change=1e-9))[-2].passed
    assert not check_properties(potential, [], LIMITS)[0].passed


def broken(potential: training.Potential, change: Any) -> training.Potential:
    """Return the potential with another forward."""
    model = copy.deepcopy(potential.model)

    class Broken(type(model)):  # type: ignore[misc]
        def forward(self, batch: Batch, *, create_graph: bool = False) -> Prediction:
            return change(batch, super().forward(batch, create_graph=create_graph))  # type: ignore[no-any-return]

    model.__class__ = Broken
    return dataclasses.replace(potential, model=model)


def test_forces_of_another_energy_fail(potential: training.Potential, frames: FrameSplits) -> None:
    stronger = broken(potential, lambda batch, found: dataclasses.replace(found, forces=1.05 * found.forces))
    checks = check_properties(stronger, structures_of(frames.test)[:1], LIMITS)
    assert not checks[0].passed
    assert "numeric gradient" in checks[0].detail


def test_a_jump_at_one_distance_fails(potential: training.Potential, frames: FrameSplits) -> None:
    def jump(batch: Batch, found: Prediction) -> Prediction:
        near = torch.zeros_like(found.energy)
        length = batch.vectors().double().norm(dim=1)
        near = near.index_add(0, batch.frame[batch.centre], 0.01 * (length < 3.003).double())
        return dataclasses.replace(found, energy=found.energy + near)

    check = check_properties(broken(potential, jump), structures_of(frames.test)[:1], LIMITS)[-1]
    assert not check.passed
    assert "jumps at 3.0" in check.detail


def test_a_run_that_explodes_fails(potential: training.Potential, frames: FrameSplits) -> None:
    wild = broken(potential, lambda batch, found: dataclasses.replace(found, forces=1e6 * found.forces))
    check = check_properties(wild, structures_of(frames.test)[:1], LIMITS)[-2]
    assert not check.passed
    assert "ended with a force of" in check.detail
