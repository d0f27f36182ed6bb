"""Gaussian: input orientation, convergence, methods whose forces belong to another energy, cuts and damage."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import make_steps
from made_up_molecules import gaussian_text
from made_up_rare_logs import assert_chunks_and_line_ends_do_not_matter, assert_cut_gives_first_steps, assert_damage_never_escapes, read

from lake.readers import find_reader
from lake.readers.gaussian.log import GAUSSIAN_LOG
from schemas.errors import UnreadableOutput
from schemas.theory import LevelOfTheory
from schemas.units import BOHR, HARTREE, HARTREE_PER_BOHR


def test_reads_what_is_printed() -> None:
    steps = make_steps(3)
    text = gaussian_text(steps)
    (run,) = read(text)
    frames, level = run.frames, run.level_of_theory
    assert (run.code_version, run.kind, run.complete, run.flags, frames.flags) == ("ES64L-G16RevA.03", "relax", True, (), ((), (), ()))
    assert frames.energy.tolist() == [step.energy * HARTREE for step in steps]
    for k, step in enumerate(steps):
        np.testing.assert_array_equal(frames.positions[k], step.positions)
        np.testing.assert_allclose(frames.forces[k], step.forces * HARTREE_PER_BOHR, atol=1e-12)
    assert not frames.pbc.any()
    assert (level.functional, level.dispersion, level.charge, level.spin) == ("PBE", "D3(BJ)", 1.0, "none")
    assert level.pseudopotentials == (("Mg", "6-31G(d) (6D, 7F)"), ("O", "6-31G(d) (6D, 7F)"))
    assert find_reader("x.log", text) is GAUSSIAN_LOG


def test_translation_vectors_are_the_cell() -> None:
    """A slab of two vectors: its third row is zero, the k mesh has one point there, the forces on the vectors are nobody's."""
    steps = make_steps(2)
    (run,) = read(gaussian_text(steps, periodic=2))
    frames, level = run.frames, run.level_of_theory
    assert (frames.pbc.tolist(), run.flags, frames.flags) == ([True, True, False], (), ((), ()))
    for k, step in enumerate(steps):
        np.testing.assert_array_equal(frames.cell[k], np.diag([4.25, 4.25, 0.0]))
        np.testing.assert_array_equal(frames.positions[k], step.positions)
        np.testing.assert_allclose(frames.forces[k], step.forces * HARTREE_PER_BOHR, atol=1e-12)
    assert np.isnan(frames.stress).all()
    assert (level.kpoints, level.n_kpoints) == ((8, 6, 1), 25)
    assert level.kpoint_spacing == pytest.approx(2.0 * np.pi / 4.25 / 6)


@pytest.mark.parametrize(
    ("old", "new"), [(b" Lengths of translation vectors:     ", b" Lengths of translation vectors:  1  "), (b"RMS     0.0", b"RMS     0.1")]
)
def test_a_periodic_step_that_contradicts_itself_is_flagged(old: bytes, new: bytes) -> None:
    text = gaussian_text(make_steps(1), periodic=3)
    assert old in text
    (run,) = read(text.replace(old, new))
    assert run.frames.flags == (("contradictory_values",),)


def test_more_than_three_translation_vectors_are_no_geometry() -> None:
    text = gaussian_text(make_steps(1), periodic=3)
    start = text.index(b"         -2")
    row = text[text.rindex(b"\n", 0, start) : text.index(b"\n", start)]
    with pytest.raises(UnreadableOutput):
        read(text.replace(row, row + row.replace(b"\n      3", b"\n      6"), 1))


@pytest.mark.parametrize("step", [0, 1, 2])
def test_a_step_whose_line_of_the_energy_is_missing_is_counted(step: int) -> None:
    text = gaussian_text(make_steps(3))
    start = [k for k in range(len(text)) if text.startswith(b"\n SCF Done:", k)][step]
    (run,) = read(text[:start] + text[text.index(b"\n", start + 1) :])
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (2, 1, ("malformed_steps",))
    assert run.frames.energy.tolist() == [made.energy * HARTREE for k, made in enumerate(make_steps(3)) if k != step]
    end = text.index(b"\n", text.index(b"\n", start + 1) + 1)
    assert read(text[:start] + text[end:])[0].n_malformed_steps == 1


def test_the_change_of_the_density_tells_convergence() -> None:
    (run,) = read(gaussian_text(make_steps(1), change="0.16D-01"))
    assert (run.frames.scf_converged.tolist(), run.frames.flags) == ([0], (("scf_not_converged",),))


def test_forces_are_not_taken_with_the_standard_orientation() -> None:
    (run,) = read(gaussian_text(make_steps(1)).replace(b"Input orientation", b"Some orientation"))
    assert np.isnan(run.frames.forces).all()
    assert "orientation" in run.notes[0]


