"""Small files of the tables that are looked up by key, joined by the committer itself a few at a time.

As in a log-structured merge tree (O'Neil, Cheng, Gawlick, O'Neil, Acta Informatica 33, 351 (1996)): FILES of about the same number
of rows become one, sorted by key. So a table of n commits has about FILES * log(n) / log(FILES) files to look a key up in, each row
is written as often as that logarithm, and a commit costs the same after ten as after a hundred thousand.
"""

from __future__ import annotations

from typing import Final

import polars as pl

from lake.compaction import Group, actions, join
from lake.place import Place
from lake.probe import probe_once
from lake.tables import live_files
from lake.transactions import newest, remove_unused, try_commit

FILES: Final = 8
BYTES: Final = 32 * 2**20
"""Most that one commit joins; what is larger is left to the scheduled compaction."""
LABEL: Final = "tidying"


def tidy(lake: Place, name: str) -> int:
    """Join the files of one size of a table without partitions where there are enough, and return how many were joined.

    Tried once: where another writer comes first it is left to the next commit, and what was written for it is removed.
    """
    probe_once(lake.store)
    with newest(lake, name) as table:
        group = _largest_class(pl.DataFrame(live_files(table))) if int(table.version()) % (FILES // 2) == 0 else None
        if group is None:
            return 0
        joined = join(lake, name, group)
        if try_commit(table, name, LABEL, list(actions(group, joined))):
            return len(group.files)
    with newest(lake, name) as table:
        # A lost answer looks like a lost race: only what is not in the newest version is of no use.
        remove_unused(lake, table, name, {file.path for file in joined})
    return 0


def _largest_class(files: pl.DataFrame) -> Group | None:
    """Return the files of the class of fewest rows that has enough of them, smallest first, up to BYTES."""
    if files.is_empty():
        return None
    rank = pl.col("num_records").clip(1).log(FILES).floor().cast(pl.Int32)
    small = files.filter(pl.col("size_bytes") < BYTES // FILES).with_columns(rank.alias("rank"))
    full = small.filter(pl.len().over("rank") >= FILES).sort("rank", "size_bytes", "path")
    if full.is_empty():
        return None
    chosen = full.filter((pl.col("rank") == pl.col("rank").first()) & (pl.col("size_bytes").cum_sum() <= BYTES))
    return Group({}, tuple((path, int(size)) for path, size in chosen.select("path", "size_bytes").iter_rows()))
