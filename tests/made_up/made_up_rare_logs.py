"""Small outputs of FHI-aims and GPAW in the layouts that they print, and what must hold for the output of any code."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from made_up_logs import Made

from lake.readers import find_reader
from schemas.calculations import Run
from schemas.errors import UnreadableOutput

EV = "{:.14E}"
ARRAYS = ("positions", "energy", "forces", "stress", "cell", "scf_converged", "n_scf_steps", "energy_internal", "energy_sigma0")


def read(text: bytes, chunk: int = 1 << 20) -> tuple[Run, ...]:
    """Return the runs of a text, by the reader that recognises it."""
    spec = find_reader("output", text[:65536])
    assert spec is not None
    reader = spec.open()
    for start in range(0, len(text), chunk):
        reader.feed(text[start : start + chunk])
    return reader.close()


def assert_chunks_and_line_ends_do_not_matter(text: bytes) -> None:
    """Read a text in pieces and with other line ends."""
    (whole,) = read(text)
    for data, chunk in ((text, 1), (text, 333), (text.replace(b"\n", b"\r\n"), 1000)):
        (run,) = read(data, chunk)
        assert (run.complete, run.flags, run.level_of_theory) == (whole.complete, whole.flags, whole.level_of_theory)
        for name in ARRAYS:
            np.testing.assert_array_equal(getattr(run.frames, name), getattr(whole.frames, name))


def assert_cut_gives_first_steps(text: bytes, cut: int, last: bytes) -> None:
    """Read a prefix that ends before the words of the regular end."""
    (whole,) = read(text)
    prefix = text[: cut % text.index(last)]
    if find_reader("output", prefix[:65536]) is None:
        return
    try:
        (part,) = read(prefix)
    except UnreadableOutput:
        return
    assert "truncated" in part.flags
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(part.frames, name), getattr(whole.frames, name)[: part.frames.count])


def assert_damage_never_escapes(text: bytes, place: int, byte: int) -> None:
    """Read a text with some bytes replaced."""
    damaged = bytearray(text)
    for k in range(3):
        damaged[(place + 97 * k) % len(damaged)] = byte
    if find_reader("output", bytes(damaged[:65536])) is None:
        return
    try:
        runs = read(bytes(damaged))
    except UnreadableOutput:
        return
    assert all(run.frames.count for run in runs)


def lines_of(*parts: str | Sequence[str]) -> bytes:
    """Return a text of lines, given one by one or in lists."""
    flat = [line for part in parts for line in ([part] if isinstance(part, str) else part)]
    return ("\n".join(flat) + "\n").encode()


def edges(edge: float) -> list[list[float]]:
    """Return the vectors of a cubic cell."""
    return [[edge if i == j else 0.0 for j in range(3)] for i in range(3)]


def fhi_aims_text(
    steps: Sequence[Made],
    *,
    control: Sequence[str] = ("xc pbe",),
    held: bool = False,
    change: float = 1e-7,
    note: str = "unitary forces cleaned",
) -> bytes:
    """Return an aims.out; change is the last change of density, held fixes the first atom, note stands above the forces."""
    text = _aims_head(steps[0], control, held=held)
    for k, step in enumerate(steps):
        text += _aims_step(step, again=k > 0, change=change, note=note, held=held)
        text += _aims_moved(steps[k + 1]) if k + 1 < len(steps) else []
    return lines_of(text, "  Final output of selected total energy values:", "          Leaving FHI-aims.", "          Have a nice day.")


def _aims_head(first: Made, control: Sequence[str], *, held: bool) -> list[str]:
    rule = "  " + "-" * 71
    places = [f"  atom {x} {y} {z} {s}" for s, (x, y, z) in zip(("Mg", "O"), first.positions, strict=True)]
    return [
        "          Invoking FHI-aims ...",
        "          Version 210226",
        "  Parsing control.in (first pass over file, find array dimensions only).",
        rule,
        *(f"  {line}" for line in control),
        '  #  Suggested "light" defaults for Mg atom',
        "    species Mg",
        "      nucleus 12",
        "    species O",
        "      nucleus 8",
        "  Completed first pass over input file control.in .",
        "  Parsing geometry.in (first pass over file, find array dimensions only).",
        rule,
        *("  lattice_vector " + " ".join(map(str, row)) for row in edges(first.edge)),
        places[0],
        *(["  constrain_relaxation .true."] if held else []),
        places[1],
        "  Completed first pass over input file geometry.in .",
        "  Input geometry:",
        "  | Unit cell:",
        *("  |" + "".join(f"{x:18.8f}" for x in row) for row in edges(first.edge)),
        "  | Atomic structure:",
        "  |       Atom                x [A]            y [A]            z [A]",
        *(
            f"  |{k + 1:5d}: Species {s:<8s}" + "".join(f"{x:17.8f}" for x in row)
            for k, (s, row) in enumerate(zip(("Mg", "O"), first.positions, strict=True))
        ),
        "",
        f"  | Unit cell volume                               :   {first.edge**3:.6E}  A^3",
    ]


def _aims_step(step: Made, *, again: bool, change: float, note: str, held: bool) -> list[str]:
    return [
        f"          Begin self-consistency loop: {'Re-i' if again else 'I'}nitialization.",
        "  | Number of k-points                             :       260",
        "  End self-consistency iteration #     9       :  max(cpu_time)    wall_clock(cpu1)",
        *(f"   Total forces({n + 1:4d})            :" + "".join(f"{x:14.6E}" for x in row) for n, row in enumerate(step.forces)),
        "  |              Analytical stress tensor - Symmetrized               |",
        "  |                  Cartesian components [eV/A**3]                   |",
        "  +-------------------------------------------------------------------+",
        "  |                x                y                z                |",
        "  |                                                                   |",
        *(f"  |  {axis} " + "".join(f"{x:17.8f}" for x in row) + "           |" for axis, row in zip("xyz", step.stress, strict=True)),
        f"  |  Pressure: {-np.trace(step.stress) / 3:16.8f}   [eV/A**3]                           |",
        f"  | Change of charge density      :  {change:.4E}",
        "  Self-consistency cycle converged.",
        "  Energy and forces in a compact form:",
        f"  | Total energy uncorrected      :         {EV.format(step.energy + 0.002)} eV",
        f"  | Total energy corrected        :         {EV.format(step.energy + 0.001)} eV  <-- do not rely on this value",
        f"  | Electronic free energy        :         {EV.format(step.energy)} eV",
        f"  Total atomic forces ({note}) [eV/Ang]:",
        *(f"  |{n + 1:4d} " + "".join(f"{x:30.15E}" for x in row * (not (held and n == 0))) for n, row in enumerate(step.forces)),
        "",
    ]


def _aims_moved(after: Made) -> list[str]:
    return [
        "  Updated atomic structure:",
        "                         x [A]             y [A]             z [A]",
        *("  lattice_vector " + "".join(f"{x:18.8f}" for x in row) for row in edges(after.edge)),
        *("            atom " + "".join(f"{x:18.8f}" for x in row) + f"  {s}" for s, row in zip(("Mg", "O"), after.positions, strict=True)),
        "  Fractional coordinates:",
        "------------------------------------------------------------",
    ]


_GPAW_HEAD = (
    "",
    "  ___ ___ ___ _ _ _  ",
    " |   |   |_  | | | | ",
    " | | | | | . | | | | ",
    " |__ |  _|___|_____|  22.8.0",
    " |___|_|             ",
    "Input parameters:",
    "  xc: PBE",
    "  setups: {Mg: ':d,4.0'}",
    "",
    "species:",
    "  Mg:",
    "    name: Magnesium",
    "    id: b56b6cab5149d5bf22ad04c2f71a3023",
    "    Z: 12.0",
    "    file: /somewhere/Mg.PBE.gz",
    "Reference energy: -29961.988759  # eV",
    "Spin-paired calculation",
    " Maximum [total energy] change in last 3 cyles: 1e-05 eV / electron",
    " Maximum integral of absolute [dens]ity change: 0.0001 electrons / valence electron",
    "8 k-points: 2 x 2 x 2 Monkhorst-Pack grid",
    "4 k-points in the irreducible part of the Brillouin zone",
    "Wave functions: Plane wave expansion",
    "  Cutoff energy: 400.000 eV",
    "Occupation numbers: Fermi-Dirac:",
    "  width: 0.0500  # eV",
    "  Using the PBE Exchange-Correlation functional",
    "Number of valence electrons: 16",
)


def gpaw_text(steps: Sequence[Made], *, spread: float = 1e-6, word: str = "Converged after 3 iterations.") -> bytes:
    """Return a GPAW text; spread is that of the last three energies."""
    text = [*_GPAW_HEAD, *(line for step in steps for line in _gpaw_step(step, spread, word))]
    text += ["", "Timing:                              incl.     excl.", "-" * 59, "Hamiltonian:     12.609   0.019   0.0% |", "-" * 59]
    return lines_of(text, "Total:                                        49.442 100.0%", "", "Date: Sun Nov 22 05:44:14 2026")


def _gpaw_step(step: Made, spread: float, word: str) -> list[str]:
    return [
        "System changes: positions ",
        "",
        "Positions:",
        *(
            f"{n:4d} {s:<2s}" + "".join(f"{x:13.6f}" for x in row) + "    ( 0.0000,  0.0000,  0.0000)"
            for n, (s, row) in enumerate(zip(("Mg", "O"), step.positions, strict=True))
        ),
        "",
        "Unit cell:",
        "           periodic     x           y           z      points  spacing",
        *(f"  {n + 1}. axis:    yes" + "".join(f"{x:12.6f}" for x in row) + "    20     0.2" for n, row in enumerate(edges(step.edge))),
        "     iter     time        total  log10-change:",
        *(f"iter:{n + 1:4d} 05:35:59 {step.energy + n * spread / 2:12.6f}c -7.20c -4.10c" for n in range(3)),
        word,
        "Energy contributions relative to reference atoms: (reference = -29961.988759)",
        f"Kinetic:       {12.5:+12.6f}",
        f"XC:            {step.energy - 12.5:+12.6f}",
        "--------------------------",
        f"Free energy:   {step.energy:12.6f}",
        f"Extrapolated:  {step.energy + 0.001:12.6f}",
        "Forces in eV/Ang:",
        *(f"{n:3d} {s:<2s}" + "".join(f"{x:11.5f}" for x in row) for n, (s, row) in enumerate(zip(("Mg", "O"), step.forces, strict=True))),
        "Stress tensor:",
        *("".join(f"{x:13.6f}" for x in row) for row in step.stress),
    ]
