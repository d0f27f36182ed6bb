"""What depositors say of the files of a source: in atomlake.yaml for a folder, in NAME.atomlake.yaml for one file, or with the upload."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lake.collections.answers import NO_ANSWERS, Answers, read_answers
from lake.collections.proposals import NeedsUnits, proposed_runs, settled
from lake.collections.records import Collection
from schemas.calculations import Run
from schemas.errors import QueryError, UnreadableOutput
from schemas.sources import Rejection

SUFFIX: Final = ".atomlake.yaml"
"""Behind the name of a file: a description of that file alone."""


@dataclass
class Descriptions:
    """Answers by what they hold for; the nearest to a file comes first: its own, then those of its folder and of the folders above."""

    given: Answers = NO_ANSWERS
    """What holds for the whole source: from the object, or beside it."""
    folders: dict[str, Answers] = field(default_factory=dict)
    files: dict[str, Answers] = field(default_factory=dict)

    def add(self, path: str, sections: Mapping[str, str]) -> None:
        """Take the description that lies at a path; raises QueryError where it is wrong."""
        answers = read_answers(sections)
        if path.endswith(SUFFIX) and posixpath.basename(path) != SUFFIX:
            self.files.setdefault(path.removesuffix(SUFFIX), answers)
        else:
            self.folders.setdefault(posixpath.dirname(path), answers)

    def of(self, path: str) -> Answers:
        """Return what holds for the file at a path."""
        result = self.files.get(path, Answers())
        folder = posixpath.dirname(path)
        while folder:
            result = result.over(self.folders.get(folder, Answers()))
            folder = posixpath.dirname(folder)
        return result.over(self.folders.get("", Answers())).over(self.given)

    def forget(self, inside: str) -> None:
        """Drop what came from a container; inside is its path with a '/', or '' for all."""
        self.files = {path: answers for path, answers in self.files.items() if not path.startswith(inside)}
        self.folders = {path: answers for path, answers in self.folders.items() if not f"{path}/".startswith(inside)}


@dataclass(frozen=True, eq=False)
class Waiting:
    """A file that waits for an answer, with what it would give by the proposal."""

    member: str
    proposal: Answers
    runs: tuple[Run, ...]


@dataclass(frozen=True, eq=False)
class Settled:
    """What became of a collection: runs, or why there are none."""

    runs: tuple[Run, ...] = ()
    rejection: Rejection | None = None
    waiting: Waiting | None = None
    unlabelled: bool = False
    """The file holds structures alone, which is worth a word only where nothing else was found."""


def settle(path: str, collection: Collection, descriptions: Descriptions) -> Settled:
    """Return the runs of the collection at a path by what its depositor says, or what he has to say yet."""
    try:
        return Settled(settled(collection, descriptions.of(path), member=posixpath.basename(path)))
    except NeedsUnits as error:
        waiting = Waiting(path, error.proposal, proposed_runs(collection, error.proposal))
        return Settled(rejection=_rejection(path, error), waiting=waiting)
    except UnreadableOutput as error:
        return Settled(rejection=_rejection(path, error), unlabelled=error.reason == "no_complete_step")


def answers_in(metadata: Mapping[str, str]) -> tuple[Answers, Rejection | None]:
    """Return the answers in the metadata of a source, and what is wrong with them."""
    try:
        return read_answers(metadata), None
    except QueryError as error:
        return Answers(), Rejection("", "bad_metadata", str(error), "put it again with answers that are known")


def _rejection(path: str, error: UnreadableOutput) -> Rejection:
    return Rejection(path, error.reason, error.detail, error.remedy)
