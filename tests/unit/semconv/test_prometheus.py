"""The Prometheus names, against a table written by hand and against OpenTelemetry's own exporter."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from opentelemetry.sdk.metrics import Meter, MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader
from prometheus_client import CollectorRegistry

from otelml.export.prometheus import PrometheusEndpoint
from otelml.semconv._generated import METRICS
from otelml.semconv.model import Metric
from otelml.semconv.prometheus import label_name, prometheus_name, unit_words

EXPECTED = [
    ("ml.stage.duration", "histogram", "s", "ml_stage_duration_seconds"),
    ("ml.stage.items", "counter", "{item}", "ml_stage_items_total"),
    ("ml.inference.active", "updowncounter", "{request}", "ml_inference_active"),
    ("ml.inference.batch.size", "histogram", "{item}", "ml_inference_batch_size"),
    ("ml.inference.confidence", "histogram", "1", "ml_inference_confidence"),
    ("ml.inference.predictions", "counter", "{prediction}", "ml_inference_predictions_total"),
    ("ml.model.size", "gauge", "By", "ml_model_size_bytes"),
    ("ml.training.loss", "gauge", "{loss}", "ml_training_loss"),
    ("ml.training.learning_rate", "gauge", "{rate}", "ml_training_learning_rate"),
    ("ml.training.progress", "gauge", "1", "ml_training_progress_ratio"),
    ("ml.quantizer.code.utilization", "gauge", "1", "ml_quantizer_code_utilization_ratio"),
    ("ml.gpu.clock.frequency", "gauge", "Hz", "ml_gpu_clock_frequency_hertz"),
    ("ml.gpu.interconnect.io", "gauge", "By/s", "ml_gpu_interconnect_io_bytes_per_second"),
    ("ml.gpu.throttle.duration", "counter", "s", "ml_gpu_throttle_duration_seconds_total"),
    ("ml.gpu.process.memory.usage", "updowncounter", "By", "ml_gpu_process_memory_usage_bytes"),
    ("hw.energy", "counter", "J", "hw_energy_joules_total"),
    ("hw.errors", "counter", "{error}", "hw_errors_total"),
    ("hw.fan.speed_ratio", "gauge", "1", "hw_fan_speed_ratio"),
    ("hw.gpu.io", "counter", "By", "hw_gpu_io_bytes_total"),
    ("hw.gpu.memory.limit", "updowncounter", "By", "hw_gpu_memory_limit_bytes"),
    ("hw.gpu.utilization", "gauge", "1", "hw_gpu_utilization_ratio"),
    ("hw.power", "gauge", "W", "hw_power_watts"),
    ("hw.status", "updowncounter", "1", "hw_status"),
    ("hw.temperature", "gauge", "Cel", "hw_temperature_celsius"),
    ("otelml.internal.errors", "counter", "{error}", "otelml_internal_errors_total"),
    # What the registry has no example of.
    ("a.total.rows", "counter", "{row}", "a_rows_total"),
    ("a.total", "gauge", "By", "a_total_bytes"),
    ("a.ratio.level", "gauge", "1", "a_level_ratio"),
    ("a.share", "counter", "1", "a_share_total"),
    ("a.bytes.read", "counter", "By", "a_bytes_read_total"),
    ("a.rate", "gauge", "{row}/s", "a_rate_per_second"),
    ("a.per.second", "gauge", "By/s", "a_per_second_bytes_per_second"),
    ("a.fill", "gauge", "%", "a_fill_percent"),
    ("a.wait", "histogram", "ms", "a_wait_milliseconds"),
    ("a.odd", "gauge", "foo bar", "a_odd_foo_bar"),
    ("a__b-c/d", "gauge", "", "a_b_c_d"),
    ("3d.points", "counter", "{point}", "_3d_points_total"),
]

SUFFIXES = ("_bucket", "_sum", "_count")


@pytest.mark.parametrize(("name", "kind", "unit", "expected"), EXPECTED)
def test_names(name: str, kind: str, unit: str, expected: str) -> None:
    """A name follows from name, kind and unit, as OpenTelemetry's compatibility specification says."""
    assert prometheus_name(Metric(name, kind, unit, "")) == expected


