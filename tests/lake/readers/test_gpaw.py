"""GPAW: which energy, level of theory, convergence, cuts and damage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import make_steps
from made_up_rare_logs import (
    assert_chunks_and_line_ends_do_not_matter,
    assert_cut_gives_first_steps,
    assert_damage_never_escapes,
    gpaw_text,
    read,
)

from lake.readers import find_reader
from lake.readers.gpaw.text import GPAW_TEXT
from schemas.errors import UnreadableOutput


def test_reads_what_is_printed() -> None:
    steps = make_steps(3)
    text = gpaw_text(steps)
    (run,) = read(text)
    frames, level = run.frames, run.level_of_theory
    assert (run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("22.8.0", "unknown", True, (), ((), (), ()))
    assert frames.energy.tolist() == [round(step.energy, 6) for step in steps]
    assert frames.energy_sigma0.tolist() == [round(step.energy + 0.001, 6) for step in steps]
    assert "relative to reference atoms" in frames.energy_source
    for k, step in enumerate(steps):
        np.testing.assert_array_equal(frames.positions[k], step.positions)
        np.testing.assert_allclose(frames.forces[k], step.forces.round(5), atol=1e-12)
        np.testing.assert_array_equal(frames.stress[k], step.stress)
    assert (level.functional, level.basis, level.cutoff, level.kpoints, level.n_kpoints) == ("PBE", "plane waves", 400.0, (2, 2, 2), 4)
    assert (level.smearing, level.smearing_width, level.spin, level.hubbard_u) == ("fermi-dirac", 0.05, "none", (("Mg", "d", 4.0),))
    assert level.pseudopotentials == (("Mg", "Mg.PBE.gz b56b6cab5149d5bf22ad04c2f71a3023"),)
    assert find_reader("gpaw.txt", text) is GPAW_TEXT


@pytest.mark.parametrize(
    ("spread", "word", "converged"),
    [(1e-6, "Converged after 3 iterations.", 1), (0.1, "Converged after 3 iterations.", 0), (1e-6, "Did not converge!", 0)],
)
def test_convergence_is_judged_from_the_energies(spread: float, word: str, converged: int) -> None:
    (run,) = read(gpaw_text(make_steps(1), spread=spread, word=word))
    assert (run.frames.scf_converged.tolist(), run.frames.n_scf_steps.tolist(), run.kind) == ([converged], [3], "static")


def test_a_torn_table_of_forces_is_flagged() -> None:
    text = gpaw_text(make_steps(1))
    place = text.index(b"Forces in eV/Ang:\n") + 30
    (run,) = read(text[:place] + b"*" + text[place + 1 :])
    assert run.frames.flags == (("malformed_values",),)


def test_a_run_cut_in_its_first_step_has_none() -> None:
    text = gpaw_text(make_steps(1))
    with pytest.raises(UnreadableOutput) as refusal:
        read(text[: text.index(b"Free energy") + 20])
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    assert_chunks_and_line_ends_do_not_matter(gpaw_text(make_steps(3)))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    assert_cut_gives_first_steps(gpaw_text(make_steps(3)), cut, b"100.0%\n")


def test_a_text_cut_inside_its_closing_table_is_truncated() -> None:
    text = gpaw_text(make_steps(2))
    for end in (text.index(b"Hamiltonian:"), text.index(b"100.0%")):
        (run,) = read(text[:end])
        assert (run.frames.count, run.complete, run.flags) == (2, False, ("truncated",))
    assert read(text)[0].complete


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int) -> None:
    assert_damage_never_escapes(gpaw_text(make_steps(2)), place, byte)


def test_the_text_of_the_rewritten_gpaw_is_refused_with_what_to_do() -> None:
    text = b"  __  _  _\n | _ |_)|_||  |\n |__||  | ||/\\| - 25.7.1\n\nDate: today\n\nPositions:\n  0 Mg  0.0 0.0 0.0\n"
    assert find_reader("gpaw.txt", text) is GPAW_TEXT
    reader = GPAW_TEXT.open()
    reader.feed(text)
    with pytest.raises(UnreadableOutput, match="rewritten GPAW") as failure:
        reader.close()
    assert ".gpw" in failure.value.remedy


def test_an_external_potential_is_flagged() -> None:
    plain = gpaw_text(make_steps(2))
    for text in (
        plain.replace(b"\nXC:  ", b"\nExternal:  -0.100000\nXC:  "),
        plain.replace(b"  xc: PBE\n", b"  external: {name: X}\n  xc: PBE\n"),
    ):
        (run,) = read(text)
        assert all("altered_potential" in flags for flags in run.frames.flags)
        assert "an external potential" in run.notes
    none = plain.replace(b"  Using the PBE", b"  External potential:\n    NoExternalPotential\n  Using the PBE")
    (run,) = read(none.replace(b"\nXC:  ", b"\nExternal:  +0.000000\nXC:  "))
    assert run.frames.flags == ((), ())


def test_terms_of_a_solvent_are_no_contradiction_and_in_the_level() -> None:
    text = gpaw_text(make_steps(1)).replace(b"\nKinetic:         +12.5", b"\nInteractions\n surf:   +1.000000\nKinetic:         +11.5")
    (run,) = read(text)
    assert (run.frames.flags, [name for name, _ in run.level_of_theory.extra]) == (((),), ["solvent"])
