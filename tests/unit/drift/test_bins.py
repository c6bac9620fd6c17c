"""Bins: where edges fall, what each value counts as, and labels that stay."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelml.drift.bins import ClassBins, NumericBins
from otelml.drift.classes import UNREADABLE, class_text

INF, NAN = math.inf, math.nan


def fit(values: list[float], bins: int = 20) -> NumericBins:
    """Bins of a list."""
    return NumericBins.fit(np.array(values, dtype=float), bins)


def filled(bins: NumericBins | ClassBins, values: object) -> dict[str, int]:
    """The bins that have something in them."""
    counts = bins.count(values).tolist()
    return {label: n for label, n in zip(bins.labels, counts, strict=True) if n}


def test_quantile_bins_hold_equal_shares() -> None:
    """Of continuous values each bin has as many, and none is outside."""
    values = np.random.default_rng(0).normal(size=10_000)
    bins = NumericBins.fit(values, 20)
    assert bins.labels == ("below", *(f"{i:02d}" for i in range(20)), "above", "missing")
    # A quantile is a value, and begins its bin: one more or less.
    below, *inside, above, missing = bins.count(values).tolist()
    assert (below, above, missing, sum(inside)) == (0, 0, 0, 10_000)
    assert 499 <= min(inside) <= max(inside) <= 501


def test_every_value_counts_once() -> None:
    """Below, above, infinite, missing, and both ends of each bin."""
    bins = NumericBins((0.0, 1.0, 2.0))
    values = np.array([-INF, -1, -0.0, 0.5, 1, 1.99, 2, 3, INF, NAN, NAN])
    assert filled(bins, values) == {"below": 2, "00": 2, "01": 2, "above": 3, "missing": 2}


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", "i1", "u2", "i8", "u8"])
def test_all_types_of_numbers(kind: str) -> None:
    """Counts are those of the same values as floats."""
    values = np.arange(100).astype(kind)
    bins = NumericBins.fit(values.astype(float), 7)
    assert bins.count(values).tolist() == bins.count(values.astype(float)).tolist()


@given(st.lists(st.floats(width=32), min_size=1, max_size=200), st.integers(1, 30))
def test_counts_are_those_of_a_plain_loop(values: list[float], bins: int) -> None:
    """Whatever the values, each is where the definition puts it, and none of the reference is outside but infinity."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return
    made = fit(values, bins)
    expected = [0] * made.size
    for v in values:
        expected[-1 if math.isnan(v) else sum(edge <= v for edge in made.edges)] += 1
    assert made.count(np.array(values)).tolist() == expected
    assert (expected[0], expected[-2]) == (values.count(-INF), values.count(INF))
    assert len(made.edges) <= bins + 2


def test_chunks_add_up() -> None:
    """More values than are sorted together."""
    values = np.random.default_rng(1).normal(size=50_000)
    values[::7] = NAN
    bins = NumericBins.fit(values, 5)
    expected = np.bincount(
        np.searchsorted(bins.edges, values[~np.isnan(values)], side="right"), minlength=7
    )  # below, 5 bins, above
    assert bins.count(values).tolist() == [*expected.tolist(), np.isnan(values).sum()]


def test_constant_features_have_one_bin() -> None:
    """The value itself, as far as float32 can tell; what is next to it is outside."""
    bins = fit([3.0] * 50)
    assert filled(bins, np.array([3.0, 3.0, 3.0001, 2.9])) == {"below": 1, "00": 2, "above": 1}
    assert filled(fit([5.0]), np.array([5.0])) == {"00": 1}


def test_discrete_features_have_a_bin_for_each_value() -> None:
    """Also where they are many, and unequally frequent."""
    bins = fit([0.0] * 90 + [1.0] * 9 + [2.0])
    assert filled(bins, np.array([0, 0, 1, 2, 2, 2])) == {"00": 2, "01": 1, "02": 3}


def test_a_frequent_value_has_a_bin_of_its_own() -> None:
    """Half zeros, half continuous: the zeros do not share a bin."""
    values = np.concatenate([np.zeros(500), np.linspace(0.001, 1, 500)])
    bins = NumericBins.fit(values, 10)
    counts = filled(bins, values)
    assert counts["00"] == 500
    assert sum(counts.values()) == 1000
    assert max(n for label, n in counts.items() if label != "00") <= 101


