"""Every CP2K, ABINIT, SIESTA and OpenMX text of ../shared against values that were read from it by other means."""

from __future__ import annotations

import csv
import gzip
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lake.readers import find_reader
from lake.readers.cp2k.run import Log, LogBuilder
from lake.readers.text_steps import Cutter
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import GPA, HARTREE, KBAR

pytestmark = pytest.mark.shared

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
PIECE = 65536


@dataclass(frozen=True)
class Deviation:
    """Where our number is another one than that of expected.csv, and why."""

    energy: float = 1e-6
    """eV; the printed digits of the number that was taken"""
    stress_not_listed: bool = False
    why: str = ""


DEVIATIONS = {
    "mgo-scf": Deviation(1e-4, True, "E_KS has four decimals, the final report six; the list leaves its tensor out"),
    "h2o-scf": Deviation(1e-4, True, "E_KS has four decimals, the final report six; the list leaves its tensor out"),
    "si-default": Deviation(1e-4, True, "E_KS has four decimals; the list leaves its stress out"),
    "energy-force-v6.1": Deviation(1e-6, True, "'STRESS TENSOR [GPa]' of CP2K before 8 is not in the list"),
    "scf-not-converged-v7.1": Deviation(1e-6, True, "'STRESS TENSOR [GPa]' of CP2K before 8 is not in the list"),
    "mgo/abinit-pbe_mgo_static-own.tar.gz": Deviation(
        1.4e-5, False, "the list has etotal of ResultsGS, rounded to 1e-6 Ha; ETOT has 14 digits"
    ),
    "cao/abinit-pbe_cao_static-own.tar.gz": Deviation(
        1.4e-5, False, "the list has etotal of ResultsGS, rounded to 1e-6 Ha; ETOT has 14 digits"
    ),
}

DFT_CASES = (
    "scf-not-converged-v7.1", "ionic-liquid-md-v2022.1", "md-nvt-v2023.1", "md-npt-f-v2023.1", "energy-force-v6.1", "water-md-virial-v7.1",
    "geo-opt-v2024.3", "h2o-geo-opt", "fe-two-datasets", "si-scf-v10.2.7", "mgo-scf", "h2o-scf", "si-default", "si-no-scf-conv",
    "aln-relax", "methane",
)  # fmt: skip
ARCHIVES = (
    "cao/abinit-pbe_cao_static-own.tar.gz", "mgo/abinit-pbe_mgo_static-own.tar.gz", "cao/cp2k-pbe_cao_static-own.tar.gz",
    "mgo/cp2k-pbe_mgo_static-own.tar.gz", "other-codes/other-codes_h2o_cp2k.tar.gz",
)  # fmt: skip
READ_CODES = {"cp2k", "abinit", "siesta", "openmx"}


def read(name: str, data: bytes, companions: Sequence[Path] = ()) -> tuple[Run, ...]:
    spec = find_reader(name, data[:PIECE])
    assert spec is not None, name
    reader = spec.open()
    for start in range(0, len(data), PIECE):
        reader.feed(data[start : start + PIECE])
    for path in companions:
        reader.take_companion(path.name, path.read_bytes())  # type: ignore[attr-defined]
    return reader.close()


def contents(path: Path) -> bytes:
    return gzip.open(path).read() if path.suffix == ".gz" else path.read_bytes()


def cp2k_log(data: bytes) -> Log:
    """Return all evaluations of a log, also those without positions."""
    cutter, builder = Cutter((b"\n ENERGY| Total FORCE_EVAL",)), LogBuilder()
    for piece in (*cutter.add(data), *cutter.rest()):
        builder.add(piece)
    return builder.log()


def listed(file: Path, column: str, case: str) -> dict[str, str]:
    with file.open(newline="") as lines:
        (row,) = [r for r in csv.DictReader(lines) if r[column] == case and r["code"] in READ_CODES and r.get("format") != "abinit GSR.nc"]
    return row


