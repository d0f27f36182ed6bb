"""The services of the local stack, each as one record: command, environment, ports, health, order."""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from pipelines import health, seaweedfs
from pipelines.ports import HOST, Port, ports_of
from pipelines.processes import Place, Recipe, Running
from schemas.settings import Settings

FLOW_SERVER: Final = (sys.executable, "-m", "pipelines.serving")
"""Serves the Prefect deployments until it is ended."""
HEARTBEAT_SECONDS: Final = 30
"""Between two signs of life of a flow run."""


@dataclass(frozen=True)
class Service:
    """One service of the local stack."""

    place: Place
    recipe: Recipe
    address: str
    """Where others find it; '' for one that only asks others."""
    ports: tuple[Port, ...]
    fault: Callable[[Running], str]
    """Ask whether it works; '' or what is missing."""
    order: int = 0
    """Those of 0 start together, those of 1 when all of them work."""
    start_seconds: float = 60.0
    stop_seconds: float = 10.0
    """Time between being asked to stop and being killed."""
    starts_with: str = ""
    """Started again whenever this one is."""
    orphans_finish: bool = False
    """What it has started may come to its end when it is dead or started again; `down` ends all."""

    @property
    def name(self) -> str:
        """Return its name, which is the one of its log file."""
        return self.place.name


@dataclass(frozen=True)
class External:
    """A service that the settings find elsewhere, so that it is not started here."""

    name: str
    address: str


def at_home(settings: Settings) -> Settings:
    """Return settings with an absolute home."""
    return replace(settings, home=settings.home.expanduser().absolute())


def s3_url(settings: Settings) -> str:
    """Return the address of our own S3 server."""
    return f"http://{HOST}:{settings.stack.s3_port}"


def api_url(settings: Settings) -> str:
    """Return the address of the API of our own Prefect server."""
    return f"http://{HOST}:{settings.stack.prefect_port}/api"


def scheduler_address(settings: Settings) -> str:
    """Return the address of our own Dask scheduler."""
    return f"tcp://{HOST}:{settings.stack.dask_port}"


def dashboard_url(settings: Settings) -> str:
    """Return the address of the pages of our own Dask scheduler."""
    return f"http://{HOST}:{settings.stack.dask_dashboard_port}"


def external(settings: Settings) -> dict[str, External]:
    """Return what the settings find elsewhere, by the group of settings: store, dask, prefect.

    An endpoint is ours when it is empty, or on our port, or the one that the running stack wrote into its file.
    """
    written = written_by_stack(settings)
    named = {
        "store": (settings.store.endpoint_url, s3_url(settings), "endpoint_url", "seaweedfs"),
        "dask": (settings.dask.scheduler_address, scheduler_address(settings), "scheduler_address", "scheduler"),
        "prefect": (settings.prefect.api_url, api_url(settings), "api_url", "prefect"),
    }
    return {
        group: External(name, found)
        for group, (found, ours, key, name) in named.items()
        if found.rstrip("/") not in ("", ours, written.get(group, {}).get(key))
    }


