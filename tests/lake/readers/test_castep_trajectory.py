"""Trajectories of CASTEP (.geom, .md), made up after its documentation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.grouping import Output, group
from lake.readers import find_reader
from lake.readers.castep.output import CASTEP_OUTPUT
from lake.readers.castep.trajectory import CASTEP_TRAJECTORY
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR, HARTREE_PER_BOHR3

STEPS = 4


def rows(table: np.ndarray, mark: str, labels: list[str] | None = None) -> str:
    head = labels or [""] * len(table)
    body = ("".join(f"   {value:23.16E}".replace("E-", "E-0").replace("E+", "E+0") for value in row) for row in table)
    return "".join(f" {label}{line}  <-- {mark}\n" for label, line in zip(head, body, strict=True))


def trajectory(*, dynamics: bool = False, offset: float = 0.0, moving: bool = False) -> str:
    rng = np.random.default_rng(11)
    labels = ["Si              1", "Si              2"]
    text = " BEGIN header\n \n END header\n \n"
    for k in range(STEPS):
        energies = np.array([[-7.5 - 0.01 * k + offset * k, -7.4, 0.1]])[:, : 3 if dynamics else 2]
        cell = np.diag([10.0 + (0.1 * k if moving else 0.0)] * 3)
        places, forces = rng.uniform(0, 9, (2, 3)), rng.normal(0, 0.01, (2, 3))
        text += (
            f"{k:39d}                                     F   F   F   T            <-- c\n" if not dynamics else f"   {40.0 * k:23.16E}\n"
        )
        text += rows(energies, "E") + (rows(np.array([[9e-4]]), "T") if dynamics else "") + rows(cell, "h")
        text += rows(np.diag([1e-4, 2e-4, 3e-4]), "S") + rows(places, "R", labels)
        text += (rows(forces * 0, "V", labels) if dynamics else "") + rows(forces, "F", labels) + "\n"
    return text


def read(text: str) -> Run:
    data = text.encode()
    spec = find_reader("x.geom", data)
    assert spec is CASTEP_TRAJECTORY
    reader = spec.open()
    reader.feed(data[:1000])
    reader.feed(data[1000:])
    (run,) = reader.close()
    return run


def test_reads_a_geom_in_atomic_units() -> None:
    run = read(trajectory(moving=True))
    frames = run.frames
    assert (frames.count, run.kind, run.complete, run.flags) == (STEPS, "vc-relax", True, ())
    np.testing.assert_allclose(frames.energy, (-7.5 - 0.01 * np.arange(STEPS)) * HARTREE)
    np.testing.assert_allclose(frames.stress[0], np.diag([1e-4, 2e-4, 3e-4]) * HARTREE_PER_BOHR3)
    rng = np.random.default_rng(11)
    np.testing.assert_allclose(frames.positions[0], rng.uniform(0, 9, (2, 3)) * BOHR)
    np.testing.assert_allclose(frames.forces[0], rng.normal(0, 0.01, (2, 3)) * HARTREE_PER_BOHR)
    assert frames.flags[1] == ("pulay_suspect", "scf_unknown")
    assert run.level_of_theory.functional == ""


def test_dynamics_take_the_first_energy_and_no_stress() -> None:
    """The second is the conserved one; the stress holds the kinetic part of the ions."""
    run = read(trajectory(dynamics=True))
    assert run.kind == "md"
    np.testing.assert_allclose(run.frames.energy, (-7.5 - 0.01 * np.arange(STEPS)) * HARTREE)
    assert np.isnan(run.frames.stress).all()
    assert any("kinetic" in note for note in run.notes)


def dynamics_of_a_spring(noise: float, *, steps: int = 12, moving: bool = False) -> str:
    """Return the .md of two atoms on a spring (atomic units), whose forces hold a random part."""
    rng, labels = np.random.default_rng(3), ["N               1", "N               2"]
    text = " BEGIN header\n \n END header\n \n"
    for k in range(steps):
        stretch = 0.2 * np.cos(0.3 * k)
        places = np.array([[0.1, 5.0, 5.0], [12.1 + stretch, 5.0, 5.0]])  # over the face of the cell
        force = np.array([[0.5 * stretch, 0.0, 0.0], [-0.5 * stretch, 0.0, 0.0]]) + noise * rng.normal(size=(2, 3))
        text += f"   {40.0 * k:23.16E}\n" + rows(np.array([[-20.0 + 0.25 * stretch**2, -19.9, 0.1]]), "E")
        cell = np.diag([14.0 + (0.1 * k if moving else 0.0)] * 3)
        text += rows(cell, "h") + rows(places, "R", labels) + rows(force * 0, "V", labels) + rows(force, "F", labels) + "\n"
    return text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (dynamics_of_a_spring(0.0), True),
        (dynamics_of_a_spring(0.02), False),
        (dynamics_of_a_spring(0.0, steps=1), False),
        (dynamics_of_a_spring(0.0, moving=True), False),
    ],
)
def test_forces_of_dynamics_are_taken_where_they_do_the_work_of_the_energy(text: str, kept: bool) -> None:
    """A Langevin thermostat writes its friction and random forces into the .md, and the .castep has none of them."""
    run = read(text)
    assert (bool(np.isfinite(run.frames.forces).all()), any("thermostat" in note for note in run.notes)) == (kept, not kept)
    assert np.isfinite(run.frames.energy).all()


@pytest.mark.parametrize(("offset", "disagrees"), [(0.0, False), (1e-2, True)])
def test_a_trajectory_of_other_energies_disagrees(offset: float, disagrees: bool) -> None:
    """A constant apart is the unit factor or the correction for the finite basis; energies that go apart are of another run."""
    main, other = read(trajectory()), read(trajectory(offset=offset))
    outputs = [Output("x.castep", CASTEP_OUTPUT, main), Output("x.geom", CASTEP_TRAJECTORY, other)]
    (calculation,) = group(outputs)
    assert ("sources_disagree" in calculation.run.flags) == disagrees


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_cut_trajectory_gives_the_first_steps(data: st.DataObject) -> None:
    text = trajectory(moving=True)
    whole = read(text)
    cut = data.draw(st.integers(200, len(text) - 2))
    if "<-- F\n\n" not in text[:cut]:
        with pytest.raises(UnreadableOutput, match="no_complete_step"):
            read(text[:cut])
        return
    run = read(text[:cut])
    n = run.frames.count
    assert n < STEPS
    np.testing.assert_array_equal(run.frames.forces, whole.frames.forces[:n])
    assert run.complete == (not run.flags)


def test_a_torn_step_is_counted_and_a_search_for_transition_states_is_left_alone() -> None:
    text = trajectory()
    torn = read(text.replace("<-- h", "<-- ?", 1))
    assert (torn.frames.count, torn.n_malformed_steps, torn.flags) == (STEPS - 1, 1, ("malformed_steps",))
    begin = text.index(" END header") + len(" END header\n \n")
    assert find_reader("x.ts", (text[:begin] + " REA      1" + text[begin:]).encode()) is None
