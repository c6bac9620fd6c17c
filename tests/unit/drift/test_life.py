"""The life of a monitor: taken over, closed, gone, copied, interrupted; and settings that can never work."""

from __future__ import annotations

import copy
import gc
import logging
import pickle
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from otelml.drift import DriftMonitor, DriftReference, record_drift
from otelml.drift import pushed as drift_pushed
from otelml.drift.scores import METHODS
from otelml.drift.tracks import Tumbling
from otelml.instruments import internal, table
from otelml.testing import capture

EVEN = DriftReference.fit(np.arange(1000.0), bins=4)
LETTERS = DriftReference.fit({"letter": list("abcd") * 100})
OTHERS = DriftReference.fit({"letter": list("xy") * 200})

GAUGES = ("score", "noise_floor", "threshold", "reference.proportion")
SERIES = (*GAUGES, "observations", "alerts")


def create_judged(reference: DriftReference = LETTERS, **options: Any) -> DriftMonitor:
    """A monitor that shows all its gauges."""
    monitor = DriftMonitor(reference, window=100, **options)
    monitor.observe({"letter": list("ab") * 50})
    return monitor


def shown(captured: Any) -> dict[str, int]:
    """How many series the gauges have that are there."""
    points = captured.points()
    return {name: n for name in GAUGES if (n := len(points.get(f"ml.drift.{name}", [])))}


def shares(captured: Any) -> dict[str, float]:
    """What is shown of the reference."""
    points = captured.points().get("ml.drift.reference.proportion", [])
    return {p.attributes["ml.drift.bin"]: p.value for p in points}


ALL = {"score": 5, "noise_floor": 5, "threshold": 5, "reference.proportion": 6}


# -- what is shown, and until when


def counted(captured: Any) -> dict[str, int]:
    """What has been observed by bin, as far as it is shown."""
    points = captured.points().get("ml.drift.observations", [])
    return {p.attributes["ml.drift.bin"]: p.value for p in points}


def test_series_go_with_their_monitor() -> None:
    """When it is closed, counts once they were exported; one that nobody holds any more keeps them to the end."""
    with capture() as captured:
        monitor = create_judged()
        assert shown(captured) == ALL
        monitor.observe({"letter": ["a"] * 10})
        monitor.close()
        monitor.close()
        assert counted(captured) == {"a": 60}  # the others were complete before
        assert not [name for name in captured.points() if name.startswith("ml.drift")]
        monitor.observe({"letter": ["a"] * 100})
        monitor.observe({"letter": ["a"] * 1000})
        assert not [name for name in captured.points() if name.startswith("ml.drift")]
        assert monitor.total.observations("letter") == 1210
        monitor = create_judged()
        assert shown(captured) == ALL
        del monitor
        gc.collect()
        assert shown(captured) == ALL
        assert counted(captured) == {"a": 50, "b": 50, "c": 0, "d": 0, "other": 0, "missing": 0}
        captured.assert_conforms()


def test_a_new_reference_takes_the_place_of_the_old_one(caplog: pytest.LogCaptureFixture) -> None:
    """Its bins alone are shown, and its scores, whatever the old one goes on to observe; said once."""
    with capture() as captured, caplog.at_level(logging.WARNING):
        old = create_judged(model="m1")
        new = DriftMonitor(OTHERS, model="m1", window=100)
        old.observe({"letter": list("ab") * 50})
        expected = {"x": 0.5, "y": 0.5, "other": 0.0, "missing": 0.0}
        assert (shares(captured), shown(captured)) == (expected, {"reference.proportion": 4})
        assert counted(captured) == {"x": 0, "y": 0, "other": 0, "missing": 0}
        assert old.total.counts("letter")["a"] == 100
        old.close()
        del old
        gc.collect()
        assert shares(captured) == expected
        assert [r.getMessage().partition(";")[0] for r in caplog.records if r.name == "otelml.internal"] == [
            "otelml: another drift monitor was shown as 'letter'"
        ]
        new.close()
        DriftMonitor(OTHERS, model="m1").close()
        DriftMonitor(LETTERS, name="other").close()
    assert len([r for r in caplog.records if r.name == "otelml.internal"]) == 1


