"""Where the time of training steps goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Times:
    """Seconds of the training steps of one process, since it started or took a run up."""

    loader: float = 0.0
    """Putting batches together, neighbour lists not included."""
    neighbours: float = 0.0
    forward: float = 0.0
    backward: float = 0.0
    optimiser: float = 0.0
    steps: int = 0
    """Steps that were timed; the first two times are those of all steps."""
    all_steps: int = 0
    path: str = ""
    """How energies and forces were computed."""

    def sentence(self) -> str:
        """Return shares in words, and whether the loader limits."""
        parts = {name: seconds for name, seconds in asdict(self).items() if name not in ("steps", "all_steps", "path")}
        if self.all_steps:
            parts |= {name: parts[name] * self.steps / self.all_steps for name in ("loader", "neighbours")}
        total = sum(parts.values())
        if not self.steps or total <= 0:
            return "No training step was timed."
        shares = ", ".join(f"{name} {_percent(seconds / total)} %" for name, seconds in parts.items())
        limit = (
            "; the loader limits: a larger cache_mb or smaller cutoff would help"
            if parts["loader"] + parts["neighbours"] > total / 2
            else ""
        )
        return f"Time of a training step {1000 * total / self.steps:.1f} ms: {shares}{limit} ({self.path})."


def _percent(share: float) -> str:
    """Return a share in per cent, with a decimal where it is below ten."""
    return f"{100 * share:.{0 if share >= 0.0995 else 1}f}"
