"""Drift scores that were computed elsewhere: shown, and turned into alerts, as those of a monitor are."""

from __future__ import annotations

import math
import threading

from otelml import instruments
from otelml.drift.alerts import Episode
from otelml.drift.features import DRIFT_KINDS, drift_kind
from otelml.drift.scores import DEFAULT_THRESHOLD, Score
from otelml.drift.telemetry import Label, emit_change
from otelml.instruments import internal
from otelml.semconv import _generated as names

MAX_EPISODES = 1500
"""Series with alerts of their own; scores of more are shown, and raise none."""

_episodes: dict[tuple[str, str, str | None, str | None], Episode] = {}
_lock = threading.Lock()


def record_drift(
    score: float,
    *,
    kind: str = "distribution",
    method: str = "other",
    feature: str | None = None,
    model: str | None = None,
    threshold: float = DEFAULT_THRESHOLD,
    patience: int = 1,
) -> None:
    """Record a drift score of your own making. Never raises; a score that is not finite is left out and counted.

    Args:
        score: the latest one.
        kind: `distribution`, `confidence` or `performance`.
        method: how it was computed: `psi`, `ks`, ... or a name of yours.
        feature: of what, where it is of one feature.
        model: `ml.model.name`.
        threshold: above it counts as drift; below 0.8 of it clears an alert.
        patience: scores in a row that raise an alert, and clear it.
    """
    with internal.guard("drift"):
        score, threshold = float(score), float(threshold)
        if not (math.isfinite(score) and math.isfinite(threshold)):
            internal.count("dropped", "drift", "non_finite_value")
            return
        if kind not in DRIFT_KINDS:
            internal.count("errors", "drift", "kind")
            internal.warn_once(
                "drift:kind", "otelml: drift has no kind %.100r; it counts as distribution", kind
            )
        label = Label(feature, kind, model)
        _show(label, method, score, threshold)
        _judge(label, method, Score(score, -math.inf, threshold, 0), patience)


def _show(label: Label, method: str, score: float, threshold: float) -> None:
    attributes = label.attributes() | {
        names.ML_DRIFT_KIND: drift_kind(label.kind),
        names.ML_DRIFT_METHOD: method,
    }
    instruments.gauge(names.METRIC_ML_DRIFT_SCORE).set(score, attributes)
    instruments.gauge(names.METRIC_ML_DRIFT_THRESHOLD).set(threshold, attributes)


def _judge(label: Label, method: str, score: Score, patience: int) -> None:
    attributes = {names.ML_DRIFT_KIND: drift_kind(label.kind)}
    if label.feature is not None:
        attributes[names.ML_FEATURE_NAME] = label.feature
    alerts = instruments.counter(names.METRIC_ML_DRIFT_ALERTS)
    with _lock:
        episode = _episode((drift_kind(label.kind), method, label.feature, label.model), patience)
        if episode is None:
            return
        windows, change = episode.windows + 1, episode.update(score)
    alerts.add(1 if change is not None and episode.open else 0, attributes)
    if change is not None:
        emit_change(change, label, method, score, windows)


def _episode(key: tuple[str, str, str | None, str | None], patience: int) -> Episode | None:
    found = _episodes.get(key)
    if found is None:
        if len(_episodes) >= MAX_EPISODES:
            internal.count("overflow", "drift", "alerts")
            return None
        found = _episodes[key] = Episode(patience)
    found.patience = patience
    return found


def reset() -> None:
    """Forget every alert: for tests, and for a forked child, which has a lock of its own."""
    global _lock  # noqa: PLW0603 - the old one may be held by a thread that the fork left behind
    _lock = threading.Lock()
    _episodes.clear()
