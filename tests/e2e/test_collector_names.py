"""A real collector gives every metric of the registry the Prometheus name, labels and buckets that we say it has."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from otlpkit import LayeredCollector
from prometheus_client import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from serverkit import PATIENCE_S, fetch, plain_environ, wait_until

from otelml.semconv._generated import METRICS
from otelml.semconv.model import Metric
from otelml.semconv.prometheus import PROMOTED_RESOURCE_ATTRIBUTES, label_name, prometheus_name

RESOURCE = {"service.name": "train", "host.name": "node1", "ml.distributed.rank": 2}
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}
ADDED_BY_THE_COLLECTOR = {"job", "instance", "le"}

# Names and units that the registry has no example of, so that the rules are checked and not only their use.
OTHERS = (
    Metric("ml.example.total", "counter", "1", ""),
    Metric("ml.example.total.rows", "counter", "{row}", ""),
    Metric("ml.example.total.bytes", "gauge", "By", ""),
    Metric("ml.example.total.level", "gauge", "1", ""),
    Metric("ml.example.ratio", "gauge", "1", ""),
    Metric("ml.example.ratio.level", "gauge", "1", ""),
    Metric("ml.example.share", "updowncounter", "1", ""),
    Metric("ml.example.share.counted", "counter", "1", ""),
    Metric("ml.example.share.spread", "histogram", "1", ""),
    Metric("ml.example.seconds", "gauge", "s", ""),
    Metric("ml.example.bytes.read", "counter", "By", ""),
    Metric("ml.example.rate", "gauge", "{row}/s", ""),
    Metric("ml.example.speed", "gauge", "m/s", ""),
    Metric("ml.example.io", "updowncounter", "By/s", ""),
    Metric("ml.example.per.second", "gauge", "By/s", ""),
    Metric("ml.example.fill", "gauge", "%", ""),
    Metric("ml.example.big", "gauge", "TiBy", ""),
    Metric("ml.example.odd", "gauge", "foo_bar", ""),
    Metric("ml.example.days", "gauge", "d", ""),
    Metric("ml.example.wait", "histogram", "ms", ""),
    Metric("ml.example_under__score", "gauge", "", ""),
    Metric("ml.example-dash/slash", "gauge", "", ""),
    Metric("ml.example.half", "gauge", "By{row}", ""),
    Metric("ml.example.none", "gauge", "{row}/{batch}", ""),
    Metric("ml.example.each", "gauge", "By/{row}", ""),
    Metric("ml.example.space", "gauge", "foo bar", ""),
    Metric("ml.example.week", "counter", "By/w", ""),
    Metric("ml.example.labels", "gauge", "", "", attributes=("a__b..c", "9lives", "user-id", "Größe")),
)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[LayeredCollector]:
    """One on the layers that ship, without those that the small build does not have."""
    with LayeredCollector(tmp_path, "base", "prometheus", environ={}, binary="otelcol-core") as server:
        yield server


def wait_for(collector: LayeredCollector, count: int) -> dict[str, Family]:
    """The metric families that it serves, by name, once they are `count` or more."""
    return wait_until(lambda: found if len(found := scrape(collector)) >= count else None, collector.read_log)


def scrape(collector: LayeredCollector) -> dict[str, Family]:
    """Those that it serves now."""
    return {family.name: family for family in text_string_to_metric_families(fetch(collector.prometheus_url))}


def send(specs: list[Metric], url: str) -> None:
    """One point of every metric, with the first of its attributes, from the plain SDK."""
    exporter = OTLPMetricExporter(endpoint=f"{url}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=float("inf"))
    provider = MeterProvider([reader], Resource(RESOURCE), shutdown_on_exit=False)
    meter = provider.get_meter("test")
    for spec in specs:
        attributes = dict.fromkeys(spec.attributes, "x")
        if spec.kind == "counter":
            meter.create_counter(spec.name, spec.unit, spec.brief).add(1, attributes)
        elif spec.kind == "updowncounter":
            meter.create_up_down_counter(spec.name, spec.unit, spec.brief).add(1, attributes)
        elif spec.kind == "gauge":
            meter.create_gauge(spec.name, spec.unit, spec.brief).set(1, attributes)
        else:
            bounds = None if spec.bounds is None else list(spec.bounds)
            histogram = meter.create_histogram(
                spec.name, spec.unit, spec.brief, explicit_bucket_boundaries_advisory=bounds
            )
            histogram.record(1, attributes)
    assert provider.force_flush(PATIENCE_S * 1000)
    provider.shutdown()


def sample_names(specs: list[Metric]) -> set[str]:
    """The names that samples of `specs` have according to `prometheus_name`."""
    return {prometheus_name(spec) + suffix for spec in specs for suffix in SUFFIXES.get(spec.kind, ("",))}


def scraped_names(families: dict[str, Family]) -> set[str]:
    """The names of all samples, but for what describes the target."""
    return {s.name for family in families.values() for s in family.samples} - {"target_info"}


def test_the_collector_makes_the_names_we_say(collector: LayeredCollector) -> None:
    """Every metric of the registry, and names and units that are more difficult, has `prometheus_name`'s name."""
    specs = [*METRICS.values(), *OTHERS]
    send(specs, collector.url)
    families = wait_for(collector, len(specs))
    wrong = {spec.name for spec in specs if not sample_names([spec]) <= scraped_names(families)}
    assert (wrong, scraped_names(families) - sample_names(specs)) == (set(), set())


