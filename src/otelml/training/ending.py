"""Runs that are open when the program ends: they get the status that the end gives them, before the last flush."""

from __future__ import annotations

import atexit
import os
from typing import TYPE_CHECKING

from otelml import context
from otelml.instruments import internal, timer
from otelml.training import bars, exits
from otelml.training.status import COMPLETED, KILLED

if TYPE_CHECKING:
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


def opened(run: Run, *, in_block: bool) -> None:
    """`run` was started; outside of a `with` block nobody would see how the program leaves it."""
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
        with internal.guard("training"):
            exits.watch()


def closed(run: Run) -> None:
    """`run` has ended."""
    for runs in (_open, _watching_exit):
        if run in runs:
            runs.remove(run)
    if not _watching_exit:
        exits.unwatch()


def end_open_runs(how: str) -> None:
    """End every open run of this process, the innermost first: `how` is "exit" or "killed"."""
    global ends_now  # noqa: PLW0603 - once a process
    ends_now = True
    killed = how == "killed"
    status, error = (KILLED, None) if killed else exits.read_end()
    for run in reversed(_open[:]):
        if run.pid == os.getpid():
            # A block that nobody has left is one of a daemon thread: the end of the program cuts it off.
            own = status if run in _watching_exit or status != COMPLETED else KILLED
            run.end(own, error=error, wait_s=KILLED_WAIT_S if killed else EXIT_WAIT_S)
    bars.stop()


def _renew_locks() -> None:
    for run in _open:
        run.renew_lock()


def reset() -> None:
    """For tests: no run is open."""
    global ends_now  # noqa: PLW0603 - state of the process
    ends_now = False
    _open.clear()
    _watching_exit.clear()
    if _renew_locks in timer.fork_hooks:
        timer.fork_hooks.remove(_renew_locks)
