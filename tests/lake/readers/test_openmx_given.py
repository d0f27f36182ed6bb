"""Inputs of OpenMX beside its outputs: what they add to an .md, where they are not used, and what is said of one alone."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from made_up_logs import Made, make_steps
from made_up_orbitals import openmx_md_text, openmx_text
from made_up_outputs import tar_of

from lake.readers.openmx.given import recognises_input
from lake.reading import Contents, read_stream
from schemas.calculations import Calculation
from schemas.settings import LimitSettings
from schemas.units import BOLTZMANN, RYDBERG

STEPS = make_steps(3)
TRACK = openmx_md_text(STEPS, [0.0, 1.0, 2.0])


def input_text(steps: Sequence[Made], *, name: str = "X") -> bytes:
    """Return the input that an .out repeats."""
    text = openmx_text(steps[:1], kind="NVE")
    start, end = text.index(b"<Definition"), text.index(b"                  SCF history")
    return b"#\n# an input\n#\nSystem.Name   " + name.encode() + b"  # of all files\n" + text[start:end] + b"scf.SpinPolarization On\n"


GIVEN = input_text(STEPS)
WRITTEN = input_text(STEPS[-1:])


def contents(files: Mapping[str, bytes]) -> Contents:
    return read_stream("a.tar", lambda: io.BytesIO(tar_of(files)), LimitSettings())


def only(files: Mapping[str, bytes]) -> Calculation:
    found = contents(files)
    assert found.rejections == ()
    (calculation,) = found.calculations
    return calculation


@pytest.mark.parametrize(
    ("name", "text"),
    [("X.dat", GIVEN), ("X.dat#", WRITTEN), ("any.dat", GIVEN), ("any.inp", GIVEN), ("X.dat", GIVEN.replace(b"\n", b"\r\n"))],
)
def test_an_md_with_its_input_has_a_level_of_theory(name: str, text: bytes) -> None:
    bare, full = only({"run/X.md": TRACK}), only({"run/X.md": TRACK, f"run/{name}": text})
    level = full.run.level_of_theory
    assert (bare.run.level_of_theory.functional, level.functional, level.basis, level.kpoints) == ("", "PBE", "LCAO", (3, 3, 3))
    assert (level.density_cutoff, level.smearing_width, level.spin) == (200 * RYDBERG, 300 * BOLTZMANN, "collinear")
    assert level.pseudopotentials == (("Mg", "Mg_PBE19 / Mg9.0-s3p2d1"), ("O", "O_PBE19 / O6.0-s2p2d1"))
    assert (full.files, full.calculation_id, full.run.flags) == (("run/X.md", f"run/{name}"), bare.calculation_id, bare.run.flags)
    assert any("functional" in note for note in bare.run.notes)
    assert not any("functional" in note for note in full.run.notes)


@pytest.mark.parametrize(
    "files",
    [
        {"run/X.dat": input_text(make_steps(1, seed=9))},
        {"run/X.dat#": input_text([replace(STEPS[2], positions=STEPS[2].positions * [[1.0], [0.5]])])},
        {"run/X.dat": GIVEN.replace(b"\n  2  O ", b"\n  2  Mg1 ")},
        {"run/X.dat": GIVEN[:400]},
        {"other/X.dat": GIVEN},
        {"run/Y.dat#": WRITTEN.replace(b"System.Name   X", b"System.Name   Y")},
    ],
)
def test_an_input_of_another_structure_or_run_is_not_used(files: dict[str, bytes]) -> None:
    calculation = only({"run/X.md": TRACK, **files})
    assert (calculation.files, calculation.run.level_of_theory.functional) == (("run/X.md",), "")


def test_an_edited_input_is_told() -> None:
    note = "has another structure than the run"
    found = only({"X.md": TRACK, "X.dat": input_text(make_steps(1, seed=9))})
    assert any(note in words for words in found.run.notes)
    edited = WRITTEN.replace(b"scf.energycutoff  200.0", b"scf.energycutoff  300.0")
    found = only({"X.md": TRACK, "X.dat": GIVEN, "X.dat#": edited})
    assert (found.run.flags, found.run.level_of_theory.density_cutoff) == (("sources_disagree",), 200 * RYDBERG)
    assert any("density_cutoff" in words and "X.dat#" in words for words in found.run.notes)


def test_beside_an_out_the_input_is_compared_with_the_one_it_repeats() -> None:
    output = openmx_text(STEPS, kind="NVE")
    same = GIVEN.replace(b"scf.SpinPolarization On\n", b"")
    found = only({"X.out": output, "X.md": TRACK, "X.dat": same, "X.dat#": WRITTEN.replace(b"scf.SpinPolarization On\n", b"")})
    assert (found.files, found.run.flags) == (("X.out", "X.md"), ())
    found = only({"X.out": output, "X.md": TRACK, "X.dat": GIVEN})
    assert (found.run.flags, found.run.level_of_theory.spin) == (("sources_disagree",), "none")


def test_two_runs_of_one_folder_have_their_own_inputs() -> None:
    others = make_steps(2, seed=5)
    second = input_text(others, name="Y").replace(b"GGA-PBE  #", b"LDA  #")
    files = {"X.md": TRACK, "Y.md": openmx_md_text(others, [0.0, 1.0]), "Y.dat": second, "X.dat": GIVEN}
    found = {each.files: each.run.level_of_theory.functional for each in contents(files).calculations}
    assert found == {("X.md", "X.dat"): "PBE", ("Y.md", "Y.dat"): "LDA"}


def test_a_penalty_of_the_input_flags_the_steps_of_the_md() -> None:
    found = only({"X.md": TRACK, "X.dat": GIVEN.replace(b"scf.Kgrid", b"scf.Constraint.NC.Spin  on\nscf.Kgrid")})
    assert all("altered_potential" in flags for flags in found.run.frames.flags)


def test_an_input_without_a_cell_takes_that_of_the_run() -> None:
    start, end = GIVEN.index(b"Atoms.UnitVectors.Unit"), GIVEN.index(b"Atoms.UnitVectors>\n") + len(b"Atoms.UnitVectors>\n")
    found = only({"X.md": TRACK, "X.dat": GIVEN[:start] + GIVEN[end:]})
    assert found.run.level_of_theory.functional == "PBE"


@pytest.mark.parametrize(("name", "words"), [("X.dat", "an input of OpenMX"), ("X.dat#", "that OpenMX wrote")])
def test_an_input_alone_is_recognised_and_told(name: str, words: str) -> None:
    found = contents({f"run/{name}": WRITTEN})
    (rejection,) = found.rejections
    assert (found.calculations, rejection.member, rejection.reason) == ((), f"run/{name}", "no_calculation")
    assert [word for word in (words, "2 atoms") if word not in rejection.detail] == []
    assert ".md" in rejection.remedy


def test_what_is_an_input() -> None:
    assert all(recognises_input(text) for text in (GIVEN, GIVEN.upper()))
    assert not any(recognises_input(text) for text in (openmx_text(STEPS), TRACK, b"", b"1 2 3\n"))


@pytest.mark.shared
def test_a_real_md_with_its_input(shared: Path) -> None:
    folder = shared / "dft/openmx/methane"
    found = only({path.name: path.read_bytes() for path in folder.iterdir()})
    level = found.run.level_of_theory
    assert (found.files, found.run.frames.count, found.run.flags) == (("Methane.md", "Methane.dat"), 200, ())
    assert (level.functional, level.density_cutoff, level.kpoints, level.spin) == ("PBE", 120 * RYDBERG, (1, 1, 1), "none")
    assert level.pseudopotentials == (("C", "C_PBE19 / C6.0-s2p2d1"), ("H", "H_PBE19 / H6.0-s2p1"))
