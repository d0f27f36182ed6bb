"""Every collection of ../shared against expected.csv: the numbers as they are written in the files, counts, and the proposals."""

from __future__ import annotations

import csv
import gzip
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from ase.io import read as ase_read

from lake.collections.answers import read_answers
from lake.inspection import inspect_file
from lake.readers import find_reader
from schemas.settings import LimitSettings
from schemas.units import HARTREE

pytestmark = pytest.mark.shared
LIMITS = LimitSettings()
CODES = {"extxyz", "runner", "deepmd", "ase-db", "ase-traj"}
NOT_READ = {"test.json": "a JSON list of pymatgen structures"}
LABELS = {
    "B_DFT_data.xyz": "REF_energy",
    "MoS2_energy_forces_stress.xyz": "Energy",
    "mlip_test.xyz": "dft_energy",
    "mlip_train.xyz": "dft_energy",
    "mlip_valid.xyz": "dft_energy",
}
"""Keys of the energies that expected.csv lists; 'energy' in the other files."""
EV = read_answers({"units": "energy=eV,length=Angstrom"})
HA = read_answers({"units": "energy=Ha,length=bohr"})


def rows(shared: Path) -> list[dict[str, str]]:
    with (shared / "dft/expected.csv").open(newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["code"] in CODES and row["file"] not in NOT_READ]


def path_of(shared: Path, row: dict[str, str]) -> Path:
    return shared / "dft" / row["code"] / row["case"] / row["file"]


def test_every_xyz_and_input_data_has_the_listed_numbers(shared: Path) -> None:
    found = [row for row in rows(shared) if row["code"] in ("extxyz", "runner")]
    assert len(found) == 12
    for row in found:
        path = path_of(shared, row)
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        spec = find_reader(path.name, data[:65536])
        assert spec is not None, path
        reader = spec.open()
        for start in range(0, len(data), 65536):
            reader.feed(data[start : start + 65536])
        collection = reader.collected()  # type: ignore[attr-defined]
        assert collection.count == int(row["n_complete_ionic_steps"])
        assert (collection.n_malformed, collection.truncated) == (0, False)
        energies = collection.columns[LABELS.get(row["file"], "energy")]
        assert energies.places[-1] == collection.count - 1
        assert energies.values[-1, 0] == pytest.approx(float(row["E_free_last_eV"]), abs=5e-9)
        sizes = sorted({len(series.numbers) for series in collection.series})
        low, _, high = row["natoms"].partition("-")
        assert (sizes[0], sizes[-1]) == (int(low), int(high or low))
        if row["fmax_last_eV_per_A"]:
            (last,) = [series for series in collection.series if series.places[-1] == collection.count - 1]
            largest = np.linalg.norm(last.vectors["forces"][-1], axis=1).max()
            assert largest == pytest.approx(float(row["fmax_last_eV_per_A"]), abs=1e-6)


@pytest.mark.parametrize("name", ["boron-dft/B_DFT_data.xyz", "carbon-reduced/carbon_reduced_100.xyz", "janus-nacl-train/mlip_train.xyz"])
def test_extxyz_gives_the_numbers_that_ase_gives(shared: Path, name: str) -> None:
    path = shared / "dft/extxyz" / name
    reader = find_reader(path.name, path.read_bytes()[:65536]).open()  # type: ignore[union-attr]
    reader.feed(path.read_bytes())
    collection = reader.collected()  # type: ignore[attr-defined]
    images = ase_read(path, index=":", format="extxyz")
    for series in collection.series:
        for i, place in enumerate(series.places):
            atoms = images[place]
            assert np.array_equal(series.positions[i], atoms.positions)
            assert np.array_equal(series.cell[i], atoms.cell.array)
            assert np.array_equal(series.pbc, atoms.pbc)
            assert np.array_equal(series.numbers, atoms.numbers)
            for column, values in series.vectors.items():
                known = atoms.arrays.get(column)
                if known is not None:
                    assert np.array_equal(values[i], known)


def test_units_of_n2p2s_own_examples_are_told_apart(shared: Path) -> None:
    water, sulfide = (shared / "dft/runner" / case / "input.data" for case in ("h2o-rpbe-d3", "cu2s-pbe"))
    assert proposal(water) == "--units 'energy=Ha,length=bohr' --keys 'energy=energy,forces=forces'"
    assert proposal(sulfide) == "--units 'energy=eV,length=Angstrom' --keys 'energy=energy,forces=forces'"
    taken = inspect_file(water, LIMITS, answers=HA)["calculations"]
    assert sum(run["n_frames"] for run in taken) == 20
    last = max((frame for run in taken for frame in run["frames"]), key=lambda frame: frame["step"])
    assert last["energy"] == pytest.approx(-4900.14395256 * HARTREE, abs=1e-6)
    for path, wrong in ((water, EV), (sulfide, HA)):
        found = inspect_file(path, LIMITS, answers=wrong)["calculations"]
        assert all("units_implausible" in run["flags"] for run in found), path


