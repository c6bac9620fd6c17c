"""How a run ended: completed, failed, or killed."""

from __future__ import annotations

import sys
from typing import Any

COMPLETED, FAILED, KILLED = "completed", "failed", "killed"
STATUSES = (COMPLETED, FAILED, KILLED)

# Shells and process managers say 128 + n where signal n ended a program; a handler that exits so means the same.
_FIRST_SIGNAL_EXIT, _LAST_SIGNAL_EXIT = 129, 192


def status_of(error: BaseException | None) -> str:
    """What an exception that leaves the run's block makes of it: Ctrl-C and a cancelled task have killed it."""
    if error is None or isinstance(error, GeneratorExit):
        return COMPLETED
    if isinstance(error, KeyboardInterrupt) or _is_cancelled(error):
        return KILLED
    if isinstance(error, SystemExit):
        return status_of_exit(error.code)
    # What command-line libraries raise to leave a program that is done.
    return COMPLETED if str(getattr(error, "exit_code", None)) == "0" else FAILED


def status_of_exit(code: Any) -> str:
    """What `sys.exit(code)` makes of a run."""
    if code is None or (isinstance(code, int) and code == 0):
        return COMPLETED
    if isinstance(code, int) and _FIRST_SIGNAL_EXIT <= code <= _LAST_SIGNAL_EXIT:
        return KILLED
    return FAILED


def uncaught() -> BaseException | None:
    """The exception that ends the program, once the interpreter exits, or a worker that leaves by `os._exit`."""
    handled = sys.exc_info()[1]
    if handled is not None:  # of a worker: its finalizers run in a `finally`
        return handled
    if hasattr(sys, "ps1"):  # an interactive session went on after it
        return None
    found = getattr(sys, "last_exc", None) or getattr(sys, "last_value", None)
    return found if isinstance(found, BaseException) else None


def _is_cancelled(error: BaseException) -> bool:
    return any(kind.__module__ == "asyncio.exceptions" for kind in type(error).__mro__) and (
        type(error).__name__ == "CancelledError"
    )
