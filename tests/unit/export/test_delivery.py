"""The queues in front of exporters of spans and log records: admission, counts, silence, renewal."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.trace import TracerProvider, sampling
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from serverkit import PATIENCE_S, wait_until

from otelml.export import wire
from otelml.export.delivery import SpanQueue, log_queue, span_queue
from otelml.export.wire import UndeliveredError, Wire
from otelml.instruments import internal


class Answering(SpanExporter):
    """An exporter that answers what it is told to."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    def export(self, spans: Any) -> SpanExportResult:
        """Answer."""
        return self.answer()

    def force_flush(self, timeout_millis: int = 0) -> bool:
        """Nothing is held."""
        return True

    def shutdown(self) -> None:
        """Nothing to end."""


def provider_of(queue: SpanQueue, **kwargs: Any) -> TracerProvider:
    """A tracer provider with that queue."""
    provider = TracerProvider(shutdown_on_exit=False, **kwargs)
    provider.add_span_processor(queue)
    return provider


def record_spans(provider: TracerProvider, n: int) -> None:
    """End `n` spans."""
    for _ in range(n):
        provider.get_tracer("test").start_span("x").end()


def test_what_is_delivered_is_accounted_for() -> None:
    """After a flush all spans are with the exporter and none is waiting or lost."""
    exporter = InMemorySpanExporter()
    queue = span_queue(lambda: exporter, destination="test")
    provider = provider_of(queue)
    record_spans(provider, 3)
    assert queue.ledger.undelivered == 3
    assert provider.force_flush() is True
    assert len(exporter.get_finished_spans()) == 3
    assert (queue.ledger.delivered, queue.ledger.undelivered) == (3, 0)
    provider.shutdown()


def test_spans_that_were_not_sampled_are_not_counted() -> None:
    """They are none of the queue's business."""
    queue = span_queue(InMemorySpanExporter, destination="test")
    provider = provider_of(queue, sampler=sampling.ALWAYS_OFF)
    record_spans(provider, 3)
    assert queue.ledger.undelivered == 0
    provider.shutdown()


def test_a_share_of_the_traces_is_whole_traces() -> None:
    """Those that OpenTelemetry's own ratio sampler would take, with all their spans; the others are not counted."""
    exporter = InMemorySpanExporter()
    queue = span_queue(lambda: exporter, destination="test", share=0.25, max_queue_size=4000)
    provider = provider_of(queue)
    tracer, trace_ids = provider.get_tracer("test"), []
    for _ in range(1000):
        with tracer.start_as_current_span("outer") as span, tracer.start_as_current_span("inner"):
            trace_ids.append(span.get_span_context().trace_id)
    provider.shutdown()
    wanted = sampling.TraceIdRatioBased(0.25)
    taken = [id_ for id_ in trace_ids if wanted.should_sample(None, id_, "").decision.is_sampled()]
    assert 0 < len(taken) < 1000
    found = Counter(span.context.trace_id for span in exporter.get_finished_spans())
    assert found == dict.fromkeys(taken, 2)
    assert queue.ledger.lost == 0


@pytest.mark.parametrize("answer", [lambda: SpanExportResult.FAILURE, lambda: None])
def test_what_the_exporter_refuses_is_counted(answer: Callable[[], Any]) -> None:
    """Anything but SUCCESS is a loss, by signal and destination."""
    queue = span_queue(lambda: Answering(answer), destination="otlp")
    provider = provider_of(queue)
    record_spans(provider, 4)
    assert provider.force_flush() is False
    assert queue.ledger.lost == 4
    assert internal.totals() == {("dropped", "export.otlp", "spans_undelivered"): 4}
    provider.shutdown()


