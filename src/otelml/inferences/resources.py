"""Utilisation and memory that a program measured by itself and hands in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otelml import instruments
from otelml.inferences.labels import text_of
from otelml.instruments import internal
from otelml.instruments.aggregate import as_number
from otelml.semconv import _generated as semconv

if TYPE_CHECKING:
    from otelml.semconv.model import Metric

Device = int | str


def record_resources(
    *,
    cpu: float | None = None,
    memory: float | None = None,
    gpu: float | Mapping[Device, float] | None = None,
    gpu_memory: float | Mapping[Device, float] | None = None,
) -> None:
    """Set gauges of what the program measured: `record_resources(cpu=0.45, gpu={0: 0.78}, gpu_memory={0: 4 << 30})`.

    What the library measures by itself (GPUs, the machine, the process) has OpenTelemetry's names and needs no call;
    this is for devices that it does not know. What is None is left alone; a value that is not finite, or out of
    range, makes its series absent.

    Args:
        cpu: fraction of the CPUs in use, 0 to 1: `ml.resource.cpu.utilization`.
        memory: bytes in use: `ml.resource.memory.usage`.
        gpu: fraction of time busy, 0 to 1, of the one GPU or by device: `ml.resource.gpu.utilization`. A device is an
            index (`ml.gpu.index`) or a name (`ml.device.name`).
        gpu_memory: bytes in use, likewise: `ml.resource.gpu.memory.usage`.
    """
    if not instruments.active():
        return
    for spec, values in (
        (semconv.METRIC_ML_RESOURCE_CPU_UTILIZATION, cpu),
        (semconv.METRIC_ML_RESOURCE_MEMORY_USAGE, memory),
        (semconv.METRIC_ML_RESOURCE_GPU_UTILIZATION, gpu),
        (semconv.METRIC_ML_RESOURCE_GPU_MEMORY_USAGE, gpu_memory),
    ):
        with internal.guard("inference"):
            by_device = values if isinstance(values, Mapping) else {None: values}
            for device, value in by_device.items():
                if value is not None:
                    _set(spec, _attributes(device), value)


def _attributes(device: Device | None) -> dict[str, Any]:
    if device is None:
        return {}
    text = text_of(device) or ""
    return {semconv.ML_GPU_INDEX: int(text)} if text.isdecimal() else {semconv.ML_DEVICE_NAME: text}


def _set(spec: Metric, attributes: dict[str, Any], value: Any) -> None:
    series = instruments.gauge(spec).bind(attributes)
    number = as_number(value)
    if number is None or not math.isfinite(number):
        series.set(value)  # which counts it, and makes the series absent
    elif number < 0 or (spec.unit == "1" and number > 1):
        series.unset()
        internal.count("dropped", "inference", "resource_out_of_range")
        internal.warn_once(
            f"inference:{spec.name}",
            "otelml: %s cannot be %g: it is in %s",
            spec.name,
            number,
            "a fraction from 0 to 1, not percent" if spec.unit == "1" else "bytes",
        )
    else:
        series.set(round(number) if spec.value_type == "int" else float(number))
