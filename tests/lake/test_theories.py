"""The levels of theory that a lake holds, counted and compared."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_up_readings import CAO, LDA, MGCAO, MGO, PBE, made_calculation, made_reading

from lake.commit import commit_batch, stage
from lake.lake import Lake
from lake.theories import compare
from lake.theory import theory_key
from lake.theory_rules import ALIGNABLE, COMPATIBLE, INCOMPATIBLE, SAME
from schemas.errors import UnknownName

OTHER_MG = replace(PBE, cutoff=520.0, pseudopotentials=(("Mg", "Mg_pv.upf"), ("O", "O.upf")))
ONLY_CAO = replace(PBE, pseudopotentials=(("Ca", "Ca.upf"), ("O", "O.upf")))
WITH_U = replace(PBE, hubbard_u=(("Mg", "d", 2.0),))


@pytest.fixture
def filled(folder_lake: Lake) -> Lake:
    readings = [
        made_reading("a.tar", made_calculation(MGO, 5, 1), made_calculation(MGO, 3, 2, level=OTHER_MG)),
        made_reading("b.tar", made_calculation(CAO, 4, 3, level=ONLY_CAO), made_calculation(MGCAO, 6, 4)),
        made_reading("c.tar", made_calculation(MGO, 7, 5, level=LDA)),
        made_reading("d.tar", made_calculation(MGO, 2, 6, level=WITH_U)),
    ]
    commit_batch(folder_lake, [stage(folder_lake, readings, "b" * 64, 0)], "b" * 64)
    return folder_lake


def test_an_empty_lake_holds_no_theory(folder_lake: Lake) -> None:
    assert folder_lake.theories() == []


def test_theories_are_counted_most_frames_first(filled: Lake) -> None:
    found = filled.theories()
    assert [(held.theory, held.n_calculations, held.n_frames) for held in found] == [
        (theory_key(PBE), 4, 18),
        (theory_key(LDA), 1, 7),
        (theory_key(WITH_U), 1, 2),
    ]
    assert found[0].element_systems == ("Ca-Mg-O", "Ca-O", "Mg-O")
    assert found[0].cutoffs == (500.0, 520.0)
    assert found[0].pseudopotentials == {"Ca": ("Ca.upf",), "Mg": ("Mg.upf", "Mg_pv.upf"), "O": ("O.upf",)}


def test_each_is_judged_against_the_most_common_one_and_within_itself(filled: Lake) -> None:
    common, lda, with_u = filled.theories()
    assert (common.verdict, common.reasons) == (SAME, ())
    assert common.within == ALIGNABLE
    assert any("cutoffs differ: 500 and 520 eV" in reason for reason in common.within_reasons)
    assert any("Mg: Mg.upf and Mg_pv.upf" in reason for reason in common.within_reasons)
    assert lda.verdict == INCOMPATIBLE
    assert "functionals differ: LDA and PBE" in lda.reasons
    assert (lda.within, lda.within_reasons) == (SAME, ())
    assert with_u.verdict == INCOMPATIBLE
    assert any(reason.startswith("Hubbard U differs") for reason in with_u.reasons)


def test_a_polarised_run_is_told_within_its_theory(folder_lake: Lake) -> None:
    polarised = made_calculation(MGO, 2, 2, level=replace(PBE, spin="collinear", kpoint_spacing=0.2))
    readings = [made_reading("a.tar", made_calculation(MGO, 5, 1), made_calculation(MGO, 5, 3), polarised)]
    commit_batch(folder_lake, [stage(folder_lake, readings, "b" * 64, 0)], "b" * 64)
    (held,) = folder_lake.theories()
    assert held.within == COMPATIBLE
    assert len(held.within_reasons) == 1
    assert "spin-polarised" in held.within_reasons[0]


def test_two_theories_are_compared_by_key(filled: Lake) -> None:
    assert compare(filled, theory_key(PBE), theory_key(PBE)).kind == SAME
    assert compare(filled, theory_key(PBE), theory_key(LDA)).kind == INCOMPATIBLE
    with pytest.raises(UnknownName, match="did you mean 'LDA/plane waves/qe'"):
        compare(filled, theory_key(PBE), "LDA/plane wave/qe")
