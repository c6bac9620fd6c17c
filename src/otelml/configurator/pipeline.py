"""What one process exports through: its providers, and the ends that `lifecycle` starts, flushes and stops."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otelml import lifecycle
from otelml.export.files import FileSet
from otelml.instruments import internal

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider

    from otelml.export.sentry.reporter import Reporter


@dataclass(slots=True)
class Pipeline:
    """Providers that this distribution is in charge of; None where a signal's provider is somebody else's."""

    tracer_provider: TracerProvider | None = None
    meter_provider: MeterProvider | None = None
    logger_provider: LoggerProvider | None = None
    readers: list[Any] = field(default_factory=list)
    exporters: list[Any] = field(default_factory=list)
    reporter: Reporter | None = None
    description: list[str] = field(default_factory=list)

    def force_flush(self, timeout_s: float) -> bool:
        """Export everything recorded so far; False when that took longer than `timeout_s`."""
        return not lifecycle.flush(timeout_s)

    def shutdown(self, timeout_s: float) -> None:
        """Flush and stop for good, within about `timeout_s`."""
        thread = threading.Thread(
            target=self._shut_down, args=(timeout_s,), name="otelml-shutdown", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the interpreter is ending: no thread can be started any more
            self._shut_down(timeout_s)
        else:
            thread.join(timeout_s)

    def _shut_down(self, timeout_s: float) -> None:
        with internal.guard("shutdown"):
            if self.meter_provider is not None:
                self.meter_provider.shutdown(timeout_millis=timeout_s * 1000)
        for provider in (self.tracer_provider, self.logger_provider):
            with internal.guard("shutdown"):
                if provider is not None:
                    provider.shutdown()
        for exporter in self.exporters:
            # A set of files gives its names free; what the providers know of, they have shut down.
            if isinstance(exporter, FileSet):
                exporter.shutdown()