def floats(text: str) -> list[float]:
    return [float(part) for part in text.split(";")]


def test_every_listed_text_is_tested(shared: Path) -> None:
    with (shared / "dft/expected.csv").open(newline="") as lines:
        cases = {row["case"] for row in csv.DictReader(lines) if row["code"] in READ_CODES and row["format"] != "abinit GSR.nc"}
    with (shared / "dataset-mgcao/expected.csv").open(newline="") as lines:
        archives = {row["archive"] for row in csv.DictReader(lines) if row["code"] in READ_CODES}
    assert (cases, archives) == (set(DFT_CASES), set(ARCHIVES))


@pytest.mark.parametrize("case", [c for c in DFT_CASES if c != "si-no-scf-conv"])
def test_dft(shared: Path, case: str) -> None:
    row = listed(shared / "dft/expected.csv", "case", case)
    data = contents(shared / "dft" / row["code"] / case / row["file"])
    if row["code"] == "cp2k":
        log = cp2k_log(data)
        labels = [evaluation.labels for evaluation in log.evaluations]
        energies, counted, natoms = [x.energy for x in labels], len(labels), len(log.header.atoms.numbers) if log.header.atoms else 0
        forces, stress = labels[-1].forces, labels[-1].stress
        unconverged, complete = sum(e.cycle.converged == 0 for e in log.evaluations), log.complete
    else:
        runs = read(row["file"], data)
        frames = runs[-1].frames
        energies = list(frames.energy_internal if row["code"] == "siesta" else frames.energy)
        counted, natoms = sum(run.frames.count + run.n_malformed_steps for run in runs), frames.natoms
        forces, stress = frames.forces[-1], frames.stress[-1]
        unconverged, complete = int(sum((run.frames.scf_converged == 0).sum() for run in runs)), runs[-1].complete
    deviation = DEVIATIONS.get(case, Deviation())
    assert counted == int(row["n_complete_ionic_steps"])
    assert natoms == int(row["natoms"] or natoms)
    assert energies[-1] == pytest.approx(float(row["E_free_last_eV"]), abs=deviation.energy)
    if row["fmax_last_eV_per_A"]:
        assert forces is not None
        assert np.linalg.norm(forces, axis=1).max() == pytest.approx(float(row["fmax_last_eV_per_A"]), abs=1e-5)
    if row["stress_last_GPa_xx_yy_zz_yz_xz_xy"]:
        assert stress is not None
        assert stress[VOIGT] / GPA == pytest.approx(floats(row["stress_last_GPa_xx_yy_zz_yz_xz_xy"]), abs=1e-3)
    else:
        assert deviation.stress_not_listed or stress is None or bool(np.isnan(stress).all())
    assert unconverged == int(row["scf_unconverged_steps"] or unconverged)
    assert complete == (row["complete_file"] == "yes")


@pytest.mark.parametrize("archive", ARCHIVES)
def test_dataset_mgcao(shared: Path, archive: str) -> None:
    row = listed(shared / "dataset-mgcao/expected.csv", "archive", archive)
    with tarfile.open(shared / "dataset-mgcao" / archive) as tar:
        (member,) = [m for m in tar.getmembers() if m.name.endswith((".out", ".abo"))]
        opened = tar.extractfile(member)
        assert opened is not None
        (run,) = read(Path(member.name).name, opened.read())
    frames = run.frames
    assert (run.complete, frames.count, frames.natoms) == (row["complete"] == "yes", int(row["n_energies"]), int(row["natoms"]))
    assert run.code_version == row["version"].removeprefix("CP2K version ")
    assert frames.energy[-1] == pytest.approx(float(row["E_last_eV"]), abs=DEVIATIONS.get(archive, Deviation()).energy)
    assert np.linalg.norm(frames.forces[-1], axis=1).max() == pytest.approx(float(row["fmax_last_eV_per_A"]), abs=1e-5)
    stress = floats(row["stress_last_GPa_tension_positive_xx_yy_zz_yz_xz_xy"])
    assert frames.stress[-1][VOIGT] / GPA == pytest.approx(stress, abs=1e-4)
    assert int((frames.scf_converged == 0).sum()) == int(row["n_scf_not_converged"])
    assert run.level_of_theory.functional == "PBE"


