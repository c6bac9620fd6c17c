"""A stage: a timed piece of work, as a metric always, as a span within a budget, and as a pair of log events if asked.

The hot path, so that it can stay in an 18 us kernel: a stage out of budget reads the clock twice, marks itself in a
cell of its thread, and appends one integer to a list. It takes no lock and makes no call into OpenTelemetry.

Three things must be known about every open stage: when it began, whether it has a span, and, for the stages inside
it, whether it was refused one. Setting a context variable would carry all three, but costs more than the rest of the
stage together (a set to a new value and back is 400 ns). So the common case keeps the first two on the object and the
third in a thread's cell. Context variables are used where that is not enough: inside a running event loop, and for an
object that is open more than once at a time.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from asyncio import _get_running_loop as _running_loop
from contextvars import ContextVar
from time import perf_counter_ns as _clock
from time import time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from otelml import instruments, settings, stage_names
from otelml._version import __version__
from otelml.instruments import internal
from otelml.instruments.attributes import span_value
from otelml.semconv import _generated as semconv

if TYPE_CHECKING:
    import logging
    from collections.abc import AsyncGenerator, Callable, Generator
    from types import CodeType, TracebackType

    from opentelemetry.trace import Span

F = TypeVar("F", bound="Callable[..., Any]")


class _Cell:
    """What is known of a thread: how many stages without a span are open in it, and whether it runs an event loop.

    `in_loop` is set and reset by the slow path, which every name takes many times a second: for up to one wake-up of
    the drain thread after a loop began, its tasks may be marked here. That can cost another stage its span, no more.
    """

    __slots__ = ("in_loop", "refused")

    def __init__(self) -> None:
        self.refused = 0
        self.in_loop = False


class _Thread(threading.local):
    def __init__(self) -> None:
        self.cell = _Cell()


_thread = _Thread()
# The same count for a task, and for what it starts.
_task_refused: ContextVar[int] = ContextVar("otelml.stage.refused", default=0)

# How an open stage is kept: its start (perf_counter ns), the cell it is marked in, and its span with the token of the
# OTel context. Neither cell nor span: refused within an event loop, marked in the task.
_Open = tuple[int, "_Cell | None", "tuple[Span, Any] | None"]

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
        self._elapsed_ns = elapsed_ns = now - self._start
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
        if inspect.isasyncgenfunction(function):
            return self._wrap_async_generator(function)  # type: ignore[no-any-return]
        if inspect.isgeneratorfunction(function):
            return self._wrap_generator(function)  # type: ignore[no-any-return]
        if inspect.iscoroutinefunction(function):
            return self._wrap_coroutine(function)  # type: ignore[no-any-return]
        return self._wrap_function(function)  # type: ignore[no-any-return]

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
        _thread.cell.in_loop = _running_loop() is not None
        if state.tokens >= 1 and not _thread.cell.refused and not _task_refused.get() and not _inside_refused_call():
            state.tokens -= 1
            with internal.guard("stage"):
                span = _start_span(self, "budget" if state.kept else "first")
                state.kept += 1
        cell = None if span is not None else _mark_refused()
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
            _unmark(cell)
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
            return entry[1]  # type: ignore[no-any-return]
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
                _end_span(self, span, error)
                self._state.note_slow(elapsed_ns, None)

    def _record(self, elapsed_ns: int, error: BaseException | None) -> None:
        if error is None:
            self._state.record_ns(elapsed_ns)
        else:
            self._state.record_failure(elapsed_ns, error_type(error))
        if self.items is not None:
            self._state.add_items(self.items)

    def _consider_late_span(self, start_ns: int, elapsed_ns: int, error: BaseException | None) -> None:
        state = self._state
        late = _LateSpan(self, start_ns, elapsed_ns)
        reason = state.reason_to_keep(elapsed_ns, failed=error is not None)
        if reason is not None:
            state.kept += 1
            late.make(reason, error)
        state.note_slow(elapsed_ns, late if reason is None and error is None else None)

    def _log_start(self) -> None:
        """A place for `LoggedStage`."""

    def _log_end(self, elapsed_ns: int, error: BaseException | None) -> None:
        """A place for `LoggedStage`."""

    # -- decorators

    def _wrap_function(self, function: Any) -> Any:
        state = self._state

        # A call without a span is marked by being on the call stack: `_inside_refused_call` looks for this code.
        @functools.wraps(function)
        def staged(*args: Any, **kwargs: Any) -> Any:
            if state.tokens >= 1.0:
                return _call_within(self, function, args, kwargs)
            start = _clock()
            try:
                result = function(*args, **kwargs)
            except BaseException as error:
                self._finish(start, _clock() - start, None, error)
                raise
            elapsed_ns = _clock() - start
            if elapsed_ns < state.slow_ns and self.items is None:
                state.record_ns(elapsed_ns)
            else:
                self._finish(start, elapsed_ns, None, None)
            return result

        _refusing_code.add(staged.__code__)
        return staged

    def _wrap_coroutine(self, function: Any) -> Any:
        @functools.wraps(function)
        async def staged(*args: Any, **kwargs: Any) -> Any:
            with self:
                return await function(*args, **kwargs)

        return staged

    def _wrap_generator(self, function: Any) -> Any:
        @functools.wraps(function)
        def staged(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            generator, life = function(*args, **kwargs), _Life(self)
            step, value = generator.send, None
            try:
                while True:
                    with life:
                        item = step(value)
                    try:
                        step, value = generator.send, (yield item)
                    except GeneratorExit:
                        with life:
                            generator.close()
                        raise
                    except BaseException as thrown:  # noqa: BLE001 - goes on into the generator
                        step, value = generator.throw, thrown
            except StopIteration as stop:
                life.end(None)
                return stop.value
            except BaseException as error:
                life.end(error)
                raise

        return staged

    def _wrap_async_generator(self, function: Any) -> Any:
        @functools.wraps(function)
        async def staged(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            generator, life = function(*args, **kwargs), _Life(self)
            step, value = generator.asend, None
            try:
                while True:
                    with life:
                        item = await step(value)
                    try:
                        step, value = generator.asend, (yield item)
                    except GeneratorExit:
                        with life:
                            await generator.aclose()
                        raise
                    except BaseException as thrown:  # noqa: BLE001 - goes on into the generator
                        step, value = generator.athrow, thrown
            except StopAsyncIteration:
                life.end(None)
            except BaseException as error:
                life.end(error)
                raise

        return staged


_DEPTH = 6


class LoggedStage(Stage):
    """A stage that writes `stage_start` and `stage_complete` (or `stage_error`) events around its block.

    The first is out before the clock starts and the second after it stopped: a hang is visible, and what they cost
    is not in the duration.
    """

    __slots__ = ("_depth", "_logger")

    _logger: logging.Logger | None
    # Frames from `events.emit` up to the user's own, whose place the events carry.
    _depth: int

    def __enter__(self) -> Stage:
        return self._enter_slowly()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._exit_slowly(_clock(), exc)

    def _log_start(self) -> None:
        self._emit("stage_start", f"Starting {self.name}")

    def _log_end(self, elapsed_ns: int, error: BaseException | None) -> None:
        elapsed_ms = elapsed_ns / 1e6
        if error is None:
            self._emit("stage_complete", f"Completed {self.name}", elapsed_ms=elapsed_ms)
        else:
            said = {"error_type": error_type(error), "error_message": _text(error)}
            self._emit("stage_error", f"Failed {self.name}", 40, elapsed_ms=elapsed_ms, **said)

    def _emit(self, event: str, message: str, level: int = 20, **fields: Any) -> None:
        from otelml import events

        known = {"stage": self.name, **fields}
        if self.items is not None:
            known["items"] = self.items
        with internal.guard("stage"):
            events.emit(event, self.attributes | known, level=level, message=message, logger=self._logger, stacklevel=self._depth)

    def __call__(self, function: F) -> F:
        self._depth = _DEPTH + 1
        return super().__call__(function)

    def _wrap_function(self, function: Any) -> Any:
        @functools.wraps(function)
        def staged(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return staged


class NoopStage:
    """Every stage while telemetry is off: one shared object that does nothing. Its `duration_s` stays None."""

    __slots__ = ()
    name = ""
    duration_s: float | None = None

    def __enter__(self) -> NoopStage:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        return None

    async def __aenter__(self) -> NoopStage:
        return self

    async def __aexit__(self, exc_type: object, exc: object, tb: object) -> None:
        return None

    def __call__(self, function: F) -> F:
        return function

    @property
    def items(self) -> None:
        """Accepted and forgotten."""
        return None

    @items.setter
    def items(self, value: object) -> None:
        pass


_NOOP: Any = NoopStage()


class _Life:
    """A generator's stage: open while the generator runs, out of its consumer's way while it is suspended."""

    __slots__ = ("elapsed_ns", "mark", "resumed_ns", "span", "stage", "start_ns")

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.start_ns: int | None = None
        self.span: tuple[Span, Any] | None = None
        self.mark: Any = None
        self.elapsed_ns = self.resumed_ns = 0

    def __enter__(self) -> None:
        if self.start_ns is None:
            self.start_ns, self.mark, self.span = self.stage._open()  # noqa: SLF001
        elif self.span is None:
            self.mark = _mark_refused()
        else:
            self.span = (self.span[0], _attach(self.span[0]))
        self.resumed_ns = _clock()

    def __exit__(self, *exc: object) -> None:
        self.elapsed_ns += _clock() - self.resumed_ns
        if self.span is None:
            _unmark(self.mark)
        else:
            _detach(self.span[1])

    def end(self, error: BaseException | None) -> None:
        """Record the time spent inside, and end the span."""
        if self.start_ns is not None:
            self.stage._elapsed_ns = self.elapsed_ns  # noqa: SLF001
            span = None if self.span is None else (self.span[0], None)
            self.stage._finish(self.start_ns, self.elapsed_ns, span, error)  # noqa: SLF001


class _LateSpan:
    """The span of a stage that was refused one at its start: made at its end, with its true start, as a leaf."""

    __slots__ = ("attributes", "context", "elapsed_ns", "items", "name", "start_wall_ns")

    def __init__(self, stage: Stage, start_ns: int, elapsed_ns: int) -> None:
        from opentelemetry.context import get_current

        self.name = stage.name
        self.attributes = stage.attributes
        self.items = stage.items
        self.elapsed_ns = elapsed_ns
        self.start_wall_ns = time_ns() - (_clock() - start_ns)
        self.context = get_current()

    def __call__(self) -> None:
        self.make("outlier", None)

    def make(self, reason: str, error: BaseException | None) -> None:
        span = _tracer().start_span(
            self.name,
            context=self.context,
            start_time=self.start_wall_ns,
            attributes=_span_attributes(self.name, self.items, self.attributes, reason),
        )
        if error is not None:
            _set_failed(span, error)
        span.end(self.start_wall_ns + self.elapsed_ns)


def _mark_refused() -> _Cell | None:
    """Mark a stage without a span as open, for those inside it; the thread's cell, or None for the task's count."""
    if _thread.cell.in_loop:
        _task_refused.set(_task_refused.get() + 1)
        return None
    cell = _thread.cell
    cell.refused += 1
    return cell


def _unmark(cell: _Cell | None) -> None:
    if cell is not None:
        cell.refused -= 1
    else:
        # Not below 0: the stage may be closed in another task than it was opened in.
        _task_refused.set(max(0, _task_refused.get() - 1))


_refusing_code: set[CodeType] = set()


def _call_within(stage: Stage, function: Any, args: Any, kwargs: Any) -> Any:
    """A decorated call that does its own marking; its frame on the stack says so."""
    with stage:
        return function(*args, **kwargs)


def _inside_refused_call() -> bool:
    """Whether a decorated function without a span is being called further up (about 30 ns a frame of the stack)."""
    frame, inner = sys._getframe(1), None
    while frame is not None:
        if frame.f_code in _refusing_code and inner is not _call_within.__code__:
            return True
        inner, frame = frame.f_code, frame.f_back
    return False


def _without(top: Any, gone: Any) -> Any:
    """The chain of entries from `top` with one taken out (they overlap instead of nesting: a `with` in a generator)."""
    return gone[2] if top is gone else (top[0], top[1], _without(top[2], gone))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<str() raised {type(problem).__name__}>"


def error_type(error: BaseException) -> str:
    """The value of `error.type`: the qualified class name, without the module for built-in ones."""
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# -- OpenTelemetry, imported when the first span is made

_provider_and_tracer: tuple[Any, Any] = (None, None)


def _tracer() -> Any:
    """The tracer of the present global provider."""
    global _provider_and_tracer  # noqa: PLW0603
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if _provider_and_tracer[0] is not provider:
        _provider_and_tracer = (provider, provider.get_tracer("otelml", __version__))
    return _provider_and_tracer[1]


def _start_span(stage: Stage, reason: str) -> tuple[Span, Any]:
    span = _tracer().start_span(
        stage.name, attributes=_span_attributes(stage.name, stage.items, stage.attributes, reason)
    )
    return span, _attach(span)


def _end_span(stage: Stage, opened: tuple[Span, Any], error: BaseException | None) -> None:
    span, token = opened
    try:
        if stage.items is not None:
            span.set_attribute(semconv.ML_STAGE_ITEMS, stage.items)
        if error is not None:
            _set_failed(span, error)
        span.end()
    finally:
        if token is not None and _is_current(span):
            _detach(token)


def _set_failed(span: Span, error: BaseException) -> None:
    from opentelemetry.trace import Status, StatusCode

    try:
        span.record_exception(error)
    except Exception:  # noqa: BLE001 - the user's `__str__` or `__repr__` may raise anything
        span.add_event("exception", {"exception.type": error_type(error), "exception.message": _text(error)})
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {_text(error)}"))
    span.set_attribute(semconv.ERROR_TYPE, error_type(error))


def _span_attributes(name: str, items: object, attributes: dict[str, Any], reason: str) -> dict[str, Any]:
    made = {key: span_value(value) for key, value in attributes.items() if value is not None}
    if items is not None:
        made[semconv.ML_STAGE_ITEMS] = span_value(items)
    made[semconv.ML_STAGE_NAME] = name
    made[semconv.ML_STAGE_KEPT] = reason
    return made


def _attach(span: Span) -> Any:
    from opentelemetry import context, trace

    return context.attach(trace.set_span_in_context(span))


def _is_current(span: Span) -> bool:
    """False in another context than the span was attached in, where OpenTelemetry would log a failed detach."""
    from opentelemetry import trace

    return trace.get_current_span() is span


def _detach(token: Any) -> None:
    from opentelemetry import context

    context.detach(token)


# -- the public function

_names = stage_names.names
_log_all = False

if TYPE_CHECKING:

    def stage(
        name: str, *, items: int | None = None, log: bool | logging.Logger = False, **attributes: Any
    ) -> Stage: ...


def _stage_on(name: str, *, items: int | None = None, log: bool | logging.Logger = False, **attributes: Any) -> Stage:
    """Measure a piece of work: `with otelml.stage("encode", items=len(batch)):`, or `@otelml.stage("encode")`.

    Records `ml.stage.duration` (seconds, every time), counts `ml.stage.items`, and makes a span within the budget
    (`OTELML_SPAN_BUDGET`). An exception is recorded and goes on as it is. The object may be kept and used again, also
    by several threads and tasks at once; after a block its `duration_s` says what was measured.

    Args:
        name: a constant (`encode`, `multimodal_fusion`), not something that varies: names are limited like attributes.
        items: how many items this piece of work has (rows, samples); counted into `ml.stage.items`.
        log: True writes `stage_start` and `stage_complete` or `stage_error` events; a `logging.Logger` writes them
            there. `OTELML_STAGE_LOGS=true` turns it on for all.
        attributes: go to the span and the events, never to a metric.

    Raises:
        TypeError: `name` is not a string.
    """
    if log or _log_all:
        return _logged(name, items, log, attributes)
    # Filled here and not by an __init__: a call of a class with keywords costs 240 ns more.
    made = Stage()
    made.name = name
    made.items = items
    made.attributes = attributes
    made._state = _names.get(name) or stage_names.of(name)
    made._start = made._cell = None
    return made


def _stage_off(name: str, *, items: int | None = None, log: bool | logging.Logger = False, **attributes: Any) -> Any:
    """`stage` where telemetry is off for good: what can still be done is to write the log pair."""
    return _logged(name, items, log, attributes) if log else _NOOP


def _logged(name: str, items: int | None, log: bool | logging.Logger, attributes: dict[str, Any]) -> LoggedStage:
    made = LoggedStage()
    made.name, made.items, made.attributes = name, items, attributes
    made._state = stage_names.of(name)
    made._start = made._cell = made._span = None
    made._logger = None if isinstance(log, bool) else log
    made._depth = _DEPTH
    return made


def reset() -> None:
    """Read again whether all stages write their log pair: when the settings change."""
    global _log_all  # noqa: PLW0603
    _log_all = settings.current().stage_logs


def __getattr__(attribute: str) -> Any:
    # `stage` is one of two functions, chosen at its first use, so that neither asks at every call.
    if attribute != "stage":
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
    reset()
    chosen = _stage_on if instruments.active() else _stage_off
    chosen.__name__ = chosen.__qualname__ = "stage"
    globals()["stage"] = chosen
    return chosen


settings.change_hooks += [reset, stage_names.clear]
