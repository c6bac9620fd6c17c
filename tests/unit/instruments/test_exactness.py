"""What goes through our buffers arrives in the SDK as if its own instruments had been called, value by value."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

import otelml
from otelml.export.prometheus import PrometheusEndpoint
from otelml.instruments import drain, internal, table

BOUNDS = (0.001, 0.01, 0.1, 1.0, 10.0)
DELTA = dict.fromkeys((Counter, Histogram, UpDownCounter), AggregationTemporality.DELTA)

values = st.lists(
    st.one_of(
        st.floats(0, 1e6, allow_nan=False, allow_subnormal=False),
        st.integers(0, 10**6),
        st.sampled_from(BOUNDS),
    ),
    max_size=60,
)
# Several rounds, each recorded and then collected.
rounds = st.lists(values, min_size=1, max_size=4)
view_sets = st.sampled_from(
    [
        (),
        (View(instrument_name="h", aggregation=ExplicitBucketHistogramAggregation((0.5, 5, 50))),),
        (View(instrument_name="h", aggregation=ExponentialBucketHistogramAggregation()),),
        (
            View(instrument_name="h"),
            View(instrument_name="h", name="h.wide", aggregation=ExplicitBucketHistogramAggregation((100,))),
        ),
        (View(instrument_name="h", attribute_keys={"kept"}),),
        (
            View(
                instrument_name="h",
                aggregation=ExplicitBucketHistogramAggregation((1,), record_min_max=False),
            ),
        ),
    ]
)
FIELDS = (
    "count",
    "min",
    "max",
    "bucket_counts",
    "explicit_bounds",
    "scale",
    "zero_count",
    "positive",
    "negative",
)


def seen(reader: InMemoryMetricReader) -> dict[Any, Any]:
    """Everything in one collection of the metrics under test, by metric name and attributes, without times."""
    data = reader.get_metrics_data()
    found = {}
    for resource in data.resource_metrics if data else ():
        for metric in (m for scope in resource.scope_metrics for m in scope.metrics):
            if metric.name.startswith("otelml."):
                continue
            for point in metric.data.data_points:
                exact = {f: getattr(point, f) for f in FIELDS if hasattr(point, f)}
                sums = {f: getattr(point, f) for f in ("sum", "value") if hasattr(point, f)}
                found[metric.name, tuple(sorted(point.attributes.items()))] = (metric.unit, exact, sums)
    return found


def assert_same(ours: dict[Any, Any], theirs: dict[Any, Any]) -> None:
    """Equal, with sums equal up to the order of addition."""
    assert ours.keys() == theirs.keys()
    for key, (unit, exact, sums) in ours.items():
        assert (unit, exact) == theirs[key][:2], key
        assert sums == pytest.approx(theirs[key][2], rel=1e-12, abs=1e-12), key


def reset() -> None:
    """Start anew between two examples of one test."""
    drain.detach()
    table.reset()


@pytest.mark.parametrize("temporality", [None, DELTA], ids=["cumulative", "delta"])
@given(rounds=rounds, views=view_sets)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_histograms_equal_the_sdks_own(
    temporality: Any, rounds: list[list[float]], views: tuple[View, ...]
) -> None:
    """Count, sum, extremes and buckets equal the SDK's for random values, over several collections and any view."""
    reset()
    ours, theirs = (InMemoryMetricReader(preferred_temporality=temporality) for _ in range(2))
    drain.attach(MeterProvider([ours], views=views, shutdown_on_exit=False))
    reference = MeterProvider([theirs], views=views, shutdown_on_exit=False).get_meter("otelml")
    sdk = reference.create_histogram("h", unit="s", explicit_bucket_boundaries_advisory=BOUNDS)
    mine = otelml.histogram("h", unit="s", bounds=BOUNDS)
    for recorded in rounds:
        for i, value in enumerate(recorded):
            attributes = {"kept": "a", "other": i % 2}
            mine.record(value, attributes)
            sdk.record(value, attributes)
        assert_same(seen(ours), seen(theirs))
    reset()


