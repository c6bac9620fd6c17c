"""Programs in processes of their own, endpoints that misbehave, and what was written."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

TIMEOUT_S = 120
"""For whole programs: there for a hang, never to measure."""

PREAMBLE = """
import asyncio, atexit, logging, multiprocessing, os, signal, sys, threading, time
from otelml import configurator, instruments, lifecycle
"""


OF_EVERY_PROCESS = ("hw.", "ml.gpu.", "process.", "system.")
"""How metrics begin that are there in each process, whatever it does; test_system_metrics.py is about them."""


@dataclass
class Totals:
    """What one process says of its work in its metric files: its last export, by name, over all attributes."""

    instances: set[str] = field(default_factory=set)
    values: Counter[str] = field(default_factory=Counter)


class Program:
    """Runs code that has the names of PREAMBLE, in an empty folder and with the given variables only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.way: tuple[str, ...] = (sys.executable,)

    def start(self, code: str, *arguments: object, **environ: str) -> subprocess.Popen[str]:
        """Start it; its output is piped."""
        path = self.folder / "program.py"
        path.write_text(PREAMBLE + textwrap.dedent(code))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "SENTRY_"))}
        base = {
            **kept,
            "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
            "OTELML_RUN_ID": "run-1",
            "OTELML_QUIET": "true",
        }
        return subprocess.Popen(
            [*self.way, str(path), *map(str, arguments)],
            cwd=self.folder,
            env={**base, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, code: str, *arguments: object, status: int = 0, **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end, which must be `status`."""
        process = self.start(code, *arguments, **environ)
        return finish(process, status=status)

    def lines(self, signal: str) -> list[dict[str, Any]]:
        """All lines of a signal's files, each of which must be JSON."""
        found = sorted(self.folder.glob(f"telemetry/*/*/{signal}*.jsonl"))
        return [json.loads(line) for path in found for line in path.read_text().splitlines()]

    def totals(self) -> dict[str, Totals]:
        """The last metrics in each file, by its name."""
        found = self.folder.glob("telemetry/*/*/metrics*.jsonl")
        return {path.name: read_totals(path.read_text()) for path in found}


def finish(process: subprocess.Popen[str], *, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Wait for the end of a program, which must be `status`."""
    try:
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == status, stdout + stderr
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def read_totals(text: str) -> Totals:
    """The last export of each process that wrote `text`, and all who did."""
    totals = Totals()
    for line in text.splitlines():
        totals.values.clear()
        for resource_metrics in json.loads(line)["resourceMetrics"]:
            attributes = {a["key"]: a["value"] for a in resource_metrics["resource"]["attributes"]}
            totals.instances.add(attributes["service.instance.id"]["stringValue"])
            for scope_metrics in resource_metrics["scopeMetrics"]:
                for metric in scope_metrics["metrics"]:
                    if not metric["name"].startswith(OF_EVERY_PROCESS):
                        totals.values[metric["name"]] += sum(map(read_value, read_points(metric)))
    return totals


def read_points(metric: dict[str, Any]) -> list[dict[str, Any]]:
    """The data points, whatever the kind."""
    return next(metric[kind]["dataPoints"] for kind in ("sum", "gauge", "histogram") if kind in metric)


def read_value(point: dict[str, Any]) -> float:
    """A number, or a histogram's count."""
    return float(point.get("asInt", point.get("asDouble", point.get("count", 0))))


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """A folder to run programs in."""
    return Program(tmp_path)


class Unhelpful:
    """An OTLP endpoint by the way it behaves: `refuses`, `hangs`, `trickles`, or answers with a status."""

    def __init__(self, behaviour: str) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._server: ThreadingHTTPServer | None = None
        self.endpoint = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests = 0
        if behaviour == "refuses":
            self._listener.close()
        elif behaviour == "trickles":
            threading.Thread(target=self._trickle, daemon=True).start()
        elif behaviour != "hangs":
            self._listener.close()
            self._serve(int(behaviour))

    def _trickle(self) -> None:
        """Answer all clients with headers that never end, a byte at a time."""
        self._listener.settimeout(0.05)
        with ExitStack() as stack, suppress(OSError):  # until it is closed
            clients: list[socket.socket] = []
            while True:
                with suppress(TimeoutError):
                    clients.append(stack.enter_context(self._listener.accept()[0]))
                    clients[-1].sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                for client in clients:
                    with suppress(OSError):
                        client.sendall(b"x")

    def _serve(self, status: int) -> None:
        unhelpful = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                unhelpful.requests += 1
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """End it."""
        self._listener.close()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()


@pytest.fixture
def unhelpful(request: pytest.FixtureRequest) -> Iterator[Unhelpful]:
    """An endpoint; parametrise it with its behaviour."""
    one = Unhelpful(request.param)
    yield one
    one.close()
