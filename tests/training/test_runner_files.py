"""Files of RuNNer and n2p2: what is read, what is refused and how it is said, and that writing and reading again changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms

from schemas.errors import TrainingError
from schemas.units import BOHR, HARTREE
from training.potentials import acsf
from training.potentials.acsf.functions import parse_function
from training.runner_files import RunnerFiles, parse_scaling, parse_weights, read_runner_files, weights_text, write_runner_files
from training.runner_potential import ATOMIC_UNITS, EV_ANGSTROM, RunnerUnits, from_runner, read_runner, to_runner, write_runner
from training.runner_settings import parse_settings, settings_text
from training.stored import load
from training.structures import from_atoms

INPUT = """\
# A potential made by hand.
number_of_elements   2
elements             O H        # in any order
atom_energy          O -74.5
mean_energy          -1.25D+00
conv_energy          20.0
conv_length          3.5
cutoff_type          6 0.1
scale_symmetry_functions
center_symmetry_functions
scale_min_short      -1.0
scale_max_short      1
global_hidden_layers_short  2
global_nodes_short          3 2
global_activation_short     t p l
epochs 10
symfunction_short O 3 O H 0.01 1.0 4.0 8.0
symfunction_short H 2 O 0.2 0.0 9.0   # last in the file, first of H
symfunction_short O 2 O 0.1 0.0 9.0
symfunction_short O 2 H 0.1 0.0 9.0
symfunction_short H 22 H O -8.0 8.0 0.0 180.0 p2
"""
WIDTHS = {"H": (2, 3, 2, 1), "O": (3, 3, 2, 1)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a whole potential of two elements."""
    random = np.random.default_rng(8)
    (tmp_path / "input.nn").write_text(INPUT)
    rows = [f"{place} {column} {low:.6f} {low + 1.5:.6f} {low + 0.4:.6f} 0.3" for place, n in ((1, 2), (2, 3)) for column in range(1, n + 1)
            for low in [random.random()]]  # fmt: skip
    (tmp_path / "scaling.data").write_text("# a comment\n" + "\n".join(rows) + "\n -0.51 -0.48\n")
    for name, widths in (("001", WIDTHS["H"]), ("008", WIDTHS["O"])):
        layers = tuple((random.normal(size=(n, m)), random.normal(size=m)) for n, m in pairwise(widths))
        (tmp_path / f"weights.{name}.data").write_text(weights_text(layers))
    return tmp_path


@pytest.fixture
def water() -> Atoms:
    """Return two water molecules and an oxygen in a small cell, Å."""
    positions = [(0, 0, 0), (0.96, 0, 0.1), (-0.2, 0.93, 0), (2.4, 2.2, 0.3), (3.3, 2.4, 0.1), (2.0, 2.9, 0.9), (1.1, 4.1, 2.3)]
    return Atoms("OH2OH2O", positions, cell=[(4.4, 0, 0), (0.3, 5.1, 0), (0, 0, 3.9)], pbc=True)


def test_settings_are_read_whatever_their_order(folder: Path) -> None:
    settings = read_runner_files(folder).settings
    assert settings.elements == ("H", "O")
    assert (settings.mean_energy, settings.conv_energy, settings.conv_length) == (-1.25, 20.0, 3.5)
    assert (settings.cutoff_type, settings.cutoff_alpha, settings.scaling) == (6, 0.1, "scale+center")
    assert (settings.scale_min, settings.scale_max, settings.nodes, settings.activations) == (-1.0, 1.0, (3, 2), "tpl")
    assert settings.atom_energies == {"O": -74.5}
    assert [function.line() for function in settings.functions] == [
        "H 2 O 0.2 0.0 9.0",
        "H 22 H O -8.0 8.0 0.0 180.0 p2",
        "O 2 H 0.1 0.0 9.0",
        "O 2 O 0.1 0.0 9.0",
        "O 3 H O 0.01 1.0 4.0 8.0",
    ]
    assert settings.unread == ()


def test_functions_stand_in_the_order_of_n2p2() -> None:
    # By type and parameters; compact ones by subtype and neighbours first.
    lines = (
        "C 2 H 0.1 0.0 6.0", "C 2 C 0.2 0.0 6.0", "C 2 H 0.2 1.0 6.0", "C 2 H 0.1 0.0 8.0", "C 3 H H 0.1 -1.0 1.0 6.0",
        "C 3 H H 0.1 1.0 1.0 6.0", "C 3 H H 0.1 -1.0 4.0 6.0", "C 20 H 2.0 6.0 p2",
        "C 20 H 0.0 8.0 p2", "C 20 C 0.0 6.0 p2", "C 20 H 0.0 6.0 p2a",
    )  # fmt: skip
    header = INPUT.partition("symfunction_short")[0].replace("    O H", "    C H").replace("energy          O", "energy C")
    for order in (lines, lines[::-1]):
        text = header + "".join(f"symfunction_short {line}\n" for line in (*order, "H 2 H 0.1 0.0 6.0"))
        assert [function.line() for function in parse_settings(text, "input.nn").of("C")] == list(lines)


