"""What one walk over the GPUs found: immutable, so that every gauge of a collection shows the same moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from otelml.instruments.observed import Reading
from otelml.semconv.model import Metric


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU or MIG device at one moment: its own attributes, its series by metric name, and its state.

    `state` is that of `hw.status`; None where nothing is known. Of a lost GPU it is all there is.
    """

    attributes: Mapping[str, Any]
    series: Mapping[str, tuple[Reading, ...]]
    state: str | None = None

    def value(self, metric: Metric, attributes: Mapping[str, str] | None = None) -> float | None:
        """The value of the series that has `attributes` (beside others); None when it is absent."""
        wanted = (attributes or {}).items()
        for value, found in self.series.get(metric.name, ()):
            if all(found.get(key) == text for key, text in wanted):
                return value
        return None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All GPUs of this process.

    Attributes:
        taken_s: when the walk ended, by the monotonic clock.
        gpus: in NVML's order, a GPU before its MIG devices.
        walk_s: how long the walk took.
        library_s: how much of that NVML took.
    """

    taken_s: float
    gpus: tuple[GpuReading, ...] = ()
    walk_s: float = 0.0
    library_s: float = 0.0
    _by_metric: dict[str, list[Reading]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for gpu in self.gpus:
            for name, readings in gpu.series.items():
                self._by_metric.setdefault(name, []).extend(readings)

    def series(self, metric: str) -> list[Reading]:
        """The series of one metric, over all GPUs."""
        return self._by_metric.get(metric, [])
