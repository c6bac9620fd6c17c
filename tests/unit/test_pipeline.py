"""Clustering and temporal smoothing: the events of the printed examples, with their metrics."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from otelml import pipeline, testing
from otelml.instruments import internal


def event_of(telemetry: testing.Capture, name: str) -> dict[str, Any]:
    """The fields of the only event of that name; where it was written is checked apart."""
    (log,) = [each.log_record for each in telemetry.logs if each.log_record.event_name == f"ml.{name}"]
    return {key: value for key, value in log.attributes.items() if not key.startswith("code.")}


def test_a_clustering_is_an_event_with_its_metrics() -> None:
    """The example of the conv2d system: its fields, the clusters as a gauge, the silhouette as a score."""
    with testing.capture() as telemetry:
        pipeline.clustering(
            algorithm="gmm", k_clusters=4, n_samples=1000, silhouette_score=0.68, merge_operations=2,
            hungarian_matching=True, duration_s=0.1567,
        )  # fmt: skip
        assert event_of(telemetry, "clustering") == {
            "algorithm": "gmm",
            "k_clusters": 4,
            "n_samples": 1000,
            "silhouette_score": 0.68,
            "merge_operations": 2,
            "clusters_final": 4,
            "hungarian_matching": True,
            "clustering_duration_ms": pytest.approx(156.7),
        }
        assert telemetry.value("ml.clustering.cluster.count", {"ml.clustering.algorithm": "gmm"}) == 4
        assert (
            telemetry.value(
                "ml.evaluation.score", {"ml.model.name": "gmm", "ml.evaluation.metric": "silhouette"}
            )
            == 0.68
        )
        telemetry.assert_conforms()


def test_clusters_found_and_the_model_can_be_told() -> None:
    """Clusters in the end win over those asked for, the score has the model's name, and unknown fields are absent."""
    with testing.capture() as telemetry:
        pipeline.clustering(
            algorithm="gmm", k_clusters=np.int64(8), clusters_final=5, silhouette_score=np.float32(-0.25), model="m"
        )  # fmt: skip
        assert event_of(telemetry, "clustering") == {
            "algorithm": "gmm", "k_clusters": 8, "clusters_final": 5, "silhouette_score": -0.25,
        }  # fmt: skip
        points = telemetry.points()
        assert [(p.value, dict(p.attributes)) for p in points["ml.evaluation.score"]] == [
            (-0.25, {"ml.model.name": "m", "ml.evaluation.metric": "silhouette"})
        ]
        assert [p.value for p in points["ml.clustering.cluster.count"]] == [5]


def test_smoothing_is_an_event_with_transitions_of_both_sides() -> None:
    """The example of the conv2d system: 87 transitions become 34, 60.9 % less."""
    with testing.capture() as telemetry:
        pipeline.temporal_smoothing(
            policy="median_hysteresis", min_dwell=5, window_size=7, transitions_before=87, transitions_after=34,
            duration_s=0.0124,
        )  # fmt: skip
        assert event_of(telemetry, "temporal_smoothing") == {
            "policy": "median_hysteresis",
            "min_dwell": 5,
            "window_size": 7,
            "transitions_before": 87,
            "transitions_after": 34,
            "reduction_percent": pytest.approx(60.9, abs=0.05),
            "smoothing_duration_ms": pytest.approx(12.4),
        }
        points = {
            point.attributes["ml.smoothing.side"]: (point.attributes["ml.smoothing.policy"], point.value)
            for point in telemetry.points()["ml.smoothing.transitions"]
        }
        assert points == {"before": ("median_hysteresis", 87), "after": ("median_hysteresis", 34)}
        telemetry.assert_conforms()


