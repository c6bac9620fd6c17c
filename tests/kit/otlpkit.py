"""OTLP for tests: a collector on our layers, and spans and log records to send to it."""

from __future__ import annotations

import time
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from capture import MESSAGES, Capture
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from prometheus_client.parser import text_string_to_metric_families
from serverkit import PATIENCE_S, Collector, fetch, free_ports

from otelml.stack import layers

ERROR = 2
"""STATUS_CODE_ERROR of a span."""

CAPTURE_LAYER = """
exporters:
  otlp_http/capture:
    endpoint: ${env:CAPTURE_URL}
service:
  pipelines:
    traces/capture: {receivers: [forward/out], exporters: [otlp_http/capture]}
    metrics/capture: {receivers: [forward/out], exporters: [otlp_http/capture]}
    logs/capture: {receivers: [forward/out], exporters: [otlp_http/capture]}
"""
"""A layer as a user would write one: everything also goes to a `Capture`."""


class LayeredCollector(Collector):
    """A collector on layers of collector-config (by name, or files of the test's own), all its ports free ones."""

    def __init__(
        self,
        folder: Path,
        *names: str | Path,
        capture: Capture | None = None,
        environ: Mapping[str, str],
        binary: str = "otelcol",
    ) -> None:
        self.grpc_port, self.http_port, self.self_port, self.health_port, self.prometheus_port = free_ports(5)
        self.url = f"http://127.0.0.1:{self.http_port}"
        self.prometheus_url = f"http://127.0.0.1:{self.prometheus_port}/metrics"
        files = [layers.locate(name) if isinstance(name, str) else name for name in names]
        ports = {
            "OTELCOL_GRPC_PORT": self.grpc_port,
            "OTELCOL_HTTP_PORT": self.http_port,
            "OTELCOL_METRICS_PORT": self.self_port,
            "OTELCOL_HEALTH_PORT": self.health_port,
            "OTELCOL_PROMETHEUS_PORT": self.prometheus_port,
        }
        environ = {**{name: str(port) for name, port in ports.items()}, **environ}
        if capture is not None:
            files.append(folder / "capture.yaml")
            files[-1].write_text(CAPTURE_LAYER)
            environ["CAPTURE_URL"] = capture.url
        listening = [self.grpc_port, self.http_port]
        if "prometheus" in names:
            listening.append(self.prometheus_port)
        super().__init__(folder, *files, ports=listening, environ=environ, binary=binary)

    def own_metric(self, name: str, **labels: str) -> float:
        """The sum of one of its metrics about itself; 0 while there is none."""
        families = text_string_to_metric_families(fetch(f"http://127.0.0.1:{self.self_port}/metrics"))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            # The parser adds _total to counters.
            if sample.name.removesuffix("_total") == name and labels.items() <= sample.labels.items()
        )

    def complaints(self) -> list[str]:
        """Warnings and errors in its log."""
        return [line for line in self.read_log().splitlines() if "\twarn\t" in line or "\terror\t" in line]


Start = Callable[..., LayeredCollector]
"""The fixture `start`: as `LayeredCollector` without its folder, the environment as keywords."""


def send(url: str, message: Any) -> None:
    """POST `message` to the collector at `url`; raises `urllib.error.HTTPError` where it is refused."""
    signal = next(signal for signal, (kind, _) in MESSAGES.items() if isinstance(message, kind))
    headers = {"Content-Type": "application/x-protobuf"}
    request = urllib.request.Request(f"{url}/v1/{signal}", message.SerializeToString(), headers)
    urllib.request.urlopen(request, timeout=PATIENCE_S).close()


def a_span(
    name: str, trace: int = 1, *, duration_s: float = 0.01, error: str | None = None, **given: Any
) -> ExportTraceServiceRequest:
    """A request with one span, which starts now; `attributes` and `resource` may be given."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(attributes({"service.name": "train"} | given.get("resource", {})))
    span = resource.scope_spans.add().spans.add(name=name)
    span.trace_id, span.span_id = trace.to_bytes(16, "big"), hash(name).to_bytes(9, "big", signed=True)[:8]
    span.start_time_unix_nano = time.time_ns()
    span.end_time_unix_nano = span.start_time_unix_nano + int(duration_s * 1e9)
    span.attributes.extend(attributes(given.get("attributes", {})))
    if error is not None:
        span.status.code, span.status.message = ERROR, error
    return request


def a_record(body: Any, severity: int = 9, **given: Any) -> ExportLogsServiceRequest:
    """A request with one log record; `attributes` and `resource` may be given."""
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    resource.resource.attributes.extend(attributes({"service.name": "train"} | given.get("resource", {})))
    record = resource.scope_logs.add().log_records.add(
        severity_number=severity, time_unix_nano=time.time_ns()
    )
    record.body.CopyFrom(any_value(body))
    record.attributes.extend(attributes(given.get("attributes", {})))
    return request


def attributes(values: Mapping[str, Any]) -> list[KeyValue]:
    """`values` as OTLP has them."""
    return [KeyValue(key=key, value=any_value(value)) for key, value in values.items()]


def any_value(value: Any) -> AnyValue:
    """One value as OTLP has it."""
    wrapped = AnyValue()
    if isinstance(value, Mapping):
        wrapped.kvlist_value.values.extend(attributes(value))
    elif isinstance(value, list):
        wrapped.array_value.values.extend(map(any_value, value))
    else:
        names = {str: "string_value", bool: "bool_value", int: "int_value", float: "double_value"}
        setattr(wrapped, names[type(value)], value)
    return wrapped
