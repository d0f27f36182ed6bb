"""vasprun.xml: kind of run, elements and level of theory, and runs that are refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from made_up_vasp import make_run, xml_text
from made_up_vasp_xml import read

from schemas.errors import UnreadableOutput


def test_t6_first_of_repeated_parameters_stands() -> None:
    """The head has NELM = 1 again among the response functions."""
    assert read(xml_text(make_run(1))).frames.scf_converged.tolist() == [1]


@pytest.mark.parametrize(
    ("symbol", "title", "mass", "number"),
    [
        ("X ", "PAW_PBE Xe 07Sep2000", 131.294, 54),
        ("r ", "PAW_PBE Zr_sv 04Jan2005", 91.224, 40),
        ("Mg", "US Mg", 24.305, 12),
        ("H ", "PAW_PBE H1.25 07Sep2000", 1.0, 1),
        ("H ", "PAW_PBE H 15Jun2001", 2.014, 1),
        ("Nb", "PAW_PBE Nb_pv 08Apr2002", 92.0, 41),
        ("Ge", "no title at all", 72.61, 32),
        ("??", "no title at all", 55.847, 26),
    ],
)
def test_t15_element_of_title_symbol_and_mass(symbol: str, title: str, mass: float, number: int) -> None:
    made = make_run(1, titles=(title, "PAW_PBE O 08Apr2002"), symbols=(symbol, "O "), masses=(mass, 16.0))
    assert read(xml_text(made)).frames.numbers.tolist() == [number, 8]


def test_t15_unknown_element_is_refused() -> None:
    made = make_run(1, titles=("unknown", "PAW_PBE O 08Apr2002"), symbols=("??", "O "), masses=(400.0, 16.0))
    with pytest.raises(UnreadableOutput, match="element"):
        read(xml_text(made))


def test_t16_element_in_two_blocks() -> None:
    titles = ("PAW_PBE Ti 08Apr2002", "PAW_PBE O 08Apr2002", "PAW_PBE Ti 08Apr2002")
    made = make_run(1, natoms=4, titles=titles, symbols=("Ti", "O ", "Ti"), masses=(47.88, 16.0, 47.88))
    made = replace(made, counts=(1, 2, 1), valences=(4.0, 6.0, 4.0))
    run = read(xml_text(made))
    assert run.frames.numbers.tolist() == [22, 8, 8, 22]
    assert run.notes == ("more than one POTCAR block for Ti",)


def test_virtual_crystal() -> None:
    made = make_run(1, incar={"VCA": "      0.99000000      0.01000000"})
    run = read(xml_text(made))
    assert (run.flags, run.frames.flags) == (("virtual_crystal",), (("virtual_crystal",),))


@pytest.mark.parametrize("algorithm", ["GW0", "evgw", "BSE", "CHI", "ACFDTR"])
def test_beyond_the_ground_state_is_refused(algorithm: str) -> None:
    with pytest.raises(UnreadableOutput) as refusal:
        read(xml_text(make_run(1, incar={"ALGO": algorithm})))
    assert refusal.value.reason == "not_energies"


@pytest.mark.parametrize(
    ("tags", "kind"),
    [
        ({"IBRION": "-1"}, "static"),
        ({"IBRION": "2", "NSW": "0"}, "static"),
        ({"IBRION": "2"}, "relax"),
        ({"IBRION": "1", "ISIF": "4"}, "vc-relax"),
        ({"IBRION": "0", "ISIF": "3"}, "vc-md"),
        ({"IBRION": "6"}, "phonon"),
        ({"IBRION": "3", "IMAGES": "5"}, "neb"),
    ],
)
def test_kind_of_run(tags: dict[str, str], kind: str) -> None:
    assert read(xml_text(make_run(1).with_tags(**tags))).kind == kind


@pytest.mark.parametrize(
    ("tags", "functional", "dispersion"),
    [
        ({"GGA": "PS"}, "PBEsol", ""),
        ({"GGA": "RP"}, "RPBE", ""),
        ({"GGA": "RE"}, "revPBE", ""),
        ({"GGA": "91"}, "PW91", ""),
        ({"METAGGA": "R2SCA"}, "r2SCAN", ""),
        ({"METAGGA": "SCAN", "LUSE_VDW": ".TRUE."}, "SCAN", "rVV10"),
        ({"LHFCALC": "T", "GGA": "PE", "AEXX": "0.25", "HFSCREEN": "0.2"}, "HSE06", ""),
        ({"LHFCALC": ".true.", "GGA": "PE", "AEXX": "0.25"}, "PBE0", ""),
        ({"LHFCALC": "True", "AEXX": "0.4", "HFSCREEN": "0.2"}, "PBE hybrid", ""),
        ({"IVDW": "12"}, "PBE", "D3(BJ)"),
        ({"IVDW": "11"}, "PBE", "D3(0)"),
        ({"GGA": "BO", "LUSE_VDW": "T"}, "optB88-vdW", ""),
        ({"GGA": "ML", "LUSE_VDW": "T"}, "vdW-DF2", ""),
    ],
)
def test_functional(tags: dict[str, str], functional: str, dispersion: str) -> None:
    level = read(xml_text(make_run(1).with_tags(**tags))).level_of_theory
    assert (level.functional, level.dispersion) == (functional, dispersion)


def test_hubbard_charge_and_smearing() -> None:
    incar = {"LDAUL": " 2 -1", "LDAUU": " 6.2 0.0", "LDAUJ": " 1.0 0.0"}
    made = make_run(1, incar=incar).with_tags(LDAU="T", LDAUL="2", LDAUU="6.2", LDAUJ="1.0", NELECT="13.0", ISMEAR="1", SIGMA="0.2")
    level = read(xml_text(made)).level_of_theory
    assert level.hubbard_u == (("Mg", "d", 5.2),)
    assert (level.charge, level.smearing, level.smearing_width) == (1.0, "methfessel-paxton", 0.2)


@pytest.mark.parametrize(
    ("tags", "extra"),
    [
        ({"SCALEE": "1.0", "I_CONSTRAINED_M": "0", "EFIELD": "0.00000000", "EFIELD_PEAD": "0.0 0.0 0.0"}, ()),
        ({"SCALEE": "0.5", "EFIELD": "0.10000000"}, (("EFIELD", "0.1"), ("SCALEE", "0.5"))),
        ({"I_CONSTRAINED_M": "1", "EFIELD_PEAD": "0.0 0.0 0.01"}, (("EFIELD_PEAD", "0 0 0.01"), ("I_CONSTRAINED_M", "1"))),
        ({"LSOL": "T", "EB_K": "37.50"}, (("EB_K", "37.5"), ("implicit solvent", "VASPsol"))),
        ({"LUSE_VDW": "T", "GGA": "ML", "AGGAC": "0.0", "ZAB_VDW": "-1.8867"}, ()),
        ({"LUSE_VDW": "T", "GGA": "RE", "AGGAC": "1.0", "ZAB_VDW": "-0.8491"}, (("AGGAC", "1"),)),
        ({"ISMEAR": "-2"}, (("occupations", "ISMEAR = -2"),)),
        ({"LDAU": "T", "LDAUTYPE": "1", "LDAUJ": "1.0"}, (("LDAUJ", "1"), ("LDAUTYPE", "1"))),
        ({"LHFCALC": "T", "AEXX": "0.25", "HFSCREEN": "0.2", "LMODELHF": "T"}, (("HFSCREEN", "0.2"), ("LMODELHF", "on"))),
    ],
)
def test_tags_that_change_energies_are_in_the_level(tags: dict[str, str], extra: tuple[tuple[str, str], ...]) -> None:
    assert read(xml_text(make_run(1).with_tags(**tags))).level_of_theory.extra == extra
