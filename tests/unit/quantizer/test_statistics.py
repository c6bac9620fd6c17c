"""The numbers: compared with scipy's entropy, with distributions whose entropy is known, and with their own laws."""

from __future__ import annotations

import math
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy

from otelml.quantizer import CodebookStats, CodeCounts, Quantizer, describe_utilization
from otelml.quantizer.codebook import Codebook
from otelml.quantizer.statistics import compute_stats

RNG = np.random.default_rng(11)
BATCHES = st.lists(st.integers(0, 6), max_size=60)


def stats_of(codes: Any, size: int = 240, **more: Any) -> CodebookStats:
    """The statistics of a new quantizer that has observed these codes."""
    quantizer = Quantizer("q", codebook_size=size, min_codes=1, **more)
    quantizer.observe(codes)
    stats = quantizer.stats()
    assert stats is not None
    return stats


def test_uniform_codes_use_everything() -> None:
    """Each code once: perplexity is the codebook's size, and all ratios are 1."""
    assert stats_of(np.arange(240)) == CodebookStats(
        codebook_size=240,
        perplexity=pytest.approx(240),
        entropy_utilization=pytest.approx(1.0),
        code_utilization=1.0,
        dead_codes=0,
        top_code_share=pytest.approx(1 / 240),
        level_utilization=None,
        window=240,
        codes=240,
    )


def test_one_code_uses_nothing() -> None:
    """The same code always: perplexity is exactly 1, entropy exactly 0."""
    assert stats_of(np.full(5000, 7)) == CodebookStats(
        codebook_size=240,
        perplexity=1.0,
        entropy_utilization=0.0,
        code_utilization=1 / 240,
        dead_codes=239,
        top_code_share=1.0,
        level_utilization=None,
        window=5000,
        codes=5000,
    )


@pytest.mark.parametrize(("shares", "perplexity"), [([1, 1], 2.0), ([3, 1], 4 / 3**0.75)])
def test_two_codes(shares: list[int], perplexity: float) -> None:
    """By hand: halves have perplexity 2, and a quarter beside three quarters 4 / 3^(3/4)."""
    stats = stats_of(np.repeat([3, 200], np.array(shares) * 100))
    assert stats.perplexity == pytest.approx(perplexity)
    assert stats.entropy_utilization == pytest.approx(math.log(perplexity) / math.log(240))
    assert (stats.dead_codes, stats.top_code_share) == (238, max(shares) / sum(shares))


@pytest.mark.parametrize("size", [2, 240, 16_384])
def test_zipf_agrees_with_scipy(size: int) -> None:
    """Codes by Zipf's law, of which many are rare: entropy is that of scipy, seen codes those of numpy."""
    weights = 1 / np.arange(1, size + 1)
    codes = RNG.choice(size, 90_000, p=weights / weights.sum())
    stats = stats_of(codes, size)
    counts = np.bincount(codes, minlength=size)
    assert stats.perplexity == pytest.approx(math.exp(entropy(counts)), rel=1e-12)
    assert stats.entropy_utilization == pytest.approx(entropy(counts, base=size), rel=1e-12)
    assert stats.dead_codes == size - np.unique(codes).size
    assert stats.code_utilization == pytest.approx(np.unique(codes).size / size)
    assert stats.top_code_share == pytest.approx(counts.max() / codes.size)


def test_levels_are_looked_at_one_by_one() -> None:
    """Each dimension has the share of its own levels that occur, as counted from the indices themselves."""
    quantizer = Quantizer("q", levels=[8, 6, 5], min_codes=1)
    indices = np.stack(
        [RNG.integers(0, 8, 900), RNG.integers(2, 4, 900), np.full(900, 4)], axis=-1
    )  # all, two, one
    quantizer.observe(indices)
    stats = quantizer.stats()
    assert stats is not None
    assert stats.level_utilization == (1.0, 2 / 6, 1 / 5)


def test_nothing_is_said_before_there_are_enough_codes() -> None:
    """Ten codes a code of the codebook are needed by default: 240 uniform codes in a window of 240 say nothing."""
    quantizer = Quantizer("q", levels=[8, 6, 5])
    quantizer.observe(RNG.integers(0, 240, 2399))
    assert quantizer.stats() is None
    assert quantizer.stats(since_start=True) is None
    quantizer.observe([5])
    stats = quantizer.stats()
    assert stats is not None
    assert stats.window == 2400


def test_defaults() -> None:
    """The window is the larger of 100 000 codes and 50 a code; statistics need 10 a code."""
    assert (Quantizer("a", codebook_size=240).window, Quantizer("a", codebook_size=240).min_codes) == (
        100_000,
        2400,
    )
    assert (Quantizer("b", codebook_size=4096).window, Quantizer("b", codebook_size=4096).min_codes) == (
        204_800, 40_960,
    )  # fmt: skip


