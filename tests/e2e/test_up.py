"""`otelml up` with the real servers: what a program records arrives, nothing outlives it, the next start goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from serverkit import PATIENCE_S, fetch_json, find, free_ports, plain_environ, wait_until

PROGRAM = """
import logging, sys
import otelml
for _ in range(7):
    with otelml.stage("encode", items=32):
        pass
logging.getLogger("train").warning("done")
if len(sys.argv) > 1:
    print("recorded", flush=True)
    sys.stdin.read()
"""
COUNT = 'ml_stage_duration_seconds_count{ml_stage_name="encode"}'
OPTIONS = {
    "otelcol": ("--otlp-port", "--otlp-grpc-port", "--metrics-port", "--collector-port"),
    "prometheus": ("--prometheus-port",),
    "alertmanager": ("--alertmanager-port",),
}


@dataclass
class Stack:
    """`otelml up` in a folder, with some of the real servers."""

    folder: Path
    names: tuple[str, ...] = tuple(OPTIONS)
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and return when it says that all is ready."""
        options = [option for name in self.names for option in OPTIONS[name]]
        self.ports = dict(zip(options, free_ports(len(options)), strict=True))
        programs = {f"OTELML_{name.upper()}": str(find(name)) for name in self.names}
        absent = {f"OTELML_{name.upper()}": "/nonexistent" for name in OPTIONS if name not in self.names}
        arguments = [part for option, port in self.ports.items() for part in (option, str(port))]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "otelml", "up", *arguments],
            cwd=self.folder, env=plain_environ(**programs, **absent), stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        if not any("Ctrl-C" in line for line in self.process.stdout):
            pytest.fail(self.read_logs())

    def stop(self, number: signal.Signals = signal.SIGINT) -> tuple[int, list[psutil.Process]]:
        """Its exit status, and those of its servers that still run."""
        assert self.process is not None
        servers = self.servers()
        self.process.send_signal(number)
        self.process.communicate(timeout=PATIENCE_S)
        _, alive = psutil.wait_procs(servers, timeout=PATIENCE_S if number == signal.SIGKILL else 0)
        return self.process.returncode, alive

    def servers(self) -> list[psutil.Process]:
        """Its children."""
        assert self.process is not None
        return psutil.Process(self.process.pid).children(recursive=True)

    def url(self, option: str, path: str = "") -> str:
        """Where the server of one of the ports is."""
        return f"http://127.0.0.1:{self.ports[option]}{path}"

    def ask(self, what: str, **query: Any) -> Any:
        """Prometheus' API."""
        return fetch_json(self.url("--prometheus-port", f"/api/v1/{what}"), **query)["data"]

    def values(self, expression: str, **query: Any) -> list[float]:
        """What an instant query returns."""
        return [float(one["value"][1]) for one in self.ask("query", query=expression, **query)["result"]]

    def read_logs(self) -> str:
        """All servers'."""
        return "\n".join(log.read_text() for log in (self.folder / "telemetry" / "stack").glob("*.log"))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    """All servers; nothing is left of it in the end."""
    found = Stack(tmp_path)
    yield found
    if found.process is not None:
        found.process.kill()
        found.process.communicate()


def run_program(stack: Stack) -> None:
    """A program that is pointed at the collector with the line that `otelml up` prints."""
    environ = plain_environ(OTEL_EXPORTER_OTLP_ENDPOINT=stack.url("--otlp-port"), OTEL_SERVICE_NAME="train")
    subprocess.run(
        ["opentelemetry-instrument", sys.executable, "-c", PROGRAM],
        cwd=stack.folder, env=with_scripts(environ), timeout=PATIENCE_S, check=True,
    )  # fmt: skip


def with_scripts(environ: dict[str, str]) -> dict[str, str]:
    """With this Python's programs first on the PATH."""
    return {**environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), environ["PATH"]])}


def read_names(path: Path) -> set[str]:
    """The names of the spans, or the bodies of the log records, in a file of the collector's."""
    requests = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    scopes = [
        scope
        for request in requests
        for resource in request.get("resourceSpans", request.get("resourceLogs", []))
        for scope in resource.get("scopeSpans", resource.get("scopeLogs", []))
    ]
    return {span["name"] for scope in scopes for span in scope.get("spans", ())} | {
        record["body"]["stringValue"] for scope in scopes for record in scope.get("logRecords", ())
    }


def read_health(stack: Stack) -> set[str]:
    """How the rules are: `unknown` before their first evaluation, `err` where one cannot be evaluated."""
    return {rule["health"] for group in stack.ask("rules")["groups"] for rule in group["rules"]}


