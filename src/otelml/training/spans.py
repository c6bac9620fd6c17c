"""The span of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelml._version import __version__
from otelml.semconv import _generated as semconv
from otelml.stages import spans
from otelml.training.status import COMPLETED

if TYPE_CHECKING:
    from opentelemetry.trace import Span


class RunSpan:
    """A span from its making to `end`, current meanwhile; what the run encloses is in its trace."""

    def __init__(self, experiment: str, name: str | None, run_id: str) -> None:
        from opentelemetry import trace

        attributes = {semconv.ML_RUN_ID: run_id, semconv.ML_RUN_EXPERIMENT: experiment}
        if name is not None:
            attributes[semconv.ML_RUN_NAME] = str(name)
        tracer = trace.get_tracer("otelml", __version__)
        self.identity: dict[str, Any] = attributes
        self.span: Span = tracer.start_span(f"run {experiment}", attributes=attributes)
        self._token: Any = spans.attach(self.span)

    def end(self, status: str, error: BaseException | None) -> None:
        """End it with the run's status; an exception is on it as on that of a stage."""
        from opentelemetry.trace import Status, StatusCode

        span = self.span
        try:
            span.set_attribute(semconv.ML_RUN_STATUS, status)
            if error is not None:
                spans.set_failed(span, error)
            elif status != COMPLETED:
                span.set_status(Status(StatusCode.ERROR, status))
            span.end()
        finally:
            if spans.is_current(span):
                spans.detach(self._token)
