"""migrate: tables of an earlier atomlake brought to the present schema."""

from __future__ import annotations

from dataclasses import asdict

import typer

import lake
from pipelines.commands.console import AsJson, print_rows
from schemas.settings import load

app = typer.Typer()


@app.command()
def migrate(as_json: AsJson = False) -> None:
    """Bring the tables of an earlier atomlake to the present schema: columns are added, no row is changed."""
    from lake.migrations import migrate as bring

    print_rows([asdict(each) for each in bring(lake.open(settings=load()))], as_json=as_json)