@pytest.mark.parametrize("temporality", [None, DELTA], ids=["cumulative", "delta"])
@given(rounds=rounds)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counters_equal_the_sdks_own(temporality: Any, rounds: list[list[float]]) -> None:
    """Counters and up-down counters, ints and floats, equal the SDK's."""
    reset()
    ours, theirs = (InMemoryMetricReader(preferred_temporality=temporality) for _ in range(2))
    drain.attach(MeterProvider([ours], shutdown_on_exit=False))
    meter = MeterProvider([theirs], shutdown_on_exit=False).get_meter("otelml")
    pairs = [
        (otelml.counter("c", unit="{x}"), meter.create_counter("c", unit="{x}"), 1),
        (otelml.up_down_counter("u"), meter.create_up_down_counter("u"), -1),
    ]
    for recorded in rounds:
        for mine, sdk, sign in pairs:
            for value in recorded:
                mine.add(sign * value, {"a": "b"})
                sdk.add(sign * value, {"a": "b"})
        assert_same(seen(ours), seen(theirs))
    reset()


def scraped(endpoint: PrometheusEndpoint) -> dict[Any, float]:
    """The samples of the metric under test, as a scraper reads them from the endpoint's text."""
    text = generate_latest(endpoint.registry).decode()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {(s.name, *sorted(s.labels.items())): s.value for s in samples if s.name.startswith("h_")}


@given(rounds=rounds)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_scraped_text_equals_the_sdks_own(rounds: list[list[float]]) -> None:
    """What Prometheus reads from the endpoint, over several scrapes, is what it would read of the SDK's instruments."""
    reset()
    ours, theirs = PrometheusEndpoint(port=0), PrometheusEndpoint(port=0)
    drain.attach(MeterProvider([ours], shutdown_on_exit=False))
    meter = MeterProvider([theirs], shutdown_on_exit=False).get_meter("otelml")
    sdk = meter.create_histogram("h", unit="s", explicit_bucket_boundaries_advisory=BOUNDS)
    mine = otelml.histogram("h", unit="s", bounds=BOUNDS)
    for number, recorded in enumerate(rounds, 1):
        for i, value in enumerate(recorded):
            mine.record(value, {"other": i % 2})
            sdk.record(value, {"other": i % 2})
        expected = scraped(theirs)
        assert scraped(ours) == pytest.approx(expected, rel=1e-12, abs=1e-12)
        assert bool(expected) == any(rounds[:number])
    reset()


@given(recorded=values)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_public_path_gives_the_same(recorded: list[float]) -> None:
    """Where the SDK's internals are not what was probed, its public API is used, and the numbers do not change."""
    reset()
    works, drain._merging_works = drain._merging_works, False
    try:
        ours, theirs = InMemoryMetricReader(), InMemoryMetricReader()
        drain.attach(MeterProvider([ours], shutdown_on_exit=False))
        sdk = (
            MeterProvider([theirs], shutdown_on_exit=False)
            .get_meter("otelml")
            .create_histogram("h", explicit_bucket_boundaries_advisory=BOUNDS)
        )
        mine = otelml.histogram("h", bounds=BOUNDS).bind(a=1)
        for value in recorded:
            mine.record(value)
            sdk.record(value, {"a": 1})
        assert_same(seen(ours), seen(theirs))
    finally:
        drain._merging_works = works
        reset()


