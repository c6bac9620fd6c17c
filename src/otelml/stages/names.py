"""What stages of one name share: their series, their span budget, and what counts as far too slow for that name.

Apart from `core` so that the hot path there stays short: everything here runs once a name, once a kept span, or on
the drain thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelml import instruments, settings
from otelml.instruments import internal, timer
from otelml.instruments.aggregate import quantile
from otelml.semconv import _generated as semconv

if TYPE_CHECKING:
    from collections.abc import Callable

OUTLIER_FACTOR = 5.0
"""An outlier took more than this many times the 99th percentile of its name."""
OUTLIER_MIN_COUNT = 100
"""Stages of a name that must have been measured before its percentile says anything."""
_REVIEW_S = 1.0
_NEVER_NS = 1 << 62  # an int: comparing ints is what the hot path does fastest


class StageName:
    """The state of one stage name (None: all names over the limit).

    Token counts are read and written by several threads without a lock: a lost update makes a budget off by one for
    one interval, and no number that is reported depends on it.
    """

    __slots__ = (
        "_duration",
        "_far_ns",
        "_items",
        "_max_ns",
        "_reported",
        "_series",
        "failed",
        "failures",
        "kept",
        "name",
        "outlier",
        "record_ns",
        "slow_ns",
        "slowest",
        "tokens",
    )

    def __init__(self, name: str | None, rate: float) -> None:
        self.name = name
        self._duration = instruments.histogram(semconv.METRIC_ML_STAGE_DURATION)
        self._items: Any = None
        self._series = self._bind(self._duration)
        self.record_ns: Callable[[int], None] = self._series.record_ns
        self.tokens = self.failed = self.outlier = _most(rate)
        self.kept = self.failures = self._reported = 0
        self._far_ns = _NEVER_NS
        self._max_ns = -1
        # The one threshold of the hot path: from here on an exit takes the slow path. -1: the first always does.
        self.slow_ns = -1
        # Makes the span of the slowest refused stage that has none yet.
        self.slowest: Callable[[], object] | None = None

    def add_items(self, items: Any) -> None:
        """Count items that a stage worked on."""
        if self._items is None:
            self._items = self._bind(instruments.counter(semconv.METRIC_ML_STAGE_ITEMS))
        self._items.add(items)

    def _bind(self, instrument: Any) -> Any:
        return (
            instrument.overflow_series()
            if self.name is None
            else instrument.bind({semconv.ML_STAGE_NAME: self.name})
        )

    def record_failure(self, duration_ns: int, error_type: str) -> None:
        """Record the duration of a stage that raised, under its error type."""
        if self.name is None:
            self.record_ns(duration_ns)
        else:
            self.failures += 1
            attributes = {semconv.ML_STAGE_NAME: self.name, semconv.ERROR_TYPE: error_type}
            self._duration.bind(attributes).record_ns(duration_ns)

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
            internal.count("dropped", "stage", "span_budget", left_out)

    def _measured(self) -> int:
        series = self._series
        if not hasattr(series, "settled") or (self.name is not None and series is self._duration.overflow):
            return 0  # telemetry is off, or the series is shared with others, of whom one counts for all
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
names: dict[str, StageName] = {}
_overflow: StageName | None = None
_since_review_s = 0.0


def rate() -> float:
    """Spans a second a name: `OTELML_SPAN_BUDGET`; inf for all."""
    return settings.current().span_budget


def of(name: str) -> StageName:
    """The state of `name`, made at its first use. Above the cardinality limit all new names share one.

    Raises:
        TypeError: `name` is not a string.
    """
    found = names.get(name)
    return found if found is not None else _new(name)


def _new(name: str) -> StageName:
    global _overflow  # noqa: PLW0603
    if not isinstance(name, str):
        raise TypeError(f"a stage's name is a string, not {type(name).__name__}: otelml.stage('encode')")
    limit = settings.current().cardinality_limit
    if len(names) < limit:
        if not names:
            _first.tokens = _most(rate())
            if on_tick not in timer.tick_hooks:
                timer.tick_hooks.append(on_tick)
                timer.fork_hooks.append(clear)
        return names.setdefault(name, StageName(name, rate()))
    internal.count("overflow", "stage", semconv.ML_STAGE_NAME)
    internal.warn_once(
        "overflow:stage",
        "otelml: more than %d different stage names; from %r on, new ones are measured together under "
        "otel.metric.overflow=true. A name is a constant: put what varies into attributes: "
        "otelml.stage('load', file=f).",
        limit,
        name[:200],
    )
    if _overflow is None:
        _overflow = StageName(None, rate())
    return _overflow


def _all() -> list[StageName]:
    return [*names.values(), *([_overflow] if _overflow is not None else [])]


def on_tick(elapsed_s: float) -> None:
    """The drain thread's round over all names."""
    global _since_review_s  # noqa: PLW0603
    per_second = rate()
    _first.tokens = min(_most(per_second), _first.tokens + per_second * elapsed_s)
    _since_review_s += elapsed_s
    states = _all()
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
    for state in _all():
        state.clear(per_second)


def reset() -> None:
    """Forget all names: for tests."""
    global _overflow, _since_review_s
    names.clear()
    _overflow, _since_review_s = None, 0.0
    if on_tick in timer.tick_hooks:
        timer.tick_hooks.remove(on_tick)
        timer.fork_hooks.remove(clear)
