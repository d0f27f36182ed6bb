"""lake stats, compact, vacuum: the upkeep of the tables."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer

import lake
from pipelines.commands.access import Retracted, say_left_out
from pipelines.commands.console import OUT, AsJson, print_frame, print_json, print_rows, progress_bar
from schemas.settings import load

app = typer.Typer(help="Look after the tables: statistics, compaction, vacuum.")


@app.command()
def stats(
    systems: Annotated[bool, typer.Option("--systems", help="By element system too, most bytes first.")] = False,
    retracted: Retracted = False,
    as_json: AsJson = False,
) -> None:
    """Show rows, files, bytes, small files and size of the log of each table, from the logs alone."""
    from lake.stats import lake_stats

    found = lake_stats(lake.open(settings=load()), retracted=retracted)
    tables = [asdict(table) for table in found.tables]
    if as_json:
        print_json({"tables": tables, "systems": found.systems.to_dicts()} if systems else tables)
        return
    print_rows(tables, as_json=False)
    if systems:
        print_frame(found.systems, as_json=False, title="frames by element system", empty="the lake is empty")
        say_left_out(found.left_out)
    small = sum(table.n_small_files for table in found.tables)
    if small:
        OUT.print(f"{small} small files can be joined: atomlake lake compact", highlight=False)


@app.command()
def compact(
    table: Annotated[list[str] | None, typer.Option(help="Only this table; can be repeated.")] = None, as_json: AsJson = False
) -> None:
    """Join small files into large ones; rows, older versions and datasets stay as they are."""
    from lake.compaction import compact as join
    from lake.place import SPECS

    opened = lake.open(settings=load())
    with progress_bar() as report:
        rows = [asdict(join(opened, name, progress=partial(report, name))) for name in table or SPECS]
    print_rows(rows, as_json=as_json)


@app.command()
def vacuum(
    older_than: Annotated[float, typer.Option(help="Days for which a file must have been of no use to anybody.")] = 7.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be removed.")] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Nothing else uses the lake now: allows less than one day.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove files that no newest version and no dataset needs, what killed writers left, and unfinished uploads."""
    from lake.vacuum import vacuum as sweep

    opened = lake.open(settings=load())
    with progress_bar() as report:
        swept = sweep(opened, older_than_days=older_than, dry_run=dry_run, alone=alone, progress=partial(report, "tables"))
    print_rows([asdict(each) for each in swept], as_json=as_json, title="would be removed" if dry_run else "removed")
