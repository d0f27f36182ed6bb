"""The page that the demonstration ends with."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import lake
from lake.potentials import read_potential
from pipelines.artifacts import number
from pipelines.health import ui_url
from pipelines.page import Page
from pipelines.reference import Comparison, largest
from schemas.settings import Settings


def milli(value: float | None) -> float:
    """Return a thousand times a number of JSON; NaN for null, which is no number and no zero."""
    return math.nan if value is None else 1000 * value


def error_table(errors: Mapping[str, Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Return header and rows: energy and force errors of each potential on each system; errors is {potential: metrics as JSON}."""
    header = ["potential", "test frames of", "frames", "energy MAE, meV/atom", "force MAE, meV/Å", "trivial energy", "trivial force"]
    rows = []
    for name, metrics in errors.items():
        for system, found in sorted(metrics["by_system"].items()):
            trivial = metrics["trivial_by_system"][system]
            values = [milli(entry[field]) for entry in (found, trivial) for field in ("energy_mae", "force_mae")]
            rows.append([name, system, str(found["n_frames"]), *(number(value) for value in values)])
    return header, rows


def bought_picture(errors: Mapping[str, Mapping[str, Any]]) -> bytes:
    """Return a PNG of force and energy errors by system, one bar for each potential."""
    figure = Figure(figsize=(9.6, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    systems = sorted(next(iter(errors.values()))["by_system"])
    for axes, (field, title) in zip(
        figure.subplots(1, 2), (("energy_mae", "energy MAE, meV/atom"), ("force_mae", "force MAE, meV/Å")), strict=True
    ):
        width = 0.8 / len(errors)
        for place, (name, metrics) in enumerate(errors.items()):
            heights = [milli(metrics["by_system"][system][field]) for system in systems]
            axes.bar([x + place * width for x in range(len(systems))], heights, width, label=name)
        axes.set_xticks([x + 0.4 - width / 2 for x in range(len(systems))], systems)
        axes.set_title(title)
        axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def comparison_rows(comparisons: Sequence[Comparison]) -> list[list[str]]:
    """Return a row for each archive: calculations, frames expected and found, largest differences."""
    rows = []
    for archive in sorted({c.archive for c in comparisons}):
        of = [c for c in comparisons if c.archive == archive]
        differences = [f"{largest(of, error):.1e}" for error in Comparison.ERRORS]
        rows.append([archive, str(len(of)), str(sum(c.expected_frames for c in of)), str(sum(c.frames for c in of)), *differences])
    return rows


def write_page(
    output: Path,
    settings: Settings,
    comparisons: Sequence[Comparison],
    errors: Mapping[str, Mapping[str, Any]],
    checks: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]]],
) -> Path:
    """Write OUTPUT/index.html and return its path; checks are the gradient check and the molecular dynamics as JSON rows."""
    opened = lake.open(settings=settings)
    page = Page("atomlake: what a few (Mg,Ca)O frames buy")
    page.paragraph(
        "A = MgO, B = CaO, AB = (Mg,Ca)O. One potential was trained on A and B alone, the other saw a few frames of AB as well. "
        "Both are tested on calculations that neither has seen."
    )
    header, rows = error_table(errors)
    page.table(header, rows, strong=[index for index, row in enumerate(rows) if row[1].count("-") == 2])
    page.picture(bought_picture(errors), "errors by system")
    page.heading("Parity on the test frames")
    for name in errors:
        card, files = read_potential(opened, name)
        page.paragraph(
            f"{name} version {card.version} ({card.state}): {card.architecture}, {card.n_parameters} parameters, dataset {card.dataset} "
            f"({card.dataset_hash[:12]}), theory {', '.join(card.theories)}. {' '.join(card.notes)}"
        )
        page.picture(files["parity.png"], f"parity of {name}")
    for title, records in zip(("Force and stress against numeric derivatives", "Molecular dynamics on a larger cell"), checks, strict=True):
        page.heading(title)
        page.table(list(records[0]), [[_cell(value) for value in record.values()] for record in records])
    page.heading("What is in the lake")
    systems = opened.systems()
    page.table(systems.columns, [[_cell(value) for value in row] for row in systems.iter_rows()])
    rejections = opened.rejections().select("key", "member", "reason", "detail", "remedy").sort("key", "member").collect()
    page.heading("What was rejected, and why")
    page.table(rejections.columns, [[_cell(value) for value in row] for row in rejections.iter_rows()])
    page.heading("The lake against the expected values")
    page.table(
        ["archive", "calculations", "frames expected", "frames", "energy, eV", "force, eV/Å", "stress, GPa"], comparison_rows(comparisons)
    )
    page.link("Runs, logs and artifacts are in the Prefect UI:", ui_url(settings.prefect.api_url))
    file = output / "index.html"
    file.write_text(page.html())
    return file


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
