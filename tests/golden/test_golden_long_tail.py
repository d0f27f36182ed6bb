"""Every FHI-aims, CASTEP, GPAW, NWChem, Elk, ABACUS, Gaussian and ORCA text of ../shared against values read from it by other means."""

from __future__ import annotations

import csv
import gzip
import io
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from ase.io import iread
from made_up_outputs import tar_of

from lake.readers import find_reader
from lake.reading import read_stream
from schemas.calculations import Run
from schemas.settings import LimitSettings
from schemas.units import GPA, HARTREE_PER_BOHR, KBAR

pytestmark = pytest.mark.shared

PIECE = 65536
NOT_READ = {
    "si-pw-gpw2": "a .gpw: test_gpw_of_gpaw",
    "h2-gpw-old": "a .gpw of GPAW before 1.0: test_gpw_of_gpaw",
}
CODES = {"fhi-aims", "castep", "gpaw", "gaussian", "orca", "abacus", "elk", "nwchem"}


@dataclass(frozen=True)
class Deviation:
    """Where our number is another one than that of expected.csv, and why."""

    quantity: str = "energy"
    """The array that has the listed energy."""
    fmax: bool = True
    unconverged: int = 0
    printed_twice: int = 0
    why: str = ""


DEVIATIONS = {
    "not-converged": Deviation(unconverged=1, why="one energy in the text, two lines that say so; the list counts the lines"),
    "cell-relax": Deviation(printed_twice=1, why="the last energy is printed twice, as 'final etot is' and as '!FINAL_ETOT_IS'"),
    "si-geomopt": Deviation(fmax=False, why="all atoms are held fixed: the list has the constrained forces, the text both"),
    "si8-md-npt": Deviation("energy_internal", why="the list has 'Final energy, E'; the forces belong to 'Final free energy (E-TS)'"),
    "si-geom-stress": Deviation("energy_internal", why="the list has 'Final energy, E'; the forces belong to 'Final free energy (E-TS)'"),
}
DFT_CASES = (
    "si-geomopt",
    "ceo2-dftu",
    "dpdata-scf",
    "si8-scf",
    "si8-md-npt",
    "si-geom-stress",
    "o2-geom-spin",
    "methane-g16",
    "not-converged",
    "dvb-gopt-v5.0",
    "cell-relax",
    "al",
    "ch4",
    "geometry-opt",
)


def read(name: str, data: bytes) -> tuple[Run, ...]:
    spec = find_reader(name, data[:PIECE])
    assert spec is not None, name
    reader = spec.open()
    for start in range(0, len(data), PIECE):
        reader.feed(data[start : start + PIECE])
    return reader.close()


def contents(path: Path) -> bytes:
    return gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["code"] in CODES]


def test_every_listed_text_is_tested(shared: Path) -> None:
    assert {row["case"] for row in rows(shared / "dft/expected.csv")} == {*DFT_CASES, *NOT_READ}


@pytest.mark.parametrize("case", DFT_CASES)
def test_dft(shared: Path, case: str) -> None:
    (row,) = [row for row in rows(shared / "dft/expected.csv") if row["case"] == case]
    runs = read(Path(row["file"]).name, contents(shared / "dft" / row["code"] / case / row["file"]))
    frames, deviation = runs[-1].frames, DEVIATIONS.get(case, Deviation())
    assert sum(run.frames.count + run.n_malformed_steps for run in runs) == int(row["n_complete_ionic_steps"]) - deviation.printed_twice
    assert frames.natoms == int(row["natoms"] or frames.natoms)
    assert getattr(frames, deviation.quantity)[-1] == pytest.approx(float(row["E_free_last_eV"]), abs=1e-7)
    if row["fmax_last_eV_per_A"] and deviation.fmax:
        assert np.linalg.norm(frames.forces[-1], axis=1).max() == pytest.approx(float(row["fmax_last_eV_per_A"]), abs=1e-6)
    unconverged = int(row["scf_unconverged_steps"] or 0)
    assert int(sum((run.frames.scf_converged == 0).sum() for run in runs)) == (deviation.unconverged or unconverged)
    assert runs[-1].complete == (row["complete_file"] == "yes")


