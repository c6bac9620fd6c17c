"""Observed series give what the SDK's own observable instruments give, whatever views and readers there are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Counter, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

import otelml
from otelml import instruments, testing
from otelml.instruments import drain, internal, table
from otelml.semconv.model import Metric

if TYPE_CHECKING:
    from collections.abc import Iterable

GPU_0, GPU_1 = {"gpu": "0", "rail": "a"}, {"gpu": "1", "rail": "a"}
# What is there at each of five collections: series come, go and come back; counters jump.
STORY: list[list[tuple[float, dict[str, Any]]]] = [
    [(1, GPU_0)],
    [(3, GPU_0), (5.5, GPU_1)],
    [(9, GPU_1)],
    [],
    [(10, GPU_0), (9, GPU_1), (1, {"gpu": 1}), (2, {"gpu": "1"})],
]
DELTA = {Counter: AggregationTemporality.DELTA, ObservableCounter: AggregationTemporality.DELTA}


def points_of(reader: InMemoryMetricReader) -> dict[str, list[tuple[Any, Any]]]:
    """Values and attributes by metric, without times."""
    data: Any = reader.get_metrics_data()
    found: dict[str, list[tuple[Any, Any]]] = {}
    for resource in data.resource_metrics if data is not None else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    value = point.value if hasattr(point, "value") else (point.count, point.sum)
                    found.setdefault(metric.name, []).append((value, dict(point.attributes)))
    return {name: sorted(points, key=repr) for name, points in found.items()}


def tell(story: Iterable[Any], kind: str, views: list[View], *, merging: bool) -> list[Any]:
    """What two readers, one of them with deltas, see of the story, by our way and by the SDK's own."""
    now: list[Any] = []
    readers = [InMemoryMetricReader(), InMemoryMetricReader(preferred_temporality=DELTA)]
    provider = MeterProvider(readers, views=views, shutdown_on_exit=False)
    drain._merging_works = merging
    drain.attach(provider)
    instruments.observe(Metric("ours", kind, "", ""), lambda: list(now))
    create = {"counter": "counter", "updowncounter": "up_down_counter", "gauge": "gauge"}[kind]
    theirs = getattr(provider.get_meter("theirs"), f"create_observable_{create}")
    theirs("theirs", [lambda _: [Observation(value, attributes) for value, attributes in now]])
    seen = []
    for chapter in story:
        now = chapter
        # The second reader misses every other chapter.
        seen += [points_of(reader) for reader in readers[: 1 + len(seen) % 2]]
    drain.detach()
    drain._merging_works = None
    return seen


@pytest.mark.parametrize("merging", [True, False])
@pytest.mark.parametrize("kind", ["counter", "updowncounter", "gauge"])
@pytest.mark.parametrize(
    "views",
    [
        [],
        [View(instrument_name="*", attribute_keys={"rail"})],
        [View(instrument_name="ours"), View(instrument_name="ours", name="ours2"), View(instrument_name="theirs"),
         View(instrument_name="theirs", name="theirs2")],
        [View(instrument_name="*", aggregation=ExplicitBucketHistogramAggregation((1, 5)))],
    ],
    ids=["plain", "attributes left out", "two streams", "histogram"],
)  # fmt: skip
def test_the_same_as_the_sdk_itself(views: list[View], kind: str, merging: bool) -> None:
    """Value for value and series for series, over the whole story, for both readers."""
    for seen in tell(STORY, kind, views, merging=merging):
        own = {name.replace("ours", "it"): points for name, points in seen.items() if "ours" in name}
        sdk = {name.replace("theirs", "it"): points for name, points in seen.items() if "theirs" in name}
        assert own == sdk


def test_the_story_has_something_to_tell() -> None:
    """The comparison above does not compare nothing with nothing."""
    first, second, *_ = tell(STORY, "counter", [], merging=True)
    assert first["ours"] == [(1, GPU_0)]
    assert second["ours"] == [(3, GPU_0), (5.5, GPU_1)]


def test_a_mapping_that_is_the_same_object_is_the_same_series() -> None:
    """Its key is looked up once; another mapping of the same content is the same series all the same."""
    with testing.capture() as captured:
        kept = {"gpu": "0"}
        instruments.observe(Metric("kept", "gauge", "", ""), lambda: [(1, kept)])
        assert captured.value("kept", {"gpu": "0"}) == 1
        kept = {"gpu": "0"}
        assert [point.value for point in captured.points()["kept"]] == [1]


def test_what_is_not_finite_is_absent() -> None:
    """As for every other instrument."""
    with testing.capture() as captured:
        readings = [(math.nan, GPU_0), (math.inf, GPU_1), (1, {})]
        instruments.observe(Metric("odd", "gauge", "", ""), lambda: readings)
        assert [(point.value, dict(point.attributes)) for point in captured.points()["odd"]] == [(1, {})]


def test_a_source_that_fails_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its error is counted, and ends there."""
    monkeypatch.setattr(internal, "raise_errors", False)

    def broken() -> list[Any]:
        raise OSError("gone")

    spec = Metric("both", "gauge", "", "")
    with testing.capture() as captured:
        instruments.observe(spec, broken)
        instruments.observe(spec, lambda: [(2, {})])
        assert captured.value("both") == 2
        assert captured.value(
            "otelml.internal.errors", {"otelml.component": "instruments", "otelml.reason": "OSError"}
        )


def test_it_reads_back_and_can_be_ended() -> None:
    """In `summary()` and the text file like what is recorded; absent everywhere after the end."""
    spec = Metric("my.total", "counter", "By", "Bytes.")

    def source() -> list[Any]:
        return [(7, GPU_0)]

    instruments.observe(spec, source)
    assert otelml.summary()["my.total"] == [
        {"kind": "counter", "unit": "By", "attributes": GPU_0, "value": 7}
    ]
    instruments.stop_observing(source)
    assert "my.total" not in otelml.summary()


def test_a_name_has_one_way_of_being_measured() -> None:
    """What is recorded to cannot be observed, and the other way round; histograms cannot be observed at all."""
    otelml.counter("taken")
    with pytest.raises(ValueError, match="recorded to"):
        instruments.observe(Metric("taken", "counter", "", ""), list)
    instruments.observe(Metric("watched", "gauge", "", ""), list)
    with pytest.raises(ValueError, match="it is observed"):
        otelml.gauge("watched")
    with pytest.raises(ValueError, match="histogram"):
        instruments.observe(Metric("h", "histogram", "", ""), list)


def test_the_text_file_has_observed_series(tmp_path: Any) -> None:
    """For the textfile collector, under the name that the endpoint uses."""
    instruments.observe(Metric("my.io", "counter", "By", "Bytes."), lambda: [(7, GPU_0)])
    otelml.export_prometheus(tmp_path / "metrics.prom")
    assert 'my_io_bytes_total{gpu="0",rail="a"} 7.0' in (tmp_path / "metrics.prom").read_text()
    assert table.observed
