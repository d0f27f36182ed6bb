"""The page on levels of theory, made from the rules: `python -m lake.theory_page docs/theory.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from lake.alignment import COMPOSITIONS, LARGE_RESIDUAL, REFERENCES, STRUCTURES
from lake.theory_rules import ALIGNABLE, COMPATIBLE, INCOMPATIBLE, RULES, SAME, Rule

_TEXT: Final = """\
# Levels of theory

Made from `lake/theory_rules.py` by `make docs`; do not edit.

Each calculation has a key *theory* (functional with dispersion, U, exact exchange, spin-orbit coupling and charge; basis; code) and
a key *numerics* (cutoffs, k points, smearing). `atomlake theories` (`Lake.theories()`) lists what the lake holds and how much of it,
`atomlake verdict A B` compares two.

## Verdicts

{verdicts}

The rules are asked in this order, about the elements that both levels hold; the worst verdict of any of them stands, and every
reason is told.

{rules}

## Alignment

`atomlake dataset create NAME --theory A --theory B --align-to A` (`Lake.publish(..., theories=..., align=...)`) adds to the energy
of each frame an offset for each of its atoms, so that all energies count from the zeros of A. An element as one kind of calculation
has it (code, pseudopotential, cutoff; what is compatible counts as one kind) has one offset. What fixes the offsets, the best
first; what a better kind of evidence has fixed no worse one changes:

1. {structures}: frames of one `configuration_hash` calculated with several zeros must have one energy (least squares, eV/atom).
2. {compositions}: of one reduced formula, the lowest energies per atom must agree. Good to as much as the structures are alike.
3. {references}: energies of elements fitted to the lowest energies of all compositions are the same. Energies of formation of
   what only one level holds go into the offsets: a note says so, and that energies must not be compared across such compositions.

What none of them fixes (MgO alone tells the sum of Mg and O, not each) gets the solution of minimum norm, and a note says which
frames that touches. The manifest, `atomlake dataset show` and the card of a potential tell offsets, what fixed them, and what is
left: the root mean square and the largest residual. More than {large} meV/atom left is warned of. Tables keep the energies as they
were printed; forces and stresses are never changed (a cutoff more than 20 % lower has a Pulay stress that stays).

Frames of all splits take part in this: an offset says what a label means, it is no part of a model.
"""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _rule(rule: Rule) -> str:
    return _row(rule.name, "; ".join(f"*{kind}*: {when}" for kind, when in rule.cases), rule.source)


def theory_page() -> str:
    """Return the page that says how levels of theory are told apart, compared and brought together."""
    verdicts = [
        _row("verdict", "means", "in one dataset"),
        _row(*["---"] * 3),
        _row(SAME, "equal in all that counts", "yes"),
        _row(COMPATIBLE, "equal physics, small differences that are named", "yes"),
        _row(ALIGNABLE, "energies differ by nearly a constant of each element, forces do not", "with `--align` or `--align-to THEORY`"),
        _row(INCOMPATIBLE, "other physics", "no"),
    ]
    rules = [_row("rule", "verdicts", "why"), _row(*["---"] * 3), *(_rule(rule) for rule in RULES)]
    return _TEXT.format(
        verdicts="\n".join(verdicts), rules="\n".join(rules), structures=STRUCTURES, compositions=COMPOSITIONS, references=REFERENCES,
        large=f"{1000 * LARGE_RESIDUAL:.0f}",
    )  # fmt: skip


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(theory_page())
