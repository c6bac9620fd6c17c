"""What is remembered of a device for as long as the process runs, also when it is found anew under another handle."""

from __future__ import annotations

from otelml.gpu.counters import Totals, WrappingTotals
from otelml.gpu.throttling import Episodes


class Memory:
    """One device's; `wraps_at` as the library has it."""

    def __init__(self, wraps_at: int | None) -> None:
        self.totals = Totals()
        self.pcie = WrappingTotals(wraps_at)
        self.episodes = Episodes()
        self.xids: dict[int, int] = {}
        """How often each XID came so far."""
        self.xids_told_s: dict[int, float] = {}
        """When each was last told of."""
