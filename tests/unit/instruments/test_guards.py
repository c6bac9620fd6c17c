"""Bad values, bad attributes and too many series: counted and named once, and never harmful to the rest."""

from __future__ import annotations

import copy
import logging
import math
import pickle
from enum import Enum
from typing import Any

import numpy as np
import pytest

import otelml
from otelml import testing
from otelml.instruments import aggregate, attributes, internal, table


def test_non_finite_values_are_counted_and_one_event_says_so() -> None:
    """NaN and infinities are left out, each counted, with one `non_finite` event for a series, not one a step."""
    with testing.capture() as telemetry:
        bound = otelml.histogram("loss", bounds=(1, 2)).bind(phase="train")
        for value in (0.5, math.nan, math.inf, 1.5, -math.inf):
            bound.record(value)
        assert telemetry.point("loss", {"phase": "train"}).sum == 2.0
        bound.record(math.nan)
        where = {"otelml.component": "instruments", "otelml.reason": "non_finite_value"}
        assert telemetry.value("otelml.internal.dropped", where) == 4
        assert [log.log_record.event_name for log in telemetry.logs] == ["ml.non_finite"]


@pytest.mark.parametrize("odd", ["1.5", None, object(), b"1", [1.0]])
def test_what_is_no_number_is_left_out(odd: Any) -> None:
    """A value that is no number costs only itself, is counted, and is named once."""
    with testing.capture() as telemetry:
        bound = otelml.histogram("h").bind()
        bound.record(1)
        bound.record(odd)
        bound.record(2)
        assert telemetry.point("h").count == 2
        assert internal.totals()["dropped", "instruments", "invalid_value"] == 1


@pytest.mark.parametrize(
    "number", [np.float32(1.5), np.float64(1.5), np.int64(2), np.float16(0.5), True, np.array(2.0)]
)
def test_scalars_of_numpy_are_numbers(number: Any) -> None:
    """numpy scalars and zero-dimensional arrays are recorded like Python's numbers, in every kind of instrument."""
    with testing.capture() as telemetry:
        otelml.histogram("h").bind().record(number)
        otelml.counter("c").bind().add(number)
        otelml.gauge("g").bind().set(number)
        points = telemetry.points()
        assert [points[name][0].sum if name == "h" else points[name][0].value for name in "hcg"] == [
            float(number)
        ] * 3


def test_negative_amounts_are_refused_where_they_make_no_sense() -> None:
    """Counters and histograms refuse negative values, as the SDK does; up-down counters and gauges take them."""
    with testing.capture() as telemetry:
        for instrument in (otelml.counter("c"), otelml.up_down_counter("u")):
            for amount in (5, -2):
                instrument.add(amount)
        for value in (1, -1):
            otelml.histogram("h").record(value)
            otelml.gauge("g").set(value)
        assert telemetry.value("c") == 5
        assert telemetry.value("u") == 3
        assert telemetry.point("h").count == 1
        assert telemetry.point("g").value == -1
        assert internal.totals()["dropped", "instruments", "negative_value"] == 2