def test_a_run_without_a_converged_cycle_has_no_step(shared: Path) -> None:
    path = shared / "dft/siesta/si-no-scf-conv/aiida.out"
    with pytest.raises(UnreadableOutput) as refusal:
        read(path.name, path.read_bytes())
    assert refusal.value.reason == "no_complete_step"


@pytest.mark.parametrize(
    ("case", "alone", "with_trajectories", "evaluations"),
    [
        ("md-nvt-v2023.1", 1, 4, 4),
        ("md-npt-f-v2023.1", 1, 4, 4),
        ("water-md-virial-v7.1", 1, 6, 6),
        ("ionic-liquid-md-v2022.1", 1, 1, 2),
        ("h2o-geo-opt", 1, 13, 101),
        ("geo-opt-v2024.3", 1, 1, 5),
    ],
)
def test_cp2k_frames_need_positions(shared: Path, case: str, alone: int, with_trajectories: int, evaluations: int) -> None:
    folder = shared / "dft/cp2k" / case
    (log,) = [path for path in folder.iterdir() if path.name.startswith("output") or ".out" in path.name]
    beside = sorted(folder.glob("*.xyz"))
    (bare,), (whole,) = read(log.name, contents(log)), read(log.name, contents(log), beside)
    assert (bare.frames.count, bare.n_malformed_steps) == (alone, evaluations - alone)
    assert (whole.frames.count, whole.n_malformed_steps) == (with_trajectories, evaluations - with_trajectories)
    assert "companion_of_other_run" not in whole.flags
    np.testing.assert_array_equal(whole.frames.energy[:alone], bare.frames.energy)
    np.testing.assert_allclose(whole.frames.positions[0], bare.frames.positions[0], atol=1e-6)


def test_cp2k_trajectory_of_forces_is_that_of_the_log(shared: Path) -> None:
    folder = shared / "dft/cp2k/ionic-liquid-md-v2022.1"
    data = contents(folder / "output.gz")
    (printed,) = read("output", data)
    without = re.sub(rb"\n ATOMIC FORCES in", b"\n ATOMIC FORCES_in", data)
    (beside,) = read("output", without, sorted(folder.glob("*.xyz")))
    np.testing.assert_allclose(beside.frames.forces[0], printed.frames.forces[0], atol=5e-7)
    assert np.isnan(read("output", without)[0].frames.forces).all()


def test_sign_of_stress_in_cp2k(shared: Path) -> None:
    """A third of the static trace and the kinetic part make the pressure that the dynamics prints."""
    data = contents(shared / "dft/cp2k/ionic-liquid-md-v2022.1/output.gz")
    log = cp2k_log(data)
    stress, cell = log.evaluations[-1].labels.stress, log.header.cell
    assert stress is not None
    assert cell is not None
    printed = re.search(rb"MD\| Kinetic energy \[hartree\] +(\S+)[^$]*?MD\| Pressure \[bar\] +(\S+)", data)
    assert printed is not None
    kinetic, pressure = float(printed.group(1)) * HARTREE, float(printed.group(2)) * KBAR / 1000
    assert -np.trace(stress) / 3 + 2 / 3 * kinetic / np.linalg.det(cell) == pytest.approx(pressure, rel=2e-4)


