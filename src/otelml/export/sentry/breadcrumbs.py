"""The latest log records and events, for what led to an error. In memory, bounded, and of plain values only."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections import deque
from collections.abc import Mapping
from typing import Any

MAX_CRUMBS = 100
"""As in Sentry's own SDK."""
MAX_TEXT = 1024
"""Characters of a message, and of each value beside it."""
MAX_VALUES = 32

# What an issue says in another place: the exception, and the run as its context.
_SAID = ("exception.", "ml.run.", "ml.training.")
_OF_NO_USE = ("code.", "thread.")
_LEVELS = ((logging.CRITICAL, "fatal"), (logging.ERROR, "error"), (logging.WARNING, "warning"))


def level_name(level: int) -> str:
    """Sentry's name of a level of `logging`."""
    named = next((name for least, name in _LEVELS if level >= least), None)
    return named or ("info" if level >= logging.INFO else "debug")


class Breadcrumbs:
    """The crumbs of the process, whichever thread they come from."""

    def __init__(self) -> None:
        self._crumbs: deque[dict[str, Any]] = deque(maxlen=MAX_CRUMBS)

    def add(
        self, record: logging.LogRecord, message: str, attributes: Mapping[str, Any], event_name: str | None
    ) -> None:
        """Remember a record; `attributes` are what it holds beside its message, in plain values."""
        self._crumbs.append(
            {
                "type": "log",
                "level": level_name(record.levelno),
                "category": event_name or record.name,
                "message": message[:MAX_TEXT],
                "timestamp": record.created,
                "data": shorten(attributes, MAX_VALUES, MAX_TEXT, _OF_NO_USE) if attributes else {},
            }
        )

    def read(self) -> list[dict[str, Any]]:
        """The crumbs for one event, oldest first."""
        return [{**crumb, "timestamp": _time(crumb["timestamp"])} for crumb in self._crumbs.copy()]

    def clear(self) -> None:
        """Forget all: in a forked child, and for good."""
        self._crumbs.clear()


def shorten(
    attributes: Mapping[str, Any], max_values: int, max_text: int, left_out: tuple[str, ...] = ()
) -> dict[str, Any]:
    """At most so many of `attributes`, none longer than so much; without what an issue says in another place.

    `left_out`: beginnings of further names to leave out.
    """
    prefixes = _SAID + left_out
    names = [name for name in attributes if not name.startswith(prefixes)]
    return {name: _shorten(attributes[name], max_text) for name in names[:max_values]}


def _shorten(value: Any, limit: int) -> Any:
    if isinstance(value, (dict, list, tuple, bytes)):
        text = json.dumps(value, default=repr)
        return value if len(text) <= limit and not isinstance(value, bytes) else text[:limit]
    return value[:limit] if isinstance(value, str) else value


def _time(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)
