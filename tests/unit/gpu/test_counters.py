"""Counters of the device never fall, and narrow ones are unwound by the rate that the device measured."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from otelml.gpu.counters import Totals, WrappingTotals

WRAP = 2**32


def test_a_reset_keeps_what_was_counted() -> None:
    """After a fall the counter goes on from there; other series are not touched."""
    totals = Totals()
    assert [totals.add("a", reading) for reading in (10, 25, 25, 3, 4, 1)] == [10, 25, 25, 28, 29, 30]
    assert totals.add("b", 7) == 7


@given(
    start=st.integers(0, WRAP - 1),
    steps=st.lists(st.tuples(st.integers(0, 60 * 10**9), st.floats(0.99, 1.01)), max_size=20),
)
def test_wrapped_counters_are_unwound_exactly(start: int, steps: list[tuple[int, float]]) -> None:
    """Up to 60 GB a window with a rate that is 1 % off: the total is right to the byte."""
    totals, true, now_s = WrappingTotals(WRAP), start, 0.0
    assert totals.add("receive", start, now_s, None) == start
    for grown, error in steps:
        true, now_s = true + grown, now_s + 5
        assert totals.add("receive", true % WRAP, now_s, grown / 5 * error) == true


def test_bytes_of_a_window_without_a_rate_are_not_guessed() -> None:
    """Absent meanwhile, and then on from where it stood."""
    totals = WrappingTotals(WRAP)
    assert totals.add("receive", 100, 0.0, None) == 100
    assert totals.add("receive", 50, 5.0, None) is None
    assert totals.add("receive", 60, 10.0, 2.0) == 110


def test_a_wide_counter_is_taken_as_it_is() -> None:
    """A recording's counters never wrap."""
    totals = WrappingTotals(None)
    assert [totals.add("receive", reading, 0.0, None) for reading in (5, WRAP + 5)] == [5, WRAP + 5]
