"""All settings: one typed record, a sentence under each field, and the one place where environment variables are read."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import SettingsError, closest


@dataclass(frozen=True)
class StoreSettings:
    """The S3-compatible object store."""

    endpoint_url: str = ""
    """Address of the server; 'aws' for AWS itself; empty where none is named."""
    region: str = "us-east-1"
    """Region of the buckets."""
    access_key: str = ""
    """Access key id; empty to let the AWS clients look for credentials themselves (only where the endpoint is 'aws')."""
    secret_key: str = field(default="", repr=False)
    """Secret access key."""
    inbox_bucket: str = "atomlake-inbox"
    """Bucket that people drop archives into."""
    lake_url: str = "s3://atomlake-lake"
    """Where the tables are: s3://BUCKET[/PREFIX], or a local folder."""


@dataclass(frozen=True)
class LimitSettings:
    """What a source may cost before it is refused."""

    max_members: int = 200_000
    """Members of one archive, nested ones included."""
    max_member_bytes: int = 8 * 2**30
    """Bytes of one member after decompression."""
    max_total_bytes: int = 64 * 2**30
    """Bytes of one source after decompression."""
    max_ratio: int = 250
    """Inflated bytes for each stored byte, counted after the first 32 MiB."""
    max_nesting: int = 2
    """Archives inside archives: 1 is an archive in the source, 2 an archive in that."""
    max_companion_bytes: int = 256 * 2**20
    """Bytes of trajectories that are held in memory until the output of the same folder that they belong to has been read."""
    max_in_memory_bytes: int = 512 * 2**20
    """Bytes of one file that is read by random access (HDF5, netCDF, ulm, SQLite) and therefore held in memory."""


@dataclass(frozen=True)
class IngestSettings:
    """Watching and reading the inbox."""

    interval_seconds: int = 30
    """Time between two looks at the inbox."""
    quiet_seconds: int = 10
    """An object, or a folder of loose files, is taken when nothing in it has changed for this long."""
    batch_sources: int = 64
    """Most sources in one batch, which is one commit."""
    batch_bytes: int = 512 * 2**20
    """Most stored bytes in one batch."""


@dataclass(frozen=True)
class DaskSettings:
    """Where reading runs."""

    scheduler_address: str = ""
    """tcp://HOST:PORT of a running scheduler; empty for processes of our own."""
    workers: int = 2
    """Worker processes where we start them, one thread each."""


@dataclass(frozen=True)
class PrefectSettings:
    """The Prefect server."""

    api_url: str = ""
    """http://HOST:PORT/api; empty to run flows without a server."""


@dataclass(frozen=True)
class StackSettings:
    """Ports of the local stack, all on 127.0.0.1."""

    s3_port: int = 8333
    """S3 of SeaweedFS."""
    master_port: int = 9333
    """SeaweedFS master; its gRPC port is 10000 above."""
    volume_port: int = 9340
    """SeaweedFS volume server; its gRPC port is 10000 above."""
    filer_port: int = 8888
    """SeaweedFS filer; its gRPC port is 10000 above."""
    prefect_port: int = 4200
    """Prefect server and UI."""
    dask_port: int = 8786
    """Dask scheduler."""
    dask_dashboard_port: int = 8787
    """Dask dashboard."""


@dataclass(frozen=True)
class RetrainSettings:
    """The scheduled retraining."""

    cron: str = "0 3 * * *"
    """When to look whether the lake has grown."""
    potential: str = ""
    """Name of the potential to keep up to date; empty for none."""


@dataclass(frozen=True)
class GateSettings:
    """What a new version of a potential must show to become champion."""

    tolerance: float = 0.05
    """Share by which the error in an element system, or of the energies over all, may be larger than the champion's."""
    temperature: float = 300.0
    """Temperature from which the run at constant energy starts, K."""
    steps: int = 200
    """Steps of that run."""
    timestep: float = 0.5
    """Time step of that run, fs."""
    max_energy_change: float = 1.0
    """Drift and spread together of the total energy in that run that are let pass, meV/atom."""


@dataclass(frozen=True)
class ProfileSettings:
    """Who reads."""

    projects: tuple[str, ...] = ()
    """Projects whose data this reader sees while they are under embargo; '*' for all. In the environment with commas between."""


@dataclass(frozen=True)
class PartnerSettings:
    """Programs beside this one."""

    mace_python: str = ""
    """Python of the environment in which mace-torch is installed; empty where it is this one, or none."""


@dataclass(frozen=True)
class UpkeepSettings:
    """The scheduled upkeep of the lake."""

    compact_cron: str = "20 * * * *"
    """When to join small files and to write checkpoints of the logs."""
    vacuum_cron: str = "40 3 * * 0"
    """When to remove what no newest version and no dataset needs, with what killed writers left."""
    retention_days: int = 7
    """Days for which a file must have been of no use to anybody before it is removed."""


@dataclass(frozen=True)
class Settings:
    """Everything that can be set. TOML: a table for each group; environment: ATOMLAKE_GROUP_FIELD."""

    home: Path = Path("~/.atomlake")
    """Folder of the local stack: data, logs and state (environment: ATOMLAKE_HOME)."""
    store: StoreSettings = StoreSettings()
    limits: LimitSettings = LimitSettings()
    ingest: IngestSettings = IngestSettings()
    dask: DaskSettings = DaskSettings()
    prefect: PrefectSettings = PrefectSettings()
    stack: StackSettings = StackSettings()
    retrain: RetrainSettings = RetrainSettings()
    gate: GateSettings = GateSettings()
    profile: ProfileSettings = ProfileSettings()
    partners: PartnerSettings = PartnerSettings()
    upkeep: UpkeepSettings = UpkeepSettings()

    @property
    def stack_file(self) -> Path:
        """Settings that the running local stack wrote: endpoints and credentials."""
        return self.home / "stack.toml"


