"""Batches for Lightning: planned, resumable in the middle of an epoch, neighbour lists cached in memory."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch
from lightning.pytorch import LightningDataModule

from schemas.frames import FrameArrays
from training.batch import Batch, Graph, collate, graph
from training.device_frames import DeviceFrames, frames_on
from training.neighbours import neighbours
from training.plan import Indices, count_steps, plan_epoch, plan_in_order
from training.settings import TrainSettings


class GraphCache:
    """The frames of one split as graphs; each neighbour list is made once, while there is room to keep it."""

    def __init__(
        self, arrays: FrameArrays, elements: Sequence[str], cutoff: float, *, max_bytes: int = 1 << 30, theories: Sequence[str] = ()
    ) -> None:
        self.theories = theories
        self.arrays, self.elements, self.cutoff, self.max_bytes = arrays, elements, cutoff, max_bytes
        self.bytes = 0
        """Held by graphs that are kept."""
        self.neighbour_seconds = 0.0
        """Spent on neighbour lists so far."""
        self._graphs: dict[int, Graph] = {}

    def batch(self, frames: Sequence[int]) -> Batch:
        """Return these frames as one batch."""
        return collate([self.graph(frame) for frame in frames])

    def graph(self, frame: int) -> Graph:
        """Return a frame with its neighbour list."""
        found = self._graphs.get(frame)
        if found is not None:
            return found
        arrays = self.arrays
        atoms = slice(int(arrays.offsets[frame]), int(arrays.offsets[frame + 1]))
        start = time.perf_counter()
        edges = neighbours(arrays.positions[atoms], arrays.cell[frame], arrays.pbc[frame], self.cutoff)
        self.neighbour_seconds += time.perf_counter() - start
        found = graph(arrays, frame, edges, self.elements, self.theories)
        size = found.nbytes
        if self.bytes + size <= self.max_bytes:
            self._graphs[frame], self.bytes = found, self.bytes + size
        return found

    def forget(self) -> None:
        """Let go of the graphs that are kept."""
        self._graphs, self.bytes = {}, 0


@dataclass
class EpochCounter:
    """The epoch that Lightning is in; it calls set_epoch on the sampler of every loader."""

    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Take over the epoch."""
        self.epoch = epoch


@dataclass
class PlannedLoader:
    """One process's batches of an epoch; its length is known and its position can be stored and taken up again."""

    cache: GraphCache
    max_atoms: int
    rank: int
    world_size: int
    seed: int | None
    """Seed of the order of frames; None keeps them in order."""
    held: DeviceFrames | None = None
    """The frames on the device, where they lie there."""
    ahead: bool = False
    """Make the next batch in a thread, in pinned memory, while a device works on this one."""
    sampler: EpochCounter = field(default_factory=EpochCounter)
    batch_sampler: None = None
    seconds: float = 0.0
    """Spent on putting batches together so far, neighbour lists not included; with ahead only what was waited for."""
    hidden_seconds: float = 0.0
    """Spent on neighbour lists in the thread."""
    _position: int = 0
    _resume: int = 0

    def __len__(self) -> int:
        return count_steps(self.cache.arrays.natoms, self.max_atoms)

    def __iter__(self) -> Iterator[Batch]:
        # The body runs at the first next(), after Lightning has set the epoch and loaded a stored position.
        start, self._resume = self._resume, 0
        natoms = self.cache.arrays.natoms
        if self.seed is None:
            plan = plan_in_order(natoms, self.world_size, self.max_atoms)
        else:
            plan = plan_epoch(natoms, self.seed, self.sampler.epoch, self.world_size, self.max_atoms)
        batches = (self._ahead if self.ahead else self._in_turn)(plan[self.rank][start:])
        for position in range(start + 1, len(plan[self.rank]) + 1):
            begun = time.perf_counter()
            batch = next(batches)
            self.seconds += time.perf_counter() - begun
            # What is given out counts, not what is made: a batch that waits is made again after a kill.
            self._position = position
            yield batch

    def _in_turn(self, steps: Sequence[Indices]) -> Iterator[Batch]:
        for frames in steps:
            lists = self.cache.neighbour_seconds
            batch = (self.held or self.cache).batch(frames.tolist())
            self.seconds -= self.cache.neighbour_seconds - lists
            yield batch

    def _ahead(self, steps: Sequence[Indices]) -> Iterator[Batch]:
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as thread:
            waiting = None
            for frames in steps:
                following = thread.submit(self._pinned, frames)
                if waiting is not None:
                    yield waiting.result()
                waiting = following
            if waiting is not None:
                yield waiting.result()

    def _pinned(self, frames: Indices) -> Batch:
        lists = self.cache.neighbour_seconds
        batch = self.cache.batch(frames.tolist())
        self.hidden_seconds += self.cache.neighbour_seconds - lists
        return batch.pinned() if torch.cuda.is_available() else batch

    def state_dict(self) -> dict[str, int]:
        """Return how many batches of the epoch were given out."""
        return {"position": self._position}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the batches that were given out; a whole epoch starts the next one."""
        self._resume = state["position"] % len(self)


class FrameData(LightningDataModule):
    """Training and validation frames of one potential."""

    def __init__(
        self, train: FrameArrays, validation: FrameArrays, elements: tuple[str, ...], settings: TrainSettings,
        theories: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.settings = settings
        room = settings.cache_mb << 20
        self.train_cache = GraphCache(train, elements, settings.cutoff, max_bytes=room, theories=theories)
        self.validation_cache = GraphCache(validation, elements, settings.cutoff, max_bytes=room // 4, theories=theories)
        self.loader: PlannedLoader | None = None

    def train_dataloader(self) -> PlannedLoader:
        """Return the batches of this process, in another order each epoch."""
        self.loader = self._loader(self.train_cache, self.settings.batch_atoms, self.settings.seed)
        return self.loader

    def val_dataloader(self) -> PlannedLoader | list[PlannedLoader]:
        """Return the validation batches of this process in order; none where there are no validation frames."""
        if self.validation_cache.arrays.count == 0:
            return []
        return self._loader(self.validation_cache, 4 * self.settings.batch_atoms, None)

    def source(self) -> str:
        """Return where batches of a device come from; nothing for a CPU."""
        if self.loader is None or not (self.loader.held or self.loader.ahead):
            return ""
        held = self.loader.held
        if held is None:
            return "batches made in a thread meanwhile"
        return f"{held.count} frames, {held.nbytes / 2**20:.0f} MB, held on the device"

    def neighbour_seconds(self) -> float:
        """Return the time that training waited for neighbour lists."""
        return self.train_cache.neighbour_seconds - (self.loader.hidden_seconds if self.loader else 0.0)

    def _loader(self, cache: GraphCache, max_atoms: int, seed: int | None) -> PlannedLoader:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        if device.type == "cpu":
            return PlannedLoader(cache, max_atoms, rank, world_size, seed)
        held = self._held(cache, device)
        return PlannedLoader(cache, max_atoms, rank, world_size, seed, held=held, ahead=held is None)

    def _held(self, cache: GraphCache, device: torch.device) -> DeviceFrames | None:
        """Return all frames on the device, where they fit into a share of its memory."""
        room, count = int(self.settings.device_share * free_bytes(device)), cache.arrays.count
        held = frames_on(map(cache.graph, range(count)), count, device, room) if room and count else None
        if held is not None:
            cache.forget()
        return held


def free_bytes(device: torch.device) -> int:
    """Return the free memory of a device; 0 where it does not tell."""
    return int(torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else 0
