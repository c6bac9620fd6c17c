"""The periodic metric reader: its thread, its flushes, its end, and what a fork makes of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    MetricExporter,
    MetricExportResult,
    MetricsData,
)
from serverkit import PATIENCE_S, wait_until

from otelml.export import periodic, wire
from otelml.export.periodic import PeriodicReader
from otelml.export.wire import UndeliveredError, Wire
from otelml.instruments import internal


class Collecting(MetricExporter):
    """Keeps the values of each export."""

    def __init__(self, result: MetricExportResult = MetricExportResult.SUCCESS, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.result = result
        self.values: list[float] = []
        self.exported = threading.Event()
        self.ended = False

    def export(self, metrics_data: MetricsData, timeout_millis: float = 0, **_: Any) -> MetricExportResult:
        """Keep them."""
        for scope in metrics_data.resource_metrics[0].scope_metrics:
            self.values += [p.value for m in scope.metrics for p in m.data.data_points]
        self.exported.set()
        return self.result

    def force_flush(self, timeout_millis: float = 0) -> bool:
        """Nothing is held."""
        return True

    def shutdown(self, timeout_millis: float = 0, **_: Any) -> None:
        """Note it."""
        self.ended = True


class Factory:
    """Makes exporters and remembers them."""

    def __init__(self, **kwargs: Any) -> None:
        self.made: list[Collecting] = []
        self._kwargs = kwargs

    def __call__(self) -> Collecting:
        self.made.append(Collecting(**self._kwargs))
        return self.made[-1]


def counting_provider(reader: PeriodicReader) -> tuple[MeterProvider, Any]:
    """A provider with that reader, and a counter."""
    provider = MeterProvider([reader], shutdown_on_exit=False)
    return provider, provider.get_meter("test").create_counter("items")


def test_it_exports_again_and_again() -> None:
    """Once started it collects each interval, with the totals so far."""
    make = Factory()
    reader = PeriodicReader(make, interval_s=0.001, destination="test")
    provider, counter = counting_provider(reader)
    counter.add(5)
    reader.start()
    reader.start()
    assert make.made[0].exported.wait(60)
    make.made[0].exported.clear()
    assert make.made[0].exported.wait(60)
    provider.shutdown()
    assert set(make.made[0].values) == {5}


def test_it_makes_no_thread_before_it_is_started() -> None:
    """A reader that was only built leaves nothing behind."""
    before = threading.active_count()
    provider, _ = counting_provider(PeriodicReader(Factory(), interval_s=1, destination="test"))
    assert threading.active_count() == before
    provider.shutdown()


def test_it_exports_a_last_time_when_it_is_shut_down() -> None:
    """A short program keeps its record; a second shutdown does nothing."""
    make = Factory()
    reader = PeriodicReader(make, interval_s=3600, destination="test")
    provider, counter = counting_provider(reader)
    reader.start()
    counter.add(2)
    provider.shutdown()
    reader.shutdown()
    assert make.made[0].values == [2]
    assert make.made[0].ended


def test_temporality_is_the_exporters() -> None:
    """With delta each export has what came since the last."""
    make = Factory(preferred_temporality={Counter: AggregationTemporality.DELTA})
    reader = PeriodicReader(make, interval_s=3600, destination="test")
    provider, counter = counting_provider(reader)
    for amount in (2, 3):
        counter.add(amount)
        assert reader.force_flush()
    assert make.made[0].values == [2, 3]
    provider.shutdown()


def test_a_failed_export_is_counted_and_said_by_force_flush() -> None:
    """`force_flush` is False, and the next success makes it True again."""
    make = Factory(result=MetricExportResult.FAILURE)
    reader = PeriodicReader(make, interval_s=3600, destination="otlp")
    provider, counter = counting_provider(reader)
    counter.add(1)
    assert reader.force_flush() is False
    assert internal.totals() == {("errors", "export.otlp", "metrics_undelivered"): 1}
    make.made[0].result = MetricExportResult.SUCCESS
    assert reader.force_flush() is True
    provider.shutdown()


def test_an_exporter_that_raises_is_contained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread lives on, the error is counted."""
    monkeypatch.setattr(internal, "raise_errors", False)
    make = Factory()
    reader = PeriodicReader(make, interval_s=3600, destination="otlp")
    provider, counter = counting_provider(reader)
    counter.add(1)
    monkeypatch.setattr(make.made[0], "values", None)
    assert reader.force_flush() is False
    assert internal.totals()["errors", "export.otlp", "TypeError"] == 1
    provider.shutdown()


