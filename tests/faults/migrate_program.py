"""A program whose children are to be killed: each runs `atomlake migrate` on the lake in a folder that a line names.

It says "ready"; a child says "pid" and its process id, then the key of each entry of a log before it puts it, waiting for a line each time,
and "done". Children are made by fork, so that only one program has to start.
"""

from __future__ import annotations

import os
import sys

from lake.store import ObjectStore
from pipelines.cli import app


def announce_puts() -> None:
    """Let each conditional write say its key first, and wait until it may go on."""
    put = ObjectStore.put_if_absent

    def announcing(store: ObjectStore, key: str, data: bytes) -> bool:
        print(key, flush=True)
        sys.stdin.readline()
        return put(store, key, data)

    setattr(ObjectStore, "put_if_absent", announcing)  # noqa: B010


if __name__ == "__main__":
    announce_puts()
    print("ready", flush=True)
    while url := sys.stdin.readline().strip():
        if url == "go":  # for a child that was killed before it heard it
            continue
        if os.fork() == 0:
            os.environ["ATOMLAKE_STORE_LAKE_URL"] = url
            print("pid", os.getpid(), flush=True)
            app(["migrate", "--json"], standalone_mode=False)
            print("done", flush=True)
            os._exit(0)
        os.wait()
