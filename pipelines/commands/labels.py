"""theories, verdict, conflicts: what the labels of the lake were made with, and what goes together."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

import lake
from lake.visibility import hidden
from pipelines.commands.access import Retracted, say_left_out
from pipelines.commands.console import OUT, AsJson, cell, print_json, print_rows
from schemas.settings import load

app = typer.Typer()


@app.command()
def theories(retracted: Retracted = False, as_json: AsJson = False) -> None:
    """List the levels of theory of the lake, how much there is of each, and whether it goes with the most common one."""
    opened = lake.open(settings=load())
    found = opened.theories(retracted=retracted)
    say_left_out(hidden(opened, retracted=retracted), as_json=as_json)
    if as_json:
        print_json([asdict(held) for held in found])
        return
    rows = [
        {
            "theory": held.theory, "calculations": held.n_calculations, "frames": held.n_frames, "systems": len(held.element_systems),
            "cutoffs, eV": [f"{cutoff:.0f}" for cutoff in held.cutoffs],
            "pseudopotentials": [f"{element}: {' | '.join(names)}" for element, names in held.pseudopotentials.items()],
            "to the first": held.verdict, "within": held.within,
        }
        for held in found
    ]  # fmt: skip
    print_rows(rows, as_json=False, empty="the lake is empty")
    for held in found:
        for reason in held.reasons:
            OUT.print(f"{held.theory} is {held.verdict} to the first: {reason}", highlight=False, markup=False)
        for reason in held.within_reasons:
            OUT.print(f"{held.theory} is {held.within} within: {reason}", highlight=False, markup=False)


@app.command()
def verdict(
    theory_a: Annotated[str, typer.Argument(help="A level of theory, as `atomlake theories` prints it.")],
    theory_b: Annotated[str, typer.Argument(help="Another one.")],
    as_json: AsJson = False,
) -> None:
    """Say whether two levels of theory of the lake are same, compatible, alignable or incompatible, and why."""
    from lake.theories import compare

    found = compare(lake.open(settings=load()), theory_a, theory_b)
    if as_json:
        print_json(asdict(found))
        return
    OUT.print(found.kind, *(f"- {reason}" for reason in found.reasons), sep="\n", highlight=False, markup=False)


@app.command()
def conflicts(
    energy: Annotated[float, typer.Option(help="Energies that differ by more than this are told, eV/atom.")] = 0.001,
    force: Annotated[float, typer.Option(help="Forces on one atom that differ by more than this are told, eV/Å.")] = 0.05,
    all_frames: Annotated[bool, typer.Option("--all", help="Also frames with a disqualifying flag (not converged, ...).")] = False,
    retracted: Retracted = False,
    as_json: AsJson = False,
) -> None:
    """List equal structures of one level of theory whose energies or forces differ, with their sources."""
    opened = lake.open(settings=load())
    found = opened.conflicts(energy_tolerance=energy, force_tolerance=force, only_good=not all_frames, retracted=retracted)
    if as_json:
        print_json(found.to_dicts())
        return
    rows = [
        {
            "formula": row["formula"], "theory": row["theory"], "verdict": row["verdict"], "eV/atom": row["energy_difference"],
            "eV/Å": row["force_difference"], "apart, Å": row["displacement"],
            "frame": f"{row['frame_id'][:12]}…:{row['frame_id'].rpartition(':')[2]} in {cell(row['sources'] or [])}",
            "other": f"{row['other_frame_id'][:12]}…:{row['other_frame_id'].rpartition(':')[2]} in {cell(row['other_sources'] or [])}",
            "reasons": row["reasons"],
        }
        for row in found.iter_rows(named=True)
    ]  # fmt: skip
    print_rows(rows, as_json=False, empty="no two equal structures of one theory differ")
