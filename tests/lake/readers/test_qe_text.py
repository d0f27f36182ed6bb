"""The reader of pw.x's stdout: its traps, one test each, and what must hold for any bytes."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.readers import find_reader
from lake.readers.qe.text import PW_STDOUT, PwTextReader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import BOHR, KBAR, RYDBERG, RYDBERG_PER_BOHR, RYDBERG_PER_BOHR3

DATA = Path(__file__).resolve().parents[2] / "data" / "qe"
ALAT = 10.0


def real(name: str) -> bytes:
    return gzip.decompress((DATA / f"{name}.gz").read_bytes())


def read(text: bytes, size: int = 1 << 20) -> tuple[Run, ...]:
    reader = PwTextReader()
    for start in range(0, len(text), size):
        reader.feed(text[start : start + size])
    return reader.close()


def header(*, labels: tuple[str, ...] = ("Mg", "O"), xc: str = "PBE ( 1  4  3  4 0 0)", more: str = "", version: str = "6.7MaX") -> str:
    species = dict.fromkeys(labels)
    pseudos = "".join(
        f"     PseudoPot. # {n} for {re.sub('[^A-Za-z]', '', s):2s} read from file:\n     ./{s}.UPF\n     MD5 check sum: {n:032x}\n\n"
        for n, s in enumerate(species, 1)
    )
    table = "".join(f"        {s:6s}         2.00    24.30500     {re.sub('[^A-Za-z]', '', s):2s}( 1.00)\n" for s in species)
    sites = "".join(
        f"      {n:4d}        {' ' * 3}{s:3s} tau({n:4d}) = ({0.1 * n:12.7f}{0.2:12.7f}{0.3:12.7f}  )\n" for n, s in enumerate(labels, 1)
    )
    return f"""
     Program PWSCF v.{version} starts on 22Nov2026 at  5:13: 1

     This program is part of the open-source Quantum ESPRESSO suite

     lattice parameter (alat)  =      10.0000  a.u.
     number of atoms/cell      = {len(labels):12d}
     number of atomic types    = {len(species):12d}
     number of electrons       = {2 * len(labels):12.2f}
     kinetic-energy cutoff     =      35.0000  Ry
     charge density cutoff     =     280.0000  Ry
     scf convergence threshold =      1.0E-08
     Exchange-correlation      = {xc}
{more}
     celldm(1)=  10.000000  celldm(2)=   0.000000  celldm(3)=   0.000000

     crystal axes: (cart. coord. in units of alat)
               a(1) = (   1.000000   0.000000   0.000000 )
               a(2) = (   0.000000   1.000000   0.000000 )
               a(3) = (   0.000000   0.000000   1.000000 )

{pseudos}
     atomic species   valence    mass     pseudopotential
{table}
   Cartesian axes

     site n.     atom                  positions (alat units)
{sites}
     number of k points=     1
                       cart. coord. in units 2pi/alat
        k(    1) = (   0.0000000   0.0000000   0.0000000), wk =   2.0000000

     Self-consistent Calculation
"""


def scf(energy: float, *, accuracy: str = "1.0E-09", mark: str = "! ", said: str = "has been achieved in   7 iterations") -> str:
    return f"""
     End of self-consistent calculation

{mark}   total energy              = {energy:16.8f} Ry
     estimated scf accuracy    <  {accuracy:>15s} Ry

     convergence {said}
