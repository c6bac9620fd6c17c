"""Takes codes in the step and counts them: at once where they are many, a little later and together where they are few.

Apart from the quantizer because this is where threads, signal handlers and devices meet: one lock, held for as long as
counting takes, and never while waiting for a device.
"""

from __future__ import annotations

import threading
from typing import Any

from otelml.quantizer.codebook import Codebook
from otelml.quantizer.device import DeviceCounts
from otelml.quantizer.window import SlidingCounts

SMALL = 4096
"""Batches below this size (or a quarter of the codebook's) wait to be counted together."""


class Counting:
    """The counts of one codebook, and what waits to be counted."""

    def __init__(self, codebook: Codebook, window: int) -> None:
        self._codebook = codebook
        self._window = window
        self._small = max(SMALL, codebook.size // 4)
        self._left_behind: list[Any] = []
        self._devices: dict[Any, DeviceCounts] = {}
        self.start_anew()

    def start_anew(self) -> None:
        """Forget everything, with a new lock: in a forked child a thread left behind may hold the old one."""
        self._lock = threading.RLock()
        # Kept: to free memory of a device is an error in a child.
        self._left_behind.append(self._devices)
        self._devices = {}
        self._counts = SlidingCounts(self._codebook.size, self._window)
        self._pending: list[Any] = []
        self._pending_count = 0
        # The thread that is counting. A signal handler on that very thread passes the lock, and must not count.
        self._counting_thread = 0

    @property
    def total(self) -> int:
        """Codes counted since the start; what waits is not among them."""
        return self._counts.total

    @property
    def chunk(self) -> int:
        """Codes by which the window slides."""
        return self._counts.chunk

    def add(self, flat: Any) -> None:
        """Count `flat`, valid codes: a few microseconds for a small batch, which is copied, and 2 ns a code else."""
        if flat.size < self._small:
            # The program may write over its array in the next step.
            self._pending.append(flat.copy())
            self._pending_count += flat.size
            if self._pending_count >= self._small:
                self._fold()
        else:
            self._fold(flat)

    def add_on_device(self, tensor: Any, per_level: bool | None) -> str:
        """Have the device count `tensor`; returns why it cannot, or nothing."""
        with self._lock:
            counts = self._devices.get(tensor.device)
            if counts is None:
                counts = self._devices[tensor.device] = DeviceCounts(self._codebook, tensor.device)
            return counts.add(tensor, per_level)

    def settle(self, *, may_wait: bool) -> tuple[int, int]:
        """Count what waits, here and on devices that are done; from these, how many codes and how many others came.

        `may_wait`: also for devices that cannot be asked whether they are done.
        """
        if self._counting_thread == threading.get_ident():
            return 0, 0
        self.fold()
        taken = [self._take(counts, may_wait=may_wait) for counts in list(self._devices.values())]
        return sum(codes for codes, _ in taken), sum(others for _, others in taken)

    def fold(self) -> None:
        """Count what waits here."""
        if self._pending:
            self._fold()

    def is_much_on_devices(self) -> bool:
        """Whether devices have so many codes that the window should slide."""
        return any(counts.waiting >= self.chunk for counts in list(self._devices.values()))

    def read(self, *, since_start: bool = False) -> tuple[Any, int]:
        """Copies of the counts by code, of the window or of everything, and the number of codes since the start."""
        with self._lock:
            counts = self._counts.counts_since_start() if since_start else self._counts.counts()
            return counts, self._counts.total

    def read_both(self) -> tuple[Any, Any]:
        """Copies of the window's counts, and of those since the start, of one moment."""
        with self._lock:
            return self._counts.counts(), self._counts.counts_since_start()

    @property
    def in_window(self) -> int:
        """Codes in the window."""
        with self._lock:
            return self._counts.window

    def _take(self, counts: DeviceCounts, *, may_wait: bool) -> tuple[int, int]:
        with self._lock:
            taken = counts.take(may_wait=may_wait)
        if taken is None:
            return 0, 0
        by_code, others = counts.copy(taken)
        codes = int(by_code.sum())
        with self._lock:
            self._counts.add_counts(by_code, codes)
        return codes, others

    def _fold(self, flat: Any = None) -> None:
        """Count what waits, then `flat`."""
        import numpy as np

        with self._lock:
            if self._counting_thread:
                if flat is not None:
                    self._pending.append(flat.copy())
                return
            self._counting_thread = threading.get_ident()
            try:
                waiting = self._pending[:]
                del self._pending[: len(waiting)]
                self._pending_count = 0
                if waiting:
                    self._counts.add(np.concatenate(waiting) if len(waiting) > 1 else waiting[0])
                if flat is not None:
                    self._counts.add(flat)
            finally:
                self._counting_thread = 0
