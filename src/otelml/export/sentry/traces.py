"""Traces over Sentry's OTLP path, for programs that have no collector: `SENTRY_TRACES_SAMPLE_RATE` of them.

Not Sentry's own OTLPIntegration: that sends all traces, has no deadline at exit, replaces the propagators and patches
the SDK's spans (docs/decisions/0010).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelml.export.wire import Wire

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

    from otelml.settings.dsn import Dsn


def create_span_exporter(dsn: Dsn) -> SpanExporter:
    """An OTLP/HTTP exporter to the project of `dsn`, with a wire. It reads OTEL_EXPORTER_OTLP_*: of a collector."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from otelml.export import otlp_http

    def create(**more: Any) -> OTLPSpanExporter:
        options = {"headers": dsn.otlp_headers, "compression": Compression.Gzip, **more}
        return OTLPSpanExporter(dsn.otlp_traces_url, **options)

    made: SpanExporter = otlp_http.make(create, Wire())
    return made
