"""One program's metrics, by its own endpoint and by each of the collector's three ways into a real Prometheus.

Names, labels and values are the same; `job` and `instance` come on top.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from otlpkit import Start
from prometheus_client.parser import text_string_to_metric_families
from serverkit import PATIENCE_S, Prometheus, free_ports, plain_environ, wait_until

PROGRAM = """
import os, random, urllib.request
import otelml
otelml.configure(service_name="train")
random.seed(7)
with otelml.run("digits") as run:
    for epoch in run.epochs(2):
        for step in epoch.steps(range(20)):
            with otelml.inference("encoder", batch_size=32) as inference:
                inference.confidence([random.random() for _ in range(32)])
            run.update({"loss": 1 / (1 + step)})
    otelml.counter("ml.example.rows", unit="{row}").bind(kind='café, "x"').add(3)
    otelml.gauge("ml.example.big").bind().set(1e300)
    otelml.force_flush()
    url = f"http://127.0.0.1:{os.environ['OTEL_EXPORTER_PROMETHEUS_PORT']}/metrics"
    print(urllib.request.urlopen(url).read().decode())
os._exit(0)  # what is exported at exit would be newer
"""
ROUTES = {
    "prometheus": ("base", "redaction", "prometheus"),
    "prometheus-otlp": ("base", "redaction", "prometheus-otlp"),
    "remote-write": ("base", "redaction", "remote-write"),
}
FOREIGN = ("job", "instance", "__name__")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def run_program(folder: Path, url: str) -> Samples:
    """Run it against the collector at `url`; what its own endpoint had at the end, but for what goes on changing."""
    environ = plain_environ(
        OTEL_METRICS_EXPORTER="otlp,prometheus",
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{url}/v1/metrics",
        OTEL_EXPORTER_PROMETHEUS_PORT=str(free_ports(1)[0]),
        OTEL_TRACES_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        RANK="3",
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=folder, env=environ, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    families = text_string_to_metric_families(done.stdout)
    return {
        key(sample.name, sample.labels): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("ml_")
    }


def key(name: str, labels: Mapping[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    """What identifies a series, without what is different on purpose; bounds as numbers."""
    own = {name: value for name, value in labels.items() if name not in FOREIGN}
    if "le" in own:
        own["le"] = repr(float(own["le"]))
    return name, frozenset(own.items())


def ask(prometheus: Prometheus) -> Samples:
    """What Prometheus has now."""
    found: list[dict[str, Any]] = prometheus.query('{__name__=~"ml_.+"}')
    return {key(each["metric"]["__name__"], each["metric"]): float(each["value"][1]) for each in found}


@pytest.fixture
def prometheus(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Prometheus]:
    """One that takes all three ways, and scrapes what the test puts into its list of targets."""
    scrape = {
        "job_name": "collector",
        "honor_labels": True,
        "scrape_interval": "1s",
        "file_sd_configs": [{"files": [str(tmp_path / "targets.json")], "refresh_interval": "1s"}],
    }
    options = ("--web.enable-otlp-receiver", "--web.enable-remote-write-receiver")
    with Prometheus(tmp_path, {"scrape_configs": [scrape]}, *options) as server:
        yield server


@pytest.mark.parametrize("route", ROUTES)
def test_prometheus_has_what_the_program_has(
    start: Start, prometheus: Prometheus, tmp_path: Path, route: str
) -> None:
    """Every series of the program's own endpoint, and no other, with its value and the promoted labels."""
    collector = start(
        *ROUTES[route],
        PROMETHEUS_OTLP_URL=f"{prometheus.url}/api/v1/otlp",
        PROMETHEUS_REMOTE_WRITE_URL=f"{prometheus.url}/api/v1/write",
    )
    (tmp_path / "targets.json").write_text(f'[{{"targets": ["127.0.0.1:{collector.prometheus_port}"]}}]')
    expected = run_program(tmp_path, collector.url)
    wait_until(
        lambda: ask(prometheus).keys() >= expected.keys(), lambda: difference(expected, ask(prometheus))
    )
    assert ask(prometheus) == expected
    assert {"service_name": "train", "ml_distributed_rank": "3"}.items() <= dict(
        next(iter(expected))[1]
    ).items()
    (target,) = prometheus.query("target_info")
    assert target["metric"]["telemetry_distro_name"] == "otelml"
    assert {each["metric"]["instance"] for each in prometheus.query("ml_example_big")} == {
        target["metric"]["instance"]
    }
    assert collector.complaints() == []


def difference(expected: Samples, found: Samples) -> str:
    """Some of what is missing, and of what is too much."""
    return f"missing {list(expected.keys() - found.keys())[:3]}, unexpected {list(found.keys() - expected.keys())[:3]}"
