"""Sets one process up: providers built or adopted, made global, and joined with instruments, logs and life cycle."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import _logs, metrics, trace
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry.sdk.metrics import MeterProvider

from otelml import lifecycle
from otelml.configurator import declarative
from otelml.configurator.decision import Decision, decide, find_port_mistake
from otelml.configurator.description import describe_destinations, describe_resource, print_line
from otelml.configurator.pipeline import Pipeline
from otelml.configurator.present import Present, find_present, is_logging_bridged
from otelml.configurator.providers import Builder
from otelml.export import sentry
from otelml.export.prometheus import PrometheusEndpoint
from otelml.export.sentry.error_spans import ErrorSpans
from otelml.instruments import drain, internal
from otelml.logs import bridge
from otelml.resource import create_resource, launch
from otelml.settings import Problem, Settings, components

if TYPE_CHECKING:
    from opentelemetry.configuration import OpenTelemetryConfiguration

Complain = Callable[[Iterable[Problem]], None]


def set_up_from_file(model: OpenTelemetryConfiguration, settings: Settings) -> Pipeline:
    """Have the file of OTEL_CONFIG_FILE build the providers, and join them.

    Raises SettingsError when a component of the file cannot be made.
    """
    present = find_present()
    pipeline = declarative.build(model, settings, present)
    _report_errors(pipeline, settings, _resource_of(pipeline))
    _join(pipeline, present, bridge_logs=pipeline.logger_provider is not None)
    lifecycle.start(pipeline, settings)
    _say_present(present)
    _announce(settings, pipeline.description)
    return pipeline


def set_up(
    settings: Settings, complain: Complain, attributes: Mapping[str, Any], *, after_file: bool = False
) -> Pipeline:
    """Build the providers that nobody has set yet, and join them. `complain` may raise; then nothing is left behind.

    `after_file`: a declarative file failed, and may have set some providers before it did.
    """
    present = find_present()
    decisions = [
        decision for decision in decide(settings).values() if getattr(present, decision.signal) is None
    ]
    resource = create_resource(settings.service_name, settings.run_id, {**_own(settings), **attributes})
    builder = Builder(settings, resource, decisions)
    pipeline = builder.build()
    if builder.problems:
        _complain_or_take_back(builder, complain)
    _set_globals(pipeline)
    _set_propagators(settings)
    _pass_to_workers(settings, resource.attributes)
    bridge_logs = any(decision.signal == "logs" and decision.exporters for decision in decisions)
    _report_errors(pipeline, settings, resource.attributes)
    _join(pipeline, present, bridge_logs=bridge_logs)
    lifecycle.start(pipeline, settings)
    if not after_file:
        _say_present(present)
    pipeline.description = [
        *_describe(settings, decisions, builder),
        *pipeline.description,
        describe_resource(resource.attributes),
    ]
    _announce(settings, pipeline.description)
    return pipeline


def take_down(pipeline: Pipeline, timeout_s: float) -> None:
    """The end of `set_up`: flush, let go of instruments and logs, and stop, within about `timeout_s`."""
    pipeline.force_flush(timeout_s)
    lifecycle.stop()
    bridge.uninstall()
    if pipeline.reporter is not None:
        pipeline.reporter.stop()
    pipeline.shutdown(timeout_s)
    drain.detach()


def _own(settings: Settings) -> Mapping[str, str]:
    """Resource attributes from keywords; those of the environment come by OpenTelemetry's own detector."""
    given = settings.source("resource_attributes") == "configure()"
    return (settings.resource_attributes or {}) if given else {}


def _complain_or_take_back(builder: Builder, complain: Complain) -> None:
    try:
        complain(builder.problems)
    except BaseException:
        builder.pipeline.shutdown(1.0)
        raise


def _set_globals(pipeline: Pipeline) -> None:
    if pipeline.meter_provider is not None:
        metrics.set_meter_provider(pipeline.meter_provider)
    if pipeline.tracer_provider is not None:
        trace.set_tracer_provider(pipeline.tracer_provider)
    if pipeline.logger_provider is not None:
        _logs.set_logger_provider(pipeline.logger_provider)


def _set_propagators(settings: Settings) -> None:
    given = settings.source("propagators") == "configure()"
    if not given and "OTEL_PROPAGATORS" not in settings.rejected:
        return
    # Its import reads the variable, and fails for good on a name that it does not know.
    from opentelemetry import propagate
    from opentelemetry.propagators.composite import CompositePropagator

    if given:
        names = [name for name in settings.propagators or () if name != "none"]
        loaded = [components.load("opentelemetry_propagator", name)() for name in names]
        propagate.set_global_textmap(CompositePropagator(loaded))


def _pass_to_workers(settings: Settings, attributes: Mapping[str, Any]) -> None:
    """Spawned workers that export belong to this run and service; other children do not look here."""
    if settings.fork == "export":
        for name, key in ((launch.PARENT_RUN_ID, "ml.run.id"), (launch.PARENT_SERVICE, "service.name")):
            if key in attributes:
                os.environ[name] = str(attributes[key])


def _join(pipeline: Pipeline, present: Present, *, bridge_logs: bool) -> None:
    meter_provider = pipeline.meter_provider or present.metrics
    if isinstance(meter_provider, MeterProvider):
        drain.attach(meter_provider)
    logger_provider = pipeline.logger_provider or present.logs
    if logger_provider is not None and (bridge_logs or present.logs) and not is_logging_bridged():
        bridge.install(logger_provider)
    elif pipeline.reporter is not None:
        bridge.install(NoOpLoggerProvider())  # it listens all the same


def _say_present(present: Present) -> None:
    for signal in ("traces", "metrics", "logs"):
        provider = getattr(present, signal)
        if provider is not None:
            internal.warn_once(
                f"present:{signal}",
                "otelml: the program or one of its libraries has already set a provider for %s (%s.%s); "
                "where %s go is up to it. Call otelml.configure() first to change that",
                signal,
                type(provider).__module__,
                type(provider).__qualname__,
                signal,
            )


def _report_errors(pipeline: Pipeline, settings: Settings, resource: Mapping[str, Any]) -> None:
    pipeline.reporter = sentry.start(settings, resource)
    if pipeline.reporter is not None:
        if pipeline.tracer_provider is not None:
            pipeline.tracer_provider.add_span_processor(ErrorSpans())
        # Beside the queues, for what forks and exits ask of these.
        pipeline.exporters.append(pipeline.reporter)
        pipeline.description.append(pipeline.reporter.description)


def _resource_of(pipeline: Pipeline) -> Mapping[str, Any]:
    """What the file says of the process, as far as one of its providers tells."""
    providers = (pipeline.tracer_provider, pipeline.logger_provider)
    found = next((provider.resource for provider in providers if provider is not None), None)
    return {} if found is None else found.attributes


def _describe(settings: Settings, decisions: Iterable[Decision], builder: Builder) -> list[str]:
    urls = [reader.url for reader in builder.pipeline.readers if isinstance(reader, PrometheusEndpoint)]
    url = urls[0] if urls else None
    return describe_destinations(settings, decisions, builder.folder, url)


def _announce(settings: Settings, description: Iterable[str]) -> None:
    mistake = find_port_mistake(settings)
    if mistake:
        internal.warn_once("otlp-port", "otelml: %s", mistake)
    if not settings.quiet:
        print_line(description)
