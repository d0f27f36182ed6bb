"""The Lightning task: losses over all processes, moving average of the weights, learning rate, validation."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from training.batch import Batch
from training.optimisers import make_optimiser
from training.potentials.base import EnergyModel, Prediction
from training.settings import TrainSettings
from training.times import Times

ENERGY, FORCE, VIRIAL = 0, 1, 2
"""Rows of the sums below."""

TIMED_EVERY = 20
"""Of so many steps on a GPU one is timed: the host waits for the device in it."""

CLOCK_STEPS = 10
"""Steps between two looks at the clock, in a run whose time is limited."""


def error_sums(prediction: Prediction, batch: Batch, huber: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """Return (3, 3) float64 sums of squared errors, absolute errors and counts (columns) of energy, force and virial (rows).

    Energies are per atom (eV), forces by component (eV/Å), virials per atom by component (eV). A missing label counts nothing, nor does
    one of weight zero; squares alone are weighted: weights are one on average, so that the counts are what they are to be divided by.
    Beyond huber (of energies and of forces, where above zero) the square e² goes over into the line 2 h |e| - h² (Huber, 1964).
    """
    natoms = batch.natoms
    virial, weight = batch.stress * batch.volume[:, None, None], batch.weight
    pairs = (
        ((prediction.energy - batch.energy.nan_to_num()) / natoms, batch.energy.isfinite(), weight[:, 0]),
        (prediction.forces.double() - batch.forces.nan_to_num(), batch.forces.isfinite(), weight[batch.frame, 1:2]),
        ((prediction.virial.double() - virial.nan_to_num()) / natoms[:, None, None], virial.isfinite(), weight[:, 2, None, None]),
    )
    rows = []
    for (error, label, counts), limit in zip(pairs, (*huber, 0.0), strict=True):
        known = label & (counts > 0)
        counted = torch.where(known, error, torch.zeros_like(error))
        size = counted.abs().clamp(max=limit) if limit > 0 else counted
        squares = size * (2 * counted.abs() - size) if limit > 0 else counted.square()
        rows.append(torch.stack([(squares * counts).sum(), counted.detach().abs().sum(), known.sum().double()]))
    return torch.stack(rows)


class FittingTask(LightningModule):
    """Fit a potential to energies, forces and stresses.

    Each loss is a sum over all processes divided by the labels of all processes, so one process and many take the same step.
    """

    def __init__(self, model: EnergyModel, settings: TrainSettings, pace: Sequence[float] = ()) -> None:
        """Pace is that of an earlier run, which is followed in place of the clock."""
        super().__init__()
        self.pace: list[float] = []
        """Share of max_seconds that was gone at each look at the clock."""
        self._followed = tuple(pace)
        self.model = model
        self.settings = settings
        self.times = Times()
        self._path_before = ""
        self._timed = True
        self._huber = (settings.energy_huber, settings.force_huber)
        self.history: list[dict[str, float]] = []
        self.best_loss = math.inf
        self.best_weights: dict[str, Tensor] = {}
        self._since_best = 0
        self._clock = time.process_time if settings.clock == "cpu" else time.monotonic
        self._start, self._seconds_before, self._time_share = self._clock(), 0.0, 0.0
        self._energy_weight = energy_weight(settings, 0.0)
        self._average: dict[str, Tensor] = {}
        self._train_sums = torch.zeros(3, 3, dtype=torch.float64)
        self._validation_sums = torch.zeros(3, 3, dtype=torch.float64)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser of the settings."""
        return make_optimiser(self.model, self.settings)

    def on_train_start(self) -> None:
        """Start the clock of a run whose time is limited; bring what was taken up to where the weights are."""
        self._start = self._clock()
        self._average, self.best_weights = (
            {name: value.to(self.device) for name, value in kept.items()} for kept in (self._average, self.best_weights)
        )
        self._train_sums = self._train_sums.to(self.device)

    def path(self) -> str:
        """Return how energies and forces were computed, also before the run was taken up where that was otherwise."""
        now, before = self.model.path(), self._path_before
        return before or now if before in ("", now) or before.endswith(f", then {now}") else f"{before}, then {now}"

    def _tick(self) -> float:
        """Return the time; that of a device when it has done what it was given, which only some steps wait for, and 0 in the others."""
        if self.device.type == "cpu":
            return time.perf_counter()
        if not self._timed:
            return 0.0
        torch.accelerator.synchronize(self.device)
        return time.perf_counter()

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Return the batch on the device."""
        del dataloader_idx
        return batch.to(device)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate of this step; end the run where its time is up."""
        del batch, batch_idx
        self._timed = self.device.type == "cpu" or self.global_step % TIMED_EVERY == TIMED_EVERY // 2
        done = self.global_step / max(int(self.trainer.estimated_stepping_batches), 1)
        if self.settings.max_seconds and self.global_step % CLOCK_STEPS == 0:
            self._time_share = self._share_of_time(self.global_step // CLOCK_STEPS)
            self.pace.append(self._time_share)
            self.trainer.should_stop |= self._time_share >= 1.0
        if self.trainer.should_stop or self.trainer.current_epoch + 1 == self.trainer.max_epochs:
            # The last epoch is validated although it may not be its turn, so that the history ends with the weights that are kept.
            self.trainer.check_val_every_n_epoch = 1
        done = max(done, self._time_share)
        self._energy_weight = energy_weight(self.settings, done)
        rate = self.settings.learning_rate * rate_factor(self.global_step, done, self.settings.warmup_steps)
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = rate

    def _share_of_time(self, look: int) -> float:
        if self._followed:
            return self._followed[look] if look < len(self._followed) else 1.0
        # One process's clock holds for all, so that all take the same rate and end at the same step.
        used = float(self.trainer.strategy.broadcast(self._seconds_before + self._clock() - self._start))
        return used / self.settings.max_seconds

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return this process's part of the loss, scaled up by what DDP divides its gradient by."""
        del batch_idx
        begun = self._tick()
        sums = error_sums(self.model(batch, create_graph=True), batch, self._huber)
        self._train_sums += sums.detach()
        counts = self._over_ranks(sums[:, 2].detach().clone())
        loss = self._loss(sums[:, 0], counts, self._energy_weight) * self.trainer.world_size
        self.times.forward += self._tick() - begun
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate by the weights."""
        begun = self._tick()
        super().backward(loss, *args, **kwargs)
        self.times.backward += self._tick() - begun

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the average of the weights: before any callback that may store both."""
        begun, inside = self._tick(), self.times.forward + self.times.backward
        super().optimizer_step(*args, **kwargs)
        inside = self.times.forward + self.times.backward - inside
        self.times.optimiser += self._tick() - begun - inside
        self.times.steps += self._timed
        self.times.all_steps += 1
        decay = min(self.settings.ema, (1 + self.global_step) / (10 + self.global_step))
        weights = {name: p.detach() for name, p in self.model.named_parameters()}
        if not self._average:
            self._average = {name: p.clone() for name, p in weights.items()}
        torch._foreach_lerp_(list(self._average.values()), list(weights.values()), 1 - decay)

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Note the errors of the epoch at its end; a checkpoint of the last step comes after this."""
        del outputs, batch, batch_idx
        if self.trainer.is_last_batch:
            self._note("train", self._train_sums)
            self._train_sums = torch.zeros_like(self._train_sums)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the errors of a batch."""
        del batch_idx
        self._validation_sums += error_sums(self.model(batch), batch, self._huber).detach()

    def on_validation_epoch_start(self) -> None:
        """Validate the moving average of the weights."""
        self._validation_sums = torch.zeros(3, 3, dtype=torch.float64, device=self.device)
        self._kept = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._load(self.averaged_weights())

    def on_validation_epoch_end(self) -> None:
        """Keep the best weights; stop after too many validations without a better loss."""
        average = self.averaged_weights()
        self._load(self._kept)
        loss = self._note("validation", self._validation_sums)
        if loss < self.best_loss:
            self.best_loss, self.best_weights, self._since_best = loss, {n: p.clone() for n, p in average.items()}, 0
        else:
            self._since_best += 1
        if self.settings.patience and self._since_best >= self.settings.patience:
            self.trainer.should_stop = True

    def averaged_weights(self) -> dict[str, Tensor]:
        """Return the moving average of the weights, or the weights themselves where there is none."""
        if self._average and self.settings.ema > 0:
            return self._average
        return {name: p.detach() for name, p in self.model.named_parameters()}

    def final_weights(self) -> dict[str, Tensor]:
        """Return the weights to keep: with patience the best validated ones, else the moving average after the last step.

        Without patience the rate has fallen to its end, and a few validation frames of one kind would only pick by chance.
        """
        return self.best_weights if self.settings.patience and self.best_weights else self.averaged_weights()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store what Lightning does not know of."""
        checkpoint["atomlake"] = {
            "average": self._average,
            "best_weights": self.best_weights,
            "best_loss": self.best_loss,
            "since_best": self._since_best,
            "seconds": self._seconds_before + self._clock() - self._start,
            "time_share": self._time_share,
            "pace": self.pace,
            "train_sums": self._train_sums,
            "history": self.history,
            "path": self.path(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take it up again."""
        kept = checkpoint["atomlake"]
        # A run that goes on in another way does not end with the same bits; its card says so.
        self._path_before = kept.get("path", "")
        self._average, self.best_weights, self.best_loss = kept["average"], kept["best_weights"], kept["best_loss"]
        self._seconds_before, self._time_share = kept["seconds"], kept["time_share"]
        self.pace = kept.get("pace", [])
        self._since_best, self._train_sums, self.history = kept["since_best"], kept["train_sums"], kept["history"]

    def _loss(self, squares: Tensor, counts: Tensor, of_energy: float) -> Tensor:
        weights = squares.new_empty(3)
        for place, weight in enumerate((of_energy, self.settings.force_weight, self.settings.stress_weight)):
            # Not as a tensor of the host, whose copy a device would be waited for with.
            weights[place] = weight
        return (weights * squares / counts.clamp(min=1.0)).sum()

    def _note(self, split: str, sums: Tensor) -> float:
        """Add the errors of all processes to the history and the loggers; return the loss."""
        total = self._over_ranks(sums.to(self.device)).cpu()
        mae = total[:, 1] / total[:, 2]
        loss = float(self._loss(total[:, 0], total[:, 2], energy_weight(self.settings, 1.0)))  # alike at all times, to be compared
        values = {"loss": loss, "energy_mae": float(mae[ENERGY]), "force_mae": float(mae[FORCE]), "virial_mae": float(mae[VIRIAL])}
        named = {f"{split}/{name}": value for name, value in values.items()}
        if self.history and self.history[-1]["epoch"] == self.current_epoch:
            self.history[-1].update(named)
        else:
            self.history.append({"epoch": float(self.current_epoch), "step": float(self.global_step), **named})
        self.log_dict({name: value for name, value in named.items() if math.isfinite(value)}, rank_zero_only=True)
        return loss

    def _over_ranks(self, values: Tensor) -> Tensor:
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(values)
        return values

    def _load(self, weights: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.copy_(weights[name])


def energy_weight(settings: TrainSettings, done: float) -> float:
    """Return the weight of the energy error when a share of the training is done: from energy_weight to energy_weight_end."""
    if settings.energy_weight_end == 0:
        return settings.energy_weight
    return float(settings.energy_weight * (settings.energy_weight_end / settings.energy_weight) ** min(done, 1.0))


def rate_factor(step: int, done: float, warmup_steps: int) -> float:
    """Return the learning rate relative to the largest: a linear rise over the first steps, a cosine to a hundredth as done goes to 1."""
    rise = min(1.0, (step + 1) / max(warmup_steps, 1))
    return rise * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0))))
