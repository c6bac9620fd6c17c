"""Telling who forks: `multiprocessing`, `subprocess`, or the program itself; and running something when a worker ends.

A worker is forked by a frame of the library's own, which is on the stack when the fork hooks run; `parent_process()`
only knows later. Workers end by `os._exit`, so `atexit` does not run there, the library's own finalizers do.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# multiprocess is multiprocessing with another pickle, used by Hugging Face datasets. billiard, its third kin, is left
# out: Celery's workers are a server's children.
_PACKAGES = ("multiprocessing", "multiprocess")
_FORKING = frozenset(
    f"{package}.{module}" for package in _PACKAGES for module in ("popen_fork", "forkserver")
)

SUBPROCESS = "subprocess"
"""With `preexec_fn` its children run the fork hooks, and then become another program."""

_EXIT_PRIORITY = -100
"""After the worker's own children have been joined."""


def find_forker(frame: FrameType | None) -> str | None:
    """Who forks, seen from a fork hook's `frame`: SUBPROCESS, a package that makes workers, or None for the program.

    The whole stack counts: in a worker everything runs below the frame that forked it.
    """
    while frame is not None:
        module = frame.f_globals.get("__name__")
        if module == SUBPROCESS:
            return SUBPROCESS
        if module in _FORKING:
            return str(module).partition(".")[0]
        frame = frame.f_back
    return None


def call_at_exit(package: str, owner: Any, action: Callable[[Any], object]) -> None:
    """In a worker just forked by `package`: call `action(owner)` when it ends in good order."""
    util: Any = sys.modules[f"{package}.util"]
    # The worker first forgets its parent's finalizers, then calls what is registered here.
    util.register_after_fork(
        owner, lambda it: util.Finalize(None, action, args=(it,), exitpriority=_EXIT_PRIORITY)
    )
