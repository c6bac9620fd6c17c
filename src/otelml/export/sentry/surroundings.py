"""What an event says of where it happened: run, experiment, stage, model, rank, service, and the span of OpenTelemetry.

Apart from the reporter because events that the program itself sends through Sentry get the same.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otelml import context
from otelml.semconv import _generated as semconv
from otelml.stages import failures

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from otelml.export.sentry.once import Ids

MAX_TAG = 200
"""Characters of a tag's value that Sentry takes."""

_TAGS = {
    "run": semconv.ML_RUN_ID,
    "experiment": semconv.ML_RUN_EXPERIMENT,
    "stage": semconv.ML_STAGE_NAME,
    "model": semconv.ML_MODEL_NAME,
    "rank": semconv.ML_DISTRIBUTED_RANK,
    "service": "service.name",
}
_OF_RESOURCE = ("service.name", semconv.ML_RUN_ID, semconv.ML_DISTRIBUTED_RANK)


def describe(resource: Mapping[str, Any], identity: Mapping[str, Any]) -> dict[str, Any]:
    """All that is known, by OpenTelemetry's names; `identity` is of what failed, and goes before what is around it."""
    process = {name: resource[name] for name in _OF_RESOURCE if name in resource}
    return {**process, **context.attributes(), **failures.within(), **identity}


def add(event: dict[str, Any], known: Mapping[str, Any]) -> None:
    """Put `known` on `event`, as tags and as the context `ml`; what is there already stays."""
    tags = event.setdefault("tags", {})
    for tag, name in _TAGS.items():
        if name in known:
            tags.setdefault(tag, " ".join(str(known[name]).split())[:MAX_TAG])
    event.setdefault("contexts", {}).setdefault("ml", dict(known))


def ids_of(span: Span | None) -> Ids | None:
    """Trace id and span id; None without a span."""
    found = None if span is None else span.get_span_context()
    return None if found is None or not found.is_valid else (found.trace_id, found.span_id)


def link(event: dict[str, Any], ids: Ids | None, *, ours: bool) -> None:
    """Give `event` these ids, or those of the current span.

    Without a span, Sentry's client would make ids up, which lead nowhere. The program's own client keeps its ids where
    it has spans of its own.
    """
    from opentelemetry import trace

    contexts = event.setdefault("contexts", {})
    found = ids or ids_of(trace.get_current_span())
    if found is not None and (ours or not _traces_itself()):
        trace_id, span_id = found
        contexts["trace"] = {
            "trace_id": trace.format_trace_id(trace_id),
            "span_id": trace.format_span_id(span_id),
        }
    elif ours:
        contexts.pop("trace", None)


def _traces_itself() -> bool:
    import sentry_sdk

    options = sentry_sdk.get_client().options
    return any(options.get(name) is not None for name in ("traces_sample_rate", "traces_sampler"))


def runtime() -> dict[str, str]:
    """The interpreter, as Sentry's context `runtime` has it."""
    return {
        "name": platform.python_implementation(),
        "version": platform.python_version(),
        "build": sys.version,
    }
