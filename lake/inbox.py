"""The inbox: what lies in it, what of that is new, and how files get there. Nothing in it is ever moved, changed or deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import polars as pl

from lake.archives import ARCHIVE_NAME, COMPRESSED_NAME
from lake.collections.answers import NO_ANSWERS, Answers
from lake.collections.depositor import SUFFIX
from lake.embargoes import day_of
from lake.metadata import FILE_NAMES, with_answers
from lake.place import Place
from lake.store import PART_BYTES, ObjectStore
from schemas.errors import ObjectMissing, QueryError, StoreUnreachable
from schemas.settings import IngestSettings
from schemas.sources import InboxObject, SourceObject

RUN_FOLDER_NAMES: Final = frozenset(
    {"OUTCAR", "vasprun.xml", "INCAR", "POSCAR", "CONTCAR", "KPOINTS", "OSZICAR", "XDATCAR", "data-file-schema.xml"}
)
"""Names that a code always gives to its files: where one lies, the folder holds one run, and its loose files belong together."""

UNSORTED: Final = "unsorted"
_MD5: Final = "atomlake-md5"


@dataclass(frozen=True)
class Ledger:
    """Which objects have been read, so that only others are taken."""

    attempts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Newest attempt at each (key, etag)."""
    retry: frozenset[tuple[str, str]] = frozenset()
    """(key, etag) that are to be read once more."""
    waiting: Mapping[tuple[str, str], datetime] = field(default_factory=dict)
    """(key, etag) whose newest attempt waits for units, and when they, or the description beside them, had been put at that time."""

    def next_attempt(self, key: str, etag: str, put: datetime | None = None) -> int | None:
        """Return the number of the attempt to make at an object now, or None where it has been read.

        put is when the object or the description beside it was put: what waits for units is read again when one of them is put again
        (stores list that time in whole seconds, so with quiet_seconds below 1 an answer put in the second of its object is not seen).
        """
        name = (key, etag)
        before = self.attempts.get(name, 0)
        answered = put is not None and name in self.waiting and put > self.waiting[name]
        return before + 1 if not before or name in self.retry or answered else None


def read_ledger(lake: Place, bucket: str, *, retry: frozenset[str] = frozenset()) -> Ledger:
    """Return the ledger of an inbox bucket from the table `sources`; retry holds the source ids to be read once more.

    Raises QueryError for a source id that was never read.
    """
    columns = ("source_id", "key", "etag", "attempt", "state", "last_modified")
    rows = lake.all_sources().filter(pl.col("bucket") == bucket).select(columns).collect()
    attempts: dict[tuple[str, str], int] = {}
    again: dict[tuple[str, str], str] = {}
    waiting: dict[tuple[str, str], datetime] = {}
    for source_id, key, etag, attempt, state, put in rows.iter_rows():
        if attempt >= attempts.get((key, etag), 0):
            waiting.pop((key, etag), None)
            waiting |= {(key, etag): put} if state == "needs_units" else {}
        attempts[key, etag] = max(attempt, attempts.get((key, etag), 0))
        if source_id in retry:
            again[key, etag] = source_id
    unknown = sorted(retry - set(again.values()))
    if unknown:
        raise QueryError(f"inbox {bucket!r}: {', '.join(unknown)} has never been read, so it cannot be retried; see Lake.sources()")
    return Ledger(attempts, frozenset(again), waiting)


