"""The HTTP server under the Prometheus endpoint: ports, addresses, connections, and what a fork leaves open."""

from __future__ import annotations

import http.client
import os
import socket
import threading
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from otelml.export import server
from otelml.export.server import ScrapeServer


def app(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Says hello."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def get(origin: str) -> bytes:
    """The body at `origin`."""
    with urllib.request.urlopen(origin, timeout=60) as response:
        return response.read()


def is_listening(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a connection to the port is accepted."""
    with socket.socket() as probe:
        return probe.connect_ex((host, port)) == 0


def test_a_taken_port_moves_to_the_next_free_one() -> None:
    """Two servers that want one port both serve."""
    first = ScrapeServer("127.0.0.1", 0, app)
    second = ScrapeServer("127.0.0.1", first.port, app)
    try:
        assert first.port < second.port < first.port + server.PORTS_TRIED
        assert get(first.origin) == get(second.origin) == b"hello"
    finally:
        first.stop()
        second.stop()


def test_when_many_ports_are_taken_the_system_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search is bounded."""
    monkeypatch.setattr(server, "PORTS_TRIED", 1)
    first = ScrapeServer("127.0.0.1", 0, app)
    second = ScrapeServer("127.0.0.1", first.port, app)
    try:
        assert second.port not in (0, first.port)
        assert get(second.origin) == b"hello"
    finally:
        first.stop()
        second.stop()


def test_the_last_port_has_no_next_one() -> None:
    """From 65535 on the system chooses."""
    first, second = (ScrapeServer("127.0.0.1", 65535, app) for _ in range(2))
    try:
        assert 0 < second.port < 65535
    finally:
        first.stop()
        second.stop()


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_an_error(host: str) -> None:
    """It is not tried port by port."""
    with pytest.raises(OSError, match=r".+"):
        ScrapeServer(host, 9464, app)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_ipv6_works() -> None:
    """The origin has brackets."""
    try:
        one = ScrapeServer("::1", 0, app)
    except OSError:
        pytest.skip("no IPv6 here")
    assert one.origin == f"http://[::1]:{one.port}"
    assert get(one.origin) == b"hello"
    one.stop()


def test_a_wildcard_address_is_told_as_the_local_one() -> None:
    """Nobody can open http://0.0.0.0."""
    one = ScrapeServer("0.0.0.0", 0, app)  # noqa: S104
    assert one.origin == f"http://127.0.0.1:{one.port}"
    assert get(one.origin) == b"hello"
    one.stop()


def test_localhost_is_the_address_that_scrapers_are_told() -> None:
    """Where the name has an IPv4 address, that is it."""
    one = ScrapeServer("localhost", 0, app)
    assert one.address == "127.0.0.1"
    one.stop()


def test_stopping_frees_the_port_and_ends_the_thread() -> None:
    """Another server can have it at once."""
    one = ScrapeServer("127.0.0.1", 0, app)
    get(one.origin)
    one.stop()
    assert not is_listening(one.port)
    assert "otelml-prometheus" not in {thread.name for thread in threading.enumerate()}
    again = ScrapeServer("127.0.0.1", one.port, app)
    assert again.port == one.port
    again.stop()


def test_nothing_is_written_to_the_programs_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    """Requests, malformed ones, and clients that go away are not the program's business."""

    def broken(_environ: dict[str, Any], _start_response: Callable[..., Any]) -> Iterable[bytes]:
        raise ZeroDivisionError

    one = ScrapeServer("127.0.0.1", 0, broken)
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=60)
    connection.request("GET", "/")
    assert connection.getresponse().status == 500
    with socket.create_connection(("127.0.0.1", one.port)) as client:
        client.sendall(b"nonsense\r\n\r\n")
        client.recv(1000)
    one.stop()
    assert capfd.readouterr() == ("", "")


def test_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a connection is closed unanswered; the server goes on."""
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 1)
    entered, hanging = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered.set()
        hanging.wait(60)
        return app(environ, start_response)

    one = ScrapeServer("127.0.0.1", 0, slow)
    answers: list[bytes] = []
    thread = threading.Thread(target=lambda: answers.append(get(one.origin)))
    thread.start()
    assert entered.wait(60)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        get(one.origin)
    hanging.set()
    thread.join()
    assert answers == [b"hello"]
    one.stop()


def test_a_forked_child_keeps_neither_the_port_nor_a_clients_connection() -> None:
    """When the parent is done, its port is free and its clients see the end, though a child lives on."""
    entered, hanging = threading.Event(), threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        entered.set()
        hanging.wait(60)
        return app(environ, start_response)

    one = ScrapeServer("127.0.0.1", 0, slow)
    client = socket.create_connection(("127.0.0.1", one.port), timeout=60)
    client.sendall(b"GET / HTTP/1.0\r\n\r\n")
    assert entered.wait(60)
    wait_r, wait_w = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(wait_w)
            one.abandon()
            os.read(wait_r, 1)
        finally:
            os._exit(0)
    os.close(wait_r)
    hanging.set()
    body = b""
    while part := client.recv(1000):  # to the very end, which a child's copy of the socket would hold back
        body += part
    client.close()
    one.stop()
    listening = is_listening(one.port)
    os.close(wait_w)
    os.waitpid(pid, 0)
    assert body.endswith(b"hello")
    assert not listening
