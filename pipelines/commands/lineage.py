"""lineage, retract, retractions: from potentials back to sources, and what to do when a source was wrong."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

import lake
from pipelines.commands.console import OUT, AsJson, print_rows
from schemas.errors import QueryError
from schemas.settings import load

app = typer.Typer()


@app.command()
def lineage(
    potential: Annotated[str, typer.Option(help="Name of a potential: the sources that it was trained on.")] = "",
    version: Annotated[int | None, typer.Option(help="Version of the potential; default: the champion, or the newest.")] = None,
    dataset: Annotated[str, typer.Option(help="Name of a dataset: the sources of its calculations.")] = "",
    source: Annotated[str, typer.Option(help="Key of a source: the datasets and potentials that used it.")] = "",
    as_json: AsJson = False,
) -> None:
    """Show where a potential or dataset comes from, or what was made of a source."""
    from lake.lineage import origins, origins_of_potential, uses

    if [bool(potential), bool(dataset), bool(source)].count(True) != 1:
        raise QueryError("lineage is asked of one thing: write --potential NAME, --dataset NAME or --source KEY")
    opened = lake.open(settings=load())
    if source:
        print_rows([asdict(use) for use in uses(opened, source)], as_json=as_json, empty=f"no dataset holds calculations of {source}")
        return
    if potential:
        card, found = origins_of_potential(opened, potential, version)
        title = f"{card.name} version {card.version} ({card.state}), trained on dataset {card.dataset}"
    else:
        found, title = origins(opened, dataset), f"dataset {dataset}"
    print_rows([asdict(origin) for origin in found], as_json=as_json, title=title)


@app.command()
def retract(
    source: Annotated[str, typer.Argument(help="Key of the source in the inbox, as `atomlake lineage` prints it, or its source id.")],
    why: Annotated[str, typer.Option(help="The reason; it is kept with the retraction and in the history of potentials.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Take the retraction back.")] = False,
    as_json: AsJson = False,
) -> None:
    """Mark a source as not to be trained on: later datasets leave it out; datasets and potentials that used it are listed."""
    from lake.lineage import restore
    from lake.lineage import retract as mark

    opened = lake.open(settings=load())
    if undo:
        OUT.print(f"{source}: {restore(opened, source)} retractions taken back", highlight=False)
        return
    print_rows([asdict(record) for record in mark(opened, source, why)], as_json=as_json)


@app.command()
def retractions(as_json: AsJson = False) -> None:
    """List the retracted sources, why, and what had used them."""
    from lake.visibility import visible_retractions

    found = visible_retractions(lake.open(settings=load()))
    print_rows([asdict(record) for record in found], as_json=as_json, empty="no source is retracted")
