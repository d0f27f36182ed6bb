"""Objects that were seen in the inbox, and what could not be taken from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from schemas.calculations import Calculation


@dataclass(frozen=True)
class InboxObject:
    """One object as the listing of a bucket shows it."""

    key: str
    etag: str
    size: int
    last_modified: datetime
    version_id: str = ""


@dataclass(frozen=True)
class SourceObject:
    """What is taken as one: an archive, a bare file, or a folder of loose files under one prefix.

    For a folder key is the prefix with its last '/', and parts are its objects; otherwise parts has one entry.
    """

    bucket: str
    key: str
    etag: str
    """ETag of the object; for a folder a hash over the keys and ETags of its parts."""
    size: int
    last_modified: datetime
    parts: tuple[InboxObject, ...]
    version_id: str = ""
    attempt: int = 1
    """1 at first; one more each time the same bytes are read again on demand. Settled when the source is discovered."""

    @property
    def source_id(self) -> str:
        """SHA-256 (hex) of bucket, key and etag: the same content under the same name is the same source."""
        return hashlib.sha256("\0".join((self.bucket, self.key, self.etag)).encode()).hexdigest()


@dataclass(frozen=True)
class Reason:
    """Why something was not taken; a code that can be counted, and what it means."""

    code: str
    doc: str
    retryable: bool = False
    """A later attempt on the same bytes can succeed (the fault is ours or the network's)."""


REASONS: Final[tuple[Reason, ...]] = (
    Reason("empty_object", "The object has no bytes."),
    Reason("empty_archive", "The archive has no members."),
    Reason("not_an_archive", "The name says archive, the bytes say something else."),
    Reason("corrupt_archive", "A checksum of the archive fails or its compressed data is damaged: no member is believed."),
    Reason("truncated_archive", "The archive ends early; members complete before the cut were taken."),
    Reason("unsupported_archive", "A container or compression that is not read (encrypted, rar, 7z, ...)."),
    Reason("unsafe_member", "A link, device, absolute or parent-directory name; never followed, never written."),
    Reason("duplicate_member", "A second member of the same name in the same archive with other bytes; the first is used."),
    Reason("bad_metadata", "An atomlake.yaml that cannot be read or has unknown keys; the rest of the source was taken."),
    Reason("unreadable_embargo", "An embargo that cannot be read or kept: nothing of the source was taken, so that nothing becomes open."),
    Reason("too_large", "A limit on bytes, on the inflate ratio or on the number of members was passed."),
    Reason("nested_too_deep", "Archives inside archives beyond the limit."),
    Reason("unknown_format", "No reader knows the bytes, though the name promises an output of a DFT code."),
    Reason("unsupported_format", "An output of a known program, which the detail names, that no reader reads."),
    Reason("unreadable_output", "A reader knows the format but the content contradicts it."),
    Reason("no_complete_step", "The run has no ionic step with an energy (crash, stopped in the first SCF, failed SCF)."),
    Reason("not_dft", "Energies do not come from DFT (force field, semi-empirical, learned potential)."),
    Reason("not_energies", "The run gives no ground-state energies of its own (GW, BSE, bands, phonon post-processing)."),
    Reason("no_calculation", "The archive is sound but holds no output of a DFT code that is read."),
    Reason(
        "needs_units",
        "The file does not say its units, or which of several numbers is the label; the detail proposes an answer, the remedy says "
        "how to give it. Nothing of the file is taken till then.",
    ),
    Reason("reader_failed", "The reader raised an error that it should not: our fault; please report.", retryable=True),
    Reason("object_vanished", "The object was listed but is gone or has changed since.", retryable=True),
    Reason("store_failed", "The object store failed while reading.", retryable=True),
)

REASON_CODES: Final[frozenset[str]] = frozenset(reason.code for reason in REASONS)


@dataclass(frozen=True)
class Rejection:
    """One member (or a whole source: member '') that could not be taken, and what to do about it."""

    member: str
    reason: str
    """A code out of REASONS."""
    detail: str
    """What was found."""
    remedy: str
    """What the depositor can do."""


@dataclass(frozen=True, eq=False)
class SourceReading:
    """Everything that reading one source gave; a failure is a Rejection in it, never an exception."""

    source: SourceObject
    calculations: tuple[Calculation, ...]
    rejections: tuple[Rejection, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    """project, owner, licence, notes, material (names joined by ';'), embargo_until from atomlake.yaml or the object's metadata."""
    bytes_read: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Retraction:
    """A source that is not to be trained on any more; its rows stay, later datasets leave out what no other source has."""

    source_id: str
    bucket: str
    key: str
    why: str
    retracted_at: str
    """ISO 8601, UTC."""
    n_calculations: int
    """Calculations that no other source had at that time."""
    datasets: tuple[str, ...]
    """Datasets that held some of these."""
    potentials: tuple[str, ...]
    """Potentials trained on these datasets: 'name:version'."""
