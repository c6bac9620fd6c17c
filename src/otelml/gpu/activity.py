"""True activity of a GPU (GPM), measured by the device itself between two samples.

The first sample only seeds. Two samples much less than a second apart say little: the values before are given again.
After ten minutes without a sample the time between is no use to anybody: seed again.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from otelml.gpu.boundary import Boundary
from otelml.gpu.readings import GPM

SHORTEST_S = 0.9  # a walk a second is allowed, and never on the dot
LONGEST_S = 600.0


class Activity:
    """The samples of one GPU or MIG instance."""

    def __init__(
        self, hw_id: str, handle: Any, gpu_instance: int | None = None, clock: Callable[[], float] = monotonic
    ) -> None:
        self.is_too_soon = False
        """Whether the last `read` gave again what was known before."""
        self._hw_id, self._handle, self._gpu_instance = hw_id, handle, gpu_instance
        self._clock = clock
        self._earlier: tuple[Any, float] | None = None
        self._values: dict[int, float] = {}

    def read(self, boundary: Boundary) -> dict[int, float]:
        """Values by GPM id, in NVML's units, over the time since the last sample; empty while they are not known."""
        now_s = self._clock()
        earlier = self._earlier
        self.is_too_soon = earlier is not None and now_s - earlier[1] < SHORTEST_S
        if self.is_too_soon:
            return self._values
        sample = boundary.take_sample(self._hw_id, self._handle, self._gpu_instance)
        self._values = {}
        if earlier is not None:
            if sample is not None and now_s - earlier[1] <= LONGEST_S:
                self._values = boundary.compute_metrics(self._hw_id, earlier[0], sample, tuple(GPM))
            boundary.free_sample(self._hw_id, earlier[0])
        self._earlier = None if sample is None else (sample, now_s)
        return self._values
