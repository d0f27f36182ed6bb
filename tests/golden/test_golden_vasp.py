"""VASP outputs of ../shared/dft against values taken from their raw text, ASE, and each other."""

from __future__ import annotations

import csv
import gzip
import lzma
import re
import tarfile
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from lake.readers import find_reader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import GPA

pytestmark = pytest.mark.shared

SHARED = Path(__file__).resolve().parents[3] / "shared"

# Rows of expected.csv that are themselves wrong or mean something else, with the reason; the right values are asserted below.
TABLE_DIFFERS = {
    (
        "nh3-neb-v5.4.4",
        "vasprun.xml",
    ): "three processes wrote into one file: the row joins the energy of one image to the forces of another",
    (
        "ch4-mlff-v6.3.0",
        "OUTCAR",
    ): "E(sigma->0) and stress in the row are those of the second DFT step, energy and force of the fourth",
    ("ti32-aimd-nwrite0-v6.3.0", "OUTCAR"): "NWRITE = 0: eight of ten steps have no geometry in the OUTCAR",
}


@dataclass(frozen=True)
class Row:
    case: str
    file: str
    values: dict[str, str]

    def number(self, name: str) -> float:
        return float(self.values[name] or "nan")


def _rows() -> list[Row]:
    table = SHARED / "dft" / "expected.csv"
    if not table.is_file():
        return []
    with table.open() as lines:
        return [Row(r["case"], r["file"], r) for r in csv.DictReader(lines) if r["code"] == "vasp"]


def _bytes(case: str, file: str) -> bytes:
    path = SHARED / "dft" / "vasp" / case / file
    if not path.is_file():
        with tarfile.open(path.parents[len(Path(file).parts) - 1] / "vaspruns.tar.lzma") as archive:
            member = archive.extractfile(file)
            assert member is not None
            return member.read()
    opened = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)
    with opened(path, "rb") as stream:
        data: bytes = stream.read()
    return data


@cache
def _run(case: str, file: str) -> Run:
    data = _bytes(case, file)
    spec = find_reader(Path(file).name, data[: 64 << 10])
    assert spec is not None
    reader = spec.open()
    reader.feed(data)
    (run,) = reader.close()
    assert run.format == spec.name
    return run


def _stress(frames_stress: np.ndarray) -> np.ndarray:
    s = frames_stress / GPA
    return np.array([s[0, 0], s[1, 1], s[2, 2], s[1, 2], s[0, 2], s[0, 1]])


@pytest.mark.parametrize("row", _rows(), ids=lambda row: f"{row.case}/{row.file}")
def test_equals_raw_text(row: Row, shared: Path) -> None:
    if int(row.values["n_complete_ionic_steps"]) == 0:
        with pytest.raises(UnreadableOutput) as refusal:
            _run(row.case, row.file)
        assert refusal.value.reason == "no_complete_step"
        return
    run = _run(row.case, row.file)
    frames = run.frames
    assert frames.natoms == int(row.number("natoms"))
    assert run.complete == (row.values["complete_file"] == "yes")
    assert int((frames.scf_converged == 0).sum()) == int(row.number("scf_unconverged_steps"))
    if (row.case, row.file) in TABLE_DIFFERS:
        return
    assert frames.count == int(row.number("n_complete_ionic_steps"))
    assert run.n_malformed_steps == 0
    assert frames.energy[-1] == pytest.approx(row.number("E_free_last_eV"), abs=1e-6)
    assert frames.energy_sigma0[-1] == pytest.approx(row.number("E_sigma0_last_eV"), abs=1e-6)
    assert np.linalg.norm(frames.forces[-1], axis=1).max() == pytest.approx(row.number("fmax_last_eV_per_A"), abs=1e-5)
    stress = row.values["stress_last_GPa_xx_yy_zz_yz_xz_xy"]
    if stress:
        np.testing.assert_allclose(_stress(frames.stress[-1]), [float(part) for part in stress.split(";")], atol=1e-4)
    else:
        assert np.isnan(frames.stress).all()


