"""An OTLP/HTTP endpoint for tests: keeps what it is sent, decoded, and answers well, badly or not at all."""

from __future__ import annotations

import base64
import gzip
import json
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

MESSAGES: dict[str, tuple[type[Message], type[Message]]] = {
    "traces": (ExportTraceServiceRequest, ExportTraceServiceResponse),
    "metrics": (ExportMetricsServiceRequest, ExportMetricsServiceResponse),
    "logs": (ExportLogsServiceRequest, ExportLogsServiceResponse),
}
_DECODERS = {"": bytes, "identity": bytes, "gzip": gzip.decompress, "deflate": zlib.decompress}


@dataclass(frozen=True)
class Received:
    """One request: where it was sent, its headers (names in small letters), its message, and the answer it got."""

    path: str
    headers: dict[str, str]
    signal: str
    message: Any
    status: int


class Capture:
    """Listens on 127.0.0.1 while its `with` block runs.

    Any path that ends in `/v1/traces`, `/v1/metrics` or `/v1/logs` is taken, so that one may stand for a collector,
    Sentry's OTLP path or Loki's.

    Args:
        status: answer to every request; what is answered with an error is kept all the same. May be changed.
        hangs: take requests and answer none before the block ends. May be changed.
        port: where to listen; a free port when not given.
    """

    def __init__(self, status: int = 200, *, hangs: bool = False, port: int = 0) -> None:
        self.status, self.hangs = status, hangs
        self.received: list[Received] = []
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", port), _handler_of(self))
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Keep a request; the answer to it."""
        signal = path.rpartition("/v1/")[2]
        if signal not in MESSAGES:
            return 404, b""
        response = MESSAGES[signal][1]
        message = parse(signal, headers, decompress(headers, body))
        return self.answer(
            Received(path, headers, signal, message, self.status)
        ), response().SerializeToString()

    def answer(self, received: Received) -> int:
        """Keep a request, hang if that is what it does, and return its status."""
        self.received.append(received)
        if self.hangs:
            self._closing.wait()
        return received.status

    def of(self, signal: str) -> list[Received]:
        """The requests of one signal, in the order in which they came."""
        return [received for received in self.received if received.signal == signal]

    def spans(self) -> list[Any]:
        """All spans that were taken with a good answer."""
        return list(self._items("traces", "resource_spans", "scope_spans", "spans"))

    def log_records(self) -> list[Any]:
        """The same for log records."""
        return list(self._items("logs", "resource_logs", "scope_logs", "log_records"))

    def metrics(self) -> list[Any]:
        """The same for metrics, each as often as it was exported."""
        return list(self._items("metrics", "resource_metrics", "scope_metrics", "metrics"))

    def resources(self, signal: str) -> list[dict[str, Any]]:
        """The attributes of every resource that sent `signal`."""
        name = {"traces": "resource_spans", "metrics": "resource_metrics", "logs": "resource_logs"}[signal]
        groups = [group for received in self.of(signal) for group in getattr(received.message, name)]
        return [attributes_of(group.resource) for group in groups]

    def _items(self, signal: str, resources: str, scopes: str, items: str) -> Iterator[Any]:
        for received in self.of(signal):
            if received.status < 300:
                for resource in getattr(received.message, resources):
                    for scope in getattr(resource, scopes):
                        yield from getattr(scope, items)

    def __enter__(self) -> Capture:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


def parse(signal: str, headers: dict[str, str], body: bytes) -> Message:
    """A request's message, which came as protobuf or as OTLP/JSON."""
    if headers.get("content-type") == "application/json":
        return from_json(signal, json.loads(body))
    return MESSAGES[signal][0].FromString(body)


def from_json(signal: str, document: Any) -> Any:
    """A request in OTLP/JSON as its message: like protobuf's JSON, but ids are hexadecimal."""
    return json_format.ParseDict(_with_base64_ids(document), MESSAGES[signal][0]())


def _with_base64_ids(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            key: base64.b64encode(bytes.fromhex(value)).decode()
            if key in ("traceId", "spanId", "parentSpanId")
            else _with_base64_ids(value)
            for key, value in node.items()
        }
    return [_with_base64_ids(element) for element in node] if isinstance(node, list) else node


def decompress(headers: dict[str, str], body: bytes) -> bytes:
    """The body of a request, whatever its `content-encoding`."""
    return _DECODERS[headers.get("content-encoding", "")](body)


def attributes_of(holder: Any) -> dict[str, Any]:
    """The attributes of a span, record, point or resource, in Python's types."""
    pairs: list[KeyValue] = list(holder.attributes)
    return {pair.key: value_of(pair.value) for pair in pairs}


def value_of(value: AnyValue) -> Any:
    """An OTLP value in Python's types."""
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    found = getattr(value, kind)
    if kind == "array_value":
        return [value_of(item) for item in found.values]
    return {pair.key: value_of(pair.value) for pair in found.values} if kind == "kvlist_value" else found


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # One that hangs has many open requests.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what some tests are about."""


def _handler_of(capture: Capture) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = capture.take(self.path, headers, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    return Handler