def test_unknown_internals_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed private name makes the trial fail, which is counted and said, and the public path takes over."""
    monkeypatch.setattr(drain, "_merging_works", None)
    monkeypatch.setattr(drain, "_merge", lambda *_: (_ for _ in ()).throw(AttributeError("_value")))
    assert drain.merging_works() is False
    assert internal.totals()["errors", "drain", "AttributeError"] == 1


def test_merging_works_with_the_installed_sdk() -> None:
    """The fast path is in use with the SDK that is installed here (else every number above came by the slow one)."""
    assert drain.merging_works() is True


def test_two_readers_each_see_everything() -> None:
    """A cumulative and a delta reader, collected at different times, both get every value once."""
    cumulative, delta = InMemoryMetricReader(), InMemoryMetricReader(preferred_temporality=DELTA)
    drain.attach(MeterProvider([cumulative, delta], shutdown_on_exit=False))
    bound = otelml.histogram("h", bounds=BOUNDS).bind()
    for value in (0.5, 2.0):
        bound.record(value)
    assert seen(cumulative)["h", ()][1]["count"] == 2
    bound.record(3.0)
    assert seen(delta)["h", ()][1]["count"] == 3
    assert seen(delta) == {}
    assert seen(cumulative)["h", ()][1]["count"] == 3


def test_a_reader_added_later_counts_from_then_on() -> None:
    """A reader that joins a running provider sees what is recorded after it came, with its own aggregation."""
    provider = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
    drain.attach(provider)
    bound = otelml.histogram("h", bounds=BOUNDS).bind()
    bound.record(1.0)
    late = InMemoryMetricReader(preferred_aggregation={Histogram: ExponentialBucketHistogramAggregation()})
    seen(provider._metric_readers[0])
    provider.add_metric_reader(late)
    seen(late)
    bound.record(2.0)
    assert seen(late)["h", ()][1]["count"] == 1


def test_a_view_that_drops_an_instrument_is_obeyed() -> None:
    """Nothing of a dropped instrument is exported, and nothing breaks."""
    reader = InMemoryMetricReader()
    drain.attach(
        MeterProvider(
            [reader], views=[View(instrument_name="h", aggregation=DropAggregation())], shutdown_on_exit=False
        )
    )
    otelml.histogram("h").bind().record(1)
    assert seen(reader) == {}


@pytest.mark.parametrize(
    "aggregation", [ExplicitBucketHistogramAggregation((2, 4)), ExponentialBucketHistogramAggregation()]
)
def test_what_was_recorded_before_the_provider_came_is_kept(aggregation: Any) -> None:
    """Values recorded at import time arrive in a provider set up later, bucketed as its views ask."""
    bound = otelml.histogram("h", bounds=(1, 5)).bind()
    counter = otelml.counter("c").bind()
    for value in (0.5, 3.0, 3.5):
        bound.record(value)
        counter.add(2)
    reader = InMemoryMetricReader()
    drain.attach(
        MeterProvider(
            [reader], views=[View(instrument_name="h", aggregation=aggregation)], shutdown_on_exit=False
        )
    )
    found = seen(reader)
    assert found["h", ()][1]["count"] == 3
    assert found["c", ()][2] == {"value": 6}
    if "bucket_counts" in found["h", ()][1]:
        assert found["h", ()][1]["bucket_counts"] == (1, 2, 0)


def test_threads_lose_nothing() -> None:
    """Four threads record 200 000 values each while a fifth collects: every one is counted, once."""
    reader = InMemoryMetricReader(preferred_temporality=DELTA)
    drain.attach(MeterProvider([reader], shutdown_on_exit=False))
    histogram, counter = otelml.histogram("h", bounds=BOUNDS), otelml.counter("c").bind()
    done = threading.Event()
    totals = {"h": 0, "c": 0, "sum": 0.0}

    def work(i: int) -> None:
        record, add = histogram.bind(thread=i % 2).record, counter.add
        for _ in range(200_000):
            record(0.5)
            add(1)

    def take() -> None:
        for (name, _), (_, exact, sums) in seen(reader).items():
            totals[name] += exact.get("count", sums.get("value"))
            totals["sum"] += sums.get("sum", 0.0)

    def collect() -> None:
        while not done.wait(0.01):
            take()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    collector = threading.Thread(target=collect)
    for thread in (*workers, collector):
        thread.start()
    for thread in workers:
        thread.join()
    done.set()
    collector.join()
    take()
    assert totals == {"h": 800_000, "c": 800_000, "sum": 400_000.0}


def test_numpy_and_plain_python_aggregate_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two ways to aggregate a chunk, with and without numpy in the program, give the same distribution."""
    import random

    from otelml.instruments import aggregate

    recorded = [random.Random(7).lognormvariate(-3, 2) for _ in range(20_000)] + [1.0, 10.0, 0.001, 5]
    results = []
    for numpy in (aggregate.numpy_module(), None):
        monkeypatch.setattr(aggregate, "numpy_module", lambda numpy=numpy: numpy)
        distribution, refused = aggregate.Distribution(), aggregate.Refused()
        distribution.add_values(list(recorded), (BOUNDS, (0.5,)), refused)
        results.append(distribution)
    with_numpy, without = results
    assert with_numpy.counts == without.counts
    assert (with_numpy.count, with_numpy.min, with_numpy.max) == (without.count, without.min, without.max)
    assert (with_numpy.sum, with_numpy.m2) == pytest.approx((without.sum, without.m2), rel=1e-9)
