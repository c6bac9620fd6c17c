"""Exceptions that nobody catches: seen where the interpreter hands them over, in the main thread and in others.

Not by Sentry's integrations for these: the one for threads puts frames of its own into what the program prints, and
neither can be taken back.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class ExceptionHooks:
    """Wraps `sys.excepthook` and `threading.excepthook`, and hands on to what was there.

    Args:
        report: takes an exception and where it ended: "excepthook" or "threading".
    """

    def __init__(self, report: Callable[[BaseException, str], object]) -> None:
        self._report = report
        self._sys: Any = None
        self._threading: Any = None

    def install(self) -> None:
        """Wrap them, once."""
        if self._sys is None:
            self._sys, self._threading = sys.excepthook, threading.excepthook
            sys.excepthook, threading.excepthook = self._on_uncaught, self._on_thread_died

    def uninstall(self) -> None:
        """Put back what was there; where somebody has wrapped ours, it stays below, and only hands on."""
        self._report = lambda *_: None
        if self._sys is not None and sys.excepthook == self._on_uncaught:
            sys.excepthook = self._sys
        if self._threading is not None and threading.excepthook == self._on_thread_died:
            threading.excepthook = self._threading

    def _on_uncaught(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        with internal.guard("sentry"):
            if not hasattr(sys, "ps1"):  # at a prompt every slip of the keyboard ends here
                self._report(error, "excepthook")
        self._sys(kind, error, trace)

    def _on_thread_died(self, args: threading.ExceptHookArgs) -> None:
        with internal.guard("sentry"):
            if args.exc_value is not None:
                self._report(args.exc_value, "threading")
        self._threading(args)
