"""One stage with all three signals beside OpenTelemetry as documented, logfire, and prometheus with structlog.

Shown, not limited: these calls are within the span budget, so they happen some fifty times a second.
"""

from __future__ import annotations

import io
import logging
from time import perf_counter
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, Histogram

import otelml
from bench import measure
from bench.measure import Row
from otelml.instruments import drain
from otelml.logs import bridge
from otelml.stages import names as stage_names
from otelml.stages import timed


class _NoSpans(SpanExporter):
    def export(self, spans: Any) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class _NoLogs(LogRecordExporter):
    def export(self, batch: Any) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def run() -> bool:
    """Measure and print; there is no limit to hold here."""
    traces, logs = TracerProvider(shutdown_on_exit=False), LoggerProvider(shutdown_on_exit=False)
    traces.add_span_processor(BatchSpanProcessor(_NoSpans()))
    logs.add_log_record_processor(BatchLogRecordProcessor(_NoLogs()))
    trace.set_tracer_provider(traces)
    # logfire tries to set its own, too, and would say so.
    logging.getLogger("opentelemetry.trace").setLevel(logging.ERROR)
    meters = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    drain.attach(meters)
    measure.pin_to_one_core()
    contenders = {
        "otelml: with span": _otelml(log=False),
        **_documented(traces, meters, logs),
        **_prometheus_structlog(),
        **_logfire(),
    }
    bridge.install(logs)
    contenders["otelml: with span and log pair"] = _otelml(log=True)
    best = measure.interleave({"F": measure.floor, **contenders}, calls=200, rounds=15, between=_refill)
    bridge.uninstall()
    f, p = best.pop("F"), best.pop("prometheus_client observe")
    measure.show(
        "One stage with a recorded span (each stage within the budget)",
        [Row(n, ns) for n, ns in best.items()],
        f,
        p,
    )
    return True


def _refill() -> None:
    timed.on_tick(1e6)


def _otelml(*, log: bool) -> Any:
    def loop(n: int) -> None:
        state = stage_names.of("fusion")
        for _ in range(n):
            state.tokens = 50.0
            with otelml.stage("fusion", items=4, log=log, batch_size=4):
                pass

    return loop


def _documented(traces: Any, meters: Any, logs: Any) -> dict[str, Any]:
    """A span, a histogram record and two log records, as OpenTelemetry's documentation shows them."""
    from opentelemetry.instrumentation.logging.handler import LoggingHandler

    tracer, histogram = traces.get_tracer("bench"), meters.get_meter("bench").create_histogram("d")
    logger = logging.getLogger("bench.documented")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(LoggingHandler(logger_provider=logs))

    def loop(n: int) -> None:
        for _ in range(n):
            logger.info("Starting fusion", extra={"batch_size": 4})
            start = perf_counter()
            with tracer.start_as_current_span("fusion", attributes={"items": 4, "batch_size": 4}):
                pass
            histogram.record(perf_counter() - start, {"stage": "fusion"})
            logger.info("Completed fusion", extra={"batch_size": 4, "elapsed_ms": 1.0})

    return {"OpenTelemetry as documented, all three": loop}


def _prometheus_structlog() -> dict[str, Any]:
    """A histogram and two JSON log lines; no span."""
    observe = Histogram("p", "p", ["stage"], registry=CollectorRegistry()).labels("fusion").observe

    def only(n: int) -> None:
        for _ in range(n):
            observe(0.5)

    loops: dict[str, Any] = {"prometheus_client observe": only}
    try:
        import structlog
    except ImportError:
        print("structlog is not installed: left out (make bench installs it)")
        return loops
    structlog.configure(
        processors=[structlog.processors.TimeStamper(fmt="iso"), structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(io.StringIO()),
    )
    log = structlog.get_logger()

    def loop(n: int) -> None:
        for _ in range(n):
            log.info("Starting fusion", batch_size=4)
            start = perf_counter()
            observe(perf_counter() - start)
            log.info("Completed fusion", batch_size=4, elapsed_ms=1.0)

    return {**loops, "prometheus + structlog (no span)": loop}


def _logfire() -> dict[str, Any]:
    try:
        import logfire
    except ImportError:
        print("logfire is not installed: left out (make bench installs it)")
        return {}
    logfire.configure(
        send_to_logfire=False,
        console=False,
        additional_span_processors=[BatchSpanProcessor(_NoSpans())],
        inspect_arguments=False,
    )

    def loop(n: int) -> None:
        for _ in range(n):
            with logfire.span("fusion", items=4, batch_size=4):
                pass

    return {"logfire: span only": loop}
