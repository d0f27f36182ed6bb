"""Systems of DeePMD-kit: read together by folder, in any archive, with virial and mixed types."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from made_up_collections import CELL, MadeFrame, made_frames
from made_up_readings import made_calculation, made_reading

from lake.collections.answers import read_answers
from lake.collections.proposals import NeedsUnits, settled
from lake.commit import commit_batch, stage
from lake.exports import export
from lake.inspection import inspect_file
from lake.lake import Lake
from lake.readers.collections.deepmd import read_system
from schemas.elements import symbols_of
from schemas.errors import UnreadableOutput
from schemas.settings import LimitSettings

FRAMES = made_frames(5)
LIMITS = LimitSettings()
EV = read_answers({"units": "energy=eV,length=Angstrom"})


def npy(values: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(values))
    return stream.getvalue()


def set_of(frames: list[MadeFrame]) -> dict[str, bytes]:
    volume = float(np.linalg.det(CELL))
    return {
        "coord.npy": npy([frame.positions.ravel() for frame in frames]),
        "box.npy": npy([frame.cell.ravel() for frame in frames]),
        "energy.npy": npy([frame.energy for frame in frames]),
        "force.npy": npy([frame.forces.ravel() for frame in frames]),
        "virial.npy": npy([(-frame.stress * volume).ravel() for frame in frames]),
    }


def system() -> dict[str, bytes]:
    found = {"type.raw": b"0\n1\n0\n1\n1\n", "type_map.raw": b"Mg\nO\n"}
    found |= {f"set.000/{name}": data for name, data in set_of(FRAMES[:3]).items()}
    return found | {f"set.001/{name}": data for name, data in set_of(FRAMES[3:]).items()}


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def test_a_system_waits_and_comes_whole_when_its_units_are_said(tmp_path: Path) -> None:
    folder = written(tmp_path / "data" / "MgO", system())
    found = inspect_file(folder.parent, LIMITS)
    assert found["calculations"] == []
    assert "energy=eV,length=Angstrom" in found["waiting"][0]["proposal"]
    (run,) = inspect_file(folder.parent, LIMITS, arrays=True, answers=EV)["calculations"]
    assert (run["n_frames"], run["member"]) == (5, "MgO")
    assert [frame["energy"] for frame in run["frames"]] == [frame.energy for frame in FRAMES]
    assert np.array_equal([frame["forces"] for frame in run["frames"]], [frame.forces for frame in FRAMES])
    np.testing.assert_allclose([np.reshape(frame["stress"], (3, 3)) for frame in run["frames"]], [f.stress for f in FRAMES], rtol=1e-12)
    assert "set.001: frames 3 to 4" in run["notes"]
    assert set(run["files"]) >= {"MgO/type.raw", "MgO/set.000/coord.npy"}


def test_an_archive_of_systems_and_a_description_in_it(tmp_path: Path) -> None:
    file = tmp_path / "a.tar"
    with tarfile.open(file, "w") as tar:
        members = {f"sys/{name}": data for name, data in reversed(system().items())} | {
            "atomlake.yaml": b"units: {energy: eV, length: A}\n"
        }
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    found = inspect_file(file, LIMITS)
    assert found["rejections"] == []
    assert [run["n_frames"] for run in found["calculations"]] == [5]


def test_types_without_names_are_asked_for() -> None:
    files = system()
    del files["type_map.raw"]
    with pytest.raises(UnreadableOutput, match="type_map=O H"):
        read_system(files)
    assert read_system(files, "Mg O").series[0].numbers.tolist() == [12, 8, 12, 8, 8]


def test_mixed_systems_part_by_their_types() -> None:
    files = system()
    types = [[0, 1, 0, 1, 1], [0, 1, 0, 1, -1], [0, 1, 0, 1, 1]]
    files = {name: data for name, data in files.items() if not name.startswith("set.001")}
    files |= {"type.raw": b"0 0 0 0 0", "set.000/real_atom_types.npy": npy(types)}
    first, second = read_system(files).series
    assert (first.places.tolist(), second.places.tolist()) == ([0, 2], [1])
    assert second.numbers.tolist() == [12, 8, 12, 8]
    assert np.array_equal(second.positions[0], FRAMES[1].positions[:4])


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("set.000/energy.npy", npy([1.0, 2.0]), "frames of"),
        ("set.000/coord.npy", npy(np.zeros((3, 12))), "expected 15 numbers a frame"),
        ("set.000/coord.npy", b"no array", "ValueError"),
        ("set.001/coord.npy", None, "is not in every set"),
        ("set.000/box.npy", None, "has no box"),
        ("type_map.raw", b"Mg\n", "types up to 1, and 1 elements"),
        ("type_map.raw", b"Mg Qq\n", "not all of which are elements"),
        ("type.raw", b"0 a", "ValueError"),
        ("set.000/coord.npy", npy(np.full((3, 15), np.nan)), "no number"),
    ],
)
def test_files_that_do_not_fit_together(name: str, data: bytes | None, words: str) -> None:
    files = system()
    files = {key: value for key, value in files.items() if key != name} | ({} if data is None else {name: data})
    with pytest.raises(UnreadableOutput, match=words):
        read_system(files)


def test_a_set_that_lacks_a_label_keeps_its_frames() -> None:
    files = {name: data for name, data in system().items() if name not in ("set.001/force.npy", "set.000/virial.npy")}
    found = read_system(files)
    assert np.isnan(found.series[0].vectors["force"]).any(axis=(1, 2)).tolist() == [False] * 3 + [True] * 2
    assert np.isnan(found.columns["virial"].values).any(axis=1).tolist() == [True] * 3 + [False] * 2


def test_a_system_without_energies_holds_no_label() -> None:
    with pytest.raises(UnreadableOutput, match="no energy is in any set") as failure:
        read_system({name: data for name, data in system().items() if not name.endswith("energy.npy")})
    assert failure.value.reason == "no_complete_step"


def test_a_box_beside_nopbc_is_no_cell() -> None:
    (series,) = read_system(system() | {"nopbc": b""}).series
    assert not series.pbc.any()
    assert not series.cell.any()


def test_flat_arrays_are_one_frame() -> None:
    (frame,) = FRAMES[:1]
    flat = {name: npy(np.load(io.BytesIO(data)).ravel().squeeze()) for name, data in set_of([frame]).items()}
    found = read_system({"type.raw": b"0 1 0 1 1", "type_map.raw": b"Mg O"} | {f"set.000/{name}": data for name, data in flat.items()})
    assert np.array_equal(found.series[0].positions[0], frame.positions)
    assert found.columns["energy"].values.tolist() == [[frame.energy]]


def test_the_units_of_the_manual_are_proposed_where_nothing_speaks_against_them() -> None:
    files = {name: data for name, data in system().items() if "set.001" not in name}
    with pytest.raises(NeedsUnits) as failure:
        settled(read_system(files | {"set.000/energy.npy": npy([2.5, 2.6, 2.4]), "set.000/force.npy": npy(np.full((3, 15), 25.0))}))
    assert (failure.value.proposal.units.energy, failure.value.proposal.units.length) == ("eV", "Angstrom")


def test_names_that_are_no_elements_are_asked_for() -> None:
    files = system() | {"type_map.raw": b"HW OW\n"}
    with pytest.raises(UnreadableOutput, match="names HW OW") as failure:
        read_system(files)
    assert failure.value.reason == "needs_units"
    assert read_system(files, "Mg O").series[0].numbers.tolist() == [12, 8, 12, 8, 8]


def raw() -> dict[str, bytes]:
    """Return the system as texts, one frame a line."""
    volume = float(np.linalg.det(CELL))
    tables = {
        "coord": [frame.positions.ravel() for frame in FRAMES],
        "box": [frame.cell.ravel() for frame in FRAMES],
        "energy": [np.array([frame.energy]) for frame in FRAMES],
        "force": [frame.forces.ravel() for frame in FRAMES],
        "virial": [(-frame.stress * volume).ravel() for frame in FRAMES],
    }
    found = {f"{name}.raw": "".join(" ".join(map(repr, row.tolist())) + "\n" for row in rows).encode() for name, rows in tables.items()}
    return {"type.raw": b"0\n1\n0\n1\n1\n", "type_map.raw": b"Mg\nO\n", **found}


def test_texts_give_the_numbers_of_the_sets(tmp_path: Path) -> None:
    texts, sets = read_system(raw()), read_system(system())
    assert (texts.format, texts.said, texts.virial_is_energy) == ("DeePMD raw", sets.said, True)
    for name in ("positions", "cell", "numbers"):
        np.testing.assert_array_equal(getattr(texts.series[0], name), getattr(sets.series[0], name))
    np.testing.assert_array_equal(texts.series[0].vectors["force"], sets.series[0].vectors["force"])
    np.testing.assert_array_equal(texts.columns["virial"].values, sets.columns["virial"].values)
    folder = written(tmp_path / "data" / "MgO", raw())
    (run,) = inspect_file(folder.parent, LIMITS, answers=EV)["calculations"]
    assert (run["n_frames"], run["format"], [frame["energy"] for frame in run["frames"]]) == (5, "DeePMD raw", [f.energy for f in FRAMES])


def test_texts_beside_sets_are_passed_over() -> None:
    assert read_system(system() | raw()).count == 5
    assert read_system(system() | raw()).format == "DeePMD npy"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("force.raw", b"1.0 2.0\n", "line 1 of force.raw has 2 numbers, expected 15"),
        ("energy.raw", b"-1.0\n-2.0\n", "frames of"),
        ("energy.raw", b"", "no energy is there as .raw"),
        ("coord.raw", b"x " * 15 + b"\n", "ValueError"),
        ("box.raw", None, "has no box"),
    ],
)
def test_texts_that_do_not_fit_together(name: str, data: bytes | None, words: str) -> None:
    files = {key: value for key, value in raw().items() if key != name} | ({} if data is None else {name: data})
    with pytest.raises(UnreadableOutput, match=words):
        read_system(files)


def test_a_pickle_is_never_opened() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(UnreadableOutput, match="allow_pickle"):
        read_system(system() | {"set.000/energy.npy": stream.getvalue()})


def test_our_export_comes_back(folder_lake: Lake, tmp_path: Path) -> None:
    blocks = [made_calculation([12, 8, 12, 8], 4, 1), made_calculation([12, 8, 8], 3, 2)]
    commit_batch(folder_lake, [stage(folder_lake, [made_reading("a", *blocks)], "b" * 64, 0)], "b" * 64)
    rows = folder_lake.frames().sort("frame_id").collect()
    export(folder_lake.frames().sort("frame_id"), tmp_path / "systems", "deepmd")
    runs = inspect_file(tmp_path / "systems", LIMITS, arrays=True, answers=EV)["calculations"]
    frames = [frame for run in runs for frame in run["frames"]]
    assert len(frames) == 7
    by_energy = {row["energy"]: row for row in rows.iter_rows(named=True)}
    for frame in frames:
        row = by_energy[frame["energy"]]
        order = np.argsort(np.array(symbols_of(row["numbers"])), kind="stable")
        assert np.array_equal(frame["positions"], np.reshape(row["positions"], (-1, 3))[order])
        assert np.array_equal(frame["forces"], np.reshape(row["forces"], (-1, 3))[order])
        np.testing.assert_allclose(frame["stress"], row["stress"], rtol=1e-13, atol=1e-18)
