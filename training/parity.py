"""A picture of predicted against first-principles energies and forces."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from schemas.frames import FrameArrays
from training.evaluation import trivial_energies
from training.job import systems_of

if TYPE_CHECKING:
    from training.stored import Predictions


def parity_picture(arrays: FrameArrays, found: Predictions, title: str) -> bytes:
    """Return a PNG: energies per atom relative to the mean of their composition, and force components, coloured by element system."""
    figure = Figure(figsize=(9.6, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    systems = np.array(systems_of(arrays), dtype=object)
    means = trivial_energies(arrays, arrays, {}) / arrays.natoms
    for system in sorted(set(systems)):
        chosen = systems == system
        atoms = np.repeat(chosen, arrays.natoms)
        expected = (arrays.energy / arrays.natoms)[chosen]
        known = np.isfinite(expected)
        if known.any():
            zero = means[chosen][known]
            predicted = (found.energy / arrays.natoms)[chosen][known]
            left.plot(expected[known] - zero, predicted - zero, ".", markersize=5, label=f"{system} ({int(known.sum())} frames)")
        right.plot(arrays.forces[atoms].ravel(), found.forces[atoms].ravel(), ".", markersize=3, label=system)
    _finish(left, "energy per atom, relative to its composition's mean", "eV/atom")
    _finish(right, "force components", "eV/Å")
    figure.suptitle(title)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()


def _finish(axes: Any, title: str, unit: str) -> None:
    low, high = axes.get_xlim()
    axes.axline((low, low), (high, high) if high > low else None, slope=None if high > low else 1, color="0.6", linewidth=1, zorder=0)
    axes.set_title(title)
    axes.set_xlabel(f"first principles, {unit}")
    axes.set_ylabel(f"potential, {unit}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
