"""Trajectories and databases of ASE: numbers as they lie in the file, levels by calculator, nothing but rejections for damage."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from ase.db import connect
from ase.io import Trajectory
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_collections import MadeFrame, made_frames

from lake.collections.proposals import settled
from lake.readers import find_reader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput

FRAMES = made_frames(4)


def atoms_of(frame: MadeFrame, name: str = "unknown", free: bool = True, **parameters: object) -> Atoms:
    atoms = Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=True)
    calculator = SinglePointCalculator(atoms, energy=frame.energy + (0.5 if free else 0.0), forces=frame.forces)
    xx, xy, xz, _, yy, yz, _, _, zz = frame.stress.ravel()
    calculator.results |= {"free_energy": frame.energy} if free else {}
    calculator.results["stress"] = np.array([xx, yy, zz, yz, xz, xy])
    calculator.name = name
    calculator.parameters.update(parameters)
    atoms.calc = calculator
    return atoms


def trajectory(file: Path, atoms: list[Atoms]) -> bytes:
    with Trajectory(file, "w") as written:
        for each in atoms:
            written.write(each)
    return file.read_bytes()


def database(file: Path, atoms: list[Atoms]) -> bytes:
    with connect(file, type="db", use_lock_file=False) as base:
        for each in atoms:
            base.write(each)
    gc.collect()
    return file.read_bytes()


def database_in_json(file: Path, atoms: list[Atoms]) -> bytes:
    with connect(file, type="json", use_lock_file=False) as base:
        for each in atoms:
            base.write(each)
    return file.read_bytes()


def read(data: bytes) -> tuple[Run, ...]:
    spec = find_reader("x", data[:65536])
    assert spec is not None
    assert spec.in_memory
    reader = spec.open()
    for start in range(0, len(data), 1000):
        reader.feed(data[start : start + 1000])
    return settled(reader.collected())  # type: ignore[attr-defined]


@pytest.mark.parametrize("write", [trajectory, database])
def test_the_free_energy_is_the_label_and_the_other_is_sigma0(tmp_path: Path, write: object) -> None:
    (run,) = read(write(tmp_path / "a.db", [atoms_of(frame) for frame in FRAMES]))  # type: ignore[operator]
    assert np.array_equal(run.frames.energy, [frame.energy for frame in FRAMES])
    assert np.array_equal(run.frames.energy_sigma0, [frame.energy + 0.5 for frame in FRAMES])
    assert np.array_equal(run.frames.positions, [frame.positions for frame in FRAMES])
    assert np.array_equal(run.frames.forces, [frame.forces for frame in FRAMES])
    assert np.array_equal(run.frames.stress, [frame.stress for frame in FRAMES])
    assert np.array_equal(run.frames.cell, [frame.cell for frame in FRAMES])
    assert (run.code, run.flags, run.complete) == ("ase", (), True)
    (plain,) = read(write(tmp_path / "b.db", [atoms_of(frame, free=False) for frame in FRAMES]))  # type: ignore[operator]
    assert np.array_equal(plain.frames.energy, [frame.energy for frame in FRAMES])


def test_the_calculator_tells_the_level(tmp_path: Path) -> None:
    images = [atoms_of(FRAMES[0], "vasp", xc="pbe", encut=520), atoms_of(FRAMES[1], "espresso")]
    first, second = read(trajectory(tmp_path / "a.traj", images))
    assert (first.code, first.level_of_theory.functional, first.level_of_theory.cutoff) == ("vasp", "PBE", 520.0)
    assert first.level_of_theory.extra == ()
    assert (second.code, second.level_of_theory.functional) == ("qe", "")
    assert second.level_of_theory.extra != ()


@pytest.mark.parametrize("name", ["emt", "LennardJones", "MACECalculator", "xtb"])
def test_energies_of_calculators_that_are_not_dft_are_refused(tmp_path: Path, name: str) -> None:
    data = trajectory(tmp_path / "a.traj", [atoms_of(frame, name) for frame in FRAMES])
    with pytest.raises(UnreadableOutput) as failure:
        read(data)
    assert failure.value.reason == "not_dft"
    mixed = trajectory(tmp_path / "b.traj", [atoms_of(FRAMES[0], name), atoms_of(FRAMES[1])])
    (run,) = read(mixed)
    assert run.frames.step.tolist() == [1]
    assert any("not DFT" in note for note in run.notes)


def test_constraints_are_kept_apart_from_the_forces(tmp_path: Path) -> None:
    atoms = atoms_of(FRAMES[0])
    atoms.set_constraint(FixAtoms([0, 2]))
    for data in (trajectory(tmp_path / "a.traj", [atoms]), database(tmp_path / "a.db", [atoms])):
        (run,) = read(data)
        assert run.frames.fixed is not None
        assert run.frames.fixed.all(axis=1).tolist() == [True, False, True, False, False]
        assert np.array_equal(run.frames.forces[0], FRAMES[0].forces)


def test_forces_that_a_constraint_made_zero_are_flagged(tmp_path: Path) -> None:
    atoms = atoms_of(FRAMES[0])
    atoms.set_constraint(FixAtoms([0, 2]))
    raw, zeroed = atoms.copy(), atoms.copy()
    raw.calc = SinglePointCalculator(raw, energy=-1.0, forces=atoms.get_forces(apply_constraint=False))
    zeroed.calc = SinglePointCalculator(zeroed, energy=-1.0, forces=atoms.get_forces())
    (run,) = read(trajectory(tmp_path / "a.traj", [raw, zeroed]))
    assert ["constrained_forces" in flags for flags in run.frames.flags] == [False, True]


def test_images_of_different_atoms_are_runs_at_their_places(tmp_path: Path) -> None:
    other = made_frames(1, symbols=("O", "O"))[0]
    first, second = read(trajectory(tmp_path / "a.traj", [atoms_of(FRAMES[0]), atoms_of(other), atoms_of(FRAMES[1])]))
    assert (first.frames.step.tolist(), second.frames.step.tolist()) == ([0, 2], [1])


def test_a_cut_trajectory_gives_the_first_frames(tmp_path: Path) -> None:
    data = trajectory(tmp_path / "a.traj", [atoms_of(frame) for frame in FRAMES])
    counts = set()
    for cut in range(100, len(data), 97):
        try:
            (run,) = read(data[:cut])
        except UnreadableOutput:
            continue
        counts.add(run.frames.count)
        assert np.array_equal(run.frames.energy, [frame.energy for frame in FRAMES[: run.frames.count]])
        assert ("truncated" in run.flags) == (run.frames.count < len(FRAMES))
    assert {1, 2, 3} <= counts


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=6), st.booleans(), st.integers(0, 10**6))
def test_damaged_bytes_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, damage: list[tuple[int, int]], as_database: bool, cut: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / ("damaged.db" if as_database else "damaged.traj")
    if not file.exists():
        (database if as_database else trajectory)(file, [atoms_of(frame) for frame in FRAMES])
    data = bytearray(file.read_bytes())
    for place, byte in damage:
        data[16 + place % (len(data) - 16)] = byte
    reader = find_reader("x", file.read_bytes()[:65536]).open()  # type: ignore[union-attr]
    reader.feed(bytes(data[: len(data) - cut % 2000]))
    try:
        reader.close()
    except UnreadableOutput:
        return


def test_a_database_in_json_has_what_that_of_sqlite_has(tmp_path: Path) -> None:
    atoms = [atoms_of(frame, name="vasp", encut=400) for frame in FRAMES]
    atoms[0].set_constraint(FixAtoms([1]))
    found, expected = read(database_in_json(tmp_path / "a.json", atoms)), read(database(tmp_path / "a.db", atoms))
    assert len(found) == len(expected) == 2
    for run, other in zip(found, expected, strict=True):
        assert (run.level_of_theory, run.flags, run.complete) == (other.level_of_theory, other.flags, True)
        for name in ("numbers", "pbc", "positions", "cell", "energy", "energy_sigma0", "forces", "stress", "step"):
            np.testing.assert_array_equal(getattr(run.frames, name), getattr(other.frames, name))
        np.testing.assert_array_equal(run.frames.fixed, other.frames.fixed)


def test_a_cut_database_in_json_gives_its_whole_rows(tmp_path: Path) -> None:
    data = database_in_json(tmp_path / "a.json", [atoms_of(frame) for frame in FRAMES])
    ends = [data.index(b'"user"', data.index(b'"%d": {' % (k + 1))) + 13 for k in range(len(FRAMES))]
    (whole,) = read(data)
    for cut in (*ends, ends[1] + 40, ends[2] - 20, len(data) - 3):
        count = sum(end <= cut for end in ends)
        (run,) = read(data[:cut])
        assert (run.frames.count, run.flags, run.complete) == (count, ("truncated",), False)
        np.testing.assert_array_equal(run.frames.energy, whole.frames.energy[:count])
    with pytest.raises(UnreadableOutput):
        read(data[:300])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.binary(max_size=3))
def test_damage_of_a_database_in_json_never_raises_anything_else(place: int, other: bytes) -> None:
    frames = ['{"cell": [[4,0,0],[0,4,0],[0,0,4]], "ctime": 1, "energy": -1.0, "numbers": {"__ndarray__": [[2], "int64", [12, 8]]}, '
              '"pbc": [true, true, true], "positions": [[0,0,0],[2,2,2]], "calculator": "vasp"}' for _ in range(2)]  # fmt: skip
    text = bytearray(("{" + ", ".join(f'"{k + 1}": {row}' for k, row in enumerate(frames)) + ', "ids": [1, 2], "nextid": 3}').encode())
    text[place % len(text) : place % len(text) + len(other)] = other
    if find_reader("x.json", bytes(text)) is None:
        return
    with suppress(UnreadableOutput):
        read(bytes(text))


def test_the_first_name_of_the_container_is_read_too(tmp_path: Path) -> None:
    data = trajectory(tmp_path / "a.traj", [atoms_of(frame) for frame in FRAMES])
    (run,) = read(b"AFFormat" + data[8:])
    assert np.array_equal(run.frames.energy, [frame.energy for frame in FRAMES])


@pytest.mark.parametrize("write", [trajectory, database_in_json])
def test_structures_alone_hold_no_label(tmp_path: Path, write: object) -> None:
    bare = [Atoms(frame.symbols, frame.positions, cell=frame.cell, pbc=True) for frame in FRAMES]
    with pytest.raises(UnreadableOutput) as failure:
        read(write(tmp_path / "a.json", bare))  # type: ignore[operator]
    assert failure.value.reason in ("no_complete_step", "needs_units")
    assert "keys: energy" not in failure.value.detail


def test_a_calculator_that_passes_on_results_is_no_code(tmp_path: Path) -> None:
    (run,) = read(trajectory(tmp_path / "a.traj", [atoms_of(frame, "socketiocalculator") for frame in FRAMES]))
    assert run.code == "ase"
