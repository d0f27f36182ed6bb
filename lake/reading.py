"""Reading one source: from its bytes to calculations and rejections. Bad data never raises here; it becomes a Rejection."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final, Protocol

from lake.archives import walk
from lake.budget import Budget
from lake.collected import REJECTIONS_OF_A_KIND, Collected
from lake.collections.answers import NO_ANSWERS, Answers
from lake.collections.depositor import SUFFIX, answers_in
from lake.collections.depositor import Waiting as Unanswered
from lake.feeding import our_fault
from lake.grouping import group
from lake.metadata import FILE_NAMES, MAX_BYTES, from_object, parse_metadata, together, withheld
from lake.readers import READERS
from lake.readers.base import ReaderSpec
from lake.readers.openmx.given import OpenmxInput
from lake.readers.vasp.inputs import VaspInput
from schemas.calculations import Calculation
from schemas.errors import ObjectMissing, StoreError, UnreadableArchive, UnreadableOutput
from schemas.settings import LimitSettings
from schemas.sources import Rejection, SourceObject, SourceReading

_BESIDE_THE_POINT: Final = frozenset({"unsafe_member", "duplicate_member", "bad_metadata"})
"""Reasons that do not explain why a source has no calculation."""


class ReadableStore(Protocol):
    """What reading needs of an object store."""

    def open(self, key: str) -> BinaryIO:
        """Return an object as a seekable file; raises ObjectMissing, StoreError."""
        ...

    def metadata(self, key: str) -> Mapping[str, str]:
        """Return the user metadata of an object."""
        ...


@dataclass(frozen=True)
class Part:
    """One object of a source, or one local file."""

    name: str
    """Its base name."""
    path: str
    """Its path in the source; '' where it is the source."""
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, eq=False)
class Contents:
    """What the parts of a source hold."""

    calculations: tuple[Calculation, ...]
    rejections: tuple[Rejection, ...]
    metadata: Mapping[str, str]
    """What an atomlake.yaml among them says."""
    bytes_read: int
    waiting: tuple[Unanswered, ...] = ()
    """Files without units that wait for an answer; none of them is among the calculations."""


def read_source(
    source: SourceObject, store: ReadableStore, limits: LimitSettings, *, readers: Sequence[ReaderSpec] = READERS
) -> SourceReading:
    """Return everything that one source gives; faults of the data, the store and of ours are rejections in it."""
    start = time.perf_counter()
    try:
        beside, rejections = _beside(source, store)
        answers, wrong = answers_in(beside)
        rejections = rejections if wrong is None else (*rejections, wrong)
        contents = read_parts(_parts(source, store), limits, readers=readers, answers=answers)
        metadata = together(beside, contents.metadata)
        unsaid = withheld(metadata)
        rejections = rejections if unsaid is None else (*rejections, unsaid)
        if any(rejection.reason == "unreadable_embargo" for rejection in (*contents.rejections, *rejections)):
            contents = Contents((), contents.rejections, {}, contents.bytes_read)
    except StoreError as error:
        failed = Rejection("", "store_failed", f"who deposited it could not be read: {error}", "check the store, then retry the source")
        contents, metadata, rejections = Contents((), (), {}, 0), {}, (failed,)
    except Exception as error:  # noqa: BLE001 the outermost edge of a worker
        contents, metadata, rejections = Contents((), (), {}, 0), {}, (our_fault("", "reading the source", error),)
    return SourceReading(
        source,
        contents.calculations,
        (*contents.rejections, *rejections),
        metadata,
        contents.bytes_read,
        time.perf_counter() - start,
    )


def read_stream(
    name: str,
    open_stream: Callable[[], BinaryIO],
    limits: LimitSettings,
    *,
    readers: Sequence[ReaderSpec] = READERS,
    answers: Answers = NO_ANSWERS,
) -> Contents:
    """Return what one local file or archive of that base name holds."""
    return read_parts([Part(name, "", open_stream)], limits, readers=readers, answers=answers)


def read_parts(
    parts: Iterable[Part], limits: LimitSettings, *, readers: Sequence[ReaderSpec] = READERS, answers: Answers = NO_ANSWERS
) -> Contents:
    """Return what the parts of one source hold together; answers are what was said of all its files without units."""
    budget = Budget(limits)
    collected = Collected(readers, limits)
    collected.descriptions.given = answers
    for part in parts:
        try:
            with part.open() as stream:
                for found in walk(part.name, stream, budget, path=part.path):
                    collected.take(found)
        except ObjectMissing as error:
            collected.reject(Rejection(part.path, "object_vanished", str(error), "it is read again if it comes back"))
        except StoreError as error:
            collected.reject(Rejection(part.path, "store_failed", str(error), "check the store, then retry the source"))
        except UnreadableArchive as error:
            collected.reject(Rejection(part.path, error.reason, error.detail, error.remedy))
    collected.finish()
    calculations = group(collected.outputs, collected.inputs.values())
    if not any(each.run.code == "openmx" for each in calculations):
        for rejection in _without_output(collected.inputs.values()):
            collected.reject(rejection)
    rejections = [*collected.rejections, *(() if calculations or collected.waiting else collected.structures)]
    if not calculations and all(rejection.reason in _BESIDE_THE_POINT for rejection in rejections):
        rejections = [*rejections, collected.nothing_read()]
    bytes_read = max(budget.inflated, collected.n_bytes)
    return Contents(
        calculations, tuple(_summed_up(rejections, collected.n_rejections)), collected.metadata, bytes_read, tuple(collected.waiting)
    )


def _parts(source: SourceObject, store: ReadableStore) -> Iterator[Part]:
    """Yield the objects of a source; those of a folder have their paths below it."""
    is_folder = source.key.endswith("/")
    for part in source.parts:
        path = part.key.removeprefix(source.key) if is_folder else ""
        yield Part(part.key.rpartition("/")[2], path, partial(store.open, part.key))


def _beside(source: SourceObject, store: ReadableStore) -> tuple[dict[str, str], tuple[Rejection, ...]]:
    """Return what the descriptions beside an object say, over its own user metadata: its folder's, and before that its own."""
    result: dict[str, str] = {}
    if source.parts:
        with suppress(ObjectMissing):
            result = from_object(store.metadata(source.parts[0].key))
    if source.key.endswith("/"):
        return result, ()
    folder = source.key.rpartition("/")[0]
    rejections = []
    for key in (f"{folder}/{FILE_NAMES[0]}" if folder else FILE_NAMES[0], f"{source.key}{SUFFIX}"):
        try:
            with store.open(key) as stream:
                result = together(result, parse_metadata(stream.read(MAX_BYTES + 1)))
        except ObjectMissing:
            continue
        except UnreadableOutput as error:
            rejections.append(Rejection(f"../{key.rpartition('/')[2]}", error.reason, error.detail, error.remedy))
    return result, tuple(rejections)


def _without_output(inputs: Iterable[VaspInput | OpenmxInput]) -> Iterator[Rejection]:
    """Yield a rejection for each input of OpenMX of a source that has no output of it."""
    for each in inputs:
        if isinstance(each, OpenmxInput):
            words = "the input that OpenMX wrote with the structure at the end of a run" if each.is_written else "an input of OpenMX"
            words += (
                f" (System.Name {each.name or 'not told'}, {len(each.given.numbers) if each.given else 'no'} atoms): it has no energies"
            )
            yield Rejection(each.path, "no_calculation", words, "add System.Name.out, or System.Name.md, of its run")


def _summed_up(rejections: Sequence[Rejection], counts: Mapping[str, int]) -> Iterator[Rejection]:
    """Yield the rejections, and for each reason of which there were more than are kept, how many more."""
    yield from rejections
    for reason, count in counts.items():
        if count > REJECTIONS_OF_A_KIND:
            yield Rejection("", reason, f"{count - REJECTIONS_OF_A_KIND} more of this kind", "see the others of this reason")
