"""put, ingest, status, rejections, retry, inspect: from files to the lake."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import typer

import lake
from pipelines.commands.access import say_deposits_left_out
from pipelines.commands.console import OUT, AsJson, print_frame, print_json, print_rows, progress_bar
from schemas.settings import load

app = typer.Typer()

SHOWN_BYTES = 4 * 2**20
"""Uploads smaller than this need no bar."""

Units = Annotated[str, typer.Option(help="Units of files that do not say them: 'energy=Ha,length=bohr', also force, stress, virial.")]
Keys = Annotated[str, typer.Option(help="Which numbers of such files are the labels: 'energy=REF_energy,forces=REF_forces'.")]
Theory = Annotated[str, typer.Option(help="Level of theory of such files: 'code=vasp,functional=PBE,cutoff=520'.")]
Paths = Annotated[list[Path], typer.Argument(help="Archives, single outputs, or folders.", exists=True)]


@app.command()
def put(
    paths: Paths,
    project: Annotated[str, typer.Option(help="Project that the data belong to.")] = "",
    material: Annotated[list[str] | None, typer.Option(help="Name of the material, in any language; can be repeated.")] = None,
    licence: Annotated[str, typer.Option(help="Licence of the data, as an SPDX name: CC-BY-4.0.")] = "",
    units: Units = "",
    keys: Keys = "",
    theory: Theory = "",
    embargo_until: Annotated[
        str, typer.Option(help="Day (2027-01-31) until which the project is for readers only whose profile names it; needs --project.")
    ] = "",
) -> None:
    """Upload archives, files or folders to the inbox; what is there already is not sent again, but for new --units, --keys, --theory."""
    from lake.collections.answers import read_answers
    from lake.inbox import upload
    from lake.store import connect

    settings = load()
    store = connect(f"s3://{settings.store.inbox_bucket}", settings.store)
    there: list[str] = []
    answers = read_answers({"units": units, "keys": keys, "theory": theory})

    def count(report: Callable[[str, int, int], None], key: str, done: int, size: int) -> None:
        if done < 0:
            there.append(key)
        elif size > SHOWN_BYTES:
            report(key, done, size)

    with progress_bar() as report:
        sent = upload(
            store, paths, project=project, materials=tuple(material or ()), licence=licence, embargo_until=embargo_until,
            answers=answers, progress=partial(count, report),
        )  # fmt: skip
    OUT.print(f"{len(sent)} objects sent; {len(there)} were there already with the same content, and were not sent again", highlight=False)


@app.command()
def ingest(
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, at the interval of the settings.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take what waits in the inbox into the lake, once or in a loop; needs no Prefect server."""
    from pipelines.artifacts import batch_table
    from pipelines.ingesting import ingest_once

    settings = load()
    while True:
        with progress_bar() as report:
            reports = ingest_once(settings, progress=report)
        rows = [row for batch in reports for row in batch_table(batch)]
        if rows or not watch:
            print_rows(rows, as_json=as_json, empty="nothing new in the inbox: everything in it has been taken or rejected before")
        if not watch:
            return
        time.sleep(settings.ingest.interval_seconds)


@app.command()
def status(as_json: AsJson = False) -> None:
    """Show what was seen and taken, by state of the source at the newest attempt; `needs_units` waits for an answer."""
    opened = lake.open(settings=load())
    sources = opened.sources()
    newest = sources.group_by("bucket", "key").agg(pl.col("ingested_at").max())
    sources = sources.join(newest, on=["bucket", "key", "ingested_at"], how="semi")
    counts = sources.group_by("state").agg(
        pl.len().alias("sources"), pl.col("n_calculations").sum(), pl.col("n_frames").sum(), pl.col("n_rejections").sum()
    )
    print_frame(
        counts.sort("state").collect(), as_json=as_json, empty="nothing has been seen yet: put archives into the inbox with `atomlake put`"
    )
    say_deposits_left_out(opened, as_json=as_json)


@app.command()
def rejections(
    reason: Annotated[str, typer.Option(help="Only this reason code.")] = "",
    as_json: AsJson = False,
) -> None:
    """List what could not be taken, why, and what to do about it."""
    opened = lake.open(settings=load())
    rows = opened.rejections()
    if reason:
        rows = rows.filter(pl.col("reason") == reason)
    print_frame(
        rows.select("key", "member", "reason", "detail", "remedy").sort("key", "member").collect(), as_json=as_json, empty="no rejections"
    )
    say_deposits_left_out(opened, as_json=as_json)


@app.command()
def retry(
    key: Annotated[str, typer.Argument(help="Key of the source in the inbox, as `atomlake rejections` prints it.")],
    units: Units = "",
    keys: Keys = "",
    theory: Theory = "",
    as_json: AsJson = False,
) -> None:
    """Read a source again, with the readers of this version, and with answers that are kept beside it."""
    from lake.collections.answers import read_answers
    from pipelines.artifacts import batch_table
    from pipelines.ingesting import retry_source

    answers = read_answers({"units": units, "keys": keys, "theory": theory})
    with progress_bar() as report:
        reports = retry_source(load(), key, answers=answers, progress=report)
    print_rows([row for batch in reports for row in batch_table(batch)], as_json=as_json, empty=f"{key} is not in the inbox any more")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A local output, archive or folder.", exists=True)],
    arrays: Annotated[bool, typer.Option("--arrays", help="With --json: numbers, positions, cell, pbc and forces too.")] = False,
    units: Units = "",
    keys: Keys = "",
    theory: Theory = "",
    as_json: AsJson = False,
) -> None:
    """Read a local file as the lake would, and print what it would store; needs no lake. Exit code 1 where that is nothing."""
    from lake.collections.answers import read_answers
    from lake.inspection import inspect_file

    answers = read_answers({"units": units, "keys": keys, "theory": theory})
    found = inspect_file(file, load().limits, arrays=arrays, answers=answers)
    if as_json:
        print_json(found)
    else:
        _print_found(found)
    raise typer.Exit(0 if found["calculations"] else 1)


def _print_found(found: dict[str, Any]) -> None:
    print_rows(_calculation_rows(found["calculations"]), as_json=False, title="calculations", empty="no calculation")
    for waiting in found.get("waiting", ()):
        title = f"NOT TAKEN, what {waiting['member']} would be by the proposal {waiting['proposal']}"
        print_rows(_calculation_rows(waiting["calculations_by_proposal"]), as_json=False, title=title, empty=f"{title}: nothing")
    print_rows(found["rejections"], as_json=False, title="rejections", empty="no rejection")


def _calculation_rows(calculations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "calculation": c["calculation_id"][:12], "files": c["files"], "code": f"{c['code']} {c['code_version']}", "kind": c["kind"],
            "system": c["element_system"], "atoms": c["natoms"], "frames": c["n_frames"],
            "last energy, eV": c["frames"][-1]["energy"] if c["frames"] else None, "complete": c["complete"], "theory": c["theory"],
            "flags": sorted({*c["flags"], *(flag for frame in c["frames"] for flag in frame["flags"])}),
        }
        for c in calculations
    ]  # fmt: skip
