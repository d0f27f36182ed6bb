"""Every Quantum ESPRESSO output of ../shared against values that were read from it by other means."""

from __future__ import annotations

import csv
import io
import math
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import ase.io.espresso
import numpy as np
import pytest
from numpy.typing import NDArray

from lake.readers import find_reader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import BOHR, GPA, RYDBERG, RYDBERG_PER_BOHR

pytestmark = pytest.mark.shared

VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])
OTHER_RUN = {"aq-failed-interrupted-stdout"}
"""The XML beside this stdout is of another run (notes/dft-output.md, 2.3.9)."""


def read(name: str, data: bytes) -> tuple[Run, ...]:
    spec = find_reader(name, data[:65536])
    assert spec is not None, name
    reader = spec.open()
    for start in range(0, len(data), 65536):
        reader.feed(data[start : start + 65536])
    return reader.close()


def rows(file: Path, column: str) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return [row for row in csv.DictReader(lines) if row[column] == "qe"]


def members(archive: Path, name: str) -> Iterator[tuple[str, bytes]]:
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as bundle:
            for member in bundle.namelist():
                if member.endswith(name):
                    yield str(Path(member).parent), bundle.read(member)
        return
    with tarfile.open(archive) as tar:
        for entry in tar:
            if entry.isfile() and entry.name.endswith(name):
                opened = tar.extractfile(entry)
                assert opened is not None
                yield str(Path(entry.name).parent), opened.read()


def number(text: str) -> float:
    return float(text) if text else math.nan


def last_labels(run: Run) -> tuple[float, float, NDArray[np.float64]]:
    frames = run.frames
    return frames.energy[-1], np.linalg.norm(frames.forces[-1], axis=1).max(), frames.stress[-1][VOIGT] / GPA


def compare(run: Run, energy: str, force: str, stress: str) -> None:
    found_energy, found_force, found_stress = last_labels(run)
    assert found_energy == pytest.approx(number(energy), abs=1e-6)
    if force:
        assert found_force == pytest.approx(number(force), abs=1e-5)
    else:
        assert math.isnan(found_force)
    if stress:
        assert found_stress == pytest.approx([number(part) for part in stress.split(";")], abs=1e-4)
    else:
        assert np.isnan(found_stress).all()


def test_reference_outputs(shared: Path) -> None:
    cases = rows(shared / "dft" / "expected.csv", "format")
    assert len(cases) >= 18
    for row in cases:
        data = (shared / "dft" / "qe" / row["case"] / row["file"]).read_bytes()
        n = int(row["n_complete_ionic_steps"])
        if n == 0:
            with pytest.raises(UnreadableOutput, match="no_complete_step"):
                read(row["file"], data)
            continue
        (run,) = read(row["file"], data)
        assert (run.frames.count, run.frames.natoms, run.format) == (n, int(row["natoms"]), "pw.x stdout"), row["case"]
        assert run.complete == (row["complete_file"] == "yes"), row["case"]
        assert int((run.frames.scf_converged == 0).sum()) == int(row["scf_unconverged_steps"]), row["case"]
        assert (run.frames.scf_converged >= 0).all(), row["case"]
        compare(run, row["E_free_last_eV"], row["fmax_last_eV_per_A"], row["stress_last_GPa_xx_yy_zz_yz_xz_xy"])


def test_own_runs(shared: Path) -> None:
    folder = shared / "dataset-mgcao"
    cases = rows(folder / "expected.csv", "code")
    assert len(cases) > 100
    outputs = {
        (archive, member): data for archive in {row["archive"] for row in cases} for member, data in members(folder / archive, "pw.out")
    }
    for row in cases:
        (run,) = read("pw.out", outputs[row["archive"], row["member"]])
        assert run.frames.count == int(row["n_energies"]), row
        assert int(np.isfinite(run.frames.forces).all(axis=(1, 2)).sum()) == int(row["n_frames_with_forces"]), row
        assert (run.code_version, run.frames.natoms, run.complete) == (row["version"], int(row["natoms"]), row["complete"] == "yes"), row
        assert int((run.frames.scf_converged == 0).sum()) == int(row["n_scf_not_converged"]), row
        assert run.frames.energy[0] == pytest.approx(number(row["E_first_eV"]), abs=1e-6)
        compare(run, row["E_last_eV"], row["fmax_last_eV_per_A"], row["stress_last_GPa_tension_positive_xx_yy_zz_yz_xz_xy"])


def pairs(shared: Path) -> Iterator[tuple[str, bytes, bytes]]:
    for folder in sorted((shared / "dft" / "qe").iterdir()):
        if (folder / "data-file-schema.xml").exists() and folder.name not in OTHER_RUN:
            yield folder.name, (folder / "aiida.out").read_bytes(), (folder / "data-file-schema.xml").read_bytes()
    for archive in sorted((shared / "dataset-mgcao").glob("*/*qe*")):
        outputs = dict(members(archive, "pw.out"))
        for name, xml in members(archive, "data-file-schema.xml"):
            yield f"{archive.name}!{name}", outputs[name], xml


