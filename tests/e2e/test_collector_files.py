"""What programs wrote into files arrives as if they had sent it: by an agent, or by `otelml collector replay`.

An agent loses and repeats nothing when files rotate, when it restarts, and while nobody takes what it has.
"""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from capture import Capture, attributes_of, value_of
from otlpkit import LayeredCollector, Start, a_record, a_span, send
from prometheus_client.parser import text_string_to_metric_families
from serverkit import PATIENCE_S, fetch, plain_environ, wait_until

from otelml.semconv import _generated as semconv

AGENT = ("base", "redaction", "health", "agent")
WHOSE = {"job", "instance", "service_name", "host_name", "ml_distributed_rank"}
SYNCHRONOUS = "--feature-gates=stanza.synchronousLogEmitter"

PROGRAM = """
import logging, otelml
otelml.configure(service_name="train")
logger = logging.getLogger("train.loop")
logging.basicConfig(level=1)
with otelml.run("digits", params={"lr": 3e-4, "seed": 2**60}), otelml.stage("encode", log=True):
    logger.debug("debug")
    logger.info("info %s", "wörld\\nsecond line", extra={"n": 1, "whole": 1.0, "share": 0.5, "ok": True,
        "classes": ["cat", "dog"], "options": {"lr": 0.1, "model": {"depth": 2}}, "loss": float("nan"), "step": "up"})
    logger.warning("warning")
    logger.error("error")
    logger.critical("critical")
    logger.info("Encoded", extra={"event": "fsq_encoding", "batch_size": 3200})
    logger.info("Own", extra={"event": "own_event"})
    try:
        1 / 0
    except ZeroDivisionError:
        logger.exception("failed")
"""


def start_agent(start: Start, folder: Path, gateway: str, *options: str) -> LayeredCollector:
    """An agent for the files below `folder`."""
    agent = start(
        *AGENT,
        GATEWAY_OTLP_URL=gateway,
        OTELML_DIR=str(folder / "telemetry"),
        OTELCOL_STORAGE_DIR=str(folder / "storage"),
    )
    agent.command += options
    return agent


