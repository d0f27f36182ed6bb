"""Training that begins with the weights of an earlier potential, and keeps that one's test frames out."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.elements import NUMBERS
from schemas.errors import TrainingError
from schemas.frames import FrameArrays
from training.batch import place_of_theory
from training.committee import Committee
from training.job import SPLITS, FrameSplits, Job, PinnedDataset, empty_arrays
from training.potentials.acsf import Acsf
from training.potentials.base import EnergyModel
from training.potentials.nequip import Nequip
from training.references import References, fit_references, references_by_theory
from training.structures import take

if TYPE_CHECKING:
    from training.stored import Potential

REFERENCE_FRAMES = 1000
"""Most frames that references of new elements are fitted to."""

SHAKE: Final = 0.1
"""Spread of what is added to weights that a second member of a committee begins with, in root mean squares of each tensor."""


@dataclass(frozen=True, eq=False)
class Start:
    """The potential whose weights a training begins with, and the frames that go with it."""

    potential: Potential
    held_out: Collection[str] = ()
    """Ids of frames that it, or one before it, was tested on: they never enter training or validation."""
    seen: Collection[str] = ()
    """Ids of frames that it, or one before it, was trained or validated on: errors on them would not be those of unseen frames."""

    @property
    def name(self) -> str:
        """NAME@VERSION."""
        return f"{self.potential.card.name}@{self.potential.card.version}"

    @property
    def n_models(self) -> int:
        """Models that differ: members of a committee, or one."""
        model = self.potential.model
        return len(model.each()) if isinstance(model, Committee) else 1

    def member(self, number: int) -> EnergyModel:
        """Return the model that a member of a committee begins with; one that is no committee begins them all."""
        model = self.potential.model
        if isinstance(model, Committee):
            return model.each()[number % len(model.each())]
        return model


def start_in_lake(dataset: PinnedDataset | FrameSplits, named: str) -> Start:
    """Return the potential NAME or NAME@VERSION of the dataset's lake to start from, with the frames that it and those before it know.

    Raises TrainingError for frames that are in no lake: give `train` a Start.
    """
    from lake.datasets import Dataset, open_dataset
    from lake.overlap import frames_in_common
    from lake.potentials import ancestors, name_and_version, read_potential
    from training.stored import from_files

    if not isinstance(dataset, Dataset):
        raise TrainingError(f"start_from names {named!r}, but the frames are in no lake to find it in; give the potential as start")
    card, files = read_potential(dataset.lake, *name_and_version(named))
    held_out, seen = set(), set()
    for each in (card, *ancestors(dataset.lake, card)):
        before = open_dataset(dataset.lake, each.dataset)
        held_out |= frames_in_common(dataset, SPLITS[:2], before, SPLITS[2:])
        seen |= frames_in_common(dataset, SPLITS[2:], before, SPLITS[:2])
    return Start(from_files(card, files, where=named), held_out, seen)


def kept_apart(
    dataset: PinnedDataset | FrameSplits, splits: Mapping[str, FrameArrays], start: Start
) -> tuple[dict[str, FrameArrays], tuple[str, ...]]:
    """Return the splits without the frames that must not be there, and sentences that say how many these were.

    Raises TrainingError where nothing is left to train on, or where frames without ids cannot be told apart.
    """
    kept, notes = {}, []
    for split in SPLITS:
        arrays, unwanted = splits[split], set(start.seen if split == "test" else start.held_out)
        ids = _ids(dataset, arrays, split)
        if unwanted and len(ids) != arrays.count:
            raise TrainingError(
                f"the {arrays.count} {split} frames have no ids to compare with the frames of {start.name}; give FrameArrays.frame_ids"
            )
        left = [place for place, name in enumerate(ids) if name not in unwanted] if unwanted else range(arrays.count)
        kept[split] = arrays if len(left) == arrays.count else take(arrays, np.array(left, dtype=np.int64))
        gone = arrays.count - len(left)
        if gone:
            knew = "trained" if split == "test" else "tested"
            notes.append(f"{gone} of {arrays.count} {split} frames were left out: {start.name} or one before it was {knew} on them.")
    if splits["train"].count and not kept["train"].count:
        raise TrainingError(
            f"all {splits['train'].count} training frames are frames that {start.name} or one before it was tested on; "
            "publish the dataset with the split (salt and shares) of the earlier one, or begin anew"
        )
    return kept, tuple(notes)


def begin(job: Job, start: Start, theories: Sequence[str], number: int = 0) -> Job:
    """Return the run with the weights to begin with; theories are those of its frames, number that of a member of a committee.

    Its elements are those of the frames and those that the earlier potential knows. Element references stay where the theory does:
    only those of new elements are fitted, to what the network leaves. With another theory all elements of the frames are.
    """
    settings, card = job.settings, start.potential.card
    parent = start.member(number)
    if number >= start.n_models:
        parent = shaken(parent, settings.seed)
    if parent.theories:
        known = [name for name in theories if name in parent.theories]
        parent = in_theory(parent, known[0] if len(theories) == 1 and known else parent.theories[0])
    if settings.architecture != parent.name or abs(settings.cutoff - parent.cutoff) > 1e-9:
        raise TrainingError(
            f"{start.name} is {parent.name} with a cutoff of {parent.cutoff} Å, the settings ask for {settings.architecture} with "
            f"{settings.cutoff} Å; leave these settings out, they are taken from it, or train without it"
        )
    elements = tuple(sorted({*job.elements, *parent.elements}, key=NUMBERS.__getitem__))
    before = dict(zip(parent.elements, parent.references, strict=True))
    whole = dataclasses.replace(
        job, elements=elements, references={symbol: before.get(symbol, 0.0) for symbol in elements}, scale=parent.scale, start=parent
    )
    if job.theory_references:
        return _begin_apart(whole, start)
    new = tuple(symbol for symbol in elements if symbol not in parent.elements)
    same_theory = not (card.theories and theories) or set(theories) <= set(card.theories)
    notes = [f"Training began with the weights of {start.name}" + (f"; {', '.join(new)} are new to it." if new else ".")]
    if new or not same_theory:
        fitted = _references_of_rest(whole, new, before if same_theory else {}, start.name)
        whole = dataclasses.replace(whole, references={**whole.references, **fitted.energies})
        notes += fitted.notes
    if not same_theory:
        told = f"Its frames were of {', '.join(card.theories)}, these are of {', '.join(theories)}: element references were fitted anew."
        left = sorted(set(parent.elements) - set(job.elements))
        notes += [told, *([f"Those of {', '.join(left)}, which no frame has, are of before."] if left else [])]
    return dataclasses.replace(whole, notes=(*notes, *job.notes))


def _begin_apart(whole: Job, start: Start) -> Job:
    """Return a run on several levels of theory: references of each are fitted to what the network leaves."""
    names = np.array(whole.train.theories, dtype=object)
    places = [_evenly(np.flatnonzero(names == name)) for name in whole.theory_references]
    rest = _left_by_network(dataclasses.replace(whole, theory_references={}), np.unique(np.concatenate(places)))
    fitted, notes = references_by_theory(rest, next(iter(whole.theory_references)))
    found = {name: {symbol: own.get(symbol, whole.references[symbol]) for symbol in whole.elements} for name, own in fitted.items()}
    told = f"Training began with the weights of {start.name}; references of each level of theory were fitted to what it leaves."
    whole = dataclasses.replace(whole, references=next(iter(found.values())), theory_references=found)
    return dataclasses.replace(whole, notes=(told, *notes, *whole.notes))


def in_theory(model: EnergyModel, theory: str) -> EnergyModel:
    """Return a copy of a potential that knows one of its levels of theory alone.

    Raises TrainingError for a level that has learned factors of its own: these are no part of a plain potential.
    """
    place = place_of_theory(model.theories, theory)
    if place and model.theory_scales is not None:
        raise TrainingError(
            f"the potential to start from has a head for {theory!r}; begin with frames of {model.theories[0]!r}, or without theory_head"
        )
    other = copy.deepcopy(model)
    other.references = tuple(model.energies_of_theories()[place])
    other.theories, other.theory_references, other.theory_shifts, other.theory_scales = (), (), None, None
    return other


def shaken(model: EnergyModel, seed: int) -> EnergyModel:
    """Return a copy whose trained weights have normal noise of SHAKE added, drawn by the seed.

    Members of a committee that began alike would agree by that alone, and their spread would tell nothing.
    """
    other = copy.deepcopy(model)
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in other.parameters():
            size = weights.square().mean().sqrt() if weights.numel() else weights.new_zeros(())
            weights.add_(SHAKE * size * torch.randn(weights.shape, generator=draw, dtype=torch.float64).to(weights))
    return other


def adopt(model: EnergyModel, parent: EnergyModel) -> None:
    """Give a model the weights of another one with the same or fewer elements; frames of these elements then have the same energies.

    Raises TrainingError where the two are not of one shape.
    """
    where = {symbol: place for place, symbol in enumerate(model.elements)}
    missing = [symbol for symbol in parent.elements if symbol not in where]
    own, other = dict(model.config()), dict(parent.config())
    own.pop("symmetry_functions", None), other.pop("symmetry_functions", None)
    odd = [name for name in own if own[name] != other.get(name)]
    if missing or odd or model.name != parent.name:
        what = f"{odd[0]} is {own[odd[0]]!r}, in the earlier one {other.get(odd[0])!r}" if odd else f"elements {missing}, {parent.name}"
        raise TrainingError(f"the potential to start from has another shape: {what}; leave such settings out, they are taken from it")
    state, before = model.state_dict(), {name: value.to(model.dtype) for name, value in parent.state_dict().items()}
    rows = [where[symbol] for symbol in parent.elements]
    if isinstance(model, Acsf) and isinstance(parent, Acsf):
        _adopt_networks(state, before, model, parent)
    elif isinstance(model, Nequip):
        for name, value in before.items():
            # All but the embedding of elements is shared by them; new elements keep their own.
            state[name][rows if state[name].shape != value.shape else ...] = value
    else:
        _adopt_rows(state, before, rows)
    model.load_state_dict(state)


def _adopt_rows(state: dict[str, Tensor], before: Mapping[str, Tensor], rows: Sequence[int]) -> None:
    """Put in what all elements share, and the rows of the known ones.

    Where elements are given more numbers than before, the known ones have zeros there, and the new ones begin with these.
    """
    wide, narrow = state["descriptor.embedding"], before["descriptor.embedding"]
    extra = wide.shape[1] - narrow.shape[1]
    for name, value in before.items():
        mine = state[name]
        if mine.shape == value.shape:
            mine.copy_(value)
        elif name == "descriptor.mixing":
            shape = (*value.shape[:2], -1)
            mine[rows] = mine[rows].view(*shape, wide.shape[1]).index_copy(
                3, torch.arange(narrow.shape[1]), value.view(*shape, narrow.shape[1])
            ).flatten(2)  # fmt: skip
        elif name == "descriptor.embedding":
            new = [place for place in range(len(mine)) if place not in rows]
            mine[rows] = torch.nn.functional.pad(value, (0, extra))
            for number, place in enumerate(new[:extra]):
                mine[place] = torch.eye(wide.shape[1])[narrow.shape[1] + number]
        else:
            mine[rows] = value


def _adopt_networks(state: dict[str, Tensor], before: Mapping[str, Tensor], model: Acsf, parent: Acsf) -> None:
    """Put in the networks of known elements; a function that is new to them begins without effect."""
    for old, symbol in enumerate(parent.elements):
        new = model.elements.index(symbol)
        lines = [function.line() for function in model.functions if function.centre == symbol]
        known = [function.line() for function in parent.functions if function.centre == symbol]
        lost = [line for line in known if line not in lines]
        if lost:
            raise TrainingError(f"the potential to start from has the symmetry function {lost[0]!r}, the new one has not; add it")
        rows = [lines.index(line) for line in known]
        for name, value in before.items():
            room, _, rest = name.partition(f".{old}.")
            mine = state.get(f"{room}.{new}.{rest}")
            if not rest or mine is None:
                continue
            if name == f"scalings.{old}.statistics":
                mine[rows] = value
            elif name == f"networks.{old}.hidden.0":
                mine.zero_()
                mine[rows] = value
            else:
                mine.copy_(value)


def _references_of_rest(job: Job, new: Sequence[str], known: Mapping[str, float], name: str) -> References:
    """Return references that fit the energies which the network, with its first weights, leaves; those of known stay."""
    return fit_references(_left_by_network(job, _drawn(job.train, new)), known=known, origin=f"those of {name}")


def _left_by_network(job: Job, frames: NDArray[np.int64]) -> FrameArrays:
    """Return frames with the energies that the network, with its first weights, leaves."""
    from training.data import FrameData
    from training.fit import first_model

    arrays = take(job.train, frames)
    data = FrameData(arrays, empty_arrays(), job.elements, job.settings)
    model = first_model(job, data)
    above = np.zeros(arrays.count)
    for first in range(0, arrays.count, 8):
        some = range(first, min(first + 8, arrays.count))
        with torch.no_grad():
            above[some.start : some.stop] = model(data.train_cache.batch(some)).energy_above.numpy()
    return dataclasses.replace(arrays, energy=arrays.energy - above)


def _drawn(train: FrameArrays, new: Sequence[str]) -> NDArray[np.int64]:
    """Return frames evenly out of all, and out of those with new elements."""
    frame = np.repeat(np.arange(train.count), train.natoms)
    with_new = np.unique(frame[np.isin(train.numbers, [NUMBERS[symbol] for symbol in new])])
    parts = [_evenly(frames) for frames in (np.arange(train.count), with_new) if len(frames)]
    return np.unique(np.concatenate(parts))


def _evenly(frames: NDArray[np.int64]) -> NDArray[np.int64]:
    return frames[np.linspace(0, len(frames) - 1, min(len(frames), REFERENCE_FRAMES)).astype(np.int64)]


def _ids(dataset: PinnedDataset | FrameSplits, arrays: FrameArrays, split: str) -> Sequence[str]:
    if len(arrays.frame_ids):
        return arrays.frame_ids
    return dataset.frame_ids(split) if hasattr(dataset, "frame_ids") else ()
