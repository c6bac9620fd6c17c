"""The capture server says exactly what the SDK's exporters sent it, whatever it answers."""

from __future__ import annotations

import threading

import pytest
from capture import Capture, attributes_of
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from otelml.export.quiet import LOGGERS


def make_span(exporter: OTLPSpanExporter) -> None:
    """One span `work` with two attributes, exported at once."""
    provider = TracerProvider(resource=Resource({"service.name": "train"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("test").start_as_current_span("work", attributes={"n": 3, "shape": [4, 5]}):
        pass
    provider.shutdown()


@pytest.mark.parametrize("compression", list(Compression))
def test_what_is_sent_is_kept_decoded(compression: Compression) -> None:
    """Path, headers and message of a request are there, whatever its compression."""
    with Capture() as capture:
        make_span(
            OTLPSpanExporter(f"{capture.url}/any/v1/traces", headers={"X-Key": "k"}, compression=compression)
        )
    (received,) = capture.of("traces")
    assert (received.path, received.headers["x-key"], received.status) == ("/any/v1/traces", "k", 200)
    (span,) = capture.spans()
    assert (span.name, attributes_of(span)) == ("work", {"n": 3, "shape": [4, 5]})
    assert [resource["service.name"] for resource in capture.resources("traces")] == ["train"]


def test_signals_are_told_apart() -> None:
    """Metrics are no spans, and an unknown path is no signal."""
    with Capture() as capture:
        reader = PeriodicExportingMetricReader(
            OTLPMetricExporter(f"{capture.url}/v1/metrics"), export_interval_millis=float("inf")
        )
        provider = MeterProvider([reader], shutdown_on_exit=False)
        provider.get_meter("test").create_counter("rows").add(2)
        assert provider.force_flush()
        provider.shutdown()
        assert capture.take("/v1/profiles", {}, b"") == (404, b"")
    assert capture.spans() == capture.log_records() == []
    (metric,) = capture.metrics()
    assert (metric.name, metric.sum.data_points[0].as_int) == ("rows", 2)


def test_a_bad_answer_is_given_and_noted(caplog: pytest.LogCaptureFixture) -> None:
    """What is answered with an error was received, and does not count as taken."""
    caplog.set_level("CRITICAL", LOGGERS[0])
    with Capture(400) as capture:
        make_span(OTLPSpanExporter(f"{capture.url}/v1/traces"))
    assert [received.status for received in capture.of("traces")] == [400]
    assert capture.spans() == []


def test_one_that_hangs_answers_at_the_end_of_its_block() -> None:
    """The request is kept at once; its sender waits until the block is left."""
    with Capture(hangs=True) as capture:
        sender = threading.Thread(
            target=make_span, args=(OTLPSpanExporter(f"{capture.url}/v1/traces", timeout=60),)
        )
        sender.start()
        while not capture.received:
            assert sender.is_alive()
        assert sender.is_alive()
    sender.join(60)
    assert not sender.is_alive()
