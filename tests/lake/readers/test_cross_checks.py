"""What an output prints twice: damage of one place is a flag with both values. A lost line never gives other numbers in silence."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import made_up_vasp as vasp
import numpy as np
import pytest
from damaged_texts import SAMPLES, changed, read
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.readers.cross_checks import differ, resolution
from schemas.calculations import Run
from schemas.errors import UnreadableOutput

TWICE: dict[str, tuple[bytes, ...]] = {
    "pw.x stdout": (rb"celldm\(1\)= +(\d+\.\d)", rb"unit-cell volume +=  +(\d+)", rb"P= +(-?\d+\.\d)", rb"Total force = +(\d+\.\d\d)"),
    "OUTCAR": (rb"kB[^@]*?volume of cell : +(\d+)", rb"external pressure = +(-?\d+\.\d)"),
    "CP2K log": (rb"CELL\| Volume[^\n]* (\d+\.\d)", rb"SUM OF ATOMIC FORCES +(-?\d+\.\d\d\d)", rb"1/3 Trace +(-?\d+\.\d)"),
    "ABINIT, moving": (rb"ucvol\)[^=]*= +(\d+\.\d)", rb"\[Pressure= +(-?\d+\.\d)"),
    "ABINIT, static": (rb"ucvol= +(\d+)", rb"\[Pressure= +(-?\d+\.\d)"),
    "SIESTA, moving": (rb"Cell volume \(Ang\*\*3\) +: +(\d+\.\d)", rb"\n   Max +(\d+\.\d\d)"),
    "SIESTA, static": (rb"Cell volume \(Ang\*\*3\) +: +(\d+\.\d)", rb"siesta: +(-?\d+\.\d\d\d\d)\d+ [^\n]*eV/Ang\*\*3"),
    "OpenMX output": (rb"Cell_Volume = +(\d+\.\d)",),
    "FHI-aims output": (rb"Unit cell volume +: +(\d+)", rb"\|  Pressure: +(-?\d+\.\d\d)"),
    "CASTEP output": (rb"Current cell volume = +(\d+\.\d)", rb"\*  Pressure: +(-?\d+\.\d\d)"),
    "GPAW text": (rb"Kinetic: +\+(\d+\.\d)", rb"Free energy: +(-\d+\.\d)"),
    "Gaussian log": (rb"Cartesian Forces:  Max +\S+ RMS +(\d+\.\d\d\d)",),
    "Gaussian, periodic": (rb"Lengths of translation vectors: +(\d+\.\d\d\d)", rb"Cartesian Forces:  Max +\S+ RMS +(\d+\.\d\d\d)"),
    "NWChem log": (rb"\n@ +\d+ +(-?\d+\.\d{6})",),
    "NWChem, plane waves": (rb"omega= +(\d+)", rb"\|F\| +=\s+(\d\.\d\d)", rb"total     energy    : +-(\d\.\d{6})"),
    "ORCA output": (rb"Norm of the cartesian gradient +\.\.\. +(\d+\.\d\d\d)",),
    "ABACUS log": (rb"Volume \(A\^3\) = (\d+\.\d)", rb"TOTAL-PRESSURE: +(-?\d+\.\d)"),
    "Elk INFO.OUT": (rb"Unit cell volume +: +(\d+)",),
}
"""Numbers that stand beside those that are taken, by sample; the group is what is damaged."""
SINGLE = {"pw.x XML", "vasprun.xml", "OpenMX .md"}
"""Formats of which no such number is compared."""


def flags_of(runs: Sequence[Run]) -> set[str]:
    return {flag for run in runs for flag in run.flags} | {flag for run in runs for frame in run.frames.flags for flag in frame}


def test_every_sample_is_known() -> None:
    assert set(SAMPLES) == set(TWICE) | SINGLE


@pytest.mark.parametrize("name", TWICE)
def test_sound_outputs_do_not_contradict_themselves(name: str) -> None:
    text = SAMPLES[name][1]()
    assert "contradictory_values" not in flags_of(read(text))
    assert [pattern for pattern in TWICE[name] if re.search(pattern, text) is None] == []


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.sampled_from([(name, pattern) for name, patterns in TWICE.items() for pattern in patterns]), st.randoms(use_true_random=False))
def test_a_damaged_number_that_stands_there_twice_is_a_flag_with_both_values(case: tuple[str, bytes], chance: random.Random) -> None:
    name, pattern = case
    text = SAMPLES[name][1]()
    found = chance.choice(list(re.finditer(pattern, text)))
    places = [k for k in range(*found.span(1)) if chr(text[k]).isdigit()]
    place = chance.choice(places)
    digit = chance.choice([d for d in b"0123456789" if d != text[place]])
    damaged = text[:place] + bytes([digit]) + text[place + 1 :]
    runs = read(damaged)
    assert "contradictory_values" in flags_of(runs), (found.group(), damaged[found.start() : found.end()])
    notes = " ".join(note for run in runs for note in run.notes)
    assert re.search(r"printed as .*, and is ", notes)
    assert changed(damaged, read(text)) == ""


def test_a_contradiction_keeps_its_frame_out_of_training() -> None:
    made = vasp.make_run(3)
    (run,) = read(vasp.outcar_text(made).replace(b"volume of cell :       79.46", b"volume of cell :       97.46"))
    assert [("contradictory_values" in flags) for flags in run.frames.flags] == [True, True, True]
    assert run.notes[0] == "step 0: the volume of the cell is printed as 97.46, and is 79.464 by the rows"


def test_a_row_too_many_in_the_lattice_is_a_lost_step() -> None:
    text = vasp.outcar_text(vasp.make_run(3))
    row = text.index(b"\n", text.index(b"direct lattice vectors", text.index(b"Iteration      2("))) + 1
    end = text.index(b"\n", row) + 1
    (run,) = read(text[:end] + text[row:end] + text[end:])
    assert (run.frames.step.tolist(), run.n_malformed_steps) == ([0, 2], 1)


def test_steps_that_the_numbers_of_the_code_count_are_missed() -> None:
    text = vasp.outcar_text(vasp.make_run(4))
    start, end = (text.index(b"-" * 30 + b" Iteration      %d(   1)" % k) for k in (2, 3))
    (run,) = read(text[:start] + text[end:])
    assert (run.frames.count, run.n_malformed_steps, run.flags) == (3, 1, ("malformed_steps",))


def silently_other(text: bytes, whole: tuple[Run, ...]) -> str:
    """Return what a damaged text gives otherwise, or lacks, without a flag or a count that says so; else nothing."""
    try:
        runs = read(text)
    except UnreadableOutput:
        return ""
    fewer = sum(run.frames.count for run in runs) < sum(run.frames.count for run in whole)
    counted = sum(run.n_malformed_steps for run in runs) > sum(run.n_malformed_steps for run in whole)
    told = counted or bool(flags_of(runs) - flags_of(whole))
    return changed(text, whole) or ("steps" if fewer and not told else "")


@pytest.mark.parametrize("name", SAMPLES)
def test_a_lost_line_is_told_where_it_matters(name: str) -> None:
    """Also the line that alone announces a step: the words of two steps in one, or the numbers of the steps, tell."""
    text = SAMPLES[name][1]()
    whole, lines = read(text), text.splitlines(keepends=True)
    wordy = [k for k, line in enumerate(lines) if re.search(rb"[A-Za-z]{3}", line)]
    chosen = wordy if len(wordy) < 45 else random.Random(name).sample(wordy, 45)
    silent = [(found, lines[k]) for k in chosen if (found := silently_other(b"".join(lines[:k] + lines[k + 1 :]), whole))]
    assert silent == []


@pytest.mark.parametrize("k", range(1, 6))
def test_a_lost_line_of_a_geometry_of_pw_x_leaves_both_steps_out(k: int) -> None:
    text = SAMPLES["pw.x stdout"][1]()
    places = [match.start() for match in re.finditer(rb"\nATOMIC_POSITIONS[^\n]*", text)]
    place = places[k - 1] + 1
    (run,) = read(text[:place] + text[text.index(b"\n", place) + 1 :])
    assert run.frames.step.tolist() == [n for n in range(6) if n not in (k - 1, k)]
    assert run.n_malformed_steps == 2


def test_digits_that_are_printed() -> None:
    assert [resolution(text) for text in (b"12.340", b"-3.3076E+00", b"7", b"1.2D-03", b"x")] == pytest.approx([1e-3, 1e-4, 1.0, 1e-4, 0.0])
    assert not differ(b"40.05", 40.0479)
    assert differ(b"40.07", 40.0479)
    assert not differ(b"****", 1.0)
    assert not differ(b"1.0", np.nan)
