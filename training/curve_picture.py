"""A picture of a learning curve with its forecast."""

from __future__ import annotations

import io
import math

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.curve import LearningCurve
from training.forecast import BAND, ENERGY


def curve_picture(curve: LearningCurve, title: str) -> bytes:
    """Return a PNG: errors of all trainings against training frames, the power law, its band, and the target."""
    figure = Figure(figsize=(7.2, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    forecast = curve.forecast
    frames = np.array([point.n_frames for point in curve.points], dtype=np.float64)
    errors = 1000 * np.array([p.outcome.energy_mae if forecast.metric == ENERGY else p.outcome.force_mae for p in curve.points])
    far = 4 * frames.max()
    if forecast.frames is not None and math.isfinite(forecast.frames):
        far = min(max(far, 1.5 * forecast.frames), 100 * frames.max())
    grid = np.geomspace(frames.min(), far, 200)
    if curve.fitted.band:
        drawn = 1000 * np.array([law.at(grid) for law in curve.fitted.band])
        low, high = (np.percentile(drawn, edge, axis=0) for edge in BAND)
        axes.fill_between(grid, low, high, color="0.85", label="90 % of curves that the errors allow")
    law = forecast.law
    axes.plot(grid, 1000 * law.at(grid), color="C0", label=f"{1000 * law.a:.3g} N^-{law.b:.2f} + {1000 * law.c:.3g}")
    axes.plot(frames, errors, "o", color="C1", markersize=5, label="trainings")
    if forecast.target is not None:
        axes.axhline(1000 * forecast.target, color="C2", linestyle="--", linewidth=1, label="target")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("training frames")
    axes.set_ylabel(f"mean absolute error of {forecast.metric}, m{forecast.unit}")
    axes.set_title(title + (" (not to be trusted)" if forecast.doubts else ""))
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    return picture.getvalue()
