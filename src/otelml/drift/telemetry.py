"""The series and events of a monitor: made once, in the room that the registry gives them."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otelml import events, instruments
from otelml.drift.alerts import Change
from otelml.drift.features import Distribution, Feature, drift_kind
from otelml.drift.scores import Score
from otelml.instruments import internal
from otelml.instruments.attributes import attributes_key
from otelml.semconv import _generated as names
from otelml.semconv.model import Metric

if TYPE_CHECKING:
    from otelml.drift.features import Vector

_OF_SCORES = (names.METRIC_ML_DRIFT_SCORE, names.METRIC_ML_DRIFT_NOISE_FLOOR, names.METRIC_ML_DRIFT_THRESHOLD)


@dataclass(frozen=True)
class Label:
    """How a feature is called outside: the feature's name in the monitor, and the model."""

    feature: str | None
    kind: str
    model: str | None

    def attributes(self, part: str = "") -> dict[str, Any]:
        """Of all series of the feature, or of a part of it."""
        feature = f"{self.feature}[{part}]" if part else self.feature
        given = {names.ML_FEATURE_NAME: feature, names.ML_MODEL_NAME: self.model}
        return {key: value for key, value in given.items() if value is not None}


class FeatureTelemetry:
    """What one feature of one monitor shows. Recording appends to lists; no call here locks or waits."""

    def __init__(self, feature: Feature, label: Label, methods: Iterable[str]) -> None:
        self._feature = feature
        self._label = label
        self._methods = tuple(methods)
        self._bins: list[tuple[Any, float]] = []
        self._scores: dict[str, tuple[Any, Any, Any]] = {}
        self._bind()
        self.announce()

    def _bind(self) -> None:
        label = self._label
        kind = {names.ML_DRIFT_KIND: drift_kind(label.kind)}
        alerts = {**kind, names.ML_FEATURE_NAME: label.feature}
        self._alerts = instruments.counter(names.METRIC_ML_DRIFT_ALERTS).bind(alerts)
        self._counters: list[Any] = []
        if isinstance(self._feature, Distribution):
            self._bind_bins(self._feature)
        scored = [label.attributes() | kind | {names.ML_DRIFT_METHOD: method} for method in self._methods]
        gauges = [instruments.gauge(spec) for spec in _OF_SCORES]
        if _has_room(gauges[0], scored, label.feature):
            for method, attributes in zip(self._methods, scored, strict=True):
                bound = [gauge.bind(attributes) for gauge in gauges]
                self._scores[method] = (bound[0], bound[1], bound[2])

    def _bind_bins(self, feature: Distribution) -> None:
        binned = [
            (self._label.attributes(part.name) | {names.ML_DRIFT_BIN: label}, share)
            for part in feature.parts
            for label, share in zip(part.bins.labels, part.proportions, strict=True)
        ]
        counter = instruments.counter(names.METRIC_ML_DRIFT_OBSERVATIONS)
        gauge = instruments.gauge(names.METRIC_ML_DRIFT_REFERENCE_PROPORTION)
        # All bins or none: shares of some bins would add up to a wrong score.
        if _has_room(counter, [attributes for attributes, _ in binned], self._label.feature):
            self._counters = [counter.bind(attributes) for attributes, _ in binned]
            self._bins = [(gauge.bind(attributes), share) for attributes, share in binned]

    def announce(self) -> None:
        """Start every count at 0, so that the first increase is one, and show the reference."""
        self._alerts.add(0)
        for counter in self._counters:
            counter.add(0)
        for gauge, share in self._bins:
            gauge.set(share)

    def count(self, tally: Vector) -> None:
        """Add a batch to the bins: an append for each bin that it falls into."""
        if self._counters:
            for counter, n in zip(self._counters, tally.tolist(), strict=True):
                if n:
                    counter.add(int(n))

    def show(self, scores: Mapping[str, Score]) -> None:
        """Set the gauges to a window's scores; methods without one become absent."""
        for method, (value, noise_floor, threshold) in self._scores.items():
            score = scores.get(method)
            if score is None:
                value.unset()
                noise_floor.unset()
            else:
                value.set(score.value)
                noise_floor.set(score.noise_floor)
                threshold.set(score.threshold)

    def tell(self, change: Change, method: str, score: Score, windows: int) -> None:
        """Count an alert, and write the event."""
        if change is Change.DETECTED:
            self._alerts.add(1)
        emit_change(change, self._label, method, score, windows)


def emit_change(change: Change, label: Label, method: str, score: Score, windows: int) -> None:
    """Write the event of a change; what is not known is left out."""
    verb = "has drifted from" if change is Change.DETECTED else "is back at"
    said = f"{method} {score.value:.3g}, threshold {score.threshold:.3g}"
    events.emit(
        change.value,
        {
            "kind": drift_kind(label.kind),
            "method": method,
            "score": score.value,
            "threshold": score.threshold,
            "noise_floor": score.noise_floor if math.isfinite(score.noise_floor) else None,
            "feature": label.feature,
            "model": label.model,
            "windows": windows,
            "observations": round(score.n) or None,
        },
        message=f"{label.feature or drift_kind(label.kind)} {verb} its reference: {said}",
        stacklevel=_depth_of_caller(),
    )


def _depth_of_caller() -> int:
    """How far above `emit_change` the program is, whose line found the change."""
    frame, depth = sys._getframe(1), 1  # noqa: SLF001 - as `logging` finds the caller
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("otelml."):
        frame, depth = frame.f_back, depth + 1
    return depth


def _has_room(instrument: Any, wanted: list[dict[str, Any]], feature: str | None) -> bool:
    """Whether the series fit under the registry's limit; what does not is counted and said."""
    spec: Metric = instrument.spec
    new = sum(attributes_key(attributes) not in instrument.series for attributes in wanted)
    if not instrument.active or len(instrument.series) + new <= (spec.cardinality or 0):
        return True
    internal.count("overflow", "drift", spec.name, new)
    internal.warn_once(
        f"drift:room:{spec.name}:{feature}",
        "otelml: %s has no room for the %d series of feature %r, which are left out; its scores and events are not",
        spec.name,
        new,
        feature,
    )
    return False
