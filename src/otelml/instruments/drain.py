"""Carries what was recorded into an SDK MeterProvider at each collection; the only room that knows SDK internals.

Counters and gauges go through public API. Histograms are merged, whole distributions at a time, into the SDK's own
aggregations, because its public `record` takes one value at a time (6 us each). Merging honours views, temporality
and several readers. It relies on private names, so it is tried once on a provider of our own; where the result is
not what the public path gives, that public path is used.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from time import time_ns
from typing import TYPE_CHECKING, Any

from otelml._version import __version__
from otelml.instruments import internal, table, timer
from otelml.instruments.observed import Observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from opentelemetry.metrics import CallbackOptions, Observation
    from opentelemetry.sdk.metrics import MeterProvider

    from otelml.instruments.aggregate import Boundaries, Distribution
    from otelml.instruments.bound import Bound, BoundHistogram
    from otelml.instruments.instrument import Instrument
    from otelml.instruments.observed import Reading

SCOPE = "otelml"

_SETTABLE = frozenset({"_SumAggregation", "_LastValueAggregation"})
# Of these, `_value` is None once the reader has collected what is in it.
_EMPTIED = _SETTABLE | {"_ExplicitBucketHistogramAggregation"}
_KEYS_KEPT = 10_000
_OBSERVABLE = {"counter": "counter", "updowncounter": "up_down_counter", "gauge": "gauge"}

_state: _Attached | None = None
_merging_works: bool | None = None


def attach(meter_provider: MeterProvider) -> None:
    """Make `meter_provider` (an SDK one) the place where every instrument's values go.

    Instruments made before are created in it now; what they recorded before goes along. Attaching the same provider
    again does nothing; another one replaces it.
    """
    global _state  # noqa: PLW0603
    if _state is not None and _state.provider is meter_provider:
        return
    detach()
    _state = state = _Attached(meter_provider, merging=merging_works())
    # Before any other observable instrument of ours, so that its callback drains first in every collection.
    state.register_callbacks()
    table.on_create.append(state.adopt)
    for instrument in list(table.instruments.values()):
        state.adopt(instrument)
    for observed in list(table.observed.values()):
        state.adopt(observed)
    timer.ensure_started()


def detach() -> None:
    """Hand the attached provider what was recorded, and stop feeding it; what comes now waits for the next one."""
    global _state  # noqa: PLW0603
    state = _state
    if state is None:
        return
    with internal.guard("drain"):
        state.carry_over()
    _state = None
    with suppress(ValueError):
        table.on_create.remove(state.adopt)
    for instrument in list(table.instruments.values()):
        instrument.sdk, instrument.views, instrument.sink = None, (), None
        for bound in instrument.all_series():
            bound.sdk_keys.clear()
    for observed in list(table.observed.values()):
        observed.sdk = None
        observed.sdk_keys.clear()


def attached_provider() -> Any | None:
    """The MeterProvider in use, or None."""
    return _state.provider if _state is not None else None


def drain_now() -> None:
    """Do at once what the drain thread does at its next wake-up: for a flush, and at the end of the process."""
    timer.tick(0.0)


class _Attached:
    """One provider, the SDK instruments made in it, and how to merge into their aggregations."""

    def __init__(self, provider: MeterProvider, *, merging: bool) -> None:
        self.provider = provider
        self.meter = provider.get_meter(SCOPE, __version__)
        self.merging = merging and hasattr(provider, "_measurement_consumer")
        self._storages: Any = None

    # -- creation: never inside a collection, as the SDK registers observable instruments under the lock it holds then

    def adopt(self, instrument: Instrument | Observed) -> None:
        """Make the SDK's counterpart of `instrument`, unless it has one."""
        spec = instrument.spec
        if instrument.sdk is not None:
            return
        if isinstance(instrument, Observed):
            create = getattr(self.meter, f"create_observable_{_OBSERVABLE[spec.kind]}")
            # With merging, what a source says is put in place beforehand: see `_show`.
            read = list if self.merging else instrument.read
            instrument.sdk = create(spec.name, [self._callback(read)], spec.unit, spec.brief)
        elif spec.kind == "counter":
            instrument.sdk = self.meter.create_counter(spec.name, spec.unit, spec.brief)
        elif spec.kind == "updowncounter":
            instrument.sdk = self.meter.create_up_down_counter(spec.name, spec.unit, spec.brief)
        elif spec.kind == "gauge":
            instrument.sdk = self.meter.create_observable_gauge(
                spec.name, [self._callback(partial(_last_values, instrument))], spec.unit, spec.brief
            )
        else:
            instrument.sdk = self.meter.create_histogram(
                spec.name, spec.unit, spec.brief, explicit_bucket_boundaries_advisory=instrument.bounds
            )
            self.plan(instrument)

    def plan(self, instrument: Instrument) -> None:
        """Find out which boundaries the views and readers want, and who needs every single value."""
        if not self.merging:
            instrument.sink = _record_publicly
            return
        wanted: list[Boundaries] = []
        singly: list[Any] = []
        for match in self._matches(instrument):
            if type(match._aggregation).__name__ == "_DropAggregation":
                continue
            bounds = getattr(match._aggregation, "_boundaries", None)
            if bounds is None:
                singly.append(match)
            elif bounds != instrument.bounds and bounds not in wanted:
                wanted.append(bounds)
        instrument.views = tuple(wanted)
        instrument.sink = _single_values_sink(singly) if singly else None

    def _matches(self, instrument: Instrument | Observed) -> list[Any]:
        storages = self.provider._measurement_consumer._reader_storages
        return [
            match
            for storage in storages.values()
            for match in storage._get_or_init_view_instrument_match(instrument.sdk)
        ]

    def register_callbacks(self) -> None:
        """The first observable callback of a collection drains; all three report the library's own counts."""
        from otelml.semconv import _generated

        for kind in ("dropped", "errors", "overflow"):
            spec = _generated.METRICS[f"otelml.internal.{kind}"]
            self.meter.create_observable_counter(
                spec.name,
                [self._callback(partial(self._internal_counts, kind))],
                unit=spec.unit,
                description=spec.brief,
            )

    # -- collection: runs under the consumer's lock, creates nothing

    def _internal_counts(self, kind: str) -> list[Reading]:
        if kind == "dropped":
            with internal.guard("drain"):
                self.carry_over()
        return [
            (n, {"otelml.component": component, "otelml.reason": reason})
            for (k, component, reason), n in internal.totals().items()
            if k == kind
        ]

    def _callback(
        self, read: Callable[[], Iterable[Reading]]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        from opentelemetry.metrics import Observation

        def observe(_options: CallbackOptions) -> list[Observation]:
            # The SDK keeps the callbacks of the first time a provider was attached, and that may be another object.
            if _state is None or _state.provider is not self.provider:
                return []
            return [Observation(value, attributes) for value, attributes in read()]

        return observe

    def carry_over(self) -> None:
        """Drain all buffers, then hand what is new to the SDK."""
        if self.merging:
            self._notice_new_readers()
        table.drain_now()
        for instrument in list(table.instruments.values()):
            self._hand_over(instrument)
            if instrument.has_released and self.merging:
                with internal.guard("drain"):
                    self._sweep(instrument)
        if self.merging:
            for observed in list(table.observed.values()):
                self._show(observed)

    def _hand_over(self, instrument: Instrument) -> None:
        """Hand what is new to the SDK; with that, released series are done with here."""
        released = list(instrument.released.items())
        kind = instrument.spec.kind
        if kind == "histogram":
            for bound in instrument.all_series():
                self._hand_over_distribution(bound)
        elif kind != "gauge":
            for bound in instrument.all_series():
                _hand_over_sum(bound)
        for key, bound in released:
            # Released after the drain, it may have values that are for the next collection.
            if not bound.waiting() and instrument.released.get(key) is bound:
                del instrument.released[key]

    def _sweep(self, instrument: Instrument) -> None:
        """Take released series out of the SDK's aggregations, each when its reader has seen the last of it.

        A reader that never collects, such as a Prometheus endpoint that nobody scrapes, has them up to the limit.
        """
        instrument.has_released = False  # first: another thread may release one meanwhile
        is_left = bool(instrument.released)
        for match in self._matches(instrument):
            if type(match._aggregation).__name__ in _EMPTIED:
                live = {_kept_key(match, bound) for bound in instrument.all_series()}
                is_left |= _remove_others(match, live, instrument.limit)
        instrument.has_released |= is_left

    def _show(self, observed: Observed) -> None:
        """Make what the sources say the values of the SDK's aggregations, in each view of each reader.

        Its own way for observations costs 20 us each, most of it for attributes that are the same every time.
        """
        with internal.guard("drain"):
            if observed.sdk is not None and _enabled(observed.sdk):
                readings = observed.read()
                for match in self._matches(observed):
                    _show(match, observed, readings)

    def _notice_new_readers(self) -> None:
        storages = self.provider._measurement_consumer._reader_storages
        if storages is not self._storages:
            self._storages = storages
            # Every match object is new or may be gone.
            for instrument in list(table.instruments.values()):
                for bound in instrument.all_series():
                    bound.sdk_keys.clear()
                if instrument.spec.kind == "histogram" and instrument.sdk is not None:
                    self.plan(instrument)

    def _hand_over_distribution(self, bound: BoundHistogram) -> None:
        with table.drain_lock:
            if not bound.pending.count or bound.instrument.sdk is None:
                return
            new = bound.settle()
            if not self.merging or not _enabled(bound.instrument.sdk):
                return
            for match in self._matches(bound.instrument):
                bounds = getattr(match._aggregation, "_boundaries", None)
                if bounds is not None:
                    with internal.guard("drain"):
                        _merge(match, bound, bounds, new)


def _last_values(instrument: Instrument) -> list[Reading]:
    return [(b.last, b.attributes) for b in instrument.all_series() if b.last is not None]


def _enabled(sdk_instrument: Any) -> bool:
    is_enabled = getattr(sdk_instrument, "_is_enabled", None)
    return is_enabled is None or is_enabled()


def _hand_over_sum(bound: Any) -> None:
    with table.drain_lock:
        amount, bound.pending = bound.pending, None
    if amount is not None and bound.instrument.sdk is not None:
        bound.instrument.sdk.add(amount, bound.attributes)


def _record_publicly(bound: Bound, values: list[float]) -> None:
    """The sink of the public path: every value through the SDK's own `record`."""
    for value in values:
        bound.instrument.sdk.record(value, bound.attributes)


def _single_values_sink(matches: list[Any]) -> Callable[[Bound, list[float]], None]:
    """A sink for aggregations that take values one at a time (exponential histograms, last value, sums by a view)."""

    def sink(bound: Bound, values: list[float]) -> None:
        if not _enabled(bound.instrument.sdk):
            return
        for value in values:
            measurement = _measurement(bound.instrument.sdk, value, bound.attributes)
            for match in matches:
                match.consume_measurement(measurement, False)

    return sink


def _measurement(sdk_instrument: Any, value: float, attributes: Mapping[str, Any]) -> Any:
    from opentelemetry.context import Context
    from opentelemetry.sdk.metrics._internal.measurement import Measurement

    return Measurement(value, time_ns(), sdk_instrument, Context(), attributes)


def _show(match: Any, observed: Observed, readings: Iterable[Reading]) -> None:
    """Put readings in place of the values in one view of one reader; what is not among them is absent."""
    kind = type(match._aggregation).__name__
    aggregations = match._attributes_aggregation
    if kind in _SETTABLE:
        for aggregation in aggregations.values():
            aggregation._value = None
    for value, attributes in readings:
        aggregation = (
            aggregations.get(_observed_key(match, observed, attributes)) if kind in _SETTABLE else None
        )
        # Also where a view leaves attributes out, by which several readings are of one series.
        if aggregation is None or aggregation._value is not None:
            match.consume_measurement(_measurement(observed.sdk, value, attributes), False)
        else:
            aggregation._value = value
    if kind == "_LastValueAggregation":  # a sum is compared with the one before, when it comes back
        _remove_absent(aggregations, match._lock)


def _remove_absent(aggregations: dict[Any, Any], lock: Any) -> None:
    with lock:
        for key in [key for key, aggregation in aggregations.items() if aggregation._value is None]:
            del aggregations[key]


def _observed_key(match: Any, observed: Observed, attributes: Mapping[str, Any]) -> Any:
    """The SDK's key of a series; sources that give the same mapping each time have it looked up only once."""
    kept = match._view._attribute_keys
    known = observed.sdk_keys.get(id(attributes))
    if kept is None and known is not None and known[0] is attributes:
        return known[1]
    key = _sdk_key(match, attributes)
    if kept is None:
        if len(observed.sdk_keys) >= _KEYS_KEPT:
            observed.sdk_keys.clear()
        observed.sdk_keys[id(attributes)] = (attributes, key)
    return key


def _merge(match: Any, bound: BoundHistogram, bounds: Boundaries, new: Distribution) -> None:
    """Add a distribution to the SDK's aggregation of this series in one view of one reader."""
    counts = new.counts.get(bounds)
    if counts is None:
        # Recorded before the provider (and this view's bounds) was known: no honest way to bucket it now.
        internal.count("dropped", "instruments", "recorded_before_view", new.count)
        return
    aggregation = _aggregation(match, bound, new.min)
    if aggregation is None:
        internal.count("dropped", "instruments", "sdk_cardinality", new.count)
        return
    with aggregation._lock:
        if aggregation._value is None:
            aggregation._value = [0] * (len(bounds) + 1)
        aggregation._value = [a + b for a, b in zip(aggregation._value, counts, strict=True)]
        aggregation._sum += new.sum
        if aggregation._record_min_max:
            aggregation._min = min(aggregation._min, new.min)
            aggregation._max = max(aggregation._max, new.max)


def _aggregation(match: Any, bound: BoundHistogram, value: float) -> Any:
    """The SDK's aggregation object of this series, looked up each time: some collections replace it.

    The SDK makes it when it consumes a first value, with its own rules for attributes and limits; that value is
    taken out again at once (x - x is exactly 0), as it is part of the distribution to come.
    """
    key = _kept_key(match, bound)
    aggregation = match._attributes_aggregation.get(key)
    if aggregation is None:
        match.consume_measurement(_measurement(bound.instrument.sdk, value, bound.attributes), False)
        aggregation = match._attributes_aggregation.get(key)
        if aggregation is not None:
            with aggregation._lock:
                aggregation._value = None
                aggregation._sum -= value
    return aggregation


def _kept_key(match: Any, bound: Bound) -> Any:
    """The SDK's key of a series in a view, made once."""
    key = bound.sdk_keys.get(match)
    if key is None:
        key = bound.sdk_keys[match] = _sdk_key(match, bound.attributes)
    return key


def _remove_others(match: Any, live: set[Any], limit: int) -> bool:
    """Remove series that are not `live`; whether some are left that the reader has yet to see."""
    aggregations = match._attributes_aggregation
    with match._lock:
        others = [key for key in aggregations if key not in live]
        waiting = [key for key in others if aggregations[key]._value is not None][-limit:]
        for key in set(others).difference(waiting):
            del aggregations[key]
    return bool(waiting)


def _sdk_key(match: Any, attributes: Mapping[str, Any]) -> Any:
    from opentelemetry.sdk.metrics._internal._view_instrument_match import _hash_attributes

    kept = match._view._attribute_keys
    return _hash_attributes(
        attributes if kept is None else {k: v for k, v in attributes.items() if k in kept}
    )


def merging_works() -> bool:
    """Whether merging gives what the SDK's public path gives; tried once a process on a small provider of our own."""
    global _merging_works  # noqa: PLW0603
    if _merging_works is None:
        try:
            _merging_works = _try_merging()
        except Exception as problem:  # noqa: BLE001 - any change of private names may raise anything
            _merging_works = False
            internal.count("errors", "drain", type(problem).__name__)
        if not _merging_works:
            internal.warn_once(
                "drain:public",
                "otelml: this version of opentelemetry-sdk is unknown inside; histograms use its public API, which is "
                "exact but costs more per value. See whether a newer otelml supports it.",
            )
    return _merging_works


def _try_merging() -> bool:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.resources import Resource

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], resource=Resource.get_empty(), shutdown_on_exit=False)
    trial = _Attached(provider, merging=True)
    _try_histogram(trial)
    _try_observed(trial)
    data: Any = reader.get_metrics_data()
    provider.shutdown()
    points = {
        point.attributes["way"]: point
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    is_merged = all(
        getattr(points["merged"], field) == getattr(points["public"], field)
        for field in ("count", "sum", "min", "max", "bucket_counts", "explicit_bounds")
    )
    return is_merged and points["shown"].value == 3


def _try_histogram(trial: _Attached) -> None:
    """The same values by merging and publicly."""
    from otelml.instruments.instrument import Histogram
    from otelml.semconv.model import Metric

    merged = Histogram(Metric("histogram", "histogram", "", "", bounds=(1.0, 2.0)), limit=2, active=True)
    trial.adopt(merged)
    bound = merged.bind({"way": "merged"})
    for value in (0.5, 1.0, 3.0):
        bound.record(value)
        merged.sdk.record(value, {"way": "public"})
    bound.drain()
    trial._hand_over_distribution(bound)


def _try_observed(trial: _Attached) -> None:
    """A total that is put in place, after another one."""
    from otelml.semconv.model import Metric

    observed = Observed(Metric("counter", "counter", "", ""))
    trial.adopt(observed)
    totals = iter((2, 3))
    observed.sources.append(lambda: [(next(totals), {"way": "shown"})])
    trial._show(observed)
    trial._show(observed)


# -- fork: `lifecycle` calls these


_held_for_fork: list[Any] = []


def acquire_for_fork(timeout_s: float = 1.0) -> None:
    """Before a fork: take the consumer's lock, then ours (the order of a collection), so that neither is forked held.

    A lock that cannot be had in time is left alone; the child makes new ones anyway.
    """
    for lock in _fork_locks():
        if not lock.acquire(timeout=timeout_s):
            internal.count("errors", "drain", "fork_lock_timeout")
            break
        _held_for_fork.append(lock)


def release_after_fork() -> None:
    """After a fork, in the parent: let go in reverse."""
    while _held_for_fork:
        _held_for_fork.pop().release()


def reset_in_child() -> None:
    """After a fork, in the child: new locks, empty buffers, and SDK storages that start from zero."""
    _held_for_fork.clear()
    timer.start_anew()
    if _state is not None and _state.merging:
        with internal.guard("drain"):
            _renew_storages(_state)


def _fork_locks() -> list[Any]:
    consumer = getattr(_state.provider, "_measurement_consumer", None) if _state is not None else None
    lock = getattr(consumer, "_lock", None)
    return [lock, table.drain_lock] if lock is not None else [table.drain_lock]


def _renew_storages(state: _Attached) -> None:
    consumer: Any = state.provider._measurement_consumer
    consumer._lock = threading.Lock()
    consumer._reader_storages = {
        reader: type(old)(
            consumer._sdk_config, reader._instrument_class_temporality, reader._instrument_class_aggregation
        )
        for reader, old in consumer._reader_storages.items()
    }
    for instrument in list(table.instruments.values()):
        for bound in instrument.all_series():
            bound.sdk_keys.clear()
        if instrument.spec.kind == "histogram" and instrument.sdk is not None:
            state.plan(instrument)
