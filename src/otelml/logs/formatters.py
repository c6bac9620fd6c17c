"""Formatters for the user's own handlers: JSON lines with the keys of our files, and coloured or plain text.

For code and for `logging.config` (by class path, or by a `()` factory with keywords); they only read the record.
"""

from __future__ import annotations

import copy
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO

from otelml.logs.flat import STANDARD_KEYS, dumps, from_record
from otelml.logs.levels import EXPERIMENT, METRIC, PROGRESS, RESULT
from otelml.logs.record import (
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
    read_extras,
    read_message,
)
from otelml.logs.values import clean_text, to_attribute

TIMESTAMP_FORMATS = ("iso", "unix", "readable")
TEXT_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(message)s"
DATE_FORMAT = "%Y-%m-%d %H:%M:%S"
MAX_SHOWN = 400
"""Characters of one extra on the console."""

_RESET = "\x1b[0m"
_RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN = (
    "\x1b[31m",
    "\x1b[32m",
    "\x1b[33m",
    "\x1b[34m",
    "\x1b[35m",
    "\x1b[36m",
)
COLOR_SCHEMES: dict[str, tuple[tuple[int, str], ...]] = {
    "default": (
        (logging.CRITICAL, "\x1b[1;31m"),
        (logging.ERROR, _RED),
        (logging.WARNING, _YELLOW),
        (RESULT, "\x1b[1;32m"),
        (EXPERIMENT, _MAGENTA),
        (METRIC, _CYAN),
        (PROGRESS, _BLUE),
        (logging.INFO, _GREEN),
        (logging.DEBUG, _CYAN),
    ),
    "dark": (
        (logging.CRITICAL, "\x1b[1;91m"),
        (logging.ERROR, "\x1b[91m"),
        (logging.WARNING, "\x1b[93m"),
        (RESULT, "\x1b[1;92m"),
        (EXPERIMENT, "\x1b[95m"),
        (METRIC, "\x1b[96m"),
        (PROGRESS, "\x1b[94m"),
        (logging.INFO, "\x1b[92m"),
        (logging.DEBUG, "\x1b[96m"),
    ),
    # Without yellow, cyan and light green, which nobody can read on white.
    "light": (
        (logging.CRITICAL, "\x1b[1;31m"),
        (logging.ERROR, _RED),
        (logging.WARNING, _MAGENTA),
        (RESULT, "\x1b[1;34m"),
        (PROGRESS, _BLUE),
        (logging.INFO, "\x1b[30m"),
        (logging.DEBUG, "\x1b[90m"),
    ),
}
"""Colours by level, from the level on; below the lowest, faint. "dark" and "light" say what the terminal is like."""
_FAINT = "\x1b[2m"
_ALWAYS_INCLUDED = STANDARD_KEYS | {EXCEPTION_TYPE, EXCEPTION_MESSAGE, EXCEPTION_STACKTRACE}


