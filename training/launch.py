"""Run a training run's worker processes and watch them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from schemas.errors import TrainingError
from schemas.settings import environment_of_child
from training.job import read_job
from training.progress import Progress

TAIL_LINES = 15
"""Lines of the workers' output that an error shows."""


def run_training(work: Path, progress: Callable[[Progress], None] | None) -> None:
    """Train the run of a folder to its end: in this process where it has one, else in worker processes that end when this one does.

    Raises TrainingError with the end of the workers' output where they fail.
    """
    settings = read_job(work).settings
    if settings.devices * settings.nodes == 1:
        from training.fit import fit

        fit(work, progress)
        return
    if settings.nodes > 1:
        raise TrainingError(
            f"a run on {settings.nodes} nodes is started by the cluster's launcher: srun {sys.executable} -m training.worker {work}"
        )
    _run_workers(work, settings.threads, progress)


def _run_workers(work: Path, threads: int, progress: Callable[[Progress], None] | None) -> None:
    log, lines = work / "workers.log", work / "progress.jsonl"
    seen = lines.stat().st_size if lines.is_file() else 0
    command = [sys.executable, "-m", "training.worker", str(work.absolute()), "--with-parent"]
    environment = environment_of_child({"OMP_NUM_THREADS": str(threads)} if threads else {})
    with log.open("ab") as output:
        workers = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            while workers.poll() is None:
                time.sleep(0.2)
                seen = _tell(lines, seen, progress)
        finally:
            _end_group(workers)
    _tell(lines, seen, progress)
    if workers.returncode != 0:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-TAIL_LINES:])
        raise TrainingError(f"training in {work} ended with code {workers.returncode}; run it again to go on from its checkpoint:\n{tail}")


def _tell(lines: Path, seen: int, progress: Callable[[Progress], None] | None) -> int:
    """Pass on the progress that was written since byte seen; return the new end."""
    if progress is None or not lines.is_file():
        return seen
    with lines.open("rb") as file:
        file.seek(seen)
        for line in file:
            if not line.endswith(b"\n"):
                break
            seen += len(line)
            progress(Progress(**json.loads(line)))
    return seen


def _end_group(workers: subprocess.Popen[bytes]) -> None:
    """End all processes of the group: the first one may have gone without the others."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(workers.pid, signal.SIGKILL)
    workers.wait()
    assert workers.stdin is not None
    workers.stdin.close()