def test_a_flush_does_not_wait_for_an_export_that_hangs() -> None:
    """It gives up at its own limit, and collects nothing by then: a delta would be lost."""
    make = Factory(preferred_temporality={Counter: AggregationTemporality.DELTA})
    reader = PeriodicReader(make, interval_s=3600, destination="otlp")
    provider, counter = counting_provider(reader)
    counter.add(1)
    entered, hanging = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> MetricExportResult:
        entered.set()
        hanging.wait(60)
        return MetricExportResult.SUCCESS

    make.made[0].export = hang  # type: ignore[method-assign]
    thread = threading.Thread(target=reader.force_flush)
    thread.start()
    assert entered.wait(60)
    counter.add(2)
    assert reader.force_flush(timeout_millis=10) is False
    hanging.set()
    thread.join()
    del make.made[0].export
    assert reader.force_flush()
    assert make.made[0].values == [2]
    assert internal.totals() == {}
    provider.shutdown()


def test_an_export_that_was_held_up_is_followed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By fresh values, for what was held is as old as the trouble; otherwise exports begin an interval apart."""
    now, waits = [100.0], []
    took_s = iter([1, 25, 2, 0])
    monkeypatch.setattr(periodic, "monotonic", lambda: now[0])
    reader = PeriodicReader(Factory(), interval_s=10, destination="otlp")
    monkeypatch.setattr(reader, "collect", lambda **_: now.__setitem__(0, now[0] + next(took_s)))

    class Stopping:
        def wait(self, timeout: float) -> bool:
            waits.append(timeout)
            now[0] += timeout
            return len(waits) == 5

    reader._run(Stopping())  # type: ignore[arg-type]
    assert waits == [10, 9, 0, 8, 10]


@pytest.mark.parametrize("end", [PeriodicReader.last_call, PeriodicReader.shutdown])
def test_at_the_end_nobody_waits_for_an_endpoint(
    end: Callable[[PeriodicReader], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits for its next attempt is given up, so that the last export has its turn."""
    monkeypatch.setattr(wire, "FIRST_PAUSE_S", 10 * PATIENCE_S)
    make = Factory()
    reader = PeriodicReader(make, interval_s=0.001, destination="otlp")
    provider, counter = counting_provider(reader)
    line, attempts = Wire(), []
    make.made[0].wire = line  # type: ignore[attr-defined]

    def attempt() -> None:
        attempts.append(1)
        raise UndeliveredError("http://c:4318", "answers 503")

    def export(*_: Any, **__: Any) -> MetricExportResult:
        with suppress(UndeliveredError):
            line.send(attempt)
        return MetricExportResult.FAILURE

    make.made[0].export = export  # type: ignore[method-assign]
    counter.add(1)
    reader.start()
    wait_until(lambda: attempts)
    end(reader)
    assert reader.force_flush() is (end is PeriodicReader.shutdown)
    provider.shutdown()


def test_a_silent_child_does_not_even_collect() -> None:
    """Neither its timer nor a flush calls observable callbacks, which may hold handles of the parent."""
    make, calls = Factory(), []
    reader = PeriodicReader(make, interval_s=0.001, destination="test")
    provider = MeterProvider([reader], shutdown_on_exit=False)

    def observe(_: CallbackOptions) -> list[Observation]:
        calls.append(1)
        return [Observation(1)]

    provider.get_meter("test").create_observable_gauge("g", [observe])
    reader.after_fork_in_child(silent=True)
    reader.start()
    assert reader.force_flush()
    provider.shutdown()
    assert calls == []
    assert len(make.made) == 1


def test_an_exporting_child_has_a_thread_and_an_exporter_of_its_own() -> None:
    """What was started is started again; the parent's exporter gets nothing more."""
    make = Factory()
    reader = PeriodicReader(make, interval_s=0.001, destination="test")
    provider, counter = counting_provider(reader)
    counter.add(1)
    reader._thread = threading.current_thread()  # as in a child: there was one, it does not run here
    reader.after_fork_in_child(silent=False)
    assert make.made[1].exported.wait(60)
    provider.shutdown()
    assert make.made[0].values == []
