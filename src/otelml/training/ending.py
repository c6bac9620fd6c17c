"""Runs that are open when the program ends: they get the status that the end gives them, before the last flush."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

from otelml import context
from otelml.instruments import timer
from otelml.training import bars
from otelml.training.status import COMPLETED, KILLED, status_of, status_of_exit, uncaught

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelml.training.runs import Run

EXIT_WAIT_S = 0.5
"""How long a run that is ended by the end of the program waits for its energy."""
KILLED_WAIT_S = 0.05
"""The same where a signal ends the program, which has half a second for everything."""

ends_now = False
"""Whether runs are being ended because the program ends."""

_open: list[Run] = []
_watching_exit: list[Run] = []
_at_exit = False
_exit_status: str | None = None
_sys_exit: Callable[[Any], Any] | None = None


def opened(run: Run, *, in_block: bool) -> None:
    """`run` was started; outside of a `with` block only `sys.exit` knows with what code the program ends."""
    global _at_exit  # noqa: PLW0603 - once a process
    if not _at_exit:
        _at_exit = True
        atexit.register(context.end_all, "exit")
    if end_open_runs not in context.end_hooks:
        context.end_hooks.append(end_open_runs)
        timer.fork_hooks.append(_renew_locks)
    _open.append(run)
    if not in_block:
        _watching_exit.append(run)
        _watch_exit()


def closed(run: Run) -> None:
    """`run` has ended."""
    for runs in (_open, _watching_exit):
        if run in runs:
            runs.remove(run)
    if not _watching_exit:
        _leave_exit()


def end_open_runs(how: str) -> None:
    """End every open run of this process, the innermost first: `how` is "exit" or "killed"."""
    global ends_now  # noqa: PLW0603 - once a process
    ends_now = True
    killed = how == "killed"
    error = None if killed else uncaught()
    status = KILLED if killed else _exit_status or status_of(error)
    for run in reversed(_open[:]):
        if run.pid == os.getpid():
            # A block that nobody has left is one of a daemon thread: the end of the program cuts it off.
            own = status if run in _watching_exit or status != COMPLETED else KILLED
            run.end(own, error=error, wait_s=KILLED_WAIT_S if killed else EXIT_WAIT_S)
    bars.stop()


def _renew_locks() -> None:
    for run in _open:
        run.renew_lock()


def _watch_exit() -> None:
    global _sys_exit  # noqa: PLW0603 - the interpreter's own
    if _sys_exit is None:
        _sys_exit = sys.exit
        sys.exit = _noting_exit


def _leave_exit() -> None:
    """As it was, unless somebody put a function over ours: then ours stays below, and hands on."""
    global _sys_exit
    if _sys_exit is not None and sys.exit is _noting_exit:
        sys.exit, _sys_exit = _sys_exit, None  # type: ignore[assignment]


def _noting_exit(status: Any = None, /) -> Any:
    """`sys.exit`, remembering how the program wants to end: no exit handler can find that out."""
    global _exit_status  # noqa: PLW0603 - of the process
    if threading.current_thread() is threading.main_thread():
        noted = status_of_exit(status)
        _exit_status = None if noted == COMPLETED else noted
    raise SystemExit(status)


def reset() -> None:
    """For tests: no run is open."""
    global _exit_status, ends_now  # noqa: PLW0603 - state of the process
    ends_now = False
    _open.clear()
    _watching_exit.clear()
    _leave_exit()
    _exit_status = None
    if _renew_locks in timer.fork_hooks:
        timer.fork_hooks.remove(_renew_locks)
