"""The machine and this process: what opentelemetry-instrumentation-system-metrics lacks, or says in a way of old."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from otelml import instruments, settings
from otelml.instrumentation import cpu, system_metrics
from otelml.instrumentation.filesystems import Filesystems
from otelml.instruments import internal, timer
from otelml.instruments.observed import Reading, Source
from otelml.semconv._generated import METRICS

_PROC_FILES = "/proc/self/fd"
_OPEN_FILES = (_PROC_FILES, "/dev/fd")


class SystemInstrumentor(BaseInstrumentor):
    """CPU by mode, memory, filesystems and open files; docs/system.md has the list."""

    _sources: Mapping[str, Source] = {}
    _shares: Collection[cpu.Shares] = ()

    def instrumentation_dependencies(self) -> Collection[str]:
        return ()

    def _instrument(self, **_: Any) -> None:
        self._shares = (cpu.machine_shares(), cpu.process_shares())
        theirs = system_metrics.names_at_work()
        self._sources = {
            name: source
            for name, source in _sources(*self._shares).items()
            if name not in theirs and not system_metrics.is_excluded(name, os.environ)
        }
        for name, source in self._sources.items():
            instruments.observe(METRICS[name], source)
        timer.fork_hooks.append(self.start_anew)

    def _uninstrument(self, **_: Any) -> None:
        timer.fork_hooks.remove(self.start_anew)
        for source in self._sources.values():
            instruments.stop_observing(source)

    def start_anew(self) -> None:
        """In a forked child: it has used no CPU time yet."""
        for shares in self._shares:
            with internal.guard("instrumentation"):
                shares.start_anew()


def _sources(machine: Source, process: Source) -> dict[str, Source]:
    filesystems = Filesystems([os.sep, os.curdir, str(settings.current().telemetry_dir)])
    sources = {
        "process.cpu.utilization": process,
        "process.unix.file_descriptor.count": read_open_files,
        "system.cpu.utilization": machine,
        "system.filesystem.limit": filesystems.read_limit,
        "system.filesystem.usage": filesystems.read_usage,
        "system.filesystem.utilization": filesystems.read_utilization,
        "system.memory.limit": read_memory_limit,
    }
    return sources | (
        {"system.memory.linux.available": read_available_memory} if sys.platform == "linux" else {}
    )


def read_open_files() -> list[Reading]:
    """How many there are; absent where there is no such folder."""
    for folder in _OPEN_FILES:
        with suppress(FileNotFoundError):
            return [(_count_files(folder), {})]
    return []


def _count_files(folder: str) -> int:
    # Linux tells it since 6.2; else each is looked at, which takes 1 us, and one more is open to do so.
    told = Path(folder).stat().st_size if folder == _PROC_FILES else 0
    if told:
        return told
    with os.scandir(folder) as found:
        return sum(1 for _ in found) - 1


def read_memory_limit() -> list[Reading]:
    """Bytes of the machine."""
    import psutil

    return [(psutil.virtual_memory().total, {})]


def read_available_memory() -> list[Reading]:
    """Bytes that the kernel thinks it can still give."""
    import psutil

    return [(psutil.virtual_memory().available, {})]


def reset() -> None:
    """End it: for tests."""
    instrumentor = SystemInstrumentor()
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()
