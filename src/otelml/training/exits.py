"""How the program ends, which no exit handler is told: what it showed of that before.

A `SystemExit` reaches neither `sys.excepthook` nor `atexit`: CPython drops it, with its code, in between. So
`sys.exit`, `exit` and `quit` are watched, and the main module; only while a run is open that nobody else would end.
"""

from __future__ import annotations

import sys
import threading
from _sitebuiltins import Quitter
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal
from otelml.training.main_module import MainModule, find_main_module
from otelml.training.status import COMPLETED, FAILED, status_of, status_of_exit, uncaught

if TYPE_CHECKING:
    from types import FrameType

_UNSEEN = (
    "otelml: nobody could see the exit code of the program, so that its run counts as failed;"
    " end it by `with` or `end()`"
)

_is_on = False
_main: MainModule | None = None
# Of the exits that nobody has caught: what each makes of a run, in the order of their calls.
_under_way: dict[int, str] = {}
# What ours hand on to, for good: somebody may call one that he looked up before. And those of them that are in place.
_originals: dict[Any, Any] = {}
_placed: set[Any] = set()


class _Exit:
    """An exit under way. A frame that the exception passes holds it, so that both last as long.

    Caught, they go while the main module runs; what ended that goes later, or, in a cycle, never.
    """

    def __init__(self, code: Any) -> None:
        # Another thread ends only itself.
        if _is_on and threading.current_thread() is threading.main_thread():
            _under_way[id(self)] = status_of_exit(code)

    def __del__(self) -> None:
        if _main is not None and _main.is_running():
            _under_way.pop(id(self), None)


def _exit(status: Any = None, /) -> Any:
    """`sys.exit`, noted."""
    _noted = _Exit(status)
    return _originals[_exit](status)


def _quit(self: Quitter, code: Any = None) -> Any:
    """`exit` and `quit` of the module `site`, noted."""
    _noted = _Exit(code)
    return _originals[_quit](self, code)


_WAYS_OUT = ((sys, "exit", _exit), (Quitter, "__call__", _quit))


def watch() -> None:
    """Watch how the program ends; again without harm."""
    global _is_on, _main  # noqa: PLW0603 - the process has one end
    if _is_on:
        return
    _is_on = True
    for owner, name, noting in _WAYS_OUT:
        if noting not in _placed:
            _placed.add(noting)
            _originals[noting] = getattr(owner, name)
            setattr(owner, name, noting)
    _main = find_main_module(SystemExit, _originals[_exit])
    if _main is not None:
        _main.watch_calls()


def unwatch() -> None:
    """As it was, unless somebody put a function over ours: then ours stays below, and hands on."""
    global _is_on, _main
    main, _main, _is_on = _main, None, False
    if main is not None:
        main.unwatch_calls()
    _under_way.clear()
    for owner, name, noting in _WAYS_OUT:
        if noting in _placed and getattr(owner, name) is noting:
            _placed.remove(noting)
            setattr(owner, name, _originals[noting])


def read_end() -> tuple[str, BaseException | None]:
    """What the end of the program makes of a run, with the exception that ended it where that is known.

    To be asked once the interpreter exits. An exit whose code nobody saw is a failure: it may have been one.
    """
    # One that still runs is that of a worker, or of a session, which goes on after an exception.
    main = None if _main is None or _main.is_running() or hasattr(sys, "ps1") else _main
    if main is not None and main.has_returned():
        return COMPLETED, None
    error = uncaught()
    if error is not None:
        return status_of(error), error
    noted = (main and main.exit_status()) or _worker_status() or next(reversed(_under_way.values()), None)
    if noted is None and main is not None:
        internal.warn_once("training:exit", _UNSEEN)
        return FAILED, None
    return noted or COMPLETED, None


def _worker_status() -> str | None:
    """What the exit code of a worker that `multiprocessing` forked makes of a run.

    From Python 3.13 on its finalizers run after its exception is gone; before, they still see that.
    """
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - of this thread
    while frame is not None and frame.f_code.co_name != "_bootstrap":
        module = str(frame.f_globals.get("__name__"))
        if frame.f_code.co_name == "_launch" and module.endswith(".popen_fork"):
            return status_of_exit(frame.f_locals.get("code"))
        frame = frame.f_back
    return None


def reset() -> None:
    """For tests: nobody watches."""
    unwatch()
