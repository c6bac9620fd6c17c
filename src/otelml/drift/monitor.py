"""Watches live data for drift from a reference: counts batches, judges windows, raises and clears alerts."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from otelml.drift import pushed
from otelml.drift.alerts import Episode
from otelml.drift.columns import UNNAMED
from otelml.drift.features import PERFORMANCE, Feature
from otelml.drift.scores import DIFFERENCE, METHODS, Score
from otelml.drift.telemetry import FeatureTelemetry, Label
from otelml.drift.tracks import Closed, Decayed, Track, Tumbling
from otelml.drift.window import DriftWindow, Threshold, score, tally_batch
from otelml.instruments import internal, timer

if TYPE_CHECKING:
    from otelml.drift.features import Vector
    from otelml.drift.reference import DriftReference

_monitors: weakref.WeakSet[DriftMonitor] = weakref.WeakSet()


class _Watch:
    """One feature of a monitor: its window, its total, its latest scores and its alerts."""

    def __init__(
        self, feature: Feature, track: Track, telemetry: FeatureTelemetry, episodes: dict[str, Episode]
    ) -> None:
        import numpy as np

        self.feature = feature
        self.track = track
        self.telemetry = telemetry
        self.episodes = episodes
        self.total: Any = np.zeros(feature.size)
        self.latest: Closed | None = None


class DriftMonitor:
    """Compares what it observes with a reference, a window at a time. For use from many threads.

    Its memory does not grow: a vector of counts for each feature, however much is observed.
    """

    def __init__(
        self,
        reference: DriftReference,
        *,
        name: str | None = None,
        model: str | None = None,
        window: int = 10_000,
        half_life: float | None = None,
        threshold: Threshold = None,
        method: str | Iterable[str] = "psi",
        patience: int = 3,
        min_count: int | None = None,
    ) -> None:
        """A monitor, whose series are there from now on.

        Args:
            reference: what to compare with.
            name: of the monitor, before the names of its features (`name.feature`), or of the only feature of a
                reference that was made from one array. Needed where two monitors of a program have the same ones.
            model: `ml.model.name` of its series and events.
            window: observations of a feature after which its window is judged; at least `min_count`.
            half_life: observations after which one weighs half; without it windows are tumbling.
            threshold: one for all methods, or one a method; without it the calibrated one, else 0.1.
            method: the score that alerts go by, or several, each with alerts of its own. Performance features have
                `difference` alone.
            patience: windows in a row above threshold and noise floor that raise an alert; and as many below 0.8 of
                the threshold, or within the noise, that clear it.
            min_count: observations without which there is no score; by default ten a bin that the reference fills.

        Raises:
            ValueError: a method is unknown, or a number is not positive.
        """
        methods = (method,) if isinstance(method, str) else tuple(method)
        _check(methods, window=window, half_life=half_life, patience=patience, min_count=min_count)
        self.reference = reference
        self.name = name
        self.model = model
        self.threshold = threshold
        self.min_count = min_count
        self._half_life = half_life
        self._window = window
        self._patience = patience
        self._methods = methods
        self._lock = threading.Lock()
        self._watches = {feature.name: self._watch(feature) for feature in reference.values()}
        _monitors.add(self)

    def _watch(self, feature: Feature) -> _Watch:
        performance = feature.kind == PERFORMANCE
        label = Label(self._name_of(feature), feature.kind, self.model)
        telemetry = FeatureTelemetry(feature, label, (DIFFERENCE,) if performance else METHODS)
        episodes = {m: Episode(self._patience) for m in ((DIFFERENCE,) if performance else self._methods)}
        return _Watch(feature, self._track(feature), telemetry, episodes)

    def _name_of(self, feature: Feature) -> str:
        if self.name is None:
            return feature.name
        return self.name if list(self.reference) == [UNNAMED] else f"{self.name}.{feature.name}"

    def _track(self, feature: Feature) -> Track:
        window = max(self._window, feature.min_count if self.min_count is None else self.min_count)
        if self._half_life is None:
            return Tumbling(feature.size, window)
        return Decayed(feature.size, window, self._half_life)

    def observe(self, batch: Any) -> None:
        """Count a batch in: about 10 ns a number, and no memory that stays.

        Never raises for what it is given. Features without a reference, and columns of the wrong shape or type, are
        counted in `otelml.internal.dropped` and `.errors`, said once, and take nothing away from the others. When a
        batch completes a window this call also judges it, which takes about half a millisecond a feature.

        Args:
            batch: as for `DriftReference.fit`; features that are not in it wait for another batch. A number will do
                for a performance feature.
        """
        with internal.guard("drift"):
            for feature, tally in tally_batch(self.reference, batch):
                self._add(self._watches[feature.name], tally)

    def _add(self, watch: _Watch, tally: Vector) -> None:
        n = watch.feature.observations(tally)
        if not n:
            return
        with self._lock:
            watch.total += tally
            closed = watch.track.add(tally, n)
        watch.telemetry.count(tally)
        if closed is not None:
            self._judge(watch, closed)

    def _judge(self, watch: _Watch, closed: Closed) -> None:
        scores = self._score(watch, closed)
        with self._lock:
            watch.latest = closed
            changes = [
                (change, method, windows)
                for method, episode in watch.episodes.items()
                if method in scores
                for windows in [episode.windows + 1]
                if (change := episode.update(scores[method])) is not None
            ]
        watch.telemetry.show(scores)
        for change, method, windows in changes:
            watch.telemetry.tell(change, method, scores[method], windows)

    def _score(self, watch: _Watch, closed: Closed) -> dict[str, Score]:
        return score(watch.feature, closed.vector, closed.n, self.threshold, self.min_count)

    def close_window(self) -> None:
        """Judge the windows as they stand, as at the end of an epoch or a day; those with too little give no score."""
        for watch in self._watches.values():
            with internal.guard("drift"):
                with self._lock:
                    closed = watch.track.close()
                if closed is not None:
                    self._judge(watch, closed)

    def scores(self) -> dict[str, dict[str, Score]]:
        """Scores by feature and method, of the latest window that is complete, else of the one that fills.

        A feature is absent until it has `min_count` observations.
        """
        found = {}
        for name, watch in self._watches.items():
            with self._lock:
                window = watch.latest or watch.track.peek()
            scores = self._score(watch, window) if window is not None else {}
            if scores:
                found[name] = scores
        return found

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of the features with an open alert."""
        return tuple(
            name for name, watch in self._watches.items() if any(e.open for e in watch.episodes.values())
        )

    @property
    def total(self) -> DriftWindow:
        """Everything observed since the start, or since this process was forked, whatever the windows."""
        with self._lock:
            vectors = {name: watch.total.copy() for name, watch in self._watches.items()}
        return DriftWindow(self.reference, vectors)

    def merge(self, *others: DriftMonitor | DriftWindow) -> DriftWindow:
        """One window of everything that this monitor and others have observed; nothing changes in any of them.

        Raises:
            ValueError: one of them has another reference.
        """
        return self.total.merge(*(o.total if isinstance(o, DriftMonitor) else o for o in others))

    def start_anew(self) -> None:
        """Forget what was observed, and close alerts without a word: a forked child, or a new deployment, does this."""
        self._lock = threading.Lock()
        for watch in self._watches.values():
            watch.total = watch.total * 0
            watch.latest = None
            watch.track = self._track(watch.feature)
            for episode in watch.episodes.values():
                episode.open, episode.windows = False, 0


def _check(methods: tuple[str, ...], **numbers: float | None) -> None:
    for method in methods:
        if method not in METHODS:
            raise ValueError(f"{method!r} is no method of drift: one of {', '.join(METHODS)}")
    for name, value in numbers.items():
        if value is not None and not value > 0:
            raise ValueError(f"{name} must be positive, not {value}")


def _after_fork() -> None:
    """In a forked child: what the parent has counted is the parent's, and its lock may be held for ever."""
    pushed.reset()
    for monitor in list(_monitors):
        monitor.start_anew()
        for watch in monitor._watches.values():  # noqa: SLF001 - the monitors of this module
            watch.telemetry.announce()


timer.fork_hooks.append(_after_fork)


def reset() -> None:
    """Forget every monitor: for tests."""
    _monitors.clear()
