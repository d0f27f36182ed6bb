"""search, frames, systems: finding what is in the lake."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

import lake
from pipelines.commands.console import OUT, AsJson, print_frame, print_json, print_rows, progress_bar
from schemas.datasets import FrameQuery
from schemas.errors import QueryError
from schemas.settings import load

app = typer.Typer()

Elements = Annotated[str, typer.Option("--elements", "-e", help="Exactly these elements: Mg,Ca,O.")]
Subsystems = Annotated[bool, typer.Option("--subsystems", "-s", help="And every subset of them: MgO, CaO, ...")]
Systems = Annotated[list[str] | None, typer.Option("--system", help="Element system: Mg-O; can be repeated.")]
Containing = Annotated[str, typer.Option(help="At least these elements: Mg,O.")]
Formula = Annotated[str, typer.Option(help="Formula in any order: OMg, Mg0.5Ca0.5O.")]
Theory = Annotated[str, typer.Option(help="Level of theory, or its beginning up to a '/': PBE.")]
Code = Annotated[str, typer.Option(help="Code: qe, vasp.")]
Project = Annotated[str, typer.Option(help="Project of the depositor.")]
Atoms = Annotated[str, typer.Option(help="Number of atoms, or a range: 8, 1:64.")]
MaxForce = Annotated[float | None, typer.Option(help="No force above this, eV/Å.")]
AllFrames = Annotated[bool, typer.Option("--all", help="Also frames with a disqualifying flag (not converged, ...).")]
Limits = Annotated[list[str] | None, typer.Option("--limit", help="At most so many frames of a system outside the test: Ca-Mg-O=10.")]


def split_elements(text: str) -> tuple[str, ...]:
    """Return the symbols in 'Mg,Ca,O', 'Mg Ca O' or 'Mg-Ca-O'."""
    return tuple(part for part in text.replace(",", " ").replace("-", " ").split() if part)


def atom_range(text: str) -> tuple[int, int] | None:
    """Return the least and most atoms in '8' or '1:64'; raises QueryError for anything else."""
    if not text:
        return None
    low, _, high = text.partition(":")
    if not low.isdigit() or not (high or low).isdigit():
        raise QueryError(f"--atoms is {text!r}, expected a number or a range like 1:64")
    return int(low), int(high or low)


def limits_of(texts: list[str] | None) -> dict[str, int]:
    """Return {system: count} of ['Ca-Mg-O=10']; raises QueryError for anything else."""
    limits = {}
    for text in texts or []:
        system, _, count = text.partition("=")
        if not count.isdigit():
            raise QueryError(f"--limit is {text!r}, expected SYSTEM=COUNT like Ca-Mg-O=10")
        limits[system] = int(count)
    return limits


@app.command()
def search(
    text: Annotated[str, typer.Argument(help="Formula, elements, element system or material name.")], as_json: AsJson = False
) -> None:
    """Find systems by material name (any language), formula in any order, element list or element system."""
    result = lake.open(settings=load()).search(text)
    if as_json:
        print_json(asdict(result))
        return
    meaning = f", {' or '.join(result.formulas)}" if result.formulas else ""
    OUT.print(f"{text}: taken as {result.kind}{meaning}", highlight=False)
    rows = [
        {
            "system": found.element_system, "formulas": found.formulas, "materials": found.materials, "calculations": found.n_calculations,
            "frames": found.n_frames, "theories": [f"{theory}: {count}" for theory, count in found.theories.items()],
            "potentials": found.potentials,
        }
        for found in result.systems
    ]  # fmt: skip
    print_rows(rows, as_json=False)
    if result.suggestions:
        OUT.print(f"did you mean: {', '.join(result.suggestions)}?", highlight=False)


@app.command()
def systems(as_json: AsJson = False) -> None:
    """List the element systems of the lake with their number of frames."""
    print_frame(lake.open(settings=load()).systems(), as_json=as_json, empty="the lake is empty")


@app.command()
def frames(
    elements: Elements = "",
    subsystems: Subsystems = False,
    system: Systems = None,
    containing: Containing = "",
    formula: Formula = "",
    theory: Theory = "",
    code: Code = "",
    project: Project = "",
    atoms: Atoms = "",
    max_force: MaxForce = None,
    all_frames: AllFrames = False,
    with_forces: Annotated[bool, typer.Option("--with-forces", help="Only frames that have forces.")] = False,
    export: Annotated[
        Path | None, typer.Option(help="Write the frames here, as its ending says: .extxyz, .xyz, .parquet, input.data, .db, .deepmd.")
    ] = None,
    form: Annotated[str, typer.Option("--format", help="Format of the export: extxyz, parquet, runner, ase-db, deepmd.")] = "",
    show: Annotated[int, typer.Option(help="Show so many single frames.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Count frames by system and theory, show them, or export them."""
    query = FrameQuery(
        elements=split_elements(elements), subsystems=subsystems, systems=tuple(system or ()), containing=split_elements(containing),
        formula=formula, theory=theory, code=code, project=project, natoms=atom_range(atoms), max_force=max_force, only_good=not all_frames,
        with_forces=with_forces,
    )  # fmt: skip
    selected = lake.open(settings=load()).select(query)
    if export is not None:
        from lake.exports import export as write

        total = selected.select(pl.len()).collect().item()
        with progress_bar() as report:
            count = write(selected, export, form, progress=lambda done: report("frames", done, total))
        OUT.print(f"{count} frames written to {export}", highlight=False)
        return
    if show:
        columns = ["frame_id", "formula", "theory", "energy_per_atom", "max_force", "pressure", "scf_converged", "flags"]
        print_frame(selected.select(columns).head(show).collect(), as_json=as_json)
        return
    counts = selected.group_by("element_system", "theory").agg(
        pl.len().alias("frames"), pl.col("calculation_id").n_unique().alias("calculations"),
        pl.col("energy_per_atom").min().alias("lowest, eV/atom"), pl.col("max_force").max().alias("largest force, eV/Å"),
    )  # fmt: skip
    print_frame(counts.sort("element_system", "theory").collect(), as_json=as_json)
