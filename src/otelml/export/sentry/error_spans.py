"""Remembers in which span an exception was raised: when somebody catches it, or nobody does, that span is over."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import SpanProcessor

from otelml.export.sentry import once
from otelml.instruments import internal

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_EVENT, _TYPE = "exception", "exception.type"


class ErrorSpans(SpanProcessor):
    """A processor that exports nothing; a span that ends without an exception costs it one look."""

    def on_end(self, span: ReadableSpan) -> None:
        """Note where the exception comes from that is ending `span`; the innermost span is told first, and stays."""
        error = sys.exc_info()[1]
        if error is not None and span.context is not None and span.events:
            with internal.guard("sentry"):
                if once.is_failure(error) and _recorded(span, error):
                    once.place(error, (span.context.trace_id, span.context.span_id))


def _recorded(span: ReadableSpan, error: BaseException) -> bool:
    """Whether `span` has recorded an exception of that class: another may just be handled where a span ends."""
    last = span.events[-1]
    recorded = str((last.attributes or {}).get(_TYPE, ""))
    return last.name == _EVENT and recorded.rpartition(".")[2] == type(error).__name__