def test_written_and_read_again_nothing_has_changed(folder: Path, tmp_path: Path) -> None:
    files = read_runner_files(folder)
    write_runner_files(files, tmp_path / "again")
    again = read_runner_files(tmp_path / "again")
    assert again.settings == files.settings
    assert parse_settings(settings_text(files.settings), "text") == files.settings
    for symbol in ("H", "O"):
        np.testing.assert_array_equal(again.scaling[symbol], files.scaling[symbol])
        for (w1, b1), (w2, b2) in zip(again.weights[symbol], files.weights[symbol], strict=True):
            np.testing.assert_array_equal(w1, w2)
            np.testing.assert_array_equal(b1, b2)


@pytest.mark.parametrize("units", [ATOMIC_UNITS, EV_ANGSTROM, RunnerUnits(0.5, 2.0)])
def test_potential_is_the_same_after_writing_in_any_units(folder: Path, water: Atoms, tmp_path: Path, units: RunnerUnits) -> None:
    potential = read_runner(folder)
    assert potential.card.cutoff == pytest.approx(9.0 * BOHR)
    assert potential.model.references == pytest.approx((-1.25 * HARTREE, (-1.25 - 74.5) * HARTREE))
    write_runner(potential, tmp_path / "written", units)
    again = read_runner(tmp_path / "written", units)
    first, second = (each.energy_forces_stress(from_atoms([water])) for each in (potential, again))
    assert np.abs(first.forces).max() > 1e-3
    assert second.energy[0] == pytest.approx(first.energy[0], rel=1e-13)
    np.testing.assert_allclose(second.forces, first.forces, atol=1e-12)
    np.testing.assert_allclose(second.stress, first.stress, atol=1e-13)
    assert read_runner_files(tmp_path / "written").settings.conv_energy == 1.0, "in the last layer, which every program understands"


def test_output_that_is_not_linear_keeps_its_scale(folder: Path, water: Atoms, tmp_path: Path) -> None:
    text = (folder / "input.nn").read_text().replace("t p l", "t p t")
    (folder / "input.nn").write_text(text)
    potential = read_runner(folder)
    write_runner(potential, tmp_path / "written", EV_ANGSTROM)
    assert read_runner_files(tmp_path / "written").settings.conv_energy == pytest.approx(20.0 / HARTREE)
    again = read_runner(tmp_path / "written", EV_ANGSTROM)
    first, second = (each.energy_forces_stress(from_atoms([water])) for each in (potential, again))
    assert second.energy[0] == pytest.approx(first.energy[0], rel=1e-13)


