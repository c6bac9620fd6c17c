"""Console and file handlers for those who want us to set them up, and the levels of loggers.

Nothing here happens by itself: without a call of these functions `logging` stays as the user configured it.
"""

from __future__ import annotations

import logging
import logging.handlers
import os
import sys
from pathlib import Path
from typing import Literal

from otelml import settings
from otelml.logs import quiet
from otelml.logs.formatters import ColorFormatter, JSONFormatter, PlainFormatter
from otelml.logs.levels import NAMES
from otelml.logs.ml_logger import MLLogger, get_logger

__all__ = ["get_logger", "level_number", "quiet_libraries", "set_log_level", "setup_logging"]

CONSOLES = ("color", "plain", "json", "none")
FORMATS = ("json", "plain")

_OURS = "_otelml"
_STOPPED = "_otelml_stopped_propagation"
_quieted: dict[str, int] = {}


class RotatingFile(logging.handlers.RotatingFileHandler):
    """A file bounded in size also when nothing is kept beside it, where the stdlib's own would grow for ever."""

    def doRollover(self) -> None:  # noqa: N802 - logging's name
        """Move the full file aside; with `backupCount` 0, empty it."""
        if self.backupCount == 0 and self.stream is not None:
            self.stream.truncate(0)
        else:
            super().doRollover()


def setup_logging(
    name: str | None = None,
    level: int | str = "INFO",
    *,
    console: Literal["color", "plain", "json", "none"] = "color",
    output_file: str | os.PathLike[str] | None = None,
    format: Literal["json", "plain"] = "json",  # noqa: A002 - the word users expect
    max_bytes: int | None = None,
    backup_count: int | None = None,
    quiet: bool = True,
) -> MLLogger:
    """Give a logger its level, a console handler and, with `output_file`, a rotating file. Returns the logger.

    Called again for the same logger it replaces what it set up before; handlers of others stay. A named logger whose
    lines a handler above would print on the console too stops propagating if that handler is the user's, and gets no
    console handler if it is one of ours.

    Args:
        name: of the logger; None is the root, which everything reaches.
        level: from which records pass, as a name or a number.
        console: how lines look on the standard error stream. "color" is plain text where there is no terminal.
        output_file: path; missing folders are made.
        format: of the file.
        max_bytes: size at which the file is rotated, in bytes; 0 never, `OTELML_FILE_MAX_BYTES` when None.
        backup_count: rotated files that are kept; `OTELML_FILE_KEEP` when None.
        quiet: whether libraries that talk too much are raised to WARNING, as by `quiet_libraries`.

    Raises:
        ValueError: a value that is not allowed; it says what is.
        OSError: the file cannot be written.
    """
    number = level_number(level)
    _check_choice("console", console, CONSOLES)
    _check_choice("format", format, FORMATS)
    file = None if output_file is None else _file_handler(Path(output_file), format, max_bytes, backup_count)
    logger = get_logger(name)
    _remove_ours(logger)
    logger.setLevel(number)
    if file is not None:
        logger.addHandler(file)
    if console != "none":
        _add_console(logger, console)
    if quiet:
        quiet_libraries()
    return logger


def set_log_level(level: int | str, name: str | None = None) -> None:
    """Set the level of logger `name` (the root when None). Raises ValueError for a level that is none."""
    logging.getLogger(name).setLevel(level_number(level))


def quiet_libraries(level: int | str | None = None) -> None:
    """Raise the loggers of talkative libraries (`OTELML_QUIET_LOGGERS`) that have no level of their own.

    Without `level` each gets the one in the setting, WARNING by default. What was raised here may be changed by
    another call. Raises ValueError for a level that is none.
    """
    for name, floor in quiet.quiet_floors(None if level is None else level_number(level)).items():
        logger = logging.getLogger(name)
        if logger.level in (logging.NOTSET, _quieted.get(name)):
            logger.setLevel(floor)
            _quieted[name] = floor


def reset() -> None:
    """Give the loggers that `quiet_libraries` raised no level again, unless somebody changed it since; for tests."""
    for name, floor in _quieted.items():
        logger = logging.getLogger(name)
        if logger.level == floor:
            logger.setLevel(logging.NOTSET)
    _quieted.clear()


def level_number(level: int | str) -> int:
    """The number of a level given as a name in any case, or as a number. Raises ValueError saying what is allowed."""
    if isinstance(level, int) and not isinstance(level, bool) and level >= 0:
        return level
    number = logging.getLevelName(level.strip().upper()) if isinstance(level, str) else None
    if isinstance(number, int):
        return number
    hint = (
        "; a file goes into output_file="
        if isinstance(level, str) and ("." in level or os.sep in level)
        else ""
    )
    raise ValueError(f"level {level!r} must be a number from 0, or one of {', '.join(_level_names())}{hint}")


def _level_names() -> list[str]:
    standard = {
        name: logging.getLevelName(name) for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
    }
    known = {**standard, **NAMES}
    return [*sorted(known, key=lambda name: known[name]), "or a name given to logging.addLevelName"]


def _check_choice(parameter: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{parameter} {value!r} must be one of {', '.join(allowed)}")


def _file_handler(
    path: Path, format_: str, max_bytes: int | None, backup_count: int | None
) -> logging.Handler:
    in_force = settings.current()
    limit = _whole("max_bytes", in_force.file_max_bytes if max_bytes is None else max_bytes)
    keep = _whole("backup_count", in_force.file_keep if backup_count is None else backup_count)
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = RotatingFile(
        path, maxBytes=limit, backupCount=keep, encoding="utf-8", errors="backslashreplace"
    )
    handler.setFormatter(JSONFormatter() if format_ == "json" else PlainFormatter())
    return _mark(handler)


def _whole(parameter: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{parameter} {value!r} must be a whole number from 0")
    return value


def _add_console(logger: logging.Logger, console: str) -> None:
    above = _console_above(logger)
    if above is not None and hasattr(above, _OURS):
        return
    handler = _mark(logging.StreamHandler())
    handler.setFormatter({"color": ColorFormatter, "plain": PlainFormatter, "json": JSONFormatter}[console]())
    logger.addHandler(handler)
    if above is not None:
        logger.propagate = False
        setattr(handler, _STOPPED, True)


def _console_above(logger: logging.Logger) -> logging.Handler | None:
    """The handler of a logger above that would print what `logger` propagates, or None."""
    current = logger
    while current.propagate and current.parent is not None:
        current = current.parent
        for handler in current.handlers:
            if getattr(handler, "stream", None) in (sys.stderr, sys.stdout):
                return handler
    return None


def _remove_ours(logger: logging.Logger) -> None:
    for handler in [handler for handler in logger.handlers if hasattr(handler, _OURS)]:
        logger.removeHandler(handler)
        handler.close()
        if hasattr(handler, _STOPPED):
            logger.propagate = True


def _mark(handler: logging.Handler) -> logging.Handler:
    setattr(handler, _OURS, True)
    return handler
