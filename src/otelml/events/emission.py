"""Writing one event: a log record with a name and fields, through `logging`, checked against the registry.

They need a way of their own to the log bridge: a root logger at WARNING, as it is when nothing was configured, must
keep them off the user's console and yet not lose them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from otelml import settings
from otelml.instruments import internal
from otelml.semconv._generated import EVENTS

if TYPE_CHECKING:
    from otelml.semconv.model import Event

LOGGER = "otelml"
"""The logger that events are written to unless another one is given."""

FIELDS = "_otelml_fields"
"""Record attribute for the fields that have a name which `logging` uses itself (`name`, `module`, `message`, ...)."""

bridged = False
"""Whether the log bridge is installed, which sets this: without it, what no handler wants need not be made."""

_RESERVED = frozenset({"message", "asctime", "event", "otel.event.name"})


def emit(
    name: str,
    fields: Mapping[str, Any] | None = None,
    /,
    *,
    level: int | str | None = None,
    message: str | None = None,
    logger: logging.Logger | None = None,
    stacklevel: int = 1,
    exc_info: BaseException | bool | None = None,
    **more: Any,
) -> None:
    """Write one event: `emit("epoch_complete", epoch=3, loss=0.12)`.

    It always reaches the log bridge, from `OTELML_LOG_LEVEL` on; it reaches the user's handlers when the level of
    the logger would let any other record through. Never raises for what it is given: fields that are missing or of
    another type than the registry says are counted (`otelml.internal.errors`), said once, and the event is written
    all the same.

    Args:
        name: an event of the registry, without `ml.`, or a name of your own (an identifier).
        fields: fields as a mapping, for names that are parameters here (`level`, `message`, ...).
        level: of the record, as a number or a name; the registry's for the event, INFO for a name of your own.
        message: what people read; the event's name when there is none.
        logger: where the record is written to; `otelml` when not given.
        stacklevel: whose module, function and line it has: 1 the caller's, 2 those of the caller's caller, ...
        exc_info: an exception that belongs to it; True for the one being handled.
        more: fields.
    """
    with internal.guard("events"):
        event = EVENTS.get(name := str(name).removeprefix("ml."))
        level = _level_number(level, logging.INFO if event is None else logging.getLevelName(event.level))
        if logger is None:
            logger = logging.getLogger(LOGGER)
        wanted = _is_wanted_by_user(logger, level)
        if not wanted and not (bridged and _is_wanted_by_us(logger, level)):
            return
        given = {**fields, **more} if fields else more
        if event is None:
            _check_name(name)
        else:
            given = {key: value for key, value in given.items() if value is not None}
            _check_fields(event, given)
        record = _make_record(logger, level, name if message is None else message, stacklevel + 1, exc_info)
        _add_fields(record, name if event is None else f"ml.{name}", name, given)
        if wanted:
            logger.handle(record)
        else:
            # What the bridge listens to; the handlers come after it and are not called.
            logger.filter(record)


def _level_number(level: object, default: int) -> int:
    """The number of a level given as a number, or as a name in any case; `default` for what is none."""
    if type(level) is int:
        return level
    number = logging.getLevelName(level.strip().upper()) if isinstance(level, str) else level
    if isinstance(number, int):
        return int(number)
    if level is not None:
        complain("level", f"{level!r:.100} is no level, {logging.getLevelName(default)} is taken")
    return default


def _is_wanted_by_user(logger: logging.Logger, level: int) -> bool:
    return not logger.disabled and logger.isEnabledFor(level)


def _is_wanted_by_us(logger: logging.Logger, level: int) -> bool:
    """Without a level that somebody gave to this logger (the root's is about the console), ours decides.

    A disabled logger does not: `dictConfig` disables every logger that it finds, without meaning ours.
    """
    if logger.manager.disable >= level:
        return False
    return level >= (own_level(logger) or logging.getLevelName(settings.current().log_level))


def own_level(logger: logging.Logger) -> int:
    """The level that `logger` was given, or the nearest one above it; NOTSET when only the root decides."""
    current: logging.Logger | None = logger
    while current is not None and current.parent is not None:
        if current.level:
            return current.level
        current = current.parent
    return logging.NOTSET


def _make_record(
    logger: logging.Logger, level: int, message: str, depth: int, exception: BaseException | bool | None
) -> logging.LogRecord:
    try:
        frame = sys._getframe(depth)  # noqa: SLF001 - how `logging` finds the caller too
        path, line, function = frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name
    except ValueError:  # fewer callers than that
        path, line, function = "(unknown file)", 0, "(unknown function)"
    if isinstance(exception, bool):
        exception = sys.exc_info()[1] if exception else None
    exc_info = (type(exception), exception, exception.__traceback__) if exception is not None else None
    return logger.makeRecord(logger.name, level, path, line, message, (), exc_info, function)


def _add_fields(record: logging.LogRecord, event_name: str, event: str, given: Mapping[str, Any]) -> None:
    target = record.__dict__
    target["otel.event.name"] = event_name
    target["event"] = event
    reserved = {}
    for key, value in given.items():
        if key in target or key in _RESERVED:
            reserved[key] = value
        else:
            target[key] = value
    if reserved:
        target[FIELDS] = reserved


def _check_name(name: str) -> None:
    if not all(part.isidentifier() for part in name.split(".")):
        complain("name", f"{name!r} is no event name: an identifier, or several joined by dots, is one")


def _check_fields(event: Event, given: Mapping[str, Any]) -> None:
    for field in event.fields:
        if field.name in given:
            is_right = _CHECKS.get(field.type)
            if is_right is not None and not is_right(given[field.name]):
                kind = type(given[field.name]).__name__
                complain(
                    "type", f"field {field.name!r} of event {event.name!r} must be {field.type}, not {kind}"
                )
        elif field.requirement == "required":
            complain("missing", f"event {event.name!r} needs the field {field.name!r}")


def complain(reason: str, problem: str) -> None:
    """Count and say once what is wrong with an event; our own tests hear it as an error."""
    internal.count("errors", "events", reason)
    if internal.raise_errors:
        raise ValueError(problem)
    internal.warn_once(f"events:{problem}", "otelml: %s; the event is written as it is", problem)


def _is_integer(value: object) -> bool:
    return hasattr(type(value), "__index__") and type(value) is not bool


def _is_number(value: object) -> bool:
    return hasattr(type(value), "__float__") and type(value) is not bool


def _is_boolean(value: object) -> bool:
    return type(value).__name__ in ("bool", "bool_")


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_list(value: object) -> bool:
    return hasattr(type(value), "__iter__") and not isinstance(value, (str, bytes, Mapping))


# By the looks, so that numbers of array libraries count as numbers. Types that are not here take anything.
_CHECKS: dict[str, Callable[[object], bool]] = {
    "string": _is_text,
    "int": _is_integer,
    "double": _is_number,
    "boolean": _is_boolean,
    "string[]": _is_list,
    "int[]": _is_list,
    "double[]": _is_list,
    "boolean[]": _is_list,
}
