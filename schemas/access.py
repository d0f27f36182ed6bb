"""Who may see what: the embargo of a project."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Embargo:
    """A project whose data are left out of queries, exports and training until a day, but for readers whose profile names it."""

    project: str
    until: str
    """ISO 8601 date; from the beginning of this day (UTC) on, everybody sees the data."""
    why: str
    """The reason given, or the key of the deposit that asked for it."""
    set_at: str
    """ISO 8601, UTC."""
