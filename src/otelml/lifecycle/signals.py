"""SIGTERM and SIGINT: flush within half a second, then let the signal do what it would have done without us."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal
from otelml.lifecycle.stuck import SignalWatch, die_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType

TIMEOUT_S = 0.5
"""How long a handler waits for the flush."""
PATIENCE_S = 0.5
"""How long the main thread has to get round to a signal that ends the process."""
_STEP_S = 0.05


class SignalHandlers:
    """Wraps what is installed for SIGTERM and SIGINT; what the user installs later replaces it.

    Args:
        flush: takes a limit in seconds; must be safe to call whatever the signal interrupted.
        note_killed: called before it where the signal will end the process; only notes that.
    """

    def __init__(
        self, flush: Callable[[float], object], note_killed: Callable[[], object] = lambda: None
    ) -> None:
        self._flush = flush
        self._note_killed = note_killed
        self._previous: dict[int, Any] = {}
        self._flushing = False
        self._handled: set[int] = set()
        self._watch = SignalWatch(self._see_to)

    @property
    def wrapped(self) -> tuple[int, ...]:
        """The signals that have a handler of ours."""
        return tuple(self._previous)

    def install(self) -> None:
        """Wrap the handlers, once. Does nothing outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            return
        for signum in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(signum)
            if signum not in self._previous and _ends_abruptly(previous):
                self._previous[signum] = previous
                signal.signal(signum, self.handle)
        if any(not callable(previous) for previous in self._previous.values()):
            self._watch.start()

    def restore(self) -> None:
        """Put back what was there, where ours is still the handler."""
        self._watch.stop()
        hold(self._previous)  # one that came between ours and the default would be lost
        try:
            for signum in list(self._previous):
                if signal.getsignal(signum) == self.handle:
                    with suppress(ValueError):  # not the main thread: ours stays, and hands on
                        signal.signal(signum, self._previous[signum])
                        del self._previous[signum]
        finally:
            let_go()

    def abandon_watch(self) -> None:
        """First of all in a forked child: the wake-up descriptor is the parent's."""
        self._watch.abandon()

    def after_fork_in_child(self, *, silent: bool) -> None:
        """A silent child has no business with signals at all; another has a watch of its own."""
        if silent:
            self.restore()
        elif self._previous:
            self.install()

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Flush, unless a flush for an earlier signal is under way, and hand on."""
        self._handled.add(signum)
        if self._flushing:
            self._hand_on(signum, frame)
            return
        self._flushing = True
        try:
            with internal.guard("lifecycle"):
                # A handler of the user's may let the program go on: a checkpoint, and then the next step.
                if not callable(self._previous.get(signum, signal.SIG_DFL)):
                    self._note_killed()
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

    def _see_to(self, signum: int) -> None:
        """On the watch's thread: do the handler's work where the main thread does not come to it."""
        ends_process = signum in self._previous and not callable(self._previous[signum])
        if not ends_process or signal.getsignal(signum) != self.handle:
            return
        for _ in range(int(PATIENCE_S / _STEP_S)):
            time.sleep(_STEP_S)
            if signum in self._handled:
                return
        with internal.guard("lifecycle"):
            self._note_killed()
            self._flush(TIMEOUT_S)
        die_of(signum)


_masks = threading.local()


def hold(signums: Iterable[int]) -> None:
    """Keep these signals waiting in this thread, until `let_go`.

    Before a fork: a child forgets what reaches a Python handler in its first moments, where the default would have
    ended it. `process.start(); process.terminate()` must not leave a worker running because of us.
    """
    signums = tuple(signums)
    if signums and hasattr(signal, "pthread_sigmask"):
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, signums)


def let_go() -> None:
    """What waited comes now. After a fork in both processes, and first of all: threads inherit the mask."""
    before, _masks.before = getattr(_masks, "before", None), None
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ends_abruptly(handler: Any) -> bool:
    """Whether there is something to do before `handler`.

    Not where the signal is ignored or handled outside Python. Not for Python's own SIGINT handler: KeyboardInterrupt
    ends the program through `atexit`, and asyncio cancels the main task only where it finds that very handler.
    """
    return handler not in (None, signal.SIG_IGN, signal.default_int_handler)
