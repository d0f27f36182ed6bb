"""reread: sources read again with the present readers, what differs replaced."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from pipelines.commands.console import OUT, AsJson, print_json, print_rows, progress_bar
from schemas.settings import load

app = typer.Typer()


@app.command()
def reread(
    code: Annotated[str, typer.Option(help="Only sources with calculations of this code.")] = "",
    source: Annotated[str, typer.Option(help="Only this source: its key, or a source id.")] = "",
    since: Annotated[str, typer.Option(help="Only what was first ingested on this day (YYYY-MM-DD) or later.")] = "",
    outdated: Annotated[bool, typer.Option("--outdated", help="Only what an earlier version of its reader read.")] = False,
    everything: Annotated[bool, typer.Option("--everything", help="All sources; needed where nothing else narrows.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read sources again from the inbox with the present readers and replace what differs; datasets stay as they are."""
    from lake.rereading import Wanted
    from pipelines.rereading import reread as read_again

    if not (code or source or since or outdated or everything):
        raise typer.BadParameter("say what to read again: --code, --source, --since, --outdated, or --everything")
    with progress_bar() as report:
        found = read_again(load(), Wanted(code, source, since, outdated), dry_run=dry_run, progress=report)
    counts = Counter(change.what for change in found.changes)
    if as_json:
        print_json({**asdict(found), "columns": found.columns()})
        return
    verb = "would be " if dry_run else ""
    rows = [{"calculations": "unchanged", "n": found.n_unchanged}, *({"calculations": verb + what, "n": n} for what, n in counts.items())]
    print_rows(rows, as_json=False, title=f"{found.n_sources} sources read again")
    if found.columns():
        print_rows([{"column": name, "values that differ": n} for name, n in found.columns().items()], as_json=False)
    for change in found.changes:
        if change.what != "changed":
            before = f", before {', '.join(name[:12] for name in change.formerly)}" if change.formerly else ""
            why = f": {change.why}" if change.why else ""
            OUT.print(
                f"{change.what} {change.key} {change.member} {change.calculation_id[:12]}{before}{why}", highlight=False, markup=False
            )
    for key in found.missing:
        OUT.print(f"missing {key}: it is not in the inbox any more (or has other bytes); its rows stay", highlight=False, markup=False)
    for words in found.failed:
        OUT.print(f"failed {words}; its rows stay", highlight=False, markup=False)
