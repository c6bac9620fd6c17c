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
from otelml.drift.tracks import Tumbling
from otelml.instruments import internal
from otelml.testing import capture

EVEN = DriftReference.fit(np.arange(1000.0), bins=4)
LETTERS = DriftReference.fit({"letter": list("abcd") * 100})
OTHERS = DriftReference.fit({"letter": list("xy") * 200})

GAUGES = ("score", "noise_floor", "threshold", "reference.proportion")


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


def test_gauges_go_with_their_monitor() -> None:
    """When it is closed; one that nobody holds any more keeps them, for a script's last export. Counters stay."""
    with capture() as captured:
        monitor = create_judged()
        assert shown(captured) == ALL
        monitor.close()
        monitor.close()
        assert shown(captured) == {}
        monitor.observe({"letter": ["a"] * 100})
        assert shown(captured) == {}
        assert monitor.total.observations("letter") == 200
        monitor = create_judged()
        assert shown(captured) == ALL
        del monitor
        gc.collect()
        assert shown(captured) == ALL
        assert sum(p.value for p in captured.points()["ml.drift.observations"]) == 200
        captured.assert_conforms()


def test_a_new_reference_takes_the_place_of_the_old_one(caplog: pytest.LogCaptureFixture) -> None:
    """Its bins alone are shown, and its scores, whatever the old one goes on to observe; said once."""
    with capture() as captured, caplog.at_level(logging.WARNING):
        old = create_judged(model="m1")
        new = DriftMonitor(OTHERS, model="m1", window=100)
        old.observe({"letter": list("ab") * 50})
        expected = {"x": 0.5, "y": 0.5, "other": 0.0, "missing": 0.0}
        assert (shares(captured), shown(captured)) == (expected, {"reference.proportion": 4})
        counted = {p.attributes["ml.drift.bin"]: p.value for p in captured.points()["ml.drift.observations"]}
        assert (counted["a"], counted["x"], old.total.counts("letter")["a"]) == (50, 0, 100)
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
