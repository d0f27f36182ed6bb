"""INCAR, KPOINTS and POTCAR beside an output of VASP: what they add, where they contradict, and what is never kept of them."""

from __future__ import annotations

import io
from collections.abc import Mapping

import pytest
from made_up_outputs import tar_of
from made_up_vasp import TITLES, make_run, outcar_text, xml_text

from lake.readers.vasp.inputs import input_kind, read_incar, read_input, read_kpoints
from lake.reading import read_stream
from schemas.calculations import Calculation
from schemas.settings import LimitSettings
from schemas.theory import LevelOfTheory

OUTCAR = outcar_text(make_run())
POTCAR = "".join(f"  {title}\n 8.0\n parameters\n   TITEL  = {title}\n   secret numbers\n 0.1 0.2\n" for title in TITLES).encode()
MESH = b"mesh\n0\nGamma\n4 4 2\n0 0 0\n"


def calculations(files: Mapping[str, bytes]) -> list[Calculation]:
    found = read_stream("a.tar", lambda: io.BytesIO(tar_of(files)), LimitSettings())
    assert found.rejections == ()
    return list(found.calculations)


def only(files: Mapping[str, bytes]) -> Calculation:
    (calculation,) = calculations(files)
    return calculation


def level(files: Mapping[str, bytes]) -> LevelOfTheory:
    calculation = only(files)
    assert calculation.run.flags == ()
    return calculation.run.level_of_theory


def test_t31_dispersion_is_in_the_incar_alone() -> None:
    bare = only({"run/OUTCAR": OUTCAR})
    full = only({"run/INCAR": b"SYSTEM = x ! IVDW = 11\nENCUT = 400; IVDW = 12\n", "run/OUTCAR": OUTCAR})
    assert (bare.run.level_of_theory.dispersion, full.run.level_of_theory.dispersion) == ("", "D3(BJ)")
    assert full.files == ("run/OUTCAR", "run/INCAR")
    assert full.calculation_id == bare.calculation_id
    assert level({"vasprun.xml": xml_text(make_run()), "INCAR": b"IVDW = 4"}).dispersion == "dDsC"


def test_mesh_of_kpoints() -> None:
    silent = OUTCAR.replace(b"generate k-points for", b"generated points of")
    found = level({"OUTCAR": silent, "KPOINTS": MESH})
    assert found.kpoints == (4, 4, 2)
    assert found.kpoint_spacing == pytest.approx(2 * 3.141592653589793 / 4.4 / 2)
    explicit = b"points\n2\nCartesian\n0 0 0 1\n0 0 0.5 1\n"
    assert level({"OUTCAR": silent, "KPOINTS": explicit}).kpoints is None
    assert only({"OUTCAR": OUTCAR, "KPOINTS": MESH}).run.flags == ("sources_disagree",)


@pytest.mark.parametrize(
    ("text", "mesh"),
    [
        ("c\n0\nMonkhorst-Pack\n2 3 4\n", (2, 3, 4)),
        ("c\r\n 0 auto\r\n g\r\n 2 3 4\r\n 0. 0. 0.\r\n", (2, 3, 4)),
        ("c\n0\nAuto\n30\n", None),
        ("c\n20\nLine-mode\nreciprocal\n0 0 0\n", None),
        ("c\n0\nGamma\n2 3\n", None),
        ("c\n0\nGamma\n2 0 1\n", None),
        ("", None),
    ],
)
def test_kinds_of_kpoints(text: str, mesh: tuple[int, int, int] | None) -> None:
    assert read_kpoints(text) == mesh


@pytest.mark.parametrize(
    ("tag", "field", "words"),
    [
        ("ENCUT = 520", "cutoff", "cutoff is 400 in OUTCAR, 520 in INCAR"),
        ("METAGGA = R2SCAN", "functional", "functional is PBE in OUTCAR, r2SCAN in INCAR"),
        ("GGA = PS", "functional", "functional is PBE in OUTCAR, PBEsol in INCAR"),
        ("LDAU = .TRUE.\nLDAUL = -1 1\nLDAUU = 0 3\nLDAUJ = 0 0", "hubbard_u", "hubbard_u is none in OUTCAR, O p 3.0 in INCAR"),
        ("ISPIN = 2", "spin", "spin is none in OUTCAR, collinear in INCAR"),
        ("ISMEAR = 1\nSIGMA = 0.2", "smearing", "smearing is gaussian in OUTCAR, methfessel-paxton in INCAR"),
    ],
)
def test_a_contradiction_is_a_flag_with_both_values_and_nothing_is_filled_in(tag: str, field: str, words: str) -> None:
    run = only({"OUTCAR": OUTCAR, "INCAR": f"{tag}\nIVDW = 12\n".encode()}).run
    assert run.flags == ("sources_disagree",)
    assert any(words in note for note in run.notes), run.notes
    assert run.level_of_theory == only({"OUTCAR": OUTCAR}).run.level_of_theory
    assert getattr(run.level_of_theory, field) != "D3(BJ)"


def test_an_incar_that_agrees_says_nothing() -> None:
    text = b"encut = 400.0 # eV\nISPIN = 1\nISMEAR = 0 ; SIGMA = 0.05\nGGA = PE\nLDAU = .FALSE.\nLHFCALC = F\nNSW = 3\n"
    calculation = only({"OUTCAR": OUTCAR, "INCAR": text})
    assert (calculation.run.flags, calculation.files) == ((), ("OUTCAR",))