def test_the_reduction_of_nothing_is_unknown() -> None:
    """Without a transition before there is no reduction to speak of; transitions add up over calls."""
    with testing.capture() as telemetry:
        pipeline.temporal_smoothing(policy="p", transitions_before=0, transitions_after=0)
        assert "reduction_percent" not in event_of(telemetry, "temporal_smoothing")
        pipeline.temporal_smoothing(policy="p", transitions_before=3, transitions_after=1)
        pipeline.temporal_smoothing(policy="p", transitions_before=4, transitions_after=1)
        before = {"ml.smoothing.policy": "p", "ml.smoothing.side": "before"}
        assert telemetry.value("ml.smoothing.transitions", before) == 7


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 1.5, -1.01, "high", True, 10**400, None])
def test_a_score_that_cannot_be_is_absent(score: Any) -> None:
    """What is no silhouette stands neither in the event nor among the scores; the rest is written."""
    with testing.capture() as telemetry:
        pipeline.clustering(algorithm="gmm", k_clusters=4, silhouette_score=score)
        assert event_of(telemetry, "clustering") == {
            "algorithm": "gmm", "k_clusters": 4, "clusters_final": 4,
        }  # fmt: skip
        assert "ml.evaluation.score" not in telemetry.points()
        dropped = internal.totals().get(("dropped", "pipeline", "silhouette_score"), 0)
        assert dropped == (0 if score is None else 1)


def test_counts_that_cannot_be_do_not_reach_the_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a transition, or fewer than none, is left out and counted; the event says what it knows."""
    monkeypatch.setattr(internal, "raise_errors", False)
    with testing.capture() as telemetry:
        pipeline.temporal_smoothing(policy="p", transitions_before=-1, transitions_after=0.5)  # type: ignore[arg-type]
        assert event_of(telemetry, "temporal_smoothing") == {"policy": "p"}
        assert "ml.smoothing.transitions" not in telemetry.points()
        dropped = {reason: n for (kind, _, reason), n in internal.totals().items() if kind == "dropped"}
        assert dropped == {"transitions_before": 1, "transitions_after": 1}


def test_a_series_without_a_name_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has neither an algorithm nor a policy is an event alone, which says what is missing."""
    monkeypatch.setattr(internal, "raise_errors", False)
    with testing.capture() as telemetry:
        pipeline.clustering(algorithm=None, k_clusters=4, silhouette_score=0.5)  # type: ignore[arg-type]
        pipeline.temporal_smoothing(policy=None, transitions_before=4, transitions_after=2)  # type: ignore[arg-type]
        assert [name for name in telemetry.points() if name.startswith("ml.")] == []
        assert event_of(telemetry, "clustering")["clusters_final"] == 4
        pipeline.clustering(algorithm=None, k_clusters=4, silhouette_score=0.5, model="m")  # type: ignore[arg-type]
        assert [name for name in telemetry.points() if name.startswith("ml.")] == ["ml.evaluation.score"]


def test_events_are_written_from_where_they_are_called() -> None:
    """The record has this function's name, and what the caller adds: a message and fields of his own."""
    with testing.capture() as telemetry:
        pipeline.clustering(algorithm="gmm", k_clusters=2, message="Clustered.", fold=3)
        (log,) = telemetry.logs
        assert log.log_record.body == "Clustered."
        assert log.log_record.attributes["fold"] == 3
        assert log.log_record.attributes["code.function.name"].endswith(
            "test_events_are_written_from_where_they_are_called"
        )
        assert log.log_record.severity_text == logging.getLevelName(logging.INFO)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([], 0), ([1], 0), (3, 0), ([1, 1, 2, 2, 1], 2), ("aab", 0), (list("aab"), 1), ([[1, 2, 2], [3, 3, 3]], 1)],
)  # fmt: skip
def test_transitions_are_counted_along_the_last_axis(labels: Any, expected: int) -> None:
    """A transition is a label that differs from the one before it in the same row."""
    assert pipeline.count_transitions(labels) == expected


def test_transitions_of_odd_labels() -> None:
    """Rows of different lengths are counted one by one; nothing beside nothing is no transition."""
    nan = float("nan")
    assert pipeline.count_transitions([[1, 2], [1, 1, 2, 3]]) == 3
    assert pipeline.count_transitions([1.0, nan, nan, 1.0]) == 2
    assert pipeline.count_transitions(iter([1, 2, 2, 1])) == 2
