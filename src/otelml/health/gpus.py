"""GPUs and their driver: from the plugin where it runs, else by asking NVML once, on a thread that may hang."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otelml import gpu
from otelml.health.findings import Finding
from otelml.semconv import _generated as names

if TYPE_CHECKING:
    from otelml.gpu.snapshot import Snapshot
    from otelml.settings import Settings

_BAD = ("failed", "degraded", "predicted_failure")


def survey(
    findings: list[Finding], in_force: Settings, environ: Mapping[str, str], *, timeout_s: float
) -> dict[str, Any]:
    """`devices` with name, UUID, driver and state; `problem` in a sentence where there are none, else None."""
    snapshot, problem = gpu.current(), None
    if snapshot is None and timeout_s:
        snapshot, problem = _ask(in_force, timeout_s)
    devices = [_describe(reading) for reading in snapshot.gpus] if snapshot is not None else []
    findings += [
        Finding(f"GPU {device['index']} ({device['name']}) is {device['state']}")
        for device in devices
        if device["state"] in _BAD
    ]
    if problem is not None and gpu.is_expected(environ):
        findings.append(Finding(f"no GPU: {problem}"))
    return {
        "devices": devices,
        "problem": problem,
        "cuda_visible_devices": environ.get("CUDA_VISIBLE_DEVICES"),
    }


def _ask(in_force: Settings, timeout_s: float) -> tuple[Snapshot | None, str | None]:
    answer: list[tuple[Snapshot | None, str | None]] = []
    thread = threading.Thread(
        target=lambda: answer.append(gpu.look(in_force)), name="otelml-health-gpu", daemon=True
    )
    thread.start()
    thread.join(timeout_s)
    return answer[0] if answer else (None, f"the driver did not answer within {timeout_s:g} s")


def _describe(reading: Any) -> dict[str, Any]:
    about = reading.attributes
    return {
        "index": about.get(names.ML_GPU_INDEX),
        "name": about.get(names.HW_NAME),
        "uuid": about.get(names.HW_ID),
        "driver_version": about.get(names.HW_DRIVER_VERSION),
        "memory_used_bytes": reading.value(names.METRIC_HW_GPU_MEMORY_USAGE),
        "memory_limit_bytes": reading.value(names.METRIC_HW_GPU_MEMORY_LIMIT),
        "state": reading.state,
    }
