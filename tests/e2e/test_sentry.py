"""A real Bugsink makes exactly the expected issues of a program's errors, with its tags, traces and breadcrumbs.

And Sentry's OTLP path, which only Sentry itself has: a server that decodes what is sent there.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from capture import Capture
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
from sentrykit import Bugsink, SentryCapture
from serverkit import plain_environ

INSTRUMENT = [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable]

PROGRAM = """
import logging, sys, threading
import otelml

logging.basicConfig(level="INFO")
log = logging.getLogger("train")


def load(number):
    with otelml.stage("load", log=True, number=number):
        raise OSError(f"no file {number}: token=hunter2")


def talk():
    raise RuntimeError("nobody listens")


log.info("connect to %s", "postgres://me:hunter2@db", extra={"api_key": "hunter2", "attempt": 1})
for number in range(3):
    try:
        load(number)
    except OSError as error:
        log.warning("skipped")
        if number == 2:
            log.exception("given up")
for name in ("resnet", "vit"):
    log.error("no model %s", name)
thread = threading.Thread(target=talk)
thread.start()
thread.join()
try:
    with otelml.stage("interrupted"):
        raise KeyboardInterrupt
except KeyboardInterrupt:
    pass
with otelml.run("behaviour", progress=False):
    with otelml.inference("encoder", version=3), otelml.stage("encode", items=32):
        raise ValueError("bad batch")
"""


def run(
    folder: Path, way: list[str], code: str = PROGRAM, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder of its own, to its end."""
    (folder / "train.py").write_text(textwrap.dedent(code))
    base = plain_environ(OTEL_EXPORTER_PROMETHEUS_PORT="0", OTELML_RUN_ID="run-1", RANK="1", WORLD_SIZE="2")
    # On a busy machine too, everything is to arrive.
    base["OTELML_EXIT_TIMEOUT"] = "60"
    return subprocess.run(
        [*way, "train.py"], cwd=folder, env=base | environ, capture_output=True, text=True, check=False
    )


def spans_in(folder: Path) -> dict[tuple[str, str], str]:
    """The names of the spans in the embedded files, by their ids."""
    found = {}
    for path in folder.glob("telemetry/*/*/traces*.jsonl"):
        for line in path.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                for scope in resource["scopeSpans"]:
                    for span in scope["spans"]:
                        found[span["traceId"], span["spanId"]] = span["name"]
    return found


def ids_of(event: dict[str, Any]) -> tuple[str, str]:
    """Trace and span of an error event."""
    trace = event["contexts"]["trace"]
    return trace["trace_id"], trace["span_id"]


def by_title(bugsink: Bugsink) -> dict[str, list[dict[str, Any]]]:
    """The events of each issue, by the issue's title, which is that of its last event."""
    return {
        f"{issue['calculated_type']}: {issue['calculated_value']}": issue["events"]
        for issue in bugsink.issues()
    }


@pytest.fixture
def bugsink(tmp_path: Path) -> Iterator[Bugsink]:
    """One that runs, with nothing in it."""
    folder = tmp_path / "bugsink"
    folder.mkdir()
    with Bugsink(folder) as server:
        yield server


EXPECTED = {
    "OSError: no file 2: token=***": 3,
    "Log Message: no model vit": 2,
    "RuntimeError: nobody listens": 1,
    "ValueError: bad batch": 1,
}


def test_errors_become_issues_once(bugsink: Bugsink, tmp_path: Path) -> None:
    """Exactly these, from either way in; a second run adds events to the same issues."""
    dsn = bugsink.create_project("train")
    environ = {"SENTRY_ENVIRONMENT": "test", "SENTRY_RELEASE": "1.2.0", "SENTRY_TRACES_SAMPLE_RATE": "0"}
    done = run(tmp_path, INSTRUMENT, SENTRY_DSN=dsn, **environ)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ValueError: bad batch")
    issues = by_title(bugsink)
    assert {title: len(events) for title, events in issues.items()} == EXPECTED
    check_events(issues, spans_in(tmp_path))

    code = f"import otelml\notelml.configure(sentry_dsn={dsn!r}, sentry_traces_sample_rate=0)\n{PROGRAM}"
    assert run(tmp_path, [sys.executable], code).returncode == 1
    again = {title: len(events) for title, events in by_title(bugsink).items()}
    assert again == {title: 2 * count for title, count in EXPECTED.items()}


