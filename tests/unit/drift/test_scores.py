"""The scores are scipy's on the same binned data, and their noise floors what samples of one distribution score."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import rel_entr
from scipy.stats import chisquare, entropy, ks_2samp, kstwobign, wasserstein_distance

from otelml.drift import DriftReference, DriftWindow
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
    values, noise = (float(np.mean(column)) for column in zip(*((v, n.floor) for v, n in found), strict=True))
    low, high = (0.75, 1.0) if method == "ks" else (0.93, 1.07)
    assert low < values / noise < high


def test_methods_that_need_an_order_leave_out_what_has_none() -> None:
    """Missing values are no part of ks and wasserstein, and of classes these are absent."""
    reference, window = np.array([50.0, 50.0, 0.0]), np.array([25.0, 25.0, 50.0])
    found = compare(reference, window, 100, 2)
    assert found["ks"].value == 0.0
    assert found["ks"].noise.floor == pytest.approx(kstwobign.mean() * math.sqrt(1 / 50 + 1 / 100))
    assert found["tv"].value == 0.5
    assert set(METHODS) - set(compare(reference, window, 100, 0)) == {"ks", "wasserstein"}
    assert set(METHODS) - set(compare(reference, np.array([0.0, 0.0, 9.0]), 9, 2)) == {"ks", "wasserstein"}


def sample(shape: str, random: np.random.Generator, rows: int) -> Any:
    """Values of a distribution that never changes."""
    if shape == "normal":
        return random.normal(size=rows)
    if shape == "classes":  # most of them rare
        p = 1 / np.arange(1, 200) ** 1.2
        return random.choice(199, rows, p=p / p.sum())
    return random.choice(["a", "b"], rows) if shape == "binary" else random.normal(size=(rows, 16))


@pytest.mark.parametrize(
    ("shape", "rows", "options"),
    [
        ("normal", 200, {}),
        ("normal", 300, {}),
        ("normal", 1000, {}),
        ("binary", 60, {}),
        ("classes", 220, {"kinds": "categorical"}),
        ("classes", 2000, {"kinds": "categorical", "top": 100}),
        ("classes", 20_000, {"kinds": "categorical", "top": 100}),
        ("embedding", 200, {"kinds": "embedding"}),
    ],
)
def test_stable_data_hardly_ever_drift(shape: str, rows: int, options: dict[str, Any]) -> None:
    """However few observations the reference has: it stays, so that what is odd about it is in each of the windows."""
    random = np.random.default_rng(5)
    runs = 20 if shape == "embedding" else 60
    drifted: Counter[str] = Counter()
    for _ in range(runs):
        window = DriftWindow(DriftReference.fit(sample(shape, random, rows), **options))
        window.observe(sample(shape, random, 2000))
        scores = window.scores()["value"]
        drifted.update(method for method, score in scores.items() if score.drifted)
    assert {method: n for method, n in drifted.items() if n > 0.08 * runs} == {}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("bins", [2, 20])
def test_the_noise_limit_is_hardly_ever_exceeded(method: str, bins: int) -> None:
    """By 3 in 100 at most of pairs of samples of one distribution, and by those of another one always."""
    random = np.random.default_rng(8)
    p, n, m = np.full(bins, 1 / bins), 2000, 1000
    other = np.linspace(0.5, 1.5, bins) / bins
    reference = random.multinomial(m, p, 400).astype(float)
    alike = [compare(a, random.multinomial(n, p), n, bins)[method] for a in reference]
    apart = [compare(a, random.multinomial(n, other), n, bins)[method] for a in reference]
    assert np.mean([value > noise.limit for value, noise in alike]) <= 0.03
    assert np.mean([value > noise.limit for value, noise in apart]) > 0.99


@pytest.mark.parametrize("method", ["psi", "chi2", "js", "hellinger"])
def test_the_noise_floor_allows_for_what_is_beyond_the_reference(method: str) -> None:
    """Below and above are empty in every reference, and not in every window."""
    random = np.random.default_rng(9)
    found = []
    for _ in range(200):
        window = DriftWindow(DriftReference.fit(random.normal(size=1000)))
        window.observe(random.normal(size=10_000))
        found.append(window.scores()["value"][method])
    assert 0.9 < np.mean([s.value for s in found]) / np.mean([s.noise_floor for s in found]) < 1.15


def test_chi2_counts_rare_bins_together() -> None:
    """As scipy does of bins that were joined; five observations of the reference are expected at least."""
    reference, window = np.array([500.0, 494, 4, 2, 0]), np.array([90.0, 100, 3, 2, 5])
    joined_p, joined_q = np.array([0.5, 0.494, 0.006]), np.array([0.45, 0.5, 0.05])
    found = compare(reference, window, 200, 0)["chi2"]
    assert found.value == pytest.approx(chisquare(200 * joined_q, 200 * joined_p).statistic / 200)
    assert found.noise.floor == pytest.approx(2 * (1 / 200 + 1 / 1000))
    empty = compare(np.array([500.0, 500, 0]), np.array([90.0, 90, 20]), 200, 0)["chi2"]
    assert empty.value == pytest.approx(0.05**2 / 0.5 * 2 + (0.1 - 0.005) ** 2 / 0.005)


def test_up_to_half_an_observation_is_expected_where_the_reference_has_none() -> None:
    """The psi of a bin that one of a hundred fell into by chance is small, and of what is as empty nought."""
    reference = np.array([50.0, 50, 0])
    found = compare(reference, np.array([500.0, 490, 10]), 1000, 0)["psi"].value
    p, q = np.array([0.5, 0.5, 0.005]), np.array([0.5, 0.49, 0.01])
    assert found == pytest.approx(rel_entr(q, p).sum() + rel_entr(p, q).sum())
    assert compare(reference, np.array([500.0, 500, 0]), 1000, 0)["psi"].value == 0


def test_a_score_has_drifted_above_threshold_and_noise() -> None:
    """Either alone is not enough; noise is its limit, where that is known."""
    cases = ((0.1, 0.1, 0.15), (0.3, 0.1, 0.0), (0.1, 0.2, 0.15), (0.1, 0.1, 0.2))
    found = [Score(0.2, floor, threshold, 100, limit).drifted for floor, threshold, limit in cases]
    assert found == [True, False, False, False]