class JSONFormatter(logging.Formatter):
    """One JSON object a record, with the keys of the flat log files (see `otelml.logs.flat`).

    Args:
        fmt, datefmt, style, validate, defaults: as `logging.Formatter`, because `logging.config` passes them; of
            these JSON needs only `datefmt`, for "readable".
        timestamp_format: "iso" (UTC, microseconds, `Z`), "unix" (seconds), "readable" (local time).
        indent: spaces, for several lines a record; one line when None.
        include_extra: whether the keys beyond the standard ones and the exception's are written.

    Raises:
        ValueError: an unknown `timestamp_format`.
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,
        *,
        defaults: Mapping[str, Any] | None = None,
        timestamp_format: str = "iso",
        indent: int | None = None,
        include_extra: bool = True,
    ) -> None:
        super().__init__(fmt, datefmt or DATE_FORMAT, style, validate, defaults=defaults)
        if timestamp_format not in TIMESTAMP_FORMATS:
            raise ValueError(
                f"timestamp_format {timestamp_format!r} must be one of {', '.join(TIMESTAMP_FORMATS)}"
            )
        self.timestamp_format = timestamp_format
        self.indent = indent
        self.include_extra = include_extra

    def format(self, record: logging.LogRecord) -> str:
        """The JSON of `record`, always valid."""
        flat = from_record(record)
        if not self.include_extra:
            flat = {key: value for key, value in flat.items() if key in _ALWAYS_INCLUDED}
        if self.timestamp_format == "unix":
            flat["timestamp"] = record.created
        elif self.timestamp_format == "readable":
            flat["timestamp"] = self.formatTime(record, self.datefmt)
        return dumps(flat, self.indent)


class ColorFormatter(logging.Formatter):
    """`2025-11-07 12:34:56 - robocache - INFO - Completed multimodal_fusion (elapsed_ms: 0.018)`, level coloured.

    The extras stand behind the message, except text that the message already says.

    Args:
        fmt, datefmt, style, validate, defaults: as `logging.Formatter`; the line above when not given.
        color: True, False, or "auto": when `stream` is a terminal, unless NO_COLOR or TERM=dumb is set; FORCE_COLOR
            makes it so for any stream.
        color_scheme: "default", "dark" or "light", the terminal's background.
        show_extra: whether the extras are shown.
        stream: what "auto" looks at; the standard error stream, to which handlers write by default.

    Raises:
        ValueError: an unknown `color_scheme`.
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,
        *,
        defaults: Mapping[str, Any] | None = None,
        color: bool | Literal["auto"] = "auto",
        color_scheme: str = "default",
        show_extra: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        if fmt is None:
            fmt, style, datefmt = TEXT_FORMAT, "%", datefmt or DATE_FORMAT
        super().__init__(fmt, datefmt, style, validate, defaults=defaults)
        if color_scheme not in COLOR_SCHEMES:
            raise ValueError(f"color_scheme {color_scheme!r} must be one of {', '.join(COLOR_SCHEMES)}")
        self.color_scheme = color_scheme
        self.color = is_color_wanted(stream or sys.stderr) if color == "auto" else bool(color)
        self.show_extra = show_extra

    def format(self, record: logging.LogRecord) -> str:
        """The line; where message and arguments do not go together, or have no text, both as far as that goes."""
        try:
            return super().format(record)
        except Exception:  # noqa: BLE001 - what somebody's object raises
            shown = copy.copy(record)  # other handlers get the same record
            shown.msg, shown.args = read_message(record), None
            return super().format(shown)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line without exception and stack, which `logging.Formatter` puts below it."""
        shown = record
        if self.color:
            shown = copy.copy(record)  # other handlers get the same record
            shown.levelname = f"{_color_of(record.levelno, self.color_scheme)}{record.levelname}{_RESET}"
        line = super().formatMessage(shown)
        extras = self.describe(record) if self.show_extra else ""
        if not extras:
            return line
        return f"{line} {_FAINT}{extras}{_RESET}" if self.color else f"{line} {extras}"

    def describe(self, record: logging.LogRecord) -> str:
        """What stands behind the line."""
        return describe_extras(record)


class PlainFormatter(ColorFormatter):
    """`ColorFormatter` without colours, for files."""

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,
        *,
        defaults: Mapping[str, Any] | None = None,
        show_extra: bool = True,
    ) -> None:
        super().__init__(fmt, datefmt, style, validate, defaults=defaults, color=False, show_extra=show_extra)


def is_color_wanted(stream: Any, environ: Mapping[str, str] | None = None) -> bool:
    """Whether to write colours: not with NO_COLOR (https://no-color.org), with FORCE_COLOR, else on a terminal."""
    environ = os.environ if environ is None else environ
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    try:
        return environ.get("TERM") != "dumb" and bool(stream.isatty())
    except (AttributeError, ValueError):  # not a real stream, or a closed one
        return False


def describe_extras(record: logging.LogRecord, without: tuple[str, ...] = ()) -> str:
    """`(elapsed_ms: 0.018, items: 32)`, or nothing; those in `without` left out."""
    extras, _ = read_extras(record)
    parts = [
        f"{key}: {_short(key, value)}"
        for key, value in extras.items()
        if key not in without and not _is_said(value, record.message)
    ]
    return f"({', '.join(parts)})" if parts else ""


def _is_said(value: Any, message: str) -> bool:
    return isinstance(value, str) and value != "" and value in message


def _short(key: str, value: Any) -> str:
    plain = to_attribute(value)
    if isinstance(plain, float):
        # Below a microsecond a duration says nothing to a reader.
        return f"{plain:.3f}" if key.endswith("_ms") else f"{plain:.6g}"
    text = plain if isinstance(plain, str) and plain.isprintable() else dumps(plain)
    return clean_text(text, MAX_SHOWN)


def _color_of(level: int, scheme: str) -> str:
    return next((color for floor, color in COLOR_SCHEMES[scheme] if level >= floor), _FAINT)
