"""Instruments by name: what they are, the series they have, and the guard on how many."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from otelml.instruments import internal
from otelml.instruments.attributes import OVERFLOW, attributes_key, clean_attributes
from otelml.instruments.bound import NOOP_BOUND, BoundCounter, BoundGauge, BoundHistogram

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelml.instruments.aggregate import Boundaries
    from otelml.instruments.attributes import Key, Value
    from otelml.instruments.bound import Bound, Number
    from otelml.semconv.model import Metric

_NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})
_overflow_lock = threading.Lock()


class Instrument:
    """An instrument by name. `bind(**attributes)` once and keep the result: that is the fast way to record."""

    bound_class: ClassVar[type[Bound]]

    __slots__ = (
        "_cache",
        "active",
        "bounds",
        "has_released",
        "limit",
        "overflow",
        "released",
        "sdk",
        "series",
        "sink",
        "spec",
        "views",
    )

    def __init__(self, spec: Metric, limit: int, *, active: bool) -> None:
        self.spec = spec
        self.active = active
        self.series: dict[Key, Bound] = {}
        self.overflow: Bound | None = None
        # Series that were released and hold what has not been handed over, and whether the drain has to see to any.
        self.released: dict[Key, Bound] = {}
        self.has_released = False
        self.bounds: Boundaries = tuple(spec.bounds or ())
        # What the drain knows of this instrument's counterpart in the SDK (None: no provider yet).
        self.sdk: Any = None
        self.views: tuple[Boundaries, ...] = ()
        self.sink: Callable[[Bound, list[float]], None] | None = None
        self.limit = spec.cardinality or limit
        self._cache: dict[Any, Bound] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is this instrument itself; a pickle is the instrument of that name where it is read."""
        return _rebuild_instrument, (self.spec,)

    def __copy__(self) -> Instrument:
        return self

    def __deepcopy__(self, _memo: Any) -> Instrument:
        return self

    @property
    def name(self) -> str:
        """The OTel name."""
        return self.spec.name

    @property
    def monotonic(self) -> bool:
        """Whether negative amounts are refused."""
        return self.spec.kind == "counter"

    @property
    def boundaries(self) -> tuple[Boundaries, ...]:
        """All sets of boundaries to count by: the instrument's own first."""
        return (self.bounds, *self.views)

    def bind(self, attributes: Mapping[str, Any] | None = None, /, **named: Any) -> Any:
        """The series of these attributes, made once and the same object ever after.

        Attributes come as keywords or, where their names have dots, as a mapping:
        `bind({"ml.model.name": "resnet"})`. Above the cardinality limit the overflow series is returned.
        """
        if not self.active:
            return NOOP_BOUND
        given = clean_attributes({**attributes, **named} if attributes else named, self.name)
        return self._bound(attributes_key(given), given)

    def _bound(self, key: Key, attributes: dict[str, Value]) -> Bound:
        bound = self.series.get(key)
        if bound is None:
            if len(self.series) >= self.limit:
                return self._overflowed(attributes)
            made = self.released.pop(key, None) or self.bound_class(self, attributes)
            # setdefault is atomic: two threads that bind the same attributes get the same series.
            bound = self.series.setdefault(key, made)
        return bound

    def release(self, bound: Bound) -> None:
        """Take out a series that nobody records to any more, and free its place under the limit.

        What it holds is handed over, and exported once more to every reader; then it is absent, and takes no memory.
        Of a gauge nothing is left to export. Bound again before that it goes on, and later starts from zero.
        """
        key = attributes_key(bound.attributes)
        if self.series.get(key) is not bound:  # the overflow series, or released before
            return
        del self.series[key]
        self._cache.clear()  # has no way back from a series to its entries
        if self.spec.kind != "gauge":
            self.released[key] = bound
            # Without a provider, or with one that never collects, nobody takes them away.
            if len(self.released) > self.limit:
                del self.released[next(iter(self.released))]
        self.has_released = True

    def _overflowed(self, attributes: Mapping[str, Value]) -> Bound:
        internal.count("overflow", "instruments", self.name)
        internal.warn_once(
            f"overflow:{self.name}",
            "otelml: %s has more than %d series; from %s on, new ones are counted together under "
            "otel.metric.overflow=true. Take identifiers out of its attributes, or raise OTELML_CARDINALITY_LIMIT.",
            self.name,
            self.limit,
            dict(attributes),
        )
        return self.overflow_series()

    def overflow_series(self) -> Any:
        """The series that takes what the cardinality guard turns away."""
        if not self.active:
            return NOOP_BOUND
        with _overflow_lock:
            if self.overflow is None:
                self.overflow = self.bound_class(self, dict(OVERFLOW))
        return self.overflow

    def _unbound(self, attributes: Mapping[str, Any] | None) -> Any:
        """The series of an unbound call, and an entry in the cache by which the next call finds it in one look-up.

        Only attributes that are all strings (or none) are kept there: 1, 1.0 and True are equal as keys and are not
        the same series. Bind those.
        """
        attributes = attributes or _NO_ATTRIBUTES
        bound = self.bind(attributes)
        if any(type(value) is not str for value in attributes.values()):
            return bound
        if len(self._cache) < 4 * self.limit and bound is not NOOP_BOUND and bound is not self.overflow:
            self._cache[tuple(attributes.items())] = bound
        return bound

    def all_series(self) -> list[Any]:
        """Every series, also those that were released and hold something yet, the overflow one last."""
        series: list[Any] = [*self.series.values(), *self.released.values()]
        return [*series, self.overflow] if self.overflow is not None else series

    def tell_non_finite(self, bound: Bound, n: int) -> None:
        """Emit the `non_finite` event, once a series; the values themselves are counted."""
        key = f"non_finite:{self.name}:{attributes_key(bound.attributes)}"
        if internal.first_time(key):
            internal.defer(lambda: _emit_non_finite(self.name, bound.attributes, n))


