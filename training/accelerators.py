"""What a training runs on."""

from __future__ import annotations

from collections.abc import Callable

import torch

from schemas.errors import TrainingError
from training.settings import TrainSettings


def find_accelerator(settings: TrainSettings, count: Callable[[], int] = torch.cuda.device_count) -> str:
    """Return Lightning's name, cpu or cuda, of what the settings ask for; auto takes a GPU where there is one.

    count tells the GPUs of this machine. Raises TrainingError where there are fewer than asked for.
    """
    if settings.accelerator == "cpu":
        return "cpu"
    found = count()
    if settings.accelerator == "auto" and not found:
        return "cpu"
    if found < settings.devices:
        versions = {"for CUDA": torch.version.cuda, "for ROCm": torch.version.hip}
        built = next((f"{what} {version}" for what, version in versions.items() if version), "without GPUs")
        raise TrainingError(
            f"accelerator is {settings.accelerator} with devices = {settings.devices}, but torch {torch.__version__}, built {built}, finds"
            f" {found} GPUs here; install torch for your GPU (https://pytorch.org), look at nvidia-smi, or set accelerator to cpu"
        )
    return "cuda"


def has_gpu(settings: TrainSettings) -> bool:
    """Return whether there is a GPU here and the settings let it be used."""
    return settings.accelerator != "cpu" and torch.cuda.is_available()


def find_device(name: str) -> torch.device:
    """Return the device of a name; raises TrainingError where it is none, or is not there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise TrainingError(f"there is no device {name!r}; give cpu, cuda, or cuda:1 for the second GPU") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise TrainingError(f"the device {name} was asked for, but torch {torch.__version__} finds {torch.cuda.device_count()} GPUs here")
    return device
