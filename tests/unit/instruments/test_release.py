"""Series that are over: their place is free, their last values reach every reader, and nothing is left of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import View

import otelml
from otelml import instruments, testing
from otelml.instruments import drain, internal, table
from otelml.instruments.bound import NOOP_BOUND
from otelml.semconv.model import Metric

if TYPE_CHECKING:
    from collections.abc import Iterator

DELTA = {Counter: AggregationTemporality.DELTA, Histogram: AggregationTemporality.DELTA}


class Setup:
    """A provider with a reader of totals and one of deltas."""

    def __init__(self, *views: View) -> None:
        self.totals = InMemoryMetricReader()
        self.deltas = InMemoryMetricReader(preferred_temporality=DELTA)
        self.provider = MeterProvider([self.totals, self.deltas], views=views, shutdown_on_exit=False)
        drain.attach(self.provider)

    def kept(self) -> dict[str, list[int]]:
        """How many series the SDK keeps of each metric, for each reader."""
        found: dict[str, list[int]] = {}
        for storage in self.provider._measurement_consumer._reader_storages.values():
            for instrument, matches in storage._instrument_view_instrument_matches.items():
                series = sum(len(match._attributes_aggregation) for match in matches)
                found.setdefault(instrument.name, []).append(series)
        return found


@pytest.fixture
def setup() -> Iterator[Setup]:
    """One without views."""
    yield Setup()
    drain.detach()


def points_of(reader: InMemoryMetricReader, name: str) -> dict[str, Any]:
    """The values of a metric by its attribute `of`; of a histogram the counts."""
    data: Any = reader.get_metrics_data()
    return {
        point.attributes.get("of", ""): getattr(point, "value", None)
        if hasattr(point, "value")
        else point.count
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    }


def test_the_last_of_a_counter_reaches_every_reader_once(setup: Setup) -> None:
    """Whoever reads later sees it later; then it is gone, for both."""
    counter = otelml.counter("c")
    over, stays = counter.bind(of="over"), counter.bind(of="stays")
    over.add(1), stays.add(1)
    assert points_of(setup.totals, "c") == points_of(setup.deltas, "c") == {"over": 1, "stays": 1}
    over.add(2)
    over.release()
    assert points_of(setup.totals, "c") == {"over": 3, "stays": 1}
    assert points_of(setup.totals, "c") == {"stays": 1}
    stays.add(1)
    assert points_of(setup.deltas, "c") == {"over": 2, "stays": 1}
    stays.add(1)
    assert points_of(setup.deltas, "c") == {"stays": 1}
    assert points_of(setup.totals, "c") == {"stays": 3}
    assert setup.kept()["c"] == [1, 1]
    assert not counter.has_released


def test_the_last_of_a_histogram_reaches_every_reader_once(setup: Setup) -> None:
    """As of a counter."""
    histogram = otelml.histogram("h", unit="s")
    over = histogram.bind(of="over")
    over.record(1), over.record_ns(10**9)
    over.release()
    assert points_of(setup.totals, "h") == {"over": 2}
    assert points_of(setup.totals, "h") == {}
    assert points_of(setup.deltas, "h") == {"over": 2}
    assert points_of(setup.deltas, "h") == {}
    assert setup.kept()["h"] == [0, 0]


def test_a_gauge_is_absent_at_once(setup: Setup) -> None:
    """Its last value says nothing any more; one that is set anew is another."""
    gauge = otelml.gauge("g")
    over = gauge.bind(of="over")
    over.set(1)
    assert points_of(setup.totals, "g") == {"over": 1}
    over.set(2)
    over.release()
    assert points_of(setup.totals, "g") == {}
    assert "g" not in otelml.summary()
    assert setup.kept()["g"] == [0, 0]
    gauge.set(3, {"of": "over"})
    assert points_of(setup.totals, "g") == {"over": 3}


def test_bound_again_it_goes_on_until_it_was_exported(setup: Setup) -> None:
    """A new owner of the same series continues its total, or begins at zero; an unbound call finds the new one."""
    counter = otelml.counter("c")
    counter.add(1, {"of": "x"})
    old = counter.bind(of="x")
    old.release()
    counter.add(1, {"of": "x"})
    assert counter.bind(of="x") is old
    assert points_of(setup.totals, "c") == {"x": 2}
    old.release()
    assert points_of(setup.totals, "c") == {}
    counter.add(1, {"of": "x"})
    assert counter.bind(of="x") is not old
    assert points_of(setup.totals, "c") == {"x": 1}


def test_nothing_is_left_of_many() -> None:
    """Neither here nor in the SDK, and a reader that never collects keeps no more than the limit; none overflows."""
    setup = Setup()
    counter, gauge = otelml.counter("c"), otelml.gauge("g")
    counter.limit = gauge.limit = 10
    for i in range(1000):
        count, value = counter.bind(of=f"x{i}"), gauge.bind(of=f"x{i}")
        count.add(1), value.set(1)
        assert points_of(setup.totals, "c")[f"x{i}"] == 1
        count.add(1)
        count.release(), value.release()
    setup.totals.collect()
    assert setup.kept()["c"] == [1, 10]
    assert setup.kept()["g"] == [0, 0]
    assert not counter.series
    assert not counter.released
    assert not gauge.series
    assert not internal.totals()
    setup.totals.collect()
    assert setup.kept()["c"] == [0, 10]
    drain.detach()


def test_without_a_provider_the_latest_are_kept() -> None:
    """Up to the limit, for a provider to come, and for `summary`."""
    counter = otelml.counter("c")
    counter.limit = 10
    for i in range(100):
        count = counter.bind(of=f"x{i}")
        count.add(1)
        count.release()
    assert [series["attributes"]["of"] for series in otelml.summary()["c"]] == [
        f"x{i}" for i in range(90, 100)
    ]


def test_a_view_that_leaves_attributes_out_keeps_the_sum() -> None:
    """There one series of the SDK is many of ours, and what one of them has counted stays in it."""
    setup = Setup(View(instrument_name="c", attribute_keys=set()))
    counter = otelml.counter("c")
    for of in ("over", "stays"):
        counter.bind(of=of).add(1)
    counter.bind(of="over").release()
    assert [points_of(setup.totals, "c") for _ in range(3)] == [{"": 2}] * 3
    counter.bind(of="stays").release()
    assert points_of(setup.totals, "c") == {}
    drain.detach()


def test_what_comes_while_metrics_are_collected_is_for_the_next_time(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A series that is released after the drain and before the hand-over loses nothing."""
    counter = otelml.counter("c")
    over = counter.bind(of="over")
    over.add(1)
    drain_now = table.drain_now

    def drain_and_go_on() -> int:
        drained = drain_now()
        monkeypatch.undo()
        over.add(2)
        over.release()
        return drained

    monkeypatch.setattr(table, "drain_now", drain_and_go_on)
    assert points_of(setup.totals, "c") == {"over": 1}
    assert points_of(setup.totals, "c") == {"over": 3}
    assert points_of(setup.totals, "c") == {}
    assert not counter.released