@pytest.mark.parametrize("closing", [True, False], ids=["closed", "replaced"])
def test_a_thousand_monitors_one_after_the_other(closing: bool) -> None:
    """Each with classes, and if closed a model, of its own: the last has all its series, the others have none."""
    with capture() as captured:
        for i in range(1000):
            letters = [f"{letter}{i}" for letter in "abcdefghij"]
            model = f"m{i}" if closing else "m"
            monitor = DriftMonitor(DriftReference.fit({"letter": letters * 10}), model=model, window=100)
            monitor.observe({"letter": letters * 10})
            if i % 100 == 0:
                assert shown(captured) == {**ALL, "reference.proportion": 12}
            if closing and i < 999:
                monitor.close()
        assert shown(captured) == {**ALL, "reference.proportion": 12}
        assert counted(captured) == {**dict.fromkeys(letters, 10), "other": 0, "missing": 0}
        series = {
            name: (len(each.series), len(each.released))
            for name, each in table.instruments.items()
            if name.startswith("ml.drift")
        }
        assert series == {
            **{f"ml.drift.{name}": (len(METHODS), 0) for name in ("score", "noise_floor", "threshold")},
            "ml.drift.reference.proportion": (12, 0),
            "ml.drift.observations": (12, 0),
            "ml.drift.alerts": (1, 0),
        }
        assert not internal.totals()
        captured.assert_conforms()


def test_a_closed_monitor_records_nothing_that_nobody_takes_away() -> None:
    """It goes on to judge and to alert, and what it had to record to does not grow."""
    with capture() as captured:
        monitor = DriftMonitor(EVEN, window=100, patience=1)
        series = [bound for name in SERIES for bound in table.instruments[f"ml.drift.{name}"].all_series()]
        monitor.close()
        captured.points()
        waiting = [bound.waiting() for bound in series]
        monitor.observe(np.zeros(100))
        assert monitor.drifted == ("value",)
        assert [bound.waiting() for bound in series] == waiting
        assert len(series) == 3 * len(METHODS) + 2 * 7 + 1


def test_alerts_of_a_feature_are_counted_as_long_as_one_model_has_it() -> None:
    """They have no model of their own: closing the monitor of one does not end the other's."""
    with capture() as captured:
        first, second = (DriftMonitor(EVEN, model=model, window=100, patience=1) for model in ("a", "b"))
        first.close()
        captured.points()
        second.observe(np.zeros(100))
        assert [p.value for p in captured.points()["ml.drift.alerts"]] == [1]
        second.close()
        captured.points()
        assert "ml.drift.alerts" not in captured.points()


def test_starting_anew_takes_the_scores_back() -> None:
    """The reference stays."""
    with capture() as captured:
        monitor = create_judged()
        monitor.start_anew()
        assert shown(captured) == {"reference.proportion": 6}
        assert monitor.scores() == {}


def test_many_features_are_said_in_one_breath(caplog: pytest.LogCaptureFixture) -> None:
    """Those without a reference, those without room, those taken over, and those that cannot be counted."""
    random = np.random.default_rng(0)
    wide = DriftReference.fit({f"f{i}": random.normal(size=300) for i in range(400)})
    with capture(), caplog.at_level(logging.WARNING, "otelml.internal"):
        first = DriftMonitor(wide)
        second = DriftMonitor(wide)
        second.observe({f"g{i}": [1.0] for i in range(1200)})
        second.observe({f"f{i}": ["text"] for i in range(400)})
    said = [r.getMessage() for r in caplog.records]
    assert len(said) < 8
    assert any("reference for 'g0', 'g1', 'g2' and 1197 more" in text for text in said)
    assert any("shown as 'f0', 'f1', 'f2' and 397 more" in text for text in said)
    assert any("ml.drift.observations has no room for the" in text and " more," in text for text in said)
    assert internal.totals()["dropped", "drift", "unknown_feature"] == 1200
    assert internal.totals()["errors", "drift", "type"] == 400
    del first


# -- copies


def test_a_copy_is_the_monitor_itself_and_a_pickle_its_configuration() -> None:
    """So that a model that holds one can be copied, and sent to a worker."""
    monitor = DriftMonitor(
        EVEN,
        name="n",
        model="m",
        window=50,
        half_life=70.0,
        threshold={"psi": 0.3},
        method=("psi", "ks"),
        patience=2,
        min_count=5,
    )
    monitor.observe([1.0, 2.0])
    assert copy.copy(monitor) is monitor
    assert copy.deepcopy({"m": monitor})["m"] is monitor
    again = pickle.loads(pickle.dumps(monitor))  # noqa: S301 - our own
    assert again.__reduce__() == monitor.__reduce__()
    assert (again.total.observations("value"), monitor.total.observations("value")) == (0, 2)


# -- signal handlers


class Interrupted(Tumbling):
    """A window in the middle of whose counting a signal arrives, once."""

    action: Callable[[], object] | None = None

    def add(self, tally: Any, n: float) -> Any:
        self._vector += tally
        action, self.action = self.action, None
        if action is not None:
            signal.raise_signal(signal.SIGUSR1)
        self._vector -= tally
        return super().add(tally, n)


