"""opentelemetry-instrumentation-system-metrics as it is under the distribution: few series, and right after a fork.

By itself it emits 33 metrics, a dozen of them under names that were given up, a series for each CPU, and for one of
them it looks at every socket of the machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from opentelemetry import metrics

from otelml.instruments import internal, timer

PACKAGE = "opentelemetry.instrumentation.system_metrics"
EXCLUDED = "OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS"
"""Upstream's variable: globs of the names of metrics, with commas between them."""

LEAN: Mapping[str, Sequence[str] | None] = {
    "process.context_switches": ["involuntary", "voluntary"],
    "process.cpu.time": ["user", "system"],
    "process.memory.usage": None,
    "process.memory.virtual": None,
    "process.thread.count": None,
    "system.disk.io": ["read", "write"],
    "system.memory.usage": ["used", "free", "cached"],
    "system.memory.utilization": ["used"],
    "system.network.io": ["transmit", "receive"],
}
"""What we have it emit, in the form of its configuration. The other metrics of docs/system.md are `system`'s."""

_DEVICES = {"system.disk.io": "/sys/class/block", "system.network.io": "/sys/class/net"}
"""Metrics with a series a device, and where Linux says which devices are hardware."""

_VIRTUAL = ("lo", "ram", "zram")
"""How the names of loop devices, the loopback and memory disks begin."""


def is_excluded(name: str, environ: Mapping[str, str]) -> bool:
    """Whether the user has excluded the metric."""
    patterns = (pattern.strip() for pattern in environ.get(EXCLUDED, "").split(","))
    return any(fnmatch(name, pattern) for pattern in patterns)


def names_at_work() -> frozenset[str]:
    """The metrics that it emits already, here by the user's choice."""
    instrumentor = _find_instrumentor()
    at_work = instrumentor is not None and instrumentor.is_instrumented_by_opentelemetry
    return frozenset(getattr(instrumentor, "_config", ())) if at_work else frozenset()


def prepare(kind: Any, environ: Mapping[str, str]) -> tuple[Any, Mapping[str, Any]]:
    """The one instrumentor of class `kind`, with our set unless the user has it at work with his own.

    Also how to call its `instrument`. From now on it reports of the right process in forked children.
    """
    if start_anew not in timer.fork_hooks:
        timer.fork_hooks.append(start_anew)
    # The class has one instance only, but each call of it runs the constructor, which would take away his settings.
    found = getattr(kind, "_instance", None)
    if found is not None and found.is_instrumented_by_opentelemetry:
        return found, {}
    config = {name: states for name, states in LEAN.items() if not is_excluded(name, environ)}
    instrumentor = kind(config=config)
    return instrumentor, {"meter_provider": _Meters(instrumentor)}


def start_anew() -> None:
    """In a forked child: it keeps the process that it was made in, and would go on to speak of the parent."""
    instrumentor = _find_instrumentor()
    if instrumentor is not None:
        import psutil

        with internal.guard("instrumentation"):
            instrumentor._proc = psutil.Process()  # noqa: SLF001 - it offers no other way


def keep_hardware(readings: Iterable[Any], folder: str | Path) -> list[Any]:
    """Those of hardware, so that bytes count once: not again for each partition, volume, bridge and container.

    Where the machine names no hardware (within containers, on other systems) all but the loopback and the like.
    """
    readings = list(readings)
    devices = {reading.attributes["device"] for reading in readings}
    # Not with Path, which takes four times as long: hosts of containers have hundreds.
    hardware = {device for device in devices if os.path.exists(f"{folder}/{device}/device")}  # noqa: PTH110
    kept = hardware or {device for device in devices if not device.startswith(_VIRTUAL)}
    return [reading for reading in readings if reading.attributes["device"] in kept]


def _find_instrumentor() -> Any:
    """The instance, if there is one; the package is not imported for it."""
    kind = getattr(sys.modules.get(PACKAGE), "SystemMetricsInstrumentor", None)
    return getattr(kind, "_instance", None)


class _Meters(metrics.MeterProvider):
    """Gives `instrumentor` a meter like the global provider's, with callbacks that are contained.

    A callback of its own that raises is logged by the SDK with a traceback, at each collection; and it goes on when
    it is uninstrumented.
    """

    def __init__(self, instrumentor: Any) -> None:
        self._instrumentor = instrumentor

    def get_meter(self, *args: Any, **kwargs: Any) -> Any:
        return _Meter(metrics.get_meter_provider().get_meter(*args, **kwargs), self._instrumentor)


class _Meter:
    """Creates instruments as `meter` does, and contains their callbacks."""

    def __init__(self, meter: metrics.Meter, instrumentor: Any) -> None:
        self._meter, self._instrumentor = meter, instrumentor

    def __getattr__(self, create: str) -> Callable[..., Any]:
        def create_contained(name: str, callbacks: Sequence[Any] | None = None, **kwargs: Any) -> Any:
            if callbacks is not None:
                kwargs["callbacks"] = [_contain(callback, name, self._instrumentor) for callback in callbacks]
            return getattr(self._meter, create)(name, **kwargs)

        return create_contained


def _contain(
    callback: Callable[[Any], Iterable[Any]], name: str, instrumentor: Any
) -> Callable[[Any], list[Any]]:
    import psutil

    def observe(options: Any) -> list[Any]:
        if not instrumentor.is_instrumented_by_opentelemetry:
            return []
        with internal.guard("instrumentation"):
            try:
                readings = list(callback(options))
            except (NotImplementedError, OSError, psutil.Error):
                return []  # what the machine does not tell (a sandbox, a container) is absent
            return keep_hardware(readings, _DEVICES[name]) if name in _DEVICES else readings
        return []

    return observe
