"""tune and curve: trainings for comparison inside the training frames of a dataset."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import lake
from pipelines.commands.console import OUT, AsJson, finite, print_json, print_rows, progress_bar
from pipelines.commands.potentials import parse_options
from schemas.errors import SettingsError
from schemas.settings import load

if TYPE_CHECKING:
    from training.trials import Outcome

app = typer.Typer()

Dataset = Annotated[str, typer.Argument(help="Name of a pinned dataset.")]
Option = Annotated[list[str] | None, typer.Option("--set", help="A training setting: epochs=200, clock=cpu; can be repeated.")]
Config = Annotated[Path | None, typer.Option(help="TOML file of training settings.", exists=True)]


@app.command()
def tune(
    dataset: Dataset,
    seconds: Annotated[float, typer.Option(help="Seconds of training of all runs together, by the setting clock (wall or cpu).")] = 600.0,
    epochs: Annotated[int, typer.Option(help="Epochs of the runs of the last round, in place of seconds: repeats bit for bit.")] = 0,
    candidates: Annotated[int, typer.Option(help="Settings that are compared in the first round.")] = 9,
    keep: Annotated[int, typer.Option(help="One of so many goes on to the next round.")] = 3,
    cutoff: Annotated[str, typer.Option(help="Cutoffs to try, Å: 4,5,6; those around the settings' one where left out.")] = "",
    channels: Annotated[str, typer.Option(help="Numbers of channels to try: 4,8.")] = "",
    width: Annotated[str, typer.Option(help="Widths of the hidden layers to try: 16,32.")] = "",
    decay: Annotated[str, typer.Option(help="Weight decays to try: 0.001,0.01.")] = "",
    option: Option = None,
    config: Config = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder for trials.csv, tune.json and settings.toml; DATASET-tune by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Search settings by successive halving on groups of training frames, never the test; a killed search goes on where it was."""
    from training.settings import settings_from, settings_to_toml
    from training.tuning import EPOCHS, SECONDS, Budget, Search
    from training.tuning import tune as search_settings

    settings, opened = load(), lake.open(settings=load())
    given = {"cutoff": _numbers("--cutoff", cutoff), "channels": _whole("--channels", channels), "width": _whole("--width", width)}
    given["weight_decay"] = _numbers("--decay", decay)
    tried = Search(**{name: values for name, values in given.items() if values})  # type: ignore[arg-type]
    budget = Budget(epochs or seconds, EPOCHS if epochs else SECONDS, candidates, keep)
    base = settings_from(parse_options(option or [], config))
    with progress_bar() as report:
        found = search_settings(opened.dataset(dataset), base, budget, tried, work=settings.home / "training", progress=report)
    rows = [
        {
            "round": each.round, "candidate": each.candidate, "cutoff, Å": each.cutoff, "channels": each.channels, "width": each.width,
            "weight decay": each.weight_decay, **_measured(each.outcome), "goes on": "yes" if each.goes_on else "",
        }
        for each in found.trials
    ]  # fmt: skip
    folder = output or Path(f"{dataset}-tune")
    record = {"dataset": dataset, "budget": asdict(budget), "trials": rows, "notes": found.notes, "settings": found.settings.to_mapping()}
    _write(folder, "trials.csv", "tune.json", rows, record)
    (folder / "settings.toml").write_text(f"# Found by atomlake tune {dataset}.\n{settings_to_toml(found.settings)}")
    if as_json:
        print_json(record)
        return
    print_rows(rows, as_json=False, title=f"{dataset}: {len(rows)} trainings; the candidate of the last round that goes on has won")
    _say(found.notes, f"atomlake train {dataset} --config {folder / 'settings.toml'}")


@app.command()
def curve(
    dataset: Dataset,
    target: Annotated[float | None, typer.Option(help="Mean absolute error to reach: meV/Å, or meV/atom with --metric energy.")] = None,
    metric: Annotated[str, typer.Option(help="forces or energy.")] = "forces",
    points: Annotated[int, typer.Option(help="Numbers of frames, each half of the one before.")] = 5,
    repeats: Annotated[int, typer.Option(help="Trainings at each, with other frames and first weights.")] = 3,
    rule: Annotated[str, typer.Option(help="steps: all trainings take as many steps; epochs: as many epochs.")] = "steps",
    option: Option = None,
    config: Config = None,
    output: Annotated[Path | None, typer.Option(help="Folder for curve.csv, curve.json and curve.png; DATASET-curve by default.")] = None,
    as_json: AsJson = False,
) -> None:
    """Train on growing numbers of frames and forecast how many a target error needs; a killed curve goes on where it was."""
    from training.curve import Plan, learning_curve
    from training.curve_picture import curve_picture
    from training.settings import settings_from

    settings, opened = load(), lake.open(settings=load())
    base = settings_from(parse_options(option or [], config))
    with progress_bar() as report:
        found = learning_curve(
            opened.dataset(dataset), base, Plan(points, repeats, rule), metric=metric, target=None if target is None else target / 1000,
            work=settings.home / "training", progress=report,
        )  # fmt: skip
    rows = [
        {"training frames": each.n_frames, "groups": each.n_groups, "repeat": each.repeat, **_measured(each.outcome)}
        for each in found.points
    ]
    folder, forecast = output or Path(f"{dataset}-curve"), asdict(found.forecast)
    record = {"dataset": dataset, "points": rows, "forecast": forecast, "notes": found.notes, "settings": base.to_mapping()}
    _write(folder, "curve.csv", "curve.json", rows, record)
    (folder / "curve.png").write_bytes(curve_picture(found, f"{dataset}: learning curve"))
    if as_json:
        print_json(record)
        return
    print_rows(rows, as_json=False, title=f"{dataset}: errors on held-out groups")
    doubts = "; ".join(found.forecast.doubts)
    _say((*found.notes, *([f"The forecast is not to be trusted: {doubts}."] if doubts else [])), found.forecast.says)


def _measured(outcome: Outcome) -> dict[str, Any]:
    return {
        "loss": outcome.loss, "energy MAE, meV/atom": 1000 * outcome.energy_mae, "force MAE, meV/Å": 1000 * outcome.force_mae,
        "held-out frames": outcome.n_held_out, "steps": outcome.steps, "seconds": outcome.seconds,
    }  # fmt: skip


def _write(folder: Path, table: str, whole: str, rows: Sequence[dict[str, Any]], record: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / table).open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / whole).write_text(json.dumps(finite(record), ensure_ascii=False, indent=1))


def _say(notes: Sequence[str], last: str) -> None:
    for note in notes:
        OUT.print(f"note: {note}", highlight=False, markup=False)
    OUT.print(last, highlight=False, markup=False, soft_wrap=True)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise SettingsError(f"{option} is {text!r}, expected numbers like 4,5,6") from error


def _whole(option: str, text: str) -> tuple[int, ...]:
    found = _numbers(option, text)
    if any(value != int(value) for value in found):
        raise SettingsError(f"{option} is {text!r}, expected whole numbers like 4,8")
    return tuple(int(value) for value in found)
