"""Windows add up exactly, whoever observed what and in whatever order."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_ind_from_stats

from otelml.drift import DriftReference, DriftWindow


def observed(reference: DriftReference, *batches: Any) -> DriftWindow:
    """A window of these batches."""
    window = DriftWindow(reference)
    for batch in batches:
        window.observe(batch)
    return window


def test_parts_add_up_to_the_whole(reference: DriftReference, make_batch: Any) -> None:
    """Row by row, in batches, merged from ranks, or as vectors: the same counts and so the same scores."""
    batch = make_batch(1, 3000, shift=0.5)
    whole = observed(reference, batch)
    thirds = [observed(reference, {name: column[i::3] for name, column in batch.items()}) for i in range(3)]
    merged = thirds[0].merge(*thirds[1:])
    again = thirds[2].merge(thirds[0]).merge(thirds[1])
    summed = DriftWindow.from_vector(reference, sum(third.vector for third in thirds))
    travelled = pickle.loads(pickle.dumps(merged))  # noqa: S301 - our own
    for other in (merged, again, summed, travelled):
        # Performance sums floats; everything else is whole numbers.
        assert [other.counts(name) for name in reference] == [whole.counts(name) for name in reference]
        assert np.allclose(other.vector, whole.vector, rtol=1e-12, atol=1e-9)
        assert other.scores().keys() == whole.scores().keys() == set(reference)
        assert other.scores()["age"] == whole.scores()["age"]
    assert thirds[0].observations("age") == 1000


def test_counts_by_label(reference: DriftReference) -> None:
    """As many as were observed, by the bins' labels, of an embedding by part."""
    window = observed(reference, {"city": ["Oslo", "Oslo", "Rome", None], "embedding": np.zeros((2, 16))})
    assert {label: n for label, n in window.counts("city").items() if n} == {
        "Oslo": 2,
        "other": 1,
        "missing": 1,
    }
    assert sum(window.counts("embedding").values()) == 2 * 9
    assert window.counts("embedding")["norm.below"] == 2
    assert (window.counts("accuracy"), window.observations("age")) == ({}, 0)


def test_windows_of_other_references_do_not_add_up(reference: DriftReference) -> None:
    """Nor do vectors of another length."""
    other = DriftWindow(DriftReference.fit([1.0, 2.0]))
    with pytest.raises(ValueError, match="different references"):
        DriftWindow(reference).merge(other)
    with pytest.raises(ValueError, match=r"shape \(5,\), not \(4,\)"):
        DriftWindow.from_vector(other.reference, [0] * 4)


def test_there_is_no_score_of_too_little(reference: DriftReference, make_batch: Any) -> None:
    """Ten observations a bin, thirty scores of performance, unless another number is asked for."""

    def found(rows: int, **options: Any) -> set[str]:
        return set(observed(reference, make_batch(2, rows)).scores(**options))

    assert found(29) == set()
    assert found(30) == {"city", "accuracy"}
    assert found(199) == {"city", "accuracy"}
    assert found(200) == set(reference)
    assert found(5, min_count=5) == set(reference)
    assert DriftWindow(reference).scores(min_count=0) == {}


def test_there_is_no_score_against_a_small_reference(caplog: pytest.LogCaptureFixture) -> None:
    """Ten rows a bin; it is said once, and `min_count` sets another number."""
    random = np.random.default_rng(0)
    columns = {"x": random.normal(size=199), "acc": random.random(20), "one": 0.9}
    reference = DriftReference.fit(columns, kinds={"acc": "performance", "one": "performance"})
    batch = {"x": random.normal(size=5000), "acc": random.random(5000), "one": random.random(5000)}
    window = observed(reference, batch)
    for _ in range(2):
        assert set(window.scores()) == {"one"}
    assert set(window.scores(min_count=10)) == {"x", "acc", "one"}
    said = [r.getMessage() for r in caplog.records if "no drift score" in r.getMessage()]
    assert [text.split(": ", 1)[1] for text in said] == [
        f"there is no drift score of feature {name!r}: its reference has {m} observations, and a score needs {least}; "
        "give it more, or fewer bins"
        for name, m, least in (("x", 199, 200), ("acc", 20, 30))
    ]
    exact = DriftReference.fit(random.normal(size=200))
    assert set(observed(exact, random.normal(size=200)).scores(min_count=200)) == {"value"}


def test_the_default_threshold_of_a_performance_is_a_tenth_of_its_mean() -> None:
    """And what chance explains is no drift: three standard errors."""
    reference = DriftReference.fit({"score": np.resize([190.0, 210.0], 1000)}, kinds={"score": "performance"})
    score = observed(reference, {"score": np.resize([160.0, 190.0], 100)}).scores()["score"]["difference"]
    error = np.sqrt(15**2 / 100 + 10**2 / 1000)
    assert (score.value, score.threshold) == (pytest.approx(25), pytest.approx(20))
    assert (score.noise_limit, score.drifted) == (pytest.approx(3 * error), True)


def test_thresholds_are_given_calibrated_or_the_default() -> None:
    """In that order; a mapping leaves the others alone."""
    values = np.random.default_rng(0).normal(size=4000)
    window = observed(DriftReference.fit(values, chunks=5), values)
    calibrated = window.reference["value"].thresholds
    found = {m: s.threshold for m, s in window.scores()["value"].items()}
    assert found == dict(calibrated)
    given = {m: s.threshold for m, s in window.scores(threshold={"ks": 0.5})["value"].items()}
    assert given == {**calibrated, "ks": 0.5}
    assert {s.threshold for s in window.scores(threshold=0.2)["value"].values()} == {0.2}
    plain = observed(DriftReference.fit(values), values)
    assert {s.threshold for s in plain.scores()["value"].values()} == {0.1}


def test_performance_is_the_difference_of_means() -> None:
    """How much worse, with the noise of both means (their standard error is scipy's)."""
    random = np.random.default_rng(3)
    before, after = random.normal(0.9, 0.1, 400), random.normal(0.7, 0.2, 100)
    for lower in (False, True):
        reference = DriftReference.fit(
            {"score": before}, kinds={"score": "performance"}, lower_is_better=["score"] if lower else []
        )
        score = observed(reference, {"score": after}).scores()["score"]["difference"]
        assert score.value == pytest.approx((after.mean() - before.mean()) * (1 if lower else -1))
        welch = ttest_ind_from_stats(
            before.mean(), before.std(ddof=1), 400, after.mean(), after.std(ddof=1), 100, False
        )
        error = abs((before.mean() - after.mean()) / welch.statistic)
        assert score.noise_floor == pytest.approx(error * np.sqrt(2 / np.pi), rel=0.01)
    alone = DriftReference.fit({"score": 0.9}, kinds={"score": "performance"})
    window = observed(alone, *({"score": 0.8} for _ in range(30)))
    assert window.scores()["score"]["difference"].value == pytest.approx(0.1)


def test_an_embedding_scores_the_mean_of_its_parts(reference: DriftReference, make_batch: Any) -> None:
    """Each part by itself would be a feature of numbers."""
    rows = make_batch(4, 2000, shift=0.3)["embedding"]
    feature = reference["embedding"]
    columns = feature.projection.apply(rows)
    base = feature.projection.apply(make_batch(0, 20_000)["embedding"])
    alone = []
    for before, after in zip(base, columns, strict=True):
        alone.append(observed(DriftReference.fit(before), after).scores()["value"]["psi"].value)
    found = observed(reference, {"embedding": rows}).scores()["embedding"]["psi"]
    assert found.value == pytest.approx(np.mean(alone))
    assert found.n == 2000
