"""`@otelml.stage(...)` on functions, coroutines, generators and asynchronous generators."""

from __future__ import annotations

import functools
import inspect
from time import perf_counter_ns as _clock
from typing import TYPE_CHECKING, Any

from otelml.stages import marks, spans

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from opentelemetry.trace import Span

    from otelml.stages.core import Stage

# The modules of this package share the private parts of a stage.
# ruff: noqa: SLF001


def decorate(stage: Stage, function: Any, *, always_enter: bool = False) -> Any:
    """`function` with every call a use of `stage`; with `always_enter` through its own `__enter__`.

    Raises:
        TypeError: `function` is a class; decorate its methods.
    """
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(decorate(stage, function.__func__, always_enter=always_enter))
    if isinstance(function, type):
        raise TypeError(
            f"otelml.stage decorates functions and methods, not the class {function.__qualname__}"
        )
    call = function if hasattr(function, "__code__") else getattr(function, "__call__", function)  # noqa: B004
    if inspect.isasyncgenfunction(call):
        return _wrap_async_generator(stage, function)
    if inspect.isgeneratorfunction(call):
        return _wrap_generator(stage, function)
    if inspect.iscoroutinefunction(call):
        return _wrap_coroutine(stage, function)
    return _wrap_by_entering(stage, function) if always_enter else _wrap_function(stage, function)


def _wrap_function(stage: Stage, function: Any) -> Any:
    state = stage._state

    # A call without a span is marked by being on the call stack: `marks` looks for this code.
    @functools.wraps(function)
    def staged(*args: Any, **kwargs: Any) -> Any:
        if state.tokens >= 1.0:
            return _call_within(stage, function, args, kwargs)
        start = _clock()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            stage._finish(start, _clock() - start, None, error)
            raise
        elapsed_ns = _clock() - start
        if elapsed_ns < state.slow_ns:
            state.record_ns(elapsed_ns)
            if stage.items is not None:
                state.add_items(stage.items)
        else:
            stage._finish(start, elapsed_ns, None, None)
        return result

    marks.refusing_code.add(staged.__code__)  # type: ignore[attr-defined]  # a function still
    return staged


def _wrap_coroutine(stage: Stage, function: Any) -> Any:
    @functools.wraps(function)
    async def staged(*args: Any, **kwargs: Any) -> Any:
        with stage:
            return await function(*args, **kwargs)

    return staged


def _wrap_generator(stage: Stage, function: Any) -> Any:
    @functools.wraps(function)
    def staged(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        generator, life = function(*args, **kwargs), _Life(stage)
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


def _wrap_async_generator(stage: Stage, function: Any) -> Any:
    @functools.wraps(function)
    async def staged(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        generator, life = function(*args, **kwargs), _Life(stage)
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


def _wrap_by_entering(stage: Stage, function: Any) -> Any:
    @functools.wraps(function)
    def staged(*args: Any, **kwargs: Any) -> Any:
        with stage:
            return function(*args, **kwargs)

    return staged


def _call_within(stage: Stage, function: Any, args: Any, kwargs: Any) -> Any:
    """A decorated call that does its own marking; its frame on the stack says so."""
    with stage:
        return function(*args, **kwargs)


marks.marking_code.add(_call_within.__code__)


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
            self.start_ns, self.mark, self.span = self.stage._open()
        elif self.span is None:
            self.mark = marks.mark_refused()
        else:
            self.span = (self.span[0], spans.attach(self.span[0], self.stage._span_identity(None)))
        self.resumed_ns = _clock()

    def __exit__(self, *exc: object) -> None:
        self.elapsed_ns += _clock() - self.resumed_ns
        if self.span is None:
            marks.unmark(self.mark)
        else:
            spans.detach(self.span[1])

    def end(self, error: BaseException | None) -> None:
        """Record the time spent inside, and end the span."""
        if self.start_ns is not None:
            self.stage._elapsed_ns = self.elapsed_ns
            span = None if self.span is None else (self.span[0], None)
            self.stage._finish(self.start_ns, self.elapsed_ns, span, error)
