"""The window of one feature as it fills: tumbling, which starts anew, or decayed, which forgets slowly."""

from __future__ import annotations

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
    """

    def __init__(self, size: int, window: int, half_life: float) -> None:
        import numpy as np

        self._window = window
        self._half_life = half_life
        self._vector: Any = np.zeros(size)
        self._weight = self._squares = self._since = 0.0

    def add(self, tally: Vector, n: float) -> Closed | None:
        kept = 0.5 ** (n / self._half_life)
        self._vector = self._vector * kept + tally
        self._weight = self._weight * kept + n
        self._squares = self._squares * kept * kept + n
        self._since += n
        return self.close() if self._since >= self._window else None

    def close(self) -> Closed | None:
        self._since = 0.0
        return self.peek()

    def peek(self) -> Closed | None:
        if not self._squares:
            return None
        return Closed(self._vector.copy(), self._weight * self._weight / self._squares)
