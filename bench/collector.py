"""What one collector on this machine takes: spans, log records and metric points a second, CPU, memory, disk.

Not among the default benchmarks: it needs Linux, the collector (`make collector`), and two minutes. Load goes to
127.0.0.1 only, for a fixed time; requests are made once, of telemetry of this library, and sent again and again, the
next when one is answered.
"""

from __future__ import annotations

import http.client
import logging
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

import otelml
from otelml import testing
from otelml.resource import create_resource

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
BATCH = 512
SENDERS = 3
PROGRAMS = 100
"""Whose metrics come in turn; a sender plays a share of them."""
WARM_UP_S = 2.0
WINDOW_S = 6.0
STORED_BYTES = 32 * 2**20
PATIENCE_S = 60
SIGNALS = {"traces": "spans", "logs": "log_records", "metrics": "metric_points"}
STAGES = (
    "fusion preprocess encode quantize cluster smooth classify forward backward optimizer data checkpoint convert"
).split()
PIPELINES = {
    "take and drop": ("base",),
    "to Prometheus, Tempo, Loki": ("base", "prometheus", "grafana"),
    "redacted, to Prometheus, Tempo, Loki": ("base", "redaction", "health", "prometheus", "grafana"),
}


def run() -> bool:
    """Print the tables; True, for there is nothing to miss."""
    binary = _find()
    if binary is None:
        print("\nno collector: `make collector` builds it")
        return True
    requests = {signal_name: _build(signal_name) for signal_name in SIGNALS}
    for name, layers in PIPELINES.items():
        with ExitStack() as stack:
            nowhere = stack.enter_context(_collector(binary, "base"))
            collector = stack.enter_context(_collector(binary, *layers, **_destinations(nowhere)))
            print(
                f"\n{name}\n{'':14}{'a second':>12}{'CPUs':>8}{'a CPU second':>14}{'RSS MiB':>9}{'refused':>9}"
            )
            for signal_name, items in SIGNALS.items():
                _measure(collector, signal_name, items, requests[signal_name])
    _measure_disk(binary, requests)
    return True


