"""OTLP over HTTP against servers that answer in every way: what is delivered, tried again, lost, and counted."""

from __future__ import annotations

import gzip
import json
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from serverkit import PATIENCE_S

from otelml.export import quiet, wire
from otelml.export.delivery import SpanQueue, span_queue
from otelml.export.otlp import with_wire
from otelml.export.periodic import PeriodicReader
from otelml.instruments import internal

Answer = tuple[int, dict[str, str], bytes]
OK: Answer = (200, {"Content-Type": "application/x-protobuf"}, b"")


class Server:
    """Takes OTLP spans, answers as `answer` says of the number of spans and of the requests so far."""

    def __init__(self, answer: Callable[[int, int], Answer], family: int = socket.AF_INET) -> None:
        self.sizes: list[int] = []
        self.connections = 0
        self._answer = answer
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        made = type("Server", (ThreadingHTTPServer,), {"address_family": family, "daemon_threads": True})
        self._server = made((host, 0), self._handler())
        name = f"[{host}]" if ":" in host else host
        self.endpoint = f"http://{name}:{self._server.server_port}/v1/traces"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def setup(self) -> None:
                server.connections += 1
                super().setup()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                n = count_spans(body)
                status, headers, answer = server._answer(n, len(server.sizes))
                server.sizes.append(n)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


def count_spans(body: bytes) -> int:
    """The spans of a request; 0 for one of another signal."""
    request = ExportTraceServiceRequest.FromString(body)
    return sum(len(scope.spans) for resource in request.resource_spans for scope in resource.scope_spans)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short, and no proxy is asked."""
    monkeypatch.setattr(wire, "FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(wire, "LAST_PAUSE_S", 0.001)
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers that end with the test."""
    started: list[Server] = []

    def start(answer: Callable[[int, int], Answer], **how: Any) -> Server:
        started.append(Server(answer, **how))
        return started[-1]

    yield start
    for server in started:
        server.close()


class Sending:
    """A queue of spans over OTLP/HTTP to one endpoint."""

    def __init__(self, endpoint: str, limit_s: float = PATIENCE_S, **how: Any) -> None:
        make = lambda **session: OTLPSpanExporter(endpoint, **how, **session)  # noqa: E731
        make.__module__ = OTLPSpanExporter.__module__
        self.queue: SpanQueue = span_queue(
            with_wire(make, limit_s), destination="otlp", schedule_delay_s=3600
        )
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(self.queue)

    def send(self, n: int) -> bool:
        """End `n` spans, and flush; whether all were delivered."""
        for _ in range(n):
            self._provider.get_tracer("test").start_span("x").end()
        return self.queue.force_flush()

    @property
    def outcome(self) -> tuple[int, int]:
        """Delivered and lost."""
        return self.queue.ledger.delivered, self.queue.ledger.lost

    def close(self) -> None:
        """End it."""
        self._provider.shutdown()


@pytest.fixture
def sending() -> Iterator[Callable[..., Sending]]:
    """Makes queues that end with the test."""
    made: list[Sending] = []

    def make(endpoint: str, **how: Any) -> Sending:
        made.append(Sending(endpoint, **how))
        return made[-1]

    yield make
    for each in made:
        each.close()


def dropped() -> dict[str, int]:
    """What was dropped on the way to OTLP endpoints, by reason."""
    return {reason: n for (kind, _, reason), n in internal.totals().items() if kind == "dropped"}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_a_server_says_will_pass_is_sent_until_it_does(serve: Any, sending: Any, status: int) -> None:
    """Once each, with no span lost."""
    server = serve(lambda _, before: (status, {}, b"") if before < 3 else OK)
    sender = sending(server.endpoint)
    assert sender.send(5)
    assert (server.sizes, sender.outcome, dropped()) == ([5] * 4, (5, 0), {})


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_what_a_server_refuses_is_lost_and_counted(serve: Any, sending: Any, status: int) -> None:
    """One attempt: OTLP forbids more."""
    server = serve(lambda *_: (status, {}, b""))
    sender = sending(server.endpoint)
    assert not sender.send(5)
    assert (server.sizes, sender.outcome, dropped()) == ([5], (0, 5), {"spans_undelivered": 5})


