"""Whose value a gauge shows: runs that nest, or run side by side, share series; each takes away only its own."""

from __future__ import annotations

from typing import Any

_owners: dict[Any, Gauges] = {}


class Gauges:
    """Sets gauges for one run, while it is open."""

    __slots__ = ("is_open",)

    def __init__(self) -> None:
        self.is_open = False

    def set(self, gauge: Any, value: float) -> None:
        """The gauge shows this run's value, unless the run is over."""
        if self.is_open:
            _owners[gauge] = self
            gauge.set(value)
            # Closed in between, by another thread: without a lock, for a signal handler may close it.
            if not self.is_open:
                gauge.unset()

    def unset(self, gauge: Any) -> None:
        """This run has no value for it now."""
        if self.is_open:
            _owners[gauge] = self
            gauge.unset()

    def close(self) -> None:
        """The run is over: what it was the last to set is absent."""
        self.is_open = False
        for gauge, owner in list(_owners.items()):
            if owner is self:
                _owners.pop(gauge, None)
                gauge.unset()


def reset() -> None:
    """For tests: nobody has set anything."""
    _owners.clear()