class Counter(Instrument):
    """Counts what only grows."""

    __slots__ = ()
    bound_class = BoundCounter

    def add(self, amount: Number, attributes: Mapping[str, Any] = _NO_ATTRIBUTES) -> None:
        """Add `amount` (a counter refuses negative ones) to the series of `attributes`. Where it is hot, bind first."""
        try:
            bound: Any = self._cache[tuple(attributes.items())]
        except (KeyError, TypeError, AttributeError):
            bound = self._unbound(attributes)
        bound.add(amount)


class UpDownCounter(Counter):
    """Counts what grows and shrinks, such as requests in flight: `add` takes negative amounts too."""

    __slots__ = ()


class Histogram(Instrument):
    """Distributes non-negative values over buckets."""

    __slots__ = ()
    bound_class = BoundHistogram

    def record(self, value: Number, attributes: Mapping[str, Any] = _NO_ATTRIBUTES) -> None:
        """Record `value` in the series of `attributes`. Prefer `bind(...).record` where it is hot."""
        try:
            bound: Any = self._cache[tuple(attributes.items())]
        except (KeyError, TypeError, AttributeError):
            bound = self._unbound(attributes)
        bound.record(value)

    def record_many(self, values: Any, attributes: Mapping[str, Any] | None = None) -> None:
        """Record every element of an array or sequence in the series of `attributes`."""
        self._unbound(attributes).record_many(values)


class Gauge(Instrument):
    """Holds the last value set."""

    __slots__ = ()
    bound_class = BoundGauge

    def set(self, value: Number, attributes: Mapping[str, Any] = _NO_ATTRIBUTES) -> None:
        """Set the series of `attributes` to `value`."""
        try:
            bound: Any = self._cache[tuple(attributes.items())]
        except (KeyError, TypeError, AttributeError):
            bound = self._unbound(attributes)
        bound.set(value)

    def unset(self, attributes: Mapping[str, Any] | None = None) -> None:
        """Make the series of `attributes` absent."""
        self._unbound(attributes).unset()


def _rebuild_instrument(spec: Metric) -> Any:
    from otelml.instruments import table

    return table.create(spec.kind, spec, unit="", description="", bounds=None)


def _emit_non_finite(name: str, attributes: Mapping[str, Value], n: int) -> None:
    import logging

    from otelml import events

    fields = {**attributes, "metric": name, "count": n}
    events.emit("non_finite", fields, level=logging.WARNING, message=f"{name} was not finite")
