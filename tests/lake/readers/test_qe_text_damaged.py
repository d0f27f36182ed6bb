"""The reader of pw.x's stdout: several runs in a log, cuts, damage, odd line ends and chunks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up_pw_text import END, header, read, real, scf

from lake.readers import find_reader
from lake.readers.qe.text import PW_STDOUT, PwTextReader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.units import BOHR, RYDBERG, RYDBERG_PER_BOHR


def test_several_runs_in_one_log() -> None:
    first = header(version="6.1") + scf(-1.0) + END
    a, b, c = read((first + first + header(version="6.3") + scf(-3.0) + END).encode())
    assert [run.code_version for run in (a, b, c)] == ["6.1", "6.1", "6.3"]
    assert [run.frames.energy[0] for run in (a, b, c)] == [-1.0 * RYDBERG, -1.0 * RYDBERG, -3.0 * RYDBERG]


def test_a_log_cut_within_the_second_run_keeps_the_first() -> None:
    runs = read((header() + scf(-1.0) + END + header() + scf(-2.0)).encode())
    assert [run.frames.energy.tolist() for run in runs] == [[-1.0 * RYDBERG]]


def test_glued_and_overflowed_fields() -> None:
    rows = "     atom    1 type  1   force =     0.12345678-1234.12345678 -999.99999999\n"
    stars = "     atom    2 type  1   force =     0.12345678**************    0.00000000\n"
    text = header(labels=("Mg", "Mg")) + scf(-1.0) + "\n     Forces acting on atoms (cartesian axes, Ry/au):\n\n"
    (run,) = read((text + rows + rows.replace(" 1 type", " 2 type") + "\n" + END).encode())
    np.testing.assert_array_equal(run.frames.forces[0, 0], np.array([0.12345678, -1234.12345678, -999.99999999]) * RYDBERG_PER_BOHR)
    (run,) = read((text + rows + stars + "\n" + END).encode())
    assert np.isnan(run.frames.forces).all()
    assert run.frames.flags == (("malformed_values",),)


def test_unreadable_geometry_leaves_the_step_out_and_counts_it() -> None:
    torn = "\nCELL_PARAMETERS (angstrom)\n   4.0 %%%%%%%%%%%%%%%%%\n     Error in routine x (1):\n     y\n"
    move = "\nATOMIC_POSITIONS (bohr)\nMg            2.0000000000        0.0000000000        0.0000000000\n"
    move += "O             0.0000000000        0.0000000000        0.0000000000\n"
    (run,) = read((header() + scf(-1.0) + torn + move + scf(-2.0) + END).encode())
    assert run.frames.count == 1
    assert run.n_malformed_steps == 1
    assert run.flags == ("malformed_steps",)


def test_line_ends_make_no_difference() -> None:
    text = real("md-unconverged.out")
    plain, dos = read(text)[0], read(text.replace(b"\n", b"\r\n"))[0]
    for name in ("energy", "positions", "forces", "stress", "cell"):
        np.testing.assert_array_equal(getattr(plain.frames, name), getattr(dos.frames, name))
    assert (plain.flags, plain.notes, plain.level_of_theory) == (dos.flags, dos.notes, dos.level_of_theory)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (header() + "\n     End of band structure calculation\n" + END, "not_energies"),
        ("\n     Program PHONON v.6.7 starts on 1Jan2026\n     Quantum ESPRESSO suite\n", "not_energies"),
        ("\n     Program CP v.6.7 starts on 1Jan2026\n     Quantum ESPRESSO suite\n", "not_energies"),
        ("\n     Program NEB v.6.7 starts on 1Jan2026\n     Quantum ESPRESSO suite\n", "unknown_format"),
        ("\n     Program PWSCF v.6.7 starts on 1Jan2026\n", "no_complete_step"),
        ("something else", "unreadable_output"),
    ],
)
def test_refusals_name_a_reason(text: str, reason: str) -> None:
    with pytest.raises(UnreadableOutput) as refused:
        read(text.encode())
    assert refused.value.reason == reason
    assert refused.value.remedy


def test_bytes_decide_what_is_read() -> None:
    spec = find_reader("anything.txt", real("md-unconverged.out")[:65536])
    assert spec is PW_STDOUT
    assert find_reader("pw.out", b"<!DOCTYPE html><html><body>502</body></html>") is None


def prefix_of(part: Run, whole: Run) -> bool:
    n = part.frames.count
    names = ("energy", "positions", "forces", "stress", "cell", "energy_internal", "scf_converged", "n_scf_steps", "step")
    same = all(np.array_equal(getattr(part.frames, name), getattr(whole.frames, name)[:n], equal_nan=True) for name in names)
    return same and part.frames.flags == whole.frames.flags[:n]


@pytest.mark.parametrize("name", ["md-unconverged.out", "h2o-relax.out", "mgo-vc-relax.out"])
def test_any_prefix_gives_the_exact_prefix_of_the_frames(name: str) -> None:
    text = real(name)
    (whole,) = read(text)

    @settings(max_examples=25, derandomize=True, deadline=None, database=None)
    @given(st.integers(min_value=0, max_value=len(text) - 200))
    def check(cut: int) -> None:
        try:
            (part,) = read(text[:cut])
        except UnreadableOutput:
            return
        assert prefix_of(part, whole)
        assert part.flags == ("truncated",)
        assert not part.complete

    check()


def test_an_image_of_neb_x_is_a_run_without_banner_and_end() -> None:
    """Its places stand before the summary of each iteration, in bohr with ten decimals, not in alat with seven."""
    text = real("neb-image.out")
    (run,) = read(text)
    frames = run.frames
    printed = np.array([float(word) for word in re.findall(rb"\n! +total energy += +(\S+) Ry", text)])
    places = np.array([line.split()[1:4] for line in text.split(b"\n") if line.startswith(b"H   ")], dtype=float)
    forces = np.array([line.split(b"=")[1].split() for line in text.split(b"\n") if b"   force =" in line], dtype=float)
    assert (run.kind, run.complete, run.flags, frames.count) == ("neb", True, (), len(printed))
    np.testing.assert_allclose(frames.energy, printed * RYDBERG, rtol=1e-15)
    np.testing.assert_allclose(frames.positions.reshape(-1, 3), places * BOHR, rtol=1e-15)
    np.testing.assert_allclose(frames.forces.reshape(-1, 3), forces * RYDBERG_PER_BOHR, rtol=1e-15)
    assert (run.level_of_theory.functional, run.level_of_theory.spin) == ("LDA", "collinear")
    assert find_reader("PW.out", text[:65536]) is PW_STDOUT


@pytest.mark.parametrize("cut", range(500, 36_000, 1775))
def test_a_cut_image_of_neb_x_gives_its_first_steps(cut: int) -> None:
    text = real("neb-image.out")
    (whole,) = read(text)
    done = len(re.findall(rb"Total SCF correction = +\d\.\d{6}\n", text[:cut]))
    if done == 0:
        with pytest.raises(UnreadableOutput):
            read(text[:cut])
        return
    (part,) = read(text[:cut])
    assert (part.frames.count, part.flags, prefix_of(part, whole)) == (done, ("truncated",), True)


@pytest.mark.parametrize("size", [1, 7, 4096, 70_001])
def test_chunk_size_does_not_matter(size: int) -> None:
    text = real("h2o-relax.out")
    (a,), (b,) = read(text), read(text, size)
    assert prefix_of(a, b)
    assert (a.level_of_theory, a.notes, a.flags) == (b.level_of_theory, b.notes, b.flags)


def test_random_damage_raises_nothing_else() -> None:
    text = real("md-unconverged.out")

    @settings(max_examples=40, derandomize=True, deadline=None, database=None)
    @given(st.lists(st.tuples(st.integers(0, len(text) - 1), st.integers(0, 255)), min_size=1, max_size=60))
    def check(bytes_changed: list[tuple[int, int]]) -> None:
        damaged = bytearray(text)
        for place, value in bytes_changed:
            damaged[place] = value
        try:
            runs = read(bytes(damaged))
        except UnreadableOutput:
            return
        for run in runs:
            assert np.isfinite(run.frames.energy).all()
            assert np.isfinite(run.frames.positions).all()

    check()


def test_long_log_is_read_in_bounded_memory() -> None:
    text = real("md-unconverged.out")
    start = text.index(b"\nATOMIC_POSITIONS")
    stop = text.index(b"\nATOMIC_POSITIONS", start + 1)
    reader = PwTextReader()
    reader.feed(text[:start])
    peak = 0
    for _ in range(400):
        reader.feed(text[start:stop])
        peak = max(peak, len(reader._buffer))
    reader.feed(text[stop:])
    (run,) = reader.close()
    assert run.frames.count == 400 + 5
    assert peak < 2 << 20
