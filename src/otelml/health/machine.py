"""Memory, disk and CPU of the machine."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from otelml.health.findings import Finding

MEMORY_DEGRADED, MEMORY_GRAVE = 0.95, 0.98
DISK_DEGRADED, DISK_GRAVE = 0.90, 0.99


def survey(findings: list[Finding], folder: Path) -> dict[str, Any]:
    """Sizes in bytes, the disk's of `folder`; `used_ratio` is what is not available, over the total."""
    return {
        "memory": _survey_memory(findings),
        "disk": _survey_disk(findings, folder),
        "cpu": _survey_cpu(),
    }


def _survey_memory(findings: list[Finding]) -> dict[str, Any] | None:
    import psutil

    try:
        memory = psutil.virtual_memory()
    except (OSError, psutil.Error):
        return None
    used = 1 - memory.available / memory.total
    _judge(findings, f"memory is {used:.0%} used", used, MEMORY_DEGRADED, MEMORY_GRAVE)
    return {"total_bytes": memory.total, "available_bytes": memory.available, "used_ratio": used}


def _survey_disk(findings: list[Finding], folder: Path) -> dict[str, Any] | None:
    try:
        place = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        total, used, free = shutil.disk_usage(place)
    except OSError as error:
        findings.append(Finding(f"the disk of {folder} cannot be looked at: {error.strerror}", is_grave=True))
        return None
    ratio = used / (used + free) if used + free else 0.0
    _judge(findings, f"the disk of {place} is {ratio:.0%} full", ratio, DISK_DEGRADED, DISK_GRAVE)
    return {"path": str(place), "total_bytes": total, "available_bytes": free, "used_ratio": ratio}


def _survey_cpu() -> dict[str, Any]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    load: float | None = None
    with suppress(OSError, AttributeError):
        load = os.getloadavg()[0]
    return {"count": os.cpu_count(), "usable": usable, "load_1m": load}


def _judge(findings: list[Finding], reason: str, value: float, degraded: float, grave: float) -> None:
    if value >= degraded:
        findings.append(Finding(reason, is_grave=value >= grave))
