"""The reader of pw.x's stdout: which numbers of a step are taken, with which meaning, one test a trap."""

from __future__ import annotations

import re

import numpy as np
import pytest
from made_up_pw_text import ALAT, END, PAIR, header, read, real, scf, total_forces

from schemas.errors import UnreadableOutput
from schemas.units import BOHR, KBAR, RYDBERG, RYDBERG_PER_BOHR, RYDBERG_PER_BOHR3


def test_static_run_labels_and_level() -> None:
    (run,) = read((header() + scf(-145.5) + total_forces(*PAIR) + END).encode())
    frames, level = run.frames, run.level_of_theory
    assert (run.code, run.code_version, run.kind, run.complete, run.flags) == ("qe", "6.7MaX", "static", True, ())
    assert frames.numbers.tolist() == [12, 8]
    assert frames.energy.tolist() == [-145.5 * RYDBERG]
    np.testing.assert_allclose(frames.forces[0], np.array(PAIR) * RYDBERG_PER_BOHR, rtol=1e-15)
    np.testing.assert_allclose(frames.positions[0], np.array([[0.1, 0.2, 0.3], [0.2, 0.2, 0.3]]) * ALAT * BOHR, rtol=1e-14)
    np.testing.assert_allclose(frames.cell[0], np.eye(3) * ALAT * BOHR, rtol=1e-15)
    assert np.isnan(frames.stress).all()
    assert np.isnan(frames.energy_sigma0).all()
    assert (level.functional, level.smearing, level.spin, level.charge, level.kpoints) == ("PBE", "none", "none", 0.0, (1, 1, 1))
    assert level.cutoff == 35 * RYDBERG
    assert level.density_cutoff == 280 * RYDBERG
    assert level.pseudopotentials == (("Mg", f"Mg.UPF md5:{1:032x}"), ("O", f"O.UPF md5:{2:032x}"))


def test_hybrid_takes_the_final_value_not_the_first_semilocal_one() -> None:
    more = "     EXX-fraction              =        0.25"
    loops = "\n     EXX: now go back to refine exchange calculation\n"
    text = header(xc="PBE0 ( 6  4  8  4 0 0)", more=more) + scf(-10.0) + loops + scf(-11.0) + loops + scf(-11.1)
    final = "\n!!   total energy              =     -11.20000000 Ry\n     EXX self-consistency reached\n"
    (run,) = read((text + final + total_forces(*PAIR) + END).encode())
    assert run.frames.energy.tolist() == [-11.2 * RYDBERG]
    assert run.frames.scf_converged.tolist() == [1]
    assert run.frames.n_scf_steps.tolist() == [21]
    assert (run.level_of_theory.functional, run.level_of_theory.exact_exchange) == ("PBE0", 0.25)
    with pytest.raises(UnreadableOutput) as refused:
        read(text.encode())
    assert refused.value.reason == "no_complete_step"


def test_energy_is_the_free_energy_and_the_internal_one_stands_beside() -> None:
    (run,) = read(real("al-smearing.out"))
    text = real("al-smearing.out")
    free = float(re.findall(rb"(?m)^!.*=(.*) Ry", text)[-1])
    minus_ts = float(re.findall(rb"contrib. \(-TS\) +=(.*) Ry", text)[-1])
    assert run.frames.energy[-1] == free * RYDBERG
    assert run.frames.energy_internal[-1] == pytest.approx((free - minus_ts) * RYDBERG, abs=1e-9)
    assert run.level_of_theory.smearing_width is not None


def test_stress_is_the_kbar_columns_with_the_sign_turned() -> None:
    rows = "          total   stress  (Ry/bohr**3)                   (kbar)     P=  100.00\n" + "".join(
        f"{a:13.8f}{b:13.8f}{c:13.8f}{x:13.2f}{y:12.2f}{z:12.2f}\n"
        for a, b, c, x, y, z in (
            (0.00067978, 0.0, -0.00001, 100.00, 0.0, -1.47),
            (0.0, 0.00067978, 0.0, 0.0, 99.99, 0.0),
            (-0.00001, 0.0, 0.00068, -1.47, 0.0, 100.03),
        )
    )
    (run,) = read((header() + scf(-1.0) + rows + END).encode())
    np.testing.assert_allclose(run.frames.stress[0], -np.array([[100, 0, -1.47], [0, 99.99, 0], [-1.47, 0, 100.03]]) * KBAR, atol=1e-15)
    assert "kbar" in run.frames.stress_source
    only_ry = re.sub(r" +\(kbar\)", "", "\n".join(line[:39] if "stress" not in line else line for line in rows.split("\n")))
    (run,) = read((header() + scf(-1.0) + only_ry + END).encode())
    assert run.frames.stress[0, 0, 0] == pytest.approx(-0.00067978 * RYDBERG_PER_BOHR3)


