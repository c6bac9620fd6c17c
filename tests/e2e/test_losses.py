"""What is lost while a collector is down, with real processes: what fits no queue, each item counted, and no more.

An outage lasts a minute under CI, and ten seconds elsewhere. `pytest -s` shows the numbers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from otlpkit import LayeredCollector
from serverkit import PATIENCE_S, plain_environ, wait_until

from otelml.export.delivery import BATCH_SIZE, QUEUE_SIZE

OUTAGE_S = 60 if os.environ.get("CI") else 10
METRIC_INTERVAL_S = 1

# A collector that keeps what it gets, whole when it is told to end.
SINK = """
exporters:
  file:
    path: ${env:SINK}
    append: true
    flush_interval: 100ms
service:
  pipelines:
    traces/file: {receivers: [forward/out], exporters: [file]}
    metrics/file: {receivers: [forward/out], exporters: [file]}
    logs/file: {receivers: [forward/out], exporters: [file]}
"""

# Works until it is told to stop, and ends at the end of its input. Each line is answered with what it has sent, and
# what it has counted as dropped.
PROGRAM = """
import json, logging, sys, threading
import otelml
from otelml import lifecycle
from otelml.instruments import internal

otelml.configure(service_name=sys.argv[1])
logger, done = logging.getLogger("app"), otelml.counter("work.done", unit="{item}").bind()
logger.setLevel("INFO")
logger.propagate = False
logger.addHandler(logging.NullHandler())
sent, stopping = 0, threading.Event()

def work():
    global sent
    while not stopping.wait(1 / float(sys.argv[2])):
        with otelml.stage("step", sequence=sent):
            logger.info("working", extra={"sequence": sent})
        done.add(1)
        sent += 1

thread = threading.Thread(target=work)
thread.start()
for line in sys.stdin:
    if line == "stop\\n":
        stopping.set()
        thread.join()
        for _ in range(2):  # what the first one counts is among what the second one delivers
            assert lifecycle.flush(60) == ()
    dropped = {reason: n for (kind, at, reason), n in internal.totals().items()
               if (kind, at) == ("dropped", "export.otlp")}
    print(json.dumps({"sent": sent, "dropped": dropped}), flush=True)
stopping.set()
thread.join()
print(sent)
"""


class Program:
    """PROGRAM under a service name, at so many spans and log records a second, over OTLP to a port."""

    def __init__(
        self, folder: Path, service: str, rate: float, port: int, protocol: str = "http/protobuf"
    ) -> None:
        environ = plain_environ(
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_METRIC_EXPORT_INTERVAL=str(1000 * METRIC_INTERVAL_S),
            OTELML_SPAN_BUDGET="all",
            # Far away: what ends late would be seen.
            OTELML_EXIT_TIMEOUT="600",
            OTELML_QUIET="true",
        )
        self.service = service
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, service, str(rate)],
            cwd=folder, env=environ, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def ask(self, line: str = "how far?") -> dict[str, Any]:
        """What it has sent and dropped; "stop" has it end its work and flush before."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(line, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        assert answer, self.process.communicate()[1]
        return json.loads(answer)

    def end(self) -> tuple[int, str]:
        """Let it end; what it has sent, and what it said on stderr."""
        stdout, stderr = self.process.communicate(timeout=PATIENCE_S)
        assert self.process.returncode == 0, stderr
        return int(stdout), stderr


