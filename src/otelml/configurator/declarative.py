"""OTEL_CONFIG_FILE: the file builds the providers; this reads it, and our settings from its `distribution` part."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.configuration import (
    ConfigurationError,
    OpenTelemetryConfiguration,
    configure_sdk,
    load_config_file,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider

from otelml.configurator.pipeline import Pipeline
from otelml.configurator.present import Present
from otelml.settings import SETTINGS, Problem, Settings, SettingsError

_VARIABLE = "OTEL_CONFIG_FILE"
_SECTION = "otelml"
_SECTIONS = {"traces": "tracer_provider", "metrics": "meter_provider", "logs": "logger_provider"}


@contextmanager
def _one_voice(settings: Settings) -> Iterator[None]:
    """Errors about the file as a SettingsError; the loader's own log lines about them would say each twice."""
    logger = logging.getLogger("opentelemetry.configuration")
    level, path = logger.level, str(settings.config_file)
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    except ConfigurationError as error:
        raise SettingsError([Problem(_VARIABLE, path, str(error))]) from error
    except Exception as error:
        # A component that the file names failed to be made: its author chose the exception.
        raise SettingsError([Problem(_VARIABLE, path, f"{type(error).__name__}: {error}")]) from error
    finally:
        logger.setLevel(level)


def read_file(settings: Settings) -> OpenTelemetryConfiguration:
    """Read and check the file.

    Raises SettingsError when it is missing, malformed, or of another schema.
    """
    with _one_voice(settings):
        return load_config_file(str(settings.config_file))


def read_own_section(model: OpenTelemetryConfiguration) -> dict[str, Any]:
    """Our settings from `distribution: otelml:`, by field name.

    Raises SettingsError for OpenTelemetry's own: in a file they have sections of their own.
    """
    section = dict((model.distribution or {}).get(_SECTION) or {})
    standard = {setting.field for setting in SETTINGS if setting.is_standard}
    problems = [
        Problem(f"distribution.{_SECTION}.{name}", str(section[name]), "belongs into the file's own sections")
        for name in section
        if name in standard
    ]
    if problems:
        raise SettingsError(problems)
    return section


def build(model: OpenTelemetryConfiguration, settings: Settings, present: Present) -> Pipeline:
    """Have the file's providers built and set, but for signals that somebody has set before.

    Their readers and exporters stay their own; the pipeline is in charge of their end.

    Raises SettingsError when a component that the file names cannot be made.
    """
    for signal, section in _SECTIONS.items():
        if getattr(present, signal) is not None:
            setattr(model, section, None)
    with _one_voice(settings):
        configure_sdk(model)
    pipeline = Pipeline(
        tracer_provider=_made(model.tracer_provider, trace.get_tracer_provider(), TracerProvider),
        meter_provider=_made(model.meter_provider, metrics.get_meter_provider(), MeterProvider),
        logger_provider=_made(model.logger_provider, _logs.get_logger_provider(), LoggerProvider),
        description=[f"providers of {settings.config_file}"],
    )
    for provider in (pipeline.tracer_provider, pipeline.meter_provider, pipeline.logger_provider):
        if provider is not None:
            # These have no deadline: with an endpoint that does not answer they hold up the exit by 15 s and more.
            atexit.unregister(provider.shutdown)
    if pipeline.meter_provider is not None:
        # Its readers are its own; through it, `lifecycle` flushes them.
        pipeline.readers.append(pipeline.meter_provider)
    return pipeline


def _made(section: Any, provider: Any, kind: type) -> Any:
    return provider if section is not None and isinstance(provider, kind) else None