def test_stress_of_a_screened_slab_has_zeros_that_are_none() -> None:
    """With an effective screening medium `stress.f90` prints zeros across the slab, whatever the stress there is."""
    rows = "          total   stress  (Ry/bohr**3)                   (kbar)     P=   66.66\n" + "".join(
        f"{a:13.8f}{b:13.8f}{0.0:13.8f}{x:13.2f}{y:12.2f}{0.0:12.2f}\n"
        for a, b, x, y in ((0.00067978, 0.0, 100.0, 0.0), (0.0, 0.00067978, 0.0, 99.99), (0.0, 0.0, 0.0, 0.0))
    )
    (plain,) = read((header() + scf(-1.0) + rows + END).encode())
    (slab,) = read((header(more="     Boundary Conditions: Metal-Slab-Metal\n") + scf(-1.0) + rows + END).encode())
    assert (slab.level_of_theory.extra, slab.frames.stress_source) == ((("isolated", "esm bc2"),), "")
    assert np.isfinite(plain.frames.stress).all()
    assert np.isnan(slab.frames.stress).all()
    assert slab.frames.flags == ((),)


def test_an_external_force_field_is_in_the_forces_alone() -> None:
    (run,) = read((header(more="   External force field information") + scf(-1.0) + total_forces(*PAIR) + END).encode())
    assert (run.flags, run.level_of_theory.extra) == (("altered_potential",), (("external_force_field", "on"),))


@pytest.mark.parametrize(
    ("unit", "expected"), [("alat", ALAT * BOHR), ("bohr", BOHR), ("angstrom", 1.0), ("crystal", ALAT * BOHR), ("alat= 12.0", 12.0 * BOHR)]
)
def test_position_units(unit: str, expected: float) -> None:
    move = f"\nATOMIC_POSITIONS ({unit})\nMg            0.1000000000        0.2000000000        0.3000000000\n"
    move += "O             0.5000000000        0.6000000000        0.7000000000\n\n"
    (run,) = read((header() + scf(-1.0) + move + scf(-2.0) + END).encode())
    np.testing.assert_allclose(run.frames.positions[1], np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]]) * expected, rtol=1e-14)


def test_cell_parameters_in_the_starting_alat_and_the_final_scf() -> None:
    cell = "\nCELL_PARAMETERS (alat= 10.00000000)\n" + "".join(
        f"{a:14.9f}{b:14.9f}{c:14.9f}\n" for a, b, c in ((1.1, 0, 0), (0, 1.1, 0), (0, 0, 1.1))
    )
    move = cell + "\nATOMIC_POSITIONS (crystal)\nMg            0.1000000000        0.2000000000        0.3000000000\n"
    move += "O             0.5000000000        0.6000000000        0.7000000000\n\n"
    start = header(more="     press convergence thresh. =      5.0E-01") + scf(-1.0) + "\n     BFGS Geometry Optimization\n"
    end = "\nBegin final coordinates\n" + move + "End final coordinates\n     A final scf calculation at the relaxed structure.\n"
    (run,) = read((start + move + scf(-2.0) + "\n     End of BFGS Geometry Optimization\n" + end + scf(-2.1) + END).encode())
    assert run.kind == "vc-relax"
    assert run.frames.flags == ((), ("pulay_suspect",), ("final_scf_other_basis",))
    np.testing.assert_allclose(run.frames.cell[1:], np.broadcast_to(np.eye(3) * 11 * BOHR, (2, 3, 3)), rtol=1e-14)
    np.testing.assert_allclose(run.frames.positions[2, 0], np.array([0.1, 0.2, 0.3]) * 11 * BOHR, rtol=1e-14)


def test_relaxation_that_prints_its_cell_at_the_end_has_a_fixed_cell() -> None:
    (run,) = read(real("h2o-relax.out"))
    assert run.kind == "relax"
    assert run.frames.count == 4
    assert run.frames.scf_converged.tolist() == [1, 1, 1, 1]


