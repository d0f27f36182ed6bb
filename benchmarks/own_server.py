"""An S3 server of the project's own (SeaweedFS) for the time of a benchmark."""

from __future__ import annotations

import dataclasses
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lake.store import make_bucket
from pipelines import seaweedfs
from schemas.errors import StoreError
from schemas.settings import Settings, StackSettings, StoreSettings, write_toml


@contextmanager
def server(home: Path, *, lake_url: str = "s3://benchmark") -> Iterator[Settings]:
    """Run an S3 server with its data in a folder, and end it; with ATOMLAKE_HOME set to that folder every command finds it."""
    base = free_block(4)
    stack = StackSettings(s3_port=base, master_port=base + 1, volume_port=base + 2, filer_port=base + 3)
    settings = Settings(home=home, stack=stack, store=StoreSettings(endpoint_url=f"http://127.0.0.1:{base}", lake_url=lake_url))
    pair = seaweedfs.prepare(settings)[seaweedfs.SERVICE]
    store = dataclasses.replace(settings.store, access_key=pair.access_key, secret_key=pair.secret_key)
    write_toml({"store": dataclasses.asdict(store)}, home / "atomlake.toml")
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(seaweedfs.command(settings), cwd=seaweedfs.folder(settings), stdout=log, stderr=log)
    try:
        for bucket in seaweedfs.buckets(settings):
            wait_for(bucket, store, time.monotonic() + 60)
        yield Settings(home=home, store=store)
    finally:
        process.kill()
        process.wait()


def wait_for(bucket: str, store: StoreSettings, end: float) -> None:
    """Make a bucket as soon as the server answers."""
    while True:
        try:
            make_bucket(bucket, store)
            return
        except StoreError:
            if time.monotonic() > end:
                raise
            time.sleep(0.3)


def free_block(n: int) -> int:
    """Return the first of n ports after one another that are free, 10000 above them too."""
    for base in range(21000, 29000, 10):
        ports = [*range(base, base + n), *range(base + 10000, base + 10000 + n)]
        try:
            for port in ports:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise SystemExit("no free ports between 21000 and 29000")
