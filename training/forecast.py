"""From errors at some numbers of training frames to a power law, and the frames that a target needs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from schemas.frames import Floats

ENERGY, FORCES = "energy", "forces"

SAMPLES: Final = 2000
"""Curves that are drawn for the uncertainty."""
BAND: Final = (5.0, 95.0)
"""Percentiles of these that are told."""
FAR: Final = 10.0
"""A forecast of more than so many times the largest number of frames is not trusted."""
WIDE: Final = 10.0
"""Nor one whose band is wider than this factor."""
FLAT: Final = 0.02
"""Nor one from errors that fall with a smaller exponent."""
SCATTER: Final = 0.15
"""Nor one from mean errors this far (root mean square of logarithms) from the curve."""

_EXPONENTS: Final = np.linspace(-0.2, 2.0, 221)
_PLATEAUS: Final = np.linspace(0.0, 0.98, 50)
"""Share of the error at the largest number of frames that no more frames take away."""


@dataclass(frozen=True)
class PowerLaw:
    """error = a N^-b + c."""

    a: float
    b: float
    c: float

    def at(self, n_frames: Floats | float) -> Floats:
        """Return the errors at numbers of frames."""
        return self.a * np.asarray(n_frames, dtype=np.float64) ** -self.b + self.c

    def frames_for(self, error: float) -> float:
        """Return the number of frames at which the error is reached; infinite where it never is."""
        if error <= self.c or self.b <= 0:
            return math.inf
        exponent = math.log(self.a / (error - self.c)) / self.b
        return math.exp(exponent) if exponent < 700 else math.inf


@dataclass(frozen=True)
class Fitted:
    """A power law through errors, and others that these allow."""

    sizes: Floats
    """(sizes,) training frames, growing; means of the repeats."""
    means: Floats
    """(sizes,) mean errors."""
    law: PowerLaw
    scatter: float
    """Root mean square of the logarithms of mean errors from the law."""
    band: tuple[PowerLaw, ...]
    """Laws drawn by how well they fit; none where there is one training of each size."""


@dataclass(frozen=True)
class Forecast:
    """What a curve says of a target."""

    metric: str
    """'energy' or 'forces'."""
    unit: str
    law: PowerLaw
    scatter: float
    """Root mean square of the logarithms of mean errors from the curve."""
    target: float | None
    frames: float | None
    """Training frames at which half of the curves that the errors allow have reached the target; None for none, and for never."""
    low: float | None
    high: float | None
    """Between which the number lies in 90 % of the curves that the errors allow; None for a number without end."""
    never: float
    """Share of these that never reach the target."""
    reached: bool
    """Whether a number of frames that was trained on has a mean error below the target."""
    twice: tuple[float, float, float]
    """Error at twice the largest number of frames: of the curve, and its band."""
    doubts: tuple[str, ...]
    """Why the forecast is not to be trusted; empty where it may be."""
    says: str
    """The answer in a sentence."""


def fit_law(errors: Sequence[Sequence[tuple[int, float]]]) -> Fitted:
    """Return the power law a N^-b + c through errors: for each size, smallest first, (training frames, error) of each repeat.

    Logarithms are fitted by least squares. The law has c above zero only where that is worth a third parameter (corrected information
    criterion of Akaike; Hurvich and Tsai, Biometrika 76, 297, 1989). The band has laws drawn by their probability for normal errors of
    logarithms of unknown size, with even odds beforehand for b from -0.2 to 2, for a plateau or none, and for the share of the last
    error that it is: so it tells also of plateaus that the sizes do not rule out yet.
    """
    frames = np.array([n for level in errors for n, _ in level], dtype=np.float64)
    logs = np.log([error for level in errors for _, error in level])
    sizes = np.array([np.mean([n for n, _ in level]) for level in errors])
    means = np.array([np.mean([error for _, error in level]) for level in errors])
    far = float(frames.max())
    decay = (frames / far) ** -_EXPONENTS[:, None]
    # (exponents, plateaus, errors): logarithm of the law but for its factor, which is 1 at the largest number of frames.
    shape = np.log((1 - _PLATEAUS[:, None]) * decay[:, None, :] + _PLATEAUS[:, None])
    factor = (logs - shape).mean(axis=2)
    squares = np.square(logs - shape - factor[:, :, None]).sum(axis=2).clip(min=1e-12)

    def law(exponent: int, plateau: int, scale: float) -> PowerLaw:
        b, share, at_far = float(_EXPONENTS[exponent]), float(_PLATEAUS[plateau]), math.exp(scale)
        return PowerLaw(at_far * (1 - share) * far**b, b, at_far * share)

    n = len(logs)
    plain, bent = (int(squares[:, 0].argmin()), 0), np.unravel_index(int(squares.argmin()), squares.shape)
    criterion = [n * math.log(float(squares[place]) / n) + _penalty(count, n) for place, count in ((plain, 3), (bent, 4))]
    best = plain if criterion[0] <= criterion[1] else (int(bent[0]), int(bent[1]))
    chosen = law(*best, float(factor[best]))
    scatter = float(np.sqrt(np.square(np.log(chosen.at(sizes)) - np.log(means)).mean()))
    if min(len(level) for level in errors) < 2:
        return Fitted(sizes, means, chosen, scatter, ())
    weights = np.exp(-0.5 * (n - 1) * np.log(squares / squares.min()))
    weights[:, 1:] /= len(_PLATEAUS) - 1
    draw = np.random.default_rng(0)
    places = np.unravel_index(draw.choice(squares.size, size=SAMPLES, p=(weights / weights.sum()).ravel()), squares.shape)
    scales = factor[places] + draw.standard_t(n - 1, SAMPLES) * np.sqrt(squares[places] / (n - 1) / n)
    return Fitted(sizes, means, chosen, scatter, tuple(law(*each) for each in zip(*map(np.ndarray.tolist, (*places, scales)), strict=True)))


def forecast_of(fitted: Fitted, metric: str, target: float | None) -> Forecast:
    """Return what a fitted law says of a target (a mean absolute error, eV/atom or eV/Å), and why that is not to be trusted if so."""
    law, largest = fitted.law, float(fitted.sizes.max())
    ahead = [float(each.at(2 * largest)) for each in fitted.band] or [math.nan]
    low_ahead, high_ahead = (float(np.percentile(ahead, edge)) for edge in BAND)
    unit = "eV/atom" if metric == ENERGY else "eV/Å"
    found = np.array([each.frames_for(target) for each in fitted.band]) if target is not None else np.zeros(0)
    # Half of the curves have come to the target by then; one curve alone knows of no others.
    frames = float(np.percentile(found, 50, method="nearest")) if len(found) else law.frames_for(target) if target is not None else math.inf
    ends = [float(np.percentile(found, edge, method="nearest")) if len(found) else math.inf for edge in BAND]
    low, high, number = (value if math.isfinite(value) else None for value in (*ends, frames))
    told = Forecast(
        metric=metric, unit=unit, law=law, scatter=fitted.scatter, target=target, frames=number, low=low, high=high,
        never=float(np.mean(~np.isfinite(found))) if len(found) else float(not math.isfinite(frames)),
        reached=target is not None and bool((fitted.means <= target).any()),
        twice=(float(law.at(2 * largest)), low_ahead, high_ahead), doubts=(), says="",
    )  # fmt: skip
    return Forecast(**{**vars(told), "doubts": _doubts(told, fitted), "says": _sentence(told, fitted)})


def _penalty(parameters: int, n: int) -> float:
    """Return the term of the corrected criterion of Akaike for so many parameters (the size of the errors among them)."""
    room = n - parameters - 1
    return 2 * parameters + 2 * parameters * (parameters + 1) / room if room > 0 else math.inf


def _doubts(told: Forecast, fitted: Fitted) -> tuple[str, ...]:
    largest, found = float(fitted.sizes.max()), []
    if len(fitted.sizes) < 4:
        found.append(f"there are {len(fitted.sizes)} numbers of frames only")
    if not fitted.band:
        found.append("there is one training at a number of frames, so that chance cannot be told")
    if told.law.b < FLAT:
        found.append(f"errors do not fall with more frames (exponent {told.law.b:.2f})")
    if told.scatter > SCATTER:
        found.append(f"mean errors are {100 * told.scatter:.0f} % from the curve")
    if told.target is not None and not told.reached and told.never < 0.5:
        if told.frames is not None and told.frames > FAR * largest:
            found.append(f"the number is {told.frames / largest:.0f} times what was trained on")
        if fitted.band and (told.high is None or told.low is None or told.high > WIDE * told.low):
            found.append("curves that fit as well differ by more than a factor of ten")
    return tuple(found)


def _sentence(told: Forecast, fitted: Fitted) -> str:
    known = f"{fitted.sizes[-1]:.0f} training frames have {1000 * fitted.means[-1]:.1f} m{told.unit}"
    if told.target is None:
        return f"{known}, mean absolute error of {told.metric}; it falls as the number of frames to the power {-told.law.b:.2f}."
    goal = f"{1000 * told.target:.1f} m{told.unit}"
    if told.reached:
        return f"{goal} is reached with {fitted.sizes[fitted.means <= told.target].min():.0f} training frames; {known}."
    if told.never >= 0.5 or told.frames is None:
        share = f": {100 * told.never:.0f} % of the curves that the errors allow never come to it" if fitted.band else ""
        return f"{goal} is out of reach of these settings by more frames alone{share}; {known}."
    band = f" ({told.low:.3g} {f'to {told.high:.3g}' if told.high else 'or more, or never,'} in 90 % of curves)" if told.low else ""
    return f"{goal} needs about {told.frames:.3g} training frames{band}; {known}."
