"""The scores are scipy's on the same binned data, and their noise floors what samples of one distribution score."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import chisquare, entropy, ks_2samp, wasserstein_distance

from otelml.drift.scores import EPSILON, METHODS, Score, compare

P = np.array([0.05, 0.25, 0.3, 0.2, 0.15, 0.05])
Q = np.array([0.1, 0.15, 0.25, 0.3, 0.05, 0.15])
RANKS = np.arange(len(P))

SCIPY = {
    "psi": lambda p, q: entropy(q, p) + entropy(p, q),
    "js": lambda p, q: jensenshannon(p, q, base=2),
    "ks": lambda p, q: (
        ks_2samp(
            np.repeat(RANKS, (1000 * p).round().astype(int)), np.repeat(RANKS, (1000 * q).round().astype(int))
        ).statistic
    ),
    "wasserstein": lambda p, q: wasserstein_distance(RANKS, RANKS, p, q) / (len(RANKS) - 1),
    "hellinger": lambda p, q: np.linalg.norm(np.sqrt(p) - np.sqrt(q)) / np.sqrt(2),
    "tv": lambda p, q: np.clip(p - q, 0, None).sum(),
    "chi2": lambda p, q: chisquare(700 * q, 700 * p).statistic / 700,
}


@pytest.mark.parametrize("method", METHODS)
def test_scores_are_those_of_scipy(method: str) -> None:
    """Each score, both ways, and nought for equal shares."""
    measure = METHODS[method].measure
    assert measure(P, Q) == pytest.approx(SCIPY[method](P, Q), rel=1e-12)
    assert measure(Q, P) == pytest.approx(SCIPY[method](Q, P), rel=1e-12)
    assert measure(P, P) == pytest.approx(0, abs=1e-12)


def test_empty_bins_count_as_epsilon_where_a_share_divides() -> None:
    """Psi and chi2 stay finite, by one constant; the others need none."""
    p, q = np.array([0.0, 0.6, 0.4]), np.array([0.2, 0.8, 0.0])
    raised_p, raised_q = np.maximum(p, EPSILON), np.maximum(q, EPSILON)
    expected = rel_entr(raised_q, raised_p).sum() + rel_entr(raised_p, raised_q).sum()
    assert METHODS["psi"].measure(p, q) == pytest.approx(expected, rel=1e-12)
    assert METHODS["chi2"].measure(p, q) == pytest.approx(0.2**2 / 1e-4 + 0.2**2 / 0.6 + 0.4)
    assert METHODS["js"].measure(p, q) == pytest.approx(jensenshannon(p, q, base=2))
    assert all(math.isfinite(method.measure(p, q)) for method in METHODS.values())


def test_disjoint_shares_are_as_far_apart_as_can_be() -> None:
    """The distances that are bounded reach 1."""
    p, q = np.array([1.0, 0.0]), np.array([0.0, 1.0])
    found = {name: method.measure(p, q) for name, method in METHODS.items()}
    bounded = ("js", "ks", "wasserstein", "hellinger", "tv")
    assert [found[name] for name in bounded] == pytest.approx([1.0] * 5)


@pytest.mark.parametrize("method", METHODS)
def test_the_noise_floor_is_what_samples_without_drift_score(method: str) -> None:
    """The mean score of many pairs of samples of one distribution; for ks an upper bound, as bins hide the rest."""
    random = np.random.default_rng(7)
    p, n, m = np.full(20, 1 / 20), 2000, 8000
    pairs = [(random.multinomial(m, p), random.multinomial(n, p)) for _ in range(400)]
    found = [compare(a.astype(float), b.astype(float), n, 20)[method] for a, b in pairs]
    values, noise = (float(np.mean(column)) for column in zip(*found, strict=True))
    low, high = (0.75, 1.0) if method == "ks" else (0.93, 1.07)
    assert low < values / noise < high


def test_methods_that_need_an_order_leave_out_what_has_none() -> None:
    """Missing values are no part of ks and wasserstein, and of classes these are absent."""
    reference, window = np.array([50.0, 50.0, 0.0]), np.array([25.0, 25.0, 50.0])
    found = compare(reference, window, 100, 2)
    assert found["ks"] == (0.0, pytest.approx(0.8687 * math.sqrt(1 / 50 + 1 / 100), rel=1e-3))
    assert found["tv"][0] == 0.5
    assert set(METHODS) - set(compare(reference, window, 100, 0)) == {"ks", "wasserstein"}
    assert set(METHODS) - set(compare(reference, np.array([0.0, 0.0, 9.0]), 9, 2)) == {"ks", "wasserstein"}


def test_a_score_has_drifted_above_threshold_and_noise() -> None:
    """Either alone is not enough."""
    assert [
        Score(0.2, noise, limit, 100).drifted for noise, limit in ((0.1, 0.1), (0.3, 0.1), (0.1, 0.2))
    ] == [
        True,
        False,
        False,
    ]
