"""Datasets: a selection pinned under a name, with its split and a hash of its content, that can be read again for ever."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Final

import polars as pl
import pyarrow.parquet as pq

from lake.arrays import ARRAY_COLUMNS, HASHED_COLUMNS, content_digest, frame_arrays, joined
from lake.frame_files import read_arrays
from lake.local_copy import COLUMNS as LABELS
from lake.local_copy import MAX_BYTES, CopyPlan, LocalCopy, make_copy
from lake.place import Place
from lake.selection import Selection, choose
from lake.splits import SPLITS
from lake.tables import live_files, to_parquet
from lake.visibility import hidden
from schemas.datasets import Alignment, DatasetManifest, FrameQuery, Split
from schemas.errors import AlreadyThere, ObjectMissing, QueryError, TableError, UnderEmbargo, UnknownName, closest
from schemas.frames import FrameArrays
from schemas.json import from_json, to_json
from schemas.version import __version__

FOLDER: Final = "datasets"
INDEX_COLUMNS: Final = ("frame_id", "calculation_id", "element_system", "natoms", "split")
OFFSET: Final = "energy_offset"
"""Column of the index of an aligned dataset: what is added to the energies of a frame, eV."""
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_CHUNK_ATOMS: Final = 4_000_000
"""Atoms read at a time: about 400 MB of positions and forces on their way into arrays."""


@dataclass(frozen=True)
class Dataset:
    """A published selection, read at the versions of the tables that it was made from."""

    lake: Place
    manifest: DatasetManifest

    @cached_property
    def index(self) -> pl.DataFrame:
        """frame_id, calculation_id, element_system, natoms, split (energy_offset if aligned) of each frame, in the order of the arrays."""
        data = self.lake.store.get(_index_key(self.manifest.name, self.manifest.content_hash))
        return pl.from_arrow(pq.read_table(io.BytesIO(data)))  # type: ignore[return-value]

    def frame_ids(self, split: str | None = None) -> list[str]:
        """Return the ids of the frames of a split ('train', 'validation', 'test'), or of all."""
        return self._rows(split)["frame_id"].to_list()

    def frames(self, split: str | None = None) -> pl.LazyFrame:
        """Return the frames of a split, or of all, with the columns of the table and the column split; in no certain order.

        Where the dataset is aligned, energies are, and the column energy_offset says what was added to those of the table.
        """
        return _pinned(self.lake, self.manifest.table_versions["frames"], self._rows(split))

    def arrays(self, split: str | None = None) -> FrameArrays:
        """Return the frames of a split, or of all, as arrays in the order of the index; see `local_copy` where memory cannot hold them."""
        parts = list(self.parts(split))
        if parts:
            return joined(parts)
        return frame_arrays(_pinned(self.lake, self.manifest.table_versions["frames"], self._rows(split)).select(self._columns).collect())

    def parts(self, split: str | None = None) -> Iterator[FrameArrays]:
        """Yield the frames of a split, or of all, in the order of the index, at most about _CHUNK_ATOMS atoms at a time.

        Raises TableError where the lake has lost some of them.
        """
        version = self.manifest.table_versions["frames"]
        table = self.lake.table("frames", version)
        for rows in _slices(self._rows(split)):
            found = read_arrays(self.lake, table, rows, self._columns)
            yield replace(found, energy=found.energy + rows[OFFSET].to_numpy()) if OFFSET in rows.columns else found

    def theories(self, split: str) -> list[str]:
        """Return the level of theory of each frame of a split, in the order of its arrays."""
        rows = self.frames(split).select("frame_id", "theory").collect()
        return _in_order(rows, self._rows(split))["theory"].to_list()

    @property
    def _columns(self) -> list[str]:
        return [*ARRAY_COLUMNS, *(["theory"] if self.manifest.mixed else [])]

    def local_copy(
        self, folder: Path | str, split: str | None = None, *, columns: Sequence[str] = LABELS, max_bytes: int = MAX_BYTES
    ) -> LocalCopy:
        """Return a memory-mapped copy of a split, or of all frames, below folder; made where it is not there yet.

        `LocalCopy.gather(indices)` gives frames in any order as FrameArrays, numbered as in `frame_ids(split)`. columns are the
        labels to hold: 'energy', 'forces', 'stress'; those left out are NaN. Streams with bounded memory; safe beside other processes
        that want the same copy, and after a crash. Raises QueryError where it would take more than max_bytes or the disk has.
        """
        rows = self._rows(split)
        wanted = [name for name in LABELS if name in columns] if set(columns) <= set(LABELS) else list(columns)
        name = "\n".join((to_json(self.manifest), split or "", *wanted))
        plan = CopyPlan(
            dataset=self.manifest.name,
            content_hash=self.manifest.content_hash,
            split=split or "",
            n_frames=rows.height,
            n_atoms=int(rows["natoms"].cast(pl.Int64).sum()),
            columns=tuple(wanted),
            key=f"{self.manifest.name}-{split or 'all'}-{hashlib.sha256(name.encode()).hexdigest()[:16]}",
            max_bytes=max_bytes,
        )
        return make_copy(Path(folder), plan, lambda: self.parts(split))

    def verify(self) -> None:
        """Read everything again and compare with the hash of the manifest; raises TableError where they differ."""
        where = f"{self.lake.url}: dataset {self.manifest.name!r}"
        remedy = "files of the table or the index were changed or lost: restore them from a backup, or publish under a new name"
        version = self.manifest.table_versions["frames"]
        changed = _changed_files(self.lake, version, self.index["element_system"].unique().to_list())
        if changed:
            raise TableError(f"{where}: {len(changed)} files are not what the log says, such as {changed[0]}; {remedy}")
        try:
            found = _content_hash(self.lake, version, self.index, self.manifest.alignment)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise TableError(f"{where} cannot be read ({(str(error).splitlines() or [''])[0]}); {remedy}") from error
        if found != self.manifest.content_hash:
            raise TableError(f"{where} reads as {found[:16]}, its manifest says {self.manifest.content_hash[:16]}; {remedy}")

    def _rows(self, split: str | None) -> pl.DataFrame:
        if split is None:
            return self.index
        if split not in SPLITS:
            raise UnknownName(
                f"dataset {self.manifest.name!r} has no split {split!r}{closest(split, SPLITS)}; splits are {', '.join(SPLITS)}"
            )
        return self.index.filter(pl.col("split") == split)


def publish(lake: Place, name: str, query: FrameQuery, split: Split, *, align: bool | str = False, mix: bool = False) -> Dataset:
    """Pin what a query selects now under a name, and return it; a second time with the same content returns the first.

    Raises AlreadyThere for a name that holds other content, MixedTheory where the levels of theory do not go together,
    QueryError for a selection without frames. Calculations that only retracted sources have are left out. Frames are split as
    `lake.splits.assign` says, then cut to the limits. With align, energies of alignable levels are brought to the zeros of the theory
    that it names (True: the one with most frames), see `lake.alignment`; the tables keep them as they are. With mix, levels that the
    query names stand beside each other with energies as they are, and training gives each its own references of elements.
    """
    if not _NAME.fullmatch(name):
        raise QueryError(
            f"{name!r} cannot name a dataset; use up to 100 letters, digits, '.', '_' and '-', beginning with a letter or digit"
        )
    chosen = choose(lake, f"dataset {name!r}", query, split, align=align, mix=mix)
    content_hash = _content_hash(lake, chosen.versions["frames"], chosen.index, chosen.alignment)
    manifest = _manifest(name, query, split, chosen=chosen, content_hash=content_hash)
    return _store(lake, manifest, chosen.index.select(*INDEX_COLUMNS, *((OFFSET,) if chosen.alignment else ())))


def preview(lake: Place, query: FrameQuery, split: Split, *, align: bool | str = False, mix: bool = False) -> list[str]:
    """Return the ids of the frames that a dataset of this query and split would hold now; publishes nothing.

    Raises what `publish` raises of the selection.
    """
    return choose(lake, "the selection", query, split, align=align, mix=mix).index["frame_id"].to_list()


def open_dataset(lake: Place, name: str) -> Dataset:
    """Return a published dataset; raises UnknownName with the closest name, UnderEmbargo where the reader may not use it yet."""
    try:
        dataset = Dataset(lake, from_json(DatasetManifest, lake.store.get(_manifest_key(name))))
    except ObjectMissing as error:
        names = [manifest.name for manifest in list_datasets(lake)]
        raise UnknownName(
            f"{lake.url}: there is no dataset {name!r}{closest(name, names)}; there are {', '.join(names) or 'none'}"
        ) from error
    _check_embargo(dataset)
    return dataset


def _check_embargo(dataset: Dataset) -> None:
    """Raise UnderEmbargo where a dataset holds frames that its reader would not see in a query, be it for an embargo."""
    lake, manifest = dataset.lake, dataset.manifest
    unseen = hidden(lake, retracted=True).of(manifest.element_systems)
    seen = unseen.seen()
    if seen is None:
        return
    own = dataset.index.lazy().select("calculation_id").unique()
    calculations = lake.scan(lake.table("calculations")).filter(~seen).join(own, on="calculation_id", how="semi")
    found = calculations.select(pl.col("project").unique().sort()).collect()["project"].to_list()
    if found:
        listed = ", ".join(f"{project!r} until {unseen.projects[project]}" for project in found)
        raise UnderEmbargo(
            f"{lake.url}: dataset {manifest.name!r} holds frames of projects under embargo: {listed}; who may use them names the projects "
            "in the settings (profile.projects, ATOMLAKE_PROFILE_PROJECTS)"
        )


def list_datasets(lake: Place) -> list[DatasetManifest]:
    """Return the manifests of all datasets, sorted by name."""
    keys = [found.key for found in lake.store.list(FOLDER) if found.key.endswith("/manifest.json")]
    return [from_json(DatasetManifest, lake.store.get(key)) for key in sorted(keys)]


def _store(lake: Place, manifest: DatasetManifest, index: pl.DataFrame) -> Dataset:
    """Write the index, then the manifest, which makes the dataset; of two that publish one name the first one wins."""
    lake.store.put(_index_key(manifest.name, manifest.content_hash), to_parquet(index.to_arrow(), row_group=1_000_000))
    if lake.put_once(_manifest_key(manifest.name), to_json(manifest).encode()):
        return Dataset(lake, manifest)
    first = open_dataset(lake, manifest.name)
    if first.manifest.content_hash == manifest.content_hash:
        return first
    lake.store.delete(_index_key(manifest.name, manifest.content_hash))
    old, new = (sum(each.n_frames.values()) for each in (first.manifest, manifest))
    raise AlreadyThere(
        f"{lake.url}: dataset {manifest.name!r} of {first.manifest.created_at} has {old} frames, this selection {new}, with another "
        f"content; a dataset never changes: choose a new name, such as {_next_name(manifest.name)!r}"
    )


def _next_name(name: str) -> str:
    match = re.fullmatch(r"(.*?)-?v?(\d+)", name)
    return f"{match.group(1)}-{int(match.group(2)) + 1}" if match and match.group(1) else f"{name}-2"


def _manifest(name: str, query: FrameQuery, split: Split, *, chosen: Selection, content_hash: str) -> DatasetManifest:
    index = chosen.index
    by_split = {key: index.filter(pl.col("split") == key) for key in SPLITS}
    systems = sorted(index["element_system"].unique().to_list())
    counted = {(system, key): n for system, key, n in index.group_by("element_system", "split").len().iter_rows()}
    return DatasetManifest(
        name=name,
        query=query,
        split=split,
        table_versions=chosen.versions,
        content_hash=content_hash,
        theories=tuple(sorted(index["theory"].unique().to_list())),
        n_frames={key: rows.height for key, rows in by_split.items()},
        n_calculations={key: rows["calculation_id"].n_unique() for key, rows in by_split.items()},
        n_atoms={key: int(rows["natoms"].sum()) for key, rows in by_split.items()},
        element_systems={system: {key: counted.get((system, key), 0) for key in SPLITS} for system in systems},
        elements=tuple(sorted({symbol for system in systems for symbol in system.split("-")})),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        atomlake_version=__version__,
        alignment=chosen.alignment,
        mixed=chosen.mixed,
        projects=_counts(chosen, "project"),
        licences=_counts(chosen, "licence"),
    )


def _counts(chosen: Selection, column: str) -> dict[str, int]:
    """Return the frames of each project or licence, '' for none."""
    frames = chosen.index.group_by("calculation_id").len("n").join(chosen.origins, on="calculation_id", how="left")
    counted = frames.group_by(pl.col(column).fill_null("")).agg(pl.col("n").sum()).sort(column)
    return {str(name): int(n) for name, n in counted.iter_rows()}


def _content_hash(lake: Place, version: int, index: pl.DataFrame, alignment: Alignment | None) -> str:
    """Return the SHA-256 over the content of each element system, systems in order; memory is bounded by the largest chunk.

    Energies are hashed as the table has them; where they are aligned, the alignment and the offset of each frame beside them.
    """
    digests: dict[str, str] = {}
    for chunk in _chunks(index.select(INDEX_COLUMNS)):
        rows = _pinned(lake, version, chunk).select(*HASHED_COLUMNS, "element_system").collect()
        _check_all_there(lake, version, rows, chunk)
        for part in rows.partition_by("element_system"):
            digests[part["element_system"][0]] = content_digest(part)
    lines = [f"{system} {digests[system]}" for system in sorted(digests)]
    if alignment is not None:
        offsets = index.sort("frame_id")[OFFSET].cast(pl.Float64).to_numpy().astype("<f8").tobytes()
        lines += [f"alignment {hashlib.sha256(to_json(alignment).encode()).hexdigest()}", f"offsets {hashlib.sha256(offsets).hexdigest()}"]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _changed_files(lake: Place, version: int, systems: Sequence[str]) -> list[str]:
    """Return the files of the named element systems whose size is not that of the log, or which are gone."""
    expected = live_files(lake.table("frames", version), systems)
    found: dict[str, int] = {}
    for system in systems:
        found |= {each.key: each.size for each in lake.store.list(f"frames/element_system={system}")}
    sizes = zip(expected["path"].to_pylist(), expected["size_bytes"].to_pylist(), strict=True)
    return [path for path, size in sizes if found.get(f"frames/{path}") != size]


def _slices(index: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the index in runs of rows of about _CHUNK_ATOMS atoms, or of one larger frame."""
    if index.height:
        place = (index["natoms"].cast(pl.Int64).cum_sum() - 1) // _CHUNK_ATOMS
        yield from index.with_columns(place.alias("slice")).partition_by("slice", maintain_order=True, include_key=False)