class Sink:
    """What a collector with the layer SINK has written down, by service; each look reads what is new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spans: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.log_records: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.said: defaultdict[str, list[str]] = defaultdict(list)
        self._latest: defaultdict[tuple[str, str], tuple[int, dict[str, float]]] = defaultdict(
            lambda: (0, {})
        )
        self._read = 0

    def look(self) -> Sink:
        """Read on, whole lines only."""
        if self.path.exists():
            with self.path.open("rb") as file:
                file.seek(self._read)
                text, _, _ = file.read().rpartition(b"\n")
            self._read += len(text) + bool(text)
            for line in text.splitlines():
                self._take(json.loads(line))
        return self

    def _take(self, request: dict[str, Any]) -> None:
        for service, span in walk(request, "resourceSpans", "scopeSpans", "spans"):
            self.spans[service][int(attributes(span)["sequence"])] += 1
        for service, record in walk(request, "resourceLogs", "scopeLogs", "logRecords"):
            if "sequence" in (found := attributes(record)):
                self.log_records[service][int(found["sequence"])] += 1
            else:
                self.said[service].append(record["body"]["stringValue"])
        for service, metric in walk(request, "resourceMetrics", "scopeMetrics", "metrics"):
            if metric["name"] in ("work.done", "otelml.internal.dropped"):
                # A queue that tries again delivers in any order: the latest by its time counts, as in Prometheus.
                latest = self._latest[service, metric["name"]]
                self._latest[service, metric["name"]] = max(
                    latest, read_points(metric), key=lambda points: points[0]
                )

    def last_values(self, service: str, name: str) -> dict[str, float]:
        """The latest values of a sum, by `otelml.reason`."""
        return self._latest[service, name][1]


def walk(
    request: dict[str, Any], resources: str, scopes: str, items: str
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each item of an OTLP request, with its service."""
    for resource in request.get(resources, ()):
        service = attributes(resource["resource"])["service.name"]
        for scope in resource[scopes]:
            yield from ((service, item) for item in scope[items])


def attributes(owner: dict[str, Any]) -> dict[str, Any]:
    """As a mapping."""
    return {pair["key"]: next(iter(pair["value"].values())) for pair in owner.get("attributes", ())}


def read_points(metric: dict[str, Any]) -> tuple[int, dict[str, float]]:
    """The time and the values of a sum, by `otelml.reason`, of exporting only."""
    time_ns, found = 0, {}
    for point in metric["sum"]["dataPoints"]:
        said = attributes(point)
        time_ns = int(point["timeUnixNano"])
        if said.get("otelml.component", "export.otlp") == "export.otlp":
            found[said.get("otelml.reason", "")] = float(point.get("asInt", point.get("asDouble", 0)))
    return time_ns, found


def sum_of(dropped: dict[str, float], items: str) -> float:
    """What was dropped of one signal, for any reason."""
    return sum(n for reason, n in dropped.items() if reason.startswith(items))


def say(title: str, sent: int, received: Counter[int]) -> None:
    """What `pytest -s` shows, and docs/performance.md has from there."""
    twice = sum(received.values()) - len(received)
    print(f"{title}: {sent} sent, {sent - len(received)} lost, {twice} arrived twice")


@pytest.fixture
def sink(tmp_path: Path) -> Sink:
    """For the last collector on the way."""
    return Sink(tmp_path / "sink.jsonl")


