"""What does not conform to the registry is found and named, and nothing else is complained about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.sdk.metrics import Meter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View

import otelml
from otelml import events, testing
from otelml.semconv._generated import EVENTS, METRICS
from otelml.semconv.conformance import assert_conforms, violations

STAGE = {"ml.stage.name": "encode"}
BOUNDS = list(METRICS["ml.stage.duration"].bounds or ())


def collect(record: Callable[[Meter], None], views: list[View] | None = None) -> MetricsData | None:
    """What a plain SDK provider makes of what `record` does with its meter."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], views=views or (), shutdown_on_exit=False)
    record(provider.get_meter("test"))
    data = reader.get_metrics_data()
    provider.shutdown()
    return data


def record_duration(bounds: list[float], unit: str = "s", **attributes: str) -> Callable[[Meter], None]:
    """One `ml.stage.duration`."""
    return lambda meter: meter.create_histogram(
        "ml.stage.duration", unit, explicit_bucket_boundaries_advisory=bounds
    ).record(0.1, STAGE | attributes)


def make_span(**attributes: Any) -> Any:
    """A span that has only what the check looks at."""
    return SimpleNamespace(name="encode", attributes={k.replace("__", "."): v for k, v in attributes.items()})


def make_log(name: str, attributes: Mapping[str, Any]) -> Any:
    """A log record as the SDK's in-memory exporter has it."""
    return SimpleNamespace(log_record=LogRecord(event_name=name, attributes=attributes))


def telemetry_has(data: MetricsData | None, name: str) -> bool:
    """Whether a metric of that name was collected."""
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics] if data else []
    return any(metric.name == name for scope in scopes for metric in scope.metrics)


def test_what_otelml_records_conforms() -> None:
    """Stages with items, logs, attributes and failures, and events, are what the registry says."""
    with testing.capture() as telemetry:
        with otelml.stage("encode", items=3, log=True, note="mine", status=7):
            events.emit("epoch_complete", epoch=3, loss=1)
        with pytest.raises(ValueError, match="bad"), otelml.stage("encode", log=True):
            raise ValueError("bad")
        for phase, value in {"train": 0.5, "eval": float("nan")}.items():
            otelml.gauge(METRICS["ml.training.loss"]).bind({"ml.training.phase": phase}).set(value)
        data, spans, logs = telemetry.metrics_data(), telemetry.spans, telemetry.logs
    names = {record.log_record.event_name for record in logs}
    assert {"ml.stage_start", "ml.stage_complete", "ml.stage_error", "ml.non_finite"} <= names
    assert len(spans) == 2
    assert telemetry_has(data, "ml.training.loss")
    assert violations(data, spans, logs) == []


def test_nothing_conforms() -> None:
    """No telemetry at all is fine."""
    assert violations() == []
    assert_conforms(None, [], [])


def test_everything_wrong_is_in_one_error() -> None:
    """The assertion names all that is wrong, a line each, and says the same thing once."""
    data = collect(lambda meter: meter.create_counter("ml.unheard").add(1))
    bad = [make_log("ml.unheard_event", {})] * 2
    with pytest.raises(AssertionError) as failure:
        assert_conforms(data, [make_span(ml__stage__name="encode")], bad)
    lines = str(failure.value).splitlines()[1:]
    assert [line.partition(":")[0] for line in lines] == [
        "metric ml.unheard",
        "span 'encode'",
        "event ml.unheard_event",
    ]


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (lambda m: m.create_counter("otelml.unheard").add(1), "unknown to the registry"),
        (lambda m: m.create_counter("ml.stage.items", "1").add(1, STAGE), "unit is '1', not '{item}'"),
        (lambda m: m.create_gauge("ml.stage.items", "{item}").set(1, STAGE), "is a gauge, not a counter"),
        (
            lambda m: m.create_up_down_counter("ml.stage.items", "{item}").add(1, STAGE),
            "is a updowncounter, not a counter",
        ),
        (lambda m: m.create_counter("ml.model.size", "By").add(1), "is a counter, not a gauge"),
        (lambda m: m.create_counter("ml.stage.duration", "s").add(1), "is a counter, not a histogram"),
        (lambda m: m.create_histogram("ml.training.loss", "{loss}").record(1), "is a histogram, not a gauge"),
        (record_duration([1.0, 2.0]), "bounds are (1.0, 2.0), not"),
        (record_duration(BOUNDS, "ms"), "unit is 'ms', not 's'"),
        (record_duration(BOUNDS, file="a.png"), "attribute file is not declared"),
        (lambda m: m.create_counter("ml.stage.items", "{item}").add(1), "a point lacks ml.stage.name"),
        (
            lambda m: m.create_counter("ml.stage.items", "{item}").add(1.5, STAGE),
            "value 1.5 is not an integer",
        ),
        (
            lambda m: m.create_counter("ml.stage.items", "{item}").add(1, {"ml.stage.name": 3}),
            "ml.stage.name is 3, not string",
        ),
        (lambda m: m.create_gauge("hw.power", "kW").set(1), "unit is 'kW', not 'W'"),
        (lambda m: m.create_gauge("hw.power", "W").set(1), "a point lacks hw.id"),
    ],
)
def test_metrics_that_do_not_conform(record: Callable[[Meter], None], problem: str) -> None:
    """Name, kind, unit, bounds, attributes and type of a metric are all compared."""
    assert [line for line in violations(collect(record)) if problem in line]


