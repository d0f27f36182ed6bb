"""Run flows from the command line under the Prefect server of the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import lake
from lake.potentials import list_potentials
from schemas.potentials import PotentialCard
from schemas.settings import Settings


def train_as_flow(settings: Settings, dataset: str, name: str, options: Mapping[str, Any]) -> PotentialCard:
    """Train inside a flow run of this process, so that log and result are seen in the UI, and return the new card."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: settings.prefect.api_url}):
        from pipelines.flows import train_potential

        train_potential(dataset=dataset, name=name, options=dict(options))
    return list_potentials(lake.open(settings=settings), name)[-1]


def retrain_as_flow(settings: Settings, name: str) -> str:
    """Look now, and not at the next scheduled time, whether a potential has something new to learn; returns what was decided."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: settings.prefect.api_url}):
        from pipelines.flows import retrain

        return retrain(potential=name)
