"""A .gpw made up after the layout of ulm files: energies, level of theory, big-endian arrays, damage and cuts."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest

from lake.readers import find_reader
from lake.readers.gpaw.file import GPAW_FILE
from schemas.calculations import Run
from schemas.errors import UnreadableOutput


def gpw(changes: dict[str, Any] | None = None, *, little: bool = True) -> bytes:
    """Return a .gpw of two atoms; changes replace whole groups."""
    order = "<" if little else ">"
    out = bytearray(b"- of UlmGPAW            " + np.array([3, 1, 0], dtype="<i8").tobytes())

    def stored(values: Any, kind: str) -> dict[str, Any]:
        array = np.array(values)
        place = len(out)
        out.extend(array.astype(np.dtype(kind).newbyteorder(order)).tobytes())
        return {"ndarray": [list(array.shape), kind, place]}

    eigenvalues = {"eigenvalues.": stored(np.zeros((2, 4, 3)), "float64"), "kpts.": {"ibzkpts.": stored(np.zeros((4, 3)), "float64")}}
    eigenvalues["kpts."]["bzkpts."] = stored([[x, y, z] for x in (-0.25, 0.25) for y in (-0.25, 0.25) for z in (0.0, 0.5)], "float64")
    data: dict[str, Any] = {
        "version": 3, "gpaw_version": "22.8.0", "_little_endian": little,
        "atoms.": {
            "numbers.": stored([12, 8], "int64"), "positions.": stored([[0.0, 0, 0], [2.1, 2.1, 2.1]], "float64"),
            "cell": [[4.2, 0, 0], [0, 4.2, 0], [0, 0, 4.2]], "pbc": [True, True, False],
        },
        "results.": {
            "energy": -10.1, "free_energy": -10.2, "forces.": stored([[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]], "float64"),
            "stress.": stored([1.0, 2, 3, 4, 5, 6], "float64"),
        },
        "parameters.": {
            "mode": {"name": "pw", "ecut": 500}, "xc": "PBE", "charge": 1, "occupations": {"name": "fermi-dirac", "width": 0.1},
            "setups": {"Mg": ":d,4.0"},
        },
        "hamiltonian.": {"e_entropy": -0.2, "e_total_free": -10.2, "e_total_extrapolated": -10.1},
        "scf.": {"converged": True},
        "wave_functions.": eigenvalues,
    }  # fmt: skip
    data |= changes or {}
    text = json.dumps({name: value for name, value in data.items() if value is not None}).encode()
    place = len(out)
    out += np.array([len(text)], dtype="<i8").tobytes() + text
    out[40:48] = np.array([len(out)], dtype="<i8").tobytes()
    return bytes(out + np.array([place], dtype="<i8").tobytes())


def read(data: bytes) -> Run:
    assert find_reader("calc.gpw", data[:100]) is GPAW_FILE
    reader = GPAW_FILE.open()
    reader.feed(data)
    (run,) = reader.close()
    return run


@pytest.mark.parametrize("little", [True, False])
def test_reads_energies_and_tables(little: bool) -> None:
    run = read(gpw(little=little))
    frames = run.frames
    assert (frames.energy[0], frames.energy_sigma0[0], frames.energy_internal[0]) == (-10.2, -10.1, -10.0)
    assert frames.stress[0].tolist() == [[1, 6, 5], [6, 2, 4], [5, 4, 3]]
    assert (frames.forces[0, 1].tolist(), frames.numbers.tolist(), frames.pbc.tolist()) == (
        [-0.1, -0.2, -0.3],
        [12, 8],
        [True, True, False],
    )
    level = run.level_of_theory
    assert (level.functional, level.basis, level.cutoff, level.charge, level.spin) == ("PBE", "plane waves", 500.0, 1.0, "collinear")
    assert (level.kpoints, level.n_kpoints, level.hubbard_u) == ((2, 2, 2), 4, (("Mg", "d", 4.0),))


def test_an_older_file_has_its_free_energy_elsewhere() -> None:
    run = read(gpw({"results.": {"energy": -10.1}}))
    assert (run.frames.energy[0], run.frames.flags[0]) == (-10.2, ("scf_unknown",))
    assert np.isnan(run.frames.forces).all()


def test_the_word_of_convergence_counts_where_it_says_no() -> None:
    assert read(gpw()).frames.scf_converged.tolist() == [-1]
    assert read(gpw({"scf.": {"converged": False}})).frames.scf_converged.tolist() == [0]


def test_without_an_energy_there_is_no_step() -> None:
    with pytest.raises(UnreadableOutput, match="no_complete_step"):
        read(gpw({"results.": {}, "hamiltonian.": {}}))


def test_damage_and_cuts_of_gpw_never_raise_anything_else() -> None:
    chance, data = random.Random(5), gpw()
    for _ in range(400):
        damaged = bytearray(data[: chance.randrange(24, len(data))] if chance.random() < 0.3 else data)
        for _ in range(chance.randrange(1, 12)):
            damaged[chance.randrange(24, len(damaged))] = chance.randrange(256)
        try:
            run = read(bytes(damaged))
        except UnreadableOutput:
            continue
        assert run.frames.natoms >= 1


@pytest.mark.parametrize(("shape", "given", "spin"), [
    ((1, 4, 3), {}, "none"), ((2, 4, 3), {}, "collinear"), ((4, 6), {}, "noncollinear"), ((4, 6), {"soc": True}, "spin-orbit"),
])  # fmt: skip
def test_spinors_have_eigenvalues_of_two_dimensions(shape: tuple[int, ...], given: dict[str, Any], spin: str) -> None:
    values = np.zeros(shape).tolist()
    run = read(gpw({"wave_functions.": {"eigenvalues": values}, "parameters.": {"mode": {"name": "pw"}, **given}}))
    assert run.level_of_theory.spin == spin