def test_every_row_is_here(shared: Path) -> None:
    assert len(_rows()) == 64


def test_steps_of_several_images_in_one_file_are_told_apart(shared: Path) -> None:
    """Steps in their place are those of one image, as its own OUTCAR has them; the others are marked as stray."""
    frames = _run("nh3-neb-v5.4.4", "vasprun.xml").frames
    images = [_run("nh3-neb-v5.4.4", f"0{k}/OUTCAR.gz").frames for k in (1, 2, 3)]
    assert frames.count == 22
    placed = [k for k in range(frames.count) if "stray_step" not in frames.flags[k]]
    assert len(placed) == 16
    for k in placed:
        assert any(
            abs(image.energy[step] - frames.energy[k]) < 1.5e-8
            and np.abs(image.positions[step] - frames.positions[k]).max() < 2e-5
            and np.abs(image.forces[step] - frames.forces[k]).max() < 2e-6
            for image in images
            for step in range(image.count)
        )
    assert _run("nh3-neb-v5.4.4", "vasprun.xml").n_malformed_steps == 11


def test_steps_of_a_learned_force_field_are_marked(shared: Path) -> None:
    run = _run("ch4-mlff-v6.3.0", "OUTCAR")
    frames = run.frames
    learned = np.array(["machine_learned" in flags for flags in frames.flags])
    assert (frames.count, int(learned.sum())) == (14, 10)
    last = np.flatnonzero(~learned)[-1]
    assert frames.energy[last] == pytest.approx(-24.12697674, abs=1e-8)
    assert frames.energy_sigma0[last] == pytest.approx(-24.12697674, abs=1e-8)
    assert np.linalg.norm(frames.forces[last], axis=1).max() == pytest.approx(0.095767, abs=1e-5)
    np.testing.assert_allclose(_stress(frames.stress[last]), [-0.005056, -0.007254, -0.006219, -0.001208, 0.001259, -0.002715], atol=1e-6)
    assert "pressure_in_energy" not in {flag for flags in frames.flags for flag in flags}


def test_steps_without_geometry_are_counted(shared: Path) -> None:
    outcar, xml = (_run("ti32-aimd-nwrite0-v6.3.0", file) for file in ("OUTCAR", "vasprun.xml"))
    assert (outcar.frames.count, outcar.n_malformed_steps, xml.frames.count) == (2, 8, 10)
    assert "malformed_steps" in outcar.flags
    assert outcar.frames.step.tolist() == [0, 9]
    np.testing.assert_allclose(outcar.frames.energy, xml.frames.energy[[0, 9]], atol=1e-8)


def test_cut_list_of_ion_types_is_completed(shared: Path) -> None:
    run = _run("hea-16-elements-v6.3.0", "OUTCAR")
    assert np.unique(run.frames.numbers).shape == (16,)
    assert run.level_of_theory.charge == 0.0
    assert run.notes


PAIRS = [
    ("si-static-v6.2.0", "out/OUTCAR", "out/vasprun.xml"),
    ("inas-static-v5.3.5", "OUTCAR", "vasprun.xml.gz"),
    ("si-exit-ionic-unconverged", "OUTCAR.gz", "vasprun.xml"),
    ("si1-relax-spin-v6.2.0", "out/OUTCAR", "out/vasprun.xml"),
    ("znps-phonondb-static-v5.4.1", "OUTCAR", "vasprun.xml"),
    ("si-ionic-unfinished", "out/OUTCAR.gz", "out/vasprun.xml"),
    ("h2o-md10-v5.4.4", "OUTCAR", "vasprun.xml"),
    ("ge-vdw-v5.4.4", "OUTCAR", "vasprun.xml"),
    ("ti-o-ti-v6.3.0", "OUTCAR", "vasprun.xml"),
    ("licl64-rattled-2-ispin2", "outputs/OUTCAR.gz", "outputs/vasprun.xml.gz"),
    ("sn1-isolated-atom-v6.1.2", "outputs/OUTCAR.gz", "outputs/vasprun.xml.gz"),
    ("si-r2scan-relax-v6.4.1", "OUTCAR.gz", "vasprun.xml.gz"),
    ("nio-plus-u-v6.4.1", "OUTCAR.gz", "vasprun.xml.gz"),
]