def test_dataset_mgcao(shared: Path) -> None:
    listed = rows(shared / "dataset-mgcao/expected.csv")
    assert len(listed) == 16
    for row in listed:
        with tarfile.open(shared / "dataset-mgcao" / row["archive"]) as tar:
            (member,) = [m for m in tar.getmembers() if m.name.endswith("gpaw.txt")]
            opened = tar.extractfile(member)
            assert opened is not None
            (run,) = read("gpaw.txt", opened.read())
        frames = run.frames
        assert (run.complete, run.code_version, frames.natoms) == (row["complete"] == "yes", row["version"], int(row["natoms"]))
        assert frames.count == int(row["n_energies"]) == int(row["n_frames_with_forces"])
        assert bool(np.isfinite(frames.forces).all())
        ends = [float(row["E_first_eV"]), float(row["E_last_eV"])]
        assert frames.energy[[0, -1]].tolist() == ends
        assert frames.energy_sigma0[-1] == float(row["E_sigma0_last_eV"])
        assert np.linalg.norm(frames.forces[-1], axis=1).max() == pytest.approx(float(row["fmax_last_eV_per_A"]), abs=1e-6)
        assert bool((frames.scf_converged == 1).all())
        level = run.level_of_theory
        assert (level.functional, level.cutoff, level.kpoints, level.n_kpoints) == ("PBE", 400.0, (2, 2, 2), 4)


def test_sign_of_stress_in_fhi_aims_and_castep(shared: Path) -> None:
    """Both print the pressure beside the tensor."""
    data = (shared / "dft/fhi-aims/si-geomopt/out.out").read_bytes()
    printed = [float(value) for value in re.findall(rb"\|  Pressure: +(\S+) +\[eV/A\*\*3\]", data)]
    (run,) = read("out.out", data)
    assert len(printed) == 5
    assert (-np.trace(run.frames.stress, axis1=1, axis2=2) / 3).tolist() == pytest.approx(printed, abs=2e-8)
    for case, file, plain in (("si8-md-npt", "Si8-md-NPT.castep", 2), ("si-geom-stress", "aiida.castep", 2)):
        data = (shared / "dft/castep" / case / file).read_bytes()
        pressures = [float(value) for value in re.findall(rb"\n \*  Pressure: +(\S+) +\*", data)]
        (run,) = read(file, data)
        found = -np.trace(run.frames.stress, axis1=1, axis2=2) / 3 / GPA
        assert np.isnan(found[:plain]).all()
        assert found[plain:].tolist() == pytest.approx(pressures[: len(found) - plain], abs=6e-5)


def test_sign_of_stress_in_abacus(shared: Path) -> None:
    """The pressure below the table is a third of the printed trace: compression is positive."""
    data = (shared / "dft/abacus/cell-relax/OUT.abacus/running_cell-relax.log").read_bytes()
    printed = [float(value) * KBAR for value in re.findall(rb"TOTAL-PRESSURE: (\S+) KBAR", data)]
    (run,) = read("running_cell-relax.log", data)
    assert (-np.trace(run.frames.stress, axis1=1, axis2=2) / 3).tolist() == pytest.approx(printed, abs=1e-9)


def test_forces_of_elk(shared: Path) -> None:
    """The printed magnitude, and none of one atom where symmetry leaves none."""
    with tarfile.open(shared / "dataset-mgcao/other-codes/other-codes_mgo_elk.tar.gz") as tar:
        (member,) = [m for m in tar.getmembers() if m.name.endswith("INFO.OUT")]
        opened = tar.extractfile(member)
        assert opened is not None
        data = opened.read()
    (run,) = read("INFO.OUT", data)
    printed = [float(value) * HARTREE_PER_BOHR for value in re.findall(rb"total magnitude +: +(\S+)", data)]
    assert np.linalg.norm(run.frames.forces[0], axis=1).tolist() == pytest.approx(printed, abs=1e-6)
    assert (run.level_of_theory.functional, run.level_of_theory.kpoints, run.complete) == ("PBE", (3, 3, 3), True)


