"""up, down, doctor: the local stack."""

from __future__ import annotations

import typer

from pipelines.commands.console import OUT, AsJson, print_json, print_rows
from schemas.settings import load

app = typer.Typer()


def _say(service: str, what: str) -> None:
    OUT.print(f"[bold]{service:<10}[/bold] {what}", highlight=False)


@app.command()
def up() -> None:
    """Start the object store, the Prefect server and UI, Dask and the flows, or find those that run."""
    from pipelines.stack import up as start

    state = start(load(), report=_say)
    OUT.print(
        f"Prefect UI  {state.ui_url}\nS3          {state.s3_url}\nDask        {state.dask_url}\nlogs        {state.logs}", highlight=False
    )


@app.command()
def down() -> None:
    """Stop the local stack; its data stay on disk."""
    from pipelines.stack import down as stop

    stop(load(), report=_say)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Check every connection and say what is wrong and what to do; exit code 1 where anything is wrong."""
    from pipelines.doctor import diagnose

    findings = diagnose(load())
    rows = [{"check": f.name, "ok": f.ok, "found": f.found, "what to do": f.remedy} for f in findings]
    if as_json:
        print_json(rows)
    else:
        print_rows([{**row, "ok": "ok" if row["ok"] else "WRONG"} for row in rows], as_json=False)
    raise typer.Exit(0 if all(f.ok for f in findings) else 1)
