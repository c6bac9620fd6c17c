"""A GPU or MIG device as telemetry names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from otelml import events
from otelml.semconv import _generated as names


@dataclass(frozen=True, slots=True)
class Device:
    """One that this process reports.

    Attributes:
        hw_id: its UUID, `GPU-...` or `MIG-...`.
        handle: NVML's, for calls on it.
        attributes: what stands on each of its series.
        bus_id: the PCI address, of a MIG device that of its GPU.
        gpu_handle: the handle of the GPU that a MIG device is a part of.
        gpu_instance: which part; None for a whole GPU.
    """

    hw_id: str
    handle: Any
    attributes: Mapping[str, Any]
    bus_id: str = ""
    gpu_handle: Any = None
    gpu_instance: int | None = None

    @property
    def is_mig(self) -> bool:
        """Whether it is a part of a GPU."""
        return self.gpu_instance is not None

    def __str__(self) -> str:
        return f"GPU {self.attributes.get(names.ML_GPU_INDEX, '?')} ({self.attributes.get(names.HW_NAME)})"

    def tell(self, event: str, what: str, **fields: Any) -> None:
        """Emit an event about it."""
        keys = (names.HW_ID, names.HW_NAME, names.ML_GPU_INDEX)
        about = {key: self.attributes[key] for key in keys if key in self.attributes}
        events.emit(event, {**about, **fields}, message=f"{self}: {what}")
