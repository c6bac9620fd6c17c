"""One feature of a monitor: its window, its total, its latest scores and its alerts."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otelml.drift.alerts import Change, Episode
from otelml.drift.features import Feature
from otelml.drift.scores import Score
from otelml.drift.telemetry import FeatureTelemetry
from otelml.drift.tracks import Closed, Track

if TYPE_CHECKING:
    from otelml.drift.features import Vector


class Watch:
    """What a monitor knows of a feature. The monitor holds a lock around every call."""

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
        # What a signal handler observed in the middle of an `add`, and whether one is under way: the lock alone does
        # not keep a handler out of what the frame that it interrupted is doing.
        self.waiting: deque[tuple[Vector, float]] = deque()
        self.adding = self.judging = False

    def add(self, tally: Vector, n: float) -> list[Closed]:
        """Count in, and return what that completed."""
        self.waiting.append((tally, n))
        closed: list[Closed] = []
        while self.waiting and not self.adding:
            self.adding = True
            try:
                closed += self._add_waiting()
            finally:
                self.adding = False
        return closed

    def _add_waiting(self) -> list[Closed]:
        if not self.waiting:  # a handler was faster
            return []
        tally, n = self.waiting.popleft()
        self.total += tally
        closed = self.track.add(tally, n)
        return [closed] if closed is not None else []

    def close(self) -> Closed | None:
        """The window as it stands, which starts anew; none in the middle of an `add`."""
        return None if self.adding else self.track.close()

    def peek(self) -> Closed | None:
        """The latest window, or the one that fills."""
        return self.latest or (None if self.adding else self.track.peek())

    def update(self, closed: Closed, scores: Mapping[str, Score]) -> list[tuple[Change, str, int]]:
        """Take a window's scores; changes by method, with the windows that led there."""
        if self.judging:
            return []
        self.judging = True
        try:
            self.latest = closed
            return [
                (change, method, windows)
                for method, episode in self.episodes.items()
                if method in scores
                for windows in [episode.windows + 1]
                if (change := episode.update(scores[method])) is not None
            ]
        finally:
            self.judging = False
