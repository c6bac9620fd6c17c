"""Who decides where a signal goes, what the SDK is told, and how often a process is configured."""

from __future__ import annotations

import importlib
import logging
import math
import os
import re
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import sampling

from otelml import configurator
from otelml.configurator.decision import EMBEDDED, decide, entry_point_name, find_port_mistake, otlp_protocol
from otelml.configurator.description import describe_destinations, describe_resource, print_line
from otelml.configurator.environment import overlay, standard_environment
from otelml.configurator.present import is_logging_bridged
from otelml.configurator.providers import Builder
from otelml.export.wire import LIMIT_S, wire_of
from otelml.settings import SIGNALS, Settings, SettingsError, components, current, load, load_lenient

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def read_who_decides() -> list[tuple[dict[str, str], list[str]]]:
    """The rows of the table in the docs: variables, and one cell a signal."""
    table = PAGE.read_text(encoding="utf-8").partition("<!-- who-decides")[2].partition("\n\nWith")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("|")][2:]
    return [(dict(pair.split("=", 1) for pair in re.findall(r"`([^`]+)`", row[0])), row[1:]) for row in rows]


def show(settings: Settings, signal: str) -> str:
    """A decision as the docs write it."""
    decision = decide(settings)[signal]
    names = [
        f"otlp over {otlp_protocol(settings, signal)}" if name == "otlp" else name
        for name in decision.exporters
    ]
    return ", ".join(names) or "nowhere"


@pytest.mark.parametrize(("environ", "cells"), read_who_decides())
def test_the_table_in_the_docs_is_what_happens(environ: dict[str, str], cells: list[str]) -> None:
    """Explicit exporter, OTLP endpoint, embedded default: each row of the page, cell by cell."""
    settings = load(environ)
    assert [show(settings, signal) for signal in SIGNALS] == cells


def test_the_table_has_its_rows() -> None:
    """The test above reads something."""
    assert len(read_who_decides()) > 10


