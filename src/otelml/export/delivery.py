"""The last steps of spans and log records: queues that know what was delivered, and that survive a fork.

The SDK's batch processors say neither how much they hold nor how much they lost, and their exporters share locks and
connections with forked children. These admit, count, and renew the exporter in a child.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from otelml.export.wire import wire_of
from otelml.instruments import internal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk._logs import ReadWriteLogRecord
    from opentelemetry.sdk.trace import ReadableSpan

QUEUE_SIZE = 2048
"""Items that wait at most, as in the SDK."""
BATCH_SIZE = 512
"""Items handed to the exporter at once, at most."""


def span_queue(
    make_exporter: Callable[[], SpanExporter],
    *,
    destination: str,
    max_queue_size: int = QUEUE_SIZE,
    max_export_batch_size: int = BATCH_SIZE,
    schedule_delay_s: float = 5.0,
    share: float = 1.0,
) -> SpanQueue:
    """A batch span processor over `make_exporter()`; `destination` names it in counts and messages ("files", "otlp").

    `make_exporter` is called now, and again in every forked child that exports. The result goes into
    `TracerProvider.add_span_processor` and into `Pipeline.exporters`. Of all traces, `share` (0 to 1) are taken, whole
    ones: which is told from the trace id alone, so that every process of a trace takes it or none does.
    """
    ledger = Ledger("spans", destination, max_queue_size)
    handover = _SpanHandover(make_exporter, ledger, SpanExportResult.SUCCESS)
    queue = SpanQueue(handover, ledger, max_export_batch_size, schedule_delay_s)
    queue.bound = TraceIdRatioBased.get_bound_for_rate(share)
    return queue


def log_queue(
    make_exporter: Callable[[], LogRecordExporter],
    *,
    destination: str,
    max_queue_size: int = QUEUE_SIZE,
    max_export_batch_size: int = BATCH_SIZE,
    schedule_delay_s: float = 1.0,
) -> LogQueue:
    """The same for log records: `LoggerProvider.add_log_record_processor` and `Pipeline.exporters`."""
    ledger = Ledger("log_records", destination, max_queue_size)
    handover = _LogHandover(make_exporter, ledger, LogRecordExportResult.SUCCESS)
    return LogQueue(handover, ledger, max_export_batch_size, schedule_delay_s)


class Ledger:
    """What became of the items of one queue: waiting, delivered, or lost. Thread-safe, one short lock an item."""

    def __init__(self, items: str, destination: str, capacity: int, component: str = "") -> None:
        self.items = items
        self.component = component or f"export.{destination}"
        self.destination = destination
        self.capacity = capacity
        self.renew()

    def renew(self) -> None:
        """Start from zero, with a lock of its own: in a forked child, whose queue is empty."""
        # Re-entrant: a signal handler may log while the interrupted frame is logging.
        self._lock = threading.RLock()
        self.waiting = self.in_flight = self.delivered = self.lost = 0

    @property
    def undelivered(self) -> int:
        """Items lost so far, and those that would be if the process ended now."""
        return self.waiting + self.in_flight + self.lost

    def admit(self) -> bool:
        """Whether there is room for one more item; one that finds none is counted."""
        with self._lock:
            if self.waiting < self.capacity:
                self.waiting += 1
                return True
            self.lost += 1
        internal.count("dropped", self.component, f"{self.items}_queue_full")
        return False

    def hand_over(self, n: int) -> None:
        """`n` items leave the queue for the exporter."""
        with self._lock:
            self.waiting -= n
            self.in_flight += n

    def settle(self, n: int, *, lost: int = 0, rejected: int = 0) -> None:
        """The exporter is done with `n` items: `lost` could not be delivered, `rejected` the server did not take."""
        with self._lock:
            self.in_flight -= n
            self.delivered += n - lost - rejected
            self.lost += lost + rejected
        for why, missing in (("undelivered", lost), ("rejected", rejected)):
            if missing:
                internal.count("dropped", self.component, f"{self.items}_{why}", missing)


class _Handover:
    """Passes batches to the exporter and enters the outcome into the ledger."""

    def __init__(self, make_exporter: Callable[[], Any], ledger: Ledger, success: object) -> None:
        self._make_exporter = make_exporter
        self._ledger = ledger
        self._success = success
        self.renew()

    def renew(self) -> None:
        """Another exporter, in a forked child: the old one's locks may be held, its connections are the parent's."""
        self._exporter = self._make_exporter()
        self.wire = wire_of(self._exporter)

    def export(self, batch: Sequence[Any]) -> Any:
        """Pass `batch` on, in halves where the server finds it too large; what is too large alone is lost alone."""
        self._ledger.hand_over(len(batch))
        parts, result = [batch], self._success
        while parts:
            part = parts.pop()
            answer, middle = self._send(part), len(part) // 2
            if answer is not self._success and self.wire.too_large and middle:
                parts += part[middle:], part[:middle]
                continue
            self._settle(len(part), answer)
            result = result if answer is self._success else answer
        return result

    def _send(self, part: Sequence[Any]) -> Any:
        self.wire.forget()
        with internal.guard(self._ledger.component):
            return self._exporter.export(part)
        return None

    def _settle(self, n: int, answer: object) -> None:
        if answer is self._success:
            self._ledger.settle(n, rejected=min(n, self.wire.rejected))
        else:
            # Only our own files know that they kept a part.
            self._ledger.settle(n, lost=getattr(self._exporter, "lost", 0) or n)

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return bool(self._exporter.force_flush(timeout_millis))


class _SpanHandover(_Handover, SpanExporter):
    pass


class _LogHandover(_Handover, LogRecordExporter):
    pass


class _Counted:
    """What both queues have in common, in front of the SDK's batch processor."""

    def __init__(self, handover: _Handover, ledger: Ledger, batch_size: int, schedule_delay_s: float) -> None:
        self.ledger = ledger
        self.open = True
        self._handover = handover
        super().__init__(
            handover,  # type: ignore[call-arg]
            schedule_delay_millis=schedule_delay_s * 1000,
            max_export_batch_size=min(batch_size, ledger.capacity),
            max_queue_size=ledger.capacity,
        )

    def force_flush(self, timeout_millis: int | None = None) -> bool:
        """Hand everything to the exporter now; False when it could not deliver all of it."""
        lost_before = self.ledger.lost
        self._handover.wire.hurry()
        done: bool = super().force_flush(timeout_millis)  # type: ignore[misc]
        return done and self.ledger.lost == lost_before

    def shutdown(self) -> None:
        """Deliver what waits and end; later items are let go without the SDK's message for each."""
        self.open = False
        self.last_call()
        super().shutdown()  # type: ignore[misc]

    def last_call(self) -> None:
        """`lifecycle` calls this when the process ends: what an endpoint does not take now is lost."""
        self._handover.wire.last_call()

    def after_fork_in_child(self, *, silent: bool) -> None:
        """`lifecycle` calls this; the SDK has emptied the queue and restarted the thread by then."""
        self.ledger.renew()
        self.open = self.open and not silent
        if self.open:
            self._handover.renew()


class SpanQueue(_Counted, BatchSpanProcessor):
    """A batch span processor that admits, counts, falls silent, and renews its exporter after a fork."""

    bound: int
    """Trace ids whose lower 64 bits are below it are taken: OpenTelemetry's own rule for a ratio."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span of a trace that is taken, if there is room."""
        context = span.context
        if not self.open or context is None or not context.trace_flags.sampled:
            return
        if context.trace_id & TraceIdRatioBased.TRACE_ID_LIMIT < self.bound and self.ledger.admit():
            super().on_end(span)


class LogQueue(_Counted, BatchLogRecordProcessor):
    """The same for log records."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Queue a record, if there is room."""
        if self.open and self.ledger.admit():
            super().on_emit(log_record)
