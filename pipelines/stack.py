"""Start, find again and stop the local stack; what is dead is started, what lives is left alone, data stay on disk."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines import processes, seaweedfs
from pipelines.furnishing import furnish
from pipelines.health import ui_url
from pipelines.ports import check_free
from pipelines.processes import Place, Running
from pipelines.services import FLOW_SERVER, NAMES, Service, at_home, dashboard_url, external, services, to_write
from schemas.errors import ServiceFailed, StackError
from schemas.settings import Settings, environment_of_child, load, merge, write_toml

Report = Callable[[str, str], None]
"""Called with the name of a service and what is happening to it."""
_STEP = 0.2
_DEAF_SECONDS = 15.0
"""A service that lives but does not answer for this long, its time to start being over, is started again."""


def silent(service: str, what: str) -> None:
    """Report nothing."""


@dataclass(frozen=True)
class ServiceStatus:
    """One service as it is now."""

    name: str
    state: str
    """'running', 'not answering', 'stopped', or 'elsewhere' for one that the settings find on another machine."""
    address: str
    pid: int | None = None
    started: float | None = None
    """Start of the process, seconds since 1970."""
    log: Path | None = None
    fault: str = ""
    """What is missing, where it does not answer."""


@dataclass(frozen=True)
class StackState:
    """The running stack, as `up` leaves it."""

    settings: Settings
    """The settings with the endpoints and credentials of the stack put in."""
    services: tuple[ServiceStatus, ...]
    started: tuple[str, ...]
    """Names of those that were started just now; () where all were found."""
    ui_url: str
    s3_url: str
    dask_url: str
    dask_dashboard_url: str
    """'' where the scheduler is elsewhere."""
    logs: Path


def up(settings: Settings, *, report: Report = silent, flow_server: tuple[str, ...] = FLOW_SERVER) -> StackState:
    """Start what does not run yet and return when all of it works.

    A second call finds the first. A service whose command or ports were changed since is started again.
    Raises PortTaken before anything is started, ServiceFailed with the end of the log, StoreUnsafe, StoreUnreachable.
    """
    settings = at_home(settings)
    with _alone(settings, report):
        if "store" not in external(settings):
            seaweedfs.prepare(settings)
        wanted = services(settings, flow_server)
        complete, running, started = settings, dict[str, Running](), list[str]()
        for order in (0, 1):
            group = [service for service in wanted if service.order == order]
            running |= _still_good(group, report)
            dead = [service for service in group if service.name not in running]
            _clear(dead)
            for service in dead:
                check_free(service.name, service.ports)
            _start(dead, running, report)
            started += [service.name for service in dead]
            if order == 0:
                complete = _furnish(settings, report)
        return _state(complete, tuple(started))


def down(settings: Settings, *, report: Report = silent) -> None:
    """Stop whatever of the stack runs, orphans included; twice is as good as once, and data stay on disk."""
    settings = at_home(settings)
    with _alone(settings, report):
        grace = {service.name: service.stop_seconds for service in services(settings)}
        for group in (("flows",), ("workers", "scheduler", "prefect"), ("seaweedfs",)):
            there = {name: bool(processes.marked(Place(settings.home, name))) for name in group}
            seconds = max(grace.get(name, 5.0) for name in group)
            number, killed = processes.end_all(*(Place(settings.home, name) for name in group), grace=seconds)
            for name in group:
                Place(settings.home, name).pid_file.unlink(missing_ok=True)
                report(name, "stopped" if there[name] else "was not running")
            if killed:
                report(group[0], f"{killed} of {number} processes had to be killed")
        settings.stack_file.unlink(missing_ok=True)


def status(settings: Settings) -> list[ServiceStatus]:
    """Return every service as it is now."""
    settings = at_home(settings)
    here = [_status_of(service) for service in services(settings)]
    elsewhere = [ServiceStatus(found.name, "elsewhere", found.address) for found in external(settings).values()]
    return sorted(here + elsewhere, key=lambda one: NAMES.index(one.name))


def _status_of(service: Service) -> ServiceStatus:
    running = processes.find(service.place)
    if running is None:
        return ServiceStatus(service.name, "stopped", service.address, log=service.place.log)
    fault = service.fault(running)
    state = "not answering" if fault else "running"
    return ServiceStatus(service.name, state, service.address, running.pid, running.started, service.place.log, fault)


def _state(settings: Settings, started: tuple[str, ...]) -> StackState:
    return StackState(
        settings,
        tuple(status(settings)),
        started,
        ui_url=ui_url(settings.prefect.api_url),
        s3_url=settings.store.endpoint_url,
        dask_url=settings.dask.scheduler_address,
        dask_dashboard_url="" if "dask" in external(settings) else dashboard_url(settings),
        logs=settings.home / "logs",
    )


@contextlib.contextmanager
def _alone(settings: Settings, report: Report) -> Iterator[None]:
    """Hold the lock of the stack, so that two commands do not start one service twice; waits for the other."""
    (settings.home / "run").mkdir(parents=True, exist_ok=True)
    with (settings.home / "run" / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("stack", "waiting for another `atomlake up` or `down` to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _still_good(wanted: Sequence[Service], report: Report) -> dict[str, Running]:
    """Return those that live, are what is wanted now, and answer; the others are ended."""
    good: dict[str, Running] = {}
    for service in wanted:
        running = processes.find(service.place)
        if running is None:
            continue
        if running.recipe != service.recipe.digest():
            report(service.name, "its settings have changed: starting again")
        elif service.starts_with and service.starts_with not in good:
            report(service.name, f"{service.starts_with} is started again: so is this")
        elif fault := _deaf(service, running):
            report(service.name, f"lives but does not answer ({fault}): starting again")
        else:
            report(service.name, f"runs already (process {running.pid})")
            good[service.name] = running
            continue
        _retire(service, running)
    return good


def _retire(service: Service, running: Running) -> None:
    """End a service that is to be started again, but not what it has started where that may come to its end."""
    if service.orphans_finish:
        processes.kill_alone(running, service.place)
    else:
        processes.end_all(service.place, grace=service.stop_seconds)


def _deaf(service: Service, running: Running) -> str:
    """Return what is missing of a service for good; '' as soon as it answers."""
    end = max(running.started + service.start_seconds, time.time() + _DEAF_SECONDS)
    while fault := service.fault(running):
        if time.time() > end or not processes.is_alive(running, service.place):
            return fault
        time.sleep(_STEP)
    return ""


def _clear(dead: Sequence[Service]) -> None:
    """End what dead services have left behind."""
    for service in dead:
        if not service.orphans_finish:
            processes.end_all(service.place, grace=service.stop_seconds)


def _start(dead: Sequence[Service], running: dict[str, Running], report: Report) -> None:
    """Start services side by side, put them into running, and return when all of them work."""
    for service in dead:
        report(service.name, "starting")
        try:
            running[service.name] = processes.spawn(service.place, service.recipe)
        except OSError as error:
            raise ServiceFailed(f"{service.name} cannot be started: {error}; command: {' '.join(service.recipe.command)}") from error
    begin = time.monotonic()
    waiting = {service.name: service for service in dead}
    told = 0.0
    while waiting:
        time.sleep(_STEP)
        seconds = time.monotonic() - begin
        missing: dict[str, str] = {}
        for service in list(waiting.values()):
            fault = _fault_at_start(service, running[service.name], seconds)
            if fault:
                missing[service.name] = fault
            else:
                del waiting[service.name]
                report(service.name, f"works after {seconds:.0f} s{service.address and f': {service.address}'}")
        if seconds - told >= 10:
            told = seconds
            for name, fault in missing.items():
                report(name, f"starting for {seconds:.0f} s: {fault}")


def _fault_at_start(service: Service, running: Running, seconds: float) -> str:
    """Return what is still missing of a service; raises ServiceFailed where it has died or its time is over."""
    alive = processes.is_alive(running, service.place)
    fault = service.fault(running) if alive else "it ended"
    if alive and (not fault or seconds < service.start_seconds):
        return fault
    what = f"does not work after {seconds:.0f} s ({fault})" if alive else "ended while it was starting"
    raise ServiceFailed(
        f"{service.name} {what}; the end of its log {service.place.log}:\n{processes.end_of_log(service.place, running)}\n"
        "What was started runs on: `atomlake up` tries again, `atomlake down` stops all, `atomlake doctor` looks for the cause."
    )


def _furnish(settings: Settings, report: Report) -> Settings:
    """Tell everyone where the services are, make what they need, and return the settings as they now stand."""
    values = to_write(settings)
    write_toml(values, settings.stack_file)
    _check_not_overruled(settings, values)
    complete = merge(settings, values, where=str(settings.stack_file))
    furnish(complete, report=report, make_buckets="store" not in external(settings))
    return complete


def _check_not_overruled(settings: Settings, values: dict[str, dict[str, str | int]]) -> None:
    """Raise StackError where the environment or atomlake.toml say something else than the running stack, as flows would read it."""
    seen = load(environment_of_child({"ATOMLAKE_HOME": str(settings.home)}))
    for group, fields in values.items():
        for name, value in fields.items():
            if getattr(getattr(seen, group), name) != value:
                raise StackError(
                    f"{group}.{name} of the running stack is overruled by the environment or {settings.home / 'atomlake.toml'}, so that "
                    f"the flows would not find it; unset ATOMLAKE_{group.upper()}_{name.upper()}, or set the endpoint of that service too"
                )
