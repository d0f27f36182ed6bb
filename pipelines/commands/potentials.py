"""train, evaluate, validate, md and the registry of potentials."""

from __future__ import annotations

import json
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import lake
from pipelines.artifacts import METRICS_HEADER, metrics_rows
from pipelines.commands.console import OUT, AsJson, print_json, print_rows, progress_bar
from schemas.errors import SettingsError
from schemas.json import to_json
from schemas.potentials import Metrics, PotentialCard
from schemas.settings import load

if TYPE_CHECKING:
    from ase import Atoms

app = typer.Typer()
registry = typer.Typer(help="The registry of potentials.")

Name = Annotated[str, typer.Argument(help="Name of the potential, or a folder that holds one.")]
Version = Annotated[int | None, typer.Option(help="Version; the champion, or else the newest, where it is left out.")]


def parse_options(texts: list[str], file: Path | None) -> dict[str, Any]:
    """Return training settings from a TOML file and from FIELD=VALUE texts, which win."""
    options: dict[str, Any] = tomllib.loads(file.read_text()) if file else {}
    for text in texts:
        field, equals, value = text.partition("=")
        if not equals:
            raise SettingsError(f"--set is {text!r}, expected FIELD=VALUE like epochs=200")
        try:
            options[field] = json.loads(value)
        except json.JSONDecodeError:
            options[field] = value
    return options


def print_metrics(metrics: Metrics) -> None:
    """Print errors by system beside those of the trivial predictor."""
    rows = [dict(zip(METRICS_HEADER, cells, strict=True)) for cells in metrics_rows(metrics)]
    print_rows(rows, as_json=False, title=f"mean absolute errors, {metrics.split}")


def print_card(card: PotentialCard, *, as_json: bool) -> None:
    """Print what a potential is and how well it does."""
    if as_json:
        print_json(asdict(card))
        return
    OUT.print(
        f"{card.name} version {card.version} ({card.state}): {card.architecture}, elements {', '.join(card.elements)}, "
        f"cutoff {card.cutoff} Å, {card.n_parameters} parameters\ndataset {card.dataset} ({card.dataset_hash[:12]}), "
        f"theory {', '.join(card.theories)}, trained for {card.training_seconds:.0f} s"
        + (f"\nbegun with the weights of {card.parent}" if card.parent else ""),
        highlight=False,
    )
    for metrics in card.metrics.values():
        print_metrics(metrics)
    for note in card.notes:
        OUT.print(f"note: {note}", highlight=False)
    if card.decision is not None:
        rows = [{"check": each.name, "passed": "yes" if each.passed else "NO", "found": each.detail} for each in card.decision.checks]
        print_rows(rows, as_json=False, title=f"gate, {card.decision.decided_at}: {card.decision.against or 'no champion before'}")


