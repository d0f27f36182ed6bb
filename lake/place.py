"""Where a lake is: its address, its store and its tables as they can be opened; what every part of the lake works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from lake.probe import probe_once
from lake.store import ObjectStore, storage_options
from schemas.columns import SCHEMA_VERSION, TABLES, TableSpec
from schemas.errors import SchemaMismatch, TableError, UnknownName, closest
from schemas.settings import Settings

if TYPE_CHECKING:
    from polars._typing import StorageOptionsDict

SPECS: Final[Mapping[str, TableSpec]] = {spec.name: spec for spec in TABLES}
VERSION_KEY: Final = "atomlake.schemaVersion"
"""Property of each table that holds the version of its schema."""


@dataclass(frozen=True)
class Place:
    """A lake at an address; opening it reads nothing. Can be pickled."""

    url: str
    """s3://BUCKET[/PREFIX] or the absolute path of a folder."""
    settings: Settings
    store: ObjectStore

    @property
    def storage_options(self) -> dict[str, str] | None:
        """What deltalake needs to reach the store; None for a local folder. Holds credentials."""
        return storage_options(self.settings.store) if self.store.bucket else None

    @property
    def scan_options(self) -> StorageOptionsDict | None:
        """What Polars needs to reach the store; None for a local folder. Holds credentials."""
        options = self.storage_options
        return None if options is None else {name: value for name, value in options.items() if name != "aws_conditional_put"}

    def table_uri(self, name: str) -> str:
        """Return the address of a table, which any Delta reader understands."""
        return f"{self.url}/{name}"

    def table(self, name: str, version: int | None = None) -> DeltaTable:
        """Return a table at a version, or at the newest one.

        Raises TableError where there is none (with how to make it), SchemaMismatch where its columns are not ours. A version that is
        asked for may have the columns of an earlier schema, so that datasets stay readable after `lake.migrations`.
        """
        table = self.open_table(name, version)
        self.check(table, name, pinned=version is not None)
        return table

    def check(self, table: DeltaTable, name: str, *, pinned: bool = False) -> None:
        """Raise SchemaMismatch where the columns of an opened table are not ours; pinned allows those of an earlier schema."""
        _check_schema(table, spec_of(name), f"{self.url}: table {name!r}", pinned=pinned)

    def open_table(self, name: str, version: int | None = None) -> DeltaTable:
        """Return a table with whatever columns it has; raises TableError where there is none."""
        where = f"{self.url}: table {spec_of(name).name!r}"
        try:
            return DeltaTable(self.table_uri(name), version=version, storage_options=self.storage_options)
        except TableNotFoundError as error:
            raise TableError(f"{where} is not there; make the tables first ('atomlake up' or Lake.create())") from error
        except (DeltaError, OSError) as error:
            line = (str(error).strip().splitlines() or ["no message"])[0]
            asked = "" if version is None else f" at version {version}"
            raise TableError(f"{where} cannot be opened{asked}: {line}; check the address of the store and the version") from error

    def put_once(self, key: str, data: bytes) -> bool:
        """Write an object only where there is none and return whether it was written; raises StoreUnsafe where the store cannot tell."""
        probe_once(self.store)
        return self.store.put_if_absent(key, data)

    def scan(self, table: DeltaTable) -> pl.LazyFrame:
        """Return the rows of an opened table, at its version, as a lazy frame."""
        return pl.scan_delta(table, storage_options=self.scan_options, credential_provider=None)

    def calculations(self, version: int | None = None) -> pl.LazyFrame:
        """Return the table of calculations.

        The frames of a calculation come with the commit after its own: until then (or, after a crash, until the next ingest)
        it stands here without frames. `sources()` names whole calculations only.
        """
        return self.scan(self.table("calculations", version))

    def all_sources(self, version: int | None = None) -> pl.LazyFrame:
        """Return the table of sources, whoever may see them: each object that was read, one row an attempt."""
        return self.scan(self.table("sources", version))

    def all_rejections(self, version: int | None = None) -> pl.LazyFrame:
        """Return the table of members and sources that could not be taken, whoever may see them."""
        return self.scan(self.table("rejections", version))

    def potentials(self, version: int | None = None) -> pl.LazyFrame:
        """Return the table of potentials: every state of each; the newest row of a name and version holds."""
        return self.scan(self.table("potentials", version))


def spec_of(name: str) -> TableSpec:
    """Return the declaration of a table; raises UnknownName."""
    if name not in SPECS:
        raise UnknownName(f"there is no table {name!r}{closest(name, SPECS)}; tables are {', '.join(SPECS)}")
    return SPECS[name]


def _check_schema(table: DeltaTable, spec: TableSpec, where: str, *, pinned: bool) -> None:
    found_version = table.metadata().configuration.get(VERSION_KEY, "none")
    found, expected = [field.name for field in table.schema().fields], list(spec.names())
    if found_version.isdecimal() and int(found_version) < SCHEMA_VERSION:
        if pinned and set(found) <= set(expected):
            return
        raise SchemaMismatch(
            f"{where} has schema version {found_version}, this atomlake reads and writes {SCHEMA_VERSION}; "
            "run 'atomlake migrate', which adds the columns that it lacks and changes no row"
        )
    if found_version != str(SCHEMA_VERSION):
        raise SchemaMismatch(
            f"{where} has schema version {found_version}, this atomlake reads {SCHEMA_VERSION}; "
            "install the atomlake that wrote it, or a newer one"
        )
    if found != expected:
        missing, other = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
        raise SchemaMismatch(
            f"{where} lacks {missing or 'no column'} and has {other or 'no column'} besides; "
            f"expected {len(expected)} columns of schema version {SCHEMA_VERSION}"
        )
