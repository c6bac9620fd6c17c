"""What a stdlib `LogRecord` says, read once for everyone: message, event name, severity and attributes.

Alone because the bridge and the console formatters must agree, and only the bridge needs OpenTelemetry.
"""

from __future__ import annotations

import functools
import logging
import os.path
import traceback
from collections.abc import Mapping
from typing import Any

from otelml import context
from otelml.events.emission import FIELDS
from otelml.logs.values import (
    clean_text,
    describe_exception,
    exception_message,
    free_key,
    on_device,
    to_attribute,
    type_name,
)
from otelml.semconv._generated import EVENTS

OVERFLOW = "otelml.extra"
"""Attribute holding, as a mapping, what is beyond `MAX_EXTRAS`."""

MAX_EXTRAS = 100
"""Extras that become attributes of their own; OpenTelemetry drops the oldest attributes beyond 128."""

MAX_NAME = 256
"""Characters of an attribute's name."""

MAX_SEEN_NAMES = 1_000
"""Names of extras that need not be checked again."""

EVENT_NAME = "otel.event.name"
CODE_FILE_PATH = "code.file.path"
CODE_FUNCTION_NAME = "code.function.name"
CODE_LINE_NUMBER = "code.line.number"
CODE_STACKTRACE = "code.stacktrace"
EXCEPTION_TYPE = "exception.type"
EXCEPTION_MESSAGE = "exception.message"
EXCEPTION_STACKTRACE = "exception.stacktrace"
THREAD_NAME = "thread.name"

_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "asctime",
    "message",
}
# OpenTelemetry's logging instrumentation writes the span's ids into the record: the trace context has them.
_CORRELATION = frozenset({"otelTraceID", "otelSpanID", "otelTraceSampled", "otelServiceName"})
_NOT_EXTRA = _STANDARD | _CORRELATION
_seen_names: set[str] = set()
_PLAIN = (str, int, float, bool, type(None))
_UNKNOWN_FILE = "(unknown file)"


def read_extras(record: logging.LogRecord) -> tuple[dict[str, Any], str | None]:
    """What the caller gave as `extra` (or a filter or a record factory added), as it is, and the event name."""
    given = record.__dict__
    if _STANDARD.issuperset(given):
        return {}, None
    extras = {name: given[name] for name in given if name not in _NOT_EXTRA}
    fields = extras.pop(FIELDS, None)
    event_name = _take_event_name(extras)
    if fields:
        extras.update(fields)
    return extras, event_name


def _take_event_name(extras: dict[str, Any]) -> str | None:
    """The event name in `extras`, removed from them: `otel.event.name`, else `event` when it is text."""
    name, event = extras.pop(EVENT_NAME, None), extras.get("event")
    if event and isinstance(event, str) and (not name or name in (event, f"ml.{event}")):
        del extras["event"]
        return _clean_name(name) if name else _event_name(event)
    return _clean_name(name) if name else None


@functools.lru_cache(maxsize=256)
def _event_name(event: str) -> str:
    """`ml.<event>` for an event of the registry; the user's own events keep their name."""
    return f"ml.{to_attribute(event)}" if event in EVENTS else _clean_name(event)


def read_attributes(
    record: logging.LogRecord, run: Mapping[str, Any] | None = None
) -> tuple[dict[str, Any], str | None]:
    """OTel attributes of `record` (extras converted, run, code, exception, thread) and its event name.

    `run` is what was said of the run when the record was made; what is said now when it is not given.
    """
    attributes, event_name = read_extras(record)
    if attributes:
        attributes = _convert_extras(attributes)
    if run is None and context.opened:
        run = context.attributes()
    if run:
        attributes = {**run, **attributes}  # what the record says itself goes first
    _add_code(record, attributes)
    if record.exc_info or record.exc_text:
        _add_exception(record, attributes)
    return attributes, event_name


def _convert_extras(extras: dict[str, Any]) -> dict[str, Any]:
    if len(extras) > MAX_EXTRAS:
        items = list(extras.items())
        extras = dict(items[:MAX_EXTRAS])
        extras[OVERFLOW] = dict(items[MAX_EXTRAS:])
    converted: dict[str, Any] = {}
    for name, value in extras.items():
        kind = type(value)
        if type(name) is not str or name not in _seen_names:
            name = _remembered_name(name)  # noqa: PLW2901
        if name in converted:
            name = free_key(converted, name)  # noqa: PLW2901
        converted[name] = value if kind is float or kind is bool else to_attribute(value)
    return converted


def _remembered_name(name: object) -> str:
    clean = _clean_name(name)
    if len(_seen_names) < MAX_SEEN_NAMES:
        _seen_names.add(clean)
    return clean