@pytest.mark.parametrize(
    ("method", "extra", "reason"),
    [
        ("RPM6", (), "not_dft"),
        ("RAM1", (), "not_dft"),
        ("RHF", (" E2 =    -0.1D+00 EUMP2 =    -0.4D+02",), "not_dft"),
        ("RB2PLYP", (" E2(B2PLYP) =    -0.1D+00 E(B2PLYP) =    -0.4D+02",), "not_energies"),
        ("RB3LYP", (" ONIOM: extrapolated energy =    -40.0",), "not_dft"),
        ("RB3LYP", (" Excited State   1:      Singlet-A      5.5 eV",), "not_energies"),
    ],
)
def test_energies_of_other_theories_are_refused(method: str, extra: tuple[str, ...], reason: str) -> None:
    with pytest.raises(UnreadableOutput) as refusal:
        read(gaussian_text(make_steps(1), method=method, extra=extra))
    assert refusal.value.reason == reason


def test_an_energy_without_a_geometry_before_it_is_left_out() -> None:
    text = gaussian_text(make_steps(1))
    start, end = text.index(b" Requested convergence"), text.index(b" Normal termination")
    (run,) = read(text[:end] + text[start:end] + text[end:])
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (1, 1, ("malformed_steps",))


@pytest.mark.parametrize(
    ("method", "functional", "exact"),
    [("RB+HF-LYP", "B3LYP", 0.2), ("RB-P86", "BP86", None), ("RM062X", "M06-2X", 0.54), ("RO-LYP", "OLYP", None), ("ROLYP", "OLYP", None)],
)
def test_a_functional_has_the_name_that_other_codes_give_it(method: str, functional: str, exact: float | None) -> None:
    level = read(gaussian_text(make_steps(1), method=method))[0].level_of_theory
    assert (level.functional, level.exact_exchange, level.spin) == (functional, exact, "none")


def test_an_unrestricted_method_has_two_spins() -> None:
    (run,) = read(gaussian_text(make_steps(1), method="UPBE1PBE"))
    assert (run.level_of_theory.functional, run.level_of_theory.spin, run.level_of_theory.exact_exchange) == ("PBE0", "collinear", 0.25)


def test_a_run_cut_in_its_first_step_has_none() -> None:
    text = gaussian_text(make_steps(1))
    with pytest.raises(UnreadableOutput) as refusal:
        read(text[: text.index(b"SCF Done") + 60])
    assert refusal.value.reason == "no_complete_step"


def test_chunks_and_line_ends_do_not_matter() -> None:
    assert_chunks_and_line_ends_do_not_matter(gaussian_text(make_steps(3)))


@given(cut=st.integers(0, 100_000))
@settings(max_examples=60, deadline=None)
def test_a_cut_output_gives_the_first_steps(cut: int) -> None:
    assert_cut_gives_first_steps(gaussian_text(make_steps(3)), cut, b" Normal termination")


@given(place=st.integers(0, 100_000), byte=st.integers(0, 255))
@settings(max_examples=80, deadline=None)
def test_damage_never_escapes(place: int, byte: int) -> None:
    assert_damage_never_escapes(gaussian_text(make_steps(2)), place, byte)


def turned_first(text: bytes) -> bytes:
    """Return a log of one step with a table of turned forces before that of the input orientation, as frequencies with #P print them."""
    start = text.index(b"\n Center     Atomic                   Forces")
    end = text.index(b"\n", text.index(b"\n Cartesian Forces:", start) + 1)
    table = text[start:end]
    rows = [line.split() for line in table.split(b"\n") if line[:7].strip().isdigit() and len(line.split()) == 5]
    turned = table
    for row in rows:
        old = b"".join(field.rjust(15) for field in row[2:])
        turned = turned.replace(old, b"".join(field.rjust(15) for field in (row[3], row[4], row[2])))
    assert turned != table
    return text[:start] + b"\n Forces in standard orientation:" + turned + b"\n ***** Axes restored to original set *****" + text[start:]


def test_forces_in_the_standard_orientation_are_passed_over() -> None:
    """They are turned, and stand before those that belong to the input orientation."""
    text = gaussian_text(make_steps(1))
    both = turned_first(text)
    (run,), (known,) = read(both), read(text)
    np.testing.assert_array_equal(run.frames.forces, known.frames.forces)
    assert (run.frames.flags, run.notes) == (known.frames.flags, known.notes)
    with pytest.raises(UnreadableOutput):
        read(both[: both.index(b" ***** Axes restored")])


