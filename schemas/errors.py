"""The tree of errors that atomlake raises.

AtomlakeError
├── SettingsError            a setting is unknown, missing or of the wrong kind
├── StoreError               the object store
│   ├── StoreUnreachable     no answer, or the credentials are refused
│   ├── StoreUnsafe          the store would lose commits (failed the probe)
│   └── ObjectMissing        no such object
├── UnreadableOutput         a file that a reader opened cannot be believed
├── UnreadableArchive        a container that cannot be opened or is over a limit
├── ShapeMismatch            arrays of one record do not fit together
├── TableError               the Delta tables
│   ├── SchemaMismatch       a table has other columns than this version writes
│   └── CommitConflict       another writer came first, again and again
├── QueryError               a selection that cannot be made
│   ├── UnknownName          no dataset, potential or material of that name
│   ├── AlreadyThere         an immutable thing of that name exists
│   ├── UnderEmbargo         data of a project that the reader's profile does not name yet
│   └── MixedTheory          more than one level of theory where one is asked for
├── TrainingError            a potential that cannot be trained, read or used
└── StackError               the local services
    ├── PortTaken            another program listens on a port that a service needs
    └── ServiceFailed        a service did not start or died
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AtomlakeError(Exception):
    """The root of all errors that atomlake raises on purpose."""


class SettingsError(AtomlakeError):
    """A setting is unknown, missing or of the wrong kind."""


class StoreError(AtomlakeError):
    """The object store did not do what was asked."""


class StoreUnreachable(StoreError):
    """The store gives no answer, or refuses the credentials."""


class StoreUnsafe(StoreError):
    """The store does not keep conditional writes apart, so commits could be lost."""


class ObjectMissing(StoreError):
    """The store has no object under that key."""


class UnreadableOutput(AtomlakeError):
    """A file that a reader opened cannot be believed; becomes a rejection.

    reason is one of `schemas.sources.REASONS`; detail says what was found, remedy what to do.
    """

    def __init__(self, reason: str, detail: str, remedy: str) -> None:
        super().__init__(f"{reason}: {detail}; {remedy}")
        self.reason = reason
        self.detail = detail
        self.remedy = remedy


class UnreadableArchive(UnreadableOutput):
    """A container cannot be opened, or goes over a limit; becomes a rejection."""


class ShapeMismatch(AtomlakeError):
    """Arrays of one record do not fit together."""


class TableError(AtomlakeError):
    """A table of the lake cannot be read or written."""


class SchemaMismatch(TableError):
    """A table has other columns than this version of atomlake writes."""


class CommitConflict(TableError):
    """Other writers came first at every attempt to commit."""


class QueryError(AtomlakeError):
    """A selection cannot be made."""


class UnknownName(QueryError):
    """No dataset, potential, table or material of that name."""


class AlreadyThere(QueryError):
    """An immutable thing of that name exists and differs."""


class UnderEmbargo(QueryError):
    """Data of a project under embargo, which the reader's profile does not name."""


class MixedTheory(QueryError):
    """More than one level of theory where one is asked for."""


class TrainingError(AtomlakeError):
    """A potential cannot be trained, read or used."""


class StackError(AtomlakeError):
    """The local services are not as they should be."""


class PortTaken(StackError):
    """Another program listens on a port that a service needs."""


class ServiceFailed(StackError):
    """A service did not start, or died."""


def closest(name: str, known: Iterable[str]) -> str:
    """Return ' (did you mean X?)' for the known name nearest to name, or an empty string."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {near[0]!r}?)" if near else ""
