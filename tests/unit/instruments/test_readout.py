"""`summary()` and `export_prometheus()` read back in the process what was recorded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

import otelml
from otelml import testing


def test_summary_equals_numpy() -> None:
    """Count, sum, mean, deviation and extremes equal numpy's; quantiles lie within their stated error."""
    values = np.random.default_rng(3).lognormal(-7, 1.5, 50_000)
    otelml.histogram("latency", unit="s").bind(stage="a").record_many(values)
    (entry,) = otelml.summary()["latency"]
    assert entry["count"] == values.size
    for name, expected in (("sum", values.sum()), ("mean", values.mean()), ("std", values.std())):
        assert entry[name] == pytest.approx(expected, rel=1e-9)
    assert (entry["min"], entry["max"]) == (values.min(), values.max())
    for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        true = np.quantile(values, q, method="inverted_cdf")
        assert abs(entry[name] - true) <= entry[f"{name}_error"]


def test_summary_survives_collections() -> None:
    """Reading back counts from the start of the process, however often exporters have collected."""
    with testing.capture() as telemetry:
        for value in (1, 2, 3):
            otelml.histogram("h", bounds=(1, 2)).record(value)
            otelml.counter("c").add(value)
            telemetry.metrics_data()
        assert otelml.summary()["h"][0]["sum"] == 6
        assert otelml.summary()["c"][0]["value"] == 6


@pytest.mark.parametrize(
    "given", [np.ones((3, 4)), [1.0] * 12, np.ones(12, dtype=np.float32), np.ones(12, dtype=bool)]
)
def test_record_many_takes_any_shape(given: Any) -> None:
    """Arrays of any shape and number type, and lists, count every element."""
    otelml.histogram("h", bounds=(1, 2)).record_many(given, {"a": 1})
    assert otelml.summary()["h"][0]["count"] == 12


def test_record_many_keeps_the_rest_of_a_bad_array() -> None:
    """NaN, infinite and negative elements are left out and counted; the others are recorded exactly."""
    with testing.capture() as telemetry:
        otelml.histogram("h", bounds=(1, 2)).record_many(np.array([1.0, math.nan, 2.0, math.inf, -1.0, 1.5]))
        assert telemetry.point("h").count == 3
        reason = {"otelml.component": "instruments", "otelml.reason": "non_finite_value"}
        assert telemetry.value("otelml.internal.dropped", reason) == 2


def test_record_many_on_a_device_tensor_does_not_wait_for_it() -> None:
    """A CUDA tensor is cloned on its device and read by the drain, not by the caller (a stand-in shows the order)."""
    calls: list[str] = []

    class Tensor:
        is_cuda = True

        def detach(self) -> Tensor:
            return self

        def clone(self) -> Tensor:
            calls.append("clone")
            return self

        def cpu(self) -> np.ndarray:
            calls.append("cpu")
            return np.array([1.0, 2.0])

    bound = otelml.histogram("h", bounds=(1,)).bind()
    bound.record_many(Tensor())
    assert calls == ["clone"]
    assert otelml.summary()["h"][0]["sum"] == 3.0
    assert calls == ["clone", "cpu"]


def test_a_gauge_is_absent_when_it_is_unknown() -> None:
    """The last value wins; after a non-finite one, or `unset()`, the series is absent rather than frozen."""
    with testing.capture() as telemetry:
        gauge = otelml.gauge("g").bind(a="b")
        for value, expected in ((1.0, 1.0), (2.0, 2.0), (math.nan, None), (3.0, 3.0)):
            gauge.set(value)
            assert telemetry.value("g", {"a": "b"}) == expected
        gauge.unset()
        assert telemetry.value("g", {"a": "b"}) is None
        gauge.set(math.nan)
        gauge.set(4.0)
        assert telemetry.value("g", {"a": "b"}) == 4.0


def test_export_prometheus_writes_a_readable_file(tmp_path: Path) -> None:
    """The text file parses, has the names of the registry, and the right numbers."""
    path = tmp_path / "metrics.prom"
    otelml.histogram("ml.stage.duration").record(0.018, {"ml.stage.name": "fusion"})
    otelml.counter("ml.stage.items").add(4, {"ml.stage.name": "fusion"})
    otelml.gauge("my.level", unit="1").set(0.5)
    otelml.counter("untouched")
    otelml.export_prometheus(path)
    samples = {
        (s.name, *sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(path.read_text())
        for s in family.samples
    }
    label = ("ml_stage_name", "fusion")
    assert samples["ml_stage_duration_seconds_sum", label] == 0.018
    assert samples["ml_stage_duration_seconds_count", label] == 1
    assert samples["ml_stage_duration_seconds_bucket", ("le", "0.01"), label] == 0
    assert samples["ml_stage_duration_seconds_bucket", ("le", "0.025"), label] == 1
    assert samples["ml_stage_items_total", label] == 4
    assert samples["my_level_ratio",] == 0.5
    assert not [name for name, *_ in samples if "untouched" in name]


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ((x for x in (1.0, 2.0, 3.0)), 3),
        ({1.0: "a", 2.0: "b"}.keys(), 2),
        ([1.0, 2.0, "x"], 2),
        ([[1.0, 2.0], [3.0]], 3),
        (np.array([1, 2], "timedelta64[s]"), 0),
        (np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0]), 2),
    ],
)
def test_record_many_takes_what_there_is(given: Any, count: int) -> None:
    """Any iterable, nested or not: numbers count, masked and other elements do not."""
    with testing.capture() as telemetry:
        otelml.histogram("h", bounds=(1, 2)).record_many(given)
        assert (telemetry.value("h") or 0) == count


def test_series_that_are_one_in_prometheus_are_written_as_one(tmp_path: Path) -> None:
    """1 and "1" are two series here and one label there: their counts add up, and no line is there twice."""
    for value in (1, "1"):
        otelml.counter("c").add(2, {"x": value})
        otelml.histogram("h", bounds=(1,)).record(0.5, {"x": value})
    otelml.export_prometheus(tmp_path / "m.prom")
    lines = (tmp_path / "m.prom").read_text().splitlines()
    assert 'c_total{x="1"} 4.0' in lines
    assert 'h_count{x="1"} 2.0' in lines
    assert len({line.rpartition(" ")[0] for line in lines}) == len(lines)


def test_a_program_goes_on_after_a_capture() -> None:
    """What a program records around a capture reaches its own provider; what the capture saw does not."""
    with testing.capture() as program:
        counter, gauge = otelml.counter("c").bind(), otelml.gauge("g").bind()
        counter.add(1)
        program.metrics_data()
        counter.add(10)
        with testing.capture() as inner:
            counter.add(100)
            assert inner.value("c") == 100
            counter.add(100)
        counter.add(1000)
        gauge.set(2)
        assert program.value("c") == 1011
        assert program.value("g") == 2
