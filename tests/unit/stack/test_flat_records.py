"""Flat log records as OTLP/JSON: the other way round than `logs.flat`, checked against OpenTelemetry's own encoder."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from capture import attributes_of, from_json, value_of

from otelml.logs import flat
from otelml.stack.flat_records import is_flat, to_record, to_request

FLAT = {
    "timestamp": "2025-11-07T12:34:56.123456Z",
    "level": "WARNING",
    "logger": "train.loop",
    "message": "said",
}


def parsed(*records: dict[str, Any]) -> Any:
    """A request of `records`, as OpenTelemetry's own protobuf classes read it."""
    return from_json("logs", to_request(records))


def test_a_whole_record() -> None:
    """Time to the nanosecond it has, severity, body, ids, event, code and everything else under its own name."""
    record = {
        **FLAT,
        "event": "fsq_encoding",
        "module": "train",
        "function": "step",
        "line": 7,
        "trace_id": "0af7651916cd43dd8448eb211c80319c",
        "span_id": "b7ad6b7169203331",
        "service": "train",
        "run_id": "run-7",
        "rank": 3,
        "batch_size": 2**60,
        "share": 0.5,
        "ok": True,
        "nothing": None,
        "classes": ["cat", 1],
        "options": {"lr": 0.1, "model": {"depth": 2}},
    }
    (resource,) = parsed(record).resource_logs
    assert attributes_of(resource.resource) == {
        "service.name": "train",
        "ml.run.id": "run-7",
        "ml.distributed.rank": 3,
    }
    (scope,) = resource.scope_logs
    (found,) = scope.log_records
    assert scope.scope.name == "train.loop"
    assert found.time_unix_nano == 1762518896123456000
    assert (found.severity_number, found.severity_text) == (13, "WARN")
    assert (value_of(found.body), found.event_name) == ("said", "ml.fsq_encoding")
    assert (found.trace_id.hex(), found.span_id.hex()) == (record["trace_id"], record["span_id"])
    assert attributes_of(found) == {
        "module": "train",
        "code.function.name": "step",
        "code.line.number": 7,
        "batch_size": 2**60,
        "share": 0.5,
        "ok": True,
        "nothing": None,
        "classes": ["cat", 1],
        "options": {"lr": 0.1, "model": {"depth": 2}},
    }


def test_a_record_with_the_least() -> None:
    """What is not known is absent."""
    assert to_record(FLAT) == {
        "timeUnixNano": "1762518896123456000",
        "severityNumber": 13,
        "severityText": "WARN",
        "body": {"stringValue": "said"},
        "attributes": [],
    }
    (resource,) = to_request([FLAT])["resourceLogs"]
    assert resource["resource"] == {"attributes": []}


@pytest.mark.parametrize(
    ("level", "number", "text"),
    [
        ("DEBUG", 5, "DEBUG"),
        ("INFO", 9, "INFO"),
        ("WARNING", 13, "WARN"),
        ("ERROR", 17, "ERROR"),
        ("CRITICAL", 21, "FATAL"),
        ("TRACE", 1, "TRACE"),
        ("Level 25", 12, "Level 25"),
        ("NOTSET", None, "NOTSET"),
        ("AUDIT", None, "AUDIT"),
    ],
)
def test_severities(level: str, number: int | None, text: str) -> None:
    """The numbers of OpenTelemetry's own handler; a level that nobody knows here has a text only."""
    record = to_record(FLAT | {"level": level})
    assert (record.get("severityNumber"), record["severityText"]) == (number, text)


def test_severities_are_those_of_the_way_there() -> None:
    """A record that the console's formatter has made flat comes back with the severity of its level."""
    for level, number in ((logging.DEBUG, 5), (logging.INFO, 9), (37, 16), (logging.CRITICAL, 21)):
        there = flat.from_record(logging.LogRecord("x", level, "train.py", 1, "said", (), None))
        assert to_record(json.loads(flat.dumps(there)))["severityNumber"] == number


def test_events_have_their_names_back() -> None:
    """Those of the registry their prefix, others the name that they always had."""
    assert to_record(FLAT | {"event": "run_start"})["eventName"] == "ml.run_start"
    assert to_record(FLAT | {"event": "mine"})["eventName"] == "mine"


@pytest.mark.parametrize("timestamp", ["yesterday", "", "2025-11-07T12:34:56", "9" * 40])
def test_a_time_that_nobody_can_read_is_absent(timestamp: str) -> None:
    """Nor is one without a zone guessed at; the record goes all the same."""
    assert "timeUnixNano" not in to_record(FLAT | {"timestamp": timestamp})


def test_numbers_beyond_64_bits_are_texts() -> None:
    """OTLP has no others."""
    pairs = {
        pair["key"]: pair["value"] for pair in to_record(FLAT | {"a": 2**63, "b": -(2**63)})["attributes"]
    }
    assert pairs == {"a": {"stringValue": str(2**63)}, "b": {"intValue": str(-(2**63))}}


def test_records_are_grouped_by_resource_and_logger() -> None:
    """Each group once, records in their order; a run within the run is another resource."""
    records = [
        FLAT | {"service": "train", "run_id": run, "logger": logger, "n": n}
        for n, (run, logger) in enumerate([("1", "a"), ("2", "a"), ("1", "b"), ("1", "a")])
    ]
    found = [
        (attributes_of(resource.resource)["ml.run.id"], scope.scope.name, attributes_of(record)["n"])
        for resource in parsed(*records).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    assert found == [("1", "a", 0), ("1", "a", 3), ("1", "b", 2), ("2", "a", 1)]


def test_what_is_no_record() -> None:
    """Other JSON, and objects without time, level or message."""
    assert is_flat(FLAT)
    others = [None, 1, "x", [], [FLAT], {}, {"resourceSpans": []}]
    assert [value for value in others if is_flat(value)] == []
    assert [
        key
        for key in ("timestamp", "level", "message")
        if is_flat({k: v for k, v in FLAT.items() if k != key})
    ] == []