def _chunks(index: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield the index in runs of whole element systems, of about _CHUNK_ATOMS atoms or one larger system."""
    atoms = index.group_by("element_system", maintain_order=True).agg(pl.col("natoms").cast(pl.Int64).sum())
    systems: list[str] = []
    size = 0
    for system, n in atoms.iter_rows():
        if systems and size + n > _CHUNK_ATOMS:
            yield index.filter(pl.col("element_system").is_in(systems))
            systems, size = [], 0
        systems.append(system)
        size += n
    if systems:
        yield index.filter(pl.col("element_system").is_in(systems))


def _pinned(lake: Place, version: int, index: pl.DataFrame) -> pl.LazyFrame:
    systems = index["element_system"].unique().sort().to_list()
    frames = lake.scan(lake.table("frames", version)).filter(pl.col("element_system").is_in(systems))
    if len(systems) == 1:
        # The join prunes nothing; of a large system, of which the index may be a slice, the range leaves out files and row groups.
        ids = index["calculation_id"]
        frames = frames.filter(pl.col("calculation_id").is_between(pl.lit(ids.min()), pl.lit(ids.max())))
    if OFFSET not in index.columns:
        return frames.join(index.lazy().select("frame_id", "split"), on="frame_id", how="inner")
    found = frames.join(index.lazy().select("frame_id", "split", OFFSET), on="frame_id", how="inner")
    aligned = [pl.col(name) + pl.col(OFFSET) for name in ("energy", "energy_sigma0", "energy_internal")]
    return found.with_columns(*aligned, pl.col("energy_per_atom") + pl.col(OFFSET) / pl.col("natoms"))


def _check_all_there(lake: Place, version: int, rows: pl.DataFrame, wanted: pl.DataFrame) -> None:
    if rows.height != wanted.height:
        systems = ", ".join(wanted["element_system"].unique().sort().to_list()[:5])
        raise TableError(
            f"{lake.url}: version {version} of 'frames' has {rows.height} of {wanted.height} frames of {systems}; files were lost"
        )


def _in_order(rows: pl.DataFrame, index: pl.DataFrame) -> pl.DataFrame:
    return index.select("frame_id").join(rows, on="frame_id", how="left", maintain_order="left")


def _manifest_key(name: str) -> str:
    return f"{FOLDER}/{name}/manifest.json"


def _index_key(name: str, content_hash: str) -> str:
    return f"{FOLDER}/{name}/frames-{content_hash[:16]}.parquet"
