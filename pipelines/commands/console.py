"""What all commands share of the terminal: tables, JSON, progress."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import polars as pl
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

OUT = Console(width=None if sys.stdout.isatty() else 160)
ERR = Console(stderr=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


def finite(value: Any) -> Any:
    """Return value with every NaN and infinity turned into None, so that it is JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def print_json(value: object) -> None:
    """Print value as JSON on standard output; times become ISO 8601."""
    sys.stdout.write(json.dumps(finite(value), ensure_ascii=False, indent=1, default=str) + "\n")


def print_rows(rows: Sequence[dict[str, Any]], *, as_json: bool, title: str = "", empty: str = "nothing found") -> None:
    """Print rows as a table, or as a JSON list."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        OUT.print(empty)
        return
    table = Table(title=title or None, title_justify="left", header_style="bold")
    for name, value in rows[0].items():
        table.add_column(
            name, justify="right" if isinstance(value, int | float) and not isinstance(value, bool) else "left", overflow="fold"
        )
    for row in rows:
        table.add_row(*(cell(value) for value in row.values()))
    OUT.print(table)


def cell(value: Any) -> str:
    """Return a value as the text of a table cell."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(str(item) for item in value)
    return str(value)


def print_frame(frame: pl.DataFrame, *, as_json: bool, title: str = "", empty: str = "nothing found") -> None:
    """Print a data frame as a table, or as a JSON list of rows."""
    print_rows(frame.to_dicts(), as_json=as_json, title=title, empty=empty)


def _print_line(what: str, done: int, total: int) -> None:
    sys.stderr.write(f"{what}: {done} of {total}\n")


@contextmanager
def progress_bar() -> Iterator[Callable[[str, int, int], None]]:
    """Yield report(what, done, total), shown as bars in a terminal and as plain lines elsewhere."""
    if not ERR.is_terminal:
        yield _print_line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=ERR) as progress:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report