_GROUPS = {f.name: f for f in dataclasses.fields(Settings) if f.name != "home"}
_AWS_NAMES = {
    "AWS_ENDPOINT_URL": "endpoint_url",
    "AWS_REGION": "region",
    "AWS_ACCESS_KEY_ID": "access_key",
    "AWS_SECRET_ACCESS_KEY": "secret_key",
}


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings: defaults, then AWS_*, then the running stack's, then HOME/atomlake.toml, then ATOMLAKE_*; the last word holds.

    AWS_* are AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. They stand first because they are about
    all programs of this user: credentials for another store must not hide those of the running stack.
    Raises SettingsError for an unknown name, with the closest known one.
    """
    environ = os.environ if environ is None else environ
    home = Path(environ.get("ATOMLAKE_HOME", "~/.atomlake")).expanduser().absolute()
    settings = merge(Settings(home=home), _from_aws_names(environ), where="environment")
    for file in (settings.stack_file, home / "atomlake.toml"):
        if file.is_file():
            settings = merge(settings, _read_toml(file), where=str(file))
    return merge(settings, _from_environment(environ), where="environment")


def merge(settings: Settings, values: Mapping[str, Mapping[str, Any]], *, where: str) -> Settings:
    """Return settings with values of {group: {field: value}} put in; where names their origin in errors."""
    for group, fields in values.items():
        if group not in _GROUPS:
            raise SettingsError(f"{where}: there is no group of settings {group!r}{closest(group, _GROUPS)}")
        record = getattr(settings, group)
        known = {f.name: f for f in dataclasses.fields(record)}
        for name, value in fields.items():
            if name not in known:
                raise SettingsError(f"{where}: there is no setting {group}.{name}{closest(name, known)}")
            record = dataclasses.replace(record, **{name: _as_type_of(getattr(record, name), value, f"{where}: {group}.{name}")})
        settings = dataclasses.replace(settings, **{group: record})
    return settings


def write_toml(values: Mapping[str, Mapping[str, str | int]], file: Path) -> None:
    """Write {group: {field: value}} as TOML that `load` reads, readable by its owner only."""
    lines: list[str] = []
    for group, fields in values.items():
        lines.append(f"[{group}]")
        for name, value in fields.items():
            text = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else str(value)
            lines.append(f"{name} = {text}")
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text("\n".join(lines) + "\n")
    part.replace(file)


def cache_folder() -> Path:
    """Return where what can be made again is kept, by default ~/.cache/atomlake; raises RuntimeError for a user without a home."""
    return (Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "atomlake").expanduser()


def set_in_environment(name: str, value: str) -> None:
    """Set a variable of this process for a library that reads it when it is imported; what the user has set stays."""
    os.environ.setdefault(name, value)


@contextlib.contextmanager
def environment_kept(*names: str) -> Iterator[None]:
    """Give variables of this process back what they were, after a library that sets them."""
    before = {name: os.environ.get(name) for name in names}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def environment_of_child(extra: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with extra put in, for a process that is started from here."""
    return {**os.environ, **extra}


def _as_type_of(example: str | int | float | tuple[str, ...], value: object, where: str) -> str | int | float | tuple[str, ...]:
    """Return value as the type of example; text turns into a number, or with commas into a list of texts; nothing else is bent."""
    if isinstance(example, tuple):
        return _texts(value, where)
    if isinstance(example, float):
        return _number(value, where)
    if isinstance(example, str) and isinstance(value, str):
        return value
    if isinstance(example, int) and isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(example, int) and isinstance(value, str) and value.strip().lstrip("-").isdigit():
        return int(value)
    raise SettingsError(f"{where} is {value!r}, expected {'a whole number' if isinstance(example, int) else 'text'}")


def _number(value: object, where: str) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            found = float(value)
            if math.isfinite(found):
                return found
    raise SettingsError(f"{where} is {value!r}, expected a finite number")


def _texts(value: object, where: str) -> tuple[str, ...]:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise SettingsError(f"{where} is {value!r}, expected a list of texts")


def _read_toml(file: Path) -> dict[str, dict[str, Any]]:
    try:
        values = tomllib.loads(file.read_text())
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{file} is not TOML: {error}") from error
    for group, fields in values.items():
        if not isinstance(fields, dict):
            raise SettingsError(f"{file}: {group!r} stands outside of a group; write it below one of [{'], ['.join(_GROUPS)}]")
    return values


def _from_aws_names(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    return {"store": {field_name: environ[name] for name, field_name in _AWS_NAMES.items() if environ.get(name)}}


def _from_environment(environ: Mapping[str, str]) -> dict[str, dict[str, str]]:
    values: dict[str, dict[str, str]] = {}
    for name, value in environ.items():
        if name.startswith("ATOMLAKE_") and name != "ATOMLAKE_HOME":
            group, _, field_name = name.removeprefix("ATOMLAKE_").lower().partition("_")
            values.setdefault(group, {})[field_name] = value
    return values