@pytest.mark.parametrize(
    "values",
    [
        [0.7] * 10,
        np.round(np.arange(0, 1, 0.1), 1).tolist() * 3,
        [0.1] * 400 + np.linspace(0.1001, 1, 600).tolist(),
        (np.arange(100) / 10).tolist() * 5,
        [1e300, -1e300, 1e-300, 0.3],
    ],
)
@pytest.mark.parametrize("fitted", [np.float64, np.float32])
def test_float32_copies_fall_where_their_float64_values_do(values: list[float], fitted: type) -> None:
    """Whichever of the two the bins are made of."""
    with np.errstate(over="ignore"):
        double, single = np.array(values), np.array(values, dtype=np.float32)
    double, single = double[np.isfinite(single)], single[np.isfinite(single)]
    bins = NumericBins.fit({np.float64: double, np.float32: single.astype(float)}[fitted], 20)
    assert bins.count(double).tolist() == bins.count(single).tolist()
    assert (filled(bins, single).keys() & {"below", "above"}) == set()


def test_edges_are_half_way_between_few_values() -> None:
    """So nothing near a value is taken for its neighbour."""
    assert fit([1.0, 2.0, 4.0]).edges[1:-1] == (1.5, 3.0)
    near = [1.0, math.nextafter(1, 2), math.nextafter(math.nextafter(1, 2), 2)]
    assert filled(fit(near), np.array(near)) == {"00": 1, "01": 1, "02": 1}


def test_the_largest_number_and_extremes() -> None:
    """Edges stay finite at the end of the range."""
    limit = float(np.finfo(float).max)
    bins = fit([-limit, 0.0, limit])
    assert all(map(math.isfinite, bins.edges))
    assert sum(filled(bins, np.array([-limit, 0, limit])).values()) == 3


def test_nothing_finite_is_refused() -> None:
    """There is nothing to compare with."""
    with pytest.raises(ValueError, match="no finite value"):
        fit([NAN, INF])


# -- classes


def test_the_most_frequent_classes_have_bins() -> None:
    """Ties go by the text; the rest is other."""
    bins = ClassBins.fit(["b", "a", "c", "c", None, "d", "d"], 3)
    assert bins.classes == ("a", "c", "d")
    assert filled(bins, ["a", "b", "z", None, NAN, "d"]) == {"a": 1, "d": 1, "other": 2, "missing": 2}


def test_classes_that_are_rare_in_the_reference_are_other() -> None:
    """Ten of a class make it known; where there is no such class, all are."""
    bins = ClassBins.fit(["a"] * 20 + ["b"] * 10 + ["c"] * 9, 20)
    assert filled(bins, ["a", "b", "c", "z"]) == {"a": 1, "b": 1, "other": 2}
    assert ClassBins.fit(["a"] * 9 + ["b"], 20).classes == ("a", "b")


def test_the_text_of_a_class() -> None:
    """Integers survive as floats; what is missing is None; nothing raises."""

    class Broken:
        def __str__(self) -> str:
            raise RuntimeError

    values = [3, 3.0, np.int64(3), np.float32(3), True, 2.5, b"x", "ü", Fraction(1, 2), Broken(), NAN, None]
    expected = ["3", "3", "3", "3", "True", "2.5", "x", "ü", "1/2", UNREADABLE, None, None]
    assert [class_text(value) for value in values] == expected
    long = class_text("y" * 10_000_000)
    assert long is not None
    assert (len(long) <= 256, long != class_text("y" * 9_999_999)) == (True, True)


def test_equal_keys_that_differ_as_text() -> None:
    """1, 1.0 and True are equal in Python; only the first two are one class."""
    bins = ClassBins.fit([1, 1.0, True, "1"], 5)
    assert bins.classes == ("1", "True")
    assert filled(bins, [1, 1.0, True, "1"]) == {"1": 3, "True": 1}


def test_labels_are_short_and_differ() -> None:
    """From one another and from those of the other bins."""
    bins = ClassBins.fit(["other", "missing", "x" * 100 + "1", "x" * 100 + "2", "plain"], 10)
    assert bins.labels == (
        "missing (2)", "other (2)", "plain", "x" * 63 + "…", "x" * 63 + "… (2)", "other", "missing",
    )  # fmt: skip


def test_values_without_a_hash_are_classes_too() -> None:
    """Lists are told apart by their text."""
    bins = ClassBins.fit([[1], [1], [2]], 1)
    assert filled(bins, [[1], [2]]) == {"[1]": 1, "other": 1}


def test_millions_of_classes() -> None:
    """Two million different ones are other, and cost no memory that stays."""
    bins = ClassBins.fit(["a", "b"], 20)
    assert filled(bins, (str(i) for i in range(2_000_000))) == {"other": 2_000_000}
