"""The main module of the program: whether it came to its end, and what it says if it leaves by an exit.

Where it stood last is in its frame, which is held for that. From Python 3.12 on it also tells when it calls
`SystemExit` or `sys.exit` itself, also one that it looked up before anybody watched: `sys.exit(main())`.
"""

from __future__ import annotations

import sys
import threading
from inspect import CO_OPTIMIZED
from opcode import opname
from typing import TYPE_CHECKING, Any

from otelml.training.status import status_of_exit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType

_TOOLS = (3, 4)  # those of `sys.monitoring` that are meant for nobody else


class MainModule:
    """The frame of `__main__`, and the exit that it called last.

    The variables of such a frame are the module's: held, it keeps nothing alive that would be gone without us.
    """

    def __init__(self, frame: FrameType, exits: tuple[Callable[..., Any], ...]) -> None:
        self._frame = frame
        self._exits = exits
        self._tool: int | None = None
        self._called: tuple[int, str] | None = None

    def is_running(self) -> bool:
        return any(frame is self._frame for frame in _stack_of_main_thread())

    def has_returned(self) -> bool:
        """Whether it came to its end, once it runs no more; else an exception has left it."""
        return self._instruction().startswith("RETURN_")

    def exit_status(self) -> str | None:
        """What the exit that it called itself, and left by, makes of a run; None: it did not, or nobody saw."""
        if self._called is None:
            return None
        offset, status = self._called
        last = self._frame.f_lasti
        # `raise SystemExit(...)` raises what it has called: nothing but the caches of the call is between.
        is_raised = self._instruction() == "RAISE_VARARGS" and not any(
            self._frame.f_code.co_code[offset + 2 : last]
        )
        return status if offset == last or is_raised else None

    def watch_calls(self) -> None:
        """Each place in it that calls something tells once that it does, and costs nothing after; exits always."""
        monitoring: Any = getattr(sys, "monitoring", None)
        free = [tool for tool in _TOOLS if monitoring and monitoring.get_tool(tool) is None]
        if free:
            self._tool = free[0]
            monitoring.use_tool_id(self._tool, "otelml")
            monitoring.register_callback(self._tool, monitoring.events.CALL, self._note_call)
            monitoring.set_local_events(self._tool, self._frame.f_code, monitoring.events.CALL)

    def unwatch_calls(self) -> None:
        tool, self._tool = self._tool, None
        if tool is not None:
            monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
            monitoring.set_local_events(tool, self._frame.f_code, 0)
            monitoring.register_callback(tool, monitoring.events.CALL, None)
            monitoring.free_tool_id(tool)

    def _note_call(self, code: CodeType, offset: int, function: Any, argument: Any) -> Any:  # noqa: ARG002 - theirs
        monitoring: Any = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        if not any(function is known for known in self._exits):
            return monitoring.DISABLE
        self._called = offset, status_of_exit(None if argument is monitoring.MISSING else argument)
        return None

    def _instruction(self) -> str:
        """Where it stands, or stood last."""
        return opname[self._frame.f_code.co_code[self._frame.f_lasti]]


def find_main_module(*exits: Callable[..., Any]) -> MainModule | None:
    """The one that runs, which may leave by one of `exits`; None where Python is embedded in something else.

    It is that of the program itself where a profiler runs it, as a second `__main__`.
    """
    found = None
    for frame in _stack_of_main_thread():
        is_main = frame.f_globals.get("__name__") == "__main__" and not frame.f_code.co_flags & CO_OPTIMIZED
        if is_main and (found is None or frame.f_globals is found.f_globals):
            found = frame
    return None if found is None else MainModule(found, exits)


def _stack_of_main_thread() -> Iterator[FrameType]:
    """From the innermost frame; nothing where frames are not CPython's."""
    if sys.implementation.name == "cpython":
        frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001 - from any thread
        while frame is not None:
            yield frame
            frame = frame.f_back
