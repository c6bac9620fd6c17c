"""OTLP for tests: a collector on our layers, a server that keeps what it is sent, and what sends a message as it is."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from prometheus_client.parser import text_string_to_metric_families
from serverkit import PATIENCE_S, Collector, fetch, free_ports

from otelml.stack import layers

ERROR = 2
"""STATUS_CODE_ERROR of a span."""

MESSAGES = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}


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


@dataclass(frozen=True)
class Captured:
    """One request: its headers by their names in lower case, and the decoded body."""

    path: str
    headers: Mapping[str, str]
    message: Any


class Capture:
    """An OTLP/HTTP server; as a `with` block it is stopped at the end. `status` is what it answers from now on."""

    def __init__(self) -> None:
        self.requests: list[Captured] = []
        self.status = 200
        capture = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if capture.status == 200:
                    capture.requests.append(decode(self.path, self.headers, body))
                self.send_response(capture.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def spans(self) -> list[Any]:
        """Every span that came."""
        return [span for _, span in self.spans_with_resources()]

    def spans_with_resources(self) -> list[tuple[dict[str, Any], Any]]:
        """Every span, with its resource's attributes."""
        return list(self._records("resource_spans", "scope_spans", "spans"))

    def logs(self) -> list[Any]:
        """Every log record that came."""
        return [record for _, record in self.logs_with_resources()]

    def logs_with_resources(self) -> list[tuple[dict[str, Any], Any]]:
        """Every log record, with its resource's attributes."""
        return list(self._records("resource_logs", "scope_logs", "log_records"))

    def _records(self, resources: str, scopes: str, records: str) -> Iterator[tuple[dict[str, Any], Any]]:
        for request in list(self.requests):
            for resource in getattr(request.message, resources, ()):
                for scope in getattr(resource, scopes):
                    for record in getattr(scope, records):
                        yield plain(resource.resource.attributes), record

    def __enter__(self) -> Capture:
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def decode(path: str, headers: Mapping[str, str], body: bytes) -> Captured:
    """A request as it is kept; what it holds is told by the end of its path."""
    headers = {name.lower(): value for name, value in headers.items()}
    if headers.get("content-encoding") == "gzip":
        body = gzip.decompress(body)
    signal = path.rpartition("/")[2]
    is_json = headers.get("content-type") == "application/json"
    message = from_json(signal, json.loads(body)) if is_json else MESSAGES[signal].FromString(body)
    return Captured(path, headers, message)


def from_json(signal: str, document: Any) -> Any:
    """A request in OTLP/JSON as its message: like protobuf's JSON, but ids are hexadecimal."""
    return json_format.ParseDict(_with_base64_ids(document), MESSAGES[signal]())


def _with_base64_ids(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else _with_base64_ids(value)
            for key, value in node.items()
        }
    return [_with_base64_ids(element) for element in node] if isinstance(node, list) else node


def send(url: str, message: Any) -> None:
    """POST `message` to the collector at `url`; raises `urllib.error.HTTPError` where it is refused."""
    signal = next(signal for signal, kind in MESSAGES.items() if isinstance(message, kind))
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


def plain(pairs: Any) -> dict[str, Any]:
    """OTLP's attributes as a mapping."""
    return {pair.key: plain_value(pair.value) for pair in pairs}


def plain_value(value: AnyValue) -> Any:
    """OTLP's value in Python's types; None for an empty one."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return plain(value.kvlist_value.values)
    if kind == "array_value":
        return [plain_value(element) for element in value.array_value.values]
    return None if kind is None else getattr(value, kind)
