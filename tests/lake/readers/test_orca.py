"""ORCA: energy and gradient, convergence, methods that are no density-functional theory, cuts and damage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import make_steps
from made_up_molecules import orca_text
from made_up_rare_logs import (
    assert_chunks_and_line_ends_do_not_matter,
    assert_cut_gives_first_steps,
    assert_damage_never_escapes,
    read,
)

from lake.readers import find_reader
from lake.readers.orca.output import ORCA_OUTPUT
from schemas.errors import UnreadableOutput
from schemas.theory import LevelOfTheory
from schemas.units import HARTREE, HARTREE_PER_BOHR


def test_reads_what_is_printed() -> None:
    steps = make_steps(3)
    text = orca_text(steps)
    (run,) = read(text)
    frames, level = run.frames, run.level_of_theory
    assert (run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("5.0.1", "relax", True, (), ((), (), ()))
    assert frames.energy.tolist() == [step.energy * HARTREE for step in steps]
    for k, step in enumerate(steps):
        np.testing.assert_array_equal(frames.positions[k], step.positions)
        np.testing.assert_allclose(frames.forces[k], step.forces * HARTREE_PER_BOHR, atol=1e-12)
    assert (level.functional, level.dispersion, level.exact_exchange, level.charge, level.spin) == (
        "PBE0",
        "D3(BJ)",
        0.25,
        -1.0,
        "collinear",
    )
    assert (level.pseudopotentials, level.extra) == ((("Mg", "def2-SVP"), ("O", "def2-SVP")), (("solvent", "CPCM(WATER)"),))
    assert find_reader("x.out", text) is ORCA_OUTPUT


@pytest.mark.parametrize(("change", "suffix", "converged"), [(1e-10, "", 1), (1e-5, "", 0), (1e-10, " (SCF not fully converged!)", 0)])
def test_the_last_change_tells_convergence(change: float, suffix: str, converged: int) -> None:
    (run,) = read(orca_text(make_steps(1), change=change, suffix=suffix))
    assert (run.frames.scf_converged.tolist(), run.frames.n_scf_steps.tolist()) == ([converged], [12])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (" Ab initio Hamiltonian  Method          .... NDDO", "not_dft"),
        ("                  ORCA-MATRIX DRIVEN CI", "not_dft"),
        ("                                ORCA  MP2 ", "not_dft"),
        ("                              ORCA-CASSCF", "not_dft"),
        (" Hartree-Fock type      HFTyp           .... CASSCF", "not_dft"),
        ("                          ORCA ROCIS CALCULATION", "not_energies"),
        ("                  ORCA TD-DFT/TDA CALCULATION", "not_energies"),
        ("FINAL SINGLE POINT ENERGY (QM/MM)      -40.5", "not_dft"),
        ("FINAL SINGLE POINT ENERGY (From external program)      -40.5", "not_dft"),
        ("$$$$$$$$  JOB NUMBER  2 $$$$$$$$", "unreadable_output"),
    ],
)
def test_energies_of_other_theories_are_refused(line: str, reason: str) -> None:
    with pytest.raises(UnreadableOutput) as refusal:
        read(orca_text(make_steps(1), settings=(line,)))
    assert refusal.value.reason == reason


def test_an_output_that_names_no_method_is_not_taken_for_hartree_fock() -> None:
    """A run of xTB prints the same final energy, and no table of settings."""
    text = orca_text(make_steps(2)).replace(b" Density Functional     Method          .... DFT(GTOs)\n", b"")
    with pytest.raises(UnreadableOutput, match="not_dft"):
        read(text)
    (run,) = read(
        orca_text(make_steps(2)).replace(
            b"Density Functional     Method          .... DFT", b"Ab initio Hamiltonian  Method          .... Hartree-Fock"
        )
    )
    assert (run.level_of_theory.functional, run.level_of_theory.exact_exchange) == ("HF", 1.0)


def test_a_run_cut_in_its_first_step_has_none() -> None:
    text = orca_text(make_steps(1))
    with pytest.raises(UnreadableOutput) as refusal:
        read(text[: text.index(b"FINAL SINGLE") + 20])
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    assert_chunks_and_line_ends_do_not_matter(orca_text(make_steps(3)))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    assert_cut_gives_first_steps(orca_text(make_steps(3)), cut, b"****ORCA TERMINATED")


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int) -> None:
    assert_damage_never_escapes(orca_text(make_steps(2)), place, byte)


def test_solvents_fields_and_hamiltonians_of_the_input_are_in_the_level() -> None:
    def level(keywords: str, *block: str) -> LevelOfTheory:
        lines = "\n".join(f"|  {k + 1}> {words}" for k, words in enumerate((f"! {keywords} def2-SVP opt", *block)))
        return read(orca_text(make_steps(1)).replace(b"|  1> ! PBE0 D3BJ def2-SVP opt CPCM(water)", lines.encode()))[0].level_of_theory

    assert level("PBE0", "%cpcm smd true", ' SMDsolvent "water"', "end").extra == (("solvent", 'smd true smdsolvent "water"'),)
    assert level("PBE0", "%scf EField 0.0, 0.0, 0.01 end").extra == (("electric_field", "0.0, 0.0, 0.01"),)
    assert (level("PBE0 ZORA").extra, level("PBE0").extra) == ((("hamiltonian", "ZORA"),), ())
    assert level("LibXC(MN15)").functional == "MN15"
    with pytest.raises(UnreadableOutput, match="point charges"):
        level("PBE0", '%pointcharges "around.pc"')


def _without_places(text: bytes, given: str) -> bytes:
    """Return an output of a single point that prints no coordinates, with these lines in the input that it repeats."""
    start, end = text.index(b"         *                GEOMETRY"), text.index(b" Density Functional")
    lines = "".join(f"|  {k + 2}> {line}\n" for k, line in enumerate(given.split("\n")))
    return text[:start].replace(b" opt ", b" ") + lines.encode() + b"\n" + text[end:]


def test_a_single_point_without_coordinates_has_those_of_its_input() -> None:
    """`%output Print[P_Cartesian] 0`, as scripts for single points set it."""
    (step,) = make_steps(1)
    text = orca_text([step])
    rows = [f"{s} " + " ".join(map(str, row)) for s, row in zip(("Mg", "O"), step.positions.tolist(), strict=True)]
    (run,) = read(_without_places(text, "\n".join(["* xyz -1 2", *rows, "*"])))
    (whole,) = read(text)
    np.testing.assert_array_equal(run.frames.positions[0], step.positions)
    np.testing.assert_array_equal(run.frames.forces, whole.frames.forces)
    assert (run.kind, run.frames.energy[0], run.level_of_theory) == ("static", step.energy * HARTREE, whole.level_of_theory)
    assert "those of the input" in run.notes[0]


@pytest.mark.parametrize(
    ("given", "reason", "words"),
    [
        ("* xyzfile -1 2 start.xyz", "no_complete_step", "start.xyz"),
        ("* xyz -1 2\nMg 0.0 0.0 0.0\nO: 0.0 0.0 2.1\n*", "no_complete_step", "gives none that can be read"),
        ("! Bohrs\n* xyz -1 2\nMg 0.0 0.0 0.0\nO 0.0 0.0 2.1\n*", "no_complete_step", "gives none that can be read"),
        ("! UseSym\n* xyz -1 2\nMg 0.0 0.0 0.0\nO 0.0 0.0 2.1\n*", "no_complete_step", "gives none that can be read"),
        ("%sym usesym true end\n* xyz -1 2\nMg 0.0 0.0 0.0\nO 0.0 0.0 2.1\n*", "no_complete_step", "gives none that can be read"),
        ("! DLPNO-CCSD(T)\n* xyzfile -1 2 start.xyz", "not_dft", "wave-function"),
    ],
)
def test_without_coordinates_the_refusal_names_what_is_missing(given: str, reason: str, words: str) -> None:
    with pytest.raises(UnreadableOutput, match=words) as refusal:
        read(_without_places(orca_text(make_steps(1)), given))
    assert refusal.value.reason == reason


@pytest.mark.parametrize("centre", ["Q", "Ca>", "O:"])
def test_centres_that_are_no_atoms_are_not_passed_over(centre: str) -> None:
    """Embedded clusters list capped potentials and charges behind the atoms: their energies are not of the atoms above."""
    text = orca_text(make_steps(1)).replace(
        b"\n\n Density", f"\n  {centre:<3s}    2.000000      2.000000      2.000000\n\n Density".encode()
    )
    with pytest.raises(UnreadableOutput, match="no atoms"):
        read(text)


def test_dummies_are_no_atoms() -> None:
    text = orca_text(make_steps(1))
    row = b"  Mg" + text.partition(b"\n  Mg")[2].partition(b"\n")[0]
    dummies = text.replace(row, b"  -       1.000000      0.000000      0.000000\n" + row, 1)
    assert read(dummies)[0].frames.numbers.tolist() == [12, 8]


def test_the_geometrical_counterpoise_correction_is_in_the_level() -> None:
    (run,) = read(orca_text(make_steps(1)).replace(b"CPCM(water)", b"gCP(DFT/SVP)"))
    assert run.level_of_theory.extra == (("geometrical_counterpoise", "GCP(DFT/SVP)"),)


KEYWORDS = b"|  1> ! PBE0 D3BJ def2-SVP opt CPCM(water)"


def _with_input(keywords: str, *block: str, text: bytes = b"") -> bytes:
    lines = "\n".join(f"|  {k + 1}> {words}" for k, words in enumerate((f"! {keywords}", *block)))
    return (text or orca_text(make_steps(1))).replace(KEYWORDS, lines.encode())


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (("PBE0 def2-SVP", "%tddft nroots 4 iroot 1 end"), "not_energies"),
        (("HF 6-31G(d)", "%cis nroots 5 end"), "not_energies"),
        (("PBE0 def2-SVP DeltaSCF",), "not_energies"),
        (("B2PLYP def2-TZVP opt",), "not_dft"),
        (("RI-PWPB95 def2-TZVP def2-TZVP/C",), "not_dft"),
        (("HF Extrapolate(2/3,cc)",), "not_dft"),
        (("QM/XTB PBE def2-SVP opt",), "not_dft"),
        (("PBE def2-SVP", '%pointcharges"around.pc"'), "not_dft"),
    ],
)
def test_an_input_for_another_energy_is_refused_before_that_is_printed(lines: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UnreadableOutput) as refusal:
        read(_with_input(*lines))
    assert refusal.value.reason == reason


def test_energies_of_excited_states_are_not_those_of_the_ground_state() -> None:
    """`%cis` of Hartree-Fock has another heading than time-dependent functionals; the final energy is that of the root."""
    text = orca_text(make_steps(1))
    with pytest.raises(UnreadableOutput, match="excited"):
        read(text.replace(b"FINAL SINGLE", b"CIS/TD-DFT TOTAL ENERGY\n    E(tot)  =  -337.7 Eh\n\nFINAL SINGLE"))


def test_a_script_of_several_jobs_is_refused() -> None:
    """`%compound` runs other basis sets behind the first, each with an input of its own."""
    text = orca_text(make_steps(2))
    place = text.rindex(b"         *                GEOMETRY")
    listing = b"                                       INPUT FILE\n======\n|  1> ! HF pc-1\n"
    with pytest.raises(UnreadableOutput, match="several jobs"):
        read(text[:place] + listing + text[place:])
    with pytest.raises(UnreadableOutput, match="several jobs"):
        read(text.replace(KEYWORDS, listing + listing))


def test_composites_and_printed_dispersion_are_in_the_level() -> None:
    def level(keywords: str, told: bytes = b"", *block: str, hf: bool = False) -> LevelOfTheory:
        text = _with_input(keywords, *block).replace(b"Your calculation utilizes the basis", told + b"Your calculation utilizes the basis")
        old, new = b"Density Functional     Method          .... DFT", b"Ab initio Hamiltonian  Method          .... Hartree-Fock"
        return read(text.replace(old, new) if hf else text)[0].level_of_theory

    told = b"Your calculation utilizes the atom-pairwise dispersion correction\nbased on tight binding partial charges (D4)\n"
    assert level("HF-3c", hf=True).functional == "HF-3c"
    assert (level("wB97X-3c", told).functional, level("wB97X-3c", told).dispersion) == ("wB97X-3c", "")
    assert level("TPSSh def2-SVP", told).dispersion == "D4"
    assert level("PBE D3 def2-SVP ABC").extra == (("three_body", "ABC"),)
    assert dict(level("PBE D3 def2-SVP", b"", "%method D3S6 0.64 end").extra) == {"method_block": "d3s6 0.64"}
    assert level("PBE def2-SVP FOD").extra == (("fractional_occupation", "FOD"),)
    assert level("PBE def2-SVP", b"", "%scf SmearTemp 5000 end").smearing == "fermi-dirac"


def test_a_continuum_is_named_by_keyword_and_block() -> None:
    """'CPCM' alone stands for a conductor, COSMO and SMD, as the block says."""
    levels = {
        read(_with_input("PBE0 def2-SVP CPCM", block, "end"))[0].level_of_theory
        for block in ('%cpcm smd true smdsolvent "toluene"', "%cpcm epsilon 2.37 fepstype cpcm", "%cpcm epsilon 2.37 fepstype cosmo")
    }
    assert len(levels) == 3


def test_a_basis_is_named_with_its_additions() -> None:
    """ORCA 3 names 6-31G and 6-31G* alike but for a line on polarisation; one that is not named is equal to no other."""
    name = b"Your calculation utilizes the basis: def2-SVP\n"

    def bases(told: bytes, *block: str, keywords: str = "PBE0 opt") -> dict[str, str]:
        text = orca_text(make_steps(1)).replace(name, told)
        return dict(read(_with_input(keywords, *block, text=text))[0].level_of_theory.pseudopotentials)

    polarised = name + b"Your calculation utilizes pol. fcns from basis: Ahlrichs polarization\n"
    assert bases(polarised)["O"] == "def2-SVP + Ahlrichs polarization"
    assert bases(b"", keywords="PBE0 def2-TZVP def2/J")["O"] == "keyword DEF2-TZVP"
    assert bases(b"") == bases(b"") != bases(b"another run\n")
    own = [bases(name, f'%basis newgto Mg "{other}" end end') for other in ("def2-TZVP", "def2-QZVP")]
    assert own[0] != own[1]
    assert all(each["O"].startswith("def2-SVP input ") for each in own)


@pytest.mark.parametrize(("block", "extra"), [("", (("multiplicity", "3"),)), ("%scf brokensym 1,1 end", (("broken_symmetry", "1,1"),))])
def test_states_of_several_unpaired_electrons_are_in_the_level(block: str, extra: tuple[tuple[str, str], ...]) -> None:
    text = orca_text(make_steps(1), settings=(" Multiplicity           Mult            ....    3",))
    assert read(_with_input("PBE0 def2-SVP", block, text=text))[0].level_of_theory.extra == extra
    restricted = _with_input("PBE0 def2-SVP", block, text=text.replace(b".... UKS", b".... ROKS"))
    assert set(read(restricted)[0].level_of_theory.extra) == {*extra, ("open_shells", "restricted")}


def test_a_gradient_of_zero_along_constraints_leaves_the_forces_out() -> None:
    warning = b"------------------\n\nWARNING: THERE ARE 5 CONSTRAINED CARTESIAN COORDINATES\n"
    (run,) = read(orca_text(make_steps(1)).replace(b"------------------\n\n", warning))
    assert np.isnan(run.frames.forces).all()
    assert (run.frames.flags, run.n_malformed_steps) == (((),), 0)
    assert "constrained" in run.notes[0]


def test_a_final_energy_that_nothing_explains_is_flagged() -> None:
    """The final energy is that of self-consistency with the corrections that are printed."""
    (step,) = make_steps(1)

    def flags(total: float, *corrections: float) -> tuple[str, ...]:
        rows = [f"Total Energy       :   {total:.8f} Eh", *(f"Dispersion correction       {value:.9f}" for value in corrections)]
        return read(orca_text([step], settings=tuple(rows)))[0].frames.flags[0]

    assert flags(step.energy) == flags(step.energy + 0.01, -0.01) == ()
    assert flags(step.energy - 0.2) == flags(step.energy + 0.01, -0.02) == ("contradictory_values",)


def test_potentials_of_the_optimiser_alter_the_energy() -> None:
    (run,) = read(_with_input("PBE0 def2-SVP opt", "%geom SpherePot 8.0", "end"))
    assert run.frames.flags == (("altered_potential",),)


def test_orbitals_held_in_a_symmetry_that_the_atoms_have_left_alter_the_energy() -> None:
    """ORCA 3 keeps the point group of the first step; its forces then do half of the work that the energy loses."""
    first, second = make_steps(2)
    line = replace(first, positions=np.array([[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]))
    bent = replace(second, positions=np.array([[0.0, 0.1, -1.0], [0.0, -0.1, 1.0]]))
    longer = replace(second, positions=np.array([[0.0, 0.0, -1.1], [0.0, 0.0, 1.1]]))
    on = (" Symmetry handling      UseSym         .... ON",)
    for steps, printed, flags in (
        ([line, bent], on, ((), ("altered_potential",))),
        ([line, longer], on, ((), ())),
        ([line, bent], (), ((), ())),
    ):
        assert read(orca_text(steps, settings=printed))[0].frames.flags == flags
