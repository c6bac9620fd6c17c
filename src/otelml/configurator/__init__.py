"""`otelml.configure()` and the configurator of `opentelemetry-instrument`: one way from settings to providers."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from otelml import settings as settings_room
from otelml.configurator.environment import standard_environment
from otelml.instruments import internal
from otelml.logs import levels
from otelml.resource import launch
from otelml.settings import SETTINGS, Problem, Settings, SettingsError

if TYPE_CHECKING:
    from otelml.configurator.pipeline import Pipeline

_logger = logging.getLogger("otelml.configurator")
_FLUSH_TIMEOUT_S = 10.0


@dataclass(slots=True)
class _Configured:
    """What the first call settled on; `pipeline` is None where nothing is to be built, and after `shutdown`."""

    settings: Settings
    pipeline: Pipeline | None = None


@dataclass(frozen=True, slots=True)
class _Way:
    """How one of the two ways in reads settings, and what it does about those that cannot be used."""

    load: Callable[..., Settings]
    complain: Callable[[Iterable[Problem]], None]
    attributes: dict[str, Any]


_lock = threading.RLock()
_configured: _Configured | None = None


def configure(**settings: Any) -> None:
    """Set up telemetry as the environment says, with `settings` above it: `opentelemetry-instrument`, from code.

    Keywords are the fields of the settings table (docs/configuration.md), such as `service_name="train"` or
    `span_budget="all"`; durations in seconds. Calling it again, or after `opentelemetry-instrument`, changes
    nothing: settings that differ are named in one warning. Beside the providers it turns on context propagation
    into threads, and metrics of the GPUs, the machine and the process; instrumentations of other libraries are loaded
    by `opentelemetry-instrument` only.

    Raises:
        SettingsError: settings cannot be used; each is named with its value and what is allowed.
    """

    def load(**from_file: Any) -> Settings:
        return settings_room.load(os.environ, **{**from_file, **settings})

    with _lock:
        if _start(_Way(load, _raise, {})):
            from otelml.distro import instrument_own

            instrument_own(settings_room.current())


class OtelmlConfigurator:
    """The entry point `opentelemetry_configurator`: as `configure()`, but it never raises."""

    def configure(self, **kwargs: Any) -> None:
        """Configure the SDK; `opentelemetry-instrument` calls this once."""
        self._configure(**kwargs)

    def _configure(self, **kwargs: Any) -> None:
        def load(**from_file: Any) -> Settings:
            return settings_room.load_lenient(os.environ, **from_file)

        attributes = dict(kwargs.get("resource_attributes") or {})
        if kwargs.get("auto_instrumentation_version"):
            attributes["telemetry.auto.version"] = kwargs["auto_instrumentation_version"]
        with _lock, internal.guard("configurator"):
            _start(_Way(load, _warn, attributes))


def force_flush(timeout_s: float = _FLUSH_TIMEOUT_S) -> bool:
    """Export everything recorded so far; False when that took longer than `timeout_s`, or nothing is set up."""
    pipeline = _configured.pipeline if _configured else None
    return pipeline is not None and pipeline.force_flush(timeout_s)


def shutdown(timeout_s: float | None = None) -> None:
    """Flush and stop telemetry for good, within about `timeout_s` (default: OTELML_EXIT_TIMEOUT).

    A program that ends does this by itself.
    """
    if _configured is None or _configured.pipeline is None:
        return
    from otelml.configurator import setup
    from otelml.distro import uninstrument_own

    pipeline, _configured.pipeline = _configured.pipeline, None
    limit_s = _configured.settings.exit_timeout_s if timeout_s is None else timeout_s
    setup.take_down(pipeline, limit_s)
    uninstrument_own()


def active_pipeline() -> Pipeline | None:
    """The pipeline of this process; None before `configure()`, after `shutdown()`, and where telemetry is off."""
    return _configured.pipeline if _configured else None


def _raise(problems: Iterable[Problem]) -> None:
    raise SettingsError(problems)


def _warn(problems: Iterable[Problem]) -> None:
    for problem in problems:
        internal.warn_once(f"setting:{problem.name}", "otelml: %s; the default is used", problem)


def _start(way: _Way) -> bool:
    """Configure this process once; whether this call did so, and telemetry is on."""
    global _configured  # noqa: PLW0603 - once a process
    levels.register()
    settings = way.load()
    if _configured is not None:
        _name_ignored(_configured.settings, settings)
        return False
    # Around the imports too: the SDK reads some limits when it is imported, and raises for unusable ones.
    with standard_environment(settings):
        _configured = _set_up_once(way, settings)
    return _configured.pipeline is not None


def _set_up_once(way: _Way, settings: Settings) -> _Configured:
    settings, model = _read_file(way, settings)
    reason = _reason_for_silence(settings, model)
    if reason:
        _logger.debug("otelml: nothing is set up: %s", reason)
        settings = replace(settings, sdk_disabled=True)  # so that instruments and stages cost next to nothing
    settings_room.set_current(settings)
    return _Configured(settings, None if reason else _set_up(way, settings, model))


def _name_ignored(before: Settings, now: Settings) -> None:
    differing = [row.field for row in SETTINGS if getattr(before, row.field) != getattr(now, row.field)]
    ignored = ", ".join(name for name in differing if now.source(name) != "default")
    if ignored:
        internal.warn_once(
            f"ignored:{ignored}", "otelml: this process is already configured; ignored: %s", ignored
        )


def _read_file(way: _Way, settings: Settings) -> tuple[Settings, Any]:
    """The declarative configuration, when there is one, and the settings with its section of ours."""
    if settings.config_file is None or settings.sdk_disabled:
        return settings, None
    from otelml.configurator import declarative

    try:
        model = declarative.read_file(settings)
        return way.load(**declarative.read_own_section(model)), model
    except SettingsError as error:
        way.complain(error.problems)
        return settings, None


def _reason_for_silence(settings: Settings, model: Any) -> str | None:
    if settings.sdk_disabled:
        return "OTEL_SDK_DISABLED is true"
    if model is not None and model.disabled:
        return f"{settings.config_file} says disabled"
    if launch.is_helper_process():
        return "this process only helps multiprocessing"
    if launch.is_worker_process() and settings.fork != "export":
        return "this is a worker process of multiprocessing, and OTELML_FORK is not export"
    return None


def _set_up(way: _Way, settings: Settings, model: Any) -> Pipeline | None:
    try:
        from otelml.configurator import setup
    except ImportError as error:
        internal.warn_once(
            "no-sdk", "otelml: nothing is recorded, the OpenTelemetry SDK is not whole: %s", error
        )
        return None
    if model is not None:
        try:
            return setup.set_up_from_file(model, settings)
        except SettingsError as error:
            way.complain(error.problems)
    return setup.set_up(settings, way.complain, way.attributes, after_file=model is not None)


def reset() -> None:
    """Forget that this process was configured; for tests."""
    global _configured  # noqa: PLW0603
    _configured = None
