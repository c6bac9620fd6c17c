"""Monitors: windows, alerts and what they show, and that nothing they are given does harm."""

from __future__ import annotations

import logging
import multiprocessing
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelml.drift import DriftMonitor, DriftReference, DriftWindow, record_drift
from otelml.drift.alerts import Change, Episode
from otelml.drift.scores import Score
from otelml.drift.tracks import Decayed, Tumbling
from otelml.instruments import internal
from otelml.testing import capture

EVEN = DriftReference.fit(np.arange(1000.0), bins=4)
"""Four bins of 250 each."""


def values(share_high: float, n: int = 100) -> Any:
    """Values in the first and the last of the four bins."""
    high = round(n * share_high)
    return np.array([0.0] * (n - high) + [999.0] * high)


def events_of(captured: Any) -> list[tuple[str, dict[str, Any]]]:
    """Names and fields of the events so far."""
    records = [log.log_record for log in captured.logs]
    fields = (
        "kind",
        "method",
        "score",
        "threshold",
        "noise_floor",
        "feature",
        "model",
        "windows",
        "observations",
    )
    return [
        (record.event_name, {key: record.attributes[key] for key in fields if key in record.attributes})
        for record in records
        if record.event_name
    ]


# -- windows


def test_a_tumbling_window_starts_anew() -> None:
    """It closes with the batch that completes it, and forgets."""
    track = Tumbling(2, 100)
    batch = np.array([30.0, 30.0])
    assert track.add(batch, 60) is None
    closed = track.add(batch, 60)
    assert closed is not None
    assert (closed.vector.tolist(), closed.n) == ([60.0, 60.0], 120.0)
    assert (track.peek(), track.close()) == (None, None)


def test_a_decayed_window_forgets_slowly() -> None:
    """Half of the weight after a half-life; it stands for Kish's effective number of observations."""
    track = Decayed(1, 100, half_life=100)
    assert track.add(np.array([50.0]), 50) is None
    closed = track.add(np.array([100.0]), 100)
    assert closed is not None
    weights = 0.5 ** (np.arange(0.5, 150) / 100)
    assert closed.vector.tolist() == pytest.approx([weights.sum()], rel=1e-4)
    assert closed.n == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-4)


@pytest.mark.parametrize("batch", [1, 10, 500, 2000])
def test_a_decayed_window_does_not_depend_on_batches(batch: int) -> None:
    """What is observed at once weighs as much as piece by piece."""
    track = Decayed(1, 100, half_life=300)
    for _ in range(2000 // batch):
        track.add(np.array([float(batch)]), batch)
    closed = track.peek()
    assert closed is not None
    weights = 0.5 ** (np.arange(0.5, 2000) / 300)
    assert closed.vector.tolist() == pytest.approx([weights.sum()], rel=1e-4)
    assert closed.n == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), rel=1e-4)


def test_a_half_life_that_never_gives_a_score_is_refused() -> None:
    """Such a window stands for 2.9 half-lives at most."""
    with pytest.raises(
        ValueError, match=r"half_life=10 is too short: .* more than 29 observations, .* needs 40"
    ):
        DriftMonitor(EVEN, half_life=10)
    DriftMonitor(EVEN, half_life=10, min_count=20, name="short")
    DriftMonitor(EVEN, half_life=14)


def test_scores_are_of_the_latest_window() -> None:
    """Until one is complete, of what there is; with too little of it, there is none."""
    monitor = DriftMonitor(EVEN, window=100)
    monitor.observe(values(0.5, 30))
    assert monitor.scores() == {}
    monitor.observe(values(0.5, 40))
    assert monitor.scores()["value"]["tv"].value == pytest.approx(0.5)
    monitor.observe(values(1.0, 70))
    first = monitor.scores()
    assert first["value"]["tv"].n == 140
    monitor.observe(np.arange(0, 1000, 12.5))
    assert monitor.scores() == first
    monitor.close_window()
    assert monitor.scores()["value"]["tv"].value == pytest.approx(0)


def test_a_window_holds_at_least_the_minimum() -> None:
    """Whatever was asked for: four bins need forty."""
    monitor = DriftMonitor(EVEN, window=10)
    monitor.observe(values(0.5, 30))
    assert monitor.scores() == {}


