"""How far two sets of bin counts lie apart: seven measures, and how each of them is compared with chance.

Everywhere p are the reference's shares of the bins (m observations), q the window's (n observations), both sum to 1.

Only `psi` and `chi2` divide by a share, and so only these need a bound from below: `EPSILON`, the same for both. That a
bin is empty in the reference does not say that its share is 0: where a window has values in it, `psi`, `js` and
`hellinger`, which such bins weigh most in, expect up to half an observation of the reference there. `chi2`, which they
would rule, has them counted together with all that have fewer than five, and expects up to five (Cochran 1954).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from otelml.drift import noise
from otelml.drift.noise import Chance, Noise

if TYPE_CHECKING:
    import numpy as np

    Shares = np.ndarray[Any, np.dtype[np.float64]]

EPSILON = 1e-4
"""Shares below this count as this, in `psi` and `chi2`: an empty bin would make them infinite. Nothing is rescaled."""

DEFAULT_THRESHOLD = 0.1
"""From here on a distribution has drifted, unless another threshold is given or was calibrated."""


@dataclass(frozen=True, slots=True)
class Score:
    """One score of one feature.

    Attributes:
        value: the score; from 0 (alike) on, but for `difference`, which is negative where things got better.
        noise_floor: what windows of this size reach on average without any drift.
        threshold: above it the window has drifted.
        n: observations that went into it; of a decayed window, how many equally heavy ones would say as much.
        noise_limit: what windows of this size hardly ever exceed without any drift.
    """

    value: float
    noise_floor: float
    threshold: float
    n: float
    noise_limit: float = -math.inf

    @property
    def drifted(self) -> bool:
        """Whether the value is above the threshold, and more than chance explains."""
        return self.value > self.threshold and not self.within_noise

    @property
    def within_noise(self) -> bool:
        """Whether chance explains the value: it is no greater than the noise limit."""
        return self.value <= max(self.noise_floor, self.noise_limit)


@dataclass(frozen=True, slots=True)
class Method:
    """A measure, and what it needs.

    Attributes:
        measure: takes p and q.
        chance: what it reaches without drift.
        ordered: whether the bins need an order.
        least: observations of the reference from which on a bin is compared by itself; of those with fewer, up to so
            many count as expected.
        pooled: whether bins with fewer are counted together.
    """

    measure: Callable[[Shares, Shares], float]
    chance: Chance
    ordered: bool = False
    least: float = 0.0
    pooled: bool = False


class Measured(NamedTuple):
    """The value of a method, and the noise in it."""

    value: float
    noise: Noise


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


METHODS: dict[str, Method] = {
    "psi": Method(psi, noise.divergence, least=0.5),
    "js": Method(js, noise.jensen_shannon, least=0.5),
    "ks": Method(ks, noise.kolmogorov, ordered=True),
    "wasserstein": Method(wasserstein, noise.cumulated, ordered=True),
    "hellinger": Method(hellinger, noise.hellinger, least=0.5),
    "tv": Method(tv, noise.total_variation),
    "chi2": Method(chi2, noise.divergence, least=5, pooled=True),
}
"""By the name that `ml.drift.method` has."""

DIFFERENCE = "difference"
"""The method of performance features, which have a mean and no bins."""


def compare(reference: Shares, window: Shares, n: float, ordered: int) -> dict[str, Measured]:
    """Every method that applies, from counts of the same bins.

    Args:
        reference: counts of shape (bins,), more than 0 in all.
        window: counts or weights of the same shape, more than 0 in all.
        n: the observations that `window` stands for.
        ordered: how many of the bins, from the first on, have an order; 0 for none. Without two observations of
            ordered bins the methods that need an order are absent.
    """
    each = float(window.sum()) / n
    found = {}
    for name, method in METHODS.items():
        bins = ordered if method.ordered else len(reference)
        if reference[:bins].sum() > 0 and window[:bins].sum() > 0:
            found[name] = _apply(method, reference[:bins], window[:bins], each)
    return found


def _apply(method: Method, reference: Shares, window: Shares, each: float) -> Measured:
    """One method; `each` is what an observation weighs in the window."""
    import numpy as np

    if method.pooled:
        rare = reference < method.least
        reference, window = (np.append(counts[~rare], counts[rare].sum()) for counts in (reference, window))
    m, weight = float(reference.sum()), float(window.sum())
    p, q = reference / m, window / weight
    few = reference < method.least
    expected = np.where(few, np.clip(q, p, method.least / m), p)
    return Measured(method.measure(expected, q), method.chance(p, each / weight + 1 / m))
