"""What each measure of drift reaches by chance alone: its mean, and a limit that it hardly ever exceeds.

The windows of a monitor differ, and its reference stays the same: where the reference has few observations, its own
deviation is in every window. A score is therefore judged by a limit of three standard deviations, not by the mean.

Everything follows from the difference of two multinomial samples of one distribution, whose variance in a bin is
p (1 - p) c with c = 1/n + 1/m; B is the number of bins that the reference has values in. Sizes of normally
distributed differences have the mean sqrt(2/pi) and the variance 1 - 2/pi (in units of theirs).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Shares = np.ndarray[Any, np.dtype[np.float64]]

SIGMAS = 3
"""Standard deviations from the mean to the limit."""

_FEW = 4
"""Expected observations below which a root of a number varies more than by a quarter."""

_MEAN = math.sqrt(2 / math.pi)
_DEVIATION = math.sqrt(1 - 2 / math.pi)
_KOLMOGOROV_MEAN = math.sqrt(math.pi / 2) * math.log(2)  # 0.8687
_KOLMOGOROV_DEVIATION = math.sqrt(math.pi**2 / 12 - _KOLMOGOROV_MEAN**2)  # 0.2603


class Noise(NamedTuple):
    """What windows score without drift.

    Attributes:
        floor: on average.
        limit: hardly ever more: about 1 in 100, depending on the shape of the distribution.
    """

    floor: float
    limit: float


Chance = Callable[["Shares", float], Noise]
"""Noise from the shares of the reference and c."""


def divergence(p: Shares, c: float, more: int = 0) -> Noise:
    """Of the sum of (q - p)^2 / p, to which psi and chi2 are equal near p = q: c times chi-squared.

    That has B - 1 degrees of freedom (and `more`), which is its mean; the variance is twice as much.
    """
    freedom = max(0, int((p > 0).sum()) - 1) + more
    return Noise(freedom * c, (freedom + SIGMAS * math.sqrt(2 * freedom)) * c)


def jensen_shannon(p: Shares, c: float) -> Noise:
    """Of the distance: near p = q the divergence is an eighth of psi, in nats."""
    return _root(divergence(p, c / (8 * math.log(2))))


def hellinger(p: Shares, c: float) -> Noise:
    """Of the distance: near p = q its square is an eighth of psi.

    A bin that expects few observations counts twice: the variance of a root of a Poisson number, a quarter elsewhere,
    is up to 0.45 there.
    """
    twice = int(((p > 0) & (p < _FEW * c)).sum())
    return _root(divergence(p, c / 8, twice))


def _root(squared: Noise) -> Noise:
    return Noise(math.sqrt(squared.floor), math.sqrt(squared.limit))


def total_variation(p: Shares, c: float) -> Noise:
    """Of half the sum of |q - p|, whose terms vary almost apart: exact for two bins, and in the limit of many."""
    import numpy as np

    variances = p * (1 - p) * c
    bins = int((variances > 0).sum())
    floor = _MEAN * float(np.sum(np.sqrt(variances))) / 2
    spread = math.sqrt(float(np.sum(variances)) * bins / (bins - 1)) / 2 if bins > 1 else 0.0
    return Noise(floor, floor + SIGMAS * _DEVIATION * spread)


def kolmogorov(_: Shares, c: float) -> Noise:
    """Of Kolmogorov's distribution, for continuous values; between bins it can only be less."""
    limit = _KOLMOGOROV_MEAN + SIGMAS * _KOLMOGOROV_DEVIATION
    return Noise(_KOLMOGOROV_MEAN * math.sqrt(c), limit * math.sqrt(c))


def cumulated(p: Shares, c: float) -> Noise:
    """Of the mean of |Q - P|; the limit is that of terms that vary as one, an upper bound."""
    import numpy as np

    at_edges = np.clip(np.cumsum(p)[:-1], 0, 1)
    if not at_edges.size:
        return Noise(0.0, 0.0)
    deviation = float(np.mean(np.sqrt(at_edges * (1 - at_edges) * c)))
    return Noise(_MEAN * deviation, (_MEAN + SIGMAS * _DEVIATION) * deviation)


def of_mean(error: float) -> Noise:
    """Of a difference of means with this standard error: its mean size, and three of it."""
    return Noise(_MEAN * error, SIGMAS * error)