def test_stdout_and_xml_of_the_same_run_agree(shared: Path) -> None:
    seen = 0
    for name, out, xml in pairs(shared):
        try:
            (text,) = read("pw.out", out)
        except UnreadableOutput:
            with pytest.raises(UnreadableOutput, match="no_complete_step"):
                read("data-file-schema.xml", xml)
            continue
        (tree,) = read("data-file-schema.xml", xml)
        a, b = text.frames, tree.frames
        assert (a.count, a.flags, text.kind, text.code_version) == (b.count, b.flags, tree.kind, tree.code_version), name
        np.testing.assert_allclose(a.energy, b.energy, atol=1e-6, rtol=0, err_msg=name)
        np.testing.assert_allclose(a.forces, b.forces, atol=2e-7, rtol=0, err_msg=name)
        np.testing.assert_allclose(a.positions, b.positions, atol=1e-6, rtol=0, err_msg=name)
        np.testing.assert_allclose(a.cell, b.cell, atol=3e-6, rtol=0, err_msg=name)
        np.testing.assert_array_equal(a.n_scf_steps, b.n_scf_steps, err_msg=name)
        given = np.isfinite(b.stress)
        np.testing.assert_allclose(a.stress[given] / GPA, b.stress[given] / GPA, atol=6e-4, rtol=0, err_msg=name)
        levels = (text.level_of_theory, tree.level_of_theory)
        for field in (
            "functional",
            "hubbard_u",
            "kpoints",
            "n_kpoints",
            "smearing",
            "spin",
            "charge",
            "dispersion",
            "exact_exchange",
            "extra",
        ):
            assert getattr(levels[0], field) == getattr(levels[1], field), (name, field)
        assert levels[0].cutoff == pytest.approx(levels[1].cutoff)
        seen += 1
    assert seen > 100


@pytest.mark.parametrize(
    "case", ["qe-suite-md-wfc-extrap1", "qe-suite-vc-relax2", "qe-suite-relax-fire", "qe-suite-lda+u-force", "ch4-scf-v5.4.0"]
)
def test_ase_reads_the_same(shared: Path, case: str) -> None:
    data = (shared / "dft" / "qe" / case / "pw.out").read_bytes()
    (run,) = read("pw.out", data)
    units = ase.io.espresso.units
    images = list(ase.io.espresso.read_espresso_out(io.StringIO(data.decode()), index=slice(None)))
    assert len(images) == run.frames.count
    for place, atoms in enumerate(images):
        forces = atoms.get_forces(apply_constraint=False) * RYDBERG_PER_BOHR * units["Bohr"] / units["Ry"]
        np.testing.assert_allclose(run.frames.forces[place], forces, atol=1e-9, rtol=0)
        np.testing.assert_allclose(run.frames.positions[place], atoms.positions * BOHR / units["Bohr"], atol=2e-6, rtol=0)
        assert run.frames.energy[place] == pytest.approx(atoms.get_potential_energy() * RYDBERG / units["Ry"], abs=1e-8)
        assert run.frames.numbers.tolist() == atoms.numbers.tolist()


def test_bad_outputs_are_refused_or_flagged(shared: Path) -> None:
    bad = shared / "dataset-mgcao" / "bad"
    for name in ("scf-not-converged", "missing-pseudo-crash", "out-of-time"):
        ((_, data),) = members(bad / f"{name}.tar.gz", "pw.out")
        with pytest.raises(UnreadableOutput, match="no_complete_step"):
            read("pw.out", data)
    ((_, data),) = members(bad / "killed-md.tar.gz", "pw.out")
    (run,) = read("pw.out", data)
    assert (run.frames.count, run.complete, run.flags) == (data.count(b"\n!  "), False, ("truncated",))
    ((_, data),) = members(bad / "md-unconverged-but-continues.tar.gz", "pw.out")
    (run,) = read("pw.out", data)
    assert run.frames.scf_converged.tolist() == [0, 0, 0, 0, 1, 1]
    ((_, plain),) = members(bad / "same-run-A.tar.gz", "pw.out")
    ((_, dos),) = members(bad / "same-run-A-crlf.tar.gz", "pw.out")
    assert plain != dos
    (a,), (b,) = read("pw.out", plain), read("pw.out", dos)
    np.testing.assert_array_equal(a.frames.forces, b.frames.forces)
    np.testing.assert_array_equal(a.frames.positions, b.frames.positions)
    assert (a.frames.energy.tolist(), a.level_of_theory) == (b.frames.energy.tolist(), b.level_of_theory)
