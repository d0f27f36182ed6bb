"""The Prefect flows: watch the inbox, train, retrain, keep the lake. Each reads like a sentence; the work is elsewhere.

Flows take no settings as parameters, because parameters are shown in the UI and settings hold credentials: each loads its own.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from lake.commit import BatchReport
from lake.vacuum import Sweep
from pipelines import artifacts
from pipelines.ingesting import dask_client, ingest_batch, waiting_batches
from pipelines.training_runs import Retraining, TrainRequest, decide_retraining, run_training
from pipelines.upkeep import Kept, compact_tables, sweep_lake
from schemas.potentials import PotentialCard
from schemas.settings import load
from schemas.sources import SourceObject


@task(name="look into the inbox", retries=2, retry_delay_seconds=5)
def find_waiting() -> list[tuple[SourceObject, ...]]:
    """Return the sources that the lake has not seen, in batches."""
    return waiting_batches(load())


@task(name="take a batch", task_run_name="take batch {number}", retries=2, retry_delay_seconds=5)
def take_batch(number: int, sources: tuple[SourceObject, ...]) -> BatchReport:
    """Read one batch on Dask and commit it; safe to repeat."""
    settings = load()
    log = get_run_logger()
    with dask_client(settings) as client:
        report = ingest_batch(settings, sources, client, lambda what, done, total: log.info("%s: %d of %d", what, done, total))
    create_table_artifact(artifacts.batch_table(report), key="ingested-batch", description=artifacts.batch_summary(report))
    log.info("batch %d: %s", number, artifacts.batch_summary(report))
    return report


@flow(name="watch-inbox", description="Look for new objects in the inbox and take them into the lake.")
def watch_inbox() -> str:
    """List the inbox, read what is new in batches, commit each batch once."""
    batches = find_waiting()
    if not batches:
        get_run_logger().info("nothing new in the inbox")
        return "nothing new"
    reports = [take_batch(number, sources) for number, sources in enumerate(batches, 1)]
    return "; ".join(artifacts.batch_summary(report) for report in reports)


@task(name="train")
def train(request: TrainRequest) -> PotentialCard:
    """Train in processes of their own, their output going to the log, and publish the picture of the result."""
    card, picture = run_training(load(), request, get_run_logger().info)
    create_markdown_artifact(
        artifacts.training_markdown(card, picture), key=artifacts.key_of(card.name), description=f"{card.name} version {card.version}"
    )
    return card


@flow(name="train-potential", description="Train a potential on a pinned dataset and register it.")
def train_potential(dataset: str, name: str, options: dict[str, Any] | None = None) -> str:
    """Fit potential NAME on DATASET; options are those of `atomlake train`."""
    card = train(TrainRequest(dataset, name, tuple(sorted((options or {}).items()))))
    return f"{card.name} version {card.version} is {card.state}"


@task(name="has the lake grown?")
def look_for_new_frames(potential: str) -> Retraining:
    """Compare what the dataset's query selects now with what the current potential has seen."""
    return decide_retraining(load(), potential)


@flow(name="retrain", description="Train again where the dataset's query now selects frames that the current potential has not seen.")
def retrain(potential: str = "") -> str:
    """Say why there is or is not something to learn for POTENTIAL (default: settings retrain.potential), and train where there is."""
    log = get_run_logger()
    name = potential or load().retrain.potential
    if not name:
        log.info("no potential is named in the settings (retrain.potential): nothing to keep up to date")
        return "no potential named"
    decision = look_for_new_frames(name)
    log.info("%s: %s", name, decision.why)
    create_markdown_artifact(
        artifacts.retraining_markdown(name, decision), key=artifacts.key_of(f"retrain-{name}"), description=decision.why
    )
    if decision.request is None:
        return f"not trained: {decision.why}"
    card = train(decision.request)
    return f"trained: {decision.why}; {card.name} version {card.version} is {card.state}"


def _say(what: str, done: int, total: int) -> None:
    get_run_logger().info("%s: %d of %d", what, done, total)


@task(name="join small files", retries=2, retry_delay_seconds=30)
def join_small_files() -> list[Kept]:
    """Compact and checkpoint every table; safe to repeat."""
    kept = compact_tables(load(), _say)
    create_table_artifact(artifacts.compaction_table(kept), key="lake-compaction", description=artifacts.compaction_summary(kept))
    return kept


@flow(name="compact-lake", description="Join the small files of the tables and write checkpoints of their logs.")
def compact_lake() -> str:
    """Join what small files there are; rows, older versions and datasets stay as they are."""
    return artifacts.compaction_summary(join_small_files())


@task(name="remove what nobody needs", retries=2, retry_delay_seconds=30)
def remove_unneeded() -> tuple[Sweep, ...]:
    """Vacuum with the retention of the settings; safe to repeat."""
    swept = sweep_lake(load(), _say)
    create_table_artifact(artifacts.sweep_table(swept), key="lake-vacuum", description=artifacts.sweep_summary(swept))
    return swept


@flow(name="vacuum-lake", description="Remove files that no newest version and no dataset needs, orphans and unfinished uploads.")
def vacuum_lake() -> str:
    """Sweep the lake of what has been of no use to anybody for longer than the retention."""
    return artifacts.sweep_summary(remove_unneeded())


FLOWS = (watch_inbox, train_potential, retrain, compact_lake, vacuum_lake)
