"""Builds the providers from public SDK classes: samplers, exporters and readers as the settings name them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from opentelemetry.sdk.trace import TracerProvider, sampling

from otelml.configurator.decision import EMBEDDED_EXPORTERS, Decision, entry_point_name
from otelml.configurator.environment import changed_environment, standard_environment
from otelml.configurator.pipeline import Pipeline
from otelml.export.delivery import log_queue, span_queue
from otelml.export.files import FileSet
from otelml.export.otlp import with_wire
from otelml.export.periodic import PeriodicReader
from otelml.export.prometheus import PrometheusEndpoint
from otelml.export.run_spans import RunSpans
from otelml.export.sentry.traces import create_span_exporter
from otelml.export.wire import LIMIT_S
from otelml.instruments import internal
from otelml.resource import launch
from otelml.settings import Problem, Settings, components
from otelml.settings.parsers import FILES_EXPORTER, SENTRY_EXPORTER, ratio

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

_STANDARD_INTERVAL_S = 60.0
_RATIO_SAMPLERS = {
    "traceidratio": sampling.TraceIdRatioBased,
    "parentbased_traceidratio": sampling.ParentBasedTraceIdRatio,
}
_PLAIN_SAMPLERS = {
    "always_on": lambda: sampling.ALWAYS_ON,
    "always_off": lambda: sampling.ALWAYS_OFF,
    "parentbased_always_on": lambda: sampling.ParentBased(sampling.ALWAYS_ON),
    "parentbased_always_off": lambda: sampling.ParentBased(sampling.ALWAYS_OFF),
}


def _without_otlp(environ: Iterable[str]) -> dict[str, None]:
    """What is said of the collector, its headers above all, is not for Sentry."""
    return dict.fromkeys(name for name in environ if "EXPORTER_OTLP_" in name)


def create_sampler(settings: Settings) -> sampling.Sampler:
    """The sampler of OTEL_TRACES_SAMPLER; parentbased_always_on, OpenTelemetry's default, without."""
    name = settings.sampler or "parentbased_always_on"
    if name in _RATIO_SAMPLERS:
        return _RATIO_SAMPLERS[name](ratio.read(settings.sampler_arg or "1"))
    if name in _PLAIN_SAMPLERS:
        return _PLAIN_SAMPLERS[name]()
    return components.load("opentelemetry_traces_sampler", name)(settings.sampler_arg)