def test_read_potential_is_stored_and_loaded_as_any(folder: Path, water: Atoms, tmp_path: Path) -> None:
    potential = read_runner(folder, name="water")
    potential.save(tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    assert (loaded.card.name, loaded.card.architecture, loaded.model.dtype) == ("water", "acsf", torch.float64)
    first, second = (each.energy_forces_stress(from_atoms([water])) for each in (potential, loaded))
    np.testing.assert_array_equal(first.energy, second.energy)
    np.testing.assert_array_equal(first.forces, second.forces)
    assert "RuNNer" in loaded.card.notes[0]


def test_energy_is_the_sum_that_the_files_say(folder: Path) -> None:
    # An atom alone sees nothing: all functions are zero, and scaled to -1 + 2 (0 - mean) / (max - min).
    files = read_runner_files(folder)
    values = -1 + 2 * (0 - files.scaling["O"][:, 2]) / (files.scaling["O"][:, 1] - files.scaling["O"][:, 0])
    (w1, b1), (w2, b2), (w3, b3) = files.weights["O"]
    network = np.log1p(np.exp(np.tanh(values @ w1 + b1) @ w2 + b2)) @ w3 + b3
    found = read_runner(folder, EV_ANGSTROM).energy_forces_stress(from_atoms([Atoms("O")]))
    assert found.energy[0] == pytest.approx(float(network[0]) / 20.0 - 1.25 - 74.5, rel=1e-14)


def test_normalized_nodes_and_missing_scaling(folder: Path, water: Atoms, tmp_path: Path) -> None:
    text = INPUT.replace("scale_symmetry_functions\ncenter_symmetry_functions\n", "normalize_nodes\n")
    (folder / "input.nn").write_text(text)
    (folder / "scaling.data").unlink()
    potential = read_runner(folder)
    assert potential.model.shape.normalize_nodes
    assert potential.model.shape.scaling == "none"
    write_runner(potential, tmp_path / "written")
    again = read_runner(tmp_path / "written")
    first, second = (each.energy_forces_stress(from_atoms([water])) for each in (potential, again))
    assert second.energy[0] == pytest.approx(first.energy[0], rel=1e-13)


def test_only_symmetry_functions_have_such_files(folder: Path, tmp_path: Path) -> None:
    from training.potentials import find_potential
    from training.settings import TrainSettings

    spec = find_potential("hdnnp")
    other = spec.build(("H", "O"), 4.0, spec.configure(TrainSettings()))
    with pytest.raises(TrainingError, match="is hdnnp: only potentials on symmetry functions"):
        write_runner(replace(read_runner(folder), model=other), tmp_path / "written")


def test_model_of_ours_is_written_with_sorted_elements(tmp_path: Path, water: Atoms) -> None:
    torch.manual_seed(2)
    shape = acsf.AcsfConfig(radial_functions=2, hidden=(4,))
    model = acsf.Acsf(("O", "H"), 4.0, shape).double()
    model.references, model.scale = (-3.0, -1.0), 0.7
    files = to_runner(model, ATOMIC_UNITS)
    assert files.settings.elements == ("H", "O")
    write_runner_files(files, tmp_path)
    again = from_runner(read_runner_files(tmp_path), ATOMIC_UNITS)
    assert again.references == pytest.approx((-1.0, -3.0), rel=1e-15)
    assert [function.centre for function in again.functions][:1] == ["H"]
    assert again.cutoff == pytest.approx(4.0, rel=1e-15)


def without(keyword: str) -> Callable[[str], str]:
    return lambda text: "\n".join(line for line in text.splitlines() if not line.startswith(keyword))


def instead(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without("cutoff_type"), r"input.nn has no cutoff_type, which every potential needs"),
        (without("elements"), r"input.nn has no elements"),
        (without("symfunction_short H"), r"input.nn: H has no symfunction_short"),
        (instead("number_of_elements   2", "number_of_elements 3"), r"input.nn:3: elements are O H, number_of_elements is 3"),
        (instead("elements             O H", "elements O h"), r"input.nn:3: 'h' is not the symbol of an element \(did you mean 'H'\?\)"),
        (instead("cutoff_type          6 0.1", "cutoff_type 9"), r"input.nn:8: there is no cutoff_type 9"),
        (instead("cutoff_type          6 0.1", "cutoff_type 1 1.5"), r"input.nn:8: alpha is 1.5, expected 0 up to below 1"),
        (instead("conv_energy          20.0", "conv_energy twenty"), r"input.nn:6: conv_energy is 'twenty', expected a number"),
        (instead("conv_energy          20.0", "conv_energy"), r"input.nn:6: conv_energy has 0 values, expected one"),
        (
            instead("global_nodes_short          3 2", "global_nodes_short 3"),
            r"input.nn:14: global_nodes_short 3, expected 2 positive numbers",
        ),
        (instead("t p l", "t q l"), r"input.nn:15: global_activation_short 'tql', expected 3 letters out of"),
        (instead("epochs 10", "cutoff_type 1"), r"input.nn:16: cutoff_type stands a second time, first in .*input.nn:8"),
        (
            instead("epochs 10", "scale_symetry_functions"),
            r"there is no keyword 'scale_symetry_functions' \(did you mean 'scale_symmetry_functions'",
        ),
        (
            instead("epochs 10", "use_electrostatics"),
            r"input.nn:16: use_electrostatics asks for a network for charges, which is not supported",
        ),
        (instead("epochs 10", "nnp_type 4G-HDNNP"), r"input.nn:16: nnp_type is 4G-HDNNP; only 2G-HDNNP is supported"),
        (instead("epochs 10", "scale_symmetry_functions_sigma"), r"scale_symmetry_functions_sigma stands with another scaling keyword"),
        (instead("epochs 10", "atom_energy O -1"), r"input.nn:16: atom_energy of O stands a second time"),
        (
            instead("O 2 O 0.1 0.0 9.0", "O 4 O 0.1 0.0 9.0"),
            r"input.nn:19: symmetry functions of type '4' are not known; known are 2, 3, 9",
        ),
        (instead("O 2 O 0.1 0.0 9.0", "O 2 O 0.1 9.0"), r"input.nn:19: type 2 has 3 parameters \(O 0.1 9.0\), expected 4: neighbour, eta"),
        (instead("O 2 O 0.1 0.0 9.0", "O 2 O x 0.0 9.0"), r"input.nn:19: eta is 'x', expected a number"),
        (instead("O 2 O 0.1 0.0 9.0", "O 2 C 0.1 0.0 9.0"), r"symfunction_short O 2 C 0.1 0.0 9.0 names C; elements are H O"),
        (instead("0.0 180.0 p2", "180.0 0.0 p2"), r"input.nn:21: the angle runs from 180.0 to 0.0"),
    ],
)
def test_settings_that_do_not_fit_say_where(folder: Path, change: Callable[[str], str], said: str) -> None:
    changed = change(INPUT)
    assert changed != INPUT
    (folder / "input.nn").write_text(changed)
    with pytest.raises(TrainingError, match=said):
        read_runner_files(folder)


