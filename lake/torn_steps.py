"""Steps whose geometry cannot be read have no place in the lake, whichever reader met them."""

from __future__ import annotations

from dataclasses import fields, replace
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from schemas.calculations import Run
from schemas.errors import UnreadableOutput
from schemas.frames import Floats, FrameBlock


def without_torn_steps(run: Run) -> Run:
    """Return a run without the frames whose positions or cell hold something else than numbers, counted as malformed steps.

    Raises UnreadableOutput where no frame is left.
    """
    frames = run.frames
    if _are_finite(frames.positions) and _are_finite(frames.cell):
        return run
    whole: NDArray[np.bool_] = np.asarray(np.isfinite(frames.positions).all(axis=(1, 2)) & np.isfinite(frames.cell).all(axis=(1, 2)))
    lost = int((~whole).sum())
    if not lost:
        return run
    if lost == frames.count:
        raise UnreadableOutput(
            "no_complete_step", f"none of {lost} steps has positions and a cell that can be read", "send the output as the code wrote it"
        )
    return replace(
        run,
        frames=_chosen(frames, whole),
        flags=tuple(sorted({*run.flags, "malformed_steps"})),
        notes=(*run.notes, f"{lost} steps have positions or a cell that cannot be read and are left out"),
        n_malformed_steps=run.n_malformed_steps + lost,
    )


def _are_finite(values: Floats) -> bool:
    """Return whether all numbers are finite; the sum of their squares is, then."""
    flat = values.reshape(-1)
    return isfinite(flat.dot(flat))


def _chosen(frames: FrameBlock, whole: NDArray[np.bool_]) -> FrameBlock:
    """Return some frames of a block; columns with one entry a frame are shortened, the others stand for all."""
    same = {"numbers", "pbc", "fixed", "energy_source", "stress_source"}
    kept = {
        each.name: getattr(frames, each.name)[whole]
        for each in fields(frames)
        if each.name not in same and isinstance(getattr(frames, each.name), np.ndarray)
    }
    flags = tuple(flags for flags, keep in zip(frames.flags, whole, strict=True) if keep)
    return replace(frames, flags=flags, **kept)
