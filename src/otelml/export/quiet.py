"""Keeps the SDK's exporters from filling the user's console when an endpoint is down: said once, then counted.

`delivery` and `periodic` count what is not delivered; the SDK logs each attempt, retry and batch.
"""

from __future__ import annotations

import logging

from otelml.export.wire import UndeliveredError

LOGGERS = (
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.json.file.trace_exporter",
    "opentelemetry.exporter.otlp.json.file.metric_exporter",
    "opentelemetry.sdk._shared_internal",
)


class SayOnce(logging.Filter):
    """Lets the first error of a logger through, and everything where the user set that logger to DEBUG."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether `record` may be seen."""
        if logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            return True
        if record.levelno < logging.ERROR or record.name in self._said or _is_told(record):
            return False
        self._said.add(record.name)
        return True

    def forget(self) -> None:
        """Let the first error of each logger through again."""
        self._said.clear()


def _is_told(record: logging.LogRecord) -> bool:
    """Whether it is about what the wire has told already, for all signals together."""
    return isinstance(record.args, tuple) and any(isinstance(arg, UndeliveredError) for arg in record.args)


_filter = SayOnce()


def install() -> None:
    """Put the filter on the loggers, once."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_filter)


def uninstall() -> None:
    """Take it off again, and forget what was said."""
    for name in LOGGERS:
        logging.getLogger(name).removeFilter(_filter)
    _filter.forget()
