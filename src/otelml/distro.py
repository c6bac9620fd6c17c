"""The distribution: what `opentelemetry-instrument` does when this package is installed."""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from typing import Any

from opentelemetry.instrumentation.dependencies import DependencyConflictError
from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]

from otelml import settings
from otelml.instruments import internal
from otelml.settings import Settings, components

_GROUP = "opentelemetry_instrumentor"
_PACKAGE = "otelml"
# Logging's own handler on the root logger would turn the program's basicConfig() into a no-op, and write each record
# a second time: our bridge needs no handler. Trace ids in the console format stay the user's choice.
_OPTIONS: Mapping[str, Mapping[str, Any]] = {"logging": {"enable_log_auto_instrumentation": False}}


class OtelmlDistro(BaseDistro):
    """Chooses our configurator, and loads instrumentations so that a broken one leaves the others alone."""

    def _configure(self, **kwargs: Any) -> None:  # noqa: ARG002 - the base class' signature
        choose_configurator(os.environ)

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Instrument with `entry_point`; its errors are counted and said once, and end here."""
        if not settings.current().sdk_disabled:
            load_contained(entry_point, **kwargs)


def choose_configurator(environ: MutableMapping[str, str]) -> None:
    """Make our configurator the one to run, unless somebody chose another: the stock one may be installed too."""
    environ.setdefault("OTEL_PYTHON_CONFIGURATOR", _PACKAGE)


def _prepare(entry_point: Any) -> tuple[Any, Mapping[str, Any]]:
    """The instrumentor of an entry point, and what we ask of it."""
    from otelml.configurator import active_pipeline
    from otelml.instrumentation import system_metrics

    kind = entry_point.load()
    if entry_point.name == "system_metrics":
        return system_metrics.prepare(kind, os.environ)
    # Where another configurator ran, there is no bridge of ours either.
    return kind(), _OPTIONS.get(entry_point.name, {}) if active_pipeline() is not None else {}


def load_contained(entry_point: Any, **kwargs: Any) -> None:
    """Load an instrumentor and instrument with it, unless that was done before.

    Raises ImportError and DependencyConflictError, which the loader of OpenTelemetry treats as "not installed".
    """
    try:
        instrumentor, options = _prepare(entry_point)
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(**{**options, **kwargs})
    except (ImportError, DependencyConflictError):
        raise
    except Exception as error:  # noqa: BLE001 - a third party's code: one broken instrumentor must not stop the others
        internal.count("errors", "instrumentation", type(error).__name__)
        internal.warn_once(
            f"instrumentor:{entry_point.name}",
            "otelml: the instrumentation %r failed with %s: %s; the others go on",
            entry_point.name,
            type(error).__name__,
            error,
        )


def instrument_own(in_force: Settings) -> None:
    """What `configure()` instruments: threads, the system, the log format when asked for, and our own entry points."""
    disabled = set(in_force.disabled_instrumentations)
    wanted = {"threading", "system_metrics", *(("logging",) if in_force.log_correlation else ())}
    for entry_point in components.entry_points_of(_GROUP):
        own = entry_point.dist is not None and entry_point.dist.name == _PACKAGE
        if (own or entry_point.name in wanted) and not disabled & {"*", entry_point.name}:
            _instrument_once(entry_point)


def uninstrument_own() -> None:
    """What `shutdown()` takes back: our own entry points, whose threads have nothing to do any more."""
    for entry_point in components.entry_points_of(_GROUP):
        if entry_point.dist is not None and entry_point.dist.name == _PACKAGE:
            with internal.guard("instrumentation"):
                instrumentor = entry_point.load()()
                if instrumentor.is_instrumented_by_opentelemetry:
                    instrumentor.uninstrument()


def _instrument_once(entry_point: Any) -> None:
    with internal.guard("instrumentation"):
        try:
            load_contained(entry_point)
        except (ImportError, DependencyConflictError) as error:
            internal.warn_once(
                f"instrumentor:{entry_point.name}", "otelml: %r is not loaded: %s", entry_point.name, error
            )