def discover(
    store: ObjectStore, seen: Ledger | Collection[tuple[str, str]], *, bucket: str, quiet_seconds: float, now: datetime
) -> list[SourceObject]:
    """Return the sources of the inbox that have not been read, sorted by key.

    seen is the ledger, or the set of (key, etag) that were read. A source of which anything changed within quiet_seconds
    before now is left for the next look.

    What a source is: an archive, wherever it lies; all other objects below PROJECT/FOLDER/ together (with their sub-folders,
    key 'PROJECT/FOLDER/'); of what lies directly in the root or in PROJECT/ each object by itself, unless the names in
    PROJECT/ are those of one run (RUN_FOLDER_NAMES), which then is one source 'PROJECT/'. `atomlake.yaml` and `NAME.atomlake.yaml`
    describe, they are no sources; a source is as new as the newest of it and of what describes it.
    """
    ledger = seen if isinstance(seen, Ledger) else Ledger(dict.fromkeys(seen, 1))
    settled = now - timedelta(seconds=quiet_seconds)
    sources = []
    for source in sources_in(store.list(), bucket):
        attempt = ledger.next_attempt(source.key, source.etag, source.last_modified)
        if attempt is not None and source.last_modified <= settled:
            sources.append(source if attempt == 1 else _with_attempt(source, attempt))
    return sorted(sources, key=lambda source: source.key)


def _with_attempt(source: SourceObject, attempt: int) -> SourceObject:
    return SourceObject(source.bucket, source.key, source.etag, source.size, source.last_modified, source.parts, source.version_id, attempt)


def sources_in(objects: Iterable[InboxObject], bucket: str) -> Iterator[SourceObject]:
    """Yield the sources that the objects of a bucket form; see `discover`."""
    folders: dict[str, list[InboxObject]] = {}
    singles: list[InboxObject] = []
    described: dict[str, datetime] = {}
    for found in objects:
        if found.key.endswith("/"):
            continue
        parts = found.key.split("/")
        if _describes(parts[-1]):
            described[found.key] = found.last_modified
        if ARCHIVE_NAME.search(parts[-1]) or (len(parts) == 1 and not _describes(parts[0])):
            singles.append(found)
        elif len(parts) > 1:
            folders.setdefault("/".join(parts[: min(2, len(parts) - 1)]) + "/", []).append(found)
    yield from (_single(found, bucket, described) for found in singles)
    for folder, members in folders.items():
        yield from _folder_sources(folder, members, bucket, described)


def _describes(name: str) -> bool:
    return name in FILE_NAMES or (name.endswith(SUFFIX) and name != SUFFIX)


def _folder_sources(folder: str, members: list[InboxObject], bucket: str, described: Mapping[str, datetime]) -> Iterator[SourceObject]:
    content = [m for m in members if not _describes(m.key.rpartition("/")[2])]
    if not content:
        return
    one_run = any(_plain_name(member.key) in RUN_FOLDER_NAMES for member in members)
    if folder.count("/") == 1 and not one_run:
        for member in content:
            yield _single(member, bucket, described)
        return
    ordered = sorted(members, key=lambda member: member.key)
    names = "\n".join(f"{member.key}\t{member.etag}" for member in ordered)
    yield SourceObject(
        bucket=bucket,
        key=folder,
        etag=hashlib.sha256(names.encode()).hexdigest(),
        size=sum(member.size for member in ordered),
        last_modified=max(member.last_modified for member in ordered),
        parts=tuple(ordered),
    )


def _single(found: InboxObject, bucket: str, described: Mapping[str, datetime]) -> SourceObject:
    folder = found.key.rpartition("/")[0]
    beside = (f"{folder}/{FILE_NAMES[0]}" if folder else FILE_NAMES[0], f"{found.key}{SUFFIX}")
    put = max([found.last_modified, *(described[key] for key in beside if key in described)])
    return SourceObject(bucket, found.key, found.etag, found.size, put, (found,), found.version_id)


def _plain_name(key: str) -> str:
    return COMPRESSED_NAME.sub("", key.rpartition("/")[2])


def plan_batches(sources: Sequence[SourceObject], ingest: IngestSettings) -> list[tuple[SourceObject, ...]]:
    """Return the sources in batches of at most batch_sources and batch_bytes (or one larger source), in the order of their keys."""
    batches: list[tuple[SourceObject, ...]] = []
    batch: list[SourceObject] = []
    size = 0
    for source in sorted(sources, key=lambda source: (source.key, source.etag)):
        if batch and (len(batch) >= ingest.batch_sources or size + source.size > ingest.batch_bytes):
            batches.append(tuple(batch))
            batch, size = [], 0
        batch.append(source)
        size += source.size
    return [*batches, tuple(batch)] if batch else batches