def test_titles_of_potcar_are_compared_and_its_content_is_not_kept() -> None:
    assert only({"OUTCAR": OUTCAR, "POTCAR": POTCAR}).files == ("OUTCAR",)
    run = only({"OUTCAR": OUTCAR, "POTCAR": POTCAR.replace(b"Mg_pv 13Apr2007", b"Mg 05Jan2001")}).run
    assert run.flags == ("sources_disagree",)
    assert any("PAW_PBE Mg 05Jan2001" in note for note in run.notes)
    given = read_input("POTCAR", "POTCAR", (POTCAR[place : place + 7] for place in range(0, len(POTCAR), 7)))
    assert given is not None
    assert given.titles == TITLES
    assert "secret" not in repr(given)


def test_files_of_one_stage_go_together() -> None:
    files = {
        "OUTCAR.relax1": outcar_text(make_run()),
        "INCAR.relax1": b"IVDW = 11",
        "OUTCAR.relax2": outcar_text(make_run(2)),
        "INCAR.relax2": b"IVDW = 12",
        "INCAR": b"IVDW = 20",
        "INCAR.orig": b"IVDW = 4",
    }
    found = {each.files: each.run.level_of_theory.dispersion for each in calculations(files)}
    assert found == {("OUTCAR.relax1", "INCAR.relax1"): "D3(0)", ("OUTCAR.relax2", "INCAR.relax2"): "D3(BJ)"}


def test_images_of_an_elastic_band_have_their_inputs_above() -> None:
    assert level({"neb/INCAR": b"IVDW = 12", "neb/01/OUTCAR": OUTCAR}).dispersion == "D3(BJ)"
    assert level({"neb/INCAR": b"IVDW = 12", "neb/image/OUTCAR": OUTCAR}).dispersion == ""


@pytest.mark.parametrize("place", ["run/inputs/INCAR", "inputs/INCAR"])
def test_inputs_in_a_folder_apart_are_used_where_no_other_can_be_meant(place: str) -> None:
    output = f"{place.rpartition('/')[0].rpartition('inputs')[0]}outputs/OUTCAR"
    found = only({place: b"IVDW = 12", output: OUTCAR})
    assert (found.run.level_of_theory.dispersion, found.files) == ("D3(BJ)", (output, place))


@pytest.mark.parametrize(
    "files",
    [
        {"run/a/INCAR": b"IVDW = 12", "run/b/INCAR": b"IVDW = 11", "run/outputs/OUTCAR": OUTCAR},
        {"run/inputs/INCAR": b"IVDW = 12", "run/INCAR": b"IVDW = 11", "run/outputs/OUTCAR": OUTCAR},
        {"run/x/inputs/INCAR": b"IVDW = 12", "run/y/outputs/OUTCAR": OUTCAR},
    ],
)
def test_inputs_that_may_belong_to_another_run_are_left_alone(files: dict[str, bytes]) -> None:
    found = only(files)
    assert (found.run.level_of_theory.dispersion, found.files) == ("", tuple(name for name in files if "OUTCAR" in name))


def test_two_folders_of_outputs_beside_one_of_inputs_do_not_tell_whose_they_are() -> None:
    other = outcar_text(make_run(4))
    contents = read_stream(
        "a.tar", lambda: io.BytesIO(tar_of({"r/in/INCAR": b"IVDW = 12", "r/1/OUTCAR": OUTCAR, "r/2/OUTCAR": other})), LimitSettings()
    )
    assert [found.run.level_of_theory.dispersion for found in contents.calculations] == ["", ""]


def test_images_of_a_band_and_stages_of_a_relaxation_are_calculations_of_their_own() -> None:
    """Images share their INCAR, stages have their own; none is merged with another though their structures are alike."""
    runs = [make_run(k) for k in (2, 3)]
    band = {f"neb/0{k}/OUTCAR": outcar_text(run) for k, run in enumerate(runs, 1)}
    stages = {
        f"relax/relax{k}/{name}": data
        for k, run in enumerate(runs, 1)
        for name, data in (
            ("OUTCAR", outcar_text(run.with_tags(ENCUT="500.0"))),
            ("vasprun.xml", xml_text(run.with_tags(ENCUT="500.0"))),
            ("INCAR", b"IVDW = 1%d" % k),
        )
    }
    files = {**band, "neb/INCAR": b"IVDW = 12", **stages}
    found = read_stream("a.tar", lambda: io.BytesIO(tar_of(files)), LimitSettings()).calculations
    assert {each.member: (each.run.frames.count, each.run.level_of_theory.dispersion) for each in found} == {
        "neb/01": (2, "D3(BJ)"), "neb/02": (3, "D3(BJ)"), "relax/relax1": (2, "D3(0)"), "relax/relax2": (3, "D3(BJ)"),
    }  # fmt: skip


def test_names_of_input_files() -> None:
    names = ["INCAR", "INCAR.relax1", "relax2.KPOINTS", "POTCAR", "INCARS", "KPOINTSbak", "POTCAR_old", "incar"]
    assert [input_kind(name) for name in names] == ["INCAR", "INCAR", "KPOINTS", "POTCAR", "", "", "POTCAR", ""]


def test_an_input_that_is_too_long_or_no_text_is_passed_over() -> None:
    assert read_input("INCAR", "INCAR", [b"x" * 2**19] * 3) is None
    assert level({"OUTCAR": OUTCAR, "INCAR": bytes(range(256)) * 10, "KPOINTS": b"\0" * 100, "POTCAR": b"\xff" * 10**5}).dispersion == ""


def test_incar_as_vasp_reads_it() -> None:
    tags = read_incar("MAGMOM = 1 2 \\\n 3 4\nENCUT=300;ENCUT=400\n! GGA = PS\nalgo = Fast # x\n")
    assert tags.numbers("MAGMOM") == [1, 2, 3, 4]
    assert (tags.number("ENCUT", 0), tags.text("GGA"), tags.word("ALGO")) == (300, "", "FAST")
