"""Which processes on a GPU are this one and its children."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from otelml.gpu.readings import number

_DEEPEST = 64  # ancestors: a bound for a table of processes that changes while it is read


def preload() -> None:
    """Import what is needed later, on another thread."""
    with suppress(ImportError):
        import psutil  # noqa: F401


def own_memory(processes: Iterable[Mapping[str, Any]]) -> int | None:
    """Bytes of the GPU's memory that this process and its children use.

    None when none of them is found: in a container NVML may show pids of the host, or nothing.
    """
    own = [each for each in processes if is_own(int(each["pid"]))]
    used = [number(each["usedGpuMemory"]) for each in own]
    if not used or None in used:
        return None
    return sum(int(each) for each in used if each is not None)


def is_own(pid: int) -> bool:
    """Whether `pid` is this process or descends from it; by its ancestors, as reading all processes takes long."""
    import psutil

    mine = os.getpid()
    try:
        for _ in range(_DEEPEST):
            if pid == mine:
                return True
            if pid <= 1:
                return False
            pid = psutil.Process(pid).ppid()
    except psutil.Error:  # it has ended, or belongs to somebody else
        return False
    return False