def test_a_server_that_wants_to_be_left_alone_is(serve: Any, sending: Any) -> None:
    """For longer than a batch is tried: it is not asked again, and that is counted."""
    for header in ("3600", "Fri, 31 Dec 2100 23:59:59 GMT"):
        server = serve(lambda *_, header=header: (429, {"Retry-After": header}, b""))
        assert not sending(server.endpoint).send(2)
        assert server.sizes == [2]
    assert dropped() == {"spans_undelivered": 4}


def test_a_redirect_is_no_delivery(serve: Any, sending: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The SDK counts it as one. It is not followed, headers may be secret; the user is told where it leads."""
    other = serve(lambda *_: OK)
    server = serve(lambda *_: (301, {"Location": other.endpoint.replace("://", "://user:secret@")}, b""))
    sender = sending(server.endpoint)
    assert not sender.send(3)
    assert (sender.outcome, other.sizes) == ((0, 3), [])
    assert other.endpoint.partition("://")[2] in caplog.text
    assert "secret" not in caplog.text


def test_a_web_page_is_no_delivery(serve: Any, sending: Any) -> None:
    """Some servers answer every address with their start page, and 200."""
    server = serve(lambda *_: (200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>"))
    sender = sending(server.endpoint)
    assert not sender.send(3)
    assert (sender.outcome, dropped()) == ((0, 3), {"spans_undelivered": 3})


def partial(n: int, message: str) -> bytes:
    """The protobuf of a partial success."""
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = n
    response.partial_success.error_message = message
    return response.SerializeToString()


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"Content-Type": "application/x-protobuf"}, partial(2, "too old")),
        (200, {}, partial(2, "too old")),
        (
            200,
            {"Content-Type": "application/json"},
            json.dumps({"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}).encode(),
        ),
    ],
)
def test_what_was_rejected_from_a_request_is_counted(
    serve: Any, sending: Any, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is delivered; nothing is sent again; the reason is said once."""
    server = serve(lambda *_: answer)
    sender = sending(server.endpoint)
    assert not sender.send(5)
    assert not sender.send(3)
    assert (server.sizes, sender.outcome, dropped()) == ([5, 3], (4, 4), {"spans_rejected": 4})
    assert caplog.text.count("too old") == 1


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        (204, {}, b""),
        (200, {"Content-Type": "application/json"}, b"{}"),
        (200, {"Content-Type": "application/json"}, b"[]"),
        (200, {"Content-Type": "application/json"}, b"{not json"),
        (200, {"Content-Type": "text/plain"}, b"ok"),
        (200, {"Content-Encoding": "gzip"}, b"not gzip"),
        (200, {"Content-Length": "1000"}, b"cut short"),
        (200, {"Content-Type": "application/x-protobuf"}, partial(0, "a warning")),
    ],
)
def test_whatever_else_is_in_a_good_answer_it_is_one(serve: Any, sending: Any, answer: Answer) -> None:
    """Servers differ; the status counts."""
    server = serve(lambda *_: answer)
    sender = sending(server.endpoint, timeout=1)
    assert sender.send(5)
    assert (server.sizes, sender.outcome, dropped()) == ([5], (5, 0), {})


@pytest.mark.parametrize(
    "refusal", [(413, {}, b""), (400, {}, b"\x08\x03\x12\x1chttp: request body too large")]
)
def test_a_request_that_is_too_large_is_sent_in_halves(serve: Any, sending: Any, refusal: Answer) -> None:
    """Down to single spans: only what is too large by itself is lost."""
    server = serve(lambda n, _: OK if n <= 2 else refusal)
    sender = sending(server.endpoint)
    assert sender.send(9)
    assert sender.outcome == (9, 0)
    assert sum(n for n in server.sizes if n <= 2) == 9
    everything_is_too_large = serve(lambda *_: refusal)
    sender = sending(everything_is_too_large.endpoint)
    assert not sender.send(9)
    assert (sender.outcome, dropped()) == ((0, 9), {"spans_undelivered": 9})


def test_connections_are_kept_and_replaced_when_the_server_closes_them(serve: Any, sending: Any) -> None:
    """Neither costs a span; answers with a body, read or not, leave the connection usable."""
    server = serve(lambda _, before: (200, {"Connection": "close"} if before == 2 else {}, partial(0, "")))
    sender = sending(server.endpoint)
    for _ in range(5):
        assert sender.send(1)
    assert (server.sizes, server.connections, sender.outcome) == ([1] * 5, 2, (5, 0))


