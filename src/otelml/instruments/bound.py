"""Bound series of instruments: the hot path, where recording a value is one `list.append`.

A bound series owns a buffer; its `add`, `record` or `set` IS that buffer's `append` (about 20 ns, no lock, no check).
The drain takes values out, checks and aggregates them. Everything that can go wrong goes wrong there, not here.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

from otelml.instruments import internal
from otelml.instruments.aggregate import Distribution, Refused, clean, exact_sum, numpy_module
from otelml.instruments.attributes import OVERFLOW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from otelml.instruments.attributes import Value
    from otelml.instruments.instrument import Instrument

Number = int | float

MAX_BUFFERED = 8_000_000
"""Values a series buffers at most. A loop that does nothing but record settles well below (docs/performance.md);
beyond it the oldest are dropped and counted, so that memory stays bounded whatever happens."""

_TAKE = 32_768
"""Values taken out at a time: each C call on them ends well within the interpreter's 5 ms switch interval."""
_PRESSED = 1_500_000
"""From here on the drain takes all at once: longer pauses for the threads that outrun it, so that it keeps up."""

_ABSENT = object()

LARGEST_INT = 2**63 - 1
"""The largest integer of an OTLP data point; beyond it a float says it."""


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
            # Somebody else has emptied it: a signal handler that reads back, a test that starts anew.
            if not values:
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

    def release(self) -> None:
        """The end of the series: whoever holds it records no more. See `Instrument.release`."""
        self.instrument.release(self)

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
        # An integer that OTLP cannot carry would cost the whole export.
        if type(amount) is int and abs(amount + (self.total or 0)) > LARGEST_INT:
            amount = float(amount)
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
            is_array = getattr(getattr(values, "dtype", None), "kind", "none") in "fiub"
            wants_each = self.instrument.sdk is None or self.instrument.sink is not None
            if numpy is None or wants_each or not is_array:
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
        self.last = _sendable(usable[-1]) if kept_last else None
        if refused:
            self._report(refused)

    def clear(self) -> None:
        super().clear()
        self.last = None


def _sendable(value: Number) -> Number:
    return float(value) if type(value) is int and abs(value) > LARGEST_INT else value


class NoopBound:
    """The series of every instrument when the SDK is disabled or missing: shared, and as cheap as a call can be."""

    __slots__ = ()
    attributes: ClassVar[dict[str, Value]] = {}

    def add(self, amount: Number, /) -> None:
        """Do nothing."""

    record = set = record_many = record_ns = add

    def unset(self) -> None:
        """Do nothing."""

    release = unset


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


def _rebuild_bound(instrument: Instrument, attributes: dict[str, Value]) -> Any:
    return instrument.overflow_series() if attributes == OVERFLOW else instrument.bind(attributes)
