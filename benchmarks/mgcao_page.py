"""The rows, tables, picture and page of mgcao.py."""

from __future__ import annotations

import csv
import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_type_hints

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

COUNTS = (2, 5, 10, 20)

TRIVIAL = "no potential: mean energies, zero forces"
MIXED_ANEW, MIXED_WARM = "A + B + k AB anew", "A + B, then A + B + k AB"
MIXED_LOW = f"{MIXED_WARM}, low rate"
MIXED_SHORT = "A + B + k AB anew, half the time"
FEW_ANEW, FEW_WARM = "k AB alone, anew", "A + B, then k AB alone"
METHODS = (TRIVIAL, MIXED_ANEW, MIXED_WARM, MIXED_LOW, FEW_WARM, FEW_ANEW, MIXED_SHORT)
"""Ways to a potential; what stands before `then` has half of the CPU time. At k = 0 the second to fourth are A + B alone."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Errors of one potential on the test frames; energies in meV/atom, forces in meV/Å."""

    method: str
    k: int
    draw: int
    train_frames: int
    energy: float
    force: float
    energy_a: float
    force_a: float
    energy_b: float
    force_b: float


def read_rows(file: Path) -> list[Row]:
    """Return what was measured before."""
    if not file.is_file():
        return []
    with file.open(newline="") as lines:
        found = list(csv.DictReader(lines))
    kinds = get_type_hints(Row)
    return [Row(**{name: kinds[name](text) for name, text in row.items()}) for row in found]