"""


def forces(*rows: tuple[float, float, float], scale: float = 1.0) -> str:
    table = "".join(
        f"     atom {n:4d} type  1   force = {''.join(f'{scale * value:14.8f}' for value in row)}\n" for n, row in enumerate(rows, 1)
    )
    return table


def total_forces(*rows: tuple[float, float, float]) -> str:
    return (
        "\n     Forces acting on atoms (cartesian axes, Ry/au):\n\n"
        + forces(*rows)
        + "     The non-local contrib.  to forces\n"
        + forces(*rows, scale=7.0)
        + "\n     Total force =     0.057069     Total SCF correction =     0.000006\n"
    )


END = "\n     init_run     :      0.02s CPU\n\n=------=\n   JOB DONE.\n=------=\n"
PAIR = ((0.1, 0.2, 0.3), (-0.1, -0.2, -0.3))


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


@pytest.mark.parametrize(("ngauss", "name"), [(0, "gaussian"), (1, "methfessel-paxton"), (-1, "marzari-vanderbilt"), (-99, "fermi-dirac")])
def test_version_4_prints_the_number_of_its_smearing(ngauss: int, name: str) -> None:
    points = "number of k points=     1"
    line = f"{points}  gaussian broad. (Ry)=  0.0200     ngauss = {ngauss:3d}"
    (run,) = read((header() + scf(-10.0) + "\n" + END).replace(points, line).encode())
    assert (run.level_of_theory.smearing, run.level_of_theory.smearing_width) == (name, 0.02 * RYDBERG)


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


def test_several_runs_in_one_log() -> None:
    first = header(version="6.1") + scf(-1.0) + END
    a, b, c = read((first + first + header(version="6.3") + scf(-3.0) + END).encode())
    assert [run.code_version for run in (a, b, c)] == ["6.1", "6.1", "6.3"]
    assert [run.frames.energy[0] for run in (a, b, c)] == [-1.0 * RYDBERG, -1.0 * RYDBERG, -3.0 * RYDBERG]


def test_a_log_cut_within_the_second_run_keeps_the_first() -> None:
    runs = read((header() + scf(-1.0) + END + header() + scf(-2.0)).encode())
    assert [run.frames.energy.tolist() for run in runs] == [[-1.0 * RYDBERG]]


def test_glued_and_overflowed_fields() -> None:
    rows = "     atom    1 type  1   force =     0.12345678-1234.12345678 -999.99999999\n"
    stars = "     atom    2 type  1   force =     0.12345678**************    0.00000000\n"
    text = header(labels=("Mg", "Mg")) + scf(-1.0) + "\n     Forces acting on atoms (cartesian axes, Ry/au):\n\n"
    (run,) = read((text + rows + rows.replace(" 1 type", " 2 type") + "\n" + END).encode())
    np.testing.assert_array_equal(run.frames.forces[0, 0], np.array([0.12345678, -1234.12345678, -999.99999999]) * RYDBERG_PER_BOHR)
    (run,) = read((text + rows + stars + "\n" + END).encode())
    assert np.isnan(run.frames.forces).all()
    assert run.frames.flags == (("malformed_values",),)


def test_unreadable_geometry_leaves_the_step_out_and_counts_it() -> None:
    torn = "\nCELL_PARAMETERS (angstrom)\n   4.0 %%%%%%%%%%%%%%%%%\n     Error in routine x (1):\n     y\n"
    move = "\nATOMIC_POSITIONS (bohr)\nMg            2.0000000000        0.0000000000        0.0000000000\n"
    move += "O             0.0000000000        0.0000000000        0.0000000000\n"
    (run,) = read((header() + scf(-1.0) + torn + move + scf(-2.0) + END).encode())
    assert run.frames.count == 1
    assert run.n_malformed_steps == 1
    assert run.flags == ("malformed_steps",)


def test_line_ends_make_no_difference() -> None:
    text = real("md-unconverged.out")
    plain, dos = read(text)[0], read(text.replace(b"\n", b"\r\n"))[0]
    for name in ("energy", "positions", "forces", "stress", "cell"):
        np.testing.assert_array_equal(getattr(plain.frames, name), getattr(dos.frames, name))
    assert (plain.flags, plain.notes, plain.level_of_theory) == (dos.flags, dos.notes, dos.level_of_theory)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (header() + "\n     End of band structure calculation\n" + END, "not_energies"),
        ("\n     Program PHONON v.6.7 starts on 1Jan2026\n     Quantum ESPRESSO suite\n", "not_energies"),
        ("\n     Program CP v.6.7 starts on 1Jan2026\n     Quantum ESPRESSO suite\n", "not_energies"),
        ("\n     Program NEB v.6.7 starts on 1Jan2026\n     Quantum ESPRESSO suite\n", "unknown_format"),
        ("\n     Program PWSCF v.6.7 starts on 1Jan2026\n", "no_complete_step"),
        ("something else", "unreadable_output"),
    ],
)
def test_refusals_name_a_reason(text: str, reason: str) -> None:
    with pytest.raises(UnreadableOutput) as refused:
        read(text.encode())
    assert refused.value.reason == reason
    assert refused.value.remedy


def test_bytes_decide_what_is_read() -> None:
    spec = find_reader("anything.txt", real("md-unconverged.out")[:65536])
    assert spec is PW_STDOUT
    assert find_reader("pw.out", b"<!DOCTYPE html><html><body>502</body></html>") is None


@pytest.mark.parametrize(
    ("xc", "name"),
    [
        ("SLA  PZ   NOGX NOGC ( 1  1  0  0 0 0)", "LDA"),
        ("SLA  PW   PBX  PBC\n                           (   1   4   3   4   0   0   0)", "PBE"),
        ("PBESOL ( 1  4 10  8 0 0)", "PBEsol"),
        ("HSE ( 1  4 12  4 0 0)", "HSE06"),
        ("B3LYP ( 7 12  9  7 0 0)", "B3LYP"),
        ("RVV10\n                           (   1   4  13   4  26   0   0)", "rVV10"),
        ("VDW-DF\n                           (   1   4   4   0   1   0   0)", "vdW-DF"),
        ("SCAN ( 0  0  0  0 0 4)", "SCAN"),
        ("SLA PW RPBE XYZ (   1   4  44   4   0   0   0)", "RPBE"),
        ("NEW THING ( 99 98 97 96 0 0)", "NEW THING"),
    ],
)
def test_functional_names(xc: str, name: str) -> None:
    (run,) = read((header(xc=xc) + scf(-1.0) + END).encode())
    assert run.level_of_theory.functional == name


def prefix_of(part: Run, whole: Run) -> bool:
    n = part.frames.count
    names = ("energy", "positions", "forces", "stress", "cell", "energy_internal", "scf_converged", "n_scf_steps", "step")
    same = all(np.array_equal(getattr(part.frames, name), getattr(whole.frames, name)[:n], equal_nan=True) for name in names)
    return same and part.frames.flags == whole.frames.flags[:n]


@pytest.mark.parametrize("name", ["md-unconverged.out", "h2o-relax.out", "mgo-vc-relax.out"])
def test_any_prefix_gives_the_exact_prefix_of_the_frames(name: str) -> None:
    text = real(name)
    (whole,) = read(text)

    @settings(max_examples=25, derandomize=True, deadline=None, database=None)
    @given(st.integers(min_value=0, max_value=len(text) - 200))
    def check(cut: int) -> None:
        try:
            (part,) = read(text[:cut])
        except UnreadableOutput:
            return
        assert prefix_of(part, whole)
        assert part.flags == ("truncated",)
        assert not part.complete

    check()


def test_an_image_of_neb_x_is_a_run_without_banner_and_end() -> None:
    """Its places stand before the summary of each iteration, in bohr with ten decimals, not in alat with seven."""
    text = real("neb-image.out")
    (run,) = read(text)
    frames = run.frames
    printed = np.array([float(word) for word in re.findall(rb"\n! +total energy += +(\S+) Ry", text)])
    places = np.array([line.split()[1:4] for line in text.split(b"\n") if line.startswith(b"H   ")], dtype=float)
    forces = np.array([line.split(b"=")[1].split() for line in text.split(b"\n") if b"   force =" in line], dtype=float)
    assert (run.kind, run.complete, run.flags, frames.count) == ("neb", True, (), len(printed))
    np.testing.assert_allclose(frames.energy, printed * RYDBERG, rtol=1e-15)
    np.testing.assert_allclose(frames.positions.reshape(-1, 3), places * BOHR, rtol=1e-15)
    np.testing.assert_allclose(frames.forces.reshape(-1, 3), forces * RYDBERG_PER_BOHR, rtol=1e-15)
    assert (run.level_of_theory.functional, run.level_of_theory.spin) == ("LDA", "collinear")
    assert find_reader("PW.out", text[:65536]) is PW_STDOUT


@pytest.mark.parametrize("cut", range(500, 36_000, 1775))
def test_a_cut_image_of_neb_x_gives_its_first_steps(cut: int) -> None:
    text = real("neb-image.out")
    (whole,) = read(text)
    done = len(re.findall(rb"Total SCF correction = +\d\.\d{6}\n", text[:cut]))
    if done == 0:
        with pytest.raises(UnreadableOutput):
            read(text[:cut])
        return
    (part,) = read(text[:cut])
    assert (part.frames.count, part.flags, prefix_of(part, whole)) == (done, ("truncated",), True)


@pytest.mark.parametrize("size", [1, 7, 4096, 70_001])
def test_chunk_size_does_not_matter(size: int) -> None:
    text = real("h2o-relax.out")
    (a,), (b,) = read(text), read(text, size)
    assert prefix_of(a, b)
    assert (a.level_of_theory, a.notes, a.flags) == (b.level_of_theory, b.notes, b.flags)


def test_random_damage_raises_nothing_else() -> None:
    text = real("md-unconverged.out")

    @settings(max_examples=40, derandomize=True, deadline=None, database=None)
    @given(st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(0, 255)), min_size=1, max_size=60))
    def check(bytes_changed: list[tuple[int, int]]) -> None:
        damaged = bytearray(text)
        for place, value in bytes_changed:
            damaged[place] = value
        try:
            runs = read(bytes(damaged))
        except UnreadableOutput:
            return
        for run in runs:
            assert np.isfinite(run.frames.energy).all()
            assert np.isfinite(run.frames.positions).all()

    check()


def test_long_log_is_read_in_bounded_memory() -> None:
    text = real("md-unconverged.out")
    start = text.index(b"\nATOMIC_POSITIONS")
    stop = text.index(b"\nATOMIC_POSITIONS", start + 1)
    reader = PwTextReader()
    reader.feed(text[:start])
    peak = 0
    for _ in range(400):
        reader.feed(text[start:stop])
        peak = max(peak, len(reader._buffer))
    reader.feed(text[stop:])
    (run,) = reader.close()
    assert run.frames.count == 400 + 5
    assert peak < 2 << 20


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


@pytest.mark.parametrize(
    ("line", "dispersion", "extra"),
    [
        ("     Dispersion XDM Correction =      -0.03716278 Ry", "XDM", ()),
        ("     Dispersion Correction     =      -0.03997490 Ry", "D2", ()),
        ("     Hubbard energy            =       0.14000918 Ry", "", (("hubbard_u", "on"),)),
        ("     Hubbard energy            =       0.00000000 Ry", "", ()),
        ("OSCDFT: iteration type 0: micro-iteration of OS-CDFT multipliers inside iteration of rho", "", (("oscdft", "on"),)),
        ("     External forces energy    =       0.00010000 Ry", "", (("external_forces", "on"),)),
        ("     lambda                    =       5.00 Ry", "", (("constrained_magnetization", "on"),)),
        ("     Magnetic field            =   0.0000000   0.0000000   0.0100000 Ry", "", (("magnetic_field", "on"),)),
    ],
)
def test_parts_of_the_energy_tell_what_the_header_does_not(line: str, dispersion: str, extra: tuple[tuple[str, str], ...]) -> None:
    (run,) = read((header() + scf(-10.0) + "\n" + line + "\n" + END).encode())
    assert (run.level_of_theory.dispersion, run.level_of_theory.extra) == (dispersion, extra)
    assert (
        ("altered_potential" in run.flags) == (extra == (("external_forces", "on"),)) == any("ATOMIC_FORCES" in note for note in run.notes)
    )
