"""OTLP/JSON to an endpoint: what is tried again and for how long, and what an answer means."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from serverkit import free_ports

from otelml.stack.otlp_http import Answer, Endpoint, UnreachableError

OK = (200, {}, b"{}")


class FakeTime:
    """A clock that goes forward only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 3))
        self.now_s += seconds


class Scripted:
    """A server that gives one answer after another, the last one for ever; None ends the connection without one."""

    def __init__(self, *answers: tuple[int, dict[str, str], bytes] | None) -> None:
        self.got: list[tuple[str, str, Any]] = []
        self.connections: set[Any] = set()
        script = list(answers)
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                scripted.got.append((self.path, self.headers["Content-Type"], body))
                scripted.connections.add(self.client_address)
                answer = script.pop(0) if len(script) > 1 else script[0]
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, said = answer
                self.send_response(status)
                for name, value in {"Content-Length": str(len(said)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                """Nothing on stderr."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def running() -> Iterator[list[Scripted]]:
    """Servers to stop at the end."""
    servers: list[Scripted] = []
    yield servers
    for each in servers:
        each.server.shutdown()
        each.server.server_close()


def serve(running: list[Scripted], *answers: Any) -> Scripted:
    """A started server."""
    scripted = Scripted(*answers)
    running.append(scripted)
    threading.Thread(target=scripted.server.serve_forever, args=(0.01,), daemon=True).start()
    return scripted


def endpoint_of(url: str, time: FakeTime, patience_s: float = 60) -> Endpoint:
    """An endpoint on a fake clock."""
    return Endpoint(url, patience_s=patience_s, clock=time.clock, sleep=time.sleep)


def test_requests_go_to_the_signals_path_over_one_connection(running: list[Scripted]) -> None:
    """Under the path of the URL, with or without a slash at its end."""
    server = serve(running, OK)
    endpoint = endpoint_of(f"{server.url}/otlp/", FakeTime())
    assert endpoint.post("traces", {"resourceSpans": []}) == Answer(taken=True)
    assert endpoint.post("logs", {"resourceLogs": [{"é": 1}]}) == Answer(taken=True)
    endpoint.close()
    assert server.got == [
        ("/otlp/v1/traces", "application/json", {"resourceSpans": []}),
        ("/otlp/v1/logs", "application/json", {"resourceLogs": [{"é": 1}]}),
    ]
    assert len(server.connections) == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_may_be_tried_again_is(running: list[Scripted], status: int) -> None:
    """The answers that OTLP lists, with growing pauses that end with a success."""
    time = FakeTime()
    server = serve(running, *[(status, {}, b"busy")] * 8, OK)
    endpoint = endpoint_of(server.url, time)
    assert endpoint.post("logs", {}) == Answer(taken=True)
    endpoint.close()
    assert time.slept == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_the_server_says_how_long_to_wait(running: list[Scripted]) -> None:
    """`Retry-After` in seconds; one that is a date is not understood, and not needed."""
    time = FakeTime()
    date = {"Retry-After": "Fri, 07 Nov 2025 12:34:56 GMT"}
    server = serve(running, (503, {"Retry-After": "7"}, b""), (503, date, b""), OK)
    endpoint = endpoint_of(server.url, time)
    assert endpoint.post("logs", {}).taken
    endpoint.close()
    assert time.slept == [7, 0.2]


def test_patience_ends(running: list[Scripted]) -> None:
    """A pause is never longer than what is left of it, and the last answer is the reason."""
    time = FakeTime()
    server = serve(running, (503, {"Retry-After": "3600"}, b"queue is full"))
    endpoint = endpoint_of(server.url, time, patience_s=10)
    with pytest.raises(UnreachableError, match="503 queue is full"):
        endpoint.post("logs", {})
    endpoint.close()
    assert (time.slept, len(server.got)) == ([10], 2)


def test_nobody_listens() -> None:
    """Tried again like a server that is busy."""
    time = FakeTime()
    (port,) = free_ports(1)
    endpoint = endpoint_of(f"http://127.0.0.1:{port}", time, patience_s=1)
    with pytest.raises(UnreachableError, match="refused"):
        endpoint.post("logs", {})
    assert sum(time.slept) == pytest.approx(1)


def test_a_connection_that_breaks_is_made_anew(running: list[Scripted]) -> None:
    """As servers do with connections that were idle."""
    server = serve(running, OK, None, OK)
    endpoint = endpoint_of(server.url, FakeTime())
    assert endpoint.post("logs", {"n": 1}).taken
    assert endpoint.post("logs", {"n": 2}).taken
    endpoint.close()
    assert [body for *_, body in server.got] == [{"n": 1}, {"n": 2}, {"n": 2}]


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500])
def test_other_answers_are_final(running: list[Scripted], status: int) -> None:
    """With their reason, cut to a length that fits on a screen."""
    time = FakeTime()
    server = serve(running, (status, {}, b"no " * 1000))
    endpoint = endpoint_of(server.url, time)
    answer = endpoint.post("logs", {})
    endpoint.close()
    assert (answer.taken, time.slept, len(server.got)) == (False, [], 1)
    assert answer.reason.startswith(f"{status} no no")
    assert len(answer.reason) < 250


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"", Answer(taken=True)),
        (b'{"partialSuccess": {}}', Answer(taken=True)),
        (b'{"partialSuccess": null}', Answer(taken=True)),
        (b'{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "late"}}', Answer(True, 3, "late")),
        (b'{"partialSuccess": {"rejectedLogRecords": 2}}', Answer(True, 2, "")),
        (b"<html>", Answer(taken=True)),
        (b"[]", Answer(taken=True)),
    ],
)
def test_a_success_may_be_a_partial_one(running: list[Scripted], said: bytes, answer: Answer) -> None:
    """The number of rejected items as a number or as text; a body that is no OTLP means nothing."""
    server = serve(running, (200, {}, said))
    endpoint = endpoint_of(server.url, FakeTime())
    assert endpoint.post("traces", {}) == answer
    endpoint.close()


@pytest.mark.parametrize(
    "url", ["localhost:4318", "grpc://localhost:4317", "http://", "", "http://localhost:port"]
)
def test_what_is_no_address(url: str) -> None:
    """Said before anything is read."""
    with pytest.raises(ValueError, match="address"):
        Endpoint(url)
