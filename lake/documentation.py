"""The page on readers, made from their registry: `python -m lake.documentation docs/readers.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from lake.readers import READERS
from lake.readers.base import ReaderSpec
from lake.readers.described import READER_DOCS
from lake.readers.reader_doc import ReaderDoc
from lake.readers.traps import TRAPS
from lake.readers.unread import ALL_UNREAD

_NONE = "none is printed"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    names = list(head)
    return [_row(*names), _row(*["---"] * len(names)), *(_row(*row) for row in rows), ""]


def _section(spec: ReaderSpec, doc: ReaderDoc) -> list[str]:
    beside = "yes" if spec.companions is not None else ""
    proof = f"`{doc.proof}`" if "::" in doc.proof else doc.proof
    facts = [
        ("code", f"`{spec.code}`"),
        ("file", doc.file),
        ("read", doc.reads),
        ("versions", doc.versions),
        ("`energy`", doc.energy),
        ("stress as printed", doc.stress or _NONE),
        ("proof of its sign and unit", proof or ("" if not doc.stress else "by other readers alone")),
        ("proof of the forces", f"`{doc.forces}`" if doc.forces else ""),
        ("takes trajectories beside it", beside),
    ]
    lines = [f"## {spec.name}", "", *_table(("what", ""), [fact for fact in facts if fact[1]])]
    return [*lines, *_table(("trap", "test"), [(trap.words, f"`{trap.test}`") for trap in doc.traps])]


def readers_page() -> str:
    """Return the page that says for each reader what it reads and takes for what, and how levels of theory are compared."""
    described = {doc.name: doc for doc in READER_DOCS}
    lines = [
        "# Readers",
        "",
        "Made from `lake/readers/` by `make docs`; do not edit. Names of files are hints: the first bytes of a file",
        "decide which reader takes it. Inside the lake all stress is in eV/Å³, positive under tension; energies are in eV, forces in eV/Å.",
        "T numbers are those of the list of traps that the readers were built against; each names the test (below `tests/`) that shows it.",
        "",
        "Readers are asked in this order. Among several outputs of one run the lowest rank gives the labels; the others check them and",
        "fill what they leave open in the level of theory. Where two disagree the run is flagged `sources_disagree`, with both values in",
        "its notes. Trajectories are read with the output of their folder, up to `limits.max_companion_bytes` held at once. A trajectory",
        "of ASE whose every frame is a step of such an output, with its energy, belongs to that run; else it is a calculation.",
        "",
        "Sign and unit of the stress of Quantum ESPRESSO, CP2K, ABINIT and GPAW, of their forces and those of Elk and NWChem, and that",
        "`energy` is the free energy, are proved by finite differences of energies of runs made for it (`tests/data/strain`); of VASP by",
        "the energies of relaxations whose cell moves; the stress of SIESTA, FHI-aims, CASTEP and ABACUS by the pressure that the code",
        "itself prints, and that of ABACUS by the forces of a molecule, too. The forces of VASP, Quantum ESPRESSO, CP2K, GPAW, CASTEP,",
        "FHI-aims, OpenMX, ORCA, ABACUS and NWChem do the work that the energy loses between the steps of real runs",
        "(`tests/golden/test_golden_work.py`); those of SIESTA are the stress of a molecule, and those of Gaussian predict the change of",
        "energy that its optimiser prints: no output of these two with several steps was at hand.",
        "",
        "Damage: a field that is no number, a number cut in two, and a row of a table that is lost, doubled or cut leave the number out or",
        "the step, with a flag (`malformed_values`, `malformed_steps`), and give no other number; `tests/lake/test_damage.py` shows it",
        "for rows with three or more numbers. A lost line that alone announces a step shows by the words of two steps in one and by the",
        "numbers that codes give their steps. Where a number is printed twice (volume and vectors of the cell, pressure and stress,",
        "largest or total force and table, terms and sum of an energy) both places are compared; where they differ the frame is flagged",
        "`contradictory_values`, with both values in the notes (`tests/lake/readers/test_cross_checks.py`). Not told is a digit that",
        "became another one where nothing repeats it; the XML of pw.x and the .md of OpenMX repeat little.",
        "",
        *_table(("reader", "code", "rank"), [(spec.name, spec.code, str(spec.rank)) for spec in READERS]),
    ]
    for spec in READERS:
        if spec.name in described:
            lines += _section(spec, described[spec.name])
    lines += [
        "## Recognised, and not read",
        "",
        "Such a file is refused by the name of its program. Where it is `not_dft` and the source has calculations",
        "of DFT, nothing is said of it: it may be the dynamics that chose the structures.",
        "",
    ]
    lines += _table(("output of", "reason", "what to do"), [(each.what, f"`{each.reason}`", each.remedy) for each in ALL_UNREAD])
    lines += ["## Traps", "", "All traps of the list, each with the tests that show that no reader is caught in it.", ""]
    lines += _table(("trap", "what misleads", "tests"), [(t.number, t.words, ", ".join(f"`{test}`" for test in t.tests)) for t in TRAPS])
    lines += ["## Levels of theory", "", "How two levels are compared, and by which rules, is in [theory.md](theory.md).", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(readers_page())