@pytest.fixture
def on_signal() -> Any:
    """Has a function called when the process gets a signal."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda action: signal.signal(signal.SIGUSR1, lambda *_: action())
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.timeout(20)
def test_a_signal_handler_may_read_and_observe(on_signal: Any) -> None:
    """In the middle of a batch too: nothing waits for itself, and nothing is lost or counted twice."""
    monitor = DriftMonitor(EVEN, window=100)
    watch = monitor._watches["value"]
    watch.track = track = Interrupted(watch.feature.size, 100)
    found: list[Any] = []

    def handle() -> None:
        found.extend([monitor.scores(), monitor.total.observations("value")])
        monitor.observe(np.zeros(60))
        monitor.close_window()
        monitor.merge(monitor)

    on_signal(handle)
    track.action = handle
    monitor.observe(np.full(50, 999.0))
    assert found == [{}, 50]
    assert monitor.total.counts("value") == dict.fromkeys(EVEN["value"].parts[0].bins.labels, 0) | {
        "00": 60, "03": 50,
    }  # fmt: skip
    assert monitor.scores()["value"]["psi"].n == 110


@pytest.mark.timeout(20)
def test_a_signal_handler_may_record_a_score(on_signal: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of another one."""
    find, seen = drift_pushed._episode, []

    def interrupt(*arguments: Any) -> Any:
        if not seen:
            seen.append(True)
            signal.raise_signal(signal.SIGUSR1)
        return find(*arguments)

    monkeypatch.setattr(drift_pushed, "_episode", interrupt)
    on_signal(lambda: record_drift(0.5, feature="x"))
    with capture() as captured:
        record_drift(0.3, feature="x")
        alerts = [p.value for p in captured.points()["ml.drift.alerts"]]
    assert (alerts, seen) == ([1], [True])


# -- settings


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"threshold": "abc"}, TypeError, "threshold must be a number, not 'abc'"),
        ({"threshold": [0.1]}, TypeError, "threshold must be a number, not"),
        ({"threshold": float("nan")}, ValueError, "threshold must be finite, not nan"),
        ({"threshold": {"PSI": 0.2}}, ValueError, "'PSI' is no method of drift: one of psi"),
        ({"threshold": {"psi": "x"}}, TypeError, "threshold of psi must be a number, not 'x'"),
        ({"window": "many"}, TypeError, "window must be a number, not 'many'"),
        ({"method": ()}, ValueError, "alerts need a method: one of psi"),
        ({"method": 3}, TypeError, "method must be the name of one, or several, not 3"),
        ({"method": [{"psi": 1}]}, ValueError, "is no method of drift"),
    ],
)
def test_settings_that_can_never_work_are_refused(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    """At once, and not when the first window is judged."""
    with pytest.raises(error, match=said):
        DriftMonitor(EVEN, **options)


def test_a_threshold_may_be_of_any_number_and_of_performance() -> None:
    """Numbers of numpy, and `difference`."""
    assert DriftMonitor(EVEN, threshold=np.float32(0.5)).threshold == 0.5
    assert DriftMonitor(EVEN, threshold={"difference": 1}).threshold == {"difference": 1.0}


class Unspeakable:
    """Neither text nor a number."""

    def __str__(self) -> str:
        raise RuntimeError

    __float__ = __int__ = __str__  # type: ignore[assignment]


def test_recording_a_score_never_raises() -> None:
    """Whatever it is told: what is no number is left out, what is no name becomes a text."""
    with capture() as captured:
        record_drift(0.01, feature="p", patience=0)
        record_drift(0.01, feature="p", patience=Unspeakable())  # type: ignore[arg-type]
        record_drift(0.2, method={"a": 1}, feature=7, model=["m"])  # type: ignore[arg-type]
        record_drift(0.2, method=Unspeakable())  # type: ignore[arg-type]
        record_drift("abc")  # type: ignore[arg-type]
        record_drift(Unspeakable())  # type: ignore[arg-type]
        record_drift(10**400)
        scores = {
            tuple(p.attributes.get(f"ml.{key}") for key in ("drift.method", "feature.name", "model.name"))
            for p in captured.points()["ml.drift.score"]
        }
        alerts = {p.attributes.get("ml.feature.name"): p.value for p in captured.points()["ml.drift.alerts"]}
        captured.assert_conforms()
    assert scores == {("other", "p", None), ("{'a': 1}", "7", "['m']"), ("<unreadable>", None, None)}
    assert alerts == {"p": 0, "7": 1, None: 1}
    assert internal.totals() == {("dropped", "drift", "non_finite_value"): 3}


# -- text that cannot be sent


def test_labels_can_be_sent() -> None:
    """Classes with half a surrogate pair keep bins of their own, with labels that UTF-8 can say."""
    values = ["\ud800", "\udfff", "?", "b"] * 20
    with capture() as captured:
        monitor = DriftMonitor(DriftReference.fit(values), window=80)
        monitor.observe(values)
        found = {p.attributes["ml.drift.bin"]: p.value for p in captured.points()["ml.drift.observations"]}
    assert found == {"?": 20, "? (2)": 20, "? (3)": 20, "b": 20, "other": 0, "missing": 0}
