"""The lake at scale, beside plain alternatives: `python benchmarks/lake.py [--frames 100000 --systems 200] [--only queries commits ...]`.

An S3 server of the project (SeaweedFS) is started in a folder of its own, made-up frames of realistic sizes are committed as an ingest
commits, and what users do is timed, each time with the lake opened anew: median of the rounds, with wall and CPU time. The plain
alternatives (ASE database, folder of extxyz) hold the same frames of a smaller common lake. The last figures stand in results/.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# This file has the name of a package: its folder must not come first.
sys.path.append(sys.path.pop(0))

import lake_parts

from lake.store import make_bucket
from pipelines import seaweedfs
from schemas.errors import StoreError
from schemas.settings import Settings, StackSettings, StoreSettings

PARTS = ("queries", "peers", "commits", "systems", "copy")


@contextmanager
def server(home: Path) -> Iterator[Settings]:
    """Run an S3 server with its data in a folder, and end it."""
    base = free_block(4)
    stack = StackSettings(s3_port=base, master_port=base + 1, volume_port=base + 2, filer_port=base + 3)
    settings = Settings(home=home, stack=stack, store=StoreSettings(endpoint_url=f"http://127.0.0.1:{base}", lake_url="s3://benchmark"))
    pair = seaweedfs.prepare(settings)[seaweedfs.SERVICE]
    store = StoreSettings(settings.store.endpoint_url, access_key=pair.access_key, secret_key=pair.secret_key, lake_url="s3://benchmark")
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(seaweedfs.command(settings), cwd=seaweedfs.folder(settings), stdout=log, stderr=log)
    try:
        wait_for(store, time.monotonic() + 60)
        yield Settings(home=home, store=store)
    finally:
        process.kill()
        process.wait()


def wait_for(store: StoreSettings, end: float) -> None:
    while True:
        try:
            make_bucket("benchmark", store)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=100_000)
    parser.add_argument("--systems", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peer-frames", type=int, default=5_000)
    parser.add_argument("--commits", default="10,100,300", help="after how many commits a commit is timed")
    parser.add_argument("--many-systems", type=int, default=500)
    parser.add_argument("--copy-frames", type=int, default=20_000, help="frames of 64 atoms in the local copy")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--folder", type=Path, help="where server and copies put their data; removed at the end unless given")
    parser.add_argument("--out", type=Path, help="JSON file for the figures")
    given = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    home = (given.folder or Path(tempfile.mkdtemp(prefix="lake-"))).absolute()
    home.mkdir(parents=True, exist_ok=True)
    figures: dict[str, Any] = {"load before": os.getloadavg()[0], "cores": os.cpu_count()}
    try:
        with server(home) as settings:
            for part in given.only:
                figures[part] = getattr(lake_parts, part)(settings, given)
                print(json.dumps({part: figures[part]}, indent=1, default=str), flush=True)
    finally:
        if given.folder is None:
            shutil.rmtree(home, ignore_errors=True)
    if given.out:
        given.out.write_text(json.dumps(figures, indent=1, default=str) + "\n")


if __name__ == "__main__":
    main()