def test_the_table_has_every_kind_and_unit_in_use() -> None:
    """The registry uses no kind with a unit that the table above has no row for."""
    covered = {(kind, without_annotation(unit)) for _, kind, unit, _ in EXPECTED}
    assert {(m.kind, without_annotation(m.unit)) for m in METRICS.values()} <= covered


def without_annotation(unit: str) -> str:
    """Annotations are all alike."""
    return "{}" if unit.startswith("{") else unit


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("ml.stage.name", "ml_stage_name"),
        ("hw.gpu.task", "hw_gpu_task"),
        ("a__b..c", "a__b__c"),
        ("user-id", "user_id"),
        ("größe", "gr__e"),
        ("9lives", "key_9lives"),
    ],
)
def test_labels(key: str, expected: str) -> None:
    """What a label may not hold becomes an underscore, each one its own, and a digit is not the first."""
    assert label_name(key) == expected


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        ("", []),
        ("1", []),
        ("{loss}", []),
        ("s", ["seconds"]),
        ("By/s", ["bytes", "per_second"]),
        ("{row}/min", ["per_min"]),
        ("m/h", ["meters", "per_hour"]),
        ("{row}/{batch}", []),
        ("widgets", ["widgets"]),
    ],
)
def test_units(unit: str, expected: list[str]) -> None:
    """Units are spelt out, annotations add nothing, and what is no known unit stays."""
    assert unit_words(unit) == expected


def test_no_two_metrics_share_a_name() -> None:
    """In Prometheus no metric of the registry hides another one, nor a part of a histogram."""
    names = [name for spec in METRICS.values() for name in sample_names(spec)]
    assert len(names) == len(set(names))


def sample_names(spec: Metric) -> set[str]:
    """The names of its samples according to `prometheus_name`."""
    name = prometheus_name(spec)
    return {name + suffix for suffix in SUFFIXES} if spec.kind == "histogram" else {name}


def record_one(meter: Meter, spec: Metric, unit: str) -> None:
    """One point of `spec`."""
    if spec.kind == "counter":
        meter.create_counter(spec.name, unit).add(1)
    elif spec.kind == "updowncounter":
        meter.create_up_down_counter(spec.name, unit).add(1)
    elif spec.kind == "gauge":
        meter.create_gauge(spec.name, unit).set(1)
    else:
        meter.create_histogram(spec.name, unit).record(1)


def names_given_by(
    reader: MetricReader, registry: CollectorRegistry, specs: Iterable[tuple[Metric, str]]
) -> set[str]:
    """The names of the samples that the reader's registry has when each of `specs` has a point."""
    provider = MeterProvider([reader], shutdown_on_exit=False)
    meter = provider.get_meter("test")
    for spec, unit in specs:
        record_one(meter, spec, unit)
    found = {s.name for family in registry.collect() for s in family.samples} - {"target_info"}
    provider.shutdown()
    return found


def test_our_endpoint_gives_these_names() -> None:
    """Our endpoint says the same, also of names of one's own that OpenTelemetry's exporter makes otherwise."""
    endpoint = PrometheusEndpoint(port=0)
    odd = [
        Metric("x.total.rows", "counter", "{row}", ""),
        Metric("x.ratio.level", "gauge", "1", ""),
        Metric("x.bytes.read", "counter", "By", ""),
        Metric("y.energy", "histogram", "J/{token}", ""),
        Metric("y.active", "updowncounter", "1", ""),
    ]
    specs = [(m, m.unit) for m in (*METRICS.values(), *odd)]
    expected = {n for m, _ in specs for n in sample_names(m)}
    assert names_given_by(endpoint, endpoint.registry, specs) == expected
