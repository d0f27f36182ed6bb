"""Outputs of programs that are not read: each is refused by its name, none is taken for another code's, and inputs are no outputs."""

from __future__ import annotations

import io

import h5py
import pytest
from made_up_outputs import tar_of
from made_up_vasp import make_run, xml_text

from lake.readers import find_reader
from lake.readers.unread import ALL_UNREAD, unread_output
from lake.reading import read_stream
from schemas.settings import LimitSettings
from schemas.sources import REASON_CODES, Rejection

RULE = b"=" * 80 + b"\n"
CFG = b"""BEGIN_CFG
 Size
    2
 Supercell
         4.2      0.0      0.0
         0.0      4.2      0.0
         0.0      0.0      4.2
 AtomData:  id type       cartes_x      cartes_y      cartes_z           fx          fy          fz
             1    0       0.0      0.0      0.0       0.1      0.0      0.0
             2    1       2.1      2.1      2.1      -0.1      0.0      0.0
 Energy
        -12.5
 PlusStress:  xx          yy          zz          yz          xz          xy
     0.1     0.1     0.1     0.0     0.0     0.0
END_CFG
"""
MADE_UP = [
    (
        "INFO.OUT",
        RULE + b"| EXCITING NITROGEN-14 started" + b" " * 49 + b"=\n| version hash id: 1" + b" " * 59 + b"=\n",
        "exciting (INFO.OUT)",
    ),
    ("info.xml", b'<?xml version="1.0"?>\n<info>\n<groundstate status="finished">\n<scl>\n', "exciting (info.xml)"),
    ("out", b"This is FLEUR version: fleur 32\n", "FLEUR"),
    ("out.xml", b'<?xml version="1.0"?>\n<fleurOutput fleurOutputVersion="0.33">\n', "FLEUR"),
    ("mgo.out", b" " * 30 + b"*" * 60 + b"\n*" + b" " * 32 + b"CRYSTAL17" + b" " * 33 + b"*\n", "CRYSTAL"),
    ("MgO.scf", b":LABEL1: using WIEN2k_21.1\n:ITE001:  1. ITERATION\n", "WIEN2k (case.scf)"),
    ("run.log", b"Python 3.11\nnumpy 1.26\nPySCF version 2.5.0\n", "PySCF"),
    ("output.dat", b"\n    Psi4: An Open-Source Ab Initio Electronic Structure Package\n", "Psi4"),
    ("qc.out", b"                  Welcome to Q-Chem\n     A Quantum Leap Into The Future Of Chemistry\n", "Q-Chem"),
    ("ridft.out", b"\n ridft (node001) : TURBOMOLE V7.3 ( 22118 ) 1 Jul 2018 at 20:38:15\n", "TURBOMOLE"),
    ("h2o.out", b"1\n\n        ***  PROGRAM SYSTEM MOLPRO  ***\n", "Molpro"),
    ("a.outmol", b"\nMaterials Studio DMol^3 version 2020\n", "DMol3"),
    ("out", b"\n*************** JDFTx 1.7.0  ***************\n", "JDFTx"),
    ("log.yaml", b'---\n Code logo:\n   "______ A fast and precise DFT wavelet code\n', "BigDFT"),
    ("MOVEMENT", b"  8  atoms,Iteration (fs) =   -0.1000000000E+01, Etot,Ep,Ek (eV) =   -0.1E+05\n", "PWmat (MOVEMENT)"),
    ("stdout", b"|====\n|\n|  DFTB+ release 24.1\n|\n", "DFTB+ (tight binding)"),
    ("xtb.out", b"   ------\n   * xtb version 6.7.1 (edcfbbe) compiled by 'a@b' on 2024-07-22\n", "xTB (tight binding)"),
    ("dump.lammpstrj", b"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\n", "LAMMPS (dump)"),
    ("log.lammps", b"LAMMPS (29 Sep 2021 - Update 2)\nunits metal\n", "LAMMPS (log)"),
    ("train.cfg", CFG, "MLIP (.cfg"),
]


def rejections(name: str, data: bytes) -> tuple[Rejection, ...]:
    contents = read_stream(name, lambda: io.BytesIO(data), LimitSettings())
    assert contents.calculations == ()
    assert contents.waiting == ()
    return contents.rejections


@pytest.mark.parametrize(("name", "data", "what"), MADE_UP)
def test_an_output_that_is_not_read_is_refused_by_its_name(name: str, data: bytes, what: str) -> None:
    assert find_reader(name, data) is None
    (rejection,) = rejections(name, data)
    assert rejection.detail.startswith(f"an output of {what}")
    assert rejection.reason == ("not_dft" if what.split(maxsplit=1)[0] in ("LAMMPS", "DFTB+", "xTB") else "unsupported_format")
    assert rejection.remedy


def test_the_hdf5_of_dpdata_is_named_with_the_layout_that_is_read() -> None:
    file = io.BytesIO()
    with h5py.File(file, "w") as made:
        made["type.raw"] = [0, 1]
        made["set.000/coord.npy"] = [[0.0] * 6]
    (rejection,) = rejections("train.hdf5", file.getvalue())
    assert (rejection.reason, "deepmd/npy" in rejection.remedy) == ("unsupported_format", True)


def test_texts_that_quote_a_banner_or_only_mention_a_program_are_no_outputs() -> None:
    assert unread_output("parse.py", b'if "Welcome to Q-Chem" in line:') is None
    assert unread_output("notes.txt", b"LAMMPS wrote ITEM: TIMESTEP in each block") is None
    assert unread_output("input.xml", b'<input><groundstate ngridk="4 4 4"/></input>') is None


def test_dynamics_beside_runs_of_dft_are_not_told_but_other_codes_are() -> None:
    dump, exciting = next(d for n, d, _ in MADE_UP if n == "dump.lammpstrj"), MADE_UP[0][1]
    data = tar_of({"a/vasprun.xml": xml_text(make_run(2)), "a/dump.lammpstrj": dump, "b/INFO.OUT": exciting})
    contents = read_stream("a.tar", lambda: io.BytesIO(data), LimitSettings())
    assert len(contents.calculations) == 1
    assert [(each.member, each.reason) for each in contents.rejections] == [("b/INFO.OUT", "unsupported_format")]


def test_each_kind_has_a_reason_of_the_list_and_words_that_can_be_found() -> None:
    for each in ALL_UNREAD:
        assert each.reason in REASON_CODES
        assert all(len(mark) > 5 for mark in each.marks)
    assert len({mark for each in ALL_UNREAD for mark in each.marks}) == sum(len(each.marks) for each in ALL_UNREAD)
