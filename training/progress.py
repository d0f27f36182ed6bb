"""Where a training run is, and how it is shown."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

LINE_SECONDS = 5.0
"""Time between two lines where the output is no terminal."""


@dataclass(frozen=True)
class Progress:
    """Where a run is after an epoch."""

    epoch: int
    epochs: int
    step: int
    energy_mae: float
    """eV/atom, training frames."""
    force_mae: float
    """eV/Å, training frames; NaN where there are no forces."""
    validation_energy_mae: float
    """eV/atom of the moving average of the weights; NaN before the first validation."""
    validation_force_mae: float
    """eV/Å"""
    seconds: float
    """Since this process began to train."""

    def words(self) -> str:
        """Return the errors in meV/atom and meV/Å."""
        text = f"train {1000 * self.energy_mae:.1f} meV/atom {1000 * self.force_mae:.0f} meV/Å"
        if math.isfinite(self.validation_energy_mae):
            text += f", validation {1000 * self.validation_energy_mae:.1f} meV/atom {1000 * self.validation_force_mae:.0f} meV/Å"
        return text


@contextmanager
def shown(name: str) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows progress on standard error: a bar in a terminal, elsewhere a line every few seconds."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(console, name).show
        return
    what, errors = TextColumn("{task.fields[name]}"), TextColumn("{task.description}")
    columns = (what, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(), errors)
    with Bars(*columns, console=console) as bars:
        task = bars.add_task("starting", total=None, name=name)
        yield lambda progress: bars.update(task, completed=progress.epoch, total=progress.epochs, description=progress.words())


class _Lines:
    """Progress as lines, not too many."""

    def __init__(self, console: Console, name: str) -> None:
        self.console, self.name = console, name
        self._last = -math.inf

    def show(self, progress: Progress) -> None:
        """Print a line where the last one is old enough, or the run has ended."""
        if time.monotonic() - self._last >= LINE_SECONDS or progress.epoch == progress.epochs:
            self._last = time.monotonic()
            line = f"{self.name}: epoch {progress.epoch} of {progress.epochs}, {progress.seconds:.0f} s: {progress.words()}"
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)
