"""A periodic metric reader with a thread of ours.

The SDK's restarts its thread in every forked child, multiprocessing workers included, where it would call the
observable callbacks and export; and a child may inherit its export lock held.
"""

from __future__ import annotations

import math
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader

from otelml.export.wire import wire_of
from otelml.instruments import internal

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.sdk.metrics.export import MetricExporter, MetricsData


class PeriodicReader(PeriodicExportingMetricReader):
    """Collects and exports every `interval_s` seconds, and once more when it is shut down.

    Args:
        make_exporter: called now, and again in every forked child that exports. Temporality and aggregation are
            those of the exporter that it makes.
        interval_s: seconds between two exports.
        destination: names it in counts and messages ("files", "otlp").
        timeout_s: limit for one collection, seconds.
    """

    def __init__(
        self,
        make_exporter: Callable[[], MetricExporter],
        *,
        interval_s: float,
        destination: str,
        timeout_s: float = 30.0,
    ) -> None:
        self.destination = destination
        self.delivered = True
        """Whether the last export succeeded."""
        self._make_exporter = make_exporter
        self._target = make_exporter()
        # An infinite interval: the SDK then makes no thread and no fork hook of its own.
        super().__init__(
            self._target, export_interval_millis=math.inf, export_timeout_millis=timeout_s * 1000
        )
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._open = True
        self._renew()

    def _renew(self) -> None:
        self._exporting = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, unless it runs. The provider must have been built by then."""
        if self._thread is None and self._open:
            self._thread = threading.Thread(
                target=self._run,
                args=(self._stopping,),
                name=f"otelml-metrics-{self.destination}",
                daemon=True,
            )
            self._thread.start()

    def _run(self, stopping: threading.Event) -> None:
        due_s = monotonic() + self._interval_s
        # Where an export was held up for longer than that, the next one follows at once.
        while not stopping.wait(max(0.0, due_s - monotonic())):
            due_s = monotonic() + self._interval_s
            with internal.guard(f"export.{self.destination}"):
                self._collect_alone(self._timeout_s * 1000)

    def _collect_alone(self, timeout_millis: float) -> bool:
        """Collect and export; False when that was not delivered.

        Not even collected while another export does not end: what is collected and then cannot be exported is lost
        where the exporter wants deltas. The exporter's own limits bound the export itself.
        """
        if not self._exporting.acquire(timeout=max(0.0, timeout_millis / 1000)):
            return False
        try:
            self.collect(timeout_millis=timeout_millis)
        finally:
            self._exporting.release()
        return self.delivered

    def _receive_metrics(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any) -> None:
        if not self._open:
            return
        self.delivered = False
        with suppress_instrumentation(), internal.guard(f"export.{self.destination}"):
            result = self._target.export(metrics_data, timeout_millis=timeout_millis)
            self.delivered = result is MetricExportResult.SUCCESS
        rejected = wire_of(self._target).rejected
        if not self.delivered:
            internal.count("errors", f"export.{self.destination}", "metrics_undelivered")
        elif rejected:
            internal.count("dropped", f"export.{self.destination}", "metric_points_rejected", rejected)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Collect and export now; False when that was not delivered."""
        if not self._open:
            return True
        wire_of(self._target).hurry()
        return self._collect_alone(timeout_millis)

    def last_call(self) -> None:
        """`lifecycle` calls this when the process ends: what an endpoint does not take now is lost."""
        wire_of(self._target).last_call()

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        """Collect and export a last time, and end. Later calls do nothing."""
        if not self._open:
            return
        self._stopping.set()
        self.last_call()
        if self._thread is not None:
            self._thread.join(timeout_millis / 1000)
        try:
            with internal.guard(f"export.{self.destination}"):
                self.force_flush(timeout_millis)
        finally:
            self._open = False
            self._target.shutdown(timeout_millis=timeout_millis)

    def after_fork_in_child(self, *, silent: bool) -> None:
        """`lifecycle` calls this: a silent child collects nothing; another exports through an exporter of its own."""
        was_started = self._thread is not None
        self._renew()
        self._open = self._open and not silent
        if self._open:
            self._target = self._make_exporter()
            if was_started:
                self.start()
