"""Processes that run on after the command that started them: start, find again, end.

Each carries a mark in its environment, which its children inherit. A process is believed to be ours when it has the mark, so neither a
recycled process id nor a lost pid file misleads, and orphans are found after their parent was killed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from schemas.errors import StackError
from schemas.settings import environment_of_child

MARK = "STACK_OF_ATOMLAKE"
"""Environment variable that names home and service; outside of ATOMLAKE_*, which are settings."""
_SAME_START = 5.0
"""Seconds by which two readings of one start time may differ (the clock may have been set)."""
_FULL_LOG = 16 * 2**20
_SECONDS_TO_DIE = 10.0
_POLL = 0.05
_ROUNDS = 10


@dataclass(frozen=True)
class Place:
    """Where the traces of one service are: its mark, its pid file and its log."""

    home: Path
    name: str

    @property
    def mark(self) -> str:
        """Return the value of MARK in the environment of its processes."""
        return f"{self.home}#{self.name}"

    @property
    def pid_file(self) -> Path:
        """Return the file that tells process id and start time."""
        return self.home / "run" / f"{self.name}.json"

    @property
    def log(self) -> Path:
        """Return the file that takes its standard output and error."""
        return self.home / "logs" / f"{self.name}.log"


@dataclass(frozen=True)
class Recipe:
    """What a process is started from."""

    command: tuple[str, ...]
    folder: Path
    """The folder it is started in."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Put into the environment of this process."""
    without: tuple[str, ...] = ()
    """Variables that begin so are not handed down."""

    def digest(self) -> str:
        """Return a short name of all this, which changes when any of it does."""
        text = json.dumps([self.command, str(self.folder), sorted(self.environment.items()), self.without])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Running:
    """A process that was started, as its pid file tells."""

    pid: int
    started: float
    """Start of the process, seconds since 1970."""
    recipe: str
    """What it was started from, command and environment, as a hash."""
    log_start: int
    """Size of the log before the start, in bytes."""


def spawn(place: Place, recipe: Recipe) -> Running:
    """Start a process in a session of its own, its output going to the log, and write its pid file; raises OSError."""
    inherited = {k: v for k, v in environment_of_child({}).items() if not k.startswith(recipe.without)}
    for path in (recipe.folder, place.log.parent, place.pid_file.parent):
        path.mkdir(parents=True, exist_ok=True)
    if place.log.is_file() and place.log.stat().st_size > _FULL_LOG:
        place.log.replace(place.log.with_suffix(".log.1"))
    with place.log.open("ab") as log:
        log_start = log.tell()
        process = subprocess.Popen(
            recipe.command,
            env={**inherited, **recipe.environment, MARK: place.mark},
            cwd=recipe.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    process.returncode = 0  # it outlives us: nobody waits for this object
    running = Running(process.pid, _start_time(process.pid, place), recipe.digest(), log_start)
    part = place.pid_file.with_suffix(".part")
    part.write_text(json.dumps(asdict(running)))
    part.replace(place.pid_file)
    return running


def _start_time(pid: int, place: Place) -> float:
    """Return when a process has started, as soon as its mark can be read: its environment is empty for a moment after the start."""
    try:
        process = psutil.Process(pid)
        end = time.monotonic() + _SECONDS_TO_DIE
        while _runs(process) and _mark_of(process) != place.mark and time.monotonic() < end:
            time.sleep(_POLL / 10)
        return float(process.create_time())
    except psutil.NoSuchProcess:
        return time.time()


def find(place: Place) -> Running | None:
    """Return the main process of a service if it is alive and is the one that its pid file means."""
    try:
        record = json.loads(place.pid_file.read_text())
        running = Running(record["pid"], record["started"], record["recipe"], record["log_start"])
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return running if is_alive(running, place) else None


def is_alive(running: Running, place: Place) -> bool:
    """Tell whether the process lives; a recycled process id has another start time or no mark."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(running.pid, os.WNOHANG)  # a child of this very process would stay a zombie
    try:
        process = psutil.Process(running.pid)
        if process.status() == psutil.STATUS_ZOMBIE or abs(process.create_time() - running.started) > _SAME_START:
            return False
        return _mark_of(process) == place.mark
    except psutil.NoSuchProcess:
        return False


def marked(*places: Place) -> list[psutil.Process]:
    """Return every living process of some services, orphans of a killed one included, this process and its parents left out."""
    marks = {place.mark for place in places}
    ourselves = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return [
        process
        for process in psutil.process_iter(["environ"])
        if process.pid not in ourselves and (process.info["environ"] or {}).get(MARK) in marks and _runs(process)
    ]


def kill_alone(running: Running, place: Place) -> None:
    """Kill the main process of a service at once, so that it cannot take along what it has started."""
    if is_alive(running, place):
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(running.pid)
            process.kill()
            _alive_after([process], _SECONDS_TO_DIE)


def end_all(*places: Place, grace: float) -> tuple[int, int]:
    """End every process of some services and return how many there were and how many had to be killed.

    Looks again until none is left: a process that is being ended may just have started another one. Raises StackError for one that
    cannot be killed.
    """
    there = killed = 0
    for _ in range(_ROUNDS):
        found = marked(*places)
        if not found:
            return there, killed
        there += len(found)
        killed += end(found, grace)
    left = ", ".join(str(process.pid) for process in marked(*places))
    raise StackError(f"processes of {', '.join(place.name for place in places)} cannot be ended: {left}; look what they wait for (ps)")


def end(processes: Iterable[psutil.Process], grace: float) -> int:
    """Ask processes to stop, kill those that live on after grace seconds, and return how many had to be killed."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    stubborn = _alive_after(processes, grace)
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    _alive_after(stubborn, _SECONDS_TO_DIE)
    return len(stubborn)


def _alive_after(processes: Iterable[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Return those that still run after so many seconds, at once when none does; a zombie only waits to be counted by its parent."""
    end, alive = time.monotonic() + seconds, list(processes)
    while alive := [process for process in alive if _runs(process)]:
        if time.monotonic() > end:
            break
        time.sleep(_POLL)
    return alive


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def end_of_log(place: Place, running: Running, lines: int = 15) -> str:
    """Return the last lines that a service wrote since it was started."""
    with place.log.open("rb") as log:
        size = log.seek(0, os.SEEK_END)
        log.seek(max(running.log_start, size - 20_000) if running.log_start <= size else 0)
        text = log.read().decode(errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _mark_of(process: psutil.Process) -> str:
    found: Mapping[str, str] = process.as_dict(["environ"], ad_value={})["environ"]
    return found.get(MARK, "")
