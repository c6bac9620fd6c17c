"""Each signal on each route: what one program says of itself in its files is what every server has of it.

The program is `opentelemetry-instrument python examples/behaviour_pipeline.py`, held open at its end. It sends OTLP to
a real collector with the layers of collector-config, which hands on to three Prometheus, one by each way in, to Jaeger,
and to stand-ins for Loki and Sentry that decode what they are sent. A fourth Prometheus scrapes the program itself.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from capture import Capture, attributes_of
from serverkit import (
    PATIENCE_S,
    ROOT,
    Collector,
    Jaeger,
    Prometheus,
    fetch,
    free_ports,
    plain_environ,
    wait_until,
)

from otelml.semconv.model import Metric
from otelml.semconv.prometheus import PROMOTED_RESOURCE_ATTRIBUTES, label_name, prometheus_name

LAYERS = ("base", "redaction", "prometheus", "prometheus-otlp", "remote-write", "grafana", "sentry")
SERVICE = "pipeline"
SAID_AT_THE_END = """
otelml.counter("example.rows", unit="{row}").bind(kind='café, "x"').add(3)
otelml.gauge("example.large").bind().set(1e300)
import logging; logging.getLogger("serving").error("no model %s", "v2")
"""
MOVING = re.compile(r"(hw|ml_gpu|system|process|otelml|target|otel_sdk)_")
"""How names begin whose values go on changing while nothing is done."""
RUN_GAUGE = re.compile(r"ml_training_(loss|learning_rate|epoch|progress|metric|gradient)")
"""Gauges that end with their run: what was sent on shows the last value for five minutes more."""

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Arrived:
    """Every server, and what the program wrote into its own files."""

    folder: Path
    direct: Series
    scraped: Prometheus
    pushed: Prometheus
    written: Prometheus
    jaeger: Jaeger
    loki: Capture
    sentry: Capture

    def lines(self, signal: str) -> list[dict[str, Any]]:
        """The lines of a signal's file."""
        (path,) = self.folder.glob(f"telemetry/{SERVICE}/*/{signal}.jsonl")
        return [json.loads(line) for line in path.read_text().splitlines()]

    def series(self, route: str) -> Series:
        """What Prometheus has by a route."""
        return self.direct if route == "direct" else series(getattr(self, route))

    def spans(self) -> list[dict[str, Any]]:
        """The spans in the file."""
        return [
            span
            for line in self.lines("traces")
            for resource in line["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]


@pytest.fixture(scope="module")
def arrived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arrived]:
    """Everything started, the program run to its end, and what it sent waited for."""
    folder = tmp_path_factory.mktemp("matrix")
    otlp, health, metrics, endpoint, grpc = free_ports(5)
    with ExitStack() as stack:

        def prometheus(name: str, target: int | None, *options: str) -> Prometheus:
            (folder / name).mkdir()
            targets = [] if target is None else [f"127.0.0.1:{target}"]
            job = {"job_name": "otelml", "honor_labels": True, "static_configs": [{"targets": targets}]}
            config = {"global": {"scrape_interval": "500ms"}, "scrape_configs": [job]}
            return stack.enter_context(Prometheus(folder / name, config, *options))

        jaeger = stack.enter_context(Jaeger(folder))
        loki, sentry = stack.enter_context(Capture()), stack.enter_context(Capture())
        pushed = prometheus("pushed", None, "--web.enable-otlp-receiver")
        written = prometheus("written", None, "--web.enable-remote-write-receiver")
        collector = Collector(
            folder,
            *(ROOT / "collector-config" / f"{layer}.yaml" for layer in LAYERS),
            ports=[otlp],
            environ={
                "OTELCOL_HTTP_PORT": str(otlp),
                "OTELCOL_GRPC_PORT": str(grpc),
                "OTELCOL_METRICS_PORT": str(health),
                "OTELCOL_PROMETHEUS_PORT": str(metrics),
                "PROMETHEUS_OTLP_URL": f"{pushed.url}/api/v1/otlp",
                "PROMETHEUS_REMOTE_WRITE_URL": f"{written.url}/api/v1/write",
                "TEMPO_OTLP_ENDPOINT": jaeger.grpc_endpoint,
                "LOKI_OTLP_URL": f"{loki.url}/otlp",
                "SENTRY_OTLP_URL": f"{sentry.url}/api/1/integration/otlp",
                "SENTRY_PUBLIC_KEY": "key1",
            },
        )
        stack.enter_context(collector)
        direct, scraped = prometheus("direct", endpoint), prometheus("scraped", metrics)
        at_the_end = run_pipeline(folder, otlp, endpoint, direct)
        yield Arrived(folder, at_the_end, scraped, pushed, written, jaeger, loki, sentry)


def run_pipeline(folder: Path, otlp: int, endpoint: int, direct: Prometheus) -> Series:
    """The example with everything on, kept open (`-i`) until it is at rest; what the direct Prometheus has then."""
    both = {f"OTEL_{signal}_EXPORTER": "otlp,otelml_files" for signal in ("TRACES", "LOGS")}
    environ = plain_environ(
        OTEL_SERVICE_NAME=SERVICE,
        OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{otlp}",
        OTEL_METRICS_EXPORTER="otlp,otelml_files,prometheus",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(endpoint),
        OTEL_METRIC_EXPORT_INTERVAL="1000",
        OTELML_NVML_REPLAY="h200",
        RANK="3",
        **both,
    )
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    command = [instrument, sys.executable, "-i", ROOT / "examples" / "behaviour_pipeline.py"]
    with (folder / "program.log").open("wb") as log:
        program = subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        assert program.stdin is not None
        program.stdin.write(SAID_AT_THE_END.encode())
        program.stdin.flush()
        wait_until(lambda: said_so(folder) and at_rest(direct, endpoint), (folder / "program.log").read_text)
        at_the_end = series(direct)
        program.stdin.close()
        assert program.wait(PATIENCE_S) == 0, (folder / "program.log").read_text()
    finally:
        program.kill()
    return at_the_end


def said_so(folder: Path) -> bool:
    """Whether the last record is in the program's log file."""
    return any("no model v2" in path.read_text() for path in folder.glob("telemetry/*/*/logs.jsonl"))


def at_rest(direct: Prometheus, endpoint: int) -> bool:
    """Whether the Prometheus that scrapes the program has what its page shows."""
    page = fetch(f"http://127.0.0.1:{endpoint}/metrics")
    shown = re.findall(r"^ml_stage_items_total\{.*\} (\S+)$", page, re.MULTILINE)
    return bool(shown) and direct.value("sum(ml_stage_items_total)") == sum(map(float, shown))


def series(prometheus: Prometheus) -> Series:
    """Everything that a Prometheus has now, without the labels that a scrape adds."""
    found = {}
    for row in prometheus.query('{__name__=~".+",__name__!~"up|scrape_.*"}'):
        labels = {k: v for k, v in row["metric"].items() if k not in ("__name__", "job", "instance")}
        if "le" in labels:
            labels["le"] = str(float(labels["le"]))
        found[row["metric"]["__name__"], frozenset(labels.items())] = float(row["value"][1])
    return found


def exported(arrived: Arrived) -> Series:
    """The last export in the program's own file, as the series that a Prometheus has to have of it."""
    found: Series = {}
    for resource in arrived.lines("metrics")[-1]["resourceMetrics"]:
        about = read_attributes(resource["resource"])
        promoted = {label_name(key): about[key] for key in PROMOTED_RESOURCE_ATTRIBUTES}
        for scope in resource["scopeMetrics"]:
            for metric in scope["metrics"]:
                found.update(expand(metric, promoted))
    return found


def expand(metric: dict[str, Any], promoted: dict[str, str]) -> Series:
    """The series of one metric."""
    kind = next(kind for kind in ("sum", "gauge", "histogram") if kind in metric)
    of_sum = "counter" if metric[kind].get("isMonotonic") else "updowncounter"
    instrument = of_sum if kind == "sum" else kind
    name = prometheus_name(Metric(metric["name"], instrument, metric.get("unit", ""), ""))
    found = {}
    for point in metric[kind]["dataPoints"]:
        labels = {**promoted, **{label_name(k): v for k, v in read_attributes(point).items()}}
        if "bucketCounts" not in point:
            found[name, frozenset(labels.items())] = float(point.get("asInt", point.get("asDouble")))
            continue
        found[f"{name}_sum", frozenset(labels.items())] = float(point["sum"])
        found[f"{name}_count", frozenset(labels.items())] = float(point["count"])
        below = 0
        for bound, count in zip([*point["explicitBounds"], math.inf], point["bucketCounts"], strict=True):
            below += int(count)
            found[f"{name}_bucket", frozenset({**labels, "le": str(float(bound))}.items())] = float(below)
    return found


def read_attributes(holder: dict[str, Any]) -> dict[str, str]:
    """The attributes of an OTLP/JSON point or resource, as labels."""
    return {a["key"]: str(next(iter(a["value"].values()))) for a in holder.get("attributes", ())}


def still(found: Series) -> Series:
    """Those whose values do not move by themselves."""
    return {key: value for key, value in found.items() if not MOVING.match(key[0])}


@pytest.mark.parametrize("route", ["direct", "scraped", "pushed", "written"])
def test_metrics(arrived: Arrived, route: str) -> None:
    """Names, labels, buckets and values in Prometheus are those of the program's last export, by every route."""
    expected = still(exported(arrived))
    assert len(expected) > 500
    found = wait_until(
        lambda: covers(arrived.series(route), expected), lambda: difference(arrived.series(route), expected)
    )
    beyond = {name for name, _ in set(still(found)) - set(expected)}
    assert {name for name in beyond if not RUN_GAUGE.match(name)} == set()


def covers(found: Series, expected: Series) -> Series | None:
    """`found`, where it has all that is expected."""
    return None if difference(found, expected) else found


def difference(found: Series, expected: Series) -> list[Any]:
    """What is expected and is not there, or has another value."""
    return [
        (key, value, found.get(key))
        for key, value in expected.items()
        if key not in found or not math.isclose(found[key], value, rel_tol=1e-12)
    ]


@pytest.mark.parametrize("route", ["direct", "scraped", "pushed", "written"])
def test_moving_metrics(arrived: Arrived, route: str) -> None:
    """GPUs, the machine, the process and the library itself are there by every route, under the same labels."""
    moving = {key for key in exported(arrived) if MOVING.match(key[0])}
    assert {name.partition("_")[0] for name, _ in moving} >= {"hw", "ml", "system", "process"}
    assert moving <= set(arrived.series(route))


def test_traces_in_jaeger(arrived: Arrived) -> None:
    """Jaeger has exactly the spans of the file, below the same parents."""
    expected = {(s["traceId"], s["spanId"], s.get("parentSpanId", ""), s["name"]) for s in arrived.spans()}
    assert len(expected) > 100
    found = wait_until(lambda: seen if len(seen := in_jaeger(arrived)) >= len(expected) else None)
    assert found == expected


def in_jaeger(arrived: Arrived) -> set[tuple[str, str, str, str]]:
    """Trace, span, parent and name of each."""
    return {
        (span["traceID"], span["spanID"], parent_of(span), span["operationName"])
        for span in arrived.jaeger.spans(SERVICE)
    }


def parent_of(span: dict[str, Any]) -> str:
    """The id of the span above; empty at the top."""
    return next((r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"), "")


def test_logs_in_loki(arrived: Arrived) -> None:
    """Loki's OTLP path is sent exactly the records of the file, with their level, event and trace."""
    expected = Counter(
        (line["message"], line["level"], line.get("event"), line.get("trace_id", ""))
        for line in arrived.lines("logs")
    )
    found = wait_until(lambda: seen if (seen := in_loki(arrived)).total() >= expected.total() else None)
    assert found == expected
    assert {received.path for received in arrived.loki.received} == {"/otlp/v1/logs"}
    assert {r["service.name"] for r in arrived.loki.resources("logs")} == {SERVICE}
    # As an attribute, since Loki drops the name itself.
    assert {(r.event_name, attributes_of(r).get("event", "")) for r in arrived.loki.log_records()} > {
        ("ml.run_end",) * 2
    }


def in_loki(arrived: Arrived) -> Counter[Any]:
    """Message, level, event and trace of each, in the words of the flat file."""
    return Counter(
        (
            record.body.string_value,
            record.severity_text.replace("WARN", "WARNING"),
            attributes_of(record).get("event", "").removeprefix("ml.") or None,
            record.trace_id.hex(),
        )
        for record in arrived.loki.log_records()
    )


def test_errors_in_sentry(arrived: Arrived) -> None:
    """Sentry's OTLP path is sent the spans and records of errors, with its header, and no others."""
    failed = {(s["traceId"], s["spanId"]) for s in arrived.spans() if s.get("status", {}).get("code") == 2}
    assert failed, "the example has an error that it handles"
    found = wait_until(
        lambda: (
            seen
            if len(seen := {(s.trace_id.hex(), s.span_id.hex()) for s in arrived.sentry.spans()})
            >= len(failed)
            else None
        )
    )
    assert found == failed
    records = wait_until(arrived.sentry.log_records)
    assert [(r.body.string_value, r.severity_text) for r in records] == [("no model v2", "ERROR")]
    assert {(r.path, r.headers["x-sentry-auth"]) for r in arrived.sentry.received} == {
        (f"/api/1/integration/otlp/v1/{signal}", "sentry sentry_key=key1") for signal in ("traces", "logs")
    }
    assert attributes_of(records[0])
