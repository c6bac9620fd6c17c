"""When a score becomes an alert, and when that is over: some windows in a row each time, with a gap in between."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from otelml.drift.scores import Score

CLEAR_RATIO = 0.8
"""An alert clears below this part of its threshold, so that a score around the threshold does not flap."""


class Change(Enum):
    """What a window has brought: the value is the event's name."""

    DETECTED = "drift_detected"
    CLEARED = "drift_cleared"


@dataclass
class Episode:
    """The state of one feature under one method. Its owner holds a lock around `update`.

    Attributes:
        patience: windows in a row that it takes to raise an alert, and to clear it.
        open: whether there is an alert.
        windows: windows in a row so far that speak for a change.
    """

    patience: int
    open: bool = False
    windows: int = 0

    def update(self, score: Score) -> Change | None:
        """Take the next window's score; what that changes, if anything."""
        speaks = _is_clear(score) if self.open else score.drifted
        self.windows = self.windows + 1 if speaks else 0
        if self.windows < self.patience:
            return None
        self.open, self.windows = not self.open, 0
        return Change.DETECTED if self.open else Change.CLEARED


def _is_clear(score: Score) -> bool:
    return score.value < CLEAR_RATIO * score.threshold or score.within_noise