def describe(capture: Capture) -> list[dict[str, Any]]:
    """The log records that came, in the order of their time, with all that can be compared."""
    found = [
        {
            "time": record.time_unix_nano,
            "logger": scope.scope.name,
            "body": value_of(record.body),
            "severity": (record.severity_number, record.severity_text),
            "event": record.event_name,
            "ids": (record.trace_id.hex(), record.span_id.hex()),
            "attributes": attributes_of(record),
            "resource": attributes_of(resource.resource),
        }
        for request in capture.received
        for resource in getattr(request.message, "resource_logs", ())
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    return sorted(found, key=lambda each: each["time"])


def as_flat_files_have_it(record: dict[str, Any]) -> dict[str, Any]:
    """A record as OTLP brings it, less what the flat form leaves out, and with the names that it keeps."""
    attributes, resource = dict(record["attributes"]), record["resource"]
    attributes["module"] = Path(attributes.pop("code.file.path")).stem
    run_id = attributes.pop(semconv.ML_RUN_ID)
    if experiment := attributes.pop(semconv.ML_RUN_EXPERIMENT, None):
        attributes.setdefault("experiment", experiment)
    for name, value in attributes.items():
        if isinstance(value, float) and math.isnan(value):
            attributes[name] = "NaN"
    kept = {
        "service.name": resource["service.name"],
        semconv.ML_RUN_ID: run_id,
        semconv.ML_DISTRIBUTED_RANK: 3,
    }
    return record | {"attributes": attributes, "resource": kept}


def run_program(folder: Path, text: str, **environ: str) -> None:
    """Run a program in `folder`, where its files go too."""
    (folder / "program.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=folder, env=plain_environ(**environ), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def run_replay(folder: Path, url: str) -> str:
    """Send the files of `folder` to the collector at `url`; what the command said."""
    done = subprocess.run(
        [sys.executable, "-m", "otelml", "collector", "replay", "--to", url],
        cwd=folder, env=plain_environ(), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.mark.parametrize("way", ["agent", "replay"])
def test_records_from_files_are_those_of_otlp(start: Start, tmp_path: Path, way: str) -> None:
    """One program writes each record to both: time, severity, body, logger, ids, event and attributes are the same."""
    with Capture() as direct, Capture() as capture:
        if way == "agent":
            collector = start_agent(start, tmp_path, capture.url)
        else:
            collector = start("base", "redaction", capture=capture)
        run_program(
            tmp_path,
            PROGRAM,
            OTEL_LOGS_EXPORTER="otlp,otelml_files",
            OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{direct.url}/v1/logs",
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
            OTELML_LOG_LEVEL="DEBUG",
            OTELML_RUN_ID="run-7",
            RANK="3",
        )
        expected = [as_flat_files_have_it(record) for record in describe(direct)]
        if way == "replay":
            assert run_replay(tmp_path, collector.url).startswith(
                f"sent {len(expected)} log records of 1 files"
            )
        wait_until(lambda: len(capture.log_records()) >= len(expected), collector.read_log)
        assert describe(capture) == expected
        assert {"ml.fsq_encoding", "own_event", "ml.stage_complete", ""} <= {
            each["event"] for each in expected
        }
        assert {each["severity"][0] for each in expected} == {5, 9, 13, 17, 21}
        assert collector.complaints() == []


RECORDED = """
import random, otelml
otelml.configure(service_name="train", file_max_bytes=20_000, file_keep=100, span_budget="all")
random.seed(7)
with otelml.run("digits") as run:
    for epoch in run.epochs(3):
        for step in epoch.steps(range(20)):
            with otelml.stage("encode", items=32), otelml.inference("encoder", batch_size=32) as inference:
                inference.confidence([random.random() for _ in range(32)])
            run.update({"loss": 1 / (1 + step)})
        otelml.force_flush()
    try:
        with otelml.stage("quantize"):
            raise ValueError("no codes")
    except ValueError:
        pass
    otelml.counter("ml.example.rows", unit="{row}").bind(kind="café").add(3)
    otelml.gauge("ml.example.big").bind().set(1e300)
    otelml.force_flush()
    otelml.export_prometheus("end.prom")  # when the run is over its gauges are gone; from the collector later
"""


def test_replayed_traces_and_metrics_are_those_of_the_program(
    start: Start, capture: Capture, tmp_path: Path
) -> None:
    """Every span of the files, rotated ones too, and at the end every number that the program itself had."""
    collector = start("base", "redaction", "prometheus", capture=capture)
    run_program(tmp_path, RECORDED, RANK="3", OTELML_RUN_ID="run-7")
    assert len(list(tmp_path.glob("telemetry/**/traces*.jsonl"))) > 2
    assert len(list(tmp_path.glob("telemetry/**/metrics*.jsonl"))) > 2
    said = run_replay(tmp_path, collector.url)
    recorded = read_recorded_spans(tmp_path)
    assert re.search(rf"^sent .*\b{len(recorded)} spans", said), said
    wait_until(lambda: len(capture.spans()) == len(recorded), collector.read_log)
    sent = [
        (span.trace_id.hex(), span.span_id.hex(), span.name, span.status.code) for span in capture.spans()
    ]
    assert sorted(sent) == sorted(recorded)
    assert {code for *_, code in recorded} == {0, 2}
    assert read_samples(fetch(collector.prometheus_url)) == read_samples((tmp_path / "end.prom").read_text())


def read_recorded_spans(folder: Path) -> list[tuple[str, str, str, int]]:
    """Trace id, span id, name and status of every span in the files, read off the JSON."""
    return [
        (span["traceId"], span["spanId"], span["name"], span.get("status", {}).get("code", 0))
        for file in folder.glob("telemetry/**/traces*.jsonl")
        for line in file.read_text().splitlines()
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def read_samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """What a Prometheus text says about the program's work, without the labels that say whose it is."""
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # To Prometheus an empty label is none.
            labels = {name: value for name, value in sample.labels.items() if value and name not in WHOSE}
            if "le" in labels:
                labels["le"] = repr(float(labels["le"]))
            if sample.name.startswith("ml_"):
                found[sample.name, frozenset(labels.items())] = sample.value
    return found


def test_a_replay_waits_for_the_collector(tmp_path: Path, capture: Capture) -> None:
    """Started before the collector listens, it tries again until it does."""
    write_log(tmp_path, "".join(flat_line(number) for number in range(1200)))
    collector = LayeredCollector(tmp_path, "base", capture=capture, environ={})
    replay = subprocess.Popen(
        [sys.executable, "-m", "otelml", "collector", "replay", "telemetry", "--to", collector.url],
        cwd=tmp_path, env=plain_environ(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    with collector:
        said, _ = replay.communicate(timeout=PATIENCE_S)
        assert (replay.returncode, said) == (0, f"sent 1200 log records of 1 files to {collector.url}\n")
        wait_until(lambda: len(capture.log_records()) == 1200, collector.read_log)


def test_what_the_collector_refuses_is_counted_and_named(
    start: Start, capture: Capture, tmp_path: Path
) -> None:
    """A request that is no OTLP and a line that is no JSON cost themselves, not the lines around them."""
    collector = start("base", capture=capture)
    span = {"traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1", "name": "encode"}
    wrong = span | {"traceId": "xyz"}
    lines = [
        json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [each]}]}]}) for each in (span, wrong, span)
    ]
    path = tmp_path / "traces.jsonl"
    path.write_text("\n".join([*lines[:2], '{"resourceSpans": [', lines[2]]))
    done = subprocess.run(
        [sys.executable, "-m", "otelml", "collector", "replay", path, "--to", collector.url],
        env=plain_environ(), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert done.returncode == 1
    assert said[:3] == [f"sent 2 spans of 1 files to {collector.url}", "refused: 1 spans", "broken: 1 lines"]
    assert said[3].startswith(f"  {path}:2: 1 spans refused: 400 ")
    assert said[4:] == [f"  {path}:3: no line of traces"]
    wait_until(lambda: len(capture.spans()) == 2, collector.read_log)


def test_every_event_of_the_registry_has_its_name_back(
    start: Start, capture: Capture, tmp_path: Path
) -> None:
    """Flat files leave out the prefix of their names; events that are not the registry's never had it."""
    names = [*semconv.EVENTS, "healthy", "run", "my_config"]
    lines = [flat_line(number, event=name) for number, name in enumerate(names)]
    write_log(tmp_path, "".join(lines))
    agent = start_agent(start, tmp_path, capture.url)
    wait_until(lambda: len(capture.log_records()) == len(names), agent.read_log)
    expected = {f"ml.{name}" if name in semconv.EVENTS else name for name in names}
    assert {record.event_name for record in capture.log_records()} == expected


def test_a_broken_line_is_a_record_of_its_own(start: Start, capture: Capture, tmp_path: Path) -> None:
    """What a killed program left behind is seen as it is, and the lines around it are read."""
    write_log(tmp_path, flat_line(1) + '{"timestamp": "2025-11\n' + flat_line(2))
    agent = start_agent(start, tmp_path, capture.url)
    wait_until(lambda: len(capture.log_records()) == 3, agent.read_log)
    bodies = Counter(value_of(record.body) for record in capture.log_records())
    assert bodies == {"said": 2, '{"timestamp": "2025-11': 1}


def flat_line(number: int, **more: Any) -> str:
    """A line of a flat log file."""
    return (
        json.dumps(
            {
                "timestamp": f"2025-11-07T12:34:56.{number:06d}Z",
                "level": "INFO",
                "logger": "x",
                "message": "said",
                **more,
            }
        )
        + "\n"
    )


def write_log(folder: Path, text: str) -> None:
    """Put `text` where a program would."""
    path = folder / "telemetry" / "train" / "run-7" / "logs.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text(text)


COUNTING = """
import logging, sys, otelml
otelml.configure(service_name="train", file_max_bytes=20_000, file_keep=1000)
number = 0
for _ in sys.stdin:
    for number in range(number, number + 600):
        logging.warning("said", extra={"number": number})
        if number % 20 == 0:
            otelml.force_flush()
    number += 1
"""
ROUNDS = 5


@pytest.mark.parametrize(
    ("how", "options"), [(signal.SIGTERM, ()), (signal.SIGKILL, (SYNCHRONOUS,))], ids=["stopped", "killed"]
)
def test_rotation_and_restarts_lose_and_repeat_nothing(
    start: Start, capture: Capture, tmp_path: Path, how: signal.Signals, options: tuple[str, ...]
) -> None:
    """While a program writes 3000 records into files that rotate, the agent is ended and started again and again.

    One that is killed may read the last lines twice, but with the documented option loses none.
    """
    count = ROUNDS * 600
    agent = start_agent(start, tmp_path, capture.url, *options)
    agent.stop()
    agent.start()  # with its options
    (tmp_path / "counting.py").write_text(COUNTING)
    program = subprocess.Popen(
        [sys.executable, "counting.py", str(count)],
        cwd=tmp_path, env=plain_environ(OTEL_METRICS_EXPORTER="none"),
        stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert program.stdin is not None
    for _ in range(ROUNDS):
        before = len(capture.log_records())
        program.stdin.write(b"go on\n")
        program.stdin.flush()
        wait_until(lambda before=before: len(capture.log_records()) > before, agent.read_log)
        agent.stop(how)
        agent.start()
    program.stdin.close()
    assert program.wait(PATIENCE_S) == 0
    wait_until(lambda: len(numbers(capture)) == count, lambda: missing(capture, count))
    agent.stop()
    repeated = sum(numbers(capture).values()) - count
    assert repeated == 0 or how == signal.SIGKILL
    assert len(list(tmp_path.glob("telemetry/**/logs*.jsonl"))) > 5


def numbers(capture: Capture) -> Counter[int]:
    """How often each record of the counting program came."""
    return Counter(attributes_of(record)["number"] for record in capture.log_records())


def missing(capture: Capture, count: int) -> list[int]:
    """The first of the records that did not come."""
    return sorted(set(range(count)) - numbers(capture).keys())[:10]


def test_what_the_gateway_does_not_take_survives_the_agent(
    start: Start, capture: Capture, tmp_path: Path
) -> None:
    """What the agent has taken is on its disk: killed while the gateway says 503, it delivers after its next start."""
    capture.status = 503
    agent = start_agent(start, tmp_path, capture.url)
    for trace in range(1, 21):
        send(agent.url, a_span("encode", trace=trace))
        send(agent.url, a_record("said", attributes={"number": trace}))
    agent.stop(signal.SIGKILL)
    capture.status = 200
    agent.start()
    wait_until(lambda: len({span.trace_id for span in capture.spans()}) == 20, agent.read_log)
    wait_until(lambda: len(numbers(capture)) == 20, agent.read_log)
