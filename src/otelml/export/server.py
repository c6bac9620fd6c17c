"""A small HTTP server for one WSGI application, on a thread that never keeps the program from ending.

Apart from `prometheus` because ports, sockets and forks are no business of metrics. Differs from the standard
library's in what matters inside somebody else's program: no name lookups, nothing on stderr, bounded connections.
"""

from __future__ import annotations

import errno
import io
import socket
import sys
import threading
from contextlib import suppress
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from otelml.instruments import internal

if TYPE_CHECKING:
    from collections.abc import Callable

PORTS_TRIED = 64
"""Ports from the wanted one on, before the system chooses one."""
MAX_CONNECTIONS = 32
"""Open at a time; further ones are closed at once."""
_POLL_S = 0.25
"""How long stopping may take; each poll costs the program's threads some 20 us."""
_REQUEST_TIMEOUT_S = 10

Address = tuple[Any, ...]


class ScrapeServer:
    """Serves `app` at `host` on `port`, or on the next free port.

    Raises:
        OSError: no port could be bound, or `host` is no address of this machine.
    """

    def __init__(self, host: str, port: int, app: Callable[..., Any]) -> None:
        self._server = _bind(host, port)
        self._server.set_app(app)
        self.address, self.port = self._server.server_name, self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="otelml-prometheus", daemon=True
        )
        self._thread.start()

    @property
    def origin(self) -> str:
        """`http://127.0.0.1:9464`; a wildcard address is given as the local one."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.address, self.address)  # noqa: S104
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def stop(self) -> None:
        """Answer no more requests and free the port; one being answered is finished."""
        self._server.shutdown()
        self._server.server_close()

    def abandon(self) -> None:
        """In a forked child, which has no server thread: close the parent's sockets here."""
        with suppress(OSError):
            self._server.server_close()
        self._server.close_connections()


def _bind(host: str, port: int) -> _Server:
    family, address = _resolve(host)
    wanted = range(port, min(port + PORTS_TRIED, 65536)) if port else ()
    for candidate in (*wanted, 0):
        try:
            return _Server(family, (address, candidate))
        except OSError as problem:
            if problem.errno not in (errno.EADDRINUSE, errno.EACCES) or not candidate:
                raise
    raise AssertionError


def _resolve(host: str) -> tuple[int, str]:
    """Address family and numeric address; no look-up for one that is numeric, so that a forked child needs none."""
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, host)
            return family, host
    found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # `localhost` is often both: scrapers are told 127.0.0.1.
    family, _, _, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    return family, str(address[0])


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # On Windows this option would let two processes listen on one port.
    allow_reuse_address = sys.platform != "win32"

    def __init__(self, family: int, address: Address) -> None:
        self.address_family = family
        self._open: set[Any] = set()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the DNS for a name of this address; that can take many seconds.
        TCPServer.server_bind(self)
        address: Any = self.server_address
        self.server_name, self.server_port = address[:2]
        self.setup_environ()

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002
        return len(self._open) < MAX_CONNECTIONS

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        self._open.discard(request)
        super().close_request(request)

    def close_connections(self) -> None:
        """Close what the parent was answering at a fork, or its clients would wait for this process to end."""
        while self._open:
            with suppress(OSError):
                self._open.pop().close()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that went away is none of the program's business."""
        internal.count("errors", "export.prometheus", type(sys.exc_info()[1]).__name__)


class _Handler(WSGIRequestHandler):
    timeout = _REQUEST_TIMEOUT_S

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def get_stderr(self) -> io.StringIO:
        return io.StringIO()
