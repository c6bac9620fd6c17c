"""The stage itself: the hot path, so that it can stay in an 18 us kernel.

A stage out of budget reads the clock twice, marks itself in a cell of its thread, and appends one integer to a list.
It takes no lock and makes no call into OpenTelemetry. How it is open is kept on the object, as long as that is open
once at a time; an object in use by several threads or tasks at once keeps its entries in their contexts.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from time import perf_counter_ns as _clock
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from otelml.instruments import internal, timer
from otelml.instruments.attributes import whole_number
from otelml.semconv import _generated as semconv
from otelml.stages import decorators, failures, marks, spans
from otelml.stages.marks import Cell, TaskMark

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from opentelemetry.trace import Span

    from otelml.stages.timed import Timed

F = TypeVar("F", bound="Callable[..., Any]")

_current_cell = marks.current_cell

# How an open stage is kept: its start (perf_counter ns), and its mark, or its span with the token of the OTel context.
Open = tuple[int, Cell | TaskMark | None, "tuple[Span, Any] | None"]

# The start of an object that is open more than once at a time: then all its entries are in `_shared`, and each in
# the context that it was opened in.
SHARED = -1
_sharing_lock = threading.Lock()


class Entry:
    """One of several uses of a stage object at a time."""

    __slots__ = ("above", "open", "opened", "stage")

    def __init__(self, stage: Stage, opened: Open, above: Entry | None) -> None:
        self.stage = stage
        self.opened = opened
        self.above = above
        self.open = True


def renew_lock() -> None:
    """In a forked child: the old lock may be held by a thread that the fork left behind."""
    global _sharing_lock  # noqa: PLW0603
    _sharing_lock = threading.Lock()


timer.fork_hooks.append(renew_lock)

_entries: ContextVar[Entry | None] = ContextVar("otelml.stage.entries", default=None)


def entry_of(stage: Stage | None) -> Entry | None:
    """The innermost entry of this context that is still open: of `stage`, or of any."""
    entry = _entries.get()
    while entry is not None and not (entry.open and stage in (None, entry.stage)):
        entry = entry.above
    return entry


class Stage:
    """What `otelml.stage(...)` returns: a context manager (`with`, `async with`) and a decorator.

    Attributes:
        name: as given.
        items: how many items it worked on (batch size, rows); may be set inside the block.
        attributes: go to the span and the events; may be added to inside the block.
    """

    __slots__ = (
        "_cell",
        "_elapsed_ns",
        "_shared",
        "_span",
        "_start",
        "_state",
        "attributes",
        "items",
        "name",
    )

    # The attribute of the span that says how many items.
    _items_key: ClassVar[str] = semconv.ML_STAGE_ITEMS

    name: str
    items: int | None
    attributes: dict[str, Any]
    _state: Timed
    # How it is open; `_start` is None while it is not, and `_span` is only set by the slow path. `_cell` is set if it
    # takes no more than the hot path to close it.
    _start: int | None
    _cell: Cell | None
    _span: Open | None
    _shared: list[Entry]
    _elapsed_ns: int

    @property
    def duration_s(self) -> float | None:
        """Seconds the last finished block took, by the monotonic clock; None before one has."""
        elapsed_ns: int | None = getattr(self, "_elapsed_ns", None)
        return None if elapsed_ns is None else elapsed_ns / 1e9

    def __enter__(self) -> Stage:
        cell = _current_cell()
        if self._state.tokens >= 1.0 or cell.is_shared:
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
            # Called as a method, what a slot holds takes 8 ns longer.
            record_ns = state.record_ns
            record_ns(elapsed_ns)
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
        self._keep(self._open())
        return self

    def _open(self) -> Open:
        """Open a stage: with a span where the budget and the stages above allow it, else marked as refused."""
        state, span = self._state, None
        marks.notice_loop()
        if state.tokens >= 1 and not marks.inside_refused():
            state.tokens -= 1
            with internal.guard("stage"):
                span = spans.start_span(self, "budget" if state.kept else "first")
                state.kept += 1
        mark = None if span is not None else marks.mark_refused()
        try:
            self._log_start()
        except BaseException:  # what a logging handler of the user's raises is the user's, a Ctrl-C say
            self._abandon(mark, span)
            raise
        return _clock(), mark, span

    def _abandon(self, mark: Cell | TaskMark | None, span: tuple[Span, Any] | None) -> None:
        if mark is not None:
            marks.unmark(mark)
        if span is not None:
            spans.end_span(self, span, None)

    def _keep(self, opened: Open) -> None:
        """Keep how this use is open: on the object, or in its context while the object holds another use.

        That one may be of another thread or task, or of a recursion; the object goes on like that until all have left.
        """
        with _sharing_lock:
            if self._start is None:
                self._start, self._cell, self._span = opened[0], None, opened
                return
            if self._start != SHARED:
                kept = (self._start, self._cell, None) if self._cell is not None else self._span
                self._shared = [Entry(self, kept, None)]  # type: ignore[arg-type]  # open, so one of the two
                self._start, self._cell = SHARED, None
            entry = Entry(self, opened, entry_of(None))
            self._shared.append(entry)
        _entries.set(entry)

    def _exit_slowly(self, now: int, exc: BaseException | None) -> None:
        opened = self._take_opened()
        if opened is None:
            internal.count("errors", "stage", "exit_without_enter")
            return
        start, mark, span = opened
        self._elapsed_ns = now - start
        if mark is not None:
            marks.unmark(mark)
        self._finish(start, now - start, span, exc)

    def _take_opened(self) -> Open | None:
        if self._start is None:
            return None
        if self._start != SHARED:
            opened = self._span
            self._cell = self._span = self._start = None
            return opened
        with _sharing_lock:
            # What was opened in another context than it is closed in: the oldest.
            entry = entry_of(self) or self._shared[0]
            entry.open = False
            self._shared.remove(entry)
            if not self._shared:
                self._start = None
        return entry.opened

    def _finish(
        self, start_ns: int, elapsed_ns: int, span: tuple[Span, Any] | None, exc: BaseException | None
    ) -> None:
        """Record, then end the span or consider a late one: failures, stages with a span, durations that stand out."""
        error = None if isinstance(exc, GeneratorExit) else exc
        with internal.guard("stage"):
            self._record(elapsed_ns, error)
            kept = None if span is None else span[0]
            if span is None:
                with internal.guard("stage"):
                    kept = self._consider_late_span(start_ns, elapsed_ns, error)
            try:
                if error is not None and failures.listeners:
                    self._tell_failure(start_ns, error, kept)
                self._log_end(elapsed_ns, error)
            finally:
                if span is not None:
                    spans.end_span(self, span, error)
                    self._state.note_slow(elapsed_ns, None)

    def _tell_failure(self, start_ns: int, error: BaseException, span: Span | None) -> None:
        failures.tell(self._span_name(), error, self._span_identity(start_ns), self.attributes, span)

    def _record(self, elapsed_ns: int, error: BaseException | None) -> None:
        if error is None:
            self._state.record_ns(elapsed_ns)
        else:
            self._state.record_failure(elapsed_ns, spans.error_type(error))
        if self.items is not None:
            self._state.add_items(self.items)

    def _consider_late_span(self, start_ns: int, elapsed_ns: int, error: BaseException | None) -> Span | None:
        state, made = self._state, None
        late = spans.LateSpan(self, start_ns, elapsed_ns)
        reason = state.reason_to_keep(elapsed_ns, failed=error is not None)
        if reason is not None:
            state.kept += 1
            made = late.make(reason, error)
        state.note_slow(elapsed_ns, late if reason is None and error is None else None)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are stages of the same name that are not open."""
        from otelml import stages

        return stages.rebuild, (self.name, self.items, self.attributes, None)

    def _span_name(self) -> str:
        return self.name

    def _span_identity(self, start_ns: int | None) -> dict[str, Any]:  # noqa: ARG002 - for those that need it
        """What the registry has on a span of this kind; of the use that began at `start_ns`, if that is over."""
        return {semconv.ML_STAGE_NAME: self.name, self._items_key: whole_number(self.items)}

    def _log_start(self) -> None:
        """A place for `LoggedStage`."""

    def _log_end(self, elapsed_ns: int, error: BaseException | None) -> None:
        """A place for `LoggedStage`."""
