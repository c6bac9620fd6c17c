"""Spans of stages: at the start of one within its budget, at the end of one that turned out to matter.

OpenTelemetry is imported when the first span is made.
"""

from __future__ import annotations

from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

from otelml import context as run_context
from otelml._version import __version__
from otelml.instruments.attributes import span_value, whole_number
from otelml.semconv import _generated as semconv
from otelml.stages import failures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from opentelemetry.trace import Span

    from otelml.stages.core import Stage

# The modules of this package share the private parts of a stage.
# ruff: noqa: SLF001


class LateSpan:
    """The span of a stage that was refused one at its start: made at its end, with its true start, as a leaf."""

    __slots__ = ("attributes", "context", "elapsed_ns", "identity", "name", "start_wall_ns")

    def __init__(self, stage: Stage, start_ns: int, elapsed_ns: int) -> None:
        from opentelemetry.context import get_current

        self.name = stage._span_name()
        self.identity = stage._span_identity(start_ns)
        # Now: the slowest one's span may be made when the run has gone on.
        self.attributes = _with_run(stage.attributes)
        self.elapsed_ns = elapsed_ns
        self.start_wall_ns = time_ns() - (perf_counter_ns() - start_ns)
        self.context = get_current()

    def __call__(self) -> None:
        """Make the span of what turned out to be the slowest."""
        self.make("outlier", None)

    def make(self, reason: str, error: BaseException | None) -> Span:
        """Make the span, and end it: `reason` is its `ml.stage.kept`."""
        span: Span = _tracer().start_span(
            self.name,
            context=self.context,
            start_time=self.start_wall_ns,
            attributes=_span_attributes(self.identity, self.attributes, reason),
        )
        if error is not None:
            set_failed(span, error)
        span.end(self.start_wall_ns + self.elapsed_ns)
        return span


def error_type(error: BaseException) -> str:
    """The value of `error.type`: the qualified class name, without the module for built-in ones."""
    return class_name(type(error))


def class_name(kind: type) -> str:
    """The qualified name of a class, without the module for built-in ones."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def error_text(error: BaseException) -> str:
    """`str(error)`, also where that raises."""
    try:
        return str(error)
    except Exception as problem:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<str() raised {type(problem).__name__}>"


_provider_and_tracer: tuple[Any, Any] = (None, None)


def _tracer() -> Any:
    """The tracer of the present global provider."""
    global _provider_and_tracer  # noqa: PLW0603
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if _provider_and_tracer[0] is not provider:
        _provider_and_tracer = (provider, provider.get_tracer("otelml", __version__))
    return _provider_and_tracer[1]


def start_span(stage: Stage, reason: str) -> tuple[Span, Any]:
    """A span for `stage`, made current, with the token that takes that back."""
    identity = stage._span_identity(None)
    attributes = _span_attributes(identity, _with_run(stage.attributes), reason)
    span = _tracer().start_span(stage._span_name(), attributes=attributes)
    return span, attach(span, identity)


def end_span(stage: Stage, opened: tuple[Span, Any], error: BaseException | None) -> None:
    """End what `start_span` returned; without a token it is not current any more."""
    span, token = opened
    try:
        items = whole_number(stage.items)
        if items is not None:
            span.set_attribute(stage._items_key, items)
        if error is not None:
            set_failed(span, error)
        span.end()
    finally:
        if token is not None and is_current(span):
            detach(token)


def set_failed(span: Span, error: BaseException) -> None:
    """Put `error` on `span`: its event, its status, its `error.type`."""
    from opentelemetry.trace import Status, StatusCode

    try:
        span.record_exception(error)
    except Exception:  # noqa: BLE001 - the user's `__str__` or `__repr__` may raise anything
        span.add_event(
            "exception", {"exception.type": error_type(error), "exception.message": error_text(error)}
        )
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error_text(error)}"))
    span.set_attribute(semconv.ERROR_TYPE, error_type(error))


def _span_attributes(identity: dict[str, Any], attributes: dict[str, Any], reason: str) -> dict[str, Any]:
    """What the registry has on a span goes before what the user calls the same."""
    known = {**attributes, **identity}
    made = {key: span_value(value) for key, value in known.items() if value is not None}
    made[semconv.ML_STAGE_KEPT] = reason
    return made


def _with_run(attributes: dict[str, Any]) -> dict[str, Any]:
    return {**run_context.attributes(), **attributes} if run_context.opened else dict(attributes)


def attach(span: Span, identity: Mapping[str, Any] | None = None) -> Any:
    """Make `span` current, `identity` being what it is the span of; returns the token."""
    from opentelemetry import context, trace

    within = trace.set_span_in_context(span)
    if identity is not None and failures.listeners:
        within = failures.remember(within, identity)
    return context.attach(within)


def is_current(span: Span) -> bool:
    """False in another context than the span was attached in, where OpenTelemetry would log a failed detach."""
    from opentelemetry import trace

    return trace.get_current_span() is span


def detach(token: Any) -> None:
    """Take back `attach`."""
    from opentelemetry import context

    context.detach(token)