def written_by_stack(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what the running stack wrote for everyone to read; {} where none runs."""
    return tomllib.loads(settings.stack_file.read_text()) if settings.stack_file.is_file() else {}


def to_write(settings: Settings) -> dict[str, dict[str, str | int]]:
    """Return what the running stack has to tell: endpoints, credentials, and its ports, so that the next `up` finds it."""
    elsewhere = external(settings)
    values: dict[str, dict[str, str | int]] = {"stack": dict(vars(settings.stack))}
    if "store" not in elsewhere:
        pair = seaweedfs.credentials(settings)[seaweedfs.SERVICE]
        values["store"] = {"endpoint_url": s3_url(settings), "access_key": pair.access_key, "secret_key": pair.secret_key}
    if "dask" not in elsewhere:
        values["dask"] = {"scheduler_address": scheduler_address(settings), "workers": settings.dask.workers}
    if "prefect" not in elsewhere:
        values["prefect"] = {"api_url": api_url(settings)}
    return values


def services(settings: Settings, flow_server: tuple[str, ...] = FLOW_SERVER) -> tuple[Service, ...]:
    """Return the services to run here, in order of start; settings.home is absolute."""
    elsewhere = external(settings)
    ours: list[Service] = []
    if "store" not in elsewhere:
        ours.append(_object_store(settings))
    if "prefect" not in elsewhere:
        ours.append(_prefect_server(settings))
    if "dask" not in elsewhere:
        ours += [_scheduler(settings), _workers(settings)]
    prefect_api = elsewhere["prefect"].address if "prefect" in elsewhere else api_url(settings)
    return (*ours, _flows(settings, prefect_api, flow_server))


NAMES: Final = ("seaweedfs", "prefect", "scheduler", "workers", "flows")
"""All there can be, in order of start."""


def _object_store(settings: Settings) -> Service:
    master = f"http://{HOST}:{settings.stack.master_port}"
    return Service(
        Place(settings.home, "seaweedfs"),
        Recipe(seaweedfs.command(settings), seaweedfs.folder(settings), without=("AWS_", "WEED_")),
        s3_url(settings),
        ports_of(settings, "s3_port", "master_port", "volume_port", "filer_port"),
        lambda _: health.seaweedfs(master, s3_url(settings)),
        stop_seconds=3.0,
    )


def prefect_environment(settings: Settings, api: str) -> dict[str, str]:
    """Return the environment of Prefect processes: a home of their own, no statistics sent, signs of life from flow runs."""
    return {
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": api,
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(HEARTBEAT_SECONDS),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }


def _prefect_server(settings: Settings) -> Service:
    api = api_url(settings)
    # The pages are copied to a folder of our own: the default one is inside the installed package, for all servers alike.
    pages = {
        "PREFECT_SERVER_UI_API_URL": api,
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(settings.home / "prefect" / "ui"),
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    }
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", HOST, "--port", str(settings.stack.prefect_port))
    return Service(
        Place(settings.home, "prefect"),
        Recipe(command, settings.home / "run", {**prefect_environment(settings, api), **pages}),
        health.ui_url(api),
        ports_of(settings, "prefect_port"),
        lambda _: health.prefect(api) or health.prefect_ui(api),
        start_seconds=240.0,
    )


def _scheduler(settings: Settings) -> Service:
    command = (
        sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", HOST, "--port", str(settings.stack.dask_port),
        "--dashboard-address", f"{HOST}:{settings.stack.dask_dashboard_port}",
    )  # fmt: skip
    return Service(
        Place(settings.home, "scheduler"),
        Recipe(command, settings.home / "dask"),
        scheduler_address(settings),
        ports_of(settings, "dask_port", "dask_dashboard_port"),
        lambda _: health.scheduler(dashboard_url(settings)),
        stop_seconds=5.0,
    )


def _workers(settings: Settings) -> Service:
    count = settings.dask.workers
    # One nanny process for all: it starts a worker again that a broken file has killed, and its own death ends them all.
    command = (
        sys.executable, "-m", "distributed.cli.dask_worker", scheduler_address(settings), "--host", HOST, "--name", "atomlake",
        "--nworkers", str(count), "--nthreads", "1", "--no-dashboard", "--local-directory", str(settings.home / "dask"),
    )  # fmt: skip
    return Service(
        Place(settings.home, "workers"),
        Recipe(command, settings.home / "dask", {"ATOMLAKE_HOME": str(settings.home)}),
        "",
        (),
        lambda _: health.workers(dashboard_url(settings), count),
        stop_seconds=5.0,
        starts_with="scheduler",
    )


def _flows(settings: Settings, api: str, flow_server: tuple[str, ...]) -> Service:
    return Service(
        Place(settings.home, "flows"),
        Recipe(flow_server, settings.home / "run", {**prefect_environment(settings, api), "ATOMLAKE_HOME": str(settings.home)}),
        "",
        (),
        lambda running: health.flow_server(api, running.started),
        order=1,
        start_seconds=120.0,
        orphans_finish=True,
    )
