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
import sys
import tempfile
from pathlib import Path
from typing import Any

# This file has the name of a package: its folder must not come first.
sys.path.append(sys.path.pop(0))

import lake_parts
from own_server import server

PARTS = ("queries", "peers", "commits", "systems", "copy")


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