def test_nwchem_tasks_are_runs_of_their_own(shared: Path) -> None:
    runs = read("CH4.nwout", (shared / "dft/nwchem/ch4/CH4.nwout").read_bytes())
    assert [run.kind for run in runs] == ["relax", "phonon", "static", "static", "static"]
    assert [run.level_of_theory.charge for run in runs] == [0.0, 0.0, 0.0, 1.0, -1.0]
    assert [run.level_of_theory.pseudopotentials[0] for run in runs] == [("C", "6-31++G*")] * 2 + [("C", "6-311++G**")] * 3
    assert (runs[0].frames.count, runs[0].n_malformed_steps) == (3, 2)


def test_nwchem_gradient_is_that_of_a_falling_energy(shared: Path) -> None:
    with tarfile.open(shared / "dataset-mgcao/other-codes/other-codes_h2o_nwchem-optimize.tar.gz") as tar:
        (member,) = [m for m in tar.getmembers() if m.name.endswith("h2o.nwout")]
        opened = tar.extractfile(member)
        assert opened is not None
        (run,) = read("h2o.nwout", opened.read())
    assert_forces_do_the_work_of_the_energy(run)


def test_orca_gradient_is_that_of_a_falling_energy(shared: Path) -> None:
    (run,) = read("dvb_gopt.out", contents(shared / "dft/orca/dvb-gopt-v5.0/dvb_gopt.out.gz"))
    assert_forces_do_the_work_of_the_energy(run)


def assert_forces_do_the_work_of_the_energy(run: Run) -> None:
    """The work of the mean forces along the steps of an optimisation is the fall of the energy, to second order."""
    frames = run.frames
    whole = np.isfinite(frames.forces).all(axis=(1, 2))
    positions, forces, energy = frames.positions[whole], frames.forces[whole], frames.energy[whole]
    assert len(energy) >= 3
    work = ((forces[1:] + forces[:-1]) / 2 * np.diff(positions, axis=0)).sum(axis=(1, 2))
    np.testing.assert_allclose(work, -np.diff(energy), atol=2e-5, rtol=0.1)


def test_castep_energies_of_other_cutoffs_are_flagged(shared: Path) -> None:
    (run,) = read("Si8-md-NPT.castep", (shared / "dft/castep/si8-md-npt/Si8-md-NPT.castep").read_bytes())
    assert [index for index, flags in enumerate(run.frames.flags) if "final_scf_other_basis" in flags] == [0, 1]
    assert run.frames.energy[-1] == pytest.approx(-855.480294, abs=1e-6)


@pytest.mark.parametrize(("case", "steps", "stressed"), [("si-geom-stress", 31, True), ("o2-geom-spin", 5, False)])
def test_geom_of_castep_agrees_with_its_castep(shared: Path, case: str, steps: int, stressed: bool) -> None:
    """Forces and stress (sign and unit: the .castep prints its own pressure) are equal; energies lie by a constant apart, in all steps."""
    files = {name: (shared / "dft/castep" / case / name).read_bytes() for name in ("aiida.castep", "aiida.geom")}
    (calculation,) = read_stream("a.tar", lambda: io.BytesIO(tar_of(files)), LimitSettings()).calculations
    assert calculation.files == ("aiida.castep", "aiida.geom")
    assert "sources_disagree" not in calculation.run.flags
    (run,) = read("aiida.geom", files["aiida.geom"])
    main, frames = calculation.run.frames, run.frames
    assert (frames.count, run.complete) == (steps, True)
    pairs = []
    for k in range(frames.count):
        apart = np.abs(main.positions - frames.positions[k]).max(axis=(1, 2)) + np.abs(main.cell - frames.cell[k]).max(axis=(1, 2))
        pairs.append(int(apart.argmin()))
        assert apart.min() < 5e-6
    usual = [j for j in pairs if "final_scf_other_basis" not in main.flags[j]]
    chosen = [k for k, j in enumerate(pairs) if j in usual]
    there = [(k, pairs[k]) for k in chosen if np.isfinite(main.forces[pairs[k]]).all()]
    np.testing.assert_allclose(frames.forces[[k for k, _ in there]], main.forces[[j for _, j in there]], atol=6e-6)
    offsets = frames.energy[chosen] - main.energy[usual]
    assert np.ptp(offsets) < 1e-3
    assert abs(offsets).max() < (4e-3 if stressed else 1e-4)
    if stressed:
        np.testing.assert_allclose(frames.stress[chosen], main.stress[usual], atol=1e-8)


