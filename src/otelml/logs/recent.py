"""The latest entries of ML loggers, in memory: for a notebook, a test, a report at the end. Bounded, never read back.

An entry keeps no object of the program alive: records of plain values are copied and get their flat form when
somebody reads them, others get it at once.
"""

from __future__ import annotations

import collections
import csv
import datetime as dt
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

from otelml import context
from otelml.instruments import internal, timer
from otelml.logs.flat import current_span_context, dumps, from_record
from otelml.logs.record import extra_names, has_plain_args
from otelml.logs.values import MAX_TEXT

MAX_ENTRIES = 10_000
"""Entries kept, of all loggers together; the oldest go first."""

MAX_CHARACTERS = 16 * 2**20
"""About how much text they hold together."""

FORMATS = ("json", "csv")

_WEIGHT = 256
"""Of an entry and its keys, beside its texts; of a small mapping in it."""

_FEW, _SHORT = 16, 64
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NO_RUN: Mapping[str, Any] = MappingProxyType({})


_PLAIN = (str, int, float, bool, type(None))
_NO_SPAN = SimpleNamespace(is_valid=False)


class _Entry:
    """One record, as its flat form or what it takes to make that."""

    __slots__ = ("created", "level", "logger", "record", "run", "shown", "span_context", "weight")

    def __init__(self, name: str, record: logging.LogRecord) -> None:
        self.created = record.created
        self.level = record.levelno or logging.NOTSET  # in a record made by hand it may be None
        self.logger = name
        self.shown: dict[str, Any] | None = None
        copied = _copy_plain(record)
        if copied is None:
            self.shown = from_record(record)
            self.weight = _WEIGHT + sum(_weigh(value) for value in self.shown.values())
            return
        self.record, self.weight = copied
        self.run = context.attributes() if context.opened else _NO_RUN
        self.span_context = current_span_context() or _NO_SPAN

    @property
    def flat(self) -> dict[str, Any]:
        """The flat form; always the same object."""
        if self.shown is None:
            self.shown = from_record(logging.makeLogRecord(self.record), self.run, self.span_context)
            self.record = {}
        return self.shown


_entries: collections.deque[_Entry] = collections.deque()
_weight = 0
# Re-entrant: a signal handler may log while the interrupted frame is logging.
_lock = threading.RLock()


def remember(name: str, record: logging.LogRecord) -> None:
    """Keep `record` as an entry of the logger `name`. Never raises. Takes a lock for an append."""
    try:
        _append(_Entry(name, record))
    except Exception:  # handed to the guard, which so costs only the records that fail
        with internal.guard("logs"):
            raise


def _append(entry: _Entry) -> None:
    global _weight  # noqa: PLW0603 - one memory a process
    if not _entries and clear not in timer.fork_hooks:
        timer.fork_hooks.append(clear)
        timer.ensure_fork_hook()
    with _lock:
        _entries.append(entry)
        _weight += entry.weight
        while len(_entries) > MAX_ENTRIES or _weight > MAX_CHARACTERS:
            _weight -= _entries.popleft().weight


def _copy_plain(record: logging.LogRecord) -> tuple[dict[str, Any], int] | None:
    """The record's `__dict__` and about how much it weighs; None where it holds more than plain values."""
    if record.exc_info or record.stack_info or type(record.msg) is not str or not has_plain_args(record):
        return None
    copied = record.__dict__.copy()
    weight = _WEIGHT + len(record.msg)
    args: Any = record.args
    if args:
        weight += sum([len(arg) for arg in args if type(arg) is str])
    for name in extra_names(copied):
        value = copied[name]
        kind = type(value)
        if kind is str:
            weight += len(value)
        elif kind is dict and _is_plain(value):
            copied[name] = value.copy()  # which the program may go on to change
            weight += _WEIGHT
        elif kind not in _PLAIN:
            return None
    return (copied, weight) if weight <= MAX_TEXT else None


