"""What a log call and an event cost the thread that makes them, beside structlog and OpenTelemetry's own handler.

Batch processors as in life, with an exporter that keeps nothing; every contender writes a message and two or three
fields. No limit: the table is for choosing.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import structlog
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult

from bench import measure
from bench.measure import Row
from otelml import events
from otelml.logs import bridge
from otelml.logs.formatters import JSONFormatter
from otelml.logs.handlers import NonBlockingHandler
from otelml.logs.ml_logger import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CALLS = 500
ROUNDS = 15


class _Nowhere(LogRecordExporter):
    """Takes what it is given."""

    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True


class _Formatting(logging.Handler):
    """A handler that does all but the writing."""

    def emit(self, record: logging.LogRecord) -> None:
        self.format(record)


def run() -> bool:
    """Print the two tables; True, for there is nothing to miss."""
    measure.pin_to_one_core()
    provider = _provider()
    before = _measure(_without_bridge(provider))
    bridge.install(_provider())
    after = _measure(_with_bridge())
    bridge.uninstall()
    _show("Log calls without telemetry, and of others", before)
    _show("Log calls and events that become telemetry (bridge, batch processor)", after)
    return True


def _measure(calls: dict[str, Callable[[], object]]) -> dict[str, float]:
    loops = {name: _repeat(call) for name, call in calls.items()}
    return measure.interleave({"F": measure.floor, **loops}, calls=CALLS, rounds=ROUNDS, between=lambda: None)


def _show(title: str, best: dict[str, float]) -> None:
    f = best.pop("F")
    print(f"\n{title}\n{'':60}{'us':>8}{'x F':>8}")
    for row in (Row(name, ns) for name, ns in best.items()):
        print(f"{row.name:60}{row.ns / 1e3:8.2f}{row.ns / f:8.1f}")


def _repeat(call: Callable[[], object]) -> Callable[[int], object]:
    def loop(n: int) -> None:
        for _ in range(n):
            call()

    return loop


def _provider() -> LoggerProvider:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(BatchLogRecordProcessor(_Nowhere()))
    return provider


def _logger(name: str, handler: logging.Handler | None = None) -> logging.Logger:
    logger = logging.getLogger(f"bench.{name}")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler or logging.NullHandler())
    return logger


def _json() -> logging.Handler:
    handler = _Formatting()
    handler.setFormatter(JSONFormatter())
    return handler


def _without_bridge(provider: LoggerProvider) -> dict[str, Callable[[], object]]:
    plain, formatted = _logger("plain"), _logger("json", _json())
    ml = get_logger(_logger("ml").name)
    queued = _logger("queued", NonBlockingHandler(logging.NullHandler(), queue_size=10**6))
    otel = _logger("otel", LoggingHandler(logger_provider=provider))
    struct = structlog.wrap_logger(
        structlog.ReturnLogger(),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(),
        ],
    ).bind()
    extra = {"loss": 0.234, "accuracy": 0.92}
    return {
        "stdlib logger.info, no handler that does anything": lambda: plain.info("Epoch done", extra=extra),
        "ML logger.info, kept in memory": lambda: ml.info("Epoch done", extra=extra),
        "ML logger.metric, kept in memory": lambda: ml.metric("Epoch done", extra),
        "ML logger.metric below the logger's level": lambda: ml.trace("Epoch done", extra),
        "stdlib logger.info, JSONFormatter": lambda: formatted.info("Epoch done", extra=extra),
        "stdlib logger.info, NonBlockingHandler": lambda: queued.info("Epoch done", extra=extra),
        "structlog to JSON": lambda: struct.info("Epoch done", loss=0.234, accuracy=0.92),
        "OpenTelemetry's handler, batch processor": lambda: otel.info("Epoch done", extra=extra),
        "events.fsq_encoding, nobody listens": _fsq_encoding,
    }


def _with_bridge() -> dict[str, Callable[[], object]]:
    plain, ml = logging.getLogger("bench.plain"), get_logger("bench.ml")
    extra = {"loss": 0.234, "accuracy": 0.92}
    return {
        "stdlib logger.info": lambda: plain.info("Epoch done", extra=extra),
        "ML logger.info": lambda: ml.info("Epoch done", extra=extra),
        "ML logger.metric": lambda: ml.metric("Epoch done", extra),
        "events.emit, a name of one's own": lambda: events.emit("epoch", extra),
        "events.batch_start": lambda: events.batch_start(batch_size=32),
        "events.epoch_complete": lambda: events.epoch_complete(
            epoch=1, loss=0.1, samples=32, duration_seconds=1.0
        ),
        "events.fsq_encoding, with all that is derived": _fsq_encoding,
        "events.config, hashed and masked": lambda: events.config(
            config={"lr": 0.1, "db": {"password": "x"}}
        ),
    }


def _fsq_encoding() -> None:
    events.fsq_encoding(batch_size=32, perplexity=125.6, usage=0.75, duration_s=0.023)
