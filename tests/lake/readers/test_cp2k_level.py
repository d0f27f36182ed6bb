"""The level of theory of CP2K: it is read from few lines of a head, once for heads that say the same."""

from __future__ import annotations

import random
from dataclasses import asdict

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_logs import cp2k_text, make_steps

from lake.readers.cp2k.level import _ALL_WORDS, _level_of_theory, level_of_theory
from lake.readers.words import Found

LINES = (
    " FUNCTIONAL| PBE:", " FUNCTIONAL| J.P.Perdew, K.Burke, M.Ernzerhof, revPBE", " vdW POTENTIAL|  DFT-D3 (Version 3.1)",
    " DFT| Charge   -1", " vdW POTENTIAL|  BJ damping", " DFT| Spin unrestricted (spin-polarized) Kohn-Sham calculation       UKS",
    " SCCS| Relative permittivity  80.0", "    Smear method:    FERMI_DIRAC", "   Electronic temperature [K]:   300.0",
    " BRILLOUIN| K-Point grid    2  3  4", " HFX_INFO| FRACTION:  0.25", "  1. Atomic kind: Fe           Number of atoms:   2",
    "     Orbital Basis Set        DZVP-MOLOPT", "  2. Atomic kind: O   Number of atoms: 1", " 12 13", "", " some words",
    "     GTH Potential information for       GTH-PBE-q16", "   U(eff) = (U - J) value in [eV]:   4.000",
    "     Angular quantum momentum number L:   2", " QS| Density cutoff [a.u.]:   150.0", " PERIODIC_EFIELD| Intensity   0.01",
)  # fmt: skip
"""What a head may print, with lines of the same look that say nothing."""


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_lines_that_are_taken_out_say_what_the_whole_head_says(seed: int) -> None:
    draw = random.Random(seed)
    text = bytearray(cp2k_text(make_steps(1)) + "\n".join(draw.choices(LINES, k=draw.randrange(40))).encode())
    for _ in range(draw.randrange(6)):
        place = draw.randrange(len(text))
        text[place : place + draw.choice((0, 1, 30))] = draw.choice((b"", b"\n", b"|", b"7", b"\n 12\n", bytes([draw.randrange(256)])))
    found, elements, cell = Found(bytes(text), _ALL_WORDS), {1: "Fe", 2: "O"}, np.diag([3.0, 4.0, 5.0])
    known = asdict(level_of_theory(found, elements, cell))
    np.testing.assert_equal(known, asdict(_level_of_theory(found, elements, cell)))