def test_what_a_program_records_arrives(stack: Stack) -> None:
    """Metrics in Prometheus with their exact values and labels, traces and logs in the collector's files."""
    stack.start()
    run_program(stack)
    wait_until(lambda: stack.values(COUNT), stack.read_logs)
    (series,) = stack.ask("query", query=COUNT)["result"]
    assert (series["metric"]["job"], series["metric"]["service_name"], series["value"][1]) == (
        "train", "train", "7",
    )  # fmt: skip
    assert stack.values("sum(ml_stage_items_total)") == [7 * 32]
    folder = stack.folder / "telemetry" / "stack" / "collector"
    wait_until(lambda: "encode" in read_names(folder / "otlp-traces.jsonl"), stack.read_logs)
    wait_until(lambda: "done" in read_names(folder / "otlp-logs.jsonl"), stack.read_logs)


def test_the_servers_know_each_other(stack: Stack) -> None:
    """Prometheus scrapes the collector, has our rules without an error, and sends alerts to Alertmanager."""
    stack.start()
    wait_until(lambda: stack.values('up{job="otelml-collector"}') == [1], stack.read_logs)
    wait_until(lambda: stack.values('up{job="otelcol"}') == [1], stack.read_logs)
    wait_until(lambda: read_health(stack) == {"ok"}, lambda: stack.ask("rules"))
    files = {Path(group["file"]).name for group in stack.ask("rules")["groups"]}
    assert files == {"alerts.yaml", "rules.yaml", "thresholds.yaml"}
    (alertmanager,) = stack.ask("alertmanagers")["activeAlertmanagers"]
    assert alertmanager["url"] == stack.url("--alertmanager-port", "/api/v2/alerts")
    assert fetch_json(stack.url("--alertmanager-port", "/api/v2/status"))["cluster"]["status"] == "disabled"


def test_everything_listens_on_the_loopback_address(stack: Stack) -> None:
    """And on no port but those that were chosen."""
    stack.start()
    listening = {
        connection.laddr
        for server in stack.servers()
        for connection in server.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", port) for port in stack.ports.values()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_outlives_it(stack: Stack, number: signal.Signals) -> None:
    """Neither Ctrl-C nor a kill leaves a server behind; asked in order, it ends with status 0."""
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("other kernels do not end the children of a killed process")
    stack.start()
    assert len(stack.servers()) == 3
    assert stack.stop(number) == (-9 if number == signal.SIGKILL else 0, [])


def test_the_next_start_goes_on(stack: Stack) -> None:
    """Prometheus has what it had, also after a kill, and what comes new."""
    stack.start()
    run_program(stack)
    wait_until(lambda: stack.values(COUNT), stack.read_logs)
    seen = time.time()
    stack.stop(signal.SIGKILL)
    stack.start()
    assert wait_until(lambda: stack.values(COUNT, time=seen), stack.read_logs) == [7]
    run_program(stack)
    wait_until(lambda: stack.values(COUNT) == [7], stack.read_logs)
    assert stack.stop() == (0, [])


def test_a_server_that_is_killed_is_named(stack: Stack, capfd: pytest.CaptureFixture[str]) -> None:
    """The others are stopped, and the status says so."""
    stack.start()
    servers = stack.servers()
    next(one for one in servers if "prometheus.yml" in " ".join(one.cmdline())).kill()
    assert stack.process is not None
    stack.process.communicate(timeout=PATIENCE_S)
    assert stack.process.returncode == 1
    assert psutil.wait_procs(servers, timeout=0)[1] == []
    assert "otelml: Prometheus has ended by SIGKILL. The end of its log" in capfd.readouterr().err


def test_prometheus_alone_asks_the_program(stack: Stack) -> None:
    """With nothing set, the program's own endpoint is scraped, with the labels that it has by way of a collector."""
    (port,) = free_ports(1)
    targets = stack.folder / "telemetry" / "stack" / "prometheus" / "targets.yaml"
    targets.parent.mkdir(parents=True)
    targets.write_text(f"- targets: [127.0.0.1:{port}]\n")
    stack.names = ("prometheus",)
    stack.start()
    environ = plain_environ(OTEL_EXPORTER_PROMETHEUS_PORT=str(port), OTEL_SERVICE_NAME="train", RANK="3")
    program = subprocess.Popen(
        ["opentelemetry-instrument", sys.executable, "-c", PROGRAM, "wait"],
        cwd=stack.folder, env=with_scripts(environ), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert wait_until(lambda: stack.values(COUNT), stack.read_logs) == [7]
        (series,) = stack.ask("query", query=COUNT)["result"]
    finally:
        program.communicate(timeout=PATIENCE_S)
    keys = ("job", "instance", "service_name", "ml_distributed_rank")
    assert {key: series["metric"][key] for key in keys} == {
        "job": "otelml",
        "instance": f"127.0.0.1:{port}",
        "service_name": "train",
        "ml_distributed_rank": "3",
    }
