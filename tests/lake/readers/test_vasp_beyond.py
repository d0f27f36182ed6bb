"""What stands in the energies and forces of VASP beside the functional: in the level of theory, or flagged."""

from __future__ import annotations

import io

import numpy as np
import pytest
from made_up_outputs import tar_of
from made_up_vasp import Made, make_run, outcar_step, outcar_text, xml_text

from lake.readers import find_reader
from lake.reading import read_stream
from schemas.calculations import Run
from schemas.settings import LimitSettings


def read(name: str, data: bytes) -> Run:
    spec = find_reader(name, data[:4096])
    assert spec is not None
    reader = spec.open()
    reader.feed(data)
    (run,) = reader.close()
    return run


def both(made: Made) -> tuple[Run, Run]:
    return read("vasprun.xml", xml_text(made)), read("OUTCAR", outcar_text(made))


@pytest.mark.parametrize(
    ("tags", "extra"),
    [
        ({"ICHARG": "11"}, (("charge density", "kept"),)),
        ({"LDIPOL": "T", "IDIPOL": "3"}, (("dipole correction", "3"),)),
        ({"LDIPOL": "F", "IDIPOL": "3"}, (("dipole correction", "3, of the energy alone"),)),
        ({"LMONO": "T", "EPSILON": "9.9"}, (("EPSILON", "9.9"), ("LMONO", "on"))),
        ({"LMONO": "F", "IDIPOL": "0", "EPSILON": "9.9"}, ()),
        (
            {"ISMEAR": "-2", "FERWE": "1.0 1.0 0.0 1.0", "FERDO": "2*1.0 2*0.0"},
            (("occupations", "ISMEAR = -2, FERWE = 2*1 0 1, FERDO = 2*1 2*0"),),
        ),
        ({"ICORELEVEL": "1", "CLNT": "1"}, ()),
        ({"ICORELEVEL": "2", "CLNT": "2", "CLN": "1", "CLL": "0", "CLZ": "0.5"}, (("core hole", "CLNT 2, CLN 1, CLL 0, CLZ 0.5"),)),
        ({"LSPIRAL": "T", "QSPIRAL": "0.0 0.0 0.25"}, (("spin spiral", "0 0 0.25"),)),
    ],
)
def test_another_physical_level_is_in_the_level_of_theory(tags: dict[str, str], extra: tuple[tuple[str, str], ...]) -> None:
    for run in both(make_run(1).with_tags(**tags)):
        assert run.level_of_theory.extra == extra
        assert not any("altered_potential" in flags for flags in run.frames.flags)


def test_a_core_hole_whose_numbers_share_lines() -> None:
    text = outcar_text(make_run(1).with_tags(ICORELEVEL="2", CLNT="          1       CLN =     2", CLL="          1       CLZ = 0.500"))
    assert read("OUTCAR", text).level_of_theory.extra == (("core hole", "CLNT 1, CLN 2, CLL 1, CLZ 0.5"),)


@pytest.mark.parametrize(
    ("tags", "told"),
    [
        ({"I_CONSTRAINED_M": "1", "LAMBDA": "10.0"}, "I_CONSTRAINED_M = 1, LAMBDA = 10"),
        ({"SCALEE": "0.5"}, "SCALEE = 0.5"),
        ({"VCAIMAGES": "0.3"}, "VCAIMAGES"),
        ({"LDAU": "T", "LDAUTYPE": "3", "LDAUL": "2 -1", "LDAUU": "0.1 0.0", "LDAUJ": "0.1 0.0"}, "LDAUTYPE = 3"),
        ({"LCEP": "T"}, "LCEP"),
    ],
)
def test_energies_of_no_functional_are_flagged(tags: dict[str, str], told: str) -> None:
    for run in both(make_run(2).with_tags(**tags)):
        assert all("altered_potential" in flags for flags in run.frames.flags)
        assert any(told in note for note in run.notes)
        assert run.level_of_theory.hubbard_u == ()


@pytest.mark.parametrize(
    "tags",
    [
        {"I_CONSTRAINED_M": "0", "LAMBDA": "10.0"},
        {"SCALEE": "1.0000"},
        {"VCAIMAGES": "-1.0"},
        {"LDAU": "T", "LDAUTYPE": "3", "LDAUL": "2 -1", "LDAUU": "0.0 0.0", "LDAUJ": "0.0 0.0"},
        {"LCEP": "F"},
    ],
)
def test_tags_at_rest_flag_nothing(tags: dict[str, str]) -> None:
    for run in both(make_run(2).with_tags(**tags)):
        assert run.frames.flags == ((), ())


def test_a_program_of_the_user_in_the_energies_is_flagged() -> None:
    made = make_run(1)
    made.incar["PLUGINS/FORCE_AND_STRESS"] = "T"
    for run in both(made):
        assert run.frames.flags == (("altered_potential",),)


def test_a_penalty_that_only_the_incar_tells_of_is_flagged() -> None:
    def flagged(incar: bytes) -> bool:
        data = tar_of({"run/INCAR": incar, "run/OUTCAR": outcar_text(make_run(2))})
        (calculation,) = read_stream("a.tar", lambda: io.BytesIO(data), LimitSettings()).calculations
        found = {"altered_potential" in flags for flags in calculation.run.frames.flags}
        assert len(found) == 1
        return found.pop()

    assert flagged(b"I_CONSTRAINED_M = 1\n")
    assert not flagged(b"I_CONSTRAINED_M = 0\n")
    assert not flagged(b"I_CONSTRAINED_M = 1\nENCUT = 999\n")


def test_a_bias_on_moving_atoms_is_told_and_flags_nothing() -> None:
    for run in both(make_run(2).with_tags(IBRION="0", NSW="2", MDALGO="21")):
        assert run.frames.flags == ((), ())
        assert any("MDALGO = 21" in note for note in run.notes)


def test_response_to_fields_is_told() -> None:
    for name in ("LCALCEPS", "LCHIMAG"):
        for run in both(make_run(1).with_tags(**{name: "T"})):
            assert run.flags == ("linear_response_run",)


def test_forces_of_an_image_are_not_those_of_the_band() -> None:
    """Springs and projections are printed behind the energies, by VASP itself as tables and by its transition-state tools in words."""
    made = make_run(2).with_tags(IMAGES="3")
    row = "      1.00000      2.00000      3.00000         9.000000      9.000000      9.000000"
    band = [
        " CHAIN-FORCE (eV/Angst)             CHAIN + TOTAL (eV/Angst)",
        " " + "-" * 40,
        row,
        row,
        " " + "-" * 40,
        " NEB: Tangent",
        row,
        "",
    ]
    run = read("OUTCAR", outcar_text(made, [outcar_step(step, k + 1) + "\n".join(band) for k, step in enumerate(made.steps)], end=False))
    assert run.kind == "neb"
    for step, forces in zip(made.steps, run.frames.forces, strict=True):
        np.testing.assert_allclose(forces, step.forces, atol=1e-6)