def test_compressed_requests_and_ipv6_arrive(serve: Any, sending: Any) -> None:
    """As the standard variables allow."""
    from opentelemetry.exporter.otlp.proto.http import Compression

    try:
        server = serve(lambda *_: OK, family=socket.AF_INET6)
    except OSError as problem:
        pytest.skip(f"no IPv6 here: {problem}")
    assert sending(server.endpoint, compression=Compression.Gzip).send(5)
    assert server.sizes == [5]


class Raw:
    """A server by what it does with a connection; closed with the test."""

    def __init__(self, act: Callable[[socket.socket], None]) -> None:
        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                raw.connections += 1
                act(self.request)

        raw = self
        self.connections = 0
        made = type("Server", (socketserver.ThreadingTCPServer,), {"daemon_threads": True})
        self._server = made(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()


def cut_mid_answer(connection: socket.socket) -> None:
    """Read a little, answer a little, and be gone."""
    connection.recv(100)
    connection.sendall(b"HTTP/1.")


def never_end(connection: socket.socket) -> None:
    """Take everything, and answer 200 with a body that has no end."""
    connection.recv(2**20)
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        while True:
            connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")
    except OSError:
        """The client has read enough."""


@pytest.mark.parametrize("act", [cut_mid_answer, lambda _: None])
def test_a_connection_that_breaks_is_tried_again(sending: Any, act: Callable[[socket.socket], None]) -> None:
    """In the middle of a request or of an answer; it is not known what arrived, so it is lost, and counted, last."""
    with closing(Raw(act)) as server:
        sender = sending(f"http://127.0.0.1:{server.port}/v1/traces", limit_s=0.1)
        assert not sender.send(3)
    assert server.connections > 2
    assert dropped() == {"spans_undelivered": 3}


def test_an_answer_without_an_end_is_not_read_for_ever(sending: Any) -> None:
    """Nor kept: its status has come."""
    with closing(Raw(never_end)) as server:
        sender = sending(f"http://127.0.0.1:{server.port}/v1/traces")
        assert sender.send(3)


def test_tls_to_a_server_that_speaks_none_and_the_reverse(serve: Any, sending: Any) -> None:
    """A wrong scheme loses nothing in silence."""
    server = serve(lambda *_: OK)
    sender = sending(server.endpoint.replace("http://", "https://"), limit_s=0.05)
    assert not sender.send(2)
    assert (sender.outcome, server.sizes) == ((0, 2), [])


def test_an_endpoint_that_is_silent_is_given_up(sending: Any, caplog: pytest.LogCaptureFixture) -> None:
    """After the exporter's timeout each attempt, and the limit of the wire all of them; said in one line."""
    quiet.install()
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        sender = sending(f"http://127.0.0.1:{silent.getsockname()[1]}/v1/traces", limit_s=0.05, timeout=0.05)
        assert not sender.send(2)
    quiet.uninstall()
    assert sender.outcome == (0, 2)
    (said,) = [record.message for record in caplog.records]
    assert "does not answer; telemetry waits" in said


def metric_response(_: int, before: int) -> Answer:
    """A rejected point, then all is well."""
    return (200, {}, partial(1, "out of order")) if not before else OK


def test_rejected_points_of_metrics_are_counted(serve: Any) -> None:
    """The reader sees the same wire."""
    server = serve(metric_response)
    endpoint = server.endpoint.replace("traces", "metrics")
    make = lambda **session: OTLPMetricExporter(endpoint, **session)  # noqa: E731
    make.__module__ = OTLPMetricExporter.__module__
    reader = PeriodicReader(with_wire(make), interval_s=3600, destination="otlp")
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("items").add(1)
    assert reader.force_flush()
    assert reader.force_flush()
    assert dropped() == {"metric_points_rejected": 1}
    provider.shutdown()


def test_a_session_of_a_credential_plugin_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter then is as the SDK makes it."""
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "mine")
    assert with_wire(OTLPSpanExporter) is OTLPSpanExporter


def test_the_exporters_of_others_are_left_alone() -> None:
    """Only the SDK's are known."""

    class Mine:
        """An exporter."""

    makers: Sequence[Any] = [Mine, lambda: None]
    assert [with_wire(maker) for maker in makers] == makers
