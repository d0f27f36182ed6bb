"""Checkpoints of the transaction logs: a table is opened from its newest one and the entries after it."""

from __future__ import annotations

import json

from lake.place import Place
from schemas.errors import ObjectMissing


def checkpoint(lake: Place, name: str) -> bool:
    """Write a checkpoint of a table at its newest version, and return whether there was none yet."""
    table = lake.table(name)
    try:
        last = int(json.loads(lake.store.get(f"{name}/_delta_log/_last_checkpoint"))["version"])
    except ObjectMissing:
        last = -1
    if last >= int(table.version()):
        return False
    table.create_checkpoint()
    return True