def test_variable_cell_relaxation_of_mgo() -> None:
    (run,) = read(real("mgo-vc-relax.out"))
    assert (run.kind, run.frames.count, run.level_of_theory.kpoints) == ("vc-relax", 12, (2, 2, 2))
    assert run.frames.flags[-1] == ("final_scf_other_basis",)
    assert run.frames.flags[0] == ()
    assert all(flags == ("pulay_suspect",) for flags in run.frames.flags[1:-1])
    np.testing.assert_array_equal(run.frames.positions[-1], run.frames.positions[-2])


def test_labels_with_digits_and_fixed_coordinates() -> None:
    text = header(labels=("Fe1", "Fe2")) + scf(-1.0)
    move = "\nATOMIC_POSITIONS (bohr)\nFe1           2.1613760074        0.0000000000        0.0000000000\n"
    move += "Fe2           0.0000000000        0.0000000000        0.0000000000    0   1   0\n\n"
    (run,) = read((text + move + scf(-2.0) + total_forces(*PAIR) + END).encode())
    assert run.frames.numbers.tolist() == [26, 26]
    assert run.frames.fixed is not None
    assert run.frames.fixed.tolist() == [[False] * 3, [True, False, True]]
    np.testing.assert_allclose(run.frames.forces[1, 1], np.array(PAIR[1]) * RYDBERG_PER_BOHR)


def test_messages_that_name_a_block_are_not_one() -> None:
    text = header(more="     ATOMIC_POSITIONS: units set to alat\n     CELL_PARAMETERS: units set to bohr") + scf(-1.0) + END
    (run,) = read(text.encode())
    assert run.frames.count == 1


def test_unconverged_steps_that_the_code_calls_converged() -> None:
    (run,) = read(real("md-unconverged.out"))
    assert run.complete
    assert run.frames.scf_converged.tolist() == [0, 0, 0, 0, 1, 1]
    assert [("scf_not_converged" in flags) for flags in run.frames.flags] == [True] * 4 + [False] * 2


def test_new_threshold_between_steps_is_the_one_in_force() -> None:
    move = "\n     new conv_thr            =       0.0000000010 Ry\n\nATOMIC_POSITIONS (bohr)\n"
    move += "Mg            2.0000000000        0.0000000000        0.0000000000\n"
    move += "O             0.0000000000        0.0000000000        0.0000000000\n"
    text = header() + scf(-1.0, accuracy="9.0E-09") + move + scf(-2.0, accuracy="9.0E-09") + END
    (run,) = read(text.encode())
    assert run.frames.scf_converged.tolist() == [1, 0]


def test_failed_scf_is_no_step_and_job_done_is_no_proof() -> None:
    failed = "\n     total energy              =     -10.00000000 Ry\n     convergence NOT achieved after   4 iterations: stopping\n"
    with pytest.raises(UnreadableOutput) as refused:
        read((header() + failed + END).encode())
    assert refused.value.reason == "no_complete_step"
    assert "NOT achieved after 4 iterations" in refused.value.detail
    move = "\nATOMIC_POSITIONS (bohr)\nMg            2.0000000000        0.0000000000        0.0000000000\n"
    move += "O             0.0000000000        0.0000000000        0.0000000000\n"
    (run,) = read((header() + scf(-1.0) + move + failed + END).encode())
    assert run.frames.count == 1
    assert any("NOT achieved" in note for note in run.notes)


def test_energies_of_geometries_that_are_not_printed_are_no_label() -> None:
    """One printed geometry has one energy: another step's, or another program's in pw.x's words, must not be put to it."""
    for more, reason in (("", "no_complete_step"), ("\n ZERO CURRENT CALCULATED\n", "not_energies")):
        with pytest.raises(UnreadableOutput) as refusal:
            read((header() + scf(-10.0) + scf(-10.2) + more + END).encode())
        assert refusal.value.reason == reason


def test_each_iteration_may_print_an_energy() -> None:
    """With iprint = 1 an energy stands behind every iteration of one cycle; the last is that of the step."""
    early = (
        scf(-9.0, accuracy="0.3")
        .replace("     End of self-consistent calculation\n", "")
        .replace("convergence has been achieved", "going on")
    )
    (run,) = read((header() + early + scf(-10.0) + END).encode())
    assert (run.frames.energy.tolist(), run.frames.scf_converged.tolist()) == ([-10.0 * RYDBERG], [1])