@pytest.mark.parametrize(("case", "outcar", "xml"), PAIRS, ids=lambda value: str(value))
def test_both_outputs_of_a_run_agree(case: str, outcar: str, xml: str, shared: Path) -> None:
    a, b = _run(case, outcar), _run(case, xml)
    assert a.frames.count == b.frames.count
    np.testing.assert_array_equal(a.frames.numbers, b.frames.numbers)
    np.testing.assert_allclose(a.frames.cell, b.frames.cell, atol=1e-7)
    shift = np.linalg.solve(np.swapaxes(b.frames.cell, 1, 2), np.swapaxes(a.frames.positions - b.frames.positions, 1, 2))
    shift -= np.round(shift)
    assert np.abs(np.swapaxes(np.matmul(np.swapaxes(b.frames.cell, 1, 2), shift), 1, 2)).max() < 2e-5
    for name in ("energy", "energy_sigma0", "energy_internal"):
        np.testing.assert_allclose(getattr(a.frames, name), getattr(b.frames, name), atol=2e-8)
    np.testing.assert_allclose(a.frames.forces, b.frames.forces, atol=1e-6)
    np.testing.assert_allclose(a.frames.stress / GPA, b.frames.stress / GPA, atol=2e-5)
    np.testing.assert_array_equal(a.frames.scf_converged, b.frames.scf_converged)
    np.testing.assert_array_equal(a.frames.n_scf_steps, b.frames.n_scf_steps)
    for name in ("functional", "hubbard_u", "smearing", "smearing_width", "spin", "charge", "pseudopotentials", "exact_exchange"):
        assert getattr(a.level_of_theory, name) == getattr(b.level_of_theory, name)
    assert a.level_of_theory.cutoff == pytest.approx(b.level_of_theory.cutoff, abs=0.06)
    assert (a.kind, a.code_version) == (b.kind, b.code_version)


ASE_READS = [
    ("si8-cell-relax-v5.4.1", "vasprun.xml", "vasp-xml"),
    ("h2o-md10-v5.4.4", "vasprun.xml", "vasp-xml"),
    ("si1-relax-spin-v6.2.0", "out/vasprun.xml", "vasp-xml"),
    ("licl64-rattled-11", "outputs/vasprun.xml.gz", "vasp-xml"),
    ("hybrid-zn-mof-v5.4.4", "vasprun.xml.gz", "vasp-xml"),
    ("h2o-md10-v5.4.4", "OUTCAR", "vasp-out"),
    ("si-relax-unfinished-outcar", "OUTCAR.gz", "vasp-out"),
    ("co4-magnetic-v5.4.4", "OUTCAR.gz", "vasp-out"),
    ("boron-oxide-killed-v5.4.4", "OUTCAR", "vasp-out"),
]


@pytest.mark.parametrize(("case", "file", "kind"), ASE_READS, ids=lambda value: str(value))
def test_equals_ase_where_ase_is_right(case: str, file: str, kind: str, shared: Path, tmp_path: Path) -> None:
    import ase.io

    copy = tmp_path / ("OUTCAR" if kind == "vasp-out" else "vasprun.xml")
    copy.write_bytes(_bytes(case, file))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = ase.io.read(copy, ":", format=kind)
    frames = _run(case, file).frames
    assert len(images) == frames.count
    for k, atoms in enumerate(images):
        np.testing.assert_array_equal(atoms.numbers, frames.numbers)
        np.testing.assert_allclose(atoms.cell[:], frames.cell[k], atol=1e-12)
        np.testing.assert_allclose(atoms.positions, frames.positions[k], atol=1e-12)
        np.testing.assert_allclose(atoms.get_forces(apply_constraint=False), frames.forces[k], atol=1e-12)
        assert atoms.get_potential_energy(force_consistent=True) == pytest.approx(frames.energy[k], abs=1e-9)
        assert atoms.get_potential_energy() == pytest.approx(frames.energy_sigma0[k], abs=1e-8)
        if np.isfinite(frames.stress[k]).all():
            np.testing.assert_allclose(atoms.get_stress(voigt=False, apply_constraint=False), frames.stress[k], atol=1e-8)


