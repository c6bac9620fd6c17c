"""Drift scores that were computed elsewhere: shown, and turned into alerts, as those of a monitor are."""

from __future__ import annotations

import math
import threading
from typing import Any

from otelml import instruments
from otelml.drift.alerts import Change, Episode
from otelml.drift.classes import class_text
from otelml.drift.features import DRIFT_KINDS, drift_kind
from otelml.drift.scores import DEFAULT_THRESHOLD, Score
from otelml.drift.telemetry import Label, emit_change
from otelml.instruments import internal
from otelml.semconv import _generated as names

MAX_EPISODES = 1500
"""Series with alerts of their own; scores of more are shown, and raise none."""

_episodes: dict[tuple[str, str, str | None, str | None], Episode] = {}
# Re-entrant, as a signal handler may record too; `_judging` keeps it out of what it has interrupted.
_lock = threading.RLock()
_judging = False


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
        score, threshold = _number(score), _number(threshold)
        if not (math.isfinite(score) and math.isfinite(threshold)):
            internal.count("dropped", "drift", "non_finite_value")
            return
        if kind not in DRIFT_KINDS:
            internal.count("errors", "drift", "kind")
            internal.warn_once(
                "drift:kind", "otelml: drift has no kind %.100r; it counts as distribution", kind
            )
        label = Label(class_text(feature), kind, class_text(model))
        method = class_text(method) or "other"
        _show(label, method, score, threshold)
        _judge(label, method, Score(score, -math.inf, threshold, 0), _at_least_one(patience))


def _number(value: Any) -> float:
    """`value` as a number, NaN where it is none."""
    try:
        return float(value)
    except Exception:  # noqa: BLE001 - a class of the user's may raise anything
        return math.nan


def _at_least_one(patience: Any) -> int:
    try:
        return max(1, int(patience))
    except Exception:  # noqa: BLE001 - as above
        return 1


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
    found = _update((drift_kind(label.kind), method, label.feature, label.model), score, patience)
    if found is None:
        return
    change, windows = found
    alerts.add(1 if change is Change.DETECTED else 0, attributes)
    if change is not None:
        emit_change(change, label, method, score, windows)


def _update(
    key: tuple[str, str, str | None, str | None], score: Score, patience: int
) -> tuple[Change | None, int] | None:
    """What a score changes, and after how many in a row; None where it has no alerts."""
    global _judging  # noqa: PLW0603 - the lock keeps threads apart
    with _lock:
        if _judging:
            return None
        _judging = True
        try:
            episode = _episode(key, patience)
            if episode is None:
                return None
            windows = episode.windows + 1
            return episode.update(score), windows
        finally:
            _judging = False


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
    global _lock, _judging
    _lock, _judging = threading.RLock(), False
    _episodes.clear()