def test_unknown_keywords_are_noted(folder: Path) -> None:
    (folder / "input.nn").write_text(INPUT + "print_everything\n")
    assert read_runner(folder).card.notes[1] == "Keywords of input.nn that are not known: print_everything."


def test_scaling_that_does_not_fit_says_where(folder: Path) -> None:
    settings = read_runner_files(folder).settings
    lines = (folder / "scaling.data").read_text().splitlines()
    for place, new, said in (
        (2, "1 3 0 1 0.5 0.1", r"scaling.data:3: function 3 of H, but input.nn has 2 for it"),
        (2, "3 1 0 1 0.5 0.1", r"scaling.data:3: element 3, but input.nn has 2 \(H O\)"),
        (2, "1 1 0 1 0.5 0.1", r"scaling.data:3: function 1 of H stands a second time"),
        (2, "1 2 0 1", r"scaling.data:3: 4 columns, expected 6"),
        (2, "1 2 0 one 0.5 0.1", r"scaling.data:3 is 'one', expected a number"),
        (5, "", r"scaling.data: 1 functions of O are missing, first 3; was the file cut off\?"),
    ):
        changed = [*lines[:place], new, *lines[place + 1 :]]
        with pytest.raises(TrainingError, match=said):
            parse_scaling("\n".join(changed), settings, "scaling.data")
    five = "\n".join(" ".join(line.split()[:5]) for line in lines)
    assert np.isnan(parse_scaling(five, settings, "scaling.data")["O"][:, 3]).all()
    with pytest.raises(TrainingError, match="no standard deviations"):
        parse_scaling(five, replace(settings, scaling="sigma"), "scaling.data")


def test_weights_that_do_not_fit_say_where(folder: Path) -> None:
    lines = (folder / "weights.001.data").read_text().splitlines()
    plain = "\n".join(line.split()[0] for line in lines[1:])
    (first, *_), (again, *_) = (parse_weights(text, WIDTHS["H"], "w") for text in ("\n".join(lines), plain))
    np.testing.assert_array_equal(first[0], again[0])
    with pytest.raises(TrainingError, match=r"w: 19 numbers, expected 20 for layers of 2, 3, 2, 1 nodes"):
        parse_weights("\n".join(lines[:-1]), WIDTHS["H"], "w")
    swapped = [lines[0], lines[2], lines[1], *lines[3:]]
    with pytest.raises(TrainingError, match=r"w:2: the connection is a 0 1 1 2, expected a 0 1 1 1 here"):
        parse_weights("\n".join(swapped), WIDTHS["H"], "w")
    with pytest.raises(TrainingError, match=r"w:5: connection is 'nan', expected a number"):
        parse_weights("\n".join([*lines[:4], lines[4].replace(lines[4].split()[0], "nan"), *lines[5:]]), WIDTHS["H"], "w")
    (folder / "weights.008.data").unlink()
    with pytest.raises(TrainingError, match=r"weights.008.data is missing; a potential has input.nn"):
        read_runner_files(folder)


def test_lines_of_functions_are_read_back(folder: Path) -> None:
    files: RunnerFiles = read_runner_files(folder)
    for function in files.settings.functions:
        assert parse_function(function.line().split(), "") == function
        assert function.in_unit(BOHR).in_unit(1 / BOHR).eta == pytest.approx(function.eta, rel=1e-15)