@pytest.fixture
def last(tmp_path: Path, sink: Sink) -> LayeredCollector:
    """The last collector on the way, not started."""
    layer = tmp_path / "sink.yaml"
    layer.write_text(SINK)
    return LayeredCollector(
        tmp_path, "base", layer, environ={"SINK": str(sink.path), "OTELCOL_LOG_LEVEL": "error"}
    )


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts programs, none of which outlives the test."""
    started: list[Program] = []

    def start_one(service: str, rate: float, **otlp: object) -> Program:
        started.append(Program(tmp_path, service, rate, **otlp))
        return started[-1]

    yield start_one
    for program in started:
        program.process.kill()
        program.process.communicate()


def arrives(sink: Sink, service: str, sequence: int) -> Callable[[], bool]:
    """Whether a span, a log record and a value as late as `sequence` have arrived."""

    def have_arrived() -> bool:
        sink.look()
        done = sink.last_values(service, "work.done").get("", 0)
        return (
            min(max(sink.spans[service], default=-1), max(sink.log_records[service], default=-1), done)
            >= sequence
        )

    return have_arrived


def test_a_collector_that_is_down_costs_what_finds_no_room(
    last: LayeredCollector, sink: Sink, work: Any
) -> None:
    """Nothing where the queues are enough for the outage; else what is beyond them, counted to the last item."""
    with last:
        few = work("few", 20, port=last.grpc_port, protocol="grpc")
        many = work("many", 500, port=last.http_port)
        for program in (few, many):
            wait_until(arrives(sink, program.service, 10), last.read_log)
        before = many.ask()["sent"]
        last.stop()
        time.sleep(OUTAGE_S)
        meanwhile = many.ask()["sent"] - before
        last.start()
        for program in (few, many):
            wait_until(arrives(sink, program.service, program.ask()["sent"]), last.read_log)
        ends = {program.service: program.ask("stop") for program in (few, many)}
        for program in (few, many):
            program.end()
    sink.look()
    assert ends["few"]["dropped"] == {}
    for service, end in ends.items():
        sent, dropped = end["sent"], end["dropped"]
        for items in ("spans", "log_records"):
            received = getattr(sink, items)[service]
            say(f"{service}, {items}", sent, received)
            assert sent == len(received) + sum_of(dropped, items)
            assert set(received) <= set(range(sent))
        assert sink.last_values(service, "work.done") == {"": sent}
        assert sink.last_values(service, "otelml.internal.dropped") == dropped
    assert meanwhile > QUEUE_SIZE + BATCH_SIZE, "the queues were enough for the outage"
    for items in ("spans", "log_records"):
        lost = set(range(ends["many"]["sent"])) - set(getattr(sink, items)["many"])
        assert len(lost) == ends["many"]["dropped"][f"{items}_queue_full"]
        # What came first is kept: all from before, and a queue of what came then.
        assert min(lost) >= before + QUEUE_SIZE


def test_a_program_ends_while_its_collector_is_down(last: LayeredCollector, sink: Sink, work: Any) -> None:
    """At once, though its deadline is ten minutes away, and it says what that cost, to the last item."""
    with last:
        program = work("ends", 100, port=last.http_port)
        wait_until(arrives(sink, "ends", 10), last.read_log)
    stopped_at = program.ask()["sent"]
    wait_until(lambda: program.ask()["sent"] > stopped_at + 100)
    sent, stderr = program.end()
    sink.look()
    *told, last_line = stderr.splitlines()
    spans = sent - len(sink.spans["ends"])
    # What was said before, that the collector cannot be reached, are records too.
    log_records = sent + len(told) - len(sink.log_records["ends"]) - len(sink.said["ends"])
    assert min(spans, log_records) > 100
    assert last_line == (
        "otelml: not delivered when the program ended: "
        f"{spans} spans (otlp), {log_records} log records (otlp), metrics (otlp)"
    )


def test_an_agent_that_is_killed_keeps_what_it_took(
    tmp_path: Path, last: LayeredCollector, sink: Sink, work: Any
) -> None:
    """Its gateway is down meanwhile. Nothing is lost; a batch that was in flight at the kill may arrive twice."""
    folder = tmp_path / "agent"
    folder.mkdir()
    environ = {
        "GATEWAY_OTLP_URL": last.url,
        "OTELCOL_STORAGE_DIR": str(folder / "storage"),
        "OTELCOL_LOG_LEVEL": "error",
    }
    agent = LayeredCollector(folder, "base", "redaction", "health", "agent", environ=environ)
    with agent:
        with last:
            program = work("kept", 100, port=agent.http_port)
            wait_until(arrives(sink, "kept", 10), agent.read_log)
        time.sleep(OUTAGE_S / 2)
        agent.stop(signal.SIGKILL)
        killed_at = program.ask()["sent"]
        wait_until(lambda: program.ask()["sent"] > killed_at + 100)
        agent.start()
        time.sleep(OUTAGE_S / 2)
        reached = sink.look().spans["kept"]
        assert max(reached) < killed_at, "the gateway was never down"
        with last:
            end = program.ask("stop")
            sent, _ = program.end()
            wait_until(lambda: len(sink.look().spans["kept"]) == sent, agent.read_log)
            wait_until(lambda: len(sink.look().log_records["kept"]) == sent, agent.read_log)
            wait_until(lambda: sink.look().last_values("kept", "work.done") == {"": sent}, agent.read_log)
    for items in ("spans", "log_records"):
        received = getattr(sink, items)["kept"]
        say(f"through a killed agent, {items}", sent, received)
        assert set(received) == set(range(sent))
        assert sum(received.values()) - len(received) <= BATCH_SIZE
    assert end["dropped"] == {}
