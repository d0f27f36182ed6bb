"""What the Prefect UI shows: tables and markdown made from reports, cards and decisions."""

from __future__ import annotations

import base64
import math
import re
from typing import TYPE_CHECKING

from lake.commit import BatchReport
from lake.vacuum import Sweep
from schemas.potentials import ErrorSummary, Metrics, PotentialCard

if TYPE_CHECKING:
    from pipelines.training_runs import Retraining
    from pipelines.upkeep import Kept


def key_of(name: str) -> str:
    """Return name as an artifact key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def batch_summary(report: BatchReport) -> str:
    """Return one line: what a batch took and rejected."""
    rejected = sum(outcome.n_rejections for outcome in report.sources)
    return (
        f"batch {report.batch_id[:12]}: {len(report.sources)} sources, {report.n_calculations_new} new calculations, "
        f"{report.n_frames_new} new frames, {report.n_duplicates} calculations there already, {rejected} rejections"
    )


def batch_table(report: BatchReport) -> list[dict[str, object]]:
    """Return a row for each source: what was taken, what was rejected and why."""
    return [
        {
            "source": outcome.key,
            "state": outcome.state,
            "calculations": outcome.n_calculations,
            "frames": outcome.n_frames,
            "new frames": outcome.n_new_frames,
            "rejections": outcome.n_rejections,
            "reasons": ", ".join(outcome.reasons),
        }
        for outcome in report.sources
    ]


def compaction_table(kept: list[Kept]) -> list[dict[str, object]]:
    """Return a row for each table: files and bytes before and after, whether its log got a checkpoint."""
    return [
        {
            "table": each.compaction.table,
            "files joined": each.compaction.n_files_before,
            "into": each.compaction.n_files_after,
            "bytes before": each.compaction.bytes_before,
            "bytes after": each.compaction.bytes_after,
            "version": each.compaction.version,
            "checkpoint": "yes" if each.checkpointed else "",
        }
        for each in kept
    ]


def compaction_summary(kept: list[Kept]) -> str:
    """Return one line: how many files were joined."""
    before, after = (sum(getattr(each.compaction, name) for each in kept) for name in ("n_files_before", "n_files_after"))
    return f"{before} small files joined into {after}; {sum(each.checkpointed for each in kept)} checkpoints besides"


def sweep_table(swept: tuple[Sweep, ...]) -> list[dict[str, object]]:
    """Return a row for each kind of thing that was removed."""
    return [
        {"what": each.what, "removed": each.n_files, "bytes": each.bytes, "pinned versions": len(each.pinned_versions)} for each in swept
    ]


def sweep_summary(swept: tuple[Sweep, ...]) -> str:
    """Return one line: how much was removed."""
    return f"{sum(each.n_files for each in swept)} files or uploads removed, {sum(each.bytes for each in swept)} bytes"


def number(value: float, digits: int = 1) -> str:
    """Return a number with fixed digits, or a dash where there is none (NaN)."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def error_cells(errors: ErrorSummary) -> list[str]:
    """Return frames, energy MAE (meV/atom) and force MAE (meV/Å) as text."""
    return [str(errors.n_frames), number(1000 * errors.energy_mae), number(1000 * errors.force_mae)]


def metrics_rows(metrics: Metrics) -> list[list[str]]:
    """Return table rows: system, frames, energy and force error of the potential and of the trivial predictor."""
    rows = []
    for system, errors in sorted(metrics.by_system.items()):
        rows.append([system, *error_cells(errors), *error_cells(metrics.trivial_by_system[system])[1:]])
    rows.append(["all", *error_cells(metrics.overall), *error_cells(metrics.trivial)[1:]])
    return rows


METRICS_HEADER = ["system", "frames", "energy, meV/atom", "force, meV/Å", "trivial energy", "trivial force"]


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, ["---"] * len(header), *rows])


def picture_link(png: bytes, title: str) -> str:
    """Return a markdown picture that carries its own bytes."""
    return f"![{title}](data:image/png;base64,{base64.b64encode(png).decode()})"


def training_markdown(card: PotentialCard, picture: bytes) -> str:
    """Return the result of a training: errors by split beside the trivial predictor, notes, the parity picture."""
    parts = [
        f"# {card.name}, version {card.version}",
        f"Architecture {card.architecture}, {card.n_parameters} parameters, elements {', '.join(card.elements)}, "
        f"cutoff {card.cutoff} Å, state **{card.state}**. Dataset `{card.dataset}` ({card.dataset_hash[:12]}), "
        f"theory {', '.join(card.theories)}. Trained for {card.training_seconds:.0f} s.",
    ]
    for split, metrics in card.metrics.items():
        parts += [f"## Mean absolute errors, {split}", markdown_table(METRICS_HEADER, metrics_rows(metrics))]
    if card.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in card.notes)]
    parts += ["## Parity", picture_link(picture, "parity")]
    return "\n\n".join(parts)


def retraining_markdown(potential: str, decision: Retraining) -> str:
    """Return why a potential was or was not trained again."""
    verdict = "trains again" if decision.request else "stays as it is"
    return f"# {potential} {verdict}\n\n{decision.why}"