def _clean_name(name: object) -> str:
    if type(name) is str and 0 < len(name) <= MAX_NAME and name.isascii():
        return name
    return clean_text(str(to_attribute(name)), MAX_NAME) or "_"


def extra_names(given: Mapping[str, Any]) -> tuple[str, ...] | list[str]:
    """The names in a record's `__dict__` that are none of `logging`'s own."""
    return () if _STANDARD.issuperset(given) else [name for name in given if name not in _NOT_EXTRA]


def _add_code(record: logging.LogRecord, attributes: dict[str, Any]) -> None:
    path, thread = record.pathname, record.threadName
    if path and path != _UNKNOWN_FILE:
        attributes.setdefault(CODE_FILE_PATH, path if path.isascii() else clean_text(path))
        attributes.setdefault(CODE_LINE_NUMBER, record.lineno)
        if record.funcName:
            attributes.setdefault(CODE_FUNCTION_NAME, record.funcName)
    if thread != "MainThread" and thread:
        attributes.setdefault(THREAD_NAME, clean_text(thread))
    if record.stack_info:
        attributes.setdefault(CODE_STACKTRACE, clean_text(record.stack_info))


def _add_exception(record: logging.LogRecord, attributes: dict[str, Any]) -> None:
    kind, exception, trace = read_exc_info(record)
    if kind is not None:
        attributes.setdefault(EXCEPTION_TYPE, type_name(kind))
    if exception is not None:
        attributes.setdefault(EXCEPTION_MESSAGE, clean_text(exception_message(exception)))
        attributes.setdefault(EXCEPTION_STACKTRACE, clean_text(_stacktrace(kind, exception, trace)))
    elif record.exc_text:  # a record from another process brings the text only
        attributes.setdefault(EXCEPTION_STACKTRACE, clean_text(record.exc_text))


def read_exc_info(record: logging.LogRecord) -> tuple[Any, Any, Any]:
    """Class, exception and traceback that it was given; three times None where it was given none."""
    given: Any = record.exc_info  # what a record made by hand carries can be anything
    if isinstance(given, BaseException):
        return type(given), given, given.__traceback__
    if isinstance(given, tuple) and len(given) == 3:
        return given
    return None, None, None


def _stacktrace(kind: Any, exception: BaseException, trace: Any) -> str:
    try:
        return "".join(traceback.format_exception(kind, exception, trace))
    except Exception:  # noqa: BLE001 - exception classes of the user's may fail in many ways
        return describe_exception(exception)


def timestamp_ns(record: logging.LogRecord) -> int:
    """Nanoseconds since 1970, to the microsecond that a float of seconds can tell."""
    return round(record.created * 1e6) * 1000


def read_message(record: logging.LogRecord, *, may_wait: bool = True) -> str:
    """The formatted message; where `args` do not fit the format, both as they are. Never raises.

    With `may_wait` False, arguments that live on an accelerator are described instead of read.
    """
    if not may_wait and _args_on_device(record):
        return _unformatted(record)
    try:
        return clean_text(record.getMessage())
    except Exception:  # noqa: BLE001 - a bad format string, or an argument whose text raises
        return _unformatted(record)


def has_plain_args(record: logging.LogRecord) -> bool:
    """Whether formatting the message can make nobody wait: the check that nearly every record passes."""
    args: Any = record.args
    if not args:
        return True
    if type(args) is not tuple:
        return False
    for arg in args:  # noqa: SIM110 - a generator costs as much as the rest of the record
        if type(arg) not in _PLAIN:
            return False
    return True


def _args_on_device(record: logging.LogRecord) -> bool:
    args: Any = record.args
    values = args.values() if isinstance(args, dict) else args if isinstance(args, tuple) else (args,)
    return any(type(value) not in _PLAIN and on_device(value) for value in values)


def _unformatted(record: logging.LogRecord) -> str:
    message = record.msg if isinstance(record.msg, str) else str(to_attribute(record.msg))
    return clean_text(f"{message} {to_attribute(record.args)}")


def module_of(path: str) -> str:
    """`train` for `/home/me/train.py`: LogRecord's own rule."""
    return os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122 - a Path costs ten times as much


def severity(level: int) -> int:
    """OTel's severity number (0 to 24) of a stdlib level: ten levels make a band of four numbers.

    https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber; levels under DEBUG are TRACE, of
    which 5, what most programs that have such a level use, is TRACE itself, the lowest.
    """
    if level <= 0:
        return 0
    if level < logging.DEBUG:
        return min(max(level - 4, 1), 4)
    band = min(level // 10, 5)
    return band * 4 + 1 + min(level - band * 10, 3)
