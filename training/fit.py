"""Run or take up a training run in its folder, in this process or in many."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from safetensors.torch import save_file

from schemas.errors import TrainingError
from training.accelerators import find_accelerator
from training.batch import Batch
from training.data import FrameData
from training.job import Job, read_job
from training.potentials import find_potential
from training.potentials.base import EnergyModel
from training.precision import reduced_precision
from training.progress import Progress
from training.settings import TrainSettings
from training.task import FittingTask
from training.warm_start import adopt
from training.weights import drawn

STANDARD_FRAMES = 256
"""Most frames that the means and spreads of descriptors are taken from."""


TRIAL_FRAMES = 16
"""Frames that a reduced precision is tried on before training."""


def fit(work: Path, progress: Callable[[Progress], None] | None = None) -> None:
    """Train the run of a folder to its end, from its newest checkpoint where there is one, and write weights.safetensors into it.

    Called alike in every process of a distributed run. Raises TrainingError where another process trains in the folder.
    """
    job = read_job(work)
    settings = job.settings
    if settings.threads:
        torch.set_num_threads(settings.threads)
    accelerator = find_accelerator(settings)
    data = FrameData(job.train, job.validation, job.elements, settings, tuple(job.theory_references))
    task = FittingTask(first_model(job, data), settings, job.pace)
    newest = newest_checkpoint(work)
    trainer = _trainer(job, work, accelerator, progress)
    with _quiet(), _alone(work, trainer.global_rank), _precision(task, data, accelerator) as precision:
        trainer.fit(task, datamodule=data, ckpt_path=newest, weights_only=True)
        if trainer.global_rank == 0:
            _write_times(work, task, data, precision)
            _write_result(work, task, trainer)


def build_model(job: Job) -> EnergyModel:
    """Return the potential of a run with its first weights, alike in every process."""
    settings = job.settings
    spec = find_potential(settings.architecture)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        model = spec.build(job.elements, settings.cutoff, spec.configure(settings))
    model.references = tuple(job.references[symbol] for symbol in job.elements)
    model.scale = job.scale
    model.compiled = settings.compile
    model.repulsive = settings.repulsion
    if job.theory_references:
        rows = tuple(tuple(own[symbol] for symbol in job.elements) for own in job.theory_references.values())
        model.tell_apart(tuple(job.theory_references), rows, head=settings.theory_head)
    return model.to(getattr(torch, settings.dtype))


def first_model(job: Job, data: FrameData) -> EnergyModel:
    """Return the potential of a run before its first step, alike in every process: drawn by the seed, or what the run begins with."""
    model = build_model(job)
    if job.start is not None:
        adopt(model, job.start)
        if model.elements == job.start.elements:
            return model
    standardise(model, data)
    if job.start is not None:
        # What depends on frames is now that of these frames; known elements keep their own.
        adopt(model, job.start)
    return model


def newest_checkpoint(work: Path) -> Path | None:
    """Return the checkpoint of the highest step in a folder."""
    found = sorted((work / "checkpoints").glob("step-*.ckpt"))
    return found[-1] if found else None


class Checkpoints(Callback):
    """Write a checkpoint every so many steps or seconds; whole or not at all, the last two kept."""

    def __init__(self, folder: Path, steps: int, seconds: float) -> None:
        self.folder, self.steps, self.seconds = folder, steps, seconds
        self._written = time.monotonic()
        self._due = False

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write where it is time; the last step of an epoch waits for the validation after it."""
        del pl_module, outputs, batch, batch_idx
        step = trainer.global_step
        self._due |= bool(self.steps) and step % self.steps == 0
        if self.seconds and step % 10 == 0:
            self._due |= bool(trainer.strategy.broadcast(time.monotonic() - self._written >= self.seconds))
        if self._due and not trainer.is_last_batch:
            self._write(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what waited."""
        del pl_module
        if self._due:
            self._write(trainer)

    def _write(self, trainer: Trainer) -> None:
        self._due, self._written = False, time.monotonic()
        part = self.folder / "writing.part"
        trainer.save_checkpoint(part)
        if trainer.global_rank == 0:
            part.replace(self.folder / f"step-{trainer.global_step:010d}.ckpt")
            for old in sorted(self.folder.glob("step-*.ckpt"))[:-2]:
                old.unlink()


class ProgressReport(Callback):
    """Append where the run is to progress.jsonl after each epoch, and tell who asked."""

    def __init__(self, file: Path, told: Callable[[Progress], None] | None) -> None:
        self.file, self.told = file, told
        self._start = time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report from the first process."""
        assert isinstance(pl_module, FittingTask)
        known = {name: value for line in pl_module.history[-50:] for name, value in line.items()}
        if trainer.global_rank != 0 or "train/force_mae" not in known:
            return
        nan = float("nan")
        now = Progress(
            trainer.current_epoch + 1,
            trainer.max_epochs or 0,
            trainer.global_step,
            known["train/energy_mae"],
            known["train/force_mae"],
            known.get("validation/energy_mae", nan),
            known.get("validation/force_mae", nan),
            time.monotonic() - self._start,
        )
        with self.file.open("a") as lines:
            lines.write(json.dumps(asdict(now)) + "\n")
        if self.told:
            self.told(now)


def _trainer(job: Job, work: Path, accelerator: str, progress: Callable[[Progress], None] | None) -> Trainer:
    settings = job.settings
    many = settings.devices * settings.nodes > 1
    strategy: Any = settings.strategy
    if many and strategy in ("auto", "ddp"):
        backend = "gloo" if accelerator == "cpu" else "nccl"
        strategy = DDPStrategy(process_group_backend=backend, broadcast_buffers=False)
    logs = work / "logs"
    part = f"part-{len(list(logs.glob('part-*'))) if logs.is_dir() else 0}"
    (work / "checkpoints").mkdir(exist_ok=True)
    checkpoints = Checkpoints(work / "checkpoints", settings.checkpoint_steps, settings.checkpoint_seconds)
    with _quiet():
        return Trainer(
            accelerator=accelerator,
            devices=settings.devices,
            num_nodes=settings.nodes,
            strategy=strategy,
            max_epochs=settings.epochs,
            gradient_clip_val=settings.gradient_clip or None,
            check_val_every_n_epoch=settings.validate_every,
            callbacks=[checkpoints, ProgressReport(work / "progress.jsonl", progress)],
            logger=_loggers(settings, logs, part),
            default_root_dir=work,
            deterministic=accelerator == "cpu",
            enable_checkpointing=False,
            enable_model_summary=False,
            enable_progress_bar=False,
            inference_mode=False,
            log_every_n_steps=1,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
        )


def _loggers(settings: TrainSettings, folder: Path, part: str) -> list[Logger]:
    """Return the loggers of the settings; raises TrainingError for MLflow where that is not installed."""
    found: list[Logger] = []
    if "csv" in settings.loggers:
        found.append(CSVLogger(folder, name="", version=part))
    if "tensorboard" in settings.loggers:
        found.append(TensorBoardLogger(folder, name="", version=part))
    if "mlflow" in settings.loggers:
        if importlib.util.find_spec("mlflow") is None:
            raise TrainingError("loggers name mlflow, which is not installed; pip install 'atomlake[mlflow]', or leave it out")
        from lightning.pytorch.loggers import MLFlowLogger

        found.append(MLFlowLogger("atomlake", run_name=folder.parent.name, tracking_uri=settings.mlflow_uri or f"file:{folder / 'mlruns'}"))
    return found


def _precision(task: FittingTask, data: FrameData, accelerator: str) -> AbstractContextManager[str]:
    """Return the precision of the settings, tried on some training frames drawn evenly."""
    arrays = data.train_cache.arrays

    def some() -> Batch:
        return data.train_cache.batch(drawn(arrays.weights, arrays.count, TRIAL_FRAMES).tolist())

    return reduced_precision(task.model, task.settings.matmul, some, accelerator)


def standardise(model: EnergyModel, data: FrameData) -> None:
    """Let the model see training frames evenly out of all, in the same way in every process."""
    arrays = data.train_cache.arrays
    frames = drawn(arrays.weights, arrays.count, STANDARD_FRAMES).tolist()
    model.standardise(data.train_cache.batch(frames[start : start + 8]) for start in range(0, len(frames), 8))


def _write_result(work: Path, task: FittingTask, trainer: Trainer) -> None:
    weights = {name: value.detach().cpu() for name, value in task.model.state_dict().items()}
    weights.update({name: value.detach().cpu() for name, value in task.final_weights().items()})
    part = work / "weights.part"
    save_file({name: value.contiguous() for name, value in weights.items()}, part)
    part.replace(work / "weights.safetensors")
    if task.pace:
        (work / "pace.json").write_text(json.dumps(task.pace))
    done = {"steps": trainer.global_step, "epochs": trainer.current_epoch, "history": task.history}
    (work / "finished.part").write_text(json.dumps(done))
    (work / "finished.part").replace(work / "finished.json")


def _write_times(work: Path, task: FittingTask, data: FrameData, precision: str) -> None:
    """Write where the time went; the standardisation's neighbour lists, made before the first step, are counted in."""
    task.times.neighbours = data.neighbour_seconds()
    if data.loader is not None:
        task.times.loader = data.loader.seconds
    task.times.path = "; ".join(words for words in (task.path(), task.model.detail(), data.source(), precision) if words)
    (work / "times.json").write_text(json.dumps(asdict(task.times)))


@contextmanager
def _alone(work: Path, rank: int) -> Iterator[None]:
    """Hold the folder's lock in the first process; it goes with the process, however that ends."""
    if rank != 0:
        yield
        return
    with (work / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            raise TrainingError(f"process {lock.read() or 'unknown'} is training in {work}; wait for it or end it") from error
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's advice on loaders, loggers and hardware away: the run is planned, and reported elsewhere."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            yield
    finally:
        logger.setLevel(level)
