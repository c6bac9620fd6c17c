"""The distribution: which configurator runs, and how instrumentations are loaded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from opentelemetry.instrumentation.dependencies import DependencyConflict, DependencyConflictError

from otelml import configurator, settings
from otelml.distro import OtelmlDistro, choose_configurator, instrument_own
from otelml.instrumentation import system_metrics
from otelml.instruments import internal, timer
from otelml.settings import components, load


@dataclass
class Instrumentor:
    """Records what it is asked, or fails as told."""

    failure: BaseException | None = None
    is_instrumented_by_opentelemetry: bool = False
    calls: list[dict[str, Any]] = field(default_factory=list)
    constructed: list[dict[str, Any]] = field(default_factory=list)

    def instrument(self, **options: Any) -> None:
        """Stand-in for BaseInstrumentor.instrument."""
        self.calls.append(options)
        if self.failure is not None:
            raise self.failure


@dataclass
class Package:
    """The distribution of an entry point."""

    name: str


@dataclass
class EntryPoint:
    """One entry point that loads `instrumentor`."""

    name: str
    instrumentor: Instrumentor
    dist: Package | None = None

    def load(self) -> Any:
        """The class, which called gives the instrumentor."""

        def construct(**options: Any) -> Instrumentor:
            self.instrumentor.constructed.append(options)
            return self.instrumentor

        return construct


@pytest.mark.parametrize(
    ("environ", "chosen"), [({}, "otelml"), ({"OTEL_PYTHON_CONFIGURATOR": "other"}, "other")]
)
def test_our_configurator_runs_unless_another_was_chosen(environ: dict[str, str], chosen: str) -> None:
    """Beside an installed opentelemetry-distro both would be candidates."""
    choose_configurator(environ)
    assert environ["OTEL_PYTHON_CONFIGURATOR"] == chosen


def test_logging_gets_no_handler_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bridge is there already; other instrumentations get what the loader gives."""
    monkeypatch.setattr(configurator, "active_pipeline", object)
    logging_, other = Instrumentor(), Instrumentor()
    OtelmlDistro().load_instrumentor(EntryPoint("logging", logging_), skip_dep_check=True)
    OtelmlDistro().load_instrumentor(EntryPoint("requests", other), skip_dep_check=True)
    assert logging_.calls == [{"enable_log_auto_instrumentation": False, "skip_dep_check": True}]
    assert other.calls == [{"skip_dep_check": True}]


def test_logging_keeps_its_handler_where_another_configurator_ran() -> None:
    """Without our bridge it is the only way of records to OpenTelemetry."""
    logging_ = Instrumentor()
    OtelmlDistro().load_instrumentor(EntryPoint("logging", logging_))
    assert logging_.calls == [{}]


@pytest.mark.parametrize("is_ours", [True, False], ids=["our pipeline", "another configurator's"])
def test_system_metrics_are_constructed_once_with_our_set(
    monkeypatch: pytest.MonkeyPatch, *, is_ours: bool
) -> None:
    """Its class takes the set at construction, and another call of it would change that of the one at work."""
    monkeypatch.setattr(configurator, "active_pipeline", lambda: object() if is_ours else None)
    monkeypatch.setattr(timer, "fork_hooks", [])
    instrumentor = Instrumentor()
    OtelmlDistro().load_instrumentor(EntryPoint("system_metrics", instrumentor), skip_dep_check=True)
    assert instrumentor.constructed == [{"config": dict(system_metrics.LEAN)}]
    (options,) = instrumentor.calls
    assert options.keys() == {"meter_provider", "skip_dep_check"}


def test_a_broken_instrumentor_is_said_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """The loader would stop at its exception, and leave out all that come after."""
    for _ in range(2):
        OtelmlDistro().load_instrumentor(EntryPoint("broken", Instrumentor(ValueError("no luck"))))
    assert [record.getMessage() for record in caplog.records] == [
        "otelml: the instrumentation 'broken' failed with ValueError: no luck; the others go on"
    ]
    assert internal.totals() == {("errors", "instrumentation", "ValueError"): 2}


@pytest.mark.parametrize("failure", [ImportError("x"), DependencyConflictError(DependencyConflict("x"))])
def test_what_is_not_installed_is_the_loader_s_business(failure: Exception) -> None:
    """It skips these by itself."""
    with pytest.raises(type(failure)):
        OtelmlDistro().load_instrumentor(EntryPoint("absent", Instrumentor(failure)))


def test_nothing_is_instrumented_where_telemetry_is_off() -> None:
    """Disabled, and in multiprocessing's processes."""
    settings.set_current(load({}, sdk_disabled=True))
    instrumentor = Instrumentor()
    OtelmlDistro().load_instrumentor(EntryPoint("requests", instrumentor))
    assert instrumentor.calls == []


@pytest.mark.parametrize(
    ("keywords", "instrumented"),
    [
        ({}, ["threading", "system_metrics", "otelml_gpu"]),
        ({"log_correlation": True}, ["threading", "system_metrics", "logging", "otelml_gpu"]),
        ({"disabled_instrumentations": "threading, x"}, ["system_metrics", "otelml_gpu"]),
        ({"disabled_instrumentations": "threading,system_metrics"}, ["otelml_gpu"]),
        ({"disabled_instrumentations": "*"}, []),
    ],
)
def test_configure_instruments_threads_the_system_and_our_own(
    monkeypatch: pytest.MonkeyPatch, keywords: dict[str, Any], instrumented: list[str]
) -> None:
    """Others' libraries are left to opentelemetry-instrument; what is instrumented already stays as it is."""
    points = {
        name: EntryPoint(name, Instrumentor(), Package(package))
        for name, package in (
            ("requests", "opentelemetry-instrumentation-requests"),
            ("threading", "opentelemetry-instrumentation-threading"),
            ("system_metrics", "opentelemetry-instrumentation-system-metrics"),
            ("logging", "opentelemetry-instrumentation-logging"),
            ("otelml_gpu", "otelml"),
        )
    }
    points["again"] = EntryPoint(
        "threading", Instrumentor(is_instrumented_by_opentelemetry=True), Package("x")
    )
    monkeypatch.setattr(components, "entry_points_of", lambda _: tuple(points.values()))
    instrument_own(load({}, **keywords))
    assert [name for name, point in points.items() if point.instrumentor.calls] == instrumented