class Builder:
    """Builds one `Pipeline`. What cannot be built is collected in `problems`, and the embedded default stands in."""

    def __init__(self, settings: Settings, resource: Resource, decisions: Iterable[Decision]) -> None:
        self._settings = settings
        self._resource = resource
        self._decisions = tuple(decisions)
        self._files: FileSet | None = None
        self.problems: list[Problem] = []
        self.pipeline = Pipeline()

    def build(self) -> Pipeline:
        """Build the provider of every signal decided on."""
        builders: dict[str, Callable[[Decision], None]] = {
            "metrics": self._build_metrics,
            "traces": self._build_traces,
            "logs": self._build_logs,
        }
        for decision in self._decisions:
            builders[decision.signal](decision)
        if self._files is not None:
            self.pipeline.exporters.insert(0, self._files)
        return self.pipeline

    # -- signals

    def _build_metrics(self, decision: Decision) -> None:
        self.pipeline.readers = self._create_ends(decision, self._create_reader)
        self.pipeline.meter_provider = MeterProvider(
            self.pipeline.readers,
            self._resource,
            shutdown_on_exit=False,
            **scope_configurator("meter"),
        )

    def _build_traces(self, decision: Decision) -> None:
        provider = TracerProvider(
            self._attempt("OTEL_TRACES_SAMPLER", self._settings.sampler or "", self._create_sampler)
            or create_sampler(replace(self._settings, sampler=None)),
            self._resource,
            shutdown_on_exit=False,
            id_generator=self._attempt(
                "OTEL_PYTHON_ID_GENERATOR", self._settings.id_generator or "", self._create_id_generator
            ),
            **scope_configurator("tracer"),
        )
        provider.add_span_processor(RunSpans())
        for queue in self._create_ends(decision, self._create_span_queue):
            provider.add_span_processor(queue)
            self.pipeline.exporters.append(queue)
        self.pipeline.tracer_provider = provider

    def _build_logs(self, decision: Decision) -> None:
        provider = LoggerProvider(self._resource, shutdown_on_exit=False, **scope_configurator("logger"))
        for queue in self._create_ends(decision, self._create_log_queue):
            provider.add_log_record_processor(queue)
            self.pipeline.exporters.append(queue)
        self.pipeline.logger_provider = provider

    # -- ends

    def _create_ends(self, decision: Decision, create: Callable[[str, str], Any]) -> list[Any]:
        ends = [
            self._attempt(decision.rule, name, partial(create, decision.signal, name))
            for name in decision.exporters
        ]
        working = [end for end in ends if end is not None]
        if decision.exporters and not working and not decision.is_embedded:
            return [create(decision.signal, name) for name in EMBEDDED_EXPORTERS[decision.signal]]
        return working

    def _attempt(self, name: str, value: str, create: Callable[[], Any]) -> Any:
        try:
            return create()
        except Exception as error:  # noqa: BLE001 - a third party's constructor: whatever it raises, the setting is wrong
            self.problems.append(Problem(name, value, f"{type(error).__name__}: {error}"))
            return None

    def _create_reader(self, signal: str, name: str) -> MetricReader:
        if name == "prometheus":
            return PrometheusEndpoint(self._settings.prometheus_host, self._settings.prometheus_port)
        if name == FILES_EXPORTER:
            return self._create_periodic(
                self._file_set().metric_exporter, "files", self._settings.metric_interval_s
            )
        made = self._load_exporter(signal, name)
        if issubclass(made, MetricReader):
            return made()
        is_set = self._settings.source("metric_interval_s") != "default"
        interval_s = self._settings.metric_interval_s if is_set else _STANDARD_INTERVAL_S
        # What a cumulative export misses is in the next one; a delta that is given up is missing for good.
        limit_s = LIMIT_S if self._settings.temporality in (None, "cumulative") else math.inf
        return self._create_periodic(self._factory(made, limit_s), name, interval_s)

    def _create_periodic(
        self, make_exporter: Callable[[], Any], destination: str, interval_s: float
    ) -> MetricReader:
        return PeriodicReader(
            make_exporter,
            interval_s=interval_s,
            destination=destination,
            timeout_s=self._settings.metric_timeout_s,
        )

    def _create_span_queue(self, signal: str, name: str) -> Any:
        make_exporter, destination = self._queue_end(signal, name, "span_exporter")
        return span_queue(
            make_exporter,
            destination=destination,
            share=self._settings.sentry_traces_sample_rate if name == SENTRY_EXPORTER else 1.0,
            max_queue_size=self._settings.bsp_max_queue_size,
            max_export_batch_size=self._settings.bsp_max_export_batch_size,
            schedule_delay_s=self._settings.bsp_schedule_delay_s,
        )

    def _create_log_queue(self, signal: str, name: str) -> Any:
        make_exporter, destination = self._queue_end(signal, name, "log_exporter")
        return log_queue(
            make_exporter,
            destination=destination,
            max_queue_size=self._settings.blrp_max_queue_size,
            max_export_batch_size=self._settings.blrp_max_export_batch_size,
            schedule_delay_s=self._settings.blrp_schedule_delay_s,
        )

    def _queue_end(self, signal: str, name: str, file_exporter: str) -> tuple[Callable[[], Any], str]:
        if name == FILES_EXPORTER:
            return getattr(self._file_set(), file_exporter), "files"
        if name == SENTRY_EXPORTER:
            return self._sentry_exporter(), "sentry"
        return self._factory(self._load_exporter(signal, name)), name

    def _sentry_exporter(self) -> Callable[[], Any]:
        dsn = self._settings.sentry_dsn
        if dsn is None:
            raise LookupError("there is no SENTRY_DSN that says where Sentry is")

        def make_exporter() -> Any:
            with changed_environment(_without_otlp(os.environ)):
                return create_span_exporter(dsn)

        return make_exporter

    def _load_exporter(self, signal: str, name: str) -> Any:
        return components.load(
            f"opentelemetry_{signal}_exporter", entry_point_name(self._settings, signal, name)
        )

    def _factory(self, exporter_class: Callable[[], Any], limit_s: float = LIMIT_S) -> Callable[[], Any]:
        make = with_wire(exporter_class, limit_s)

        def make_exporter() -> Any:
            # A forked child makes its exporter anew, long after the block around the build has ended.
            with standard_environment(self._settings):
                return make()

        return make_exporter

    def _file_set(self) -> FileSet:
        if self._files is None:
            attributes: Mapping[str, Any] = self._resource.attributes
            several = (attributes.get("ml.distributed.world_size") or 0) > 1
            self._files = FileSet(
                self._settings.telemetry_dir,
                str(attributes["service.name"]),
                str(attributes.get("ml.run.id") or launch.make_folder_name()),
                rank=attributes.get("ml.distributed.rank") if several else None,
                max_bytes=self._settings.file_max_bytes,
                keep=self._settings.file_keep,
            )
        return self._files

    # -- parts

    def _create_sampler(self) -> sampling.Sampler:
        return create_sampler(self._settings)

    def _create_id_generator(self) -> Any:
        name = self._settings.id_generator
        return None if name in (None, "random") else components.load("opentelemetry_id_generator", name)()

    @property
    def folder(self) -> Path | None:
        """Where the embedded files go, when there are any."""
        return self._files.folder if self._files is not None else None


def scope_configurator(kind: str) -> dict[str, Any]:
    """The provider's argument for OTEL_PYTHON_TRACER_CONFIGURATOR, ..._METER_... or ..._LOGGER_..., if set.

    The SDK has these under private names only; without them the variable is said to have no effect.
    """
    variable = f"OTEL_PYTHON_{kind.upper()}_CONFIGURATOR"
    name = os.environ.get(variable, "").strip()
    if not name:
        return {}
    try:
        from opentelemetry.sdk import _configuration

        find = getattr(_configuration, f"_import_{kind}_configurator")
    except (ImportError, AttributeError):
        internal.warn_once(
            variable, "otelml: %s=%r has no effect with this version of the SDK", variable, name
        )
        return {}
    return {f"_{kind}_configurator": find(name)}
