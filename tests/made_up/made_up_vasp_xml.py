"""A vasprun.xml read whole or in chunks, and what its frames must say of the steps that it was made from."""

from __future__ import annotations

import numpy as np
from made_up_vasp import Made

from lake.readers.vasp.xml import VaspXmlReader
from schemas.calculations import Run
from schemas.frames import FrameBlock
from schemas.units import KBAR


def read_all(data: bytes, chunk: int = 1 << 20) -> tuple[Run, ...]:
    """Return the runs of a vasprun.xml that comes in chunks."""
    reader = VaspXmlReader()
    for start in range(0, len(data), chunk):
        reader.feed(data[start : start + chunk])
    return reader.close()


def read(data: bytes, chunk: int = 1 << 20) -> Run:
    """Return the one run of a vasprun.xml."""
    (run,) = read_all(data, chunk)
    return run


def assert_steps(frames: FrameBlock, run: Made, chosen: slice = slice(None)) -> None:
    """Compare frames with the steps that the text was made from."""
    steps = run.steps[chosen]
    assert frames.count == len(steps)
    for k, step in enumerate(steps):
        np.testing.assert_allclose(frames.cell[k], step.cell, atol=1e-12)
        np.testing.assert_allclose(frames.positions[k], step.positions @ step.cell, atol=1e-12)
        np.testing.assert_array_equal(frames.forces[k], step.forces)
        assert step.stress is not None
        np.testing.assert_array_equal(frames.stress[k], step.stress * -KBAR)
        assert frames.energy[k] == step.free
        assert frames.energy_sigma0[k] == round(step.sigma0, 8)
        assert frames.energy_internal[k] == round(step.internal, 8)
