"""Log records of the flat form as OTLP/JSON: what `logs.flat` wrote, the other way round.

What the flat form does not have stays away: the path of the source file (its `module` remains), the host, most of the
resource. Epoch, step and experiment keep their flat names, as an event's own fields of that name look the same.
collector-config/agent.yaml does the same in a collector.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

from otelml.logs.record import CODE_FUNCTION_NAME, CODE_LINE_NUMBER, severity
from otelml.semconv import _generated as semconv

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_INT64 = range(-(2**63), 2**63)
_RESOURCE = {"service": "service.name", "run_id": semconv.ML_RUN_ID, "rank": semconv.ML_DISTRIBUTED_RANK}
_RENAMED = {"function": CODE_FUNCTION_NAME, "line": CODE_LINE_NUMBER}
_TAKEN = frozenset(
    {"timestamp", "level", "logger", "message", "event", "trace_id", "span_id", *_RESOURCE, *_RENAMED}
)
# As OpenTelemetry's own handler writes them, and the bridge.
_SEVERITY_TEXTS = {"WARNING": "WARN", "CRITICAL": "FATAL"}
_TRACE = 1
_UNNAMED_LEVEL = re.compile(r"Level (\d{1,9})\Z")


def is_flat(value: Any) -> bool:
    """Whether `value` is a log record of the flat form."""
    return isinstance(value, dict) and {"timestamp", "level", "message"} <= value.keys()


def to_request(records: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """An OTLP/JSON request of flat records, each under its resource and its logger, in their order."""
    resources: dict[tuple[Any, ...], dict[str, list[dict[str, Any]]]] = {}
    for flat in records:
        scopes = resources.setdefault(tuple(flat.get(key) for key in _RESOURCE), {})
        scopes.setdefault(str(flat.get("logger", "")), []).append(to_record(flat))
    return {
        "resourceLogs": [
            {"resource": {"attributes": _resource(values)}, "scopeLogs": _scopes(scopes)}
            for values, scopes in resources.items()
        ]
    }


def to_record(flat: Mapping[str, Any]) -> dict[str, Any]:
    """One flat record as OTLP/JSON's LogRecord."""
    level, event = str(flat["level"]), flat.get("event")
    renamed = {otlp: flat[key] for key, otlp in _RENAMED.items() if key in flat}
    others = {key: value for key, value in flat.items() if key not in _TAKEN}
    record = {
        "timeUnixNano": _nanoseconds(str(flat["timestamp"])),
        "severityNumber": _severity_number(level),
        "severityText": _SEVERITY_TEXTS.get(level, level),
        "body": _value(flat["message"]),
        "attributes": _pairs(others | renamed),
        "traceId": flat.get("trace_id"),
        "spanId": flat.get("span_id"),
        "eventName": f"ml.{event}" if event in semconv.EVENTS else event,
    }
    return {key: value for key, value in record.items() if value is not None}


def _nanoseconds(timestamp: str) -> str | None:
    # Python 3.10 reads no Z.
    with suppress(ValueError):
        at = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
        if at.tzinfo is not None:
            return str((at - _EPOCH) // timedelta(microseconds=1) * 1000)
    return None


def _severity_number(level: str) -> int | None:
    unnamed = _UNNAMED_LEVEL.match(level)
    number = int(unnamed[1]) if unnamed else logging.getLevelName(level)
    if isinstance(number, int):
        return severity(number) or None
    return _TRACE if level == "TRACE" else None


def _resource(values: Iterable[Any]) -> list[dict[str, Any]]:
    known = {key: value for key, value in zip(_RESOURCE.values(), values, strict=True) if value is not None}
    return _pairs(known)


def _scopes(scopes: Mapping[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"scope": {"name": name}, "logRecords": records} for name, records in scopes.items()]


def _pairs(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Any) -> dict[str, Any]:
    """OTLP/JSON's AnyValue; 64-bit integers are text in it."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if value in _INT64 else {"stringValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_value(element) for element in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": _pairs(value)}}
    return {} if value is None else {"stringValue": value}