LEVELS = [
    ("hybrid-zn-mof-v5.4.4", "vasprun.xml.gz", {"functional": "HSE06", "exact_exchange": 0.25}),
    ("nio-plus-u-v6.4.1", "vasprun.xml.gz", {"functional": "PBE", "hubbard_u": (("Ni", "d", 6.2),), "spin": "collinear"}),
    ("gaas-r2scan-static-v6.4.1", "OUTCAR.gz", {"functional": "r2SCAN", "kpoints": (9, 9, 9), "smearing": "tetrahedra"}),
    ("inas-static-v5.3.5", "OUTCAR", {"functional": "LDA"}),
    ("znps-phonondb-static-v5.4.1", "vasprun.xml", {"functional": "PBEsol", "kpoints": (1, 1, 2)}),
    ("ch4-mlff-v6.3.0", "OUTCAR", {"functional": "PW91", "cutoff": 520.0}),
    ("si2-noncollinear-v6.6.0", "vasprun.xml.xz", {"spin": "noncollinear", "n_kpoints": 60}),
]


@pytest.mark.parametrize(("case", "file", "expected"), LEVELS, ids=lambda value: str(value) if isinstance(value, str) else "")
def test_level_of_theory(case: str, file: str, expected: dict[str, object], shared: Path) -> None:
    level = _run(case, file).level_of_theory
    assert {name: getattr(level, name) for name in expected} == expected


def test_kinds_and_flags(shared: Path) -> None:
    assert _run("h2o-md10-v5.4.4", "vasprun.xml").kind == "md"
    assert _run("si8-cell-relax-v5.4.1", "vasprun.xml").kind == "vc-relax"
    assert _run("si-finite-differences-ibrion6", "vasprun.xml").kind == "phonon"
    assert _run("nh3-neb-v5.4.4", "02/OUTCAR.gz").kind == "neb"
    assert _run("gesn-vca-v6.6.0", "vasprun.xml.xz").frames.flags[0] == ("virtual_crystal",)
    assert "linear_response_run" in _run("mgo-lepsilon-v5.4.1", "vasprun.xml").flags
    assert "pulay_suspect" in _run("si8-cell-relax-v5.4.1", "vasprun.xml").frames.flags[-1]
    assert _run("si8-cell-relax-v5.4.1", "vasprun.xml").frames.flags[0] == ()
    assert "truncated" in _run("srtio3-broken-xml", "vasprun.xml.gz").flags
    assert _run("inas-static-v5.3.5", "OUTCAR").frames.flags[0] == ("scf_unknown",)


def test_forces_of_an_image_have_the_projection_that_is_printed_as_real(shared: Path) -> None:
    """`NEB: projections on to tangent (spring, REAL)`: the forces that are taken are those of the functional, without springs."""
    for image in ("01", "02", "03"):
        data = gzip.decompress((shared / "dft/vasp/nh3-neb-v5.4.4" / image / "OUTCAR.gz").read_bytes())
        spec = find_reader("OUTCAR", data[:4096])
        assert spec is not None
        reader = spec.open()
        reader.feed(data)
        (run,) = reader.close()
        tables = re.findall(rb"NEB: Tangent\n[ -]*\n((?:[ \d.E+-]+\n)+)", data)
        printed = [float(value) for value in re.findall(rb"tangent \(spring, REAL\) +\S+ +(\S+)", data)]
        assert len(tables) == len(printed) == run.frames.count
        for rows, forces, value in zip(tables, run.frames.forces, printed, strict=True):
            tangent = np.array(rows.split(), dtype=np.float64).reshape(-1, 3)
            assert abs(float((forces * tangent).sum())) == pytest.approx(abs(value), abs=2e-4)