def test_the_collector_makes_the_labels_and_buckets_we_say(collector: LayeredCollector) -> None:
    """Attributes and promoted resource attributes are labels, and bounds are buckets, as they were declared."""
    specs = [*METRICS.values(), *OTHERS]
    send(specs, collector.url)
    families = wait_for(collector, len(specs))
    samples = {s.name: s for family in families.values() for s in family.samples}
    promoted = {label_name(key): str(RESOURCE[key]) for key in PROMOTED_RESOURCE_ATTRIBUTES}
    for spec in specs:
        name = prometheus_name(spec)
        labels = samples[name + SUFFIXES.get(spec.kind, ("",))[0]].labels
        own = {key: value for key, value in labels.items() if key not in ADDED_BY_THE_COLLECTOR}
        assert own == promoted | dict.fromkeys(map(label_name, spec.attributes), "x"), spec.name
        if spec.bounds:
            assert buckets(families[name]) == [*spec.bounds, float("inf")], spec.name


def buckets(family: Family) -> list[float]:
    """The upper bounds of a histogram."""
    return [float(s.labels["le"]) for s in family.samples if s.name.endswith("_bucket")]


PROGRAM = """
import otelml
from otelml.semconv import _generated as semconv
otelml.configure(service_name="train")
with otelml.stage("encode", items=3):
    pass
otelml.gauge(semconv.METRIC_ML_TRAINING_PROGRESS).bind().set(0.5)
"""


def test_a_program_with_otelml_reaches_the_collector(collector: LayeredCollector, tmp_path: Path) -> None:
    """A short program that only calls `configure` has its metrics in the collector, by the names of the registry."""
    environ = plain_environ(
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_TRACES_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        RANK="2",
    )
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=tmp_path, timeout=PATIENCE_S, check=True, env=environ)
    families = wait_for(collector, 3)
    values = {s.name: s.value for family in families.values() for s in family.samples}
    assert values["ml_stage_items_total"] == 3
    assert values["ml_stage_duration_seconds_count"] == 1
    assert values["ml_training_progress_ratio"] == 0.5
    assert families["ml_training_progress_ratio"].samples[0].labels["ml_distributed_rank"] == "2"
    duration = METRICS["ml.stage.duration"]
    assert buckets(families["ml_stage_duration_seconds"]) == [*duration.bounds, float("inf")]