def test_a_decision_names_the_rule_that_made_it() -> None:
    """Variable, keyword, or nobody."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://d/v1/logs",
    }
    decisions = decide(load(environ, metrics_exporter="console"))
    assert {signal: decision.rule for signal, decision in decisions.items()} == {
        "traces": "OTEL_EXPORTER_OTLP_ENDPOINT",
        "metrics": "configure(metrics_exporter=...)",
        "logs": "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT",
    }
    assert {decision.rule for decision in decide(load({})).values()} == {EMBEDDED}


@pytest.mark.parametrize(
    ("protocol", "entry_point"),
    [(None, "otlp_proto_http"), ("http/protobuf", "otlp_proto_http"), ("grpc", "otlp_proto_grpc")],
)
@pytest.mark.parametrize("signal", SIGNALS)
def test_otlp_is_an_exporter_that_is_installed(signal: str, protocol: str | None, entry_point: str) -> None:
    """The entry point behind the name exists for each protocol and signal."""
    name = entry_point_name(load({}, otlp_protocol=protocol), signal, "otlp")
    assert name == entry_point
    assert name in components.installed(f"opentelemetry_{signal}_exporter")


def test_http_to_the_grpc_port_is_pointed_out() -> None:
    """The commonest mistake with OTLP; grpc itself, other ports and unused endpoints are none."""
    endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}
    assert "port that collectors use for gRPC" in (find_port_mistake(load(endpoint)) or "")
    assert find_port_mistake(load({**endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})) is None
    assert find_port_mistake(load({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"})) is None
    explicit = {f"OTEL_{signal}_EXPORTER": "console" for signal in ("TRACES", "METRICS", "LOGS")}
    assert find_port_mistake(load({**endpoint, **explicit})) is None


def test_the_sdk_sees_keywords_and_no_unusable_values() -> None:
    """Standard variables only; the service and the resource reach it as arguments."""
    settings = load_lenient(
        {"OTEL_BSP_MAX_QUEUE_SIZE": "many", "OTELML_FORK": "x", "OTEL_BSP_SCHEDULE_DELAY": "7"},
        metric_interval_s=2.5, otlp_headers={"a": "b c"}, span_budget="all", service_name="s",
        resource_attributes={"a": "b"}, propagators=["tracecontext", "baggage"],
    )  # fmt: skip
    assert overlay(settings) == {
        "OTEL_BSP_MAX_QUEUE_SIZE": None,
        "OTELML_FORK": None,
        "OTEL_METRIC_EXPORT_INTERVAL": "2500",
        "OTEL_EXPORTER_OTLP_HEADERS": "a=b%20c",
        "OTEL_PROPAGATORS": "tracecontext,baggage",
    }


def test_the_environment_is_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after an error, and with nothing to change nothing changes."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
    settings = load_lenient(os.environ, bsp_schedule_delay_s=2)
    before = dict(os.environ)
    seen = {}

    def look() -> None:
        with standard_environment(settings):
            seen.update(os.environ)
            raise KeyError

    with pytest.raises(KeyError):
        look()
    assert "OTEL_BSP_MAX_QUEUE_SIZE" not in seen
    assert seen["OTEL_BSP_SCHEDULE_DELAY"] == "2000"
    assert dict(os.environ) == before


@pytest.mark.parametrize(
    "name", ["always_on", "always_off", "parentbased_always_on", "parentbased_always_off"]
)
def test_plain_samplers_are_those_of_the_sdk(name: str) -> None:
    """By description, which the SDK defines."""
    providers = importlib.import_module("otelml.configurator.providers")
    expected = components.load("opentelemetry_traces_sampler", name)(None)
    assert providers.create_sampler(load({}, sampler=name)).get_description() == expected.get_description()


def test_ratio_samplers_take_their_argument() -> None:
    """As a number or a percentage; without one, everything."""
    create = importlib.import_module("otelml.configurator.providers").create_sampler
    assert create(load({}, sampler="traceidratio", sampler_arg="25%")).rate == 0.25
    assert create(load({}, sampler="traceidratio")).rate == 1.0
    parent_based = create(load({}, sampler="parentbased_traceidratio", sampler_arg="0.5"))
    assert isinstance(parent_based, sampling.ParentBased)
    assert "0.5" in parent_based.get_description()
    assert create(load({})).get_description() == sampling.ParentBased(sampling.ALWAYS_ON).get_description()


def test_scope_configurators_are_the_sdk_s_business(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its private helper finds them; a version without the helper is said to have none."""
    providers = importlib.import_module("otelml.configurator.providers")
    private = importlib.import_module("opentelemetry.sdk._configuration")
    assert providers.scope_configurator("tracer") == {}
    monkeypatch.setenv("OTEL_PYTHON_TRACER_CONFIGURATOR", "mine")
    monkeypatch.setattr(private, "_import_tracer_configurator", lambda name: f"found {name}")
    assert providers.scope_configurator("tracer") == {"_tracer_configurator": "found mine"}
    assert caplog.records == []
    monkeypatch.delattr(private, "_import_tracer_configurator")
    assert providers.scope_configurator("tracer") == {}
    assert "OTEL_PYTHON_TRACER_CONFIGURATOR='mine' has no effect" in caplog.text


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize(
    ("temporality", "limit_s"),
    [(None, LIMIT_S), ("cumulative", LIMIT_S), ("delta", math.inf), ("lowmemory", math.inf)],
)
def test_deltas_are_tried_for_ever(temporality: str | None, limit_s: float, protocol: str) -> None:
    """One that is given up is missing from the total; cumulative values, spans and log records have a limit."""
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    settings = load(told, temporality=temporality)
    pipeline = Builder(settings, Resource({}), decide(settings).values()).build()
    (reader,) = pipeline.readers
    queues = [queue._handover.wire for queue in pipeline.exporters]
    assert wire_of(reader._target)._limit_s == limit_s
    assert [wire._limit_s for wire in queues] == [LIMIT_S, LIMIT_S]
    pipeline.shutdown(60)