def test_statistics_since_the_start_outlive_the_window() -> None:
    """The window forgets; what was seen since the start stays seen."""
    quantizer = Quantizer("q", codebook_size=4, window=100, min_codes=10)
    quantizer.observe(np.repeat([0, 1, 2, 3], 50))
    quantizer.observe(np.zeros(200, int))
    recent, all_of_it = quantizer.stats(), quantizer.stats(since_start=True)
    assert recent is not None
    assert all_of_it is not None
    assert (recent.dead_codes, recent.window, recent.codes) == (3, 100, 400)
    assert (all_of_it.dead_codes, all_of_it.window, all_of_it.codes) == (0, 400, 400)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=200), st.randoms())
def test_laws_of_perplexity(codes: list[int], random: Any) -> None:
    """From 1 to the codes that occur, ratios from 0 to 1, the same in any order, and as scipy has it."""
    counts = np.bincount(codes, minlength=7)
    stats = compute_stats(counts, Codebook(7), len(codes))
    assert 1 <= stats.perplexity <= np.count_nonzero(counts) <= 7
    assert 0 <= stats.entropy_utilization <= 1
    assert stats.perplexity == pytest.approx(math.exp(entropy(counts)), rel=1e-9)
    assert stats.dead_codes + round(stats.code_utilization * 7) == 7
    random.shuffle(codes)
    shuffled = Quantizer("q", codebook_size=7, min_codes=1)
    shuffled.observe(codes)
    assert shuffled.stats() == stats


def counts_of(codes: list[int]) -> CodeCounts:
    """The counts of a quantizer that has observed these codes."""
    quantizer = Quantizer("q", codebook_size=7, min_codes=1)
    quantizer.observe(codes)
    return quantizer.snapshot()


def plain(counts: CodeCounts) -> tuple[list[int], list[int]]:
    """Counts in a form that can be compared."""
    return counts.in_window.tolist(), counts.since_start.tolist()


@given(BATCHES, BATCHES, BATCHES)
def test_merging_is_observing_all(first: list[int], second: list[int], third: list[int]) -> None:
    """The order and grouping of a merge do not matter, and the result is that of one quantizer that saw everything."""
    a, b, c = counts_of(first), counts_of(second), counts_of(third)
    everything = counts_of(first + second + third)
    assert plain(a.merge(b).merge(c)) == plain(a.merge(b.merge(c))) == plain(c.merge(a).merge(b))
    assert plain(a.merge(b).merge(c)) == plain(everything)
    assert a.merge(b).merge(c).stats() == everything.stats()


def test_quantizers_merge_and_stay_as_they_are() -> None:
    """Quantizers can be merged directly, with one another or with counts that came by pickle."""
    one, two = (Quantizer(name, levels=[2, 2], min_codes=1) for name in "ab")
    one.observe([0, 0, 1])
    two.observe([3])
    merged = one.merge(two)
    sent = pickle.loads(pickle.dumps(two.snapshot()))  # noqa: S301 - our own
    assert plain(merged) == plain(one.merge(sent)) == ([2, 1, 0, 1], [2, 1, 0, 1])
    assert plain(one.snapshot()) == ([2, 1, 0, 0], [2, 1, 0, 0])
    with pytest.raises(ValueError, match="different codebooks"):
        one.merge(Quantizer("c", codebook_size=4))


def test_all_ranks_add_up() -> None:
    """Any object with `all_reduce` will do, in place or not; without a group the counts are those of this process."""

    class InPlace:
        def all_reduce(self, vector: Any) -> None:
            vector *= 3

    class Returned:
        def all_reduce(self, vector: Any) -> Any:
            return vector * 3

    quantizer = Quantizer("q", codebook_size=2, min_codes=1)
    quantizer.observe([0, 1, 1])
    assert plain(quantizer.all_reduce(InPlace())) == ([3, 6], [3, 6])
    assert plain(quantizer.all_reduce(Returned())) == ([3, 6], [3, 6])
    assert plain(quantizer.all_reduce()) == plain(quantizer.snapshot()) == ([1, 2], [1, 2])


@pytest.mark.parametrize(
    ("share", "word"),
    [(1, "good"), (0.7, "good"), (0.69, "fair"), (0.3, "fair"), (0.29, "poor"), (0, "poor")],
)
def test_utilization_in_a_word(share: float, word: str) -> None:
    """Good from 0.7 of the codes, fair from 0.3, poor below."""
    assert describe_utilization(share) == word
    assert stats_of(np.arange(180)).codebook_utilization == "good"
