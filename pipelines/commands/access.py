"""embargo, embargoes: projects that only readers named in a profile may use before a day; and what is said of what is left out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

import lake
from lake.visibility import Hidden
from pipelines.commands.console import ERR, OUT, AsJson, print_rows
from schemas.errors import QueryError
from schemas.settings import load

app = typer.Typer()

Retracted = Annotated[bool, typer.Option("--retracted", help="Also what only retracted sources have.")]


def say_left_out(unseen: Hidden, *, as_json: bool = False) -> None:
    """Say what was left out, beside the JSON where there is some."""
    retracted, embargoed = unseen.n_frames()
    out = ERR if as_json else OUT
    if retracted:
        out.print(f"{retracted} frames of retracted sources left out (--retracted shows them)", highlight=False)
    if embargoed:
        days = ", ".join(f"{project} until {day}" for project, day in unseen.projects.items())
        out.print(f"{embargoed} frames of embargoed projects left out ({days})", highlight=False, markup=False)


def say_deposits_left_out(opened: lake.Lake, *, as_json: bool = False) -> None:
    """Say how many deposits of embargoed projects were left out, beside the JSON where there is some."""
    from lake.embargoes import hidden_deposits

    found = hidden_deposits(opened)
    if found:
        words = ", ".join(f"{n} of {project}" for project, n in found.items())
        (ERR if as_json else OUT).print(f"deposits of embargoed projects left out: {words}", highlight=False, markup=False)


@app.command()
def embargo(
    project: Annotated[str, typer.Argument(help="Project, as its depositors named it.")],
    until: Annotated[str, typer.Option(help="Day from which on everybody sees the data: 2027-01-31.")] = "",
    why: Annotated[str, typer.Option(help="The reason; it is kept.")] = "",
    lift: Annotated[bool, typer.Option("--lift", help="End the embargo now.")] = False,
    as_json: AsJson = False,
) -> None:
    """Keep all data of a project out of queries, exports and training until a day, but for readers whose profile names it."""
    from lake.embargoes import embargo as keep
    from lake.embargoes import lift as end

    if bool(until) == lift:
        raise QueryError("an embargo is set or lifted: write --until DAY or --lift")
    opened = lake.open(settings=load())
    print_rows([asdict(end(opened, project) if lift else keep(opened, project, until, why))], as_json=as_json)


@app.command()
def embargoes(as_json: AsJson = False) -> None:
    """List the projects that are or were under embargo, and whether the profile of these settings names them."""
    from lake.embargoes import embargoes as all_of
    from lake.embargoes import hidden_projects, today

    opened = lake.open(settings=load())
    hidden = hidden_projects(opened)
    rows = [
        {**asdict(each), "state": "hidden from you" if name in hidden else "seen by you" if each.until > today().isoformat() else "over"}
        for name, each in all_of(opened).items()
    ]
    print_rows(rows, as_json=as_json, empty="no project is under embargo")
