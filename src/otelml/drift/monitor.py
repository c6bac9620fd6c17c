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
from otelml.drift.options import check_positive, checked_methods, checked_threshold
from otelml.drift.scores import DIFFERENCE, METHODS, Score
from otelml.drift.telemetry import FeatureTelemetry, Label, tell_troubles, withdraw_all
from otelml.drift.tracks import Closed, Decayed, Track, Tumbling
from otelml.drift.watch import Watch
from otelml.drift.window import DriftWindow, Threshold, score, tally_batch
from otelml.instruments import internal, timer

if TYPE_CHECKING:
    from otelml.drift.features import Vector
    from otelml.drift.reference import DriftReference

_monitors: weakref.WeakSet[DriftMonitor] = weakref.WeakSet()


class DriftMonitor:
    """Compares what it observes with a reference, a window at a time. For use from many threads.

    Its memory does not grow: a vector of counts for each feature, however much is observed. Its series are there until
    `close()`, or until another monitor takes its name. A copy is the monitor itself; one read from a pickle has the
    same configuration and has observed nothing: send `total` where counts are to travel.
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
            ValueError: a method is unknown, a number is not positive, or a threshold is not finite.
            TypeError: a number is none.
        """
        methods = checked_methods(method)
        threshold = checked_threshold(threshold)
        check_positive(window=window, half_life=half_life, patience=patience, min_count=min_count)
        self.reference = reference
        self.name = name
        self.model = model
        self.threshold = threshold
        self.min_count = min_count
        self._half_life = half_life
        self._window = window
        self._patience = patience
        self._methods = methods
        # Re-entrant: a signal handler may read or observe while the interrupted frame does.
        self._lock = threading.RLock()
        self._watches = {feature.name: self._watch(feature) for feature in reference.values()}
        telemetries = [watch.telemetry for watch in self._watches.values()]
        with internal.guard("drift"):
            tell_troubles(name, telemetries)
        # Until `close`, also when nobody holds the monitor any more: a script's last export comes after its `main`.
        self._shown = telemetries
        _monitors.add(self)

    def __reduce__(self) -> tuple[Any, ...]:
        options = {
            "name": self.name,
            "model": self.model,
            "window": self._window,
            "half_life": self._half_life,
            "threshold": self.threshold,
            "method": self._methods,
            "patience": self._patience,
            "min_count": self.min_count,
        }
        return _rebuild, (self.reference, options)

    def __copy__(self) -> DriftMonitor:
        return self

    def __deepcopy__(self, _memo: Any) -> DriftMonitor:
        """This monitor itself, so that the copy of a model that holds one has the same counts."""
        return self

    def _watch(self, feature: Feature) -> Watch:
        performance = feature.kind == PERFORMANCE
        label = Label(self._name_of(feature), feature.kind, self.model)
        telemetry = FeatureTelemetry(feature, label, (DIFFERENCE,) if performance else METHODS)
        episodes = {m: Episode(self._patience) for m in ((DIFFERENCE,) if performance else self._methods)}
        return Watch(feature, self._track(feature), telemetry, episodes)

    def _name_of(self, feature: Feature) -> str:
        if self.name is None:
            return feature.name
        return self.name if list(self.reference) == [UNNAMED] else f"{self.name}.{feature.name}"

    def _track(self, feature: Feature) -> Track:
        least = feature.min_count if self.min_count is None else self.min_count
        window = max(self._window, least)
        if self._half_life is None:
            return Tumbling(feature.size, window)
        return Decayed(feature.size, window, self._half_life, least)

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

    def _add(self, watch: Watch, tally: Vector) -> None:
        n = watch.feature.observations(tally)
        if not n:
            return
        with self._lock:
            windows = watch.add(tally, n)
        watch.telemetry.count(tally)
        for closed in windows:
            self._judge(watch, closed)

    def _judge(self, watch: Watch, closed: Closed) -> None:
        scores = self._score(watch, closed)
        with self._lock:
            changes = watch.update(closed, scores)
        watch.telemetry.show(scores)
        for change, method, windows in changes:
            watch.telemetry.tell(change, method, scores[method], windows)

    def _score(self, watch: Watch, closed: Closed) -> dict[str, Score]:
        return score(watch.feature, closed.vector, closed.n, self.threshold, self.min_count)

    def close_window(self) -> None:
        """Judge the windows as they stand, as at the end of an epoch or a day; those with too little give no score."""
        for watch in self._watches.values():
            with internal.guard("drift"):
                with self._lock:
                    closed = watch.close()
                if closed is not None:
                    self._judge(watch, closed)

    def scores(self) -> dict[str, dict[str, Score]]:
        """Scores by feature and method, of the latest window that is complete, else of the one that fills.

        A feature is absent until it has `min_count` observations.
        """
        found = {}
        for name, watch in self._watches.items():
            with self._lock:
                window = watch.peek()
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

    def close(self) -> None:
        """Take its series out of the metrics; it still counts, scores and writes events for whoever goes on."""
        with internal.guard("drift"):
            shown, self._shown = self._shown, []
            withdraw_all(shown)

    def start_anew(self) -> None:
        """Forget what was observed, and close alerts without a word: a forked child, or a new deployment, does this."""
        self._lock = threading.RLock()
        for watch in self._watches.values():
            watch.waiting.clear()
            watch.adding = watch.judging = False
            watch.total = watch.total * 0
            watch.latest = None
            watch.telemetry.show({})
            watch.track = self._track(watch.feature)
            for episode in watch.episodes.values():
                episode.open, episode.windows = False, 0


def _rebuild(reference: DriftReference, options: dict[str, Any]) -> DriftMonitor:
    return DriftMonitor(reference, **options)


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
