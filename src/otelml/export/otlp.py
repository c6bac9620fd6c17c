"""OTLP exporters of the SDK with a wire of ours: they hold on to what cannot be delivered yet, and read the answers.

The SDK's own count everything from 200 to 399 as delivered, redirects and what a server rejected included.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from otelml.export.wire import LIMIT_S, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

_HTTP = "opentelemetry.exporter.otlp.proto.http."
_GRPC = "opentelemetry.exporter.otlp.proto.grpc."
_CREDENTIALS = ("OTEL_PYTHON_EXPORTER_OTLP_", "_CREDENTIAL_PROVIDER")


def with_wire(exporter_class: Callable[[], Any], limit_s: float = LIMIT_S) -> Callable[[], Any]:
    """What makes an exporter as `exporter_class` does, with an attribute `wire` where it is one of the SDK's for OTLP.

    `limit_s` is how long a batch is tried.
    """
    module = getattr(exporter_class, "__module__", "")
    if module.startswith(_HTTP) and not _has_credentials():
        from otelml.export import otlp_http

        return lambda: otlp_http.make(exporter_class, Wire(limit_s))
    if module.startswith(_GRPC):
        from otelml.export import otlp_grpc

        return lambda: otlp_grpc.make(exporter_class, Wire(limit_s))
    return exporter_class


def _has_credentials() -> bool:
    """Whether a plugin makes the HTTP session: it then is not ours to replace."""
    prefix, suffix = _CREDENTIALS
    return any(name.startswith(prefix) and name.endswith(suffix) and os.environ[name] for name in os.environ)
