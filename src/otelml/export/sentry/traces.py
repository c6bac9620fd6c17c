"""Traces over Sentry's OTLP path, for programs that have no collector: `SENTRY_TRACES_SAMPLE_RATE` of them.

Not Sentry's own OTLPIntegration: that sends all traces, has no deadline at exit, replaces the propagators and patches
the SDK's spans (docs/decisions/0010).
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from otelml.export.wire import Wire

if TYPE_CHECKING:
    from otelml.settings.dsn import Dsn


def create_span_exporter(dsn: Dsn) -> Any:
    """An OTLP/HTTP exporter to the project of `dsn`. It reads OTEL_EXPORTER_OTLP_*, which is about a collector."""
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    from otelml.export import otlp_http

    to_sentry = partial(
        OTLPSpanExporter, dsn.otlp_traces_url, headers=dsn.otlp_headers, compression=Compression.Gzip
    )
    return otlp_http.make(to_sentry, Wire())
