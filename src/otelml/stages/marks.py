"""How stages inside a stage know that it was refused a span: a count in a cell of the thread, or a mark of the task.

Apart from the stage because three kinds of stages mark (blocks, generators, decorated calls) and one function asks.
Carrying a mark in a context variable alone would be simpler, but setting one to a new value and back costs 400 ns, more
than the rest of a stage together; reading one costs 10. So the variable holds a cell that is changed in place, and is
set only inside a running event loop.
"""

from __future__ import annotations

import sys
from asyncio import _get_running_loop as running_loop
from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType, FrameType


class Cell:
    """How many stages without a span are open in one flow of control: a thread, as long as it runs no event loop.

    `is_shared` sends whoever comes by the cell to the slow path, because others do too: tasks of an event loop, or
    threads that run copies of one context. It is set and reset by the slow path, which every name takes many times a
    second: for up to one wake-up of the drain thread after a loop began, or a context was copied, several flows may
    be marked here. That can cost another stage its span, or give it one that its outer stage has not, no more.
    """

    __slots__ = ("is_shared", "refused", "thread_id")

    def __init__(self, thread_id: int, *, is_shared: bool = False) -> None:
        self.refused = 0
        self.thread_id = thread_id
        self.is_shared = is_shared


# Who has no cell yet comes by this one, and so makes one on the slow path.
_NOBODYS = Cell(0, is_shared=True)
_cell: ContextVar[Cell] = ContextVar("otelml.stage.cell", default=_NOBODYS)

current_cell = _cell.get
"""For the hot path: the cell of the context, which may be another thread's. 40 ns faster than one kept by thread."""


def own_cell() -> Cell:
    """The cell that is this thread's. For the slow path."""
    cell, thread_id = _cell.get(), get_ident()
    if cell.thread_id != thread_id:  # nobody's, or of the thread that this context was copied from
        cell.is_shared = True
        cell = Cell(thread_id, is_shared=running_loop() is not None)
        _cell.set(cell)
    return cell


class TaskMark:
    """A stage without a span that is open in a task: seen by what the task starts, closed from wherever it ends."""

    __slots__ = ("above", "open")

    def __init__(self, above: TaskMark | None) -> None:
        self.above = above
        self.open = True


_task_mark: ContextVar[TaskMark | None] = ContextVar("otelml.stage.refused", default=None)

# Code of decorated functions, which are marked by being on the call stack.
refusing_code: set[CodeType] = set()
# Code that calls a decorated function within a stage that does its own marking.
marking_code: set[CodeType] = set()


def mark_refused() -> Cell | TaskMark:
    """Mark a stage without a span as open, for those inside it: in the thread's cell, or in the task."""
    cell = own_cell()
    if cell.is_shared:
        mark = TaskMark(open_task_mark())
        _task_mark.set(mark)
        return mark
    cell.refused += 1
    return cell


def unmark(mark: Cell | TaskMark) -> None:
    """Take back a mark, from any thread or task."""
    if type(mark) is TaskMark:
        mark.open = False
    else:
        mark.refused -= 1  # type: ignore[union-attr]


def open_task_mark() -> TaskMark | None:
    """The innermost mark of this context that is still open."""
    mark = _task_mark.get()
    while mark is not None and not mark.open:
        mark = mark.above
    return mark


def inside_refused() -> bool:
    """Whether a stage that encloses the caller was refused a span. Off the hot path; looks at the whole call stack."""
    return own_cell().refused > 0 or open_task_mark() is not None or _inside_refused_call()


def notice_loop() -> None:
    """Note whether this thread runs an event loop now."""
    own_cell().is_shared = running_loop() is not None


def _inside_refused_call() -> bool:
    """Whether a decorated function without a span is being called further up (about 30 ns a frame of the stack)."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - CPython's own way to look at the stack
    inner = None
    while frame is not None:
        if frame.f_code in refusing_code and inner not in marking_code:
            return True
        inner, frame = frame.f_code, frame.f_back
    return False