def test_gsr_of_abinit(shared: Path) -> None:
    """It says neither its functional nor its version, and what it does not say stays empty."""
    with (shared / "dft/expected.csv").open(newline="") as lines:
        (row,) = [r for r in csv.DictReader(lines) if r["format"] == "abinit GSR.nc"]
    (run,) = read(row["file"], (shared / "dft/abinit/si2-gsr-netcdf" / row["file"]).read_bytes())
    frames, level = run.frames, run.level_of_theory
    assert (frames.count, frames.natoms) == (int(row["n_complete_ionic_steps"]), int(row["natoms"]))
    assert frames.energy[0] == pytest.approx(float(row["E_free_last_eV"]), abs=1e-7)
    xx, yy, zz, yz, xz, xy = (value * GPA for value in floats(row["stress_last_GPa_xx_yy_zz_yz_xz_xy"]))
    np.testing.assert_allclose(frames.stress[0], [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]], atol=1e-4 * GPA)
    assert (level.functional, level.n_kpoints, level.smearing, run.code_version) == ("", 2, "none", "")


def test_sign_of_stress_in_abinit_and_siesta(shared: Path) -> None:
    """Both print the pressure beside the tensor."""
    data = (shared / "dft/abinit/fe-two-datasets/Fe.out").read_bytes()
    printed = [float(value) * GPA for value in re.findall(rb"\[Pressure= +(\S+) GPa\]", data)]
    found = [-np.trace(run.frames.stress[0]) / 3 for run in read("Fe.out", data)]
    assert found == pytest.approx(printed, rel=2e-5)
    for case in ("mgo-scf", "h2o-scf"):
        data = (shared / f"dft/siesta/{case}/out").read_bytes()
        (pressure,) = re.findall(rb"siesta: +(\S+) +\S+ +eV/Ang\*\*3", data)
        assert -np.trace(read("out", data)[0].frames.stress[0]) / 3 == pytest.approx(float(pressure), abs=2e-6)


def test_openmx_output_with_its_trajectory(shared: Path) -> None:
    folder = shared / "dft/openmx/aln-relax"
    (bare,), (whole,) = (
        read("AlN.out", (folder / "AlN.out").read_bytes()),
        read("AlN.out", (folder / "AlN.out").read_bytes(), [folder / "AlN.md"]),
    )
    (track,) = read("AlN.md", (folder / "AlN.md").read_bytes())
    assert (bare.frames.step.tolist(), whole.frames.step.tolist()) == ([0, 4], [0, 1, 2, 3, 4])
    np.testing.assert_allclose(whole.frames.energy, track.frames.energy, atol=1.1e-5 * HARTREE)
    np.testing.assert_allclose(whole.frames.positions, track.frames.positions, atol=2e-5)
    np.testing.assert_allclose(whole.frames.forces, track.frames.forces, atol=6e-4)
    assert find_reader("AlN.md2", (folder / "AlN.md2").read_bytes()) is None


def test_levels_of_theory(shared: Path) -> None:
    (iron,) = read("output", (shared / "dft/cp2k/energy-force-v6.1/output").read_bytes())
    level = iron.level_of_theory
    assert (level.functional, level.dispersion, level.hubbard_u, level.spin) == ("PBE", "D3(0)", (("Fe", "d", 3.0),), "collinear")
    assert level.pseudopotentials[1] == ("O", "GTH-PBE-q6 / DZVP-MOLOPT-SR-GTH")
    assert level.density_cutoff == pytest.approx(200 * HARTREE)
    bare, polarised = (run.level_of_theory for run in read("Fe.out", (shared / "dft/abinit/fe-two-datasets/Fe.out").read_bytes()))
    assert (bare.spin, polarised.spin, bare.smearing, bare.kpoints) == ("none", "collinear", "fermi-dirac", (4, 4, 4))
    (oxide,) = read("out", (shared / "dft/siesta/mgo-scf/out").read_bytes())
    assert (oxide.level_of_theory.functional, oxide.level_of_theory.kpoints, oxide.level_of_theory.n_kpoints) == ("LDA", (5, 5, 5), 63)
    (nitride,) = read("AlN.out", (shared / "dft/openmx/aln-relax/AlN.out").read_bytes())
    assert nitride.level_of_theory.pseudopotentials == (("Al", "Al_PBE19 / Al7.0-s2p2d1"), ("N", "N_PBE19 / N6.0-s2p2d1"))