@pytest.mark.parametrize(
    "record",
    [
        lambda m: m.create_counter("http.requests", "ms").add(1, {"path": "/"}),
        lambda m: m.create_counter("mlflow.runs").add(1),
        record_duration(BOUNDS),
        record_duration(BOUNDS, **{"error.type": "ValueError"}),
        lambda m: m.create_counter("ml.stage.items", "{item}").add(1, {"otel.metric.overflow": True}),
        lambda m: m.create_gauge("ml.training.loss", "{loss}").set(1, {"ml.training.phase": "train"}),
    ],
)
def test_metrics_that_conform(record: Callable[[Meter], None]) -> None:
    """Foreign metrics, optional attributes, the overflow series and integers for a double are all right."""
    assert violations(collect(record)) == []


def test_integers_in_a_histogram() -> None:
    """Recorded values of an integer histogram have an integer sum, of whichever type."""

    def record(value: float) -> Callable[[Meter], None]:
        spec = METRICS["ml.inference.batch.size"]
        return lambda meter: meter.create_histogram(
            spec.name, spec.unit, explicit_bucket_boundaries_advisory=list(spec.bounds or ())
        ).record(value, {"ml.model.name": "clip"})

    assert violations(collect(record(32.0))) == []
    assert violations(collect(record(1.5))) == ["metric ml.inference.batch.size: value 1.5 is not an integer"]


def test_exponential_histograms_conform() -> None:
    """A view may ask for an exponential histogram, which has no bounds to compare."""
    views = [View(instrument_name="*", aggregation=ExponentialBucketHistogramAggregation())]
    assert violations(collect(record_duration(BOUNDS), views)) == []


@pytest.mark.parametrize(
    ("span", "problem"),
    [
        (make_span(ml__stage__name="encode"), "lacks ml.stage.kept"),
        (make_span(ml__stage__kept="first"), "lacks ml.stage.name"),
        (make_span(ml__stage__name="a", ml__stage__kept="luck"), "ml.stage.kept is 'luck', none of"),
        (
            make_span(ml__stage__name="a", ml__stage__kept="first", ml__stage__x=1),
            "ml.stage.x is not declared",
        ),
        (
            make_span(ml__stage__name="a", ml__stage__kept="first", ml__stage__items="3"),
            "ml.stage.items is '3', not int",
        ),
    ],
)
def test_spans_that_do_not_conform(span: Any, problem: str) -> None:
    """A stage's span has what is required, nothing undeclared of its own, and a known reason."""
    found = violations(spans=[span])
    assert len(found) == 1
    assert problem in found[0]


def test_spans_that_conform() -> None:
    """Spans of others, and attributes that a user gives to a stage, are left alone."""
    spans = [
        SimpleNamespace(name="GET", attributes=None),
        make_span(http__method=3),
        make_span(ml__stage__name="a", ml__stage__kept="failed", status=3, my__own=1),
    ]
    assert violations(spans=spans) == []


