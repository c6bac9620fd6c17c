"""The stage itself: the hot path, so that it can stay in an 18 us kernel.

A stage out of budget reads the clock twice, marks itself in a cell of its thread, and appends one integer to a list.
It takes no lock and makes no call into OpenTelemetry. How it is open is kept on the object, as long as that is open
once at a time; an object in use by several threads or tasks at once keeps its entries in their contexts.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from time import perf_counter_ns as _clock
from typing import TYPE_CHECKING, Any, TypeVar

from otelml.instruments import internal
from otelml.stages import decorators, marks, spans
from otelml.stages.marks import Cell

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from opentelemetry.trace import Span

    from otelml.stages.names import StageName

F = TypeVar("F", bound="Callable[..., Any]")

_thread = marks.thread

# How an open stage is kept: its start (perf_counter ns), the cell it is marked in, and its span with the token of the
# OTel context. Neither cell nor span: refused within an event loop, marked in the task.
_Open = tuple[int, Cell | None, "tuple[Span, Any] | None"]

# For objects open more than once at a time: (the stage, how it is open, the next outer entry of this context).
_entries: ContextVar[Any] = ContextVar("otelml.stage.entries", default=None)
_SHARED = -1
_sharing_lock = threading.Lock()


class Stage:
    """What `otelml.stage(...)` returns: a context manager (`with`, `async with`) and a decorator.

    Attributes:
        name: as given.
        items: how many items it worked on (batch size, rows); may be set inside the block.
        attributes: go to the span and the events; may be added to inside the block.
    """

    __slots__ = ("_cell", "_elapsed_ns", "_owner", "_span", "_start", "_state", "attributes", "items", "name")

    name: str
    items: int | None
    attributes: dict[str, Any]
    _state: StageName
    # How it is open (`_Open`); `_start` is None while it is not, and `_span` is only set by the slow path.
    _start: int | None
    _cell: Cell | None
    _span: tuple[Span, Any] | None
    # The entry that the object kept before it became `_SHARED`.
    _owner: _Open | None
    _elapsed_ns: int

    @property
    def duration_s(self) -> float | None:
        """Seconds the last finished block took, by the monotonic clock; None before one has."""
        elapsed_ns: int | None = getattr(self, "_elapsed_ns", None)
        return None if elapsed_ns is None else elapsed_ns / 1e9

    def __enter__(self) -> Stage:
        cell = _thread.cell
        if self._state.tokens >= 1.0 or cell.in_loop:
            return self._enter_slowly()
        now = _clock()
        # From the test to the last assignment nothing is called, so no other thread can come between.
        if self._start is not None:
            return self._enter_slowly()
        self._start = now
        self._cell = cell
        cell.refused += 1
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        now = _clock()
        cell = self._cell
        if cell is None:
            self._exit_slowly(now, exc)
            return
        self._elapsed_ns = elapsed_ns = now - self._start  # type: ignore[operator]  # open, as it has a cell
        self._cell = self._start = None
        cell.refused -= 1
        state = self._state
        if exc is None and elapsed_ns < state.slow_ns:
            state.record_ns(elapsed_ns)
            if self.items is not None:
                state.add_items(self.items)
            return
        self._finish(now - elapsed_ns, elapsed_ns, None, exc)

    async def __aenter__(self) -> Stage:
        return self.__enter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(exc_type, exc, tb)

    def __call__(self, function: F) -> F:
        """Make every call of `function` a stage: functions, coroutines, generators, asynchronous generators.

        A generator's stage takes the time spent inside it, not what its consumer does between two items.
        """
        return decorators.decorate(self, function)

    # -- opening and closing off the hot path

    def _enter_slowly(self) -> Stage:
        opened = self._open()
        if self._start is not None and self._share(opened):
            return self
        self._start, self._cell, self._span = opened
        return self

    def _open(self) -> _Open:
        """Open a stage: with a span where the budget and the stages above allow it, else marked as refused."""
        state, span = self._state, None
        marks.notice_loop()
        if state.tokens >= 1 and not marks.inside_refused():
            state.tokens -= 1
            with internal.guard("stage"):
                span = spans.start_span(self, "budget" if state.kept else "first")
                state.kept += 1
        cell = None if span is not None else marks.mark_refused()
        self._log_start()
        return _clock(), cell, span

    def _share(self, opened: _Open) -> bool:
        """Keep this entry in its context: the object itself holds another one, by a thread, a task or a recursion.

        From then on the object keeps all its entries in contexts. False if the other one has just left.
        """
        with _sharing_lock:
            if self._start is None:
                return False
            if self._start != _SHARED:
                self._owner = (self._start, self._cell, getattr(self, "_span", None))
                self._start, self._cell = _SHARED, None
        _entries.set((self, opened, _entries.get()))
        return True

    def _exit_slowly(self, now: int, exc: BaseException | None) -> None:
        opened = self._take_opened()
        if opened is None:
            internal.count("errors", "stage", "exit_without_enter")
            return
        start, cell, span = opened
        self._elapsed_ns = now - start
        if span is None:
            marks.unmark(cell)
        self._finish(start, now - start, span, exc)

    def _take_opened(self) -> _Open | None:
        if self._start is None:
            return None
        if self._start != _SHARED:
            opened = (self._start, self._cell, self._span)
            self._cell = self._span = self._start = None
            return opened
        entry = top = _entries.get()
        while entry is not None and entry[0] is not self:
            entry = entry[2]
        if entry is not None:
            _entries.set(_without(top, entry))
            return entry[1]
        owner, self._owner = self._owner, None
        return owner

    def _finish(
        self, start_ns: int, elapsed_ns: int, span: tuple[Span, Any] | None, exc: BaseException | None
    ) -> None:
        """Record, then end the span or consider a late one: failures, stages with a span, durations that stand out."""
        error = None if isinstance(exc, GeneratorExit) else exc
        with internal.guard("stage"):
            self._record(elapsed_ns, error)
            self._log_end(elapsed_ns, error)
            if span is None:
                self._consider_late_span(start_ns, elapsed_ns, error)
            else:
                spans.end_span(self, span, error)
                self._state.note_slow(elapsed_ns, None)

    def _record(self, elapsed_ns: int, error: BaseException | None) -> None:
        if error is None:
            self._state.record_ns(elapsed_ns)
        else:
            self._state.record_failure(elapsed_ns, spans.error_type(error))
        if self.items is not None:
            self._state.add_items(self.items)

    def _consider_late_span(self, start_ns: int, elapsed_ns: int, error: BaseException | None) -> None:
        state = self._state
        late = spans.LateSpan(self, start_ns, elapsed_ns)
        reason = state.reason_to_keep(elapsed_ns, failed=error is not None)
        if reason is not None:
            state.kept += 1
            late.make(reason, error)
        state.note_slow(elapsed_ns, late if reason is None and error is None else None)

    def _log_start(self) -> None:
        """A place for `LoggedStage`."""

    def _log_end(self, elapsed_ns: int, error: BaseException | None) -> None:
        """A place for `LoggedStage`."""


def _without(top: Any, gone: Any) -> Any:
    """The chain of entries from `top` with one taken out (they overlap instead of nesting: a `with` in a generator)."""
    return gone[2] if top is gone else (top[0], top[1], _without(top[2], gone))
