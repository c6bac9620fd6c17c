"""The window of one feature as it fills: tumbling, which starts anew, or decayed, which forgets slowly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from otelml.drift.features import Vector


@dataclass(frozen=True, slots=True)
class Closed:
    """A window that is ready to be judged: its vector, and how many observations that stands for."""

    vector: Vector
    n: float


class Track(Protocol):
    """Fills windows. Its owner holds a lock around every call."""

    def add(self, tally: Vector, n: float) -> Closed | None:
        """Count `n` observations in; the window that they completed, if they did."""

    def close(self) -> Closed | None:
        """The window as it stands, complete or not; None where nothing is in it."""

    def peek(self) -> Closed | None:
        """The same, and nothing changes."""


class Tumbling:
    """Windows of at least `window` observations, each batch in one of them as a whole."""

    def __init__(self, size: int, window: int) -> None:
        self._window = window
        self._size = size
        self._start()

    def _start(self) -> None:
        import numpy as np

        self._vector: Any = np.zeros(self._size)
        self._n = 0.0

    def add(self, tally: Vector, n: float) -> Closed | None:
        self._vector += tally
        self._n += n
        return self.close() if self._n >= self._window else None

    def close(self) -> Closed | None:
        closed = self.peek()
        self._start()
        return closed

    def peek(self) -> Closed | None:
        return Closed(self._vector.copy(), self._n) if self._n else None


class Decayed:
    """One window in which an observation weighs half after every `half_life` later ones; judged every `window`.

    It stands for as many observations as would vary as much if all weighed the same: the square of the sum of the
    weights over the sum of their squares (Kish 1965).

    Weights fall within a batch as they do between batches, so that what is observed at once weighs as much as piece by
    piece. Its order is not known any more: its observations weigh alike, the mean of what they would have weighed.
    """

    def __init__(self, size: int, window: int, half_life: float, least: float = 0) -> None:
        """A window of nothing.

        Raises:
            ValueError: the half-life is so short that it will never stand for `least` observations.
        """
        import numpy as np

        most = 2 * half_life / math.log(2)
        if most <= least:
            raise ValueError(
                f"half_life={half_life:g} is too short: such a window never stands for more than {most:.0f} "
                f"observations, and a score needs {least:g}"
            )

        self._window = window
        self._half_life = half_life
        self._vector: Any = np.zeros(size)
        self._weight = self._squares = self._since = 0.0

    def add(self, tally: Vector, n: float) -> Closed | None:
        # The integrals over the batch of 2^(-x / half_life), and of its square.
        rate = math.log(2) / self._half_life
        kept = math.exp(-n * rate)
        weight = (1 - kept) / rate
        self._vector = self._vector * kept + tally * (weight / n)
        self._weight = self._weight * kept + weight
        self._squares = self._squares * kept * kept + (1 - kept * kept) / (2 * rate)
        self._since += n
        return self.close() if self._since >= self._window else None

    def close(self) -> Closed | None:
        self._since = 0.0
        return self.peek()

    def peek(self) -> Closed | None:
        if not self._squares:
            return None
        return Closed(self._vector.copy(), self._weight * self._weight / self._squares)