def test_options_that_change_the_functional_are_in_the_level() -> None:
    def level(words: bytes) -> LevelOfTheory:
        return read(gaussian_text(make_steps(1)).replace(b"EmpiricalDispersion=GD3BJ", words))[0].level_of_theory

    assert level(b"IOp(3/107=0150000000,3/108=0150000000)").extra == (("iop", "3/107=0150000000,3/108=0150000000"),)
    assert level(b"int=(grid=ultrafine,dkh2) iop(6/7=3)") == replace(level(b"int=grid=ultrafine"), extra=(("hamiltonian", "DKH"),))
    with pytest.raises(UnreadableOutput, match="point charges"):
        level(b"charge nosymm")


ROUTE = b"#p opt pbepbe/6-31g* EmpiricalDispersion=GD3BJ"


@pytest.mark.parametrize(
    ("route", "reason"),
    [
        (b"#p opt oniom(mn15/def2svp:hf/def2svp:uff)", "not_dft"),
        (b"# MP4(SDQ)/STO-3G", "not_dft"),
        (b"#t rccsd(t)/cc-pvtz scf=(tight, direct) opt", "not_dft"),
        (b"#p cbs-qb3 scf=(xqc, maxcycle = 200)", "not_dft"),
        (b"# opt external='gau_xtb'", "not_dft"),
        (b"# b3lyp/6-31g(d) scf=(tight) td=(nstates=5,root=1) opt", "not_energies"),
        (b"# b3lyp/6-31g(d) counterpoise=2", "not_energies"),
        (b"# b3lyp/6-31g(d) massage", "not_dft"),
    ],
)
def test_a_route_to_another_energy_is_refused_before_that_is_printed(route: bytes, reason: str) -> None:
    """A cut log of ONIOM, coupled clusters or excited states has energies of self-consistency alone, of one layer or the ground state."""
    with pytest.raises(UnreadableOutput) as refusal:
        read(gaussian_text(make_steps(1)).replace(ROUTE, route))
    assert refusal.value.reason == reason


@pytest.mark.parametrize("method", ["RB2PLYPD3", "RDSDPBEP86", "RPDDG"])
def test_a_method_that_is_no_functional_is_refused_by_its_name(method: str) -> None:
    with pytest.raises(UnreadableOutput):
        read(gaussian_text(make_steps(1), method=method))


def _repeated(text: bytes, between: bytes, energy: bytes) -> bytes:
    """Return a log whose last energy is printed again, with another value, behind what stands between."""
    start = text.rindex(b" SCF Done:")
    end = text.index(b"\n", text.index(b"Conv=", start)) + 1
    first = text[start:end]
    again = first.replace(first.partition(b" = ")[2].split()[0], energy)
    return text[:end] + between + again + text[end:]


@pytest.mark.parametrize("between", [b" >>>>>>>>>> Convergence criterion not met.\n", b" The wavefunction has an internal instability.\n"])
def test_of_several_energies_of_one_geometry_the_last_counts(between: bytes) -> None:
    """scf=xqc goes on where the first cycle gave up, stable=opt leaves the state that it found unstable."""
    text = _repeated(gaussian_text(make_steps(2)), between, b"-77.5")
    (run,) = read(text)
    assert run.frames.energy.tolist() == [make_steps(2)[0].energy * HARTREE, -77.5 * HARTREE]
    assert (run.frames.step.tolist(), run.n_malformed_steps, run.flags) == ([0, 1], 0, ())
    assert np.isfinite(run.frames.forces).all()
    (cut,) = read(text[: text.rindex(b" SCF Done:") + 30])
    assert cut.frames.energy.tolist() == [make_steps(2)[0].energy * HARTREE]


def test_an_energy_in_another_field_basis_or_solvent_is_left_out() -> None:
    """Derivatives by finite fields print energies of the same atoms; 'method/large//method/small' ends with another basis."""
    text, (first, second) = gaussian_text(make_steps(2)), make_steps(2)
    field = b" The following finite field(s) will be applied:\n An electric field of              0.0019  0.0000  0.0000\n"
    (run,) = read(_repeated(text, field, b"-77.5"))
    assert run.frames.energy.tolist() == [first.energy * HARTREE, second.energy * HARTREE]
    assert run.flags == ("malformed_steps",)
    place = text.rindex(b" Standard basis: 6-31G(d)")
    (run,) = read(text[:place] + text[place:].replace(b"6-31G(d)", b"6-311G(d)"))
    assert (run.frames.energy.tolist(), run.flags) == ([first.energy * HARTREE], ("malformed_steps",))
    (run,) = read(text[:place] + _continuum(b"Water", b"78.3") + text[place:])
    assert run.frames.energy.tolist() == [first.energy * HARTREE]


def _continuum(name: bytes, eps: bytes) -> bytes:
    return (
        b" Polarizable Continuum Model (PCM)\n =================================\n Model                : PCM.\n"
        b" Atomic radii         : SMD-Coulomb.\n Solvent              : %s, Eps= %s Eps(inf)=   1.777849\n"
        b" ------------------------------------------------------------------------------\n Spheres list:\n" % (name, eps)
    )