def test_too_many_series_are_counted_together(caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the limit new series go to `otel.metric.overflow`, are counted, and the offender is named once."""
    with (
        testing.capture(cardinality_limit=3) as telemetry,
        caplog.at_level(logging.WARNING, "otelml.internal"),
    ):
        counter = otelml.counter("requests")
        for user in range(10):
            counter.bind(user=user).add(1)
        points = {tuple(p.attributes.items()): p.value for p in telemetry.points()["requests"]}
        assert points == {
            (("user", 0),): 1,
            (("user", 1),): 1,
            (("user", 2),): 1,
            (("otel.metric.overflow", True),): 7,
        }
        where = {"otelml.component": "instruments", "otelml.reason": "requests"}
        assert telemetry.value("otelml.internal.overflow", where) == 7
    said = [r.getMessage() for r in caplog.records if "more than 3 series" in r.getMessage()]
    assert len(said) == 1
    assert "requests" in said[0]


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (np.int64(3), 3),
        (np.str_("x"), "x"),
        (np.bool_(True), True),
        (Colour.RED, "red"),
        (True, True),
        (None, None),
        ("ü" * 5000, "ü" * attributes.MAX_VALUE_LENGTH),
    ],
)
def test_attribute_values_become_plain(given: Any, kept: Any) -> None:
    """numpy scalars and enums become plain values, None is absence, and nothing grows without a bound."""
    with testing.capture() as telemetry:
        otelml.counter("c").bind(a=given).add(1)
        (point,) = telemetry.points()["c"]
        assert dict(point.attributes) == ({} if kept is None else {"a": kept})


def test_an_impossible_attribute_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """A list or dict cannot identify a series: the value is left out, counted, and named once."""
    with testing.capture() as telemetry, caplog.at_level(logging.WARNING, "otelml.internal"):
        for _ in range(3):
            otelml.counter("c").add(1, {"shape": [1, 2], "ok": "yes"})
        assert telemetry.value("c", {"ok": "yes"}) == 3
    assert [
        r.getMessage() for r in caplog.records if "'shape'" in r.getMessage() and "list" in r.getMessage()
    ] != []
    assert len([r for r in caplog.records if "'shape'" in r.getMessage()]) == 1


def test_one_and_true_are_different_series() -> None:
    """1, 1.0 and True are equal in Python, but not as attributes; order of attributes does not matter."""
    counter = otelml.counter("c")
    assert len({id(counter.bind(a=v)) for v in (1, 1.0, True)}) == 3
    assert counter.bind(a=1, b=2) is counter.bind({"b": 2, "a": 1})
    for value in (1, True, 1.0, 1, "1", "1"):
        counter.add(1, {"unbound": value})
    added = {repr(entry["attributes"]["unbound"]): entry["value"] for entry in otelml.summary()["c"]}
    assert added == {"1": 2, "True": 1, "1.0": 1, "'1'": 2}


@pytest.mark.parametrize("name", ["", "1st", "a b", "ü", "x" * 300, 5])
def test_a_malformed_name_is_refused_with_advice(name: Any) -> None:
    """A name that OTel does not allow raises, saying what a name is made of."""
    with pytest.raises(ValueError, match="start with a letter"):
        otelml.counter(name)


def test_declaring_twice_must_agree() -> None:
    """The same declaration gives the same instrument; another kind, unit or bounds raises."""
    first = otelml.histogram("h", unit="s")
    assert otelml.histogram("h", unit="s") is first
    with pytest.raises(ValueError, match="exists already as histogram in s"):
        otelml.histogram("h", unit="ms")
    with pytest.raises(ValueError, match="exists already"):
        otelml.counter("h")
    with pytest.raises(ValueError, match="must increase"):
        otelml.histogram("h2", bounds=(1, 1))


def test_registered_names_come_with_their_declaration() -> None:
    """A name of the registry brings its unit, bounds and kind; contradicting it raises."""
    assert otelml.histogram("ml.stage.duration").spec.unit == "s"
    with pytest.raises(ValueError, match="is a histogram in the registry, not a counter"):
        otelml.counter("ml.stage.duration")
    with pytest.raises(ValueError, match="choose a name of your own"):
        otelml.histogram("ml.stage.duration", unit="ms")


def test_a_buffer_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest values are dropped and counted."""
    from otelml.instruments import bound as bound_module
    from otelml.instruments import timer

    monkeypatch.setattr(bound_module, "MAX_BUFFERED", 100)
    series = otelml.histogram("h", bounds=(1,)).bind()
    timer.stop()
    for value in range(250):
        series.record(value)
    table.drain_now(everything=True)
    assert (series.pending.count, series.pending.min) == (100, 150.0)
    assert internal.totals()["dropped", "instruments", "buffer_full"] == 150


class Odd:
    """Converts to no number, in its own way."""

    def __float__(self) -> float:
        raise KeyError("odd")


@pytest.mark.parametrize("with_numpy", [True, False])
@pytest.mark.parametrize("odd", [10**400, Odd(), 1e308, 1.2e154, math.nan, "x"])
def test_one_odd_value_costs_no_other(odd: Any, with_numpy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stands among good values, the good ones are counted, and so are those of other instruments."""
    if not with_numpy:
        monkeypatch.setattr(aggregate, "numpy_module", lambda: None)
    with testing.capture() as telemetry:
        for make in (otelml.histogram("h").bind().record, otelml.counter("c").bind().add):
            for value in (1, odd, 2, odd, 3):
                make(value)
        otelml.counter("z").add(1)
        assert telemetry.point("h").count - (2 if isinstance(odd, float) and odd < math.inf else 0) == 3
        assert telemetry.value("z") == 1
        lost = sum(n for (kind, *_), n in internal.totals().items() if kind == "dropped")
        assert (telemetry.value("c") or 0) >= 6 or lost >= 4


def test_copies_and_pickles_are_the_same_series() -> None:
    """A model that holds a bound series may be copied and sent to a worker; what the copy records arrives."""
    with testing.capture() as telemetry:
        bound = otelml.counter("c").bind(a="b")
        for copied in (copy.copy(bound), copy.deepcopy(bound), pickle.loads(pickle.dumps(bound))):  # noqa: S301
            copied.add(1)
        copy.deepcopy(otelml.counter("c")).add(1, {"a": "b"})
        pickle.loads(pickle.dumps(otelml.counter("c"))).add(1, {"a": "b"})  # noqa: S301
        assert telemetry.value("c", {"a": "b"}) == 5


def test_integers_beyond_otlp_become_floats() -> None:
    """One of 2^63 in a batch would cost the whole export, and every later one."""
    from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

    with testing.capture() as captured:
        otelml.gauge("big.gauge").set(2**63)
        counter = otelml.counter("big.counter")
        for amount in (2**62, 2**62, 5):
            counter.add(amount)
            captured.tick()
        otelml.counter("fine").add(2**63 - 1)
        values = {name: points[0].value for name, points in captured.points().items()}
        assert encode_metrics(captured.metrics_data()).resource_metrics
    assert values["big.gauge"] == 2.0**63
    assert values["big.counter"] == pytest.approx(2.0**63)
    assert (values["fine"], type(values["fine"])) == (2**63 - 1, int)


def test_text_that_cannot_be_sent_is_replaced() -> None:
    """A lone surrogate, as in a file name that is no UTF-8, would lose the attribute on the way out."""
    with testing.capture() as captured:
        otelml.counter("odd.text").add(1, {"name": "a\ud800b", "fine": "\u00e9"})
        assert dict(captured.points()["odd.text"][0].attributes) == {"name": "a?b", "fine": "\u00e9"}
