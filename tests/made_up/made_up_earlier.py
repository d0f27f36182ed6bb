"""Lakes as an earlier atomlake would have left them."""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa
from deltalake import DeltaTable

import lake
from lake.lake import Lake
from lake.migrations import MIGRATIONS
from lake.place import SPECS, VERSION_KEY
from lake.tables import write_file
from lake.transactions import try_commit
from schemas.settings import Settings


def lacking_at(version: int) -> dict[str, tuple[str, ...]]:
    """Return the columns that the tables of a version of the schema do not have yet."""
    lacking: dict[str, tuple[str, ...]] = {}
    for step in MIGRATIONS[[each.before for each in MIGRATIONS].index(version) :]:
        for table, added in step.added.items():
            lacking[table] = (*lacking.get(table, ()), *added)
    return lacking


def earlier(today: Lake, url: str, lacking: Mapping[str, tuple[str, ...]], *, version: str, settings: Settings | None = None) -> Lake:
    """Return a lake without some columns, with the other rows and the datasets of a lake of today."""
    old = lake.open(url, settings or today.settings)
    for spec in SPECS.values():
        gone = lacking.get(spec.name, ())
        schema = pa.schema([field for field in spec.arrow_schema() if field.name not in gone])
        DeltaTable.create(
            old.table_uri(spec.name), schema, partition_by=list(spec.partition_by) or None, name=spec.name, description=spec.doc,
            configuration={VERSION_KEY: version, "delta.enableExpiredLogCleanup": "false"}, storage_options=old.storage_options,
            raise_if_key_not_exists=False,
        )  # fmt: skip
        rows = today.scan(today.table(spec.name)).select(schema.names).collect()
        parts = rows.partition_by(*spec.partition_by, as_dict=True) if spec.partition_by else {(): rows}
        files = [
            write_file(old, spec.name, part.to_arrow().cast(schema), label="old", partition=dict(zip(spec.partition_by, key, strict=True)))
            for key, part in parts.items()
            if part.height
        ]
        assert try_commit(old.open_table(spec.name), spec.name, "old", [file.action() for file in files])
    for found in today.store.list("datasets"):
        old.store.put(found.key, today.store.get(found.key))
    return old
