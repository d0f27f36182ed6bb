"""One frame by its id: both tables are asked at the same time, of the log of `frames` only the paths, and only files of its system."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import polars as pl

from lake.keys import rows_in, rows_of
from lake.log import live_paths
from lake.place import Place, spec_of
from lake.visibility import hidden
from schemas.errors import QueryError, UnknownName


def find_frame(lake: Place, frame_id: str, *, retracted: bool = False) -> pl.DataFrame:
    """Return the row of `frames` of one frame, 'CALCULATION:STEP', as the newest version has it, if the reader sees it.

    Raises QueryError for what is no such id, UnknownName where there is no such frame or the reader does not see it.
    """
    calculation, _, step = frame_id.rpartition(":")
    if not calculation or not step.isdecimal():
        raise QueryError(f"{frame_id!r} is no id of a frame; it is the id of a calculation, ':' and the number of a step, as in 'frame_id'")
    with ThreadPoolExecutor(3) as pool:
        listing = pool.submit(live_paths, lake, "frames")
        unseen = pool.submit(hidden, lake, retracted=retracted)
        systems = pool.submit(_systems_of, lake, calculation)
        files, found_in, left_out = listing.result(), systems.result(), unseen.result()
    columns = [name for name in spec_of("frames").names() if name != "element_system"]
    paths = files.filter(pl.col("element_system").is_in(found_in))["path"].to_list()
    rows = rows_in(lake, "frames", paths, "calculation_id", [calculation], columns=columns).filter(pl.col("frame_id") == frame_id)
    rows = rows.with_columns(pl.lit("".join(found_in)).alias("element_system")).select(spec_of("frames").names())
    seen = left_out.of(found_in).seen()
    rows = rows if seen is None else rows.filter(seen)
    if rows.is_empty():
        raise UnknownName(
            f"{lake.url}: there is no frame {frame_id!r} that you may see; its calculation may have been read again under another id "
            "(column 'formerly' of `calculations`), was retracted, or is under embargo"
        )
    return rows


def _systems_of(lake: Place, calculation: str) -> list[str]:
    """Return the element system of a calculation, or none where the lake does not have it."""
    rows = rows_of(lake, lake.table("calculations"), "calculation_id", {calculation}, ("element_system",))
    return rows["element_system"].unique().to_list()
