"""Verdicts on levels of theory, and their keys."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake.theory import conflicts, numerics_key, theory_key, verdict
from lake.theory_rules import KINDS, RULES, rules
from schemas.theory import U_NOT_TOLD, LevelOfTheory

MGO = LevelOfTheory(
    "qe",
    "PBE",
    basis="plane waves",
    cutoff=476.2,
    density_cutoff=3809.6,
    pseudopotentials=(("Mg", "Mg.pbe.UPF"), ("O", "O.pbe.UPF")),
    kpoint_spacing=0.739,
    smearing="gaussian",
    smearing_width=0.136,
)
CAO = replace(MGO, pseudopotentials=(("Ca", "Ca.pbe.UPF"), ("O", "O.pbe.UPF")))
NIO = LevelOfTheory(
    "vasp",
    "PBE",
    "D3(BJ)",
    (("Ni", "d", 6.2),),
    basis="plane waves",
    cutoff=520.0,
    pseudopotentials=(("Ni", "PAW_PBE Ni_pv"), ("O", "PAW_PBE O")),
)


def test_keys_read_like_words() -> None:
    assert theory_key(MGO) == "PBE/plane waves/qe"
    assert theory_key(NIO) == "PBE+D3(BJ)+U(Ni-d 6.2)/plane waves/vasp"
    assert numerics_key(MGO) == "cut 476 eV, rho 3810 eV, dk 0.74, gaussian 0.14 eV"
    assert theory_key(replace(MGO, functional="HSE06", exact_exchange=0.25)) == "HSE06/plane waves/qe"
    assert theory_key(replace(MGO, functional="HSE06", exact_exchange=0.3)) == "HSE06+EXX(0.3)/plane waves/qe"
    assert theory_key(replace(MGO, spin="spin-orbit", charge=1.0)) == "PBE+SOC+charge(+1)/plane waves/qe"
    assert theory_key(LevelOfTheory("qe")) == "functional not known/basis not known/qe"
    assert numerics_key(LevelOfTheory("qe", kpoints=(2, 2, 1), smearing="none")) == "k 2x2x1, no smearing"
    assert numerics_key(LevelOfTheory("qe", n_kpoints=4)) == "4 k points"
    assert numerics_key(LevelOfTheory("qe")) == "not known"


@pytest.mark.parametrize(
    ("other", "kind", "word"),
    [
        (MGO, "same", ""),
        (CAO, "same", ""),
        (replace(MGO, cutoff=476.5), "same", ""),
        (replace(MGO, cutoff=544.0), "compatible", "cutoffs"),
        (replace(MGO, cutoff=816.0), "alignable", "cutoffs"),
        (replace(MGO, cutoff=None), "compatible", "cutoff"),
        (replace(MGO, density_cutoff=5000.0), "compatible", "density"),
        (replace(MGO, kpoint_spacing=0.49), "compatible", "k meshes"),
        (replace(MGO, smearing="none", smearing_width=None), "compatible", "occupations"),
        (replace(MGO, smearing_width=0.5), "compatible", "widths"),
        (replace(MGO, spin="collinear"), "compatible", "spin"),
        (replace(MGO, pseudopotentials=(("Mg", "Mg.pbe.UPF"), ("O", "O.pbe-other.UPF"))), "alignable", "O.pbe-other.UPF"),
        (replace(MGO, pseudopotentials=()), "alignable", "not known"),
        (replace(MGO, code="abinit"), "compatible", "abinit"),
        (replace(MGO, code="vasp", pseudopotentials=(("Mg", "PAW_PBE Mg"), ("O", "PAW_PBE O"))), "alignable", "codes"),
        (replace(MGO, functional="LDA"), "incompatible", "LDA"),
        (replace(MGO, functional=""), "incompatible", "not known"),
        (replace(MGO, dispersion="D3(BJ)"), "incompatible", "D3(BJ)"),
        (replace(MGO, hubbard_u=(("O", "p", 5.0),)), "incompatible", "O-p 5 eV"),
        (replace(MGO, exact_exchange=0.25), "incompatible", "exact exchange"),
        (replace(MGO, spin="spin-orbit"), "incompatible", "spin"),
        (replace(MGO, charge=1.0), "incompatible", "charge"),
        (replace(MGO, extra=(("electric field", "0.1"),)), "incompatible", "electric field"),
        (replace(MGO, basis="LCAO"), "incompatible", "LCAO"),
        (replace(MGO, relativity="full"), "same", ""),
    ],
)
def test_verdicts(other: LevelOfTheory, kind: str, word: str) -> None:
    there, back = verdict(MGO, other), verdict(other, MGO)
    assert there.kind == back.kind == kind
    assert bool(there.reasons) == (kind != "same")
    assert word in " ".join(there.reasons)


def test_a_u_on_an_element_that_the_other_does_not_hold_is_a_remark() -> None:
    nio = replace(NIO, code="qe", dispersion="", cutoff=476.2, pseudopotentials=(("Ni", "Ni.pbe.UPF"), ("O", "O.pbe.UPF")))
    assert verdict(nio, MGO).kind == "compatible"
    assert verdict(nio, replace(nio, hubbard_u=())).kind == "incompatible"


def test_a_u_whose_value_is_not_told_is_never_the_same() -> None:
    on = replace(MGO, extra=(U_NOT_TOLD,))
    told = replace(MGO, hubbard_u=(("O", "p", 5.0),))
    for a, b, kind in (
        (on, on, "compatible"),
        (on, replace(on, cutoff=None), "compatible"),
        (on, told, "incompatible"),
        (on, MGO, "incompatible"),
    ):
        for found in (verdict(a, b), verdict(b, a)):
            assert found.kind == kind
            assert "not told" in " ".join(found.reasons)
    assert verdict(replace(on, extra=(U_NOT_TOLD, ("field", "on"))), on).kind == "incompatible"


def test_a_dispersion_whose_damping_is_not_told_is_a_remark() -> None:
    short, zero = replace(MGO, dispersion="D3"), replace(MGO, dispersion="D3(0)")
    assert (verdict(short, zero).kind, verdict(zero, short).kind) == ("compatible", "compatible")
    assert "damping" in verdict(short, zero).reasons[0]
    assert verdict(zero, replace(MGO, dispersion="D3(BJ)")).kind == "incompatible"
    assert verdict(short, replace(MGO, dispersion="D4")).kind == "incompatible"


def test_each_reason_is_given() -> None:
    found = verdict(MGO, replace(NIO, functional="LDA"))
    assert found.kind == "incompatible"
    assert len(found.reasons) >= 4


levels = st.builds(
    LevelOfTheory,
    code=st.sampled_from(["qe", "vasp"]),
    functional=st.sampled_from(["", "PBE", "LDA", "HSE06"]),
    dispersion=st.sampled_from(["", "D3(BJ)", "D3"]),
    extra=st.sampled_from([(), (("field", "0.1"),)]),
    exact_exchange=st.sampled_from([None, 0.25]),
    basis=st.sampled_from(["", "plane waves", "LCAO", "GTO", "LAPW"]),
    cutoff=st.sampled_from([None, 400.0, 420.0, 800.0]),
    spin=st.sampled_from(["none", "collinear", "spin-orbit"]),
    pseudopotentials=st.sampled_from([(), (("O", "a"),), (("O", "b"),), (("O", "b / c"),), (("O", "b / d"),), (("Mg", "c"),)]),
    kpoint_spacing=st.sampled_from([None, 0.2, 0.5]),
)


@given(levels, levels)
def test_a_verdict_has_no_direction_and_always_says_why(a: LevelOfTheory, b: LevelOfTheory) -> None:
    assert verdict(a, b).kind == verdict(b, a).kind
    assert verdict(a, a).kind == "same"
    assert verdict(a, b).kind in KINDS
    assert bool(verdict(a, b).reasons) == (verdict(a, b).kind != "same")


def test_conflicts_are_pairs_that_cannot_be_put_together() -> None:
    meshes = [replace(MGO, kpoint_spacing=0.1 + 0.001 * i) for i in range(2000)]
    assert conflicts([*meshes, CAO]) == []
    lda = replace(CAO, functional="LDA")
    found = conflicts([MGO, CAO, lda, replace(lda, kpoint_spacing=0.2)])
    assert {frozenset({c.first.functional, c.second.functional}) for c in found} == {frozenset({"PBE", "LDA"})}
    assert all(c.verdict.kind == "incompatible" for c in found)


def test_rules_have_names_and_sources() -> None:
    assert len({name for name, _ in rules()}) == len(RULES)
    assert all(source.endswith(".") for _, source in rules())
    assert all(a.name != b.name for a, b in itertools.combinations(RULES, 2))


@given(levels, levels)
def test_each_verdict_of_a_rule_is_among_its_documented_cases(a: LevelOfTheory, b: LevelOfTheory) -> None:
    for rule in RULES:
        found = rule.judge(a, b)
        assert found is None or found[0] in {kind for kind, _ in rule.cases}


def test_a_pseudopotential_known_by_title_alone_goes_with_the_same_title_and_a_hash() -> None:
    hashed = LevelOfTheory("qe", "PBE", basis="plane waves", pseudopotentials=(("Mg", "Mg.UPF md5:aa"), ("O", "O.UPF md5:bb")))
    titled = LevelOfTheory("qe", "PBE", basis="plane waves", pseudopotentials=(("Mg", "Mg.UPF"), ("O", "O.UPF md5:bb")))
    other = LevelOfTheory("qe", "PBE", basis="plane waves", pseudopotentials=(("Mg", "Mg.UPF md5:cc"), ("O", "O.UPF md5:bb")))
    found = verdict(hashed, titled)
    assert found.kind == "compatible"
    assert "Mg" in found.reasons[0]
    assert verdict(hashed, other).kind == "alignable"


@pytest.mark.parametrize(
    ("basis", "one", "other", "kind", "words"),
    [
        ("GTO", "GTH-PBE-q6 / DZVP-MOLOPT-SR-GTH", "GTH-PBE-q6 / TZV2P-MOLOPT-GTH", "incompatible", ["TZV2P-MOLOPT-GTH"]),
        ("GTO", "GTH-PBE-q6 / DZVP-MOLOPT-SR-GTH", "GTH-PBE-q8 / DZVP-MOLOPT-SR-GTH", "alignable", ["GTH-PBE-q8"]),
        ("GTO", "6-31G(d)", "6-311G(d,p)", "incompatible", ["local orbitals"]),
        ("NAO", "light dad3c9bef756", "tight 1c68e43ac30a", "incompatible", ["tight"]),
        ("LCAO", "O.psf / 2s2(3.305 2.479)", "O.psf / 2s1(3.305)", "incompatible", ["2s1(3.305)"]),
        ("LCAO", "O_ONCV.upf", "O_SG15.upf", "alignable", ["pseudopotentials"]),
        ("LCAO", "O.psf", "O.psf / 2s1(3.305)", "compatible", ["not told"]),
        ("GTO", "6-31G(d)", "6-31G(d)", "same", []),
    ],
)
def test_other_local_orbitals_are_another_theory_other_cores_have_another_zero(
    basis: str, one: str, other: str, kind: str, words: list[str]
) -> None:
    first, second = (LevelOfTheory("any", "PBE", basis=basis, pseudopotentials=(("O", each),)) for each in (one, other))
    found = verdict(first, second)
    assert found.kind == kind
    assert [word in " ".join(found.reasons) for word in words] == [True] * len(words)
    assert len(found.reasons) == len(words)