def test_by_public_means_the_sdk_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its inside is unknown nothing is taken out of it; here the place is free all the same."""
    monkeypatch.setattr(drain, "_merging_works", False)
    setup = Setup()
    counter = otelml.counter("c")
    over = counter.bind(of="over")
    over.add(1)
    over.release()
    assert [points_of(setup.totals, "c") for _ in range(2)] == [{"over": 1}] * 2
    assert not counter.series
    assert not counter.released
    drain.detach()


def test_what_is_not_a_series_of_its_own_is_not_released() -> None:
    """The overflow series belongs to many; a series is released once; where telemetry is off there is none."""
    counter = otelml.counter("c")
    counter.limit = 1
    first, overflow = counter.bind(of="a"), counter.bind(of="b")
    overflow.add(1)
    overflow.release()
    assert overflow is counter.overflow
    first.release()
    second = counter.bind(of="c")
    first.release()
    assert counter.bind(of="c") is second
    NOOP_BOUND.release()


def test_a_forked_child_has_none_of_the_parents() -> None:
    """What was released and not handed over is the parent's to export."""
    counter = otelml.counter("c")
    over = counter.bind(of="over")
    over.add(1)
    over.release()
    table.clear_recorded()
    assert not counter.released


def test_observed_gauges_that_are_gone_take_no_memory() -> None:
    """A source that shows other series each time leaves none of the old ones in the SDK, of any reader."""
    setup = Setup()
    now = [0]
    instruments.observe(Metric("watched", "gauge", "", ""), lambda: [(1, {"of": f"x{now[0]}"})])
    for i in range(100):
        now[0] = i
        assert points_of(setup.totals, "watched") == {f"x{i}": 1}
    assert setup.kept()["watched"] == [1, 1]
    drain.detach()


@pytest.mark.parametrize("kind", ["counter", "gauge"])
def test_series_come_and_go_in_a_capture(kind: str) -> None:
    """The test kit's harness sees the same."""
    with testing.capture() as captured:
        instrument: Any = getattr(otelml, kind)("it")
        bound = instrument.bind(of="x")
        bound.add(1) if kind == "counter" else bound.set(1)
        assert captured.value("it", {"of": "x"}) == 1
        bound.release()
        assert "it" not in captured.points()
