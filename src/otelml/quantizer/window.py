"""Counts of the latest codes, and of all since the start: a window that slides by tenths.

The window is made of chunks of a tenth of its length. Codes go into the open chunk; when that is full it is closed,
and with the first code after that the oldest chunk leaves the window, if there are more than ten. So the window always
holds exactly the last N codes, with N between nine tenths of the window and the whole of it once it has filled up.
Counts that come ready made, from a device, cannot be split: they go whole into the open chunk, which may then hold
more than a tenth.
"""

from __future__ import annotations

from collections import deque
from typing import Any

CHUNKS = 10

_COMPACT_FROM = 65_536
"""Codes from which closed chunks are kept in the smallest integers that hold them; below, time matters more."""
_DENSE_FACTOR = 4
"""Counting into an array touches the whole codebook; for fewer codes than this part of it, each is added singly."""


class SlidingCounts:
    """Counts by code. Not thread-safe: its owner holds a lock. Memory: up to 13 arrays of the codebook's size."""

    __slots__ = (
        "_chunk",
        "_chunks",
        "_closed",
        "_kept",
        "_open",
        "_open_count",
        "_since_start",
        "_size",
        "total",
    )

    def __init__(self, size: int, window: int) -> None:
        import numpy as np

        self._size = size
        self._chunk = max(1, window // CHUNKS)
        self._chunks = window // self._chunk
        self._open = np.zeros(size, np.int64)
        self._open_count = 0
        # The closed chunks of the window, oldest first; their sum; and everything that was ever closed.
        self._kept: deque[tuple[int, Any]] = deque()
        self._closed = np.zeros(size, np.int64)
        self._since_start = np.zeros(size, np.int64)
        self.total = 0

    @property
    def chunk(self) -> int:
        """Codes in a chunk."""
        return self._chunk

    @property
    def window(self) -> int:
        """Codes in the window now."""
        return self._open_count + sum(n for n, _ in self._kept)

    def add(self, codes: Any) -> None:
        """Count `codes`, flat integers of the codebook, in their order: about 2 ns a code."""
        while codes.size:
            part = codes[: self._chunk - self._open_count]
            codes = codes[part.size :]
            self._add_part(part)

    def add_counts(self, counts: Any, n: int) -> None:
        """Add the counts of `n` codes, shape (size,), as the latest ones."""
        if n:
            self._make_room()
            self._open += counts
            self._grow(n)

    def counts(self) -> Any:
        """A copy of the window's counts by code."""
        return self._closed + self._open

    def counts_since_start(self) -> Any:
        """A copy of the counts by code of everything."""
        return self._since_start + self._open

    def _add_part(self, part: Any) -> None:
        import numpy as np

        self._make_room()
        if part.size * _DENSE_FACTOR >= self._size:
            self._open += np.bincount(part, minlength=self._size)
        else:
            np.add.at(self._open, part, 1)
        self._grow(part.size)

    def _make_room(self) -> None:
        while len(self._kept) >= self._chunks:
            self._closed -= self._kept.popleft()[1]

    def _grow(self, n: int) -> None:
        self.total += n
        self._open_count += n
        if self._open_count >= self._chunk:
            self._close()

    def _close(self) -> None:
        import numpy as np

        self._closed += self._open
        self._since_start += self._open
        if self._size >= _COMPACT_FROM:
            smallest = np.min_scalar_type(int(self._open.max()))
            self._kept.append((self._open_count, self._open.astype(smallest)))
            self._open[:] = 0
        else:
            self._kept.append((self._open_count, self._open))
            self._open = np.zeros(self._size, np.int64)
        self._open_count = 0
