"""search, frames, systems: finding what is in the lake."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

import lake
from lake.visibility import Hidden, hidden
from pipelines.commands.access import Retracted, say_left_out
from pipelines.commands.console import OUT, AsJson, print_frame, print_json, print_rows, progress_bar
from pipelines.commands.filters import with_filters
from schemas.datasets import FrameQuery
from schemas.errors import closest
from schemas.settings import load

app = typer.Typer()


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Formula (also anonymous: ABC3), elements, element system or material name.")],
    retracted: Retracted = False,
    as_json: AsJson = False,
) -> None:
    """Find systems by material name (any language), formula in any order, element list or element system."""
    result = lake.open(settings=load()).search(text, retracted=retracted)
    if as_json:
        n_retracted, n_embargoed = result.left_out.n_frames()
        left_out = {"retracted_frames": n_retracted, "embargoed_frames": n_embargoed, "projects": dict(result.left_out.projects)}
        print_json({**asdict(replace(result, left_out=Hidden())), "left_out": left_out})
        return
    meaning = f", {' or '.join(result.formulas)}" if result.formulas else ""
    OUT.print(f"{text}: taken as {result.kind}{meaning}", highlight=False)
    rows = [
        {
            "system": found.element_system, "formulas": found.formulas, "materials": found.materials, "calculations": found.n_calculations,
            "frames": found.n_frames, "theories": [f"{theory}: {count}" for theory, count in found.theories.items()],
            "potentials": found.potentials, "trained on it": found.trained_on_it,
        }
        for found in result.systems
    ]  # fmt: skip
    print_rows(rows, as_json=False)
    if result.suggestions:
        OUT.print(f"did you mean: {', '.join(result.suggestions)}?", highlight=False)
    say_left_out(result.left_out)


@app.command()
def systems(retracted: Retracted = False, as_json: AsJson = False) -> None:
    """List the element systems of the lake with their number of frames."""
    opened = lake.open(settings=load())
    print_frame(opened.systems(retracted=retracted), as_json=as_json, empty="the lake is empty")
    say_left_out(hidden(opened, retracted=retracted), as_json=as_json)


@app.command()
@with_filters
def frames(
    query: FrameQuery,
    retracted: Retracted = False,
    export: Annotated[
        Path | None,
        typer.Option(
            help="Write the frames here, as its ending says: .extxyz, .xyz, .parquet, input.data, .db, .aselmdb, .h5 (MACE), .deepmd."
        ),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="Format of the export: extxyz, parquet, runner, ase-db, ase-lmdb, mace-hdf5, deepmd.")
    ] = "",
    show: Annotated[int, typer.Option(help="Show so many single frames.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Count frames by system and theory, show them, or export them."""
    opened = lake.open(settings=load())
    selected = opened.select(query, retracted=retracted)
    if export is not None:
        from lake.exports import export as write

        total = selected.select(pl.len()).collect().item()
        with progress_bar() as report:
            count = write(selected, export, form, progress=lambda done: report("frames", done, total))
        OUT.print(f"{count} frames written to {export}", highlight=False)
        say_left_out(opened.left_out(query, retracted=retracted))
        return
    if show:
        columns = ["frame_id", "formula", "theory", "energy_per_atom", "max_force", "pressure", "scf_converged", "flags"]
        print_frame(selected.select(columns).head(show).collect(), as_json=as_json)
        say_left_out(opened.left_out(query, retracted=retracted), as_json=as_json)
        return
    counts = selected.group_by("element_system", "theory").agg(
        pl.len().alias("frames"), pl.col("calculation_id").n_unique().alias("calculations"),
        pl.col("energy_per_atom").min().alias("lowest, eV/atom"), pl.col("max_force").max().alias("largest force, eV/Å"),
    )  # fmt: skip
    found = counts.sort("element_system", "theory").collect()
    print_frame(found, as_json=as_json)
    if found.is_empty() and not as_json:
        for advice in _misspelt(opened.calculations(retracted=retracted), query):
            OUT.print(advice, highlight=False, markup=False)
    say_left_out(opened.left_out(query, retracted=retracted), as_json=as_json)


def _misspelt(calculations: pl.LazyFrame, query: FrameQuery) -> list[str]:
    """Return a line for each name in a query that no calculation has, with the closest one."""
    asked = {name: value for name in ("theory", "code", "project", "licence") if (value := getattr(query, name))}
    known = calculations.select(*(pl.col(name).unique().implode() for name in asked)).collect() if asked else pl.DataFrame()
    lines = []
    for name, value in asked.items():
        names = [each for each in known[name][0].to_list() if each]
        if value not in names and not any(each.startswith(f"{value.rstrip('/')}/") for each in names):
            lines.append(f"no calculation has {name} {value!r}{closest(value, [*names, *(each.split('/')[0] for each in names)])}")
    return lines
