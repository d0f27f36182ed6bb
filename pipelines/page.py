"""A self-contained HTML page made of paragraphs, tables and pictures."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}"
    "h1{font-size:1.8rem}h2{margin-top:2.2rem;border-bottom:1px solid #d8dee4}"
    "table{border-collapse:collapse;margin:1rem 0;font-size:.92rem}"
    "td,th{padding:.3rem .8rem;border-bottom:1px solid #d8dee4;text-align:right}"
    "td:first-child,th:first-child{text-align:left}tr.strong td{font-weight:600;background:#eef6ee}"
    "img{max-width:100%}code,pre{background:#f3f4f6;padding:.1rem .3rem;border-radius:4px}footer{margin-top:3rem;color:#57606a}"
)


@dataclass
class Page:
    """A page that grows from top to bottom."""

    title: str
    parts: list[str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """Add a heading."""
        self.parts.append(f"<h2>{escape(text)}</h2>")

    def paragraph(self, text: str) -> None:
        """Add a paragraph of plain text."""
        self.parts.append(f"<p>{escape(text)}</p>")

    def link(self, text: str, address: str) -> None:
        """Add a link on a line of its own."""
        self.parts.append(f'<p>{escape(text)} <a href="{escape(address)}">{escape(address)}</a></p>')

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]], *, strong: Sequence[int] = ()) -> None:
        """Add a table; the rows whose numbers are in strong stand out."""
        head = "".join(f"<th>{escape(cell)}</th>" for cell in header)
        body = "".join(
            f"<tr{' class=strong' if index in strong else ''}>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
            for index, row in enumerate(rows)
        )
        self.parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")

    def picture(self, png: bytes, title: str) -> None:
        """Add a picture that carries its own bytes."""
        self.parts.append(f'<img alt="{escape(title)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">')

    def html(self) -> str:
        """Return the page."""
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(self.title)}</title><style>{STYLE}</style>'
            f"<h1>{escape(self.title)}</h1>{''.join(self.parts)}</html>\n"
        )
