"""The exporter to Sentry's OTLP path."""

from __future__ import annotations

import threading

from capture import attributes_of
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from sentrykit import SentryCapture
from serverkit import wait_until

from otelml.export.sentry.traces import create_span_exporter
from otelml.settings.dsn import read_dsn


def make_span(dsn: str) -> None:
    """One span, exported at once."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(create_span_exporter(read_dsn(dsn))))
    provider.get_tracer("test").start_span("encode", attributes={"ml.stage.items": 32}).end()
    provider.shutdown()


def test_a_server_that_is_busy_is_tried_again() -> None:
    """As any OTLP endpoint is: what it did not take, it gets again, with the project's key."""
    with SentryCapture(429) as server:
        sender = threading.Thread(target=make_span, args=(server.dsn,))
        sender.start()
        wait_until(lambda: server.received)
        server.status = 200
        sender.join(60)
        (span,) = server.spans()
    assert (span.name, attributes_of(span)) == ("encode", {"ml.stage.items": 32})
    assert {received.headers["x-sentry-auth"] for received in server.received} == {
        "sentry sentry_key=public-key"
    }
    assert len(server.received) > 1
