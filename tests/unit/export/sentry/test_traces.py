"""Traces over Sentry's OTLP path are held on to as those for a collector are."""

from __future__ import annotations

import threading

import pytest
from capture import Capture
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from serverkit import PATIENCE_S, wait_until

from otelml.export.sentry.traces import create_span_exporter
from otelml.export.wire import wire_of
from otelml.settings.dsn import read_dsn


def test_what_sentry_cannot_take_now_is_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    """With its key in the header, and not in what is said about it."""
    span = TracerProvider(shutdown_on_exit=False).get_tracer("test").start_span("x")
    span.end()
    results: list[SpanExportResult] = []
    with Capture() as sentry:
        sentry.status = 503
        exporter = create_span_exporter(read_dsn(sentry.url.replace("://", "://secretkey@") + "/1"))
        thread = threading.Thread(target=lambda: results.append(exporter.export([span])))
        thread.start()
        wait_until(lambda: "answers 503" in caplog.text)
        sentry.status = 200
        wire_of(exporter).hurry()
        thread.join(PATIENCE_S)
    assert results == [SpanExportResult.SUCCESS]
    refused, request = sentry.received
    assert refused.message == request.message
    assert "secretkey" in request.headers["x-sentry-auth"]
    assert "secretkey" not in caplog.text
