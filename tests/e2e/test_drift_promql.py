"""A real Prometheus computes the psi of a fleet with the rules that ship, and gets what `merge` gets."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rulekit import RULES
from serverkit import PATIENCE_S, Prometheus, wait_until

from otelml.drift import DriftReference, DriftWindow
from otelml.drift.scores import psi

SCRAPE_S = 0.25
RANGE = "5m"
"""Far longer than the test: so `increase` covers it all, and has nothing to extrapolate to at the range's start."""

REPLICA = """
import json, signal, sys, time
import numpy as np
from opentelemetry.sdk.metrics import MeterProvider
from otelml.drift import DriftMonitor, DriftReference
from otelml.export.prometheus import PrometheusEndpoint
from otelml.instruments import drain

path, shift, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
endpoint = PrometheusEndpoint(port=0)
drain.attach(MeterProvider([endpoint], shutdown_on_exit=False))
endpoint.start()
monitor = DriftMonitor(DriftReference.load(path), name="input", model="m1")
print(endpoint.url, flush=True)
random = np.random.default_rng(seed)
for line in sys.stdin:
    monitor.observe(random.normal(shift, 1, int(line)))
    print(json.dumps(monitor.total.vector.tolist()), flush=True)
"""


@dataclass
class Replica:
    """A process with a monitor and a Prometheus endpoint; it observes as many values as it is told."""

    process: subprocess.Popen[str]
    address: str
    vector: Any = None

    def observe(self, rows: int) -> None:
        """Have it observe, and keep what it has in all."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{rows}\n")
        self.process.stdin.flush()
        self.vector = np.array(json.loads(self.process.stdout.readline()))  # type: ignore[union-attr]


@pytest.fixture
def reference() -> DriftReference:
    """Ten bins of a normal distribution."""
    return DriftReference.fit(np.random.default_rng(0).normal(size=20_000), bins=10)


@pytest.fixture
def replicas(tmp_path: Path, reference: DriftReference) -> Iterator[list[Replica]]:
    """Two of them, with different data."""
    reference.save(tmp_path / "reference.json")
    started: list[Replica] = []
    try:
        for seed, shift in enumerate((0.4, 1.0)):
            command = [sys.executable, "-c", REPLICA, str(tmp_path / "reference.json"), str(shift), str(seed)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            started.append(Replica(process, ""))
            url = process.stdout.readline().strip()  # type: ignore[union-attr]
            started[-1].address = urllib.parse.urlsplit(url).netloc
        yield started
    finally:
        for replica in started:
            replica.process.kill()
            replica.process.communicate(timeout=PATIENCE_S)


def read_drift_rules() -> str:
    """The recording rules of a fleet's drift, over `RANGE`."""
    document = yaml.safe_load((RULES / "rules.yaml").read_text(encoding="utf-8"))
    rules = yaml.safe_dump({"groups": [group for group in document["groups"] if group["name"] == "ml_drift"]})
    changed = rules.replace("[1h]", f"[{RANGE}]")
    assert changed != rules
    return changed


Query = Callable[[str], list[dict[str, Any]]]


@pytest.fixture
def query(replicas: list[Replica], tmp_path: Path) -> Iterator[Query]:
    """Asks a Prometheus that scrapes both replicas and evaluates the rules."""
    config = {
        "global": {
            "scrape_interval": f"{SCRAPE_S * 1000:.0f}ms",
            "evaluation_interval": f"{SCRAPE_S * 1000:.0f}ms",
        },
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "replicas",
                "static_configs": [{"targets": [replica.address for replica in replicas]}],
            }
        ],
    }
    (tmp_path / "rules.yaml").write_text(read_drift_rules())
    with Prometheus(tmp_path, config) as prometheus:
        yield prometheus.query


def number(found: list[dict[str, Any]]) -> float:
    """The value of the one series."""
    assert [row["metric"]["ml_feature_name"] for row in found] == ["input"]
    return float(found[0]["value"][1])


def longest_interval_s(query: Query) -> float:
    """Mean seconds between two scrapes of the replica that was scraped least."""
    times = [[float(t) for t, _ in row["values"]] for row in query(f"up[{RANGE}]")]
    return max((each[-1] - each[0]) / (len(each) - 1) for each in times)


def range_of_psi(reference: DriftReference, replicas: list[Replica], most: float) -> tuple[float, float]:
    """Least and greatest psi where each replica's counts may be overestimated by a factor up to `most`."""
    counts = np.array(reference["value"].parts[0].counts, dtype=float)
    found = []
    for factors in itertools.product(np.linspace(1, most, 20), repeat=len(replicas)):
        window = sum(f * replica.vector for f, replica in zip(factors, replicas, strict=True))
        found.append(psi(counts / counts.sum(), window / window.sum()))
    return min(found), max(found)


def test_prometheus_agrees_with_merge(
    reference: DriftReference, replicas: list[Replica], query: Query
) -> None:
    """The psi of both replicas together, and how many observations that is, within what `increase` extrapolates."""
    total = "sum(ml_drift_observations_total)"
    bins = reference["value"].size
    # Every bin is there with 0 before anything is observed: that is what makes the first increase count.
    wait_until(
        lambda: [row["value"][1] for row in query("count(ml_drift_observations_total)")] == [str(2 * bins)]
    )
    start = time.monotonic()
    for i in range(24):
        replicas[0].observe(300)
        replicas[1].observe(100 if i < 12 else 400)
        time.sleep(SCRAPE_S)
    merged = DriftWindow(reference).merge(*(DriftWindow.from_vector(reference, r.vector) for r in replicas))
    n = merged.observations("value")
    wait_until(lambda: [row["value"][1] for row in query(total)] == [str(n)])
    wait_until(lambda: number(query("ml_drift:observations:increase1h")) >= n)
    elapsed = time.monotonic() - start
    time.sleep(2 * SCRAPE_S)  # the rules are evaluated one after the other
    # `increase` extrapolates by at most 1.1 intervals between samples at the end, and at the start only to where the
    # counter would have been 0, which it was.
    most = 1 + 1.1 * longest_interval_s(query) / elapsed
    low, high = range_of_psi(reference, replicas, most)
    exact = merged.scores()["value"]["psi"].value
    assert low <= exact <= high
    assert low - 1e-9 <= number(query("ml_drift:psi:1h")) <= high + 1e-9
    assert n <= number(query("ml_drift:observations:increase1h")) <= n * most
    floor = number(query("ml_drift:psi_noise_floor:1h"))
    filled = sum(count > 0 for count in reference["value"].parts[0].counts)
    assert (filled - 1) / (n * most) <= floor <= (filled - 1) / n
    limit = number(query("ml_drift:psi_noise_limit:1h"))
    # The rules are evaluated one after the other, so that the two may be of different samples.
    assert limit == pytest.approx(floor * (1 + 3 * (2 / (filled - 1)) ** 0.5), rel=0.1)
    assert high - low < 0.1 * exact, "the comparison would say little"
    # One replica alone says something else: the fleet's value is not that of any one.
    single = DriftWindow.from_vector(reference, replicas[1].vector).scores()["value"]["psi"].value
    assert abs(single - exact) > high - low
