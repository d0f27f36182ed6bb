"""What services need before the first flow runs: buckets, a store that is safe for commits, and the automation for dead runs.

`python -m pipelines.furnishing` does it for services that others started: containers, a cluster.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import httpx

from lake.probe import probe
from lake.store import connect, make_bucket
from pipelines import seaweedfs
from pipelines.automations import ensure_zombie_automation
from schemas.errors import AtomlakeError, ServiceFailed
from schemas.settings import Settings, load


def furnish(settings: Settings, *, report: Callable[[str, str], None], make_buckets: bool) -> None:
    """Make what is missing; as often as one likes.

    Raises StoreUnreachable, StoreUnsafe, and ServiceFailed where the Prefect server refuses the automation.
    """
    if make_buckets:
        for bucket in seaweedfs.buckets(settings):
            make_bucket(bucket, settings.store)
    probe(connect(settings.store.lake_url, settings.store))
    report("store", f"{settings.store.lake_url} is safe for commits")
    if not settings.prefect.api_url:
        return
    try:
        if ensure_zombie_automation(settings.prefect.api_url):
            report("prefect", "automation for runs without a sign of life created")
    except httpx.HTTPError as error:
        raise ServiceFailed(f"prefect: {settings.prefect.api_url} takes no automation: {error}; is it a Prefect 3 server?") from error


def _say(name: str, what: str) -> None:
    sys.stdout.write(f"{name}: {what}\n")


def main() -> int:
    """Furnish the services of the settings; 1 for an error that is told in words."""
    try:
        furnish(load(), report=_say, make_buckets=True)
    except AtomlakeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
