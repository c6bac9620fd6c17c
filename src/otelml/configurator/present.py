"""What was set up before us: global providers of the program or of a library, and handlers that already bridge logs."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from opentelemetry import _logs, metrics, trace


@dataclass(frozen=True, slots=True)
class Present:
    """The global providers that somebody set before; None where nobody did."""

    traces: Any = None
    metrics: Any = None
    logs: Any = None


def _unless_proxy(provider: Any) -> Any:
    # The API's stand-ins for a provider yet to come; two of the three classes have private names.
    return None if type(provider).__name__.lstrip("_").startswith("Proxy") else provider


def find_present() -> Present:
    """Look at the three globals; inside `standard_environment`, where that makes none."""
    return Present(
        traces=_unless_proxy(trace.get_tracer_provider()),
        metrics=_unless_proxy(metrics.get_meter_provider()),
        logs=_unless_proxy(_logs.get_logger_provider()),
    )


def is_logging_bridged() -> bool:
    """Whether the root logger has OpenTelemetry's own handler: a second bridge would write each record twice."""
    return any(
        type(handler).__name__ == "LoggingHandler" and type(handler).__module__.startswith("opentelemetry.")
        for handler in logging.getLogger().handlers
    )
