"""The names of stages: the series of each, and the guard on how many there are."""

from __future__ import annotations

from typing import Any

from otelml import instruments, settings
from otelml.instruments import internal
from otelml.semconv import _generated as semconv
from otelml.stages import timed
from otelml.stages.timed import Timed


class StageName(Timed):
    """The state of one stage name (None: all names over the limit)."""

    __slots__ = ("_duration", "_items", "name")

    def __init__(self, name: str | None) -> None:
        self.name = name
        self._duration = instruments.histogram(semconv.METRIC_ML_STAGE_DURATION)
        self._items: Any = None
        series = self._bind(self._duration)
        super().__init__(series, is_shared=name is not None and series is self._duration.overflow)

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


names: dict[str, StageName] = {}
_overflow: StageName | None = None


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
        made = StageName(name)
        found = names.setdefault(name, made)
        if found is made:
            timed.adopt(made)
        return found
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
        _overflow = StageName(None)
        timed.adopt(_overflow)
    return _overflow


def reset() -> None:
    """Forget all names: for tests."""
    global _overflow  # noqa: PLW0603
    names.clear()
    _overflow = None