def test_gpw_of_gpaw(shared: Path) -> None:
    """The listed energies; one of before 2016, a tar archive, is refused by name."""
    with (shared / "dft/expected.csv").open(newline="") as lines:
        (row,) = [row for row in csv.DictReader(lines) if row["case"] == "si-pw-gpw2"]
    (run,) = read("Si_pw.gpw2", (shared / "dft/gpaw/si-pw-gpw2/Si_pw.gpw2").read_bytes())
    assert run.frames.energy[0] == pytest.approx(float(row["E_free_last_eV"]), abs=1e-8)
    assert run.frames.energy_sigma0[0] == pytest.approx(float(row["E_sigma0_last_eV"]), abs=1e-8)
    assert (run.frames.natoms, run.level_of_theory.functional, run.level_of_theory.cutoff) == (2, "LDA-PW92", 300.0)
    old = read_stream("H2.gpw", lambda: (shared / "dft/gpaw/h2-gpw-old/H2.gpw").open("rb"), LimitSettings())
    assert [(rejection.member, rejection.reason) for rejection in old.rejections] == [("info.xml", "unreadable_output")]


def test_gpw_beside_gpaw_text_has_the_same_numbers(shared: Path) -> None:
    """Stress included: sign and unit of the text, which its strain derivative proves."""
    archive = shared / "dataset-mgcao/cao/gpaw-pbe_cao_rattle-000.tar.gz"
    found = read_stream(archive.name, lambda: archive.open("rb"), LimitSettings()).calculations
    (calculation,) = [each for each in found if each.files[0].endswith(".txt")]
    assert calculation.files[:2] == ("cao_rattle-000/gpaw.txt", "cao_rattle-000/calc.gpw")
    assert (calculation.run.flags, calculation.run.notes) == ((), ())
    with tarfile.open(archive) as tar:
        opened = tar.extractfile("cao_rattle-000/calc.gpw")
        assert opened is not None
        (run,) = read("calc.gpw", opened.read())
    text = calculation.run.frames
    for name, precision in (
        ("energy", 6e-7),
        ("energy_sigma0", 6e-7),
        ("forces", 6e-6),
        ("stress", 6e-7),
        ("positions", 2e-6),
        ("cell", 1e-9),
    ):
        np.testing.assert_allclose(getattr(run.frames, name), getattr(text, name), atol=precision, err_msg=name)
    a, b = run.level_of_theory, calculation.run.level_of_theory
    for name in ("functional", "basis", "cutoff", "kpoints", "n_kpoints", "kpoint_spacing", "smearing", "smearing_width", "spin", "charge"):
        assert getattr(a, name) == getattr(b, name), name


def test_trajectory_beside_gpaw_text_has_the_same_frames(shared: Path) -> None:
    """ASE's own record of energies, places and stress of the same run."""
    for archive, file in (("mgo/gpaw-pbe_mgo_md-600K.tar.gz", "md.traj"), ("cao/gpaw-pbe_cao_rattle-000.tar.gz", "final.traj")):
        with tarfile.open(shared / "dataset-mgcao" / archive) as tar:
            found = {Path(m.name).name: tar.extractfile(m) for m in tar.getmembers() if m.isfile()}
            text, trajectory = found["gpaw.txt"], found[file]
            assert text is not None
            assert trajectory is not None
            (run,) = read("gpaw.txt", text.read())
            images = list(iread(io.BytesIO(trajectory.read()), index=":", format="traj"))
        assert len(images) == run.frames.count
        for k, image in enumerate(images):
            assert image.get_potential_energy() == pytest.approx(run.frames.energy_sigma0[k], abs=1e-6)
            np.testing.assert_allclose(image.positions, run.frames.positions[k], atol=1e-6)
            np.testing.assert_allclose(image.get_forces(apply_constraint=False), run.frames.forces[k], atol=6e-6)
        if np.isfinite(run.frames.stress).all():
            np.testing.assert_allclose(images[-1].get_stress(voigt=False), run.frames.stress[-1], atol=1e-6)