@given(st.lists(st.lists(st.floats(-10, 1010), max_size=20), min_size=1, max_size=8), st.integers(1, 3))
def test_monitors_add_up(batches: list[list[float]], ranks: int) -> None:
    """However batches are spread over ranks and windows, the merged counts are those of all values at once."""
    monitors = [DriftMonitor(EVEN, window=40 + rank) for rank in range(ranks)]
    for i, batch in enumerate(batches):
        monitors[i % ranks].observe(np.array(batch))
    whole = DriftWindow(EVEN)
    whole.observe(np.array([value for batch in batches for value in batch]))
    assert monitors[0].merge(*monitors[1:]).vector.tolist() == whole.vector.tolist()
    assert monitors[0].merge(*(m.total for m in monitors[1:])).scores() == whole.scores()


# -- alerts


def test_an_alert_takes_windows_in_a_row_and_clears_with_a_gap() -> None:
    """Above threshold and noise; then below 0.8 of the threshold, or within the noise."""

    def step(value: float, noise: float = 0.0) -> tuple[Change | None, bool]:
        return episode.update(Score(value, noise, 0.1, 100)), episode.open

    episode = Episode(patience=2)
    found = [step(v) for v in (0.2, 0.05, 0.2, 0.11, 0.09, 0.07, 0.09, 0.07, 0.07, 0.2)]
    assert [change for change, _ in found] == [
        None, None, None, Change.DETECTED, None, None, None, None, Change.CLEARED, None,
    ]  # fmt: skip
    assert step(0.2, noise=0.3) == (None, False)
    assert [step(0.2), step(0.2)] == [(None, False), (Change.DETECTED, True)]
    assert [step(0.2, noise=0.3), step(0.2, noise=0.3)] == [(None, True), (Change.CLEARED, False)]


def test_an_episode_from_the_first_window_to_the_last() -> None:
    """One event and one count when it begins, one event when it is over, however long it lasts."""
    with capture() as captured:
        monitor = DriftMonitor(EVEN, name="input", model="m1", window=100, patience=2)
        for share in (None, 1.0, 1.0, 1.0, None, None, None):
            monitor.observe(np.arange(0, 1000, 10.0) if share is None else values(share))
            if share:
                drifted = monitor.drifted
        found = events_of(captured)
        alerts = captured.value(
            "ml.drift.alerts", {"ml.drift.kind": "distribution", "ml.feature.name": "input"}
        )
        captured.assert_conforms()
    assert drifted == ("value",)
    assert monitor.drifted == ()
    psi = 3 * (0.25 - 1e-4) * np.log(0.25 / 1e-4) + 0.75 * np.log(4)
    about = {"kind": "distribution", "method": "psi", "threshold": 0.1, "noise_floor": 3 * (1 / 100 + 1 / 1000),
             "feature": "input", "model": "m1", "windows": 2, "observations": 100}  # fmt: skip
    assert [name for name, _ in found] == ["ml.drift_detected", "ml.drift_cleared"]
    assert found[0][1] == {
        key: pytest.approx(v) if key == "noise_floor" else v for key, v in about.items()
    } | {"score": pytest.approx(psi)}
    assert found[1][1]["score"] == pytest.approx(0, abs=1e-9)
    assert alerts == 1


def test_an_alert_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """And its end is not."""
    monitor = DriftMonitor(EVEN, window=100, patience=1)
    with caplog.at_level(logging.INFO):
        monitor.observe(values(1.0))
        monitor.observe(np.arange(0, 1000, 10.0))
    assert [
        (r.levelname, r.getMessage().partition(":")[0]) for r in caplog.records if r.name == "otelml"
    ] == [
        ("WARNING", "value has drifted from its reference"),
        ("INFO", "value is back at its reference"),
    ]


def test_each_kind_of_drift_is_told_apart(reference: DriftReference, make_batch: Any) -> None:
    """All features drift; confidence and performance say so themselves."""
    with capture() as captured:
        monitor = DriftMonitor(reference, window=2000, patience=1)
        monitor.observe(make_batch(1, 2000))
        assert (events_of(captured), monitor.drifted) == ([], ())
        monitor.observe(make_batch(2, 2000, shift=1.0))
        found = {fields["feature"]: (fields["kind"], fields["method"]) for _, fields in events_of(captured)}
        captured.assert_conforms()
    assert found == {
        "age": ("distribution", "psi"),
        "city": ("distribution", "psi"),
        "embedding": ("distribution", "psi"),
        "confidence": ("confidence", "psi"),
        "accuracy": ("performance", "difference"),
    }
    assert set(monitor.drifted) == set(reference)