def batch_id(sources: Sequence[SourceObject]) -> str:
    """Return the SHA-256 (hex) of the sources of a batch and their attempts, whatever their order."""
    names = sorted(f"{source.source_id}:{source.attempt}" for source in sources)
    return hashlib.sha256("\n".join(names).encode()).hexdigest()


def upload(
    store: ObjectStore,
    paths: Sequence[Path],
    *,
    project: str = "",
    materials: Sequence[str] = (),
    licence: str = "",
    embargo_until: str = "",
    answers: Answers = NO_ANSWERS,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[str]:
    """Put files and folders into the inbox as PROJECT/NAME (folders with all that is below them) and return the keys written.

    Files that are there already with the same content are left alone, unless answers (units, keys, theory of files without units) are given
    that were not given with them. progress is called with key, bytes done and size; a file
    left alone is reported once, with -1 bytes done. Raises QueryError for a path that is not there, a project with a '/' in it, and
    an embargo without a project or until a day that is none.
    """
    if embargo_until and not project.strip("/"):
        raise QueryError("an embargo is that of a project; name one (--project), so that the profiles of its readers can name it too")
    until = day_of(embargo_until).isoformat() if embargo_until else ""
    if "/" in project.strip("/"):
        raise QueryError(f"project {project!r} has a '/' in it; a project is one folder of the inbox")
    files = [pair for path in paths for pair in _files_of(path, project.strip("/") or UNSORTED)]
    metadata = {
        "project": project.strip("/"),
        "material": ";".join(materials),
        "licence": licence,
        "embargo-until": until,
        **answers.texts(),
    }
    metadata = {name: value for name, value in metadata.items() if value}
    written = []
    for file, key in files:
        size = file.stat().st_size
        if _is_there(store, key, file) and answers.texts().items() <= store.metadata(key).items():
            if progress is not None:
                progress(key, -1, size)
            continue
        store.upload(key, file, {**metadata, _MD5: _md5(file)}, _counted(progress, key, size))
        written.append(key)
    return written


def answer(store: ObjectStore, key: str, answers: Answers) -> str:
    """Write what is said of a source's units, keys and theory beside it, over what was said there before, and return the key written.

    That is KEY.atomlake.yaml for an object, KEYatomlake.yaml for a folder ('PROJECT/FOLDER/'); other keys in it stay as they are.
    """
    written = f"{key}{FILE_NAMES[0]}" if key.endswith("/") else f"{key}{SUFFIX}"
    try:
        before = store.get(written)
    except ObjectMissing:
        before = b""
    store.put(written, with_answers(before, answers))
    return written


def _counted(progress: Callable[[str, int, int], None] | None, key: str, size: int) -> Callable[[int], None] | None:
    if progress is None:
        return None
    done = [0]

    def count(n: int) -> None:
        done[0] += n
        progress(key, done[0], size)

    return count


def _files_of(path: Path, project: str) -> Iterator[tuple[Path, str]]:
    path = path.expanduser().absolute()
    if path.is_file():
        yield path, f"{project}/{path.name}"
    elif path.is_dir():
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            yield file, f"{project}/{path.name}/{file.relative_to(path).as_posix()}"
    else:
        raise QueryError(f"{path} is neither a file nor a folder; check the spelling")


def _is_there(store: ObjectStore, key: str, file: Path) -> bool:
    try:
        found = store.head(key)
    except (ObjectMissing, StoreUnreachable):
        # A depositor may only send: he is not told what is there. Where the store is away, sending says so.
        return False
    if found.size != file.stat().st_size:
        return False
    if store.metadata(key).get(_MD5) == _md5(file):
        return True
    return file.stat().st_size <= PART_BYTES and found.etag == _md5(file)


def _md5(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
