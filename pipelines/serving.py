"""Serve the deployments: `python -m pipelines.serving` runs until it is stopped."""

from __future__ import annotations

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from pipelines.flows import compact_lake, retrain, train_potential, vacuum_lake, watch_inbox
from schemas.settings import Settings, load

MODULE = EntrypointType.MODULE_PATH
"""Flows are found by module, so that the server can run in any folder."""

ONE_AT_A_TIME = ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
"""A run that comes due while the last one is still going on is dropped: the next one sees the same inbox."""


def deployments(settings: Settings) -> list[RunnerDeployment]:
    """Return the deployments: the watcher on its interval, retraining and upkeep on their cron schedules, training on demand."""
    made = [
        watch_inbox.to_deployment(
            "inbox", interval=settings.ingest.interval_seconds, concurrency_limit=ONE_AT_A_TIME, entrypoint_type=MODULE
        ),
        retrain.to_deployment("schedule", cron=settings.retrain.cron, concurrency_limit=ONE_AT_A_TIME, entrypoint_type=MODULE),
        compact_lake.to_deployment("schedule", cron=settings.upkeep.compact_cron, concurrency_limit=ONE_AT_A_TIME, entrypoint_type=MODULE),
        vacuum_lake.to_deployment("schedule", cron=settings.upkeep.vacuum_cron, concurrency_limit=ONE_AT_A_TIME, entrypoint_type=MODULE),
        train_potential.to_deployment("on-demand", entrypoint_type=MODULE),
    ]
    return [deployment for deployment in made if isinstance(deployment, RunnerDeployment)]


def main() -> None:
    """Register the deployments with the server and run what comes due."""
    serve(*deployments(load()), pause_on_shutdown=False, print_starting_message=False)


if __name__ == "__main__":
    main()
