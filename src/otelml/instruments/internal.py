"""What the library says about itself: counts of its own troubles, things said once, and the guard around its errors.

Apart from the rest because everything above uses it, and it must never fail, block or recurse itself.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

KINDS = ("errors", "dropped", "overflow")
"""The `otelml.internal.<kind>` metrics."""

MAX_SAID = 1000
"""How many different things are said at most; a bound on memory, not a budget."""

raise_errors = False
"""The test suite sets this, so that what production contains and counts is an error there."""

_logger = logging.getLogger("otelml.internal")
# Re-entrant: a signal handler may count while the interrupted frame is counting.
_lock = threading.RLock()
_totals: dict[tuple[str, str, str], int] = {}
_said: set[str] = set()
_deferred: list[Callable[[], object]] = []


def count(kind: str, component: str, reason: str, n: int = 1) -> None:
    """Add `n` to `otelml.internal.<kind>{otelml.component, otelml.reason}`. Thread-safe; never raises."""
    key = (kind, component, reason)
    with _lock:
        _totals[key] = _totals.get(key, 0) + n


def totals() -> dict[tuple[str, str, str], int]:
    """Counts so far, by (kind, component, reason)."""
    with _lock:
        return dict(_totals)


def warn_once(key: str, message: str, *args: object) -> None:
    """Log one WARNING on logger `otelml.internal` for each `key`, however often it is called; never raises."""
    if first_time(key):
        _say(message, *args)


def inform_once(key: str, message: str, *args: object) -> None:
    """As `warn_once`, at level INFO: for what is as it should be, and yet worth knowing."""
    if first_time(key):
        _say(message, *args, level=logging.INFO)


def defer_warning(key: str, message: str, *args: object) -> None:
    """Like `warn_once`, said later by the drain thread: for callers that hold a lock."""
    if first_time(key):
        defer(lambda: _say(message, *args))


def defer(action: Callable[[], object]) -> None:
    """Have the drain thread call `action` when it holds no lock (bounded; too many are counted and forgotten)."""
    if len(_deferred) >= MAX_SAID:
        count("dropped", "internal", "deferred_queue_full")
        return
    _deferred.append(action)


def run_deferred() -> None:
    """Call what was deferred: the drain thread at each wake-up, and the flush at the end of the process."""
    while _deferred:
        try:
            action = _deferred.pop(0)
        except IndexError:  # the other one took it
            return
        with guard("internal"):
            action()


def _say(message: str, *args: object, level: int = logging.WARNING) -> None:
    try:
        _logger.log(level, message, *args)
    except Exception as problem:  # noqa: BLE001 - a handler of the user's may raise anything, and here it is our call
        count("errors", "internal", type(problem).__name__)


def first_time(key: str) -> bool:
    """Whether nothing has been said under `key` yet; from this call on it has."""
    with _lock:
        if key in _said or len(_said) >= MAX_SAID:
            return False
        _said.add(key)
        return True


class guard:  # noqa: N801 - reads as a keyword where it is used
    """`with guard("component"):` contains any `Exception` inside, counts it and warns once a place.

    Errors of the library must not reach the program that it observes; this is the one place that swallows them.
    """

    __slots__ = ("component",)

    def __init__(self, component: str) -> None:
        self.component = component

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        if exc is None or raise_errors or not isinstance(exc, Exception):
            return False
        contain(self.component, exc, tb)
        return True


def contain(component: str, exc: Exception, tb: TracebackType | None = None) -> None:
    """Count `exc` as an internal error of `component` and say it once a place."""
    count("errors", component, type(exc).__name__)
    while tb is not None and tb.tb_next is not None:
        tb = tb.tb_next
    place = f"{tb.tb_frame.f_code.co_filename}:{tb.tb_lineno}" if tb is not None else "?"
    warn_once(
        f"error:{component}:{place}:{type(exc).__name__}",
        "otelml: %s failed with %s: %s (%s); the program is unharmed, the telemetry of this part may be incomplete",
        component,
        type(exc).__name__,
        exc,
        place,
    )


def reset() -> None:
    """Forget everything: for tests, and for a forked child, which starts from zero with locks of its own."""
    global _lock  # noqa: PLW0603 - the old lock may be held by a thread that the fork left behind
    _lock = threading.RLock()
    _totals.clear()
    _said.clear()
    _deferred.clear()
