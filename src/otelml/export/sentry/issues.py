"""What an issue says of a failure, a log record or a thread, and which exception it is about.

Apart from the reporter because these are functions of what they are given, and it decides what is sent.
"""

from __future__ import annotations

import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

from otelml.export.sentry import once
from otelml.export.sentry.breadcrumbs import level_name, shorten
from otelml.logs.record import read_exc_info
from otelml.logs.values import to_attribute

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from otelml.stages.failures import Failure

MAX_VALUES = 100
MAX_TEXT = 8192
"""Of `extra`: values, and characters of each."""


def error_in(hint: Mapping[str, Any]) -> BaseException | None:
    """The exception that an event is about, as Sentry has it in its hints."""
    error: BaseException | None = (hint.get("exc_info") or (None, None))[1]
    return error


def describe_work(failure: Failure) -> dict[str, Any]:
    """What failed, and what it was given."""
    given = {name: to_attribute(value) for name, value in failure.attributes.items()}
    return {"transaction": failure.name, "extra": shorten(given, MAX_VALUES, MAX_TEXT)}


def describe_failure(failure: Failure) -> dict[str, Any]:
    """The same where there is no exception to show."""
    entry = {"message": f"{failure.name} failed"}
    return {"level": "error", "logentry": entry, **describe_work(failure)}


def describe_thread() -> dict[str, Any]:
    """Which thread has ended, unless the program has."""
    thread = threading.current_thread()
    return {} if thread is threading.main_thread() else {"extra": {"thread.name": thread.name}}


def describe_record(
    record: logging.LogRecord, message: str, attributes: Mapping[str, Any], event_name: str | None
) -> dict[str, Any]:
    """What was logged; `event_name` is what Sentry groups by, where there is no exception to do that by."""
    found: dict[str, Any] = {
        "level": level_name(record.levelno),
        "logger": str(record.name),
        "logentry": {"message": _template(record, message), "formatted": message},
        "extra": shorten(attributes, MAX_VALUES, MAX_TEXT),
    }
    if event_name:
        found["fingerprint"] = [event_name, str(record.name)]
    return found


def error_of(record: logging.LogRecord) -> BaseException | None:
    """The exception that it is about: the one it was given, else the one that the logging function is handling."""
    given: BaseException | None = read_exc_info(record)[1]
    handled = sys.exc_info()[1]
    if given is not None or handled is None or handled.__traceback__ is None or not once.is_failure(handled):
        return given
    # The first frame is that of the `except` block: what a function called from there logs may be about anything.
    code = handled.__traceback__.tb_frame.f_code
    return handled if (code.co_filename, code.co_name) == (record.pathname, record.funcName) else None


def kind_of(error: BaseException) -> Hashable:
    """Class and place of the raise."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else None
    return type(error), place


def _template(record: logging.LogRecord, message: str) -> str:
    """What Sentry groups by: the message before its arguments are put in."""
    return record.msg if record.args and isinstance(record.msg, str) else message
