"""What timed pieces of work of one identity share: their series, their span budget, and what is far too slow for them.

Apart from `core` so that the hot path there stays short, and from the names of stages because inferences are timed so
too: everything here runs once an identity, once a kept span, or on the drain thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from otelml import settings
from otelml.instruments import internal, timer
from otelml.instruments.aggregate import quantile

if TYPE_CHECKING:
    from collections.abc import Callable

OUTLIER_FACTOR = 5.0
"""An outlier took more than this many times the 99th percentile of its name."""
OUTLIER_MIN_COUNT = 100
"""Pieces of work of a name that must have been measured before its percentile says anything."""
_REVIEW_S = 1.0
_NEVER_NS = 1 << 62  # an int: comparing ints is what the hot path does fastest


class Timed:
    """The state of one identity, such as a stage's name.

    Token counts are read and written by several threads without a lock: a lost update makes a budget off by one for
    one interval, and no number that is reported depends on it.

    Args:
        series: of the histogram that the durations go to.
        is_shared: it is the series of others too, of whom one counts what was left out.
    """

    __slots__ = (
        "_far_ns",
        "_is_shared",
        "_max_ns",
        "_reported",
        "_series",
        "failed",
        "failures",
        "kept",
        "outlier",
        "record_ns",
        "slow_ns",
        "slowest",
        "tokens",
    )

    component: ClassVar[str] = "stage"

    def __init__(self, series: Any, *, is_shared: bool) -> None:
        self._series = series
        self._is_shared = is_shared
        self.record_ns: Callable[[int], None] = series.record_ns
        self.tokens = self.failed = self.outlier = _most(rate())
        self.kept = self.failures = self._reported = 0
        self._far_ns = _NEVER_NS
        self._max_ns = -1
        # The one threshold of the hot path: from here on an exit takes the slow path. -1: the first always does.
        self.slow_ns = -1
        # Makes the span of the slowest refused piece of work that has none yet.
        self.slowest: Callable[[], object] | None = None

    def add_items(self, items: Any) -> None:
        """Record how many items a piece of work had."""
        raise NotImplementedError

    def record_failure(self, duration_ns: int, error_type: str) -> None:
        """Record the duration of one that raised, under its error type."""
        raise NotImplementedError

    def reason_to_keep(self, elapsed_ns: int, *, failed: bool) -> str | None:
        """Why a stage refused at its start deserves a span at its end, or None. Takes the token it uses."""
        if failed and self.failed >= 1:
            self.failed -= 1
            return "failed"
        if not self.kept and _first.take():
            return "first"
        if elapsed_ns >= self._far_ns and self.outlier >= 1:
            self.outlier -= 1
            return "outlier"
        return None

    def note_slow(self, elapsed_ns: int, make_span: Callable[[], object] | None) -> None:
        """Move the threshold; remember the slowest refused one for the next tick, which makes its span."""
        if elapsed_ns > self._max_ns:
            self._max_ns = elapsed_ns
            if make_span is not None:
                self.slowest = make_span
        self.slow_ns = min(self._far_ns, self._max_ns)

    def tick(self, elapsed_s: float, rate: float) -> None:
        """Refill the budgets, make the span of the slowest refused stage, count what was left out."""
        refill, most = rate * elapsed_s, _most(rate)
        self.tokens = min(most, self.tokens + refill)
        self.failed = min(most, self.failed + refill)
        self.outlier = min(most, self.outlier + refill)
        slowest = self.slowest
        if slowest is not None and self.outlier >= 1:
            self.slowest = None
            self.outlier -= 1
            self.kept += 1
            slowest()
        left_out = self._measured() - self.kept - self._reported
        if left_out > 0:
            self._reported += left_out
            internal.count("dropped", self.component, "span_budget", left_out)

    def _measured(self) -> int:
        series = self._series
        if self._is_shared or not hasattr(series, "settled"):
            return 0  # the series is shared with others, of whom one counts for all, or telemetry is off
        return int(series.settled.count + series.pending.count + self.failures)

    def review(self) -> None:
        """Take the threshold for outliers from what has been measured so far."""
        total = self._series.total()
        if total.count >= OUTLIER_MIN_COUNT:
            self._far_ns = int(OUTLIER_FACTOR * quantile(total, 0.99)[0] * 1e9)
            self.slow_ns = min(self._far_ns, self._max_ns)

    def clear(self, rate: float) -> None:
        """Start anew: in a forked child, and when the settings change."""
        self.tokens = self.failed = self.outlier = _most(rate)
        self.kept = self.failures = 0
        self._reported = self._measured()
        self._far_ns, self._max_ns, self.slow_ns, self.slowest = _NEVER_NS, -1, -1, None


def rate() -> float:
    """Spans a second a name: `OTELML_SPAN_BUDGET`; inf for all."""
    return settings.current().span_budget


def _most(rate: float) -> float:
    """What a budget saves up: a second's worth, and a whole span where the rate is less than one a second."""
    return max(rate, 1.0) if rate > 0 else 0.0


class _FirstBudget:
    """The budget for first stages of a name, over all names: a million names must not make a million spans."""

    tokens = 0.0

    def take(self) -> bool:
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


_first = _FirstBudget()
_states: list[Timed] = []
_since_review_s = 0.0


def adopt(state: Timed) -> None:
    """Have the drain thread refill the budgets of `state`, and look after it, from now on."""
    if not _states:
        _first.tokens = _most(rate())
    if on_tick not in timer.tick_hooks:
        timer.tick_hooks.append(on_tick)
        timer.fork_hooks.append(clear)
    _states.append(state)


def on_tick(elapsed_s: float) -> None:
    """The drain thread's round over all."""
    global _since_review_s  # noqa: PLW0603
    per_second = rate()
    _first.tokens = min(_most(per_second), _first.tokens + per_second * elapsed_s)
    _since_review_s += elapsed_s
    states = list(_states)
    for state in states:
        state.tick(elapsed_s, per_second)
    if _since_review_s >= _REVIEW_S:
        _since_review_s = 0.0
        for state in states:
            state.review()


def clear() -> None:
    """Budgets and counts from zero: in a forked child, and when the settings change."""
    per_second = rate()
    _first.tokens = _most(per_second)
    for state in _states:
        state.clear(per_second)


settings.change_hooks.append(clear)


def reset() -> None:
    """Forget all: for tests."""
    global _since_review_s  # noqa: PLW0603
    _states.clear()
    _since_review_s = 0.0
    if on_tick in timer.tick_hooks:
        timer.tick_hooks.remove(on_tick)
        timer.fork_hooks.remove(clear)
