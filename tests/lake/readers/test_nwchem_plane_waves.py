"""NWChem's plane waves: energies with the geometry and cutoff that they belong to, contradictions, cuts and damage."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import make_steps
from made_up_molecules import plane_waves_text
from made_up_rare_logs import (
    assert_cut_gives_first_steps,
    assert_damage_never_escapes,
    read,
)

from schemas.errors import UnreadableOutput
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR


def test_plane_waves_are_read_as_printed() -> None:
    steps = make_steps(3)
    (run,) = read(plane_waves_text(steps))
    frames, level = run.frames, run.level_of_theory
    assert (run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("7.0.2", "relax", True, (), ((), (), ()))
    assert (frames.pbc.all(), frames.energy_source, frames.scf_converged.tolist()) == (True, "NWChem plane-wave energy", [1, 1, 1])
    for k, step in enumerate(steps):
        assert frames.energy[k] == pytest.approx(step.energy * HARTREE, abs=1e-7)
        np.testing.assert_array_equal(frames.positions[k], step.positions)
        np.testing.assert_allclose(frames.forces[k], step.forces * HARTREE_PER_BOHR, atol=6e-7 * HARTREE_PER_BOHR)
        np.testing.assert_allclose(frames.cell[k], np.eye(3) * step.edge, atol=6e-4 * BOHR)
    assert (level.functional, level.dispersion, level.basis, level.spin, level.kpoints) == (
        "PBE",
        "D3(0)",
        "plane waves",
        "none",
        (1, 1, 1),
    )
    assert (level.cutoff, level.density_cutoff) == (25.0 * HARTREE, 50.0 * HARTREE)
    assert level.pseudopotentials == (("Mg", "Hamann pseudopotential radii 0.700 0.800"), ("O", "Hamann pseudopotential radii 0.700 0.800"))


def test_plane_waves_at_a_lower_cutoff_before_are_a_run_of_their_own() -> None:
    lower, run = read(plane_waves_text(make_steps(2), ramp=True))
    assert [each.frames.count for each in (lower, run)] == [1, 2]
    assert [each.level_of_theory.cutoff for each in (lower, run)] == [12.5 * HARTREE, 25.0 * HARTREE]
    assert (lower.n_malformed_steps, run.n_malformed_steps, run.kind) == (0, 0, "relax")


def test_plane_waves_without_a_geometry_of_their_own_are_counted() -> None:
    (run,) = read(plane_waves_text(make_steps(2), searched=True))
    assert (run.frames.count, run.n_malformed_steps, run.frames.step.tolist()) == (2, 1, [0, 2])
    text = plane_waves_text(make_steps(1))
    place = text.index(b"          *               NWPW")
    with pytest.raises(UnreadableOutput):  # atoms that Car-Parrinello steps have moved
        read(text[:place] + b"          *     Car-Parrinello microcluster calculation      *\n" + text[place:])


def test_plane_waves_that_contradict_themselves_are_flagged() -> None:
    text = plane_waves_text(make_steps(1))
    changes = (
        (b"total     energy    :  -", b"total     energy    :  -1"),
        (b"|F|       =   ", b"|F|       =   1"),
        (b"omega=       5", b"omega=       6"),
    )
    for old, new in changes:
        assert old in text
        assert read(text.replace(old, new))[0].frames.flags == (("contradictory_values",),), old
    (run,) = read(plane_waves_text(make_steps(1), ended="arived at the Maximum iteration.  "))
    assert run.frames.flags == (("scf_not_converged",),)


def test_five_decimals_of_small_forces_are_no_contradiction() -> None:
    """Version 6 prints forces with five decimals and their norm with six digits."""
    text = plane_waves_text([replace(step, forces=step.forces * 1e-3) for step in make_steps(1)])
    row = re.compile(rb"(\d\.\d{5})\d(?=[^\n]* \)\n)")
    start, end = text.index(b" Ion Forces:"), text.index(b"C.O.M.")
    rounded = text[:start] + row.sub(rb"\1", text[start:end]) + text[end:]
    assert rounded != text
    assert read(rounded)[0].frames.flags == ((),)
    norm = rounded.index(b"|F|       =   ") + 14
    assert read(rounded[:norm] + b"9" + rounded[norm + 1 :])[0].frames.flags == (("contradictory_values",),)


@given(cut=st.integers(0, 100_000))
@settings(max_examples=40, deadline=None)
def test_a_cut_output_of_plane_waves_gives_the_first_steps(cut: int) -> None:
    assert_cut_gives_first_steps(plane_waves_text(make_steps(3)), cut, b" Task  times")


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255))
@settings(max_examples=40, deadline=None)
def test_damage_of_plane_waves_never_escapes(place: int, byte: int) -> None:
    assert_damage_never_escapes(plane_waves_text(make_steps(2)), place, byte)
