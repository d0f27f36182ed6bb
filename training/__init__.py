"""Training: from a pinned dataset to a potential that an MD code can use.

    potential = training.train(lake.open(url).dataset("oxides"), name="oxides")
    training.load("oxides", lake=lake.open(url)).calculator()

Names are imported when they are first used, since torch and Lightning take seconds.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from training.evaluation import evaluate
    from training.job import FrameSplits
    from training.session import train
    from training.settings import TrainSettings, settings_from
    from training.stored import Potential, load

_HOME = {
    "FrameSplits": "training.job",
    "Potential": "training.stored",
    "TrainSettings": "training.settings",
    "evaluate": "training.evaluation",
    "load": "training.stored",
    "settings_from": "training.settings",
    "train": "training.session",
}

__all__ = ["FrameSplits", "Potential", "TrainSettings", "evaluate", "load", "settings_from", "train"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'training' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)