def _is_plain(mapping: dict[Any, Any]) -> bool:
    """Of few numbers and no text to speak of, so that it weighs next to nothing."""
    if len(mapping) > _FEW:
        return False
    for key, value in mapping.items():
        kind = type(value)
        if type(key) is not str or (kind not in _PLAIN or (kind is str and len(value) > _SHORT)):
            return False
    return True


def _weigh(value: Any) -> int:
    kind = type(value)
    if kind is str:
        return len(value)
    return len(dumps(value)) if kind in (dict, list, bytes) else 0


def of(name: str) -> list[_Entry]:
    """The entries of one logger, oldest first."""
    with _lock:
        return [entry for entry in _entries if entry.logger == name]


def entries(**filters: Any) -> list[dict[str, Any]]:
    """The entries of all ML loggers; filters as for `select`."""
    with _lock:
        found = list(_entries)
    return select(found, **filters)


def select(
    found: Iterable[_Entry],
    *,
    level: int | str | None = None,
    min_level: int | str | None = None,
    last_n: int | None = None,
    experiment_id: str | None = None,
    start_time: float | dt.datetime | None = None,
    tags: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Those of `found` for which all of these hold, as flat records (see `otelml.logs.flat`).

    Args:
        found: entries, oldest first.
        level: exactly this level, as a name or a number ("METRIC" would else bring every warning).
        min_level: this level or a higher one.
        last_n: of those that are left the last ones.
        experiment_id: `experiment_id`, or the run's `experiment`, is this.
        start_time: logged then or later; seconds since 1970, or a datetime (a naive one is local time).
        tags: has all of these among its `tags`.

    Raises:
        ValueError: a level that is none.
    """
    from otelml.logs.setup import level_number

    exact = None if level is None else level_number(level)
    lowest = logging.NOTSET if min_level is None else level_number(min_level)
    since = start_time.timestamp() if isinstance(start_time, dt.datetime) else start_time
    chosen = [
        dict(entry.flat)
        for entry in found
        if (exact is None or entry.level == exact)
        and entry.level >= lowest
        and (since is None or entry.created >= since)
        and (experiment_id is None or _is_of(entry.flat, experiment_id))
        and (not tags or _has_tags(entry.flat, tags))
    ]
    return chosen if last_n is None else chosen[-last_n:] if last_n > 0 else []


def _is_of(flat: Mapping[str, Any], experiment_id: str) -> bool:
    return experiment_id in (flat.get("experiment_id"), flat.get("experiment"))


def _has_tags(flat: Mapping[str, Any], tags: Mapping[str, Any]) -> bool:
    given = flat.get("tags")
    return isinstance(given, Mapping) and all(given.get(name) == value for name, value in tags.items())


def export(found: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], format: str = "json") -> int:  # noqa: A002
    """Write flat records to a file: "json" as one array, a record a line; "csv" with a column for every key.

    Missing folders are made; in CSV what is no text or number is JSON, and a text that a spreadsheet would take for a
    formula has an apostrophe in front. Returns the number of records.

    Raises:
        ValueError: an unknown format.
        OSError: the file cannot be written.
    """
    if format not in FORMATS:
        raise ValueError(f"format {format!r} must be one of {', '.join(FORMATS)}")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    if format == "json":
        lines = ",\n".join(dumps(dict(flat)) for flat in found)
        target.write_text(f"[\n{lines}\n]\n" if found else "[]\n", encoding="utf-8")
    else:
        _write_csv(found, target)
    return len(found)


def _write_csv(found: Sequence[Mapping[str, Any]], target: Path) -> None:
    columns = list(dict.fromkeys(key for flat in found for key in flat))
    with target.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([_cell(column) for column in columns])
        writer.writerows([_cell(flat.get(column)) for column in columns] for flat in found)


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else value if isinstance(value, (int, float)) else dumps(value)


def clear() -> None:
    """Forget all entries: for tests, and for a forked child, which starts from zero."""
    global _weight, _lock  # noqa: PLW0603 - the old lock may be held by a thread that the fork left behind
    _lock = threading.RLock()
    _entries.clear()
    _weight = 0


def reset() -> None:
    """For tests: `clear`."""
    clear()