def check_events(issues: dict[str, list[dict[str, Any]]], spans: dict[tuple[str, str], str]) -> None:
    """What each says of where it happened, as Bugsink has stored it."""
    loads, messages, threads, [failed] = (issues[title] for title in EXPECTED)
    everywhere = {"service": "train", "rank": "1", "run": "run-1"}
    assert failed["tags"] == everywhere | {"experiment": "behaviour", "model": "encoder", "stage": "encode"}
    assert [event["tags"] for event in loads] == [everywhere | {"stage": "load"}] * 3
    assert [event["tags"] for event in (*messages, *threads)] == [everywhere] * 3
    assert [spans[ids_of(event)] for event in (*loads, failed)] == ["load"] * 3 + ["encode"]
    assert len({ids_of(event) for event in loads}) == 3
    assert not any("trace" in event["contexts"] for event in (*messages, *threads))
    assert (failed["environment"], failed["release"]) == ("test", "1.2.0")
    assert [event["extra"]["number"] for event in loads] == [0, 1, 2]
    crumbs = failed["breadcrumbs"]["values"]
    assert [(crumb["level"], crumb["category"], crumb["message"]) for crumb in crumbs] == [
        ("info", "train", "connect to postgres://***@db"),
        *[
            ("info", "ml.stage_start", "Starting load"),
            ("error", "ml.stage_error", "Failed load"),
            ("warning", "train", "skipped"),
        ]
        * 3,
        ("error", "train", "given up"),
        ("error", "train", "no model resnet"),
        ("error", "train", "no model vit"),
        ("info", "ml.run_start", "run run-1 of behaviour starts"),
    ]
    assert crumbs[0]["data"] == {"api_key": "***", "attempt": 1}
    assert "hunter2" not in json.dumps(issues)


TRACES = """
import otelml

for number in range(200):
    with otelml.stage("outer"):
        with otelml.stage("inner", number=number):
            pass
"""


def test_a_share_of_the_traces_goes_to_sentry(tmp_path: Path) -> None:
    """Whole traces, those that OpenTelemetry's ratio sampler would take, with the project's key; the files have all."""
    with SentryCapture() as sentry:
        run(
            tmp_path, INSTRUMENT, TRACES,
            SENTRY_DSN=sentry.dsn, SENTRY_TRACES_SAMPLE_RATE="0.25", OTELML_SPAN_BUDGET="all",
        ).check_returncode()  # fmt: skip
    recorded = spans_in(tmp_path)
    assert len(recorded) == 400
    sampler = TraceIdRatioBased(0.25)
    taken = {
        (trace_id, span_id)
        for trace_id, span_id in recorded
        if sampler.should_sample(None, int(trace_id, 16), "").decision.is_sampled()
    }
    assert 0 < len(taken) < 400
    assert {(span.trace_id.hex(), span.span_id.hex()) for span in sentry.spans()} == taken
    assert len(sentry.spans()) == len(taken)
    assert {received.signal for received in sentry.received} == {"traces"}
    assert {received.path for received in sentry.received} == {"/api/1/integration/otlp/v1/traces"}
    for received in sentry.received:
        assert received.headers["x-sentry-auth"] == "sentry sentry_key=public-key"
    assert {resource["service.name"] for resource in sentry.resources("traces")} == {"train"}


def test_a_tenth_without_a_word(tmp_path: Path) -> None:
    """The default, of a thousand traces within what chance allows (four standard deviations)."""
    code = TRACES.replace("200", "1000")
    with SentryCapture() as sentry:
        run(tmp_path, INSTRUMENT, code, SENTRY_DSN=sentry.dsn, OTELML_SPAN_BUDGET="all").check_returncode()
    traces = {span.trace_id for span in sentry.spans()}
    assert len(sentry.spans()) == 2 * len(traces)
    assert abs(len(traces) - 100) < 4 * (1000 * 0.1 * 0.9) ** 0.5


def test_with_a_collector_for_traces_all_go_there(tmp_path: Path) -> None:
    """Errors to Sentry, traces to the collector, with the same ids."""
    with SentryCapture() as sentry, Capture() as collector:
        done = run(
            tmp_path, INSTRUMENT,
            SENTRY_DSN=sentry.dsn, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )  # fmt: skip
    assert done.returncode == 1
    assert {received.signal for received in sentry.received} == {"errors"}
    spans = {(span.trace_id.hex(), span.span_id.hex()): span.name for span in collector.spans()}
    failed = sentry.events[-1]
    assert failed["exception"]["values"][0]["value"] == "bad batch"
    assert spans[ids_of(failed)] == "encode"
    assert spans_in(tmp_path) == {}


def test_what_is_said_of_the_collector_is_not_for_sentry(tmp_path: Path) -> None:
    """Headers, which may hold keys, go to the collector alone, here one for metrics."""
    with SentryCapture() as sentry, Capture() as collector:
        run(
            tmp_path, INSTRUMENT, TRACES,
            SENTRY_DSN=sentry.dsn, SENTRY_TRACES_SAMPLE_RATE="1",
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{collector.url}/v1/metrics",
            OTEL_EXPORTER_OTLP_HEADERS="authorization=hunter2", OTEL_EXPORTER_OTLP_COMPRESSION="none",
        ).check_returncode()  # fmt: skip
    assert {received.headers.get("authorization") for received in collector.received} == {"hunter2"}
    assert {received.headers.get("authorization") for received in sentry.of("traces")} == {None}
    assert {received.headers.get("content-encoding") for received in sentry.of("traces")} == {"gzip"}
