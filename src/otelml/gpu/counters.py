"""Counters of the device as counters of OpenTelemetry: they never fall, whatever the device does."""

from __future__ import annotations

from collections.abc import Hashable


class Totals:
    """Totals by series. A counter that falls was reset, with the driver or the GPU, and goes on from there."""

    def __init__(self) -> None:
        self._last: dict[Hashable, float] = {}
        self._before: dict[Hashable, float] = {}

    def add(self, series: Hashable, reading: float) -> float:
        """The total of `series`, now that the device's counter reads `reading`."""
        last = self._last.get(series, 0)
        if reading < last:
            self._before[series] = self._before.get(series, 0) + last
        self._last[series] = reading
        before = self._before.get(series)
        return reading if before is None else before + reading


class WrappingTotals:
    """Totals of byte counters that are narrow: between two walks they may start again at 0 many times.

    How many times follows from the rate that the device has measured itself over the same time, as long as that is
    right within half a turn (2 GiB); the rest is exact. What passes while no rate is known is not counted, and the
    total is absent meanwhile.
    """

    def __init__(self, wraps_at: int | None) -> None:
        self._wraps_at = wraps_at
        self._last: dict[Hashable, tuple[int, float]] = {}
        self._total: dict[Hashable, int] = {}

    def total(self, series: Hashable) -> int | None:
        """The total as it was last; None before the first reading."""
        return self._total.get(series)

    def add(self, series: Hashable, reading: int, now_s: float, rate: float | None) -> int | None:
        """The total in bytes, now that the counter reads `reading`; `rate` in By/s since the last time, if known."""
        last = self._last.get(series)
        self._last[series] = (reading, now_s)
        if self._wraps_at is None or last is None:
            self._total[series] = reading
        elif rate is None:
            return None
        else:
            rest = (reading - last[0]) % self._wraps_at
            turns = round((rate * (now_s - last[1]) - rest) / self._wraps_at)
            self._total[series] += rest + max(turns, 0) * self._wraps_at
        return self._total[series]
