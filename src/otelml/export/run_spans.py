"""Puts the run, its epoch and its step on every span that is started within it, whoever starts it.

Stages do so themselves, for spans that they make late and for providers that a configuration file has built.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from opentelemetry.sdk.trace import Span, SpanProcessor

from otelml import context

if TYPE_CHECKING:
    from opentelemetry.context import Context


class RunSpans(SpanProcessor):
    """A processor that exports nothing; while no run is open it costs a span one look at a list."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002 - the SDK's signature
        if context.opened:
            known = span.attributes or {}
            span.set_attributes(
                {key: value for key, value in context.attributes().items() if key not in known}
            )
