"""Pages made from the schemas: `python -m schemas.documentation docs/tables.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from schemas.columns import TABLES, Column, TableSpec
from schemas.flags import FLAGS
from schemas.sources import REASONS


def _cells(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _column_row(column: Column) -> str:
    shape = " x ".join(map(str, column.shape))
    return _cells(f"`{column.name}`", str(column.type), column.unit, shape, "yes" if column.nullable else "", column.doc)


def _table_section(table: TableSpec) -> list[str]:
    head = [f"## {table.name}", "", table.doc]
    if table.partition_by:
        head += ["", f"Partitioned by {', '.join(f'`{name}`' for name in table.partition_by)}."]
    header = ["", _cells("column", "type", "unit", "shape", "may be null", "meaning"), _cells(*["---"] * 6)]
    return [*head, *header, *(_column_row(column) for column in table.columns), ""]


def tables_page() -> str:
    """Return the page that documents every table, flag and rejection reason."""
    lines = [
        "# Tables of the lake",
        "",
        "Made from `schemas/` by `make docs`; do not edit. Lists are flat and row-major; their shape is given. Units: eV, Å, eV/Å, eV/Å³",
        "(stress positive under tension, cell rows are the lattice vectors).",
        "",
    ]
    for table in TABLES:
        lines += _table_section(table)
    lines += ["## Flags", "", _cells("flag", "keeps a frame out of training", "meaning"), _cells(*["---"] * 3)]
    lines += [_cells(f"`{flag.name}`", "yes" if flag.disqualifies else "", flag.doc) for flag in FLAGS]
    lines += ["", "## Reasons of rejections", "", _cells("reason", "a retry can help", "meaning"), _cells(*["---"] * 3)]
    lines += [_cells(f"`{reason.code}`", "yes" if reason.retryable else "", reason.doc) for reason in REASONS]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(tables_page())
