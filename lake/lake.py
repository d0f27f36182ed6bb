"""The lake as one object: an address and settings; every method hands on to the module that does the work."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import polars as pl

from lake.conflicts import ENERGY_TOLERANCE, FORCE_TOLERANCE, conflicts
from lake.datasets import Dataset, list_datasets, open_dataset, publish
from lake.embargoes import visible_rejections, visible_sources
from lake.inbox import Ledger, read_ledger
from lake.lookup import find_frame
from lake.place import SPECS, Place
from lake.query import frame_query, left_out, select, select_scalars, visible_systems
from lake.search import SearchResult, search
from lake.store import connect, local_folder, make_bucket
from lake.tables import create_tables
from lake.theories import HeldTheory, theories
from lake.visibility import Hidden, visible_calculations
from schemas.datasets import DatasetManifest, FrameQuery, Split
from schemas.errors import SettingsError
from schemas.settings import Settings, load

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class Lake(Place):
    """A lake with everything that can be asked of it; opening it reads nothing. Can be pickled."""

    def create(self) -> Lake:
        """Make the bucket and the tables where they are not there yet, and return the lake; raises StoreUnsafe (`lake.probe`)."""
        if self.store.bucket:
            make_bucket(self.store.bucket, self.settings.store)
        create_tables(self)
        return self

    def frames(self, *, version: int | None = None, retracted: bool = False, **filters: Any) -> pl.LazyFrame:
        """Return the frames that the filters leave, read from their partitions only; the filters are the fields of FrameQuery.

        `lake.frames(elements={"Mg", "Ca", "O"}, subsystems=True)`. Raises QueryError for an unknown filter or element.
        A calculation's frames are there all together or not at all, and never before its row in `calculations()`. Left out are projects
        under embargo that the reader's profile does not name, and what only retracted sources have (retracted=True shows these).
        """
        return self.select(frame_query(**filters), version, retracted=retracted)

    def select(self, query: FrameQuery, version: int | None = None, *, retracted: bool = False) -> pl.LazyFrame:
        """Return the frames that a query selects, as `frames`; limits in it are the matter of datasets."""
        return select(self, query, version, retracted=retracted)

    def frame(self, frame_id: str, *, retracted: bool = False) -> pl.DataFrame:
        """Return one frame by its id, a row with all columns; raises UnknownName where there is none that the reader sees."""
        return find_frame(self, frame_id, retracted=retracted)

    def left_out(self, query: FrameQuery, version: int | None = None, *, retracted: bool = False) -> Hidden:
        """Return what `select` leaves out of a selection: how many frames for a retraction and for an embargo, and of which projects."""
        return left_out(self, query, version, retracted=retracted)

    def calculations(self, version: int | None = None, *, retracted: bool = False) -> pl.LazyFrame:
        """Return the calculations that the reader sees, as `frames`; `lake.scan(lake.table("calculations"))` has all.

        The frames of a calculation come with the commit after its own: until then (or, after a crash, until the next ingest)
        it stands here without frames. `sources()` names whole calculations only.
        """
        return visible_calculations(self, version, retracted=retracted)

    def sources(self, version: int | None = None) -> pl.LazyFrame:
        """Return each object that was read, one row an attempt, but for projects under embargo that the profile does not name.

        `all_sources()` has them all, for the service that reads the inbox.
        """
        return visible_sources(self, version)

    def rejections(self, version: int | None = None) -> pl.LazyFrame:
        """Return members and sources that could not be taken, of the sources that `sources()` shows."""
        return visible_rejections(self, version)

    def scalars(self, *, version: int | None = None, retracted: bool = False, **filters: Any) -> pl.LazyFrame:
        """Return the frames that the filters leave without their arrays, for looks at everything.

        `frames` opens a file for each element system at least, this a few of scalar columns: see `lake.scalars`.
        """
        return select_scalars(self, frame_query(**filters), version, retracted=retracted)

    def systems(self, *, retracted: bool = False) -> pl.DataFrame:
        """Return element_system, n_frames, n_files and bytes of each element system, from the log; frames as `frames` has them."""
        return visible_systems(self, retracted=retracted)

    def theories(self, *, retracted: bool = False) -> list[HeldTheory]:
        """Return the levels of theory that are there, how much of each, and what they are to the most common one; as `frames`."""
        return theories(self, retracted=retracted)

    def conflicts(
        self,
        *,
        energy_tolerance: float = ENERGY_TOLERANCE,
        force_tolerance: float = FORCE_TOLERANCE,
        only_good: bool = True,
        retracted: bool = False,
    ) -> pl.DataFrame:
        """Return pairs of equal structures of one theory whose energies (eV/atom) or forces (eV/Å) differ; see `lake.conflicts`."""
        return conflicts(self, energy_tolerance=energy_tolerance, force_tolerance=force_tolerance, only_good=only_good, retracted=retracted)

    def search(self, text: str, *, retracted: bool = False) -> SearchResult:
        """Return what the lake has for an element list, element system, formula or name of a material; as `frames`."""
        return search(self, text, retracted=retracted)

    def versions(self) -> dict[str, int]:
        """Return the newest version of each table; frames are looked at first, so none is without its calculation."""
        return {name: int(self.table(name).version()) for name in SPECS}

    def ledger(self, bucket: str, *, retry: frozenset[str] = frozenset()) -> Ledger:
        """Return which objects of an inbox have been read; retry names source ids that are to be read again."""
        return read_ledger(self, bucket, retry=retry)

    def publish(
        self, name: str, query: FrameQuery, split: Split | None = None, *, theories: Iterable[str] = (), align: bool | str = False,
        mix: bool = False,
    ) -> Dataset:  # fmt: skip
        """Pin what a query selects now, under a name, for ever; see `lake.datasets.publish`.

        theories narrows the query to several levels of theory; align brings the energies of alignable ones to the zeros of the named
        one (True: of the one with most frames); mix keeps levels that do not go together beside each other.
        """
        chosen = replace(query, theories=tuple(theories) or query.theories)
        return publish(self, name, chosen, split or Split(), align=align, mix=mix)

    def dataset(self, name: str) -> Dataset:
        """Return a published dataset; raises UnknownName with the closest name."""
        return open_dataset(self, name)

    def datasets(self) -> list[DatasetManifest]:
        """Return the manifests of all datasets, by name."""
        return list_datasets(self)


def open(url: str | None = None, settings: Settings | None = None) -> Lake:
    """Return the lake at s3://BUCKET[/PREFIX] or in a folder; without a URL the one that the settings name.

    Settings are read from files and environment where none are given. Nothing is made: `Lake.create` makes the tables.
    """
    settings = settings or load()
    url = url or settings.store.lake_url
    folder = local_folder(url)
    place = url.rstrip("/") if folder is None else str(folder)
    if folder is not None and quote(place, safe="/+=,@~:") != place:
        raise SettingsError(
            f"{place!r}: delta-rs and Polars take the path of a folder for an escaped URL and would not find its files; "
            "choose a folder for the lake whose path has ASCII letters, digits, '-', '_' and '.' only"
        )
    return Lake(place, settings, connect(place, settings.store))


__all__ = ["Lake", "open"]