def test_the_solvent_is_the_printed_one() -> None:
    """'scrf=(smd,read)' and 'scrf=check' do not tell it; the order of options is no other solvent."""

    def level(words: bytes, block: bytes) -> LevelOfTheory:
        text = gaussian_text(make_steps(1)).replace(b"EmpiricalDispersion=GD3BJ", words)
        return read(text.replace(b" Standard basis", block + b" Standard basis"))[0].level_of_theory

    water, other = _continuum(b"Water", b"78.3"), _continuum(b"Water", b"20.0")
    assert level(b"scrf=(smd,solvent=water)", water) == level(b"SCRF=(Solvent=Water,SMD)", water) == level(b"scrf=check", water)
    assert level(b"scrf=(smd,read)", water) != level(b"scrf=(smd,read)", other)
    assert level(b"scrf=check", b"") != level(b"scrf=check", b" another run\n")


GENERAL = b""" General basis read from cards:  (5D, 7F)
 Centers:   1
 lanl2dz
 ****
 Centers:   1
 f 1 1.00
     Exponent=  3.5250000000D+00 Coefficients=  1.0000000000D+00
 ****
 Centers:   2
 6-31g(d)
 ****
"""
PRINTED = b""" General basis read from cards:  (5D, 7F)
 AO basis set in the form of general basis input (Overlap normalization):
      1 0
 S   1 1.00       0.000000000000
      0.1687144782D+00  0.1000000000D+01
 ****
      2 0
 S   1 1.00       0.000000000000
      0.4380000000D-01  0.1000000000D+01
 ****

"""
CORES = b"""                                       Pseudopotential Parameters
 ======================================================================================================
  Center     Atomic      Valence      Angular      Power
  Number     Number     Electrons     Momentum     of R      Exponent        Coefficient   SO-Coeffient
 ======================================================================================================
    1         12           2
                                      D and up
                                                     1      511.9951763      -10.00000000    0.00000000
    2          8
                                   No pseudopotential on this center.
 ======================================================================================================
"""


def test_a_general_basis_is_known_by_its_functions() -> None:
    """Basis sets read from cards are equal where their names or functions are; one that is not printed is equal to no other."""
    text = gaussian_text(make_steps(1))

    def bases(block: bytes, *, run: bytes = b"") -> dict[str, str]:
        made = text.replace(b" Standard basis: 6-31G(d) (6D, 7F)\n", run + block)
        return dict(read(made)[0].level_of_theory.pseudopotentials)

    assert bases(GENERAL)["O"] == "General basis 6-31g(d) (5D, 7F)"
    assert bases(GENERAL)["Mg"].startswith("General basis lanl2dz + functions ")
    assert bases(GENERAL, run=b" 7\n") == bases(GENERAL) != bases(GENERAL.replace(b"3.525", b"3.526"))
    assert bases(PRINTED, run=b" 7\n") == bases(PRINTED) != bases(PRINTED.replace(b"0.4380", b"0.4381"))
    assert bases(PRINTED)["Mg"] == bases(PRINTED.replace(b"0.4380", b"0.4381"))["Mg"]
    assert bases(GENERAL + CORES)["Mg"].endswith(", 2 electrons")
    assert bases(GENERAL + CORES)["Mg"] != bases(GENERAL + CORES.replace(b"-10.0", b"-11.0"))["Mg"]
    hidden = b" General basis read from cards:  (5D, 7F)\n"
    assert bases(hidden) == bases(hidden) != bases(hidden, run=b" 7\n")
    assert bases(b"") == {"Mg": "keyword 6-31g*", "O": "keyword 6-31g*"}


def test_a_state_of_several_unpaired_electrons_is_in_the_level() -> None:
    (run,) = read(gaussian_text(make_steps(1)).replace(b"Multiplicity = 2", b"Multiplicity = 4"))
    assert run.level_of_theory.extra == (("multiplicity", "4"),)
    (run,) = read(gaussian_text(make_steps(1), method="ROB3LYP"))
    assert (run.level_of_theory.functional, run.level_of_theory.extra) == ("B3LYP", (("open_shells", "restricted"),))


def test_nuclei_that_repel_each_other_otherwise_are_those_of_another_step() -> None:
    """Logs that somebody shortened by hand have energies behind other atoms."""
    text = gaussian_text(make_steps(1)).replace(b"         12           0", b"          6           0")
    (step,) = make_steps(1)
    own = 6 * 8 * BOHR / float(np.linalg.norm(step.positions[1] - step.positions[0]))
    for shown, flags in ((own, ()), (own + 0.01, ("contradictory_values",))):
        line = f"       nuclear repulsion energy {shown:18.10f} Hartrees.\n".encode()
        (run,) = read(text.replace(b" Requested convergence", line + b" Requested convergence"))
        assert run.frames.flags == (flags,)
