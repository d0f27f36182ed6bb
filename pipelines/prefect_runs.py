"""Run flows from the command line under the Prefect server of the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import lake
from lake.potentials import list_potentials
from schemas.potentials import PotentialCard
from schemas.settings import Settings, set_in_environment


@contextmanager
def prefect_api(settings: Settings) -> Iterator[None]:
    """Let flows of this process report to the server of the settings, and Prefect to nobody else."""
    set_in_environment("DO_NOT_TRACK", "1")
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: settings.prefect.api_url}):
        yield


def train_as_flow(settings: Settings, dataset: str, name: str, options: Mapping[str, Any]) -> PotentialCard:
    """Train inside a flow run of this process, so that log and result are seen in the UI, and return the new card."""
    with prefect_api(settings):
        from pipelines.flows import train_potential

        train_potential(dataset=dataset, name=name, options=dict(options))
    return list_potentials(lake.open(settings=settings), name)[-1]


def retrain_as_flow(settings: Settings, name: str) -> str:
    """Look now, and not at the next scheduled time, whether a potential has something new to learn; returns what was decided."""
    with prefect_api(settings):
        from pipelines.flows import retrain

        return retrain(potential=name)