def _find() -> str | None:
    found = subprocess.run(
        [sys.executable, ROOT / "scripts" / "servers.py", "--path", "otelcol"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return found.stdout.strip() if found.returncode == 0 else None


# -- the load


def _build(signal_name: str) -> tuple[int, bytes]:
    """Items in a request, and its bytes."""
    logger = logging.getLogger("bench")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    about = dict(create_resource("bench", "20260101-120000-abcdef").attributes)
    with testing.capture(resource=about) as telemetry:
        for n in range(BATCH):
            with otelml.stage(STAGES[n % len(STAGES)], items=32, batch=n):
                logger.info("batch %d done", n, extra={"samples": 32, "loss": 1 / (n + 1)})
        if signal_name == "traces":
            return BATCH, encode_spans(telemetry.spans).SerializeToString()
        if signal_name == "logs":
            return BATCH, encode_logs(telemetry.logs).SerializeToString()
        return sum(map(len, telemetry.points().values())), _metrics(telemetry)


def _metrics(telemetry: testing.Capture) -> bytes:
    """One export of a program, with a place for the time and one for who it is, of fixed length each."""
    request = encode_metrics(telemetry.metrics_data())
    for resource in request.resource_metrics:
        for attribute in resource.resource.attributes:
            if attribute.key == "service.instance.id":
                attribute.value.string_value = _WHO.decode()
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in getattr(metric, metric.WhichOneof("data")).data_points:
                    point.time_unix_nano = int.from_bytes(_WHEN, "little")
    return request.SerializeToString()


_WHEN = (0x1122334455667788).to_bytes(8, "little")
_WHO = b"program-000000"


def _send(url: tuple[int, str], body: bytes, seed: int, until: float, counts) -> None:
    """Post again and again until `until`; counts what was taken and what was refused."""
    port, path = url
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    headers = {"Content-Type": "application/x-protobuf"}
    turn, taken, refused = seed, 0, 0
    while time.monotonic() < until:
        who = b"program-%06d" % (turn % PROGRAMS)
        now = time.time_ns().to_bytes(8, "little")
        connection.request("POST", path, body.replace(_WHEN, now).replace(_WHO, who), headers)
        response = connection.getresponse()
        response.read()
        taken, refused, turn = (
            taken + (response.status == 200),
            refused + (response.status != 200),
            turn + SENDERS,
        )
    counts.put((taken, refused))


def _load(collector: Collector, signal_name: str, body: bytes, duration_s: float) -> tuple[int, int]:
    """Requests taken and refused."""
    context = multiprocessing.get_context("fork")
    counts, until = context.Queue(), time.monotonic() + duration_s
    senders = [
        context.Process(
            target=_send, args=((collector.http, f"/v1/{signal_name}"), body, seed, until, counts)
        )
        for seed in range(SENDERS)
    ]
    for sender in senders:
        sender.start()
    found = [counts.get(timeout=PATIENCE_S) for _ in senders]
    for sender in senders:
        sender.join(PATIENCE_S)
    return sum(taken for taken, _ in found), sum(refused for _, refused in found)


def _measure(collector: Collector, signal_name: str, items: str, request: tuple[int, bytes]) -> None:
    n, body = request
    _load(collector, signal_name, body, WARM_UP_S)
    cpu_s, start = collector.cpu_s(), time.monotonic()
    taken, refused = _load(collector, signal_name, body, WINDOW_S)
    wall_s, cpu_s = time.monotonic() - start, collector.cpu_s() - cpu_s
    print(
        f"{items:14}{taken * n / wall_s:>12,.0f}{cpu_s / wall_s:>8.2f}{taken * n / cpu_s:>14,.0f}"
        f"{collector.rss_mib():>9.0f}{refused / max(1, taken + refused):>9.1%}"
    )


def _measure_disk(binary: str, requests: dict[str, tuple[int, bytes]]) -> None:
    """What an agent keeps on disk while its gateway is down."""
    print(
        f"\nan agent's queue on disk\n{'':14}{'bytes each':>12}{'on the wire':>14}{'an hour of 1000 a second':>28}"
    )
    for signal_name, items in SIGNALS.items():
        n, body = requests[signal_name]
        with tempfile.TemporaryDirectory() as storage:
            environ = {"GATEWAY_OTLP_URL": "http://127.0.0.1:1", "OTELCOL_STORAGE_DIR": storage}
            with _collector(binary, "base", "redaction", "health", "agent", **environ) as agent:
                requests_made = STORED_BYTES // len(body)
                for _ in range(requests_made):
                    agent.post(f"/v1/{signal_name}", body)
                size = sum(file.stat().st_size for file in Path(storage).rglob("*") if file.is_file())
        each = size / (n * requests_made)
        print(f"{items:14}{each:>12.0f}{len(body) / n:>14.0f}{each * 3600 * 1000 / 2**30:>24.2f} GiB")


# -- the collectors


class Collector:
    """A running collector, and what /proc says of it."""

    def __init__(self, process: subprocess.Popen[bytes], http_port: int, grpc_port: int) -> None:
        self.process, self.http, self.grpc = process, http_port, grpc_port

    def cpu_s(self) -> float:
        """CPU seconds so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        """The most memory it has had."""
        return (
            int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())[1]) / 1024
        )

    def post(self, path: str, body: bytes) -> None:
        """One request, which must be taken."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.http}{path}", body, {"Content-Type": "application/x-protobuf"}
        )
        urllib.request.urlopen(request, timeout=PATIENCE_S).close()  # noqa: S310 - the collector's own address


def _destinations(nowhere: Collector) -> dict[str, str]:
    """Where the layers of PIPELINES send: to a collector that drops everything."""
    return {
        "TEMPO_OTLP_ENDPOINT": f"127.0.0.1:{nowhere.grpc}",
        "LOKI_OTLP_URL": f"http://127.0.0.1:{nowhere.http}",
    }


@contextmanager
def _collector(binary: str, *layers: str, **environ: str) -> Iterator[Collector]:
    names = ("HTTP", "GRPC", "METRICS", "HEALTH", "PROMETHEUS")
    ports = dict(zip(names, _free_ports(len(names)), strict=True))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
    process = subprocess.Popen(
        [binary, *[f"--config={ROOT / 'collector-config' / layer}.yaml" for layer in layers]],
        env={**kept, **{f"OTELCOL_{name}_PORT": str(port) for name, port in ports.items()}, **environ},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _wait_for(ports["HTTP"], process)
        yield Collector(process, ports["HTTP"], ports["GRPC"])
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE_S)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < end_s:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("the collector does not start")
