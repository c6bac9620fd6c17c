"""The series and events of a monitor: made once, in the room that the registry gives them."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from otelml import events, instruments
from otelml.drift.alerts import Change
from otelml.drift.features import Distribution, Feature, drift_kind
from otelml.drift.scores import Score
from otelml.drift.window import some_of
from otelml.instruments import internal
from otelml.instruments.attributes import attributes_key
from otelml.instruments.bound import NOOP_BOUND
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

    @property
    def key(self) -> tuple[str | None, str | None]:
        """What tells its series from those of others."""
        return self.feature, self.model

    def attributes(self, part: str = "") -> dict[str, Any]:
        """Of all series of the feature, or of a part of it."""
        feature = f"{self.feature}[{part}]" if part else self.feature
        given = {names.ML_FEATURE_NAME: feature, names.ML_MODEL_NAME: self.model}
        return {key: value for key, value in given.items() if value is not None}


_shown: dict[tuple[str | None, str | None], FeatureTelemetry] = {}
"""Whose series the ones of a label are: the latest one's."""


class FeatureTelemetry:
    """What one feature of one monitor shows. Recording appends to lists; no call here locks or waits.

    Attributes:
        alerts: the series that its alerts are counted in.
        took_over: whether another one of the same label was shown, which is not any more.
        left_out: how many series of a metric there was no room for.
    """

    def __init__(self, feature: Feature, label: Label, methods: Iterable[str]) -> None:
        self._feature = feature
        self.label = label
        self._methods = tuple(methods)
        self.alerts: Any = NOOP_BOUND
        self._counters: list[Any] = []
        self._bins: list[tuple[Any, float]] = []
        self._scores: dict[str, tuple[Any, Any, Any]] = {}
        self.left_out: dict[str, int] = {}
        before = _shown.get(label.key)
        self.took_over = before is not None
        if before is not None:
            before.withdraw()
        _shown[label.key] = self
        self._bind()
        self.announce()

    def _bind(self) -> None:
        label = self.label
        kind = {names.ML_DRIFT_KIND: drift_kind(label.kind)}
        alerts = {**kind, names.ML_FEATURE_NAME: label.feature}
        self.alerts = instruments.counter(names.METRIC_ML_DRIFT_ALERTS).bind(alerts)
        if isinstance(self._feature, Distribution):
            self._bind_bins(self._feature)
        scored = [label.attributes() | kind | {names.ML_DRIFT_METHOD: method} for method in self._methods]
        gauges = [instruments.gauge(spec) for spec in _OF_SCORES]
        if self._has_room(gauges[0], scored):
            for method, attributes in zip(self._methods, scored, strict=True):
                bound = [gauge.bind(attributes) for gauge in gauges]
                self._scores[method] = (bound[0], bound[1], bound[2])

    def _bind_bins(self, feature: Distribution) -> None:
        binned = [
            (self.label.attributes(part.name) | {names.ML_DRIFT_BIN: label}, share)
            for part in feature.parts
            for label, share in zip(part.bins.labels, part.proportions, strict=True)
        ]
        counter = instruments.counter(names.METRIC_ML_DRIFT_OBSERVATIONS)
        gauge = instruments.gauge(names.METRIC_ML_DRIFT_REFERENCE_PROPORTION)
        # All bins or none: shares of some bins would add up to a wrong score.
        if self._has_room(counter, [attributes for attributes, _ in binned]):
            self._counters = [counter.bind(attributes) for attributes, _ in binned]
            self._bins = [(gauge.bind(attributes), share) for attributes, share in binned]

    def _has_room(self, instrument: Any, wanted: list[dict[str, Any]]) -> bool:
        """Whether the series fit under the registry's limit; what does not is counted, and said by `tell_left_out`."""
        spec: Metric = instrument.spec
        new = sum(attributes_key(attributes) not in instrument.series for attributes in wanted)
        if not instrument.active or len(instrument.series) + new <= (spec.cardinality or 0):
            return True
        internal.count("overflow", "drift", spec.name, new)
        self.left_out[spec.name] = new
        return False

    def announce(self) -> None:
        """Start every count at 0, so that the first increase is one, and show the reference."""
        self.alerts.add(0)
        for counter in self._counters:
            counter.add(0)
        for gauge, share in self._bins:
            gauge.set(share)

    def count(self, tally: Vector) -> None:
        """Add a batch to the bins: an append for each bin that it falls into."""
        counters = self._counters  # another thread may withdraw them
        if counters:
            for counter, n in zip(counters, tally.tolist(), strict=True):
                if n:
                    counter.add(int(n))

    def show(self, scores: Mapping[str, Score]) -> None:
        """Set the gauges to a window's scores; methods without one become absent."""
        for method, gauges in self._scores.items():
            score = scores.get(method)
            if score is None:
                for gauge in gauges:
                    gauge.unset()
            else:
                value, noise_floor, threshold = gauges
                value.set(score.value)
                noise_floor.set(score.noise_floor)
                threshold.set(score.threshold)

    def withdraw(self) -> None:
        """Release every series, and show nothing more: the monitor is closed, or another one has its label."""
        if _shown.get(self.label.key) is self:
            del _shown[self.label.key]
        for series in self._let_go():
            series.release()

    def _let_go(self) -> list[Any]:
        """The series that nobody else records to; from now on this one does not, either."""
        scores, self._scores = self._scores, {}
        bins, self._bins = self._bins, []
        counters, self._counters = self._counters, []
        alerts, self.alerts = self.alerts, NOOP_BOUND
        # Alerts have no model: those of the same feature in another one are counted there too.
        is_shared = any(other.alerts is alerts for other in list(_shown.values()))
        gauges = [*itertools.chain(*scores.values()), *(gauge for gauge, _ in bins)]
        return [*gauges, *counters] if is_shared else [*gauges, *counters, alerts]

    def tell(self, change: Change, method: str, score: Score, windows: int) -> None:
        """Count an alert, and write the event."""
        if change is Change.DETECTED:
            self.alerts.add(1)
        emit_change(change, self.label, method, score, windows)


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


def withdraw_all(telemetries: Iterable[FeatureTelemetry]) -> None:
    """The end of what a monitor shows."""
    for telemetry in telemetries:
        telemetry.withdraw()


def tell_troubles(monitor: str | None, telemetries: Sequence[FeatureTelemetry]) -> None:
    """Say, once a monitor's name, whose series it took over, and which of its own found no room."""
    again = [str(t.label.feature) for t in telemetries if t.took_over]
    if again:
        internal.warn_once(
            f"drift:again:{monitor}",
            "otelml: another drift monitor was shown as %s; from now on the metrics of that name are those of the new "
            "one alone. Close the old one before, or give the new one a name=",
            some_of(again),
        )
    for metric in dict.fromkeys(metric for t in telemetries for metric in t.left_out):
        without = [t for t in telemetries if metric in t.left_out]
        internal.warn_once(
            f"drift:room:{metric}:{monitor}",
            "otelml: %s has no room for the %d series of %s, which are left out; `scores()` and events are not",
            metric,
            sum(t.left_out[metric] for t in without),
            some_of([str(t.label.feature) for t in without]),
        )


def reset() -> None:
    """Forget what is shown: for tests."""
    _shown.clear()