def test_the_start_up_line_says_where_everything_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each destination once, with its signals unless these are all; then service, run and rank."""
    monkeypatch.chdir(tmp_path)
    settings = load({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "https://k:s@c:4318/v1/traces"})
    url, folder = "http://127.0.0.1:9464/metrics", tmp_path / "telemetry" / "s" / "r"
    assert describe_destinations(settings, decide(settings).values(), folder, url) == [
        "traces OTLP https://***@c:4318/v1/traces",
        "metrics http://127.0.0.1:9464/metrics",
        "metrics, logs files ./telemetry/s/r/",
    ]
    embedded = load({})
    assert describe_destinations(embedded, decide(embedded).values(), folder, url) == [
        "metrics http://127.0.0.1:9464/metrics",
        "files ./telemetry/s/r/",
    ]
    sampled = load({"SENTRY_DSN": "https://k@sentry.io/1", "SENTRY_TRACES_SAMPLE_RATE": "0.025"})
    assert describe_destinations(sampled, decide(sampled).values(), folder, url) == [
        "traces Sentry (2.5%)",
        "metrics http://127.0.0.1:9464/metrics",
        "files ./telemetry/s/r/",
    ]
    silent = load({}, logs_exporter="none", otlp_endpoint="c:4317", otlp_protocol="grpc")
    assert describe_destinations(silent, decide(silent).values(), None, None) == [
        "logs off",
        "traces, metrics OTLP c:4317 (grpc)",
    ]
    attributes = {
        "service.name": "s",
        "ml.run.id": "r",
        "ml.distributed.rank": 0,
        "ml.distributed.world_size": 8,
    }
    assert describe_resource(attributes) == "service s, run r, rank 0 of 8"
    assert describe_resource({"service.name": "s"}) == "service s"


@pytest.mark.parametrize("stream", [None, open(os.devnull)])  # noqa: SIM115, PTH123 - a stream that cannot be written
def test_a_missing_stderr_is_no_error(monkeypatch: pytest.MonkeyPatch, stream: Any) -> None:
    """`pythonw` has none, daemons close theirs."""
    monkeypatch.setattr("sys.stderr", stream)
    print_line(["x"])


def test_opentelemetry_s_own_handler_is_seen() -> None:
    """With it on the root logger our bridge would write every record twice."""
    from opentelemetry.instrumentation.logging.handler import LoggingHandler

    assert not is_logging_bridged()
    logging.getLogger().addHandler(LoggingHandler())
    assert is_logging_bridged()


@pytest.fixture
def set_up(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Stand-in for the set-up itself: the settings of each call."""
    calls: list[Settings] = []

    def record(settings: Settings, *_: Any, **__: Any) -> object:
        calls.append(settings)
        return object()

    monkeypatch.setattr(importlib.import_module("otelml.configurator.setup"), "set_up", record)
    monkeypatch.setattr(importlib.import_module("otelml.distro"), "instrument_own", lambda _: None)
    return calls


def test_the_first_configure_counts(set_up: list[Settings], caplog: pytest.LogCaptureFixture) -> None:
    """A second one with the same settings is silent; differing ones are named once."""
    configurator.configure(span_budget=3)
    configurator.configure(span_budget=3)
    assert caplog.records == []
    for _ in range(2):
        configurator.configure(span_budget=4, fork="export")
    assert [call.span_budget for call in set_up] == [3.0]
    assert [record.getMessage() for record in caplog.records] == [
        "otelml: this process is already configured; ignored: span_budget, fork"
    ]


def test_configure_after_opentelemetry_instrument_is_harmless(set_up: list[Settings]) -> None:
    """And the other way round."""
    configurator.OtelmlConfigurator().configure(auto_instrumentation_version="1")
    configurator.configure()
    configurator.OtelmlConfigurator().configure()
    assert len(set_up) == 1


def test_a_refused_configure_can_be_repeated(set_up: list[Settings]) -> None:
    """A SettingsError leaves nothing behind."""
    with pytest.raises(SettingsError):
        configurator.configure(span_budget=-1)
    configurator.configure(span_budget=1)
    assert len(set_up) == 1


def test_the_configurator_never_raises(
    set_up: list[Settings], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Unusable variables are logged, and the rest is used."""
    monkeypatch.setenv("OTELML_SPAN_BUDGET", "abc")
    configurator.OtelmlConfigurator().configure()
    assert [call.span_budget for call in set_up] == [50.0]
    assert ["OTELML_SPAN_BUDGET='abc'" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    ("arguments", "environ"),
    [
        (["python", "train.py"], {"OTEL_SDK_DISABLED": "true"}),
        (["python", "-c", "from multiprocessing.spawn import spawn_main", "--multiprocessing-fork"], {}),
        (
            ["python", "-c", "from multiprocessing.resource_tracker import main;main(3)"],
            {"OTELML_FORK": "export"},
        ),
        (["python", "-c", "from multiprocessing.forkserver import main;main(3)"], {}),
    ],
)
def test_where_nothing_is_set_up(
    set_up: list[Settings], monkeypatch: pytest.MonkeyPatch, arguments: list[str], environ: dict[str, str],
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Disabled, and in multiprocessing's processes: nothing is built, instruments are off, nothing is said aloud."""
    monkeypatch.setattr("sys.orig_argv", arguments)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    configurator.configure()
    assert set_up == []
    assert current().sdk_disabled
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert configurator.active_pipeline() is None


def test_workers_that_shall_export_are_set_up(
    set_up: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    """OTELML_FORK=export."""
    monkeypatch.setattr("sys.orig_argv", ["python", "-c", "...", "--multiprocessing-fork"])
    configurator.configure(fork="export")
    assert len(set_up) == 1


def test_a_missing_sdk_is_said_and_no_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A program that calls configure() runs on without the SDK."""
    monkeypatch.setitem(importlib.import_module("sys").modules, "otelml.configurator.setup", None)
    monkeypatch.delattr(configurator, "setup", raising=False)
    configurator.configure()
    assert len(caplog.records) == 1
    assert "nothing is recorded" in caplog.text
