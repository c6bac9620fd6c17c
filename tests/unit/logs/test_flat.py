"""One record, one line of JSON with the promised keys, that every parser reads."""

from __future__ import annotations

import json
import logging
import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otelml.logs import bridge
from otelml.logs.flat import STANDARD_KEYS, dumps, iso_timestamp, to_flat

RESOURCE = Resource(
    {"service.name": "trainer", "ml.run.id": "r-1", "ml.distributed.rank": 3, "host.name": "node"}
)


def exported(resource: Resource = RESOURCE) -> tuple[LoggerProvider, InMemoryLogRecordExporter]:
    """A provider with that resource, and where its records arrive."""
    provider, exporter = (
        LoggerProvider(resource=resource, shutdown_on_exit=False),
        InMemoryLogRecordExporter(),
    )
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    return provider, exporter


def flat_of(resource: Resource = RESOURCE, **fields: Any) -> dict[str, Any]:
    """The flat form of a record that was emitted through OpenTelemetry itself."""
    provider, exporter = exported(resource)
    provider.get_logger("scope").emit(LogRecord(**fields))
    return to_flat(exporter.get_finished_logs()[0])


def test_a_stdlib_record_from_end_to_end() -> None:
    """A record of the user's with an event has exactly the promised keys, in their order."""
    provider, exporter = exported()
    bridge.install(provider)
    record = logging.LogRecord("conv2d", 30, "/src/train.py", 12, "epoch %d", (15,), None, "fit")
    record.created = 1705314645.123456
    vars(record).update(event="clustering", k_clusters=4, loss=np.float32(0.5))
    with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("s") as span:
        logging.getLogger("conv2d").handle(record)
    flat = to_flat(exporter.get_finished_logs()[0])
    context = span.get_span_context()
    assert list(flat.items()) == [
        ("timestamp", "2024-01-15T10:30:45.123456Z"),
        ("level", "WARNING"),
        ("logger", "conv2d"),
        ("message", "epoch 15"),
        ("event", "clustering"),
        ("module", "train"),
        ("function", "fit"),
        ("line", 12),
        ("trace_id", f"{context.trace_id:032x}"),
        ("span_id", f"{context.span_id:016x}"),
        ("service", "trainer"),
        ("run_id", "r-1"),
        ("rank", 3),
        ("k_clusters", 4),
        ("loss", 0.5),
    ]


def test_what_is_unknown_is_absent() -> None:
    """No span, run, rank, event or place: no key, rather than an empty one."""
    flat = flat_of(Resource({}), timestamp=1_000_000_000, body="x", severity_number=SeverityNumber.INFO)
    assert flat == {
        "timestamp": "1970-01-01T00:00:01.000000Z",
        "level": "INFO",
        "logger": "scope",
        "message": "x",
    }


def test_a_record_s_own_run_wins() -> None:
    """A record from inside a nested run has that run's id; rank 0 is a rank."""
    resource = Resource({"ml.run.id": "outer", "ml.distributed.rank": 0})
    flat = flat_of(resource, body="x", attributes={"ml.run.id": "inner"})
    assert (flat["run_id"], flat["rank"]) == ("inner", 0)
    assert "ml.run.id" not in flat


def test_colliding_names_are_kept() -> None:
    """An attribute named like a standard key gets an underscore, and so on; nothing is lost."""
    flat = flat_of(
        body="x", attributes={"function": "encode", "message": "m", "message_": "n", "level": 8, "rank": 7}
    )
    assert flat["message"] == "x"
    assert (flat["message_"], flat["message__"]) == ("m", "n")
    assert (flat["level_"], flat["rank"], flat["rank_"]) == (8, 3, 7)
    assert flat["function"] == "encode"  # free: this record has no code attributes


def test_overflowing_extras_are_unfolded() -> None:
    """Extras beyond OpenTelemetry's limit, which travel in one mapping, are top-level keys again."""
    flat = flat_of(body="x", attributes={"a": 1, "otelml.extra": {"b": 2, "a": 3}})
    assert (flat["a"], flat["b"], flat["a_"]) == (1, 2, 3)


@pytest.mark.parametrize(
    ("fields", "level"),
    [
        ({"severity_text": "WARN"}, "WARNING"),
        ({"severity_text": "FATAL"}, "CRITICAL"),
        ({"severity_text": "METRIC"}, "METRIC"),
        ({"severity_number": SeverityNumber.TRACE2}, "TRACE"),
        ({"severity_number": SeverityNumber.ERROR3}, "ERROR"),
        ({"severity_number": SeverityNumber.FATAL4}, "CRITICAL"),
        ({}, "NOTSET"),
    ],
)
def test_levels(fields: dict[str, Any], level: str) -> None:
    """Levels have Python's names, also for records that did not come from `logging`."""
    assert flat_of(body="x", **fields)["level"] == level


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"body": None, "event_name": "ml.run_start"}, "run_start"),
        ({"body": None}, ""),
        ({"body": {"a": [1]}}, '{"a": [1]}'),
        ({"body": 3}, "3"),
    ],
)
def test_messages_are_text(fields: dict[str, Any], message: str) -> None:
    """A body that is no text, as other sources of OTel logs write, is shown as JSON, and none as the event's name."""
    assert flat_of(**fields)["message"] == message


