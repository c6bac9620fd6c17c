"""Progress where nobody watches: a line through the logger, the first, then at growing intervals, and the last."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from otelml import events, settings
from otelml.training.metrics import describe
from otelml.training.telling import tell

FIRST_INTERVAL_S, LONGEST_INTERVAL_S = 10.0, 600.0
"""Between two lines of one kind: at first, and when it has doubled often enough."""

_MAX_KINDS = 100


class Pace:
    """When the next line of one kind of loop is due; loops of one kind (the steps of each epoch) share it."""

    __slots__ = ("interval_ns", "next_ns")

    def __init__(self) -> None:
        self.interval_ns = int(FIRST_INTERVAL_S * 1e9)
        self.next_ns: int | None = None

    def is_due(self, now_ns: int) -> bool:
        """Whether to write one now; if so the next is due in twice the time."""
        if self.next_ns is not None and now_ns < self.next_ns:
            return False
        if self.next_ns is not None:
            self.interval_ns = min(2 * self.interval_ns, int(LONGEST_INTERVAL_S * 1e9))
        self.next_ns = now_ns + self.interval_ns
        return True


class Paces:
    """The paces of a run, by kind of loop."""

    def __init__(self) -> None:
        self._paces: dict[str, Pace] = {}

    def of(self, kind: str) -> tuple[Pace, bool]:
        """The pace of `kind`, and whether it is new."""
        is_new = kind not in self._paces and len(self._paces) < _MAX_KINDS
        if is_new:
            self._paces[kind] = Pace()
        return self._paces.get(kind) or self._paces[next(iter(self._paces))], is_new


class LineTrack:
    """The progress of one loop as lines."""

    def __init__(
        self,
        paces: Paces,
        kind: str,
        description: str,
        *,
        total: int | None,
        first: int,
        fields: Mapping[str, Any],
    ) -> None:
        self._pace, self._is_first = paces.of(kind)
        self._description, self._total, self._fields = description, total, fields
        self._first = first
        self._said: int | None = None

    def show(self, done: int, elapsed_s: float, metrics: Mapping[str, Any], now_ns: int) -> None:
        """Write a line if one is due."""
        if self._pace.is_due(now_ns):
            self._write(done, elapsed_s, metrics)

    def close(self, done: int, elapsed_s: float, metrics: Mapping[str, Any], now_ns: int) -> None:
        """Write the last line: of the first loop of its kind always, of further ones if a line is due."""
        if done != self._said and (self._is_first or self._pace.is_due(now_ns)):
            self._write(done, elapsed_s, metrics)

    def _write(self, done: int, elapsed_s: float, metrics: Mapping[str, Any]) -> None:
        self._said = done
        rate = (done - self._first) / elapsed_s if elapsed_s > 0 else None
        fields: dict[str, Any] = {
            "description": self._description,
            "done": done,
            "total": self._total,
            "rate": rate,
            "eta_seconds": eta_s(done, self._total, elapsed_s, first=self._first),
            "metrics": dict(metrics) or None,
        }
        position = f"{done}/{self._total}" if self._total is not None else str(done)
        note = describe_pace(done, self._total, elapsed_s, metrics, first=self._first)
        message = f"{self._description}: {position}, {note}"
        tell(events.progress, self._fields, message=message, **fields)
        if not settings.current().quiet and not _is_shown() and not is_terminal(sys.stderr):
            print(message, file=sys.stderr, flush=True)  # noqa: T201 - nobody else shows it


def is_terminal(stream: Any) -> bool:
    """Whether somebody watches; not where there is no stream, a closed one, or one that a program made itself."""
    try:
        return bool(stream.isatty())
    except Exception:  # noqa: BLE001 - streams of any origin
        return False


def _is_shown() -> bool:
    """Whether a handler of the program's writes the event; what exports it shows it to nobody."""
    logger: logging.Logger | None = logging.getLogger(events.LOGGER)
    if logger is None or not logger.isEnabledFor(logging.INFO):
        return False
    while logger is not None:
        for handler in logger.handlers:
            exports = type(handler).__module__.startswith("opentelemetry")
            if handler.level <= logging.INFO and not exports and not isinstance(handler, logging.NullHandler):
                return True
        logger = logger.parent if logger.propagate else None
    return False


def eta_s(done: int, total: int | None, elapsed_s: float, *, first: int = 0) -> float | None:
    """Seconds that the rest takes if it goes on like this; None where that is not known."""
    if total is None or not first < done <= total:
        return None
    return elapsed_s / (done - first) * (total - done)


def describe_pace(
    done: int, total: int | None, elapsed_s: float, metrics: Mapping[str, Any], *, first: int = 0
) -> str:
    """`12.3/s, 0:42 left, loss 0.1234`; `first` were done when it began."""
    parts = [describe_rate(done - first, elapsed_s)]
    left_s = eta_s(done, total, elapsed_s, first=first)
    parts.append(f"{describe_duration(left_s)} left" if left_s else f"in {describe_duration(elapsed_s)}")
    parts.append(describe(metrics))
    return ", ".join(part for part in parts if part)


def describe_rate(done: int, elapsed_s: float) -> str:
    """`12.3/s`, or `4.2 s each` where one takes more than a second; empty where nothing is done."""
    if done <= 0 or elapsed_s <= 0:
        return ""
    return f"{done / elapsed_s:.3g}/s" if done >= elapsed_s else f"{elapsed_s / done:.3g} s each"


def describe_duration(duration_s: float) -> str:
    """`0:42`, `1:02:03`."""
    minutes, seconds = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
