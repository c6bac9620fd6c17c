"""Test kit for programs that use otelml: all that a block records, in memory, and checks against the registry.

with otelml.testing.capture() as telemetry:
    train_one_step()
assert telemetry.value("ml.stage.items", {"ml.stage.name": "forward"}) == 32
"""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otelml import settings
from otelml.export.run_spans import RunSpans
from otelml.instruments import drain, table, timer
from otelml.logs import bridge
from otelml.semconv.conformance import assert_conforms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from opentelemetry.sdk.metrics.export import MetricReader, MetricsData
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.sampling import Sampler

__all__ = ["Capture", "assert_conforms", "capture"]


class Capture:
    """What `capture()` yields: the telemetry recorded since its block began."""

    def __init__(
        self, reader: InMemoryMetricReader, spans: InMemorySpanExporter, logs: InMemoryLogRecordExporter
    ) -> None:
        self._reader, self._spans, self._logs = reader, spans, logs
        self.tick()

    def tick(self, elapsed_s: float = 0.0) -> None:
        """Do now what the drain thread does every 50 ms; `elapsed_s` seconds refill the span budget."""
        timer.tick(elapsed_s)

    def metrics_data(self) -> MetricsData | None:
        """One collection of all metrics, as the SDK hands it to exporters."""
        self.tick()
        return self._reader.get_metrics_data()

    def points(self) -> dict[str, list[Any]]:
        """The data points of one collection, by metric name."""
        data = self.metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data is not None else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found.setdefault(metric.name, []).extend(metric.data.data_points)
        return found

    def point(self, name: str, attributes: Mapping[str, Any] | None = None) -> Any | None:
        """The data point of exactly these attributes, or None where that series is absent."""
        wanted = dict(attributes or {})
        return next((p for p in self.points().get(name, ()) if dict(p.attributes) == wanted), None)

    def value(self, name: str, attributes: Mapping[str, Any] | None = None) -> Any | None:
        """The value of a counter or gauge, the count of a histogram; None where that series is absent."""
        point = self.point(name, attributes)
        return None if point is None else getattr(point, "count", None) or getattr(point, "value", None)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        """Spans that have ended, in that order."""
        self.tick()
        return self._spans.get_finished_spans()

    @property
    def logs(self) -> Sequence[Any]:
        """Log records and events, as the SDK hands them to exporters."""
        self.tick()
        return self._logs.get_finished_logs()

    def assert_conforms(self) -> None:
        """Check everything captured against the registry.

        Raises:
            AssertionError: listing each thing that the registry does not know, or knows otherwise.
        """
        assert_conforms(self.metrics_data(), self.spans, self.logs)


@contextmanager
def capture(
    *,
    span_budget: float = float("inf"),
    views: Sequence[View] = (),
    readers: Sequence[MetricReader] = (),
    sampler: Sampler | None = None,
    resource: Mapping[str, Any] | None = None,
    **overrides: Any,
) -> Iterator[Capture]:
    """Record into memory within the block, whatever was set up before; put that back after.

    What was recorded before goes to its own provider; `otelml.summary()` and gauges start anew.

    Args:
        span_budget: spans a second a stage name; all by default, so that tests see every stage.
        views: views of the MeterProvider.
        readers: metric readers beside the one in memory (which is cumulative).
        sampler: the sampler of the TracerProvider.
        resource: attributes of the resource.
        overrides: settings by their field names, as for `otelml.configure`.
    """
    reader, spans, logs = InMemoryMetricReader(), InMemorySpanExporter(), InMemoryLogRecordExporter()
    about = Resource(dict(resource or {}))
    meter_provider = MeterProvider([reader, *readers], resource=about, views=views, shutdown_on_exit=False)
    tracer_provider = TracerProvider(sampler=sampler, resource=about, shutdown_on_exit=False)
    tracer_provider.add_span_processor(RunSpans())
    tracer_provider.add_span_processor(SimpleSpanProcessor(spans))
    logger_provider = LoggerProvider(resource=about, shutdown_on_exit=False)
    logger_provider.add_log_record_processor(SimpleLogRecordProcessor(logs))
    settings_before, provider_before = settings.current(), drain.attached_provider()
    with _global_providers(meter_provider, tracer_provider, logger_provider):
        settings.set_current(settings.load({}, span_budget=span_budget, **overrides))
        # Hands what was recorded so far to the provider that it was recorded for.
        drain.detach()
        table.clear_recorded()
        drain.attach(meter_provider)
        bridge.install(logger_provider)
        try:
            yield Capture(reader, spans, logs)
        finally:
            bridge.uninstall()
            drain.detach()
            settings.set_current(settings_before)
            if provider_before is not None:
                drain.attach(provider_before)
            for provider in (meter_provider, tracer_provider, logger_provider):
                provider.shutdown()


@contextmanager
def replayed_gpus(
    *recordings: str, state: str | None = None, interval_s: float = 1.0, timeout_s: float = 10.0
) -> Iterator[None]:
    """Have the GPU plugin replay recordings within the block, which begins after the first walk.

    Args:
        recordings: built-in names or files, one GPU each; `h200` when none is given.
        state: `idle` or `load`; in turn when not given.
        interval_s: between two walks; true activity is known from the second one on.
        timeout_s: for the first walk.

    Raises:
        ReplayError: a recording cannot be used.
        TimeoutError: the first walk did not end in time.
    """
    from otelml import gpu
    from otelml.gpu import replay

    names = recordings or ("h200",)
    replay.load(names, state)  # raises here, not on the plugin's thread
    gpu.stop()
    gpu.start(settings.load({}, nvml_replay=names, nvml_replay_state=state, gpu_interval_s=interval_s))
    try:
        end_s = monotonic() + timeout_s
        while gpu.current() is None:
            if monotonic() > end_s:
                raise TimeoutError(f"no walk over {', '.join(names)} within {timeout_s:g} s")
            sleep(0.01)
        yield
    finally:
        gpu.stop()


@contextmanager
def _global_providers(meters: Any, tracers: Any, loggers: Any) -> Iterator[None]:
    """Make these the global providers for a while: the API itself lets them be set only once."""
    homes = (
        (metrics._internal, "_METER_PROVIDER", meters),  # noqa: SLF001
        (trace, "_TRACER_PROVIDER", tracers),
        (_logs._internal, "_LOGGER_PROVIDER", loggers),  # noqa: SLF001
    )
    before = [getattr(module, name) for module, name, _ in homes]
    for module, name, provider in homes:
        setattr(module, name, provider)
    try:
        yield
    finally:
        for (module, name, _), provider in zip(homes, before, strict=True):
            setattr(module, name, provider)
