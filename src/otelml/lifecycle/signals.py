"""SIGTERM and SIGINT: flush within half a second, then let the signal do what it would have done without us."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

TIMEOUT_S = 0.5
"""How long a handler waits for the flush."""


class SignalHandlers:
    """Wraps what is installed for SIGTERM and SIGINT; what the user installs later replaces it.

    Args:
        flush: takes a limit in seconds; must be safe to call whatever the signal interrupted.
    """

    def __init__(self, flush: Callable[[float], object]) -> None:
        self._flush = flush
        self._previous: dict[int, Any] = {}
        self._flushing = False
        self._masks = threading.local()

    def install(self) -> None:
        """Wrap the handlers, once. Does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(signum)
            if signum not in self._previous and _ends_abruptly(previous):
                self._previous[signum] = previous
                signal.signal(signum, self.handle)

    def restore(self) -> None:
        """Put back what was there, where ours is still the handler."""
        for signum in list(self._previous):
            if signal.getsignal(signum) == self.handle:
                with suppress(ValueError):  # not the main thread: ours stays, and hands on
                    signal.signal(signum, self._previous[signum])
                    del self._previous[signum]

    def hold(self) -> None:
        """Before a fork: keep signals of ours waiting in this thread.

        A child forgets what reaches a Python handler in its first moments. Without us the default would have ended
        it: `process.start(); process.terminate()` must not leave it running.
        """
        if self._previous and hasattr(signal, "pthread_sigmask"):
            self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, self._previous)

    def let_go(self) -> None:
        """After the fork, in both processes: what waited comes now."""
        before, self._masks.before = getattr(self._masks, "before", None), None
        if before is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Flush, unless a flush for an earlier signal is under way, and hand on."""
        if self._flushing:
            self._hand_on(signum, frame)
            return
        self._flushing = True
        try:
            with internal.guard("lifecycle"):
                self._flush(TIMEOUT_S)
        finally:
            self._flushing = False
            self._hand_on(signum, frame)

    def _hand_on(self, signum: int, frame: FrameType | None) -> None:
        previous = self._previous.get(signum, signal.SIG_DFL)
        if callable(previous):
            previous(signum, frame)
            return
        # So that the parent sees a process that died of the signal.
        signal.signal(signum, signal.SIG_DFL)
        os.kill(os.getpid(), signum)


def _ends_abruptly(handler: Any) -> bool:
    """Whether there is something to do before `handler`.

    Not where the signal is ignored or handled outside Python. Not for Python's own SIGINT handler: KeyboardInterrupt
    ends the program through `atexit`, and asyncio cancels the main task only where it finds that very handler.
    """
    return handler not in (None, signal.SIG_IGN, signal.default_int_handler)