@pytest.mark.parametrize(
    ("name", "attributes", "problem"),
    [
        ("ml.unheard", {}, "event ml.unheard: unknown to the registry"),
        ("ml.stage_start", {}, "event ml.stage_start: lacks stage"),
        ("ml.stage_start", {"stage": None}, "event ml.stage_start: lacks stage"),
        ("ml.stage_start", {"stage": 3}, "event ml.stage_start: stage is 3, not string"),
        ("ml.stage_start", {"stage": "a", "items": 1.0}, "event ml.stage_start: items is 1.0, not int"),
        ("ml.stage_start", {"stage": "a", "items": True}, "event ml.stage_start: items is True, not int"),
        ("ml.epoch_complete", {"epoch": 1, "loss": "x"}, "event ml.epoch_complete: loss is 'x', not double"),
        ("ml.batch_start", {"batch_size": 4, "input_shape": [1.5]}, "input_shape is"),
        ("ml.batch_start", {"batch_size": 4, "input_shape": "4"}, "input_shape is '4', not int[]"),
    ],
)
def test_events_that_do_not_conform(name: str, attributes: dict[str, Any], problem: str) -> None:
    """Name, required fields and types of an event are compared, with the registry's words in the answer."""
    found = violations(logs=[make_log(name, attributes)])
    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        (None, {"stage": 3}),
        ("checkout", {"stage": 3}),
        ("ml.stage_start", {"stage": "a", "colour": object()}),
        ("ml.epoch_complete", {"epoch": 1, "loss": 1, "learning_rate": float("nan")}),
        ("ml.batch_start", {"batch_size": 4, "input_shape": (4, 3)}),
        ("ml.run_params", {"params": {"lr": 0.1}}),
    ],
)
def test_events_that_conform(name: str | None, attributes: dict[str, Any]) -> None:
    """Log lines, events of others, more fields, integers for doubles and any value for `any` are all right."""
    assert violations(logs=[make_log(name, attributes)]) == []


def test_records_may_come_bare() -> None:
    """A log record outside the exporter's wrapping is looked at as well."""
    assert violations(logs=[LogRecord(event_name="ml.stage_start")]) == ["event ml.stage_start: lacks stage"]


PROMISED_EVENTS = (
    "config fsq_config training_start epoch_complete training_complete fsq_encoding quantizer_collapse clustering "
    "temporal_smoothing qa_exception qa_summary stage_start stage_complete stage_error batch_start batch_complete "
    "metrics_summary run_start run_params run_metrics run_artifact run_result run_end drift_detected drift_cleared "
    "non_finite gpu_xid gpu_throttled health run_tags progress"
)


def test_every_promised_event_is_declared() -> None:
    """The events that people's tools read are all there, and no others."""
    assert set(EVENTS) == set(PROMISED_EVENTS.split())


# As the systems that came before wrote them.
EXAMPLES: dict[str, dict[str, Any]] = {
    "config": {
        "config_hash": "a1b2c3d4", "model_name": "conv2d_fsq", "fsq_levels": [8, 6, 5], "embedding_dim": 64,
        "codebook_size": 240, "random_seed": 42,
    },
    "fsq_config": {"levels": [8, 6, 5], "embedding_dim": 64, "codebook_size": 240},
    "training_start": {
        "model": "conv2d_fsq", "dataset": "quadruped", "config_hash": "a1b2c3d4", "seed": 42, "batch_size": 32,
    },
    "epoch_complete": {
        "epoch": 15, "loss": 0.123, "accuracy": 0.856, "learning_rate": 0.001, "duration_seconds": 47.3,
        "samples_per_second": 682.4,
    },
    "training_complete": {"final_accuracy": 0.9, "total_epochs": 100, "metrics_summary": {"counters": {}}},
    "fsq_encoding": {
        "batch_size": 32, "perplexity": 125.6, "code_usage_percent": 75.0, "codebook_utilization": "good",
        "encoding_duration_ms": 23.0, "codes_per_second": 1391.3,
    },
    "clustering": {
        "algorithm": "gmm", "k_clusters": 4, "n_samples": 1000, "silhouette_score": 0.68, "merge_operations": 2,
        "clusters_final": 4, "hungarian_matching": True, "clustering_duration_ms": 156.7,
    },
    "temporal_smoothing": {
        "policy": "median_hysteresis", "min_dwell": 5, "window_size": 7, "transitions_before": 87,
        "transitions_after": 34, "reduction_percent": 60.9, "smoothing_duration_ms": 12.4,
    },
    "qa_exception": {
        "check": "nan_detection", "severity": "warning", "affected_rows": 5, "total_rows": 1000,
        "affected_percent": 0.5, "details": "NaN values found in features[245:250]", "action_taken": "interpolation",
    },
    "qa_summary": {"total_samples": 1000, "interpolated": 15, "all_nan": 3, "mean_fallback": 7, "outliers_detected": 2},
    "batch_start": {"batch_size": 32, "input_shape": [32, 9, 100]},
    "batch_complete": {"batch_size": 32, "unique_labels": 4, "processing_time": 0.19},
    "metrics_summary": {"counters": {}, "gauges": {}, "timers": {}, "histograms": {}},
}  # fmt: skip


@pytest.mark.parametrize("name", EXAMPLES)
def test_documented_events_of_earlier_systems(name: str) -> None:
    """Every field that an earlier system documents for an event is declared for it, and its example conforms."""
    declared = {field.name for field in EVENTS[name].fields}
    assert EXAMPLES[name].keys() <= declared
    assert violations(logs=[make_log(f"ml.{name}", EXAMPLES[name])]) == []
