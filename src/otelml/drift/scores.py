"""How far two sets of bin counts lie apart: seven measures, and what each of them reaches by chance alone.

Everywhere p are the reference's shares of the bins (m observations), q the window's (n observations), both sum to 1.
The noise floors follow from the difference of two multinomial samples of one distribution, whose variance in a bin is
p (1 - p) (1/n + 1/m); B is the number of bins that the reference has values in.

Only `psi` and `chi2` divide by a share, and so only these need a bound from below: `EPSILON`, the same for both.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Shares = np.ndarray[Any, np.dtype[np.float64]]

EPSILON = 1e-4
"""Shares below this count as this, in `psi` and `chi2`: an empty bin would make them infinite. Nothing is rescaled."""

DEFAULT_THRESHOLD = 0.1
"""From here on a distribution has drifted, unless another threshold is given or was calibrated."""

_MEAN_OF_KOLMOGOROV = math.sqrt(math.pi / 2) * math.log(2)  # 0.8687


@dataclass(frozen=True, slots=True)
class Score:
    """One score of one feature.

    Attributes:
        value: the score; from 0 (alike) on, but for `difference`, which is negative where things got better.
        noise_floor: what windows of this size reach on average without any drift.
        threshold: above it the window has drifted.
        n: observations that went into it; of a decayed window, how many equally heavy ones would say as much.
    """

    value: float
    noise_floor: float
    threshold: float
    n: float

    @property
    def drifted(self) -> bool:
        """Whether the value is above both the threshold and the noise floor."""
        return self.value > self.threshold and self.value > self.noise_floor


@dataclass(frozen=True, slots=True)
class Method:
    """A measure and its noise floor, and whether it needs the bins to have an order."""

    measure: Callable[[Shares, Shares], float]
    noise: Callable[[Shares, float], float]
    ordered: bool = False


def psi(p: Shares, q: Shares) -> float:
    """Population stability index, sum of (q - p) ln(q / p): the symmetric divergence J of Jeffreys (1946).

    Shares under `EPSILON` are raised to it. Known as an index of stability from credit scoring (Siddiqi 2006).
    """
    import numpy as np

    p, q = np.maximum(p, EPSILON), np.maximum(q, EPSILON)
    return float(np.sum((q - p) * np.log(q / p)))


def chi2(p: Shares, q: Shares) -> float:
    """Pearson's chi-squared statistic (1900) divided by n, sum of (q - p)^2 / p: comparable over window sizes.

    Shares p under `EPSILON` are raised to it. Times n it is the statistic itself.
    """
    import numpy as np

    return float(np.sum((q - p) ** 2 / np.maximum(p, EPSILON)))


def js(p: Shares, q: Shares) -> float:
    """Jensen-Shannon distance, 0 to 1: the root of the divergence in bits (Lin 1991; Endres and Schindelin 2003).

    The divergence is the mean of the Kullback-Leibler divergences of p and of q from (p + q) / 2.
    """
    middle = (p + q) / 2
    return math.sqrt(max(0.0, (_kullback_leibler(p, middle) + _kullback_leibler(q, middle)) / 2))


def _kullback_leibler(p: Shares, q: Shares) -> float:
    """Sum of p log2(p / q), where an empty bin of p adds nothing; q has no empty bin where p has none."""
    import numpy as np

    filled = p > 0
    return float(np.sum(p[filled] * np.log2(p[filled] / q[filled])))


def hellinger(p: Shares, q: Shares) -> float:
    """Hellinger distance, 0 to 1: the root of half the sum of (sqrt(q) - sqrt(p))^2 (Hellinger 1909)."""
    import numpy as np

    return math.sqrt(float(np.sum((np.sqrt(q) - np.sqrt(p)) ** 2)) / 2)


def tv(p: Shares, q: Shares) -> float:
    """Total variation distance, 0 to 1: half the sum of |q - p|, the share that would have to move."""
    import numpy as np

    return float(np.sum(np.abs(q - p))) / 2


def ks(p: Shares, q: Shares) -> float:
    """Kolmogorov-Smirnov statistic, 0 to 1: the largest |Q - P| of the cumulated shares (Smirnov 1939).

    Read at the edges of the bins, so it is at most the largest share of a bin below that of the raw values.
    """
    import numpy as np

    return float(np.max(np.abs(np.cumsum(q - p))))


def wasserstein(p: Shares, q: Shares) -> float:
    """Wasserstein distance (earth mover's) over the ranks of the bins, 0 to 1 (Vallender 1974).

    Sum of |Q - P| of the cumulated shares, divided by the number of bins less one. The ranks of quantile bins are the
    reference's quantiles: the distance is free of units, and no outlier rules it.
    """
    import numpy as np

    steps = np.abs(np.cumsum(q - p))[:-1]
    return float(np.mean(steps)) if steps.size else 0.0


def _divergence_noise(p: Shares, c: float) -> float:
    """(B - 1) (1/n + 1/m): the expectation of sum (q - p)^2 / p, to which psi and chi2 are equal near p = q."""
    return max(0, int((p > 0).sum()) - 1) * c


def _js_noise(p: Shares, c: float) -> float:
    """The divergence is an eighth of psi near p = q, in nats."""
    return math.sqrt(_divergence_noise(p, c) / (8 * math.log(2)))


def _hellinger_noise(p: Shares, c: float) -> float:
    """The square is an eighth of psi near p = q."""
    return math.sqrt(_divergence_noise(p, c) / 8)


def _tv_noise(p: Shares, c: float) -> float:
    """Half the expectation of sum |q - p|, each normally distributed."""
    import numpy as np

    return float(np.sum(np.sqrt(p * (1 - p)))) * math.sqrt(c / (2 * math.pi))


def _ks_noise(_: Shares, c: float) -> float:
    """The mean of Kolmogorov's distribution, for continuous values; between bins it can only be less."""
    return _MEAN_OF_KOLMOGOROV * math.sqrt(c)


def _wasserstein_noise(p: Shares, c: float) -> float:
    """The mean of |Q - P|, each normally distributed with the variance P (1 - P) (1/n + 1/m)."""
    import numpy as np

    cumulated = np.clip(np.cumsum(p)[:-1], 0, 1)
    if not cumulated.size:
        return 0.0
    return float(np.mean(np.sqrt(cumulated * (1 - cumulated)))) * math.sqrt(2 * c / math.pi)


METHODS: dict[str, Method] = {
    "psi": Method(psi, _divergence_noise),
    "js": Method(js, _js_noise),
    "ks": Method(ks, _ks_noise, ordered=True),
    "wasserstein": Method(wasserstein, _wasserstein_noise, ordered=True),
    "hellinger": Method(hellinger, _hellinger_noise),
    "tv": Method(tv, _tv_noise),
    "chi2": Method(chi2, _divergence_noise),
}
"""By the name that `ml.drift.method` has."""

DIFFERENCE = "difference"
"""The method of performance features, which have a mean and no bins."""


def compare(reference: Any, window: Any, n: float, ordered: int) -> dict[str, tuple[float, float]]:
    """Value and noise floor of every method that applies, from counts of the same bins.

    Args:
        reference: counts of shape (bins,), more than 0 in all.
        window: counts or weights of the same shape, more than 0 in all.
        n: the observations that `window` stands for.
        ordered: how many of the bins, from the first on, have an order; 0 for none. Without two observations of
            ordered bins the methods that need an order are absent.
    """
    found: dict[str, tuple[float, float]] = {}
    m, weight = float(reference.sum()), float(window.sum())
    for name, method in METHODS.items():
        bins = ordered if method.ordered else len(reference)
        m_in, weight_in = float(reference[:bins].sum()), float(window[:bins].sum())
        if not (m_in > 0 and weight_in > 0):
            continue
        p, q = reference[:bins] / m_in, window[:bins] / weight_in
        c = weight / (n * weight_in) + 1 / m_in
        found[name] = method.measure(p, q), method.noise(p, c)
    return {name: found[name] for name in METHODS if name in found} if m > 0 else {}