@app.command()
def train(
    dataset: Annotated[str, typer.Argument(help="Name of a pinned dataset.")],
    name: Annotated[str, typer.Option(help="Name of the potential; that of the dataset where it is left out.")] = "",
    option: Annotated[list[str] | None, typer.Option("--set", help="A training setting: epochs=200, devices=2; can be repeated.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file of training settings.", exists=True)] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, gpu, or auto for a GPU where there is one: the setting of that name.")] = "",
    start: Annotated[
        str, typer.Option("--from", help="Begin with the weights of an earlier potential, NAME or NAME@VERSION; its test frames stay out.")
    ] = "",
    prefect: Annotated[
        bool, typer.Option("--prefect/--no-prefect", help="Show the training in the Prefect UI, where a server is set.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Fit a potential on a dataset, on one process or several; a killed training goes on where it was."""
    settings = load()
    name = name or dataset
    options = parse_options(option or [], config)
    if start:
        options["start_from"] = start
    if accelerator:
        options["accelerator"] = accelerator
    # What is not there, or not for this reader, is told before a flow begins.
    lake.open(settings=settings).dataset(dataset)
    if prefect and settings.prefect.api_url:
        from pipelines.prefect_runs import train_as_flow

        card = train_as_flow(settings, dataset, name, options)
    else:
        from pipelines.training_session import train_and_register

        card = train_and_register(settings, dataset, name, options)
    print_card(card, as_json=as_json)


@app.command()
def retrain(name: Annotated[str, typer.Argument(help="Name of the potential.")]) -> None:
    """Train a potential again if the query of its dataset now selects frames that it has not seen, and say why or why not."""
    settings = load()
    if settings.prefect.api_url:
        from pipelines.prefect_runs import retrain_as_flow

        OUT.print(retrain_as_flow(settings, name), highlight=False)
        return
    from pipelines.training_runs import decide_retraining, run_training

    decision = decide_retraining(settings, name)
    OUT.print(f"{name}: {decision.why}", highlight=False)
    if decision.request is not None:
        card, _ = run_training(settings, decision.request, lambda line: OUT.print(line, highlight=False, markup=False))
        print_card(card, as_json=False)


@app.command()
def reproduce(
    potential: Annotated[str, typer.Argument(help="NAME or NAME@VERSION; the champion, or else the newest, without a version.")],
    tolerance: Annotated[float, typer.Option(help="Largest relative difference of errors and weights that counts as within.")] = 0.02,
    as_json: AsJson = False,
) -> None:
    """Train a potential again from its card (dataset, settings, seed) and compare errors and weights; exit code 1 where they differ."""
    from lake.potentials import name_and_version
    from pipelines.reproducing import is_reproduced
    from pipelines.reproducing import reproduce as train_again

    rows = train_again(load(), *name_and_version(potential), tolerance)
    print_rows([asdict(row) for row in rows], as_json=as_json, title=f"{potential}, trained again")
    if not is_reproduced(rows):
        raise typer.Exit(1)


@app.command()
def evaluate(
    potential: Name,
    dataset: Annotated[str, typer.Argument(help="Name of a pinned dataset.")],
    split: Annotated[str, typer.Option(help="train, validation or test.")] = "test",
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Measure the errors of a potential on a split of any dataset, beside the trivial predictor."""
    import training

    opened = lake.open(settings=load())
    pinned = opened.dataset(dataset)
    loaded = training.load(potential, lake=opened, version=version)
    arrays, baseline = (loaded.named(pinned.arrays(each), pinned.manifest.theories) for each in (split, "train"))
    metrics = training.evaluate(loaded, arrays, split, baseline=baseline)
    if as_json:
        print_json(asdict(metrics))
    else:
        print_metrics(metrics)


def structure(potential_elements: tuple[str, ...], file: Path | None, dataset: str, repeat: int) -> Atoms:
    """Return the structure to simulate: a file that ASE reads, or the first test frame of a dataset, repeated."""
    if file is not None:
        from ase.io import read

        atoms: Atoms = read(file, index=-1)  # type: ignore[assignment]
    elif not dataset:
        raise SettingsError("the potential names no dataset to take a structure from; give one with --structure FILE")
    else:
        from training.structures import to_atoms

        atoms = to_atoms(lake.open(settings=load()).dataset(dataset).arrays("test"), 0)
    unknown = sorted(set(atoms.get_chemical_symbols()) - set(potential_elements))
    if unknown:
        raise SettingsError(
            f"the structure holds {', '.join(unknown)}, the potential knows {', '.join(potential_elements)}; choose another structure"
        )
    repeated: Atoms = atoms.repeat(repeat)
    return repeated


@app.command()
def md(
    potential: Name,
    file: Annotated[
        Path | None, typer.Option("--structure", help="File that ASE reads; default: a test frame of the potential's dataset.")
    ] = None,
    repeat: Annotated[int, typer.Option(help="Repeat the cell so many times along each vector.")] = 3,
    temperature: Annotated[float, typer.Option(help="K")] = 300.0,
    steps: Annotated[int, typer.Option(help="Steps of each ensemble.")] = 1000,
    timestep: Annotated[float, typer.Option(help="fs")] = 1.0,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Run molecular dynamics, NVE then NVT, on a large cell and report energy drift and temperature."""
    import training
    from training.dynamics import run_dynamics

    opened = lake.open(settings=load())
    loaded = training.load(potential, lake=opened, version=version)
    atoms = structure(loaded.card.elements, file, loaded.card.dataset, repeat)
    with progress_bar() as report:
        result = run_dynamics(loaded, atoms, temperature=temperature, steps=steps, timestep=timestep, progress=report)
    rows = [asdict(part) for part in result]
    print_rows(rows, as_json=as_json, title=f"{atoms.get_chemical_formula()}, {len(atoms)} atoms")


@app.command()
def validate(potential: Name, version: Version = None, as_json: AsJson = False) -> None:
    """Check numerically that force is minus the gradient of the energy, and stress its strain derivative."""
    import training
    from training.gradient_check import check_gradients

    opened = lake.open(settings=load())
    loaded = training.load(potential, lake=opened, version=version)
    check = check_gradients(loaded, structure(loaded.card.elements, None, loaded.card.dataset, 1))
    print_rows([asdict(check)], as_json=as_json)


@registry.command("list")
def list_all(as_json: AsJson = False) -> None:
    """List the potentials with their state and test errors."""
    from lake.potentials import list_potentials

    rows = [
        {
            "name": card.name, "version": card.version, "state": card.state, "architecture": card.architecture,
            "elements": list(card.elements), "dataset": card.dataset, "test energy MAE, eV/atom": card.metrics["test"].overall.energy_mae,
            "test force MAE, eV/Å": card.metrics["test"].overall.force_mae, "created": card.created_at,
        }
        for card in list_potentials(lake.open(settings=load()))
    ]  # fmt: skip
    print_rows(rows, as_json=as_json, empty="no potentials yet: train one with `atomlake train`")


@registry.command()
def show(name: Name, version: Version = None, as_json: AsJson = False) -> None:
    """Show the card of a potential, what the gate found, and its states with their reasons."""
    from lake.potentials import read_potential, states

    opened = lake.open(settings=load())
    card, _ = read_potential(opened, name, version)
    print_card(card, as_json=as_json)
    if not as_json:
        for when, state, why in states(opened, card.name, card.version):
            OUT.print(f"{when:%Y-%m-%d %H:%M:%S}  {state}: {why}", highlight=False, soft_wrap=True)


@registry.command()
def promote(name: Name, version: Annotated[int, typer.Option(help="Version that is to become champion.")], as_json: AsJson = False) -> None:
    """Send a candidate through the gate once more: it becomes champion where all checks pass."""
    from pipelines.promotion import judge

    settings = load()
    print_card(judge(lake.open(settings=settings), name, version, settings.gate), as_json=as_json)


@registry.command()
def add(
    name: Annotated[str, typer.Argument(help="Name in the registry.")],
    reference: Annotated[str, typer.Argument(help="Model of another program: mace:FILE.")],
    dataset: Annotated[str, typer.Option(help="Pinned dataset that it was trained on and is measured on.")],
    as_json: AsJson = False,
) -> None:
    """Record a potential that another program trained, with its errors on a pinned dataset, as a candidate."""
    from pipelines.external import add_external

    print_card(add_external(lake.open(settings=load()), name, reference, dataset), as_json=as_json)


@registry.command()
def retire(
    name: Name,
    version: Annotated[int, typer.Option(help="Version that is not to be used any more.")],
    why: Annotated[str, typer.Option(help="The reason; it is kept for ever.")],
) -> None:
    """Retire a version: it stays readable by its number and is no longer what its name means."""
    from lake.potentials import set_state

    set_state(lake.open(settings=load()), name, version, "retired", why)
    OUT.print(f"{name} version {version} is retired: {why}", highlight=False)


@registry.command()
def export(name: Name, folder: Annotated[Path, typer.Argument(help="Folder to write.")], version: Version = None) -> None:
    """Write a potential to a local folder that `training.load(FOLDER)` reads."""
    from lake.potentials import read_potential

    card, files = read_potential(lake.open(settings=load()), name, version)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").write_text(to_json(card))
    for file, content in files.items():
        (folder / file).write_bytes(content)
    OUT.print(f"{card.name} version {card.version}: {', '.join(sorted(files))} in {folder}", highlight=False)