def test_bare_record_and_resource() -> None:
    """The log record and its resource may be given apart from each other."""
    record = LogRecord(body="x", observed_timestamp=5_000)
    flat = to_flat(record, RESOURCE)
    assert (flat["timestamp"], flat["service"]) == ("1970-01-01T00:00:00.000005Z", "trainer")
    assert to_flat(record, SimpleNamespace(attributes={"service.name": "other"}))["service"] == "other"


@pytest.mark.parametrize(
    ("timestamp_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_762_518_896_999_999_999, "2025-11-07T12:34:56.999999Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_timestamps(timestamp_ns: int, text: str) -> None:
    """UTC with microseconds, cut and not rounded, so that a second never has a 1 000 000th."""
    assert iso_timestamp(timestamp_ns) == text


def test_json_of_numbers_that_json_has_not() -> None:
    """NaN and infinities are the strings that OTLP's JSON has for them, at any depth."""
    line = dumps({"loss": math.nan, "nested": [math.inf, {"x": -math.inf}]})
    assert json.loads(line) == {"loss": "NaN", "nested": ["Infinity", {"x": "-Infinity"}]}


def test_json_of_odd_values() -> None:
    """Bytes, surrogates, unknown objects and odd keys leave valid JSON."""
    line = dumps(
        {"raw": b"ok\xff", "name": "caf\udce9", "key\udce9": 1, (1, 2): np.int64(3), "long": 10**400}
    )
    values = orjson.loads(line)
    assert values["raw"] == "ok\\xff"
    assert values["name"] == "caf\\udce9"
    assert values["key\\udce9"] == 1
    assert values["[1, 2]"] == 3
    assert values["long"].startswith("1000")


def test_json_is_one_line() -> None:
    """Whatever a reader takes for the end of a line is escaped, and readable text is not."""
    line = dumps({"m": "a\nb\rc\x0bd\x0ce\x1cf\x85g\u2028h\u2029i", "name": "Zoë 🎉"})
    assert len(line.splitlines()) == 1
    assert "Zoë 🎉" in line
    assert orjson.loads(line)["m"] == "a\nb\rc\x0bd\x0ce\x1cf\x85g\u2028h\u2029i"


def test_json_of_cycles() -> None:
    """A structure that contains itself, and one nested too deep, are still JSON."""
    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert orjson.loads(dumps({"cyclic": cyclic})) == {"cyclic": {"self": "<cycle: dict>"}}
    assert orjson.loads(dumps({"deep": deep}))


def test_a_nan_shortens_nothing_else() -> None:
    """A value that needs the careful way does not make the others subject to a common bound."""
    values = orjson.loads(dumps({"loss": math.nan, "a": "x" * 60_000, "b": "y" * 60_000}))
    assert (len(values["a"]), len(values["b"])) == (60_000, 60_000)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text(st.characters())
    | st.datetimes() | st.builds(object) | st.just(np.float32("nan")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters()) | st.integers() | st.floats(), inner),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None)
@given(st.dictionaries(st.text(st.characters(), max_size=20), anything, max_size=5), st.text(st.characters()))
def test_every_record_is_one_line_of_json(extra: dict[str, Any], message: str) -> None:
    """Whatever text and extras a record has, its line is parsed by a strict parser, and no extra is missing."""
    provider, exporter = exported()
    bridge.install(provider)
    record = logging.LogRecord("l", 20, "/a/train.py", 1, message, (), None, "f")
    fresh = {k: v for k, v in extra.items() if k not in vars(record) and k not in ("message", "asctime")}
    vars(record).update(fresh)
    logging.getLogger("l").handle(record)
    bridge.uninstall()
    line = dumps(to_flat(exporter.get_finished_logs()[0]))
    line.encode()
    assert len(line.splitlines()) == 1
    parsed = orjson.loads(line)
    meant = {"event", "otel.event.name", "ml.run.id", "otelml.extra", "code.file.path", "code.function.name"}
    others = [key for key in parsed if key not in STANDARD_KEYS]
    assert len(others) >= len(
        [key for key in fresh if key not in meant | {"code.line.number"} | STANDARD_KEYS]
    )