def test_alerts_go_by_the_methods_that_were_chosen() -> None:
    """Each has its own."""
    with capture() as captured:
        DriftMonitor(EVEN, window=100, patience=1, method=("ks", "tv"), threshold={"ks": 0.9}).observe(
            values(1.0)
        )
        found = [fields["method"] for _, fields in events_of(captured)]
    assert found == ["tv"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "kl"}, "'kl' is no method of drift: one of psi, js"),
        ({"window": 0}, "window must be positive, not 0"),
        ({"half_life": -1.0}, "half_life must be positive, not -1.0"),
        ({"half_life": float("nan")}, "half_life must be positive, not nan"),
        ({"patience": 0}, "patience must be positive, not 0"),
        ({"min_count": 0}, "min_count must be positive, not 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    """At once, by name."""
    with pytest.raises(ValueError, match=said):
        DriftMonitor(EVEN, **options)


def test_a_decayed_window_raises_an_alert_too() -> None:
    """What came first has faded by then."""
    monitor = DriftMonitor(EVEN, window=100, half_life=100, patience=1, threshold=0.5)
    for _ in range(5):
        monitor.observe(np.arange(0, 1000, 10.0))
    assert monitor.drifted == ()
    for _ in range(5):
        monitor.observe(values(1.0))
    assert monitor.drifted == ("value",)
    score = monitor.scores()["value"]["tv"]
    assert score.value == pytest.approx(0.75 * (1 - 0.5**5 * (1 - 0.5**5) / (1 - 0.5**10)))
    assert score.n == pytest.approx(200 / np.log(2) / 3 * (2 - 2 * 0.5**10) ** 2 / ((1 - 0.25**10) / 0.75))


def test_scores_of_other_making_are_shown_and_raise_alerts() -> None:
    """As those of a monitor do, by kind."""
    with capture() as captured:
        for score in (0.05, 0.12, 0.13, 0.09, float("nan"), 0.01):
            record_drift(score, kind="confidence", model="m1")
        record_drift(0.3, kind="performance", method="mine", feature="accuracy", threshold=0.5)
        about = {"ml.drift.kind": "confidence", "ml.drift.method": "other", "ml.model.name": "m1"}
        assert captured.value("ml.drift.score", about) == 0.01
        assert captured.value("ml.drift.threshold", about) == 0.1
        alerts = {p.attributes["ml.drift.kind"]: p.value for p in captured.points()["ml.drift.alerts"]}
        found = events_of(captured)
        captured.assert_conforms()
    common = {"kind": "confidence", "method": "other", "threshold": 0.1, "model": "m1", "windows": 1}
    assert found == [
        ("ml.drift_detected", common | {"score": 0.12}),
        ("ml.drift_cleared", common | {"score": 0.01}),
    ]
    assert alerts == {"confidence": 1, "performance": 0}
    assert internal.totals() == {("dropped", "drift", "non_finite_value"): 1}


def test_a_kind_that_there_is_not_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """And counts as distribution."""
    with capture() as captured, caplog.at_level(logging.WARNING):
        record_drift(0.01, kind="covariate")
        assert [p.attributes["ml.drift.kind"] for p in captured.points()["ml.drift.score"]] == [
            "distribution"
        ]
    assert internal.totals() == {("errors", "drift", "kind"): 1}
    assert "drift has no kind 'covariate'" in caplog.text


# -- what is shown


def test_every_bin_starts_at_nought_beside_its_share() -> None:
    """Before the first observation, so that the first increase counts; gauges of scores are absent."""
    with capture() as captured:
        monitor = DriftMonitor(EVEN, name="input", model="m1")
        labels = ("below", "00", "01", "02", "03", "above", "missing")

        def shown(metric: str) -> list[Any]:
            return [
                captured.point(
                    metric, {"ml.feature.name": "input", "ml.model.name": "m1", "ml.drift.bin": label}
                ).value
                for label in labels
            ]

        assert shown("ml.drift.observations") == [0] * 7
        assert shown("ml.drift.reference.proportion") == [0, 0.25, 0.25, 0.25, 0.25, 0, 0]
        monitor.observe([-1, 0, 1, 600, float("inf"), None])
        assert shown("ml.drift.observations") == [1, 2, 0, 1, 0, 1, 1]
        assert shown("ml.drift.reference.proportion") == [0, 0.25, 0.25, 0.25, 0.25, 0, 0]
        assert captured.points().get("ml.drift.score", []) == []
        captured.assert_conforms()


def test_scores_are_shown_with_noise_and_threshold() -> None:
    """Of the latest window, by method."""
    with capture() as captured:
        monitor = DriftMonitor(EVEN, window=100)
        monitor.observe(values(0.5))
        scores = monitor.scores()["value"]
        for field, metric in (("value", "score"), ("noise_floor", "noise_floor"), ("threshold", "threshold")):
            shown = {
                p.attributes["ml.drift.method"]: p.value
                for p in captured.points().get(f"ml.drift.{metric}", [])
            }
            assert shown == {method: getattr(score, field) for method, score in scores.items()}
        captured.assert_conforms()


def test_parts_of_an_embedding_have_series_of_their_own(reference: DriftReference) -> None:
    """Their names say which; two features of a monitor with a name share that."""
    with capture() as captured:
        DriftMonitor(reference, name="live")
        names = {p.attributes["ml.feature.name"] for p in captured.points().get("ml.drift.observations", [])}
    parts = [*(f"live.embedding[p{i}]" for i in range(8)), "live.embedding[norm]"]
    assert names == {"live.age", "live.city", "live.confidence", *parts}


def test_what_has_no_room_is_left_out_as_a_whole(caplog: pytest.LogCaptureFixture) -> None:
    """No bins of a feature rather than some; its scores and alerts are there all the same."""
    wide = DriftReference.fit(
        np.random.default_rng(0).normal(size=(300, 250)), kinds="embedding", projections=0
    )
    with capture() as captured, caplog.at_level(logging.WARNING):
        monitor = DriftMonitor(wide, window=300, min_count=100)
        DriftMonitor(EVEN, name="small")
        names = {p.attributes["ml.feature.name"] for p in captured.points().get("ml.drift.observations", [])}
        monitor.observe(np.random.default_rng(1).normal(size=(300, 250)))
        assert [p.attributes["ml.drift.method"] for p in captured.points().get("ml.drift.score", [])].count(
            "psi"
        ) == 1
        captured.assert_conforms()
    assert names == {"small"}
    assert internal.totals()["overflow", "drift", "ml.drift.observations"] == 250 * 23
    assert "no room for the 5750 series of 'value'" in caplog.text


def test_monitors_made_again_and_again_fill_no_room() -> None:
    """The series are the same."""
    with capture() as captured:
        for _ in range(900):
            DriftMonitor(EVEN, name="again").observe([1.0])
        assert sum(p.value for p in captured.points().get("ml.drift.observations", [])) == 900
    assert internal.totals() == {}


# -- what does no harm


HARMLESS = {
    "nan": {"age": np.full(10, np.nan)},
    "infinite": {"age": [float("inf"), float("-inf")]},
    "empty": {"age": [], "city": [], "embedding": np.empty((0, 16)), "accuracy": []},
    "one value": {"age": 3.0, "city": "Oslo", "accuracy": 1},
    "all equal": {"age": np.ones(500)},
    "huge integers": {"age": [10**400, -(10**400), 2**63]},
    "a class never seen": {"city": ["Atlantis", "🏙️", "", "x" * 1_000_000]},
    "classes of all types": {"city": [1, None, b"\xff", (1, 2), [3], object]},
    "one row": {"embedding": np.zeros(16)},
    "not finite rows": {"embedding": np.full((3, 16), np.inf)},
    "nothing": {},
    "an empty array": np.empty((0, 2)),
}


@pytest.mark.parametrize("batch", HARMLESS.values(), ids=HARMLESS)
def test_odd_values_are_counted_where_they_belong(reference: DriftReference, batch: Any) -> None:
    """Nothing raises, and nothing is lost."""
    monitor = DriftMonitor(reference)
    monitor.observe(batch)
    if isinstance(batch, dict):
        lengths = {name: len(column) if hasattr(column, "__len__") else 1 for name, column in batch.items()}
        lengths |= {"embedding": 1} if lengths.get("embedding") == 16 else {}
        lengths |= {"city": 1} if batch.get("city") == "Oslo" else {}
        assert {name: monitor.total.observations(name) for name in lengths} == lengths
        assert internal.totals() == {}


def test_a_performance_score_that_is_not_finite_is_left_out(reference: DriftReference) -> None:
    """And counted."""
    monitor = DriftMonitor(reference)
    monitor.observe({"accuracy": [1.0, float("nan"), float("inf")]})
    assert monitor.total.observations("accuracy") == 1
    assert internal.totals() == {("dropped", "drift", "non_finite_value"): 2}


class Broken:
    def __str__(self) -> str:
        raise RuntimeError

    def __float__(self) -> float:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("column", "values", "reason", "said"),
    [
        ("age", np.ones((3, 4)), "shape", "its shape is (3, 4), not (n,)"),
        ("age", ["a", "b"], "type", "it holds object, not real numbers"),
        ("age", np.array(["2020-01-01"], "M8[D]"), "type", "it holds datetime64[D], not real numbers"),
        ("age", [Broken()], "type", "it holds a Broken, which is no real number"),
        ("embedding", np.ones((3, 4)), "shape", "its shape is (3, 4), not (n, 16)"),
        ("embedding", [[1, 2], [3]], "shape", "its rows are not all of the same length"),
        ("city", np.ones((2, 2)), "shape", "its shape is (2, 2), not (n,)"),
    ],
)
def test_a_wrong_column_takes_nothing_away_from_others(
    reference: DriftReference,
    caplog: pytest.LogCaptureFixture,
    column: str,
    values: Any,
    reason: str,
    said: str,
) -> None:
    """It is counted as an error, said once, and not observed."""
    monitor = DriftMonitor(reference)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            monitor.observe({column: values, "confidence": [0.5], "unheard_of": [1]})
    assert (monitor.total.observations(column), monitor.total.observations("confidence")) == (0, 2)
    assert internal.totals() == {("errors", "drift", reason): 2, ("dropped", "drift", "unknown_feature"): 2}
    assert [said in r.getMessage() for r in caplog.records] == [False, True]
    assert "otelml: drift has no reference for 'unheard_of'" in caplog.text


def test_values_whose_text_raises_are_one_class(reference: DriftReference) -> None:
    """An unreadable one, which the reference does not have."""
    monitor = DriftMonitor(reference)
    monitor.observe({"city": [Broken(), Broken(), "Oslo"]})
    assert {k: n for k, n in monitor.total.counts("city").items() if n} == {"Oslo": 1, "other": 2}


def test_a_tensor_on_a_device_is_not_read(reference: DriftReference) -> None:
    """The program would have to wait for it; one in memory is."""

    class Tensor:
        def __init__(self, is_cuda: bool) -> None:
            self.is_cuda = is_cuda

        def detach(self) -> Tensor:
            return self

        def numpy(self) -> Any:
            assert not self.is_cuda
            return np.array([1.0, 2.0], dtype="f4")

    monitor = DriftMonitor(reference)
    monitor.observe({"age": Tensor(is_cuda=True), "confidence": Tensor(is_cuda=False)})
    assert (monitor.total.observations("age"), monitor.total.observations("confidence")) == (0, 2)
    assert internal.totals() == {("errors", "drift", "device"): 1}


def test_threads_lose_nothing() -> None:
    """Eight of them, through many windows."""
    with capture() as captured:
        monitor = DriftMonitor(EVEN, window=100)
        threads = [
            threading.Thread(target=lambda: [monitor.observe(values(0.5, 50)) for _ in range(200)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        counted = sum(p.value for p in captured.points().get("ml.drift.observations", []))
    assert monitor.total.observations("value") == counted == 8 * 200 * 50


def observe_in_child(monitor: DriftMonitor, results: Any) -> None:
    """What a forked worker counts."""
    monitor.observe(values(0.5, 60))
    from otelml.instruments import table

    table.drain_now()
    counter = table.instruments["ml.drift.observations"]
    results.put((monitor.total.vector.tolist(), [bound.total for bound in counter.all_series()]))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_from_nought() -> None:
    """Its own observations only, whatever the parent has and holds; every bin is there again."""
    monitor = DriftMonitor(EVEN, window=100)
    monitor.observe(values(0.5, 70))
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with monitor._lock:
        child = context.Process(target=observe_in_child, args=(monitor, results))
        child.start()
    total, shown = results.get(timeout=60)
    child.join(60)
    assert total == [0, 30, 0, 0, 30, 0, 0]
    assert shown == total
    assert monitor.total.observations("value") == 70


def test_it_works_with_telemetry_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts and scores are there; series are not."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    monitor = DriftMonitor(EVEN, window=100)
    monitor.observe(values(1.0))
    assert monitor.scores()["value"]["psi"].drifted
