"""dataset create, list, show, export, verify: pinned selections."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

import lake
from pipelines.commands.access import say_left_out
from pipelines.commands.console import OUT, AsJson, print_json, print_rows, progress_bar
from pipelines.commands.filters import with_filters
from schemas.datasets import Alignment, DatasetManifest, FrameQuery, Split
from schemas.errors import QueryError
from schemas.json import to_json
from schemas.settings import load

app = typer.Typer(help="Pin selections of frames: query, table versions, split and content hash.")

Name = Annotated[str, typer.Argument(help="Name of the dataset.")]


def limits_of(texts: list[str] | None) -> dict[str, int]:
    """Return {system: count} of ['Ca-Mg-O=10']; raises QueryError for anything else."""
    limits = {}
    for text in texts or []:
        system, _, count = text.partition("=")
        if not count.isdigit():
            raise QueryError(f"--limit is {text!r}, expected SYSTEM=COUNT like Ca-Mg-O=10")
        limits[system] = int(count)
    return limits


def _row(manifest: DatasetManifest) -> dict[str, object]:
    frames = manifest.n_frames
    return {
        "dataset": manifest.name, "systems": sorted(manifest.element_systems), "theory": list(manifest.theories),
        "train": frames.get("train", 0), "validation": frames.get("validation", 0), "test": frames.get("test", 0),
        "hash": manifest.content_hash[:12], "created": manifest.created_at,
    }  # fmt: skip


@app.command()
@with_filters
def create(
    query: FrameQuery,
    name: Name,
    align: Annotated[bool, typer.Option("--align", help="Bring alignable levels to the energies of the one with most frames.")] = False,
    align_to: Annotated[str, typer.Option("--align-to", help="Bring alignable levels to the energies of this one.")] = "",
    mix: Annotated[bool, typer.Option("--mix", help="Keep the levels that --theory names apart, whatever sets them apart.")] = False,
    limit: Annotated[
        list[str] | None, typer.Option("--limit", help="At most so many frames of a system outside the test: Ca-Mg-O=10.")
    ] = None,
    draw: Annotated[str, typer.Option(help="Any text: another one draws other frames for --limit, with the same test frames.")] = "",
    test: Annotated[float, typer.Option(help="Share of calculations kept for the test.")] = 0.1,
    validation: Annotated[float, typer.Option(help="Share of calculations kept for validation.")] = 0.1,
    as_json: AsJson = False,
) -> None:
    """Pin the frames that the filters select now, split by calculation."""
    query = replace(query, limits=limits_of(limit))
    opened = lake.open(settings=load())
    dataset = opened.publish(name, query, Split(test=test, validation=validation, draw=draw), align=align_to or align, mix=mix)
    print_rows([_row(dataset.manifest)], as_json=as_json)
    say_left_out(opened.left_out(query), as_json=as_json)
    if dataset.manifest.alignment is not None and not as_json:
        _show_alignment(dataset.manifest.alignment)


def _show_alignment(alignment: Alignment) -> None:
    rows = [
        {
            "element": each.element, "as in": each.settings, "eV/atom added": each.offset, "by": each.method,
            "frames": each.n_frames, "alone": "yes" if each.alone else "only in sums",
        }
        for each in alignment.offsets
    ]  # fmt: skip
    print_rows(rows, as_json=False, title=f"energies aligned to {alignment.to}")
    for step in alignment.steps:
        left = "not known" if math.isnan(step.rms) else f"{1000 * step.rms:.2f} meV/atom rms, {1000 * step.largest:.2f} at most"
        OUT.print(f"{step.n_equations} {step.method} fixed {step.rank} offsets; left: {left}", highlight=False)
    for note in alignment.notes:
        OUT.print(f"note: {note}", highlight=False, markup=False)


@app.command("list")
def list_datasets(as_json: AsJson = False) -> None:
    """List the datasets."""
    print_rows([_row(manifest) for manifest in lake.open(settings=load()).datasets()], as_json=as_json, empty="no datasets yet")


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show what a dataset holds: query, versions, frames by system and split."""
    from lake.retractions import retractions

    opened = lake.open(settings=load())
    manifest = opened.dataset(name).manifest
    retracted = {record.key: record.why for record in retractions(opened) if name in record.datasets}
    if as_json:
        print_json({**asdict(manifest), "retracted": retracted})
        return
    print_rows([_row(manifest)], as_json=False)
    rows = [{"system": system, **splits} for system, splits in sorted(manifest.element_systems.items())]
    print_rows(
        [{"split": ", ".join(f"{k} {v}" for k, v in row.items() if k != "system"), "system": row["system"]} for row in rows], as_json=False
    )
    OUT.print(f"query     {manifest.query}\nversions  {dict(manifest.table_versions)}\nhash      {manifest.content_hash}", highlight=False)
    OUT.print(_whose(manifest), highlight=False, markup=False)
    if manifest.alignment is not None:
        _show_alignment(manifest.alignment)
    for key, why in retracted.items():
        OUT.print(f"retracted {key}: {why}", highlight=False)


def _whose(manifest: DatasetManifest) -> str:
    """Return the projects and licences of a dataset in two lines."""
    lines = []
    for what, counts in (("projects ", manifest.projects), ("licences ", manifest.licences)):
        words = ", ".join(f"{name or 'none given'} ({n} frames)" for name, n in sorted(counts.items()))
        lines.append(f"{what} {words or 'not kept when it was published'}")
    return "\n".join(lines)


@app.command()
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(help="File or folder to write; its ending says the format.")],
    split: Annotated[str, typer.Option(help="Only train, validation or test.")] = "",
    form: Annotated[str, typer.Option("--format", help="Format: extxyz, parquet, runner, ase-db, ase-lmdb, mace-hdf5, deepmd.")] = "",
) -> None:
    """Write the frames of a dataset, or of one split of it, for other programs, and its manifest (licences, projects) beside them."""
    from lake.exports import export as write

    dataset = lake.open(settings=load()).dataset(name)
    total = len(dataset.frame_ids(split or None))
    with progress_bar() as report:
        count = write(dataset.frames(split or None), file, form, progress=lambda done: report("frames", done, total))
    file.with_name(f"{file.name}.dataset.json").write_text(to_json(dataset.manifest) + "\n")
    OUT.print(f"{count} frames of {name}{f', {split}' if split else ''} written to {file}", highlight=False)
    OUT.print(_whose(dataset.manifest), highlight=False, markup=False)


@app.command()
def verify(name: Name) -> None:
    """Read a dataset again from the pinned tables and prove its content hash; exit code 1 where it differs."""
    dataset = lake.open(settings=load()).dataset(name)
    dataset.verify()
    OUT.print(
        f"{name}: {sum(dataset.manifest.n_frames.values())} frames re-read, content hash {dataset.manifest.content_hash[:12]} holds",
        highlight=False,
    )