def add_row(file: Path, row: Row) -> None:
    """Append a row; errors keep six digits."""
    values = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in dataclasses.asdict(row).items()}
    new = not file.is_file()
    with file.open("a", newline="") as lines:
        writer = csv.DictWriter(lines, list(values), lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(values)


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and standard deviation (of single ones, n - 1)."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def cell(rows: Sequence[Row], energy: str = "energy", force: str = "force") -> str:
    """Return the errors of some rows as one cell."""
    if not rows:
        return "–"
    pairs = [spread([getattr(row, name) for row in rows]) for name in (energy, force)]
    return " / ".join(f"{mean:.1f} ± {width:.1f}" for mean, width in pairs)


def picture(rows: Sequence[Row], file: Path) -> None:
    """Draw the errors on AB over the number of AB frames."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    panels = zip(figure.subplots(1, 2), ("energy", "force"), ("energy, meV/atom", "force component, meV/Å"), strict=True)
    for axes, name, label in panels:
        for number, method in enumerate(METHODS):
            counts = sorted({row.k for row in rows if row.method == method})
            found = [spread([getattr(row, name) for row in rows if (row.method, row.k) == (method, k)]) for k in counts]
            shifted = [k + 0.15 * (number - 2) for k in counts]
            style = {"color": "0.5", "linestyle": ":"} if method == TRIVIAL else {"marker": "o", "markersize": 4}
            means, widths = zip(*found, strict=True)
            axes.errorbar(shifted, means, yerr=widths, capsize=2, linewidth=1.2, label=method, **style)
        shown = [spread([getattr(row, name) for row in rows if (row.method, row.k) == (TRIVIAL, 0)])[0]]
        shown += [getattr(row, name) for row in rows if row.method == MIXED_ANEW]
        axes.set_yscale("log")
        axes.set_ylim(0.5 * min(shown), 2.5 * max(shown))
        axes.set_xticks([0, *COUNTS])
        axes.set_xlabel("(Mg,Ca)O frames in training, k")
        axes.set_ylabel(f"mean absolute error, {label}")
    axes.legend(fontsize=8)
    figure.suptitle("Errors on (Mg,Ca)O frames that none has seen")
    figure.savefig(file, format="png", dpi=100)


def mean(rows: Sequence[Row], method: str, k: int) -> tuple[float, float]:
    """Return mean energy and force errors on AB over the draws."""
    chosen = [row for row in rows if (row.method, row.k) == (method, k)]
    return statistics.fmean(row.energy for row in chosen), statistics.fmean(row.force for row in chosen)


def ratio(rows: Sequence[Row], method: str, other: str, k: int) -> str:
    """Return mean errors of a method over those of another one, or a dash where there are none."""
    if not {(method, k), (other, k)} <= {(row.method, row.k) for row in rows}:
        return "–"
    pairs = zip(mean(rows, method, k), mean(rows, other, k), strict=True)
    return " / ".join(f"{mine / theirs:.2f}" for mine, theirs in pairs)


def verdicts(rows: Sequence[Row]) -> list[str]:
    """Return a table of mean errors over those of simpler ways."""
    counts = (0, *COUNTS)
    lines = ["| errors | over those of | " + " | ".join(f"k = {k}" for k in counts) + " |", "| --- | --- |" + " --- |" * len(counts)]
    for method in (MIXED_ANEW, MIXED_WARM, FEW_WARM):
        for other in (TRIVIAL, FEW_ANEW, MIXED_ANEW, MIXED_SHORT):
            if method != other and (method, other) != (MIXED_ANEW, MIXED_SHORT):
                lines.append(f"| {method} | {other} | " + " | ".join(ratio(rows, method, other, k) for k in counts) + " |")
    return lines


def in_short(rows: Sequence[Row]) -> list[str]:
    """Return the mean errors that the story is about, as a list."""

    def told(method: str, k: int) -> str:
        return " and ".join(f"{value:.0f} {unit}" for value, unit in zip(mean(rows, method, k), ("meV/atom", "meV/Å"), strict=True))

    last = COUNTS[-1]
    alone = mean(rows, FEW_ANEW, last)
    enough = [k for k in COUNTS if all(mine <= other for mine, other in zip(mean(rows, MIXED_ANEW, k), alone, strict=True))]
    warm = ", ".join(f"{ratio(rows, MIXED_WARM, MIXED_SHORT, k)} (k = {k})" for k in COUNTS)
    whole = ", ".join(f"{ratio(rows, MIXED_WARM, MIXED_ANEW, k)} (k = {k})" for k in COUNTS)
    return [
        f"- A + B alone err by {told(MIXED_ANEW, 0)} on AB; mean energies with zero forces by {told(TRIVIAL, 0)}.",
        *(f"- {k} frames of AB beside A + B, anew: {told(MIXED_ANEW, k)}." for k in COUNTS),
        f"- {last} frames of AB without A + B: {told(FEW_ANEW, last)}"
        + (f"; beside A + B {enough[0]} are enough for less." if enough else ", which A + B do not better."),
        "- A warm start on A + B + k AB has these times the errors (energy / force) of a beginning anew in the same time from the AB",
        f"  frames on: {warm};",
        f"  and of one that was given the time of A + B too: {whole}.",
    ]


def table(rows: Sequence[Row], names: tuple[str, str] = ("energy", "force")) -> list[str]:
    """Return a table of methods by k."""
    counts = (0, *COUNTS)
    lines = ["| | " + " | ".join(f"k = {k}" for k in counts) + " |", "| --- |" + " --- |" * len(counts)]
    for method in METHODS:
        cells = [cell([row for row in rows if (row.method, row.k) == (method, k)], *names) for k in counts]
        lines.append(f"| {method} | " + " | ".join(cells) + " |")
    return lines


def page(rows: Sequence[Row], values: Mapping[str, object]) -> str:
    """Return the page: how it was made, what was found, what is beaten and what is not."""
    own = {
        "draws": len({row.draw for row in rows}), "short": in_short(rows), "table": table(rows), "over": verdicts(rows),
        "a": table(rows, ("energy_a", "force_a")), "b": table(rows, ("energy_b", "force_b")),
    }  # fmt: skip
    texts = {name: "\n".join(value) if isinstance(value, list) else value for name, value in own.items()}
    return (Path(__file__).parent / "mgcao.md.in").read_text().format(**values, **texts)
