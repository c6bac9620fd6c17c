"""How many issues a minute: a loop that fails a thousand times a second says no more than one that fails ten times."""

from __future__ import annotations

import threading
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

PER_KIND = 10
"""Reports of one kind (exception class and place, or place of the log call) in each minute."""
IN_ALL = 60
"""Reports in each minute."""
_WINDOW_S = 60.0


class RateLimit:
    """Counts in windows of a minute. Thread-safe; holds no more kinds than it admits reports."""

    def __init__(
        self, per_kind: int = PER_KIND, in_all: int = IN_ALL, clock: Callable[[], float] = monotonic
    ) -> None:
        self._per_kind, self._in_all, self._clock = per_kind, in_all, clock
        self.renew()

    def renew(self) -> None:
        """Start anew, with a lock of its own: in a forked child."""
        # Re-entrant: a signal handler may log an error while the interrupted frame is at it.
        self._lock = threading.RLock()
        self._window = -1
        self._counts: dict[Hashable, int] = {}
        self._sum = 0

    def admits(self, kind: Hashable) -> bool:
        """Whether one more of `kind` may be sent now; if so, it counts."""
        window = int(self._clock() // _WINDOW_S)
        with self._lock:
            if window != self._window:
                self._window, self._counts, self._sum = window, {}, 0
            count = self._counts.get(kind, 0)
            if count >= self._per_kind or self._sum >= self._in_all:
                return False
            self._counts[kind] = count + 1
            self._sum += 1
            return True
