"""Instruments and their bound series: the hot path, where recording a value is one `list.append`.

A bound series owns a buffer; its `add`, `record` or `set` IS that buffer's `append` (about 20 ns, no lock, no check).
The drain takes values out, checks and aggregates them. Everything that can go wrong goes wrong there, not here.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from otelml.instruments import internal
from otelml.instruments.aggregate import Boundaries, Distribution, Refused, clean, exact_sum, numpy_module
from otelml.instruments.attributes import OVERFLOW, Key, Value, attributes_key, clean_attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otelml.semconv.model import Metric

Number = int | float

MAX_BUFFERED = 8_000_000
"""Values a series buffers at most. A loop that does nothing but record settles well below (docs/performance.md);
beyond it the oldest are dropped and counted, so that memory stays bounded whatever happens."""

_TAKE = 32_768
"""Values taken out at a time: each C call on them ends well within the interpreter's 5 ms switch interval."""
_PRESSED = 1_500_000
"""From here on the drain takes all at once: longer pauses for the threads that outrun it, so that it keeps up."""

_ABSENT = object()
_NO_ATTRIBUTES: Mapping[str, Any] = MappingProxyType({})
_overflow_lock = threading.Lock()


class Bound:
    """One series of an instrument: its attributes, its buffer, and what has been aggregated so far."""

    __slots__ = ("attributes", "buffer", "instrument", "sdk_keys")

    def __init__(self, instrument: Instrument, attributes: dict[str, Value]) -> None:
        self.instrument = instrument
        self.attributes = attributes
        self.buffer: list[Any] = []
        # The SDK's own key of this series by view, kept by the drain.
        self.sdk_keys: dict[Any, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is this series itself; a pickle is the same series of the process that reads it."""
        return _rebuild_bound, (self.instrument, self.attributes)

    def __deepcopy__(self, _memo: Any) -> Bound:
        return self

    def __copy__(self) -> Bound:
        return self

    def waiting(self) -> int:
        """How many values wait for the drain (arrays that were aggregated at once count as one)."""
        return len(self.buffer)

    def drain(self) -> int:
        """Aggregate what waits now and return how many values that was. Callers hold the drain's lock."""
        return self._drain_buffer(self.buffer, self._absorb)

    def _drain_buffer(self, buffer: list[Any], absorb: Callable[[list[Any]], None]) -> int:
        waiting = taken = len(buffer)
        # Where numpy turns a long list into an array in one call, taking all at once holds the recording thread up
        # long enough for the drain to keep pace with it.
        step = waiting if waiting > _PRESSED and numpy_module() is not None else _TAKE
        while waiting > 0:
            dropped = self._trim(buffer)
            values = buffer[: min(step, waiting)]
            if (
                not values
            ):  # somebody else has emptied it: a signal handler that reads back, a test that starts anew
                break
            del buffer[: len(values)]
            waiting -= len(values) + dropped
            try:
                absorb(values)
            except Exception:
                internal.count("dropped", "instruments", "not_aggregated", len(values))
                raise
        return taken

    def _trim(self, buffer: list[Any]) -> int:
        """Drop the oldest values beyond the bound; how many that were."""
        excess = len(buffer) - MAX_BUFFERED
        if excess <= 0:
            return 0
        del buffer[:excess]
        internal.count("dropped", "instruments", "buffer_full", excess)
        internal.defer_warning(
            f"buffer_full:{self.instrument.name}",
            "otelml: %s is recorded faster than one thread can aggregate; more than %d values waited and the oldest "
            "were dropped (and counted). Record arrays with record_many, or less often.",
            self.instrument.name,
            MAX_BUFFERED,
        )
        return excess

    def _absorb(self, values: list[Any]) -> None:
        raise NotImplementedError

    def _report(self, refused: Refused) -> None:
        """Count refused values; the first non-finite one of a series is an event too."""
        for reason in ("invalid", "negative"):
            n = getattr(refused, reason)
            if n:
                internal.count("dropped", "instruments", f"{reason}_value", n)
                internal.defer_warning(
                    f"{reason}:{self.instrument.name}",
                    "otelml: %s was given %s values; they are left out and counted in otelml.internal.dropped",
                    self.instrument.name,
                    "negative" if reason == "negative" else "non-numeric",
                )
        if refused.non_finite:
            internal.count("dropped", "instruments", "non_finite_value", refused.non_finite)
            self.instrument.tell_non_finite(self, refused.non_finite)

    def clear(self) -> None:
        """Forget everything, recorded and aggregated: for a forked child, which starts from zero."""
        del self.buffer[:]


class BoundCounter(Bound):
    """A series of a counter or up-down counter. `add(amount)` never raises and never blocks."""

    __slots__ = ("add", "pending", "total")

    def __init__(self, instrument: Instrument, attributes: dict[str, Value]) -> None:
        super().__init__(instrument, attributes)
        self.add: Callable[[Number], None] = self.buffer.append
        self.pending: Number | None = None
        self.total: Number | None = None

    def _absorb(self, values: list[Any]) -> None:
        refused = Refused()
        usable = clean(values, refused, non_negative=self.instrument.monotonic)
        amount = exact_sum(usable) if usable else 0
        if not math.isfinite(amount):
            refused.non_finite += len(usable)
        elif usable:
            self.pending = amount if self.pending is None else self.pending + amount
            self.total = amount if self.total is None else self.total + amount
        if refused:
            self._report(refused)

    def clear(self) -> None:
        super().clear()
        self.pending = self.total = None


class BoundHistogram(Bound):
    """A series of a histogram. `record(value)` never raises and never blocks.

    `record_ns(duration_ns)`, for histograms in seconds, takes integer nanoseconds and leaves the division to the drain.
    """

    __slots__ = ("ns_buffer", "partials", "pending", "record", "record_ns", "settled")

    def __init__(self, instrument: Instrument, attributes: dict[str, Value]) -> None:
        super().__init__(instrument, attributes)
        self.record: Callable[[Number], None] = self.buffer.append
        self.ns_buffer: list[int] = []
        self.record_ns: Callable[[int], None] = self.ns_buffer.append
        self.partials: list[tuple[Distribution, Refused]] = []
        self.pending = Distribution()
        self.settled = Distribution()

    def record_many(self, values: Iterable[Number] | Any) -> None:
        """Record every element of an array, tensor or sequence of any shape (numpy arrays: about 10 ns a value).

        A CUDA tensor is copied on its device now and read by the drain later: the caller never waits for it.
        """
        with internal.guard("instruments"):
            if hasattr(values, "detach"):
                values = values.detach()
                if getattr(values, "is_cuda", False):
                    self.buffer.append(_Deferred(values.clone()))
                    return
            numpy = numpy_module()
            if numpy is None or self.instrument.sdk is None or self.instrument.sink is not None:
                self.buffer.extend(_flat(values))
                return
            kind = getattr(getattr(values, "dtype", None), "kind", None)
            if kind is None or kind not in "fiub":
                self.buffer.extend(_flat(values))
                return
            # Aggregated here, without a lock, and handed over whole: an array never waits in a buffer.
            part, refused = Distribution(), Refused()
            values = values.compressed() if hasattr(values, "compressed") else values
            array = numpy.asarray(values).astype(numpy.float64, copy=False).ravel()
            part.add_array(array, self.instrument.boundaries, refused)
            self.partials.append((part, refused))

    def waiting(self) -> int:
        return len(self.buffer) + len(self.ns_buffer) + len(self.partials)

    def drain(self) -> int:
        while self.partials:
            part, refused = self.partials.pop(0)
            self.pending.merge(part)
            if refused:
                self._report(refused)
        return super().drain() + self._drain_buffer(self.ns_buffer, self._absorb_ns)

    def _absorb_ns(self, values: list[int]) -> None:
        numpy = numpy_module()
        if numpy is None or self.instrument.sink is not None:
            self._absorb([v / 1e9 for v in values])
        else:
            self.pending.add_array(
                numpy.array(values, numpy.float64) / 1e9, self.instrument.boundaries, Refused()
            )

    def _absorb(self, values: list[Any]) -> None:
        if _Deferred in set(map(type, values)):
            values = [n for v in values for n in (v.read() if type(v) is _Deferred else (v,))]
        refused = Refused()
        sink = self.instrument.sink
        if sink is not None:
            values = clean(values, refused, non_negative=True)
            sink(self, values)
        self.pending.add_values(values, self.instrument.boundaries, refused)
        if refused:
            self._report(refused)

    def settle(self) -> Distribution:
        """Take what has been aggregated since the last call. Callers hold the drain's lock."""
        pending, self.pending = self.pending, Distribution()
        self.settled.merge(pending)
        return pending

    def total(self) -> Distribution:
        """Everything since the process started, as a copy. Callers hold the drain's lock."""
        total = self.settled.copy()
        total.merge(self.pending)
        return total

    def clear(self) -> None:
        super().clear()
        del self.ns_buffer[:]
        self.partials.clear()
        self.pending = Distribution()
        self.settled = Distribution()


class BoundGauge(Bound):
    """A series of a gauge: the last value set wins; after a non-finite one, or `unset()`, the series is absent."""

    __slots__ = ("last", "set")

    def __init__(self, instrument: Instrument, attributes: dict[str, Value]) -> None:
        super().__init__(instrument, attributes)
        self.set: Callable[[Number], None] = self.buffer.append
        self.last: Number | None = None

    def unset(self) -> None:
        """Make the series absent: what it measured is over, or unknown."""
        self.buffer.append(_ABSENT)

    def _absorb(self, values: list[Any]) -> None:
        refused = Refused()
        last = values[-1]
        usable = clean([v for v in values if v is not _ABSENT], refused, non_negative=False)
        kept_last = last is not _ABSENT and bool(usable) and not refused
        if refused and last is not _ABSENT:
            kept_last = bool(clean([last], Refused(), non_negative=False))
        self.last = usable[-1] if kept_last else None
        if refused:
            self._report(refused)

    def clear(self) -> None:
        super().clear()
        self.last = None


class NoopBound:
    """The series of every instrument when the SDK is disabled or missing: shared, and as cheap as a call can be."""

    __slots__ = ()
    attributes: ClassVar[dict[str, Value]] = {}

    def add(self, amount: Number, /) -> None:
        """Do nothing."""

    record = set = record_many = record_ns = add

    def unset(self) -> None:
        """Do nothing."""


NOOP_BOUND: Any = NoopBound()


class _Deferred:
    """A device tensor among buffered values: read by the drain thread, so that the recording thread never waits."""

    __slots__ = ("tensor",)

    def __init__(self, tensor: Any) -> None:
        self.tensor = tensor

    def read(self) -> list[Any]:
        return _flat(self.tensor.cpu())


def _flat(values: Any) -> list[Any]:
    """The elements of an array, tensor, or any iterable, however nested; dates and times are no numbers."""
    if hasattr(values, "ravel") and hasattr(values, "tolist"):
        return [None] * values.size if getattr(values.dtype, "kind", "") in "mM" else values.ravel().tolist()
    flat: list[Any] = []
    for value in values:
        flat.extend(_flat(value) if isinstance(value, (list, tuple)) else (value,))
    return flat


class Instrument:
    """An instrument by name. `bind(**attributes)` once and keep the result: that is the fast way to record."""

    bound_class: ClassVar[type[Bound]]

    __slots__ = ("_cache", "_limit", "active", "bounds", "overflow", "sdk", "series", "sink", "spec", "views")

    def __init__(self, spec: Metric, limit: int, *, active: bool) -> None:
        self.spec = spec
        self.active = active
        self.series: dict[Key, Bound] = {}
        self.overflow: Bound | None = None
        self.bounds: Boundaries = tuple(spec.bounds or ())
        # What the drain knows of this instrument's counterpart in the SDK (None: no provider yet).
        self.sdk: Any = None
        self.views: tuple[Boundaries, ...] = ()
        self.sink: Callable[[Bound, list[float]], None] | None = None
        self._limit = spec.cardinality or limit
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
            if len(self.series) >= self._limit:
                return self._overflowed(attributes)
            # setdefault is atomic: two threads that bind the same attributes get the same series.
            bound = self.series.setdefault(key, self.bound_class(self, attributes))
        return bound

    def _overflowed(self, attributes: Mapping[str, Value]) -> Bound:
        internal.count("overflow", "instruments", self.name)
        internal.warn_once(
            f"overflow:{self.name}",
            "otelml: %s has more than %d series; from %s on, new ones are counted together under "
            "otel.metric.overflow=true. Take identifiers out of its attributes, or raise OTELML_CARDINALITY_LIMIT.",
            self.name,
            self._limit,
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
        if len(self._cache) < 4 * self._limit and bound is not NOOP_BOUND and bound is not self.overflow:
            self._cache[tuple(attributes.items())] = bound
        return bound

    def all_series(self) -> list[Any]:
        """Every series, the overflow one last."""
        series: list[Any] = list(self.series.values())
        return [*series, self.overflow] if self.overflow is not None else series

    def tell_non_finite(self, bound: Bound, n: int) -> None:
        """Emit the `non_finite` event, once a series; the values themselves are counted."""
        key = f"non_finite:{self.name}:{attributes_key(bound.attributes)}"
        if internal.first_time(key):
            internal.defer(lambda: _emit_non_finite(self.name, bound.attributes, n))


def _rebuild_instrument(spec: Metric) -> Any:
    from otelml.instruments import table

    return table.create(spec.kind, spec, unit="", description="", bounds=None)


def _rebuild_bound(instrument: Instrument, attributes: dict[str, Value]) -> Any:
    return instrument.overflow_series() if attributes == OVERFLOW else instrument.bind(attributes)


def _emit_non_finite(name: str, attributes: Mapping[str, Value], n: int) -> None:
    import logging

    from otelml import events

    fields = {**attributes, "metric": name, "count": n}
    events.emit("non_finite", fields, level=logging.WARNING, message=f"{name} was not finite")


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
