"""The flat JSON form of a log record: one object a line, the same keys in files and on the console.

Alone because the file exporter and `JSONFormatter` come to it from two kinds of records, and readers rely on it.

Keys, where known: `timestamp level logger message event module function line trace_id span_id service run_id rank`,
then every other attribute under its own name, a run's as `experiment`, `epoch` and `step`. An attribute whose name is
taken gets underscores at its end.
"""

from __future__ import annotations

import functools
import json
import math
import sys
import time
from collections.abc import Mapping
from typing import Any

from otelml.logs import record as reading
from otelml.logs.values import free_key, to_attribute
from otelml.semconv import _generated as semconv

STANDARD_KEYS = frozenset(
    {"timestamp", "level", "logger", "message", "event", "module", "function", "line"}
    | {"trace_id", "span_id", "service", "run_id", "rank"}
)

_PYTHON_LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL"}
_BANDS = ("TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
# str.splitlines() takes these for ends of lines; JSON does not escape them by itself.
_LINE_ENDS = {0x85: "\\u0085", 0x2028: "\\u2028", 0x2029: "\\u2029"}

_PROGRESS = {
    "experiment": semconv.ML_RUN_EXPERIMENT,
    "epoch": semconv.ML_TRAINING_EPOCH,
    "step": semconv.ML_TRAINING_STEP,
}

_process: dict[str, Any] = {}


def describe_process(resource: Any) -> None:
    """Have records that come without a resource (the console's) say service, run and rank of this one."""
    _process.clear()
    _process.update(_attributes_of(resource))


def to_flat(data: Any, resource: Any = None) -> dict[str, Any]:
    """The flat form of what a log exporter is given, or of an OTel log record and its resource."""
    log_record = getattr(data, "log_record", data)
    scope = getattr(data, "instrumentation_scope", None)
    attributes = _attributes_of(log_record)
    flat: dict[str, Any] = {
        "timestamp": iso_timestamp(log_record.timestamp or log_record.observed_timestamp or 0),
        "level": _level(log_record),
        "logger": scope.name if scope is not None else None,
        "message": _message(log_record),
        "event": log_record.event_name,
        "trace_id": f"{log_record.trace_id:032x}" if log_record.trace_id else None,
        "span_id": f"{log_record.span_id:016x}" if log_record.span_id else None,
    }
    return _complete(flat, attributes, _attributes_of(resource or getattr(data, "resource", None)))


def from_record(
    record: Any, run: Mapping[str, Any] | None = None, span_context: Any = None
) -> dict[str, Any]:
    """The flat form of a stdlib `LogRecord`, in the run and the span that are current now, or were when it was made.

    Args:
        record: the record.
        run: attributes of the run then; empty when there was none.
        span_context: of the span then; an invalid one when there was none.
    """
    attributes, event_name = reading.read_attributes(record, run)
    trace_id, span_id = _span_ids(current_span_context() if span_context is None else span_context)
    flat: dict[str, Any] = {
        "timestamp": iso_timestamp(reading.timestamp_ns(record)),
        "level": record.levelname,
        "logger": record.name,
        "message": reading.read_message(record),
        "event": event_name,
        "trace_id": trace_id,
        "span_id": span_id,
    }
    return _complete(flat, attributes, _process)


def _complete(
    flat: dict[str, Any], attributes: dict[str, Any], resource: Mapping[str, Any]
) -> dict[str, Any]:
    path = attributes.pop(reading.CODE_FILE_PATH, None)
    standard = {
        "timestamp": flat["timestamp"],
        "level": flat["level"],
        "logger": flat["logger"],
        "message": flat["message"],
        "event": flat["event"] and flat["event"].removeprefix("ml."),
        "module": path and reading.module_of(str(path)),
        "function": attributes.pop(reading.CODE_FUNCTION_NAME, None),
        "line": attributes.pop(reading.CODE_LINE_NUMBER, None),
        "trace_id": flat["trace_id"],
        "span_id": flat["span_id"],
        "service": resource.get("service.name"),
        "run_id": attributes.pop("ml.run.id", None) or resource.get("ml.run.id"),
        "rank": resource.get("ml.distributed.rank"),
    }
    _name_progress(attributes)
    known = {key: value for key, value in standard.items() if value is not None}
    overflow = attributes.pop(reading.OVERFLOW, None)
    _add_all(known, attributes)
    if isinstance(overflow, Mapping):
        _add_all(known, overflow)
    return known


def _name_progress(attributes: dict[str, Any]) -> None:
    """The run's experiment, epoch and step under the names that events have for them; an event's own go first."""
    for name, key in _PROGRESS.items():
        value = attributes.pop(key, None)
        if value is not None:
            attributes.setdefault(name, value)


def _add_all(flat: dict[str, Any], attributes: Mapping[str, Any]) -> None:
    for key, value in attributes.items():
        flat[free_key(flat, key)] = value


def _attributes_of(owner: Any) -> dict[str, Any]:
    attributes = getattr(owner, "attributes", owner)
    return dict(attributes) if attributes else {}


def _level(log_record: Any) -> str:
    text = log_record.severity_text
    if text:
        return _PYTHON_LEVELS.get(text, text)
    number = getattr(log_record.severity_number, "value", None)
    return _BANDS[min((number - 1) // 4, 5)] if number else "NOTSET"


def _message(log_record: Any) -> str:
    body = log_record.body
    if isinstance(body, str):
        return body
    if body is None:
        return (log_record.event_name or "").removeprefix("ml.")
    return dumps(body)


def iso_timestamp(timestamp_ns: int) -> str:
    """`2025-11-07T12:34:56.123456Z` for nanoseconds since 1970."""
    seconds, rest = divmod(timestamp_ns, 1_000_000_000)
    return f"{_iso_second(seconds)}.{rest // 1000:06d}Z"


@functools.lru_cache(maxsize=8)
def _iso_second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def current_span_context() -> Any:
    """That of the current span, which may be an invalid one; None where nobody can have started a span."""
    trace = sys.modules.get("opentelemetry.trace")
    return None if trace is None else trace.get_current_span().get_span_context()


def _span_ids(context: Any) -> tuple[str | None, str | None]:
    if context is None or not context.is_valid:
        return None, None
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def dumps(value: Any, indent: int | None = None) -> str:
    """`value` as JSON that every parser accepts, on one line unless `indent` is given. Never raises.

    NaN and the infinities become the strings "NaN", "Infinity", "-Infinity" (as in OTLP's JSON), bytes become text
    with escapes where they are not UTF-8, lone surrogates are written out as text, and what JSON has no form for
    is converted as by `to_attribute`.
    """
    encoder = _encoder(indent)
    try:
        text = encoder.encode(value)
        if text.isascii():
            return text
        text.encode()  # raises for lone surrogates
    except (TypeError, ValueError, RecursionError):
        text = encoder.encode(_plain(_converted(value)))
    return text.translate(_LINE_ENDS)


@functools.lru_cache(maxsize=4)
def _encoder(indent: int | None) -> json.JSONEncoder:
    return json.JSONEncoder(ensure_ascii=False, allow_nan=False, indent=indent)


def _converted(value: Any) -> Any:
    """`to_attribute`, with its bounds applied to each value of a flat record instead of to the whole."""
    if type(value) is not dict:
        return to_attribute(value)
    converted: dict[str, Any] = {}
    for key, element in value.items():
        converted[free_key(converted, str(to_attribute(key)))] = to_attribute(element)
    return converted


def _plain(value: Any) -> Any:
    """`value`, an attribute value, in JSON's types."""
    if isinstance(value, dict):
        return {key: _plain(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value
