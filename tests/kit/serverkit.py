"""Real servers for tests: find the binary, start it with a log of its own, wait until it answers, ask it, stop it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60
"""How long to wait for a server or for data: there for a hang, never to measure."""

T = TypeVar("T")

# As the suite was started: tests themselves run without the OTEL_* and OTELML_* variables of the caller's shell.
_STARTED_WITH = dict(os.environ)


def find(name: str) -> Path:
    """The binary of a server of scripts/servers.py; without it the test is skipped, or fails where CI promises it."""
    found = subprocess.run(
        [sys.executable, ROOT / "scripts" / "servers.py", "--path", name],
        env=_STARTED_WITH, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if found.returncode == 0:
        return Path(found.stdout.strip())
    return missing(
        f"no {name}: `make servers` builds it, `python scripts/servers.py --list` says how to name another one"
    )


def missing(reason: str) -> Any:
    """Skip the test, saying why; fail where CI promises what is missing."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that nobody listens on, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [server.getsockname()[1] for server in sockets]
    for server in sockets:
        server.close()
    return ports


def wait_until(condition: Callable[[], T], what: object = "", patience_s: float = PATIENCE_S) -> T:
    """What `condition` returns, once that is true; `what` says in the failure what was waited for, or is called."""
    end = time.monotonic() + patience_s
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"waited in vain: {what() if callable(what) else what}")
        time.sleep(0.1)
    return found


def fetch(url: str, **query: Any) -> str:
    """The body at `url`; raises `urllib.error.URLError` where nobody answers, and shows the body of an error."""
    if query:
        url = f"{url}?{urllib.parse.urlencode(query, doseq=True)}"
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
            return response.read().decode()
    except urllib.error.HTTPError as problem:
        problem.add_note(f"{url}: {problem.read().decode(errors='replace')}") if hasattr(
            problem, "add_note"
        ) else None
        raise


def fetch_json(url: str, **query: Any) -> Any:
    """As `fetch`, decoded."""
    return json.loads(fetch(url, **query))


def plain_environ(**more: str) -> dict[str, str]:
    """The environment without OTEL_*, OTELML_* and SENTRY_*, and with `more`: for a program or server of a test."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "SENTRY_"))}
    return kept | more


class Server:
    """A process with its log in a file; as a `with` block it is stopped at the end."""

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        *,
        ports: Sequence[int] = (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.command, self.folder, self.ports = [str(part) for part in command], folder, tuple(ports)
        self.environ = plain_environ(**(environ or {}))
        self.log = folder / f"{Path(self.command[0]).name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it listens on all its ports. Its log goes on where it was."""
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env=self.environ, stdout=output, stderr=subprocess.STDOUT
            )
        for port in self.ports:
            wait_until(lambda port=port: self.is_alive() and self._listens(port), self.read_log)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, as kindly as `how` is."""
        if self.process is not None:
            self.process.send_signal(how)
            try:
                self.process.wait(PATIENCE_S)
            finally:
                self.process.kill()
                self.process.wait(PATIENCE_S)
                self.process = None

    def read_log(self) -> str:
        """What it wrote to stdout and stderr."""
        return self.log.read_text(errors="replace")

    def is_alive(self) -> bool:
        """True; fails the test with the log where it has ended."""
        assert self.process is not None
        assert self.process.poll() is None, self.read_log()
        return True

    def _listens(self, port: int) -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    def __enter__(self) -> Any:
        try:
            self.start()
        except BaseException:
            self.stop()  # what was started and does not answer outlives no test
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Collector(Server):
    """A collector on configuration files, merged in their order."""

    def __init__(
        self,
        folder: Path,
        *configs: Path,
        ports: Sequence[int],
        environ: Mapping[str, str] | None = None,
        binary: str = "otelcol",
    ) -> None:
        options = [f"--config={config}" for config in configs]
        super().__init__([find(binary), *options], folder, ports=ports, environ=environ)


class Prometheus(Server):
    """A Prometheus on a configuration: a mapping, written to `folder`, or a file."""

    def __init__(self, folder: Path, config: Mapping[str, Any] | Path, *options: str) -> None:
        if not isinstance(config, Path):
            text, config = yaml.safe_dump(dict(config)), folder / "prometheus.yaml"
            config.write_text(text)
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        command = [find("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        super().__init__([*command, f"--web.listen-address=127.0.0.1:{port}", *options], folder, ports=[port])

    def start(self) -> None:
        super().start()
        wait_until(lambda: self.is_alive() and self._is_ready(), self.read_log)

    def query(self, expression: str, **options: Any) -> list[dict[str, Any]]:
        """The series of an instant query: each with `metric` and `value`, or `values` for a range vector."""
        return self._ask("query", query=expression, **options)["result"]

    def query_range(self, expression: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
        """The series of `expression` over time."""
        return self._ask("query_range", query=expression, start=start, end=end, step=step)["result"]

    def value(self, expression: str) -> float | None:
        """The value of the one series of `expression`; None while there is none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return float(found[0]["value"][1]) if found else None

    def alerts(self, state: str = "firing") -> list[dict[str, Any]]:
        """The alerts that are in `state`."""
        return [alert for alert in self._ask("alerts")["alerts"] if alert["state"] == state]

    def _is_ready(self) -> bool:
        try:
            return bool(re.search("ready", fetch(f"{self.url}/-/ready"), re.IGNORECASE))
        except urllib.error.URLError:
            return False

    def _ask(self, what: str, **query: Any) -> Any:
        try:
            return fetch_json(f"{self.url}/api/v1/{what}", **query)["data"]
        except urllib.error.HTTPError as problem:
            pytest.fail(f"{query}: {problem}")


class Jaeger(Server):
    """A Jaeger that keeps what it gets in memory; takes OTLP/gRPC at `grpc_endpoint`."""

    def __init__(self, folder: Path) -> None:
        grpc_port, query_port, query_grpc_port = free_ports(3)
        self.grpc_endpoint, self.url = f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{query_port}"
        query = {
            "http": {"endpoint": f"127.0.0.1:{query_port}"},
            "grpc": {"endpoint": f"127.0.0.1:{query_grpc_port}"},
        }
        config = {
            "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": self.grpc_endpoint}}}},
            "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
            "extensions": {
                "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 100_000}}}},
                "jaeger_query": {"storage": {"traces": "memory"}, **query},
            },
            "service": {
                "extensions": ["jaeger_storage", "jaeger_query"],
                "telemetry": {"metrics": {"level": "none"}},
                "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
            },
        }
        path = folder / "jaeger.yaml"
        path.write_text(yaml.safe_dump(config))
        super().__init__([find("jaeger"), f"--config={path}"], folder, ports=[grpc_port, query_port])

    def spans(self, service: str) -> list[dict[str, Any]]:
        """The spans of a service, as Jaeger's own API has them."""
        found = fetch_json(f"{self.url}/api/traces", service=service, limit=100_000)["data"] or []
        return [span for trace in found for span in trace["spans"]]