def test_an_exporter_that_raises_is_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its spans are lost and counted; the next batch is tried."""
    monkeypatch.setattr(internal, "raise_errors", False)
    answers = iter([ZeroDivisionError, SpanExportResult.SUCCESS])

    def answer() -> Any:
        result = next(answers)
        if result is ZeroDivisionError:
            raise ZeroDivisionError
        return result

    exporter = Answering(answer)
    queue = span_queue(lambda: exporter, destination="otlp")
    provider = provider_of(queue)
    for _ in range(2):
        record_spans(provider, 1)
        provider.force_flush()
    assert (queue.ledger.delivered, queue.ledger.lost) == (1, 1)
    assert internal.totals() == {
        ("dropped", "export.otlp", "spans_undelivered"): 1,
        ("errors", "export.otlp", "ZeroDivisionError"): 1,
    }
    provider.shutdown()


def test_a_full_queue_loses_exactly_what_finds_no_room() -> None:
    """With an exporter that hangs, what does not fit is counted; nothing else is lost when it recovers."""
    hanging, entered = threading.Event(), threading.Event()

    def hang() -> SpanExportResult:
        entered.set()
        hanging.wait(60)
        return SpanExportResult.SUCCESS

    exporter = Answering(hang)
    queue = span_queue(
        lambda: exporter,
        destination="otlp",
        max_queue_size=10,
        max_export_batch_size=5,
        schedule_delay_s=0.001,
    )
    provider = provider_of(queue)
    record_spans(provider, 1)
    assert entered.wait(60)
    record_spans(provider, 25)
    assert internal.totals() == {("dropped", "export.otlp", "spans_queue_full"): 15}
    hanging.set()
    provider.force_flush()
    assert (queue.ledger.delivered, queue.ledger.undelivered) == (11, 15)
    provider.shutdown()


def test_after_shutdown_spans_are_let_go_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    """What waits is delivered; what comes later costs no message each."""
    exporter = InMemorySpanExporter()
    queue = span_queue(lambda: exporter, destination="test")
    provider = provider_of(queue)
    record_spans(provider, 2)
    provider.shutdown()
    with caplog.at_level("DEBUG"):
        record_spans(provider, 1)
    assert queue.ledger.delivered == 2
    assert caplog.records == []


def test_a_silent_child_queues_nothing() -> None:
    """It takes no spans, and makes no exporter."""
    made: list[InMemorySpanExporter] = []

    def make() -> InMemorySpanExporter:
        made.append(InMemorySpanExporter())
        return made[-1]

    queue = span_queue(make, destination="test")
    provider = provider_of(queue)
    queue.after_fork_in_child(silent=True)
    record_spans(provider, 1)
    provider.force_flush()
    assert len(made) == 1
    assert made[0].get_finished_spans() == ()
    provider.shutdown()


def test_an_exporting_child_has_an_exporter_and_counts_of_its_own() -> None:
    """The parent's exporter gets nothing more; the ledger starts from zero."""
    made: list[InMemorySpanExporter] = []

    def make() -> InMemorySpanExporter:
        made.append(InMemorySpanExporter())
        return made[-1]

    queue = span_queue(make, destination="test")
    provider = provider_of(queue)
    record_spans(provider, 3)
    provider.force_flush()
    queue.after_fork_in_child(silent=False)
    record_spans(provider, 1)
    provider.force_flush()
    assert [len(exporter.get_finished_spans()) for exporter in made] == [3, 1]
    assert queue.ledger.delivered == 1
    provider.shutdown()


def test_log_records_are_accounted_for_like_spans() -> None:
    """Delivered, lost in part, and silent, as `SpanQueue`."""

    class Partly(InMemoryLogRecordExporter):
        lost = 1

        def export(self, batch: Any) -> LogRecordExportResult:
            super().export(batch)
            return LogRecordExportResult.FAILURE

    exporter = Partly()
    queue = log_queue(lambda: exporter, destination="files")
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(queue)
    for _ in range(3):
        provider.get_logger("x").emit(LogRecord(body="message"))
    provider.force_flush()
    assert (queue.ledger.delivered, queue.ledger.lost) == (2, 1)
    assert internal.totals() == {("dropped", "export.files", "log_records_undelivered"): 1}
    queue.after_fork_in_child(silent=True)
    provider.get_logger("x").emit(LogRecord(body="message"))
    assert queue.ledger.undelivered == 0
    provider.shutdown()


class Wired(Answering):
    """An exporter over a wire that nobody answers on, until `answer` does."""

    def __init__(self, limit_s: float = 1e9) -> None:
        self.wire = Wire(limit_s)
        self.attempts = 0
        self.works = False
        super().__init__(self._answer)

    def _answer(self) -> SpanExportResult:
        try:
            self.wire.send(self._attempt)
        except UndeliveredError:
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def _attempt(self) -> None:
        self.attempts += 1
        if not self.works:
            raise UndeliveredError("http://c:4318", "answers 503")


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> Wired:
    """One whose pauses are longer than any test."""
    monkeypatch.setattr(wire, "FIRST_PAUSE_S", 10 * PATIENCE_S)
    return Wired()


def test_a_flush_tries_at_once_what_waits(wired: Wired) -> None:
    """The endpoint is back, and somebody waits: no pause is waited out, and nothing is lost."""
    queue = span_queue(lambda: wired, destination="otlp", schedule_delay_s=0.001)
    provider = provider_of(queue)
    record_spans(provider, 3)
    wait_until(lambda: wired.attempts == 1)
    wired.works = True
    assert provider.force_flush()
    assert (queue.ledger.delivered, queue.ledger.undelivered) == (3, 0)
    provider.shutdown()


@pytest.mark.parametrize("end", [SpanQueue.last_call, SpanQueue.shutdown])
def test_at_the_end_nobody_waits_for_an_endpoint(wired: Wired, end: Callable[[SpanQueue], object]) -> None:
    """One attempt more for what waits, one for what comes, and what is lost is counted."""
    queue = span_queue(lambda: wired, destination="otlp", schedule_delay_s=0.001)
    provider = provider_of(queue)
    record_spans(provider, 3)
    wait_until(lambda: wired.attempts == 1)
    record_spans(provider, 2)
    end(queue)
    queue.force_flush()
    wait_until(lambda: queue.ledger.lost == 5)
    assert internal.totals() == {("dropped", "export.otlp", "spans_undelivered"): 5}
    provider.shutdown()
