"""NWChem with a Gaussian basis: geometry of each energy, tasks as runs, convergence, level of theory, cuts and damage."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import Made, make_steps
from made_up_molecules import nwchem_text
from made_up_rare_logs import (
    assert_chunks_and_line_ends_do_not_matter,
    assert_cut_gives_first_steps,
    assert_damage_never_escapes,
    read,
)

from lake.readers import find_reader
from lake.readers.nwchem.log import NWCHEM_LOG
from schemas.errors import UnreadableOutput
from schemas.units import HARTREE, HARTREE_PER_BOHR


def test_reads_what_is_printed() -> None:
    steps = make_steps(3)
    text = nwchem_text(steps)
    (run,) = read(text)
    frames, level = run.frames, run.level_of_theory
    assert (run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("7.0.2", "relax", True, (), ((), (), ()))
    assert frames.energy.tolist() == [step.energy * HARTREE for step in steps]
    for k, step in enumerate(steps):
        np.testing.assert_array_equal(frames.positions[k], step.positions)
        np.testing.assert_allclose(frames.forces[k], step.forces * HARTREE_PER_BOHR, atol=6e-7 * HARTREE_PER_BOHR)
    assert (level.functional, level.exact_exchange, level.spin, level.charge) == ("PBE0", 0.25, "none", 0.0)
    assert level.pseudopotentials == (("Mg", "6-31G*"), ("O", "6-31G*"))
    assert find_reader("x.nwout", text) is NWCHEM_LOG


def test_an_energy_of_a_line_search_has_no_geometry() -> None:
    (run,) = read(nwchem_text(make_steps(2), searched=True))
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (2, 1, ("malformed_steps",))
    assert run.frames.step.tolist() == [0, 2]


def test_places_beside_the_gradient_are_those_of_the_energy() -> None:
    text = nwchem_text(make_steps(1)).replace(b"12.0000     ", b"12.0000    1")
    (run,) = read(text)
    np.testing.assert_allclose(run.frames.positions[0], make_steps(1)[0].positions, atol=1e-6)


def test_each_task_is_a_run_with_its_own_charge() -> None:
    runs = read(nwchem_text(make_steps(2), tasks=(0, 1)))
    assert [(run.frames.count, run.level_of_theory.charge) for run in runs] == [(2, 0.0), (2, 1.0)]


def test_the_last_change_tells_convergence() -> None:
    for change, converged in (("-8.95D-09", 1), ("-8.95D-03", 0)):
        (run,) = read(nwchem_text(make_steps(1), change=change))
        assert (run.frames.scf_converged.tolist(), run.frames.n_scf_steps.tolist()) == ([converged], [7])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("          *               NWPW PSPW Calculation              *", "no_complete_step"),
        ("          *     Car-Parrinello microcluster calculation      *", "not_energies"),
        ("         Total SCF energy =    -74.963", "not_dft"),
    ],
)
def test_a_log_of_other_modules_is_refused_by_name(line: str, reason: str) -> None:
    text = nwchem_text(make_steps(1))
    other = text[: text.index(b"Total DFT energy")].rpartition(b"\n")[0] + b"\n" + line.encode() + b"\n Task  times  cpu: 1.0s\n"
    with pytest.raises(UnreadableOutput) as refusal:
        read(other)
    assert refusal.value.reason == reason


@pytest.mark.parametrize(
    "words", ["*      NWChem QM/MM Interface Module               *", "NWChem ONIOM Module", "Input BSSE Module - Counter Poise"]
)
def test_energies_of_a_part_of_the_atoms_are_refused(words: str) -> None:
    """Their logs have total DFT energies of other atoms than those of the geometry, or of atoms in the field of others."""
    text = nwchem_text(make_steps(1))
    place = text.index(b" Output coordinates")
    with pytest.raises(UnreadableOutput, match=r"not_dft|not_energies"):
        read(text[:place] + b"          " + words.encode() + b"\n" + text[place:])


def test_another_energy_of_the_optimiser_is_flagged() -> None:
    text = nwchem_text(make_steps(2))
    assert read(text)[0].frames.flags == ((), ())
    (run,) = read(text.replace(b"@    1    -", b"@    1   -1"))
    assert run.frames.flags == ((), ("contradictory_values",))
    assert "by the optimiser" in run.notes[0]


def _still(text: bytes, index: int) -> bytes:
    """Return a text whose tables have a gradient of zero for one atom."""
    row = re.compile(rb"(\n +%d \w+ +(?:-?\d+\.\d{6} +){2}-?\d+\.\d{6})(?: +-?\d+\.\d{6}){3}(?=\n)" % index)
    return row.sub(rb"\1   0.000000   0.000000   0.000000", text)


def test_a_gradient_of_zero_for_atoms_that_are_not_computed_leaves_the_forces_out() -> None:
    """Atoms outside of geometry:actlist, which no line of the log names, and fixed atoms, which are listed."""
    text = nwchem_text(make_steps(2))
    (run,) = read(_still(text, 1))
    assert bool(np.isnan(run.frames.forces).all())
    assert "printed as zero" in run.notes[0]
    small = nwchem_text([replace(step, forces=step.forces * 1e-3) for step in make_steps(1)])
    assert bool(np.isfinite(read(_still(small, 1))[0].frames.forces).all())
    listed = small.replace(b"\n       Tag    ", b"\n fixed atoms                  :   1\n       Tag    ", 1)
    assert bool(np.isnan(read(_still(listed, 1))[0].frames.forces).all())
    assert bool(np.isfinite(read(listed)[0].frames.forces).all())


def _with_centre(text: bytes, tag: bytes, charge: bytes) -> bytes:
    """Return a text with a centre more in its tables."""
    rows = {
        b"\n      Atomic Mass": b"    3 %s            %s     1.00000000     1.00000000     1.00000000\n\n" % (tag, charge),
        b"\n@ ": b"   3 %s     1.889726   1.889726   1.889726   0.000000   0.000000   0.000000\n\n" % tag,
    }
    for anchor, row in rows.items():
        text = text.replace(b"\n" + anchor, b"\n" + row + anchor[1:])
    return text.replace(b" Wavefunction type", b" No. of electrons :    20\n          Wavefunction type")


def test_ghosts_are_no_atoms_and_their_functions_are_of_the_level() -> None:
    text = nwchem_text(make_steps(2))
    (plain,) = read(text)
    basis = b" O                           6-31G*                  6       14   3s2p1d\n"
    ghosts = _with_centre(text, b"bqO", b" 0.0000").replace(basis, basis + basis.replace(b" O  ", b" bqO"))
    (run,) = read(ghosts)
    np.testing.assert_array_equal(run.frames.numbers, plain.frames.numbers)
    np.testing.assert_array_equal(run.frames.positions, plain.frames.positions)
    np.testing.assert_array_equal(run.frames.forces, plain.frames.forces)
    assert run.level_of_theory.pseudopotentials == plain.level_of_theory.pseudopotentials
    assert run.level_of_theory.extra == (("ghost_orbitals", "bqO 6-31G*"),)


@pytest.mark.parametrize(
    ("charge", "words"),
    [
        (b"-0.9000", b""),
        (b" 0.0000", b"                   Bq Structure Information (Angstroms)\n"),
        (b" 0.0000", b" Bq nuclear interaction energy =  0.3116\n"),
    ],
)
def test_energies_in_the_field_of_point_charges_are_refused(charge: bytes, words: bytes) -> None:
    text = _with_centre(nwchem_text(make_steps(1)), b"bq ", charge).replace(b"\n       Tag    ", b"\n" + words + b"       Tag    ", 1)
    with pytest.raises(UnreadableOutput, match="point charges"):
        read(text)


def test_each_task_has_the_geometry_that_its_input_names() -> None:
    """Of several geometries of an input, the one printed last is not the one of the first task; without an echo none is told."""
    one, two = make_steps(1)[0], make_steps(1, seed=2)[0]

    def block(step: Made, part: bytes) -> bytes:
        text = nwchem_text([step])
        start, end = text.index(b" Output coordinates"), text.index(b"       Tag                 Desc")
        if part == b"geometry":
            return text[start:end] + b"      Atomic Mass \n"
        return text[end : text.index(b"                         DFT ENERGY")] + b" Task  times  cpu:        1.7s     wall:        1.8s\n"

    banner = nwchem_text([one]).split(b"\n", 1)[0] + b"\n"
    tasks = (b"geometry one", b"end", b"geometry two", b"end", b"set geometry one", b"task dft", b'set geometry "two"', b"task dft")
    rule = b"=" * 80
    echo = b"============================== echo of input deck ==============================\n" + b"\n".join(tasks) + b"\n" + rule + b"\n"
    names = b'\n                Geometry "one" -> ""\n', b'\n                Geometry "two" -> "   "\n'
    places = names[0] + block(one, b"geometry") + names[1] + block(two, b"geometry")
    log = banner + places + block(one, b"") + block(two, b"")
    runs = read(echo + log)
    for run, step in zip(runs, (one, two), strict=True):
        np.testing.assert_array_equal(run.frames.positions[0], step.positions)
        assert run.frames.energy[0] == step.energy * HARTREE
    with pytest.raises(UnreadableOutput, match="no total DFT energy with a geometry"):
        read(log)


def test_another_number_of_electrons_is_of_another_geometry() -> None:
    text = nwchem_text(make_steps(1))
    for electrons, frames in ((20, 1), (10, 0)):
        told = text.replace(b" Wavefunction type", b" No. of electrons :  %4d\n          Wavefunction type" % electrons)
        if frames:
            assert read(told)[0].frames.count == frames
        else:
            with pytest.raises(UnreadableOutput):
                read(told)


def test_a_run_cut_in_its_first_step_has_none() -> None:
    text = nwchem_text(make_steps(1))
    with pytest.raises(UnreadableOutput) as refusal:
        read(text[: text.index(b"Total DFT energy") + 20])
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    assert_chunks_and_line_ends_do_not_matter(nwchem_text(make_steps(3)))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    assert_cut_gives_first_steps(nwchem_text(make_steps(3)), cut, b" Task  times")


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int) -> None:
    assert_damage_never_escapes(nwchem_text(make_steps(1)), place, byte)


def test_dispersion_stands_among_the_parts_of_the_energy() -> None:
    text = nwchem_text(make_steps(1))
    place = text.index(b"\n         Total DFT energy =")
    end = text.index(b"\n", place + 1)
    model = b"\n      Dispersion Parameters\n      ---------------------\n\n           DFT-D3BJ Model   \n"
    part = b"\n\n    Dispersion correction =       -0.048085148437\n"
    levels = [
        read(body)[0].level_of_theory.dispersion
        for body in (text, text[:place] + model + text[place:end] + part + text[end:], text[:end] + part + text[end:])
    ]
    assert levels == ["", "D3(BJ)", "unnamed"]


def test_a_double_hybrid_is_refused() -> None:
    text = nwchem_text(make_steps(1))
    end = text.index(b"\n", text.index(b"\n         Total DFT energy =") + 1)
    with pytest.raises(UnreadableOutput) as refusal:
        read(
            text[:end]
            + b"\n          Unscaled MP2 energy         -0.039977160386\n          Total DFT+MP2 energy        -2.9\n"
            + text[end:]
        )
    assert refusal.value.reason == "not_dft"


def test_solvent_range_and_the_whole_name_of_a_method_are_in_the_level() -> None:
    text = nwchem_text(make_steps(1))
    continuum = b"          -cosmo- solvent\n          ----\n dielectric constant -eps-     =  78.40\n"
    solvated = text.replace(b"              XC Information", continuum + b"              XC Information")
    solvated = solvated.replace(b"      One electron energy", b"             COSMO energy =  0.09\n      One electron energy")
    assert b"COSMO energy" in solvated
    assert read(solvated)[0].level_of_theory.extra == (("solvent", "COSMO eps 78.4"),)
    ranges = b"\n           Range-Separation Parameters \n           ------\n           Alpha           :  0.19\n"
    ranges += b"           Beta            :  0.46\n"
    last = b"Functional  1.000 non-local\n"
    separated = text.replace(last, last + ranges + b"           Gamma           :  0.33\n")
    assert read(separated)[0].level_of_theory.extra == (("range_separation", "0.19 0.46 0.33"),)
    for name, functional in ((b"Becke half-and-half", "BHandH"), (b"Becke 1997-1", "Becke 1997-1"), (b"Becke 97-D", "B97-D")):
        named = _with_parts(text, f"{name.decode()} Method XC Potential", "Hartree-Fock (Exact) Exchange  0.500")
        assert read(named)[0].level_of_theory.functional == functional


def _with_parts(text: bytes, *lines: str) -> bytes:
    """Return a text whose functional has these parts."""
    start = text.index(b"                       PBE0 Method")
    end = text.index(b"\n\n", start)
    return text[:start] + "\n".join(f"          {line}" for line in lines).encode() + text[end:]


@pytest.mark.parametrize(
    ("lines", "functional", "exact"),
    [
        (("Slater Exchange Functional  1.000 local", "VWN V Correlation Functional  1.000 local"), "LDA-VWN", None),
        (("Hartree-Fock (Exact) Exchange  1.000",), "HF", 1.0),
        (
            ("Hartree-Fock (Exact) Exchange  1.000", "Perdew 1991 LDA Correlation Functional  1.000 local"),
            "Hartree-Fock (Exact) Exchange + Perdew 1991 LDA Correlation Functional",
            1.0,
        ),
        (
            (
                "B3LYP Method XC Potential",
                "Hartree-Fock (Exact) Exchange  0.530",
                "Becke 1988 Exchange Functional  0.470",
                "Lee-Yang-Parr Correlation Functional  0.730",
            ),
            "0.53 Hartree-Fock (Exact) Exchange + 0.47 Becke 1988 Exchange Functional + 0.73 Lee-Yang-Parr Correlation Functional",
            0.53,
        ),
        (
            (
                "Hartree-Fock (Exact) Exchange  0.450",
                "PerdewBurkeErnzerhof Exchange Functional  0.550",
                "Perdew 1991 LDA Correlation Functional  1.000 local",
                "PerdewBurkeErnz. Correlation Functional  1.000 non-local",
            ),
            "0.45 Hartree-Fock (Exact) Exchange + 0.55 PerdewBurkeErnzerhof Exchange Functional"
            " + 1 Perdew 1991 LDA Correlation Functional + 1 PerdewBurkeErnz. Correlation Functional",
            0.45,
        ),
    ],
)
def test_a_functional_has_the_name_that_its_parts_make(lines: tuple[str, ...], functional: str, exact: float | None) -> None:
    """An input that changes the shares of a method leaves its name above them."""
    level = read(_with_parts(nwchem_text(make_steps(1)), *lines))[0].level_of_theory
    assert (level.functional, level.exact_exchange) == (functional, exact)


def test_smearing_is_in_the_level() -> None:
    text = nwchem_text(make_steps(1))
    line = b"\n          Smearing applied:  0.15D-01 (hartree)\n              XC Information"
    level = read(text.replace(b"\n              XC Information", line, 1))[0].level_of_theory
    assert (level.smearing, level.smearing_width) == ("gaussian", 0.015 * HARTREE)


def test_springs_of_restraints_are_in_the_optimisers_energy_alone() -> None:
    (step,) = make_steps(1)
    text = nwchem_text([step])
    lines = ("adding spring #     1", "  spring parameters (i,j,k,r0):  1  2  1.0  5.0", "  spring length and energy    :  3.9  0.25000000")
    spring = "".join(f"\n {line}" for line in lines) + "\n"
    restrained = text.replace(f"@    0 {step.energy:15.8f}".encode(), f"{spring}@    0 {step.energy + 0.25:15.8f}".encode())
    assert restrained != text
    assert read(restrained)[0].frames.flags == ((),)
    assert read(restrained.replace(b"0.25000000", b"0.15000000"))[0].frames.flags == (("contradictory_values",),)
