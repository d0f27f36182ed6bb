"""From the schema of an earlier atomlake to the present one: each table gets the columns that it lacks, in one commit.

No file is written anew: rows from before have null in a new column, so a new column must be nullable. Versions from before the
migration, which datasets name, stay readable. A change that null cannot express wants the objects to be read again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from deltalake import DeltaTable, Schema

from lake.place import SPECS, VERSION_KEY, Place
from lake.probe import probe_once
from lake.transactions import ATTEMPTS, wait_for_others
from schemas.columns import SCHEMA_VERSION, TableSpec
from schemas.errors import CommitConflict, SchemaMismatch
from schemas.version import __version__


@dataclass(frozen=True)
class Migration:
    """One step from a version of the schema to a later one."""

    before: int
    after: int
    added: Mapping[str, tuple[str, ...]]
    """Table -> columns that came with it; what they are stands in `schemas.columns`."""


MIGRATIONS: Final[tuple[Migration, ...]] = (Migration(1, 2, {"calculations": ("formerly",)}),)
"""Every step since version 1, in order."""


@dataclass(frozen=True)
class Migrated:
    """What was done to one table; before and after are equal where it had the present schema already."""

    table: str
    before: int
    after: int
    added: tuple[str, ...]
    version: int
    """Version of the table that has the present schema."""


def migrate(lake: Place, migrations: Sequence[Migration] = MIGRATIONS) -> list[Migrated]:
    """Bring every table to SCHEMA_VERSION and return what that did; nothing is changed before all tables are found fit.

    Can be called again after a crash, and beside readers and writers: a writer of the earlier version is refused from then on.
    Raises SchemaMismatch where no steps lead to the present schema, CommitConflict when other writers come first at every attempt.
    """
    probe_once(lake.store)
    for spec in SPECS.values():
        _plan(lake, lake.open_table(spec.name), spec, migrations)
    return [_migrate_table(lake, spec, migrations) for spec in SPECS.values()]


def _migrate_table(lake: Place, spec: TableSpec, migrations: Sequence[Migration]) -> Migrated:
    for attempt in range(ATTEMPTS):
        table = lake.open_table(spec.name)
        before, added = _plan(lake, table, spec, migrations)
        if before == SCHEMA_VERSION:
            return Migrated(spec.name, before, before, (), int(table.version()))
        version = int(table.version()) + 1
        # delta-rs has no commit that changes columns and properties together, so the entry of the log is put as the protocol says
        # ("Change Metadata"): who finds the number taken has lost, which is how all writers of the log keep apart.
        if lake.put_once(f"{spec.name}/_delta_log/{version:020d}.json", _entry(table, spec)):
            return Migrated(spec.name, before, SCHEMA_VERSION, added, version)
        wait_for_others(attempt)
    raise CommitConflict(
        f"{lake.url}: table {spec.name!r}: other writers came first {ATTEMPTS} times while migrating; run it again when fewer write"
    )


def _plan(lake: Place, table: DeltaTable, spec: TableSpec, migrations: Sequence[Migration]) -> tuple[int, tuple[str, ...]]:
    """Return the version of the schema that a table has and the columns to add; raises SchemaMismatch where these do not lead to ours."""
    where = f"{lake.url}: table {spec.name!r}"
    written = table.metadata().configuration.get(VERSION_KEY, "none")
    if not written.isdecimal() or int(written) > SCHEMA_VERSION:
        raise SchemaMismatch(f"{where} has schema version {written}, this atomlake migrates to {SCHEMA_VERSION}; install a newer one")
    version = before = int(written)
    added: list[str] = []
    while version < SCHEMA_VERSION:
        step = next((each for each in migrations if each.before == version < each.after <= SCHEMA_VERSION), None)
        if step is None:
            known = ", ".join(f"{each.before} to {each.after}" for each in migrations) or "none"
            raise SchemaMismatch(f"{where} has schema version {written}; no migration leads from {version} on (there are: {known})")
        added += step.added.get(spec.name, ())
        version = step.after
    types = {field.name: field.type for field in Schema.from_arrow(spec.arrow_schema()).fields}
    found = {field.name: field.type for field in table.schema().fields}
    expected = {name: kind for name, kind in types.items() if name not in added}
    if found != expected:
        differing = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
        raise SchemaMismatch(
            f"{where} has schema version {written}, but not its columns: {', '.join(differing)} are missing, more or of another type; "
            "another program changed the table: restore an earlier version of it"
        )
    wrong = [column.name for column in spec.columns if column.name in added and not column.nullable]
    if wrong:
        raise SchemaMismatch(
            f"{where}: {', '.join(wrong)} cannot be added to rows that lack them; declare them nullable in schemas.columns"
        )
    return before, tuple(added)


def _entry(table: DeltaTable, spec: TableSpec) -> bytes:
    """Return the lines of a log entry that gives a table the present columns and version, and keeps everything else."""
    metadata = table.metadata()
    now = int(time.time() * 1000)
    changed: dict[str, Any] = {
        "id": str(metadata.id),
        "name": metadata.name,
        "description": metadata.description,
        "format": {"provider": "parquet", "options": {}},
        "schemaString": Schema.from_arrow(spec.arrow_schema()).to_json(),
        "partitionColumns": metadata.partition_columns,
        "createdTime": metadata.created_time,
        "configuration": {**metadata.configuration, VERSION_KEY: str(SCHEMA_VERSION)},
    }
    info = {"timestamp": now, "operation": "ADD COLUMNS", "operationParameters": {}, "engineInfo": f"atomlake:{__version__}"}
    return "\n".join(json.dumps(action) for action in ({"commitInfo": info}, {"metaData": changed})).encode()