def proposal(path: Path) -> str:
    found = inspect_file(path, LIMITS)
    assert found["calculations"] == []
    (waiting,) = found["waiting"]
    assert [each["reason"] for each in found["rejections"]] == ["needs_units"]
    return str(waiting["proposal"])


def test_structures_without_labels(shared: Path) -> None:
    found = inspect_file(shared / "dft/runner/cu2s-md-no-labels/input.data.gz", LIMITS)
    assert [each["reason"] for each in found["rejections"]] == ["no_complete_step"]
    assert "all zero" in found["rejections"][0]["detail"]


def test_right_units_raise_no_flag(shared: Path) -> None:
    for row in rows(shared):
        if row["code"] != "extxyz":
            continue
        found = inspect_file(path_of(shared, row), LIMITS, answers=EV)
        assert sum(run["n_frames"] for run in found["calculations"]) == int(row["n_complete_ionic_steps"])
        assert not any("units_implausible" in run["flags"] for run in found["calculations"]), row["file"]


def test_every_file_waits_until_its_units_are_said(shared: Path) -> None:
    for row in rows(shared):
        if row["code"] == "extxyz":
            assert "energy=" in proposal(path_of(shared, row))


def test_trajectory_of_ase(shared: Path) -> None:
    path = shared / "dft/ase-traj/healo/HeAlO.traj"
    found = inspect_file(path, LIMITS, arrays=True)
    assert found["rejections"] == []
    frames = {frame["step"]: frame for run in found["calculations"] for frame in run["frames"]}
    images = ase_read(path, index=":")
    assert sorted(frames) == list(range(len(images))) == list(range(11))
    assert frames[10]["energy"] == 6.30193648
    for step, atoms in enumerate(images):
        assert frames[step]["energy"] == atoms.get_potential_energy(force_consistent=True)
        assert np.array_equal(frames[step]["positions"], atoms.positions)
        assert np.array_equal(frames[step]["forces"], atoms.get_forces(apply_constraint=False))
        assert np.array_equal(np.reshape(frames[step]["stress"], (3, 3)), atoms.get_stress(voigt=False))


def test_qm9_has_its_numbers_in_the_data(shared: Path) -> None:
    path = shared / "dft/ase-db/qm9-sample/test_qm9.db"
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as base:
        rows = base.execute("SELECT id, energy, numbers FROM systems ORDER BY id").fetchall()
    assert len(rows) == 20
    assert all(row[1] is None for row in rows)
    waiting = inspect_file(path, LIMITS)
    assert waiting["calculations"] == []
    assert "which of energy_U0, energy_U, free_energy is the energy" in waiting["rejections"][0]["detail"]
    found = inspect_file(path, LIMITS, answers=read_answers({"keys": "energy=energy_U0"}))["calculations"]
    frames = {frame["step"]: (run, frame) for run in found for frame in run["frames"]}
    assert len(frames) == 20
    # Methane and water of QM9: U0 = -40.47893 and -76.404702 Ha (gdb_1 and gdb_3).
    assert frames[0][1]["energy"] == pytest.approx(-40.47893 * HARTREE, abs=1e-9)
    assert frames[2][1]["energy"] == pytest.approx(-76.404702 * HARTREE, abs=1e-9)
    assert not any(run["flags"] for run, _ in frames.values())


def test_system_of_deepmd(shared: Path) -> None:
    folder = shared / "dft/deepmd/water-4-systems"
    waiting = inspect_file(folder, LIMITS)
    assert waiting["calculations"] == []
    assert waiting["waiting"][0]["proposal"].startswith("--units 'energy=eV,length=Angstrom'")
    (run,) = inspect_file(folder, LIMITS, arrays=True, answers=EV)["calculations"]
    assert (run["n_frames"], run["natoms"]) == (80, 192)
    assert run["frames"][-1]["energy"] == -29944.8515625
    assert run["flags"] == []
    force = np.load(folder / "set.000/force.npy").astype(float).reshape(80, 192, 3)
    assert np.array_equal([frame["forces"] for frame in run["frames"]], force)
