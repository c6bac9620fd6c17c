"""NVML replayed: recordings of GPUs answer what the GPUs answered when they were recorded, error for error."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from otelml.gpu.library import FUNCTION_NOT_FOUND, NvmlError
from otelml.gpu.recordings import ReplayError, check_recording, read_recording
from otelml.gpu.recordings.device import RecordedDevice, RecordedState, identify

__all__ = ["ReplayError", "ReplayLibrary", "ReplayedEvents", "load"]

_UNINITIALIZED, _INVALID_ARGUMENT, _NOT_SUPPORTED, _NOT_FOUND = 1, 2, 3, 6


def load(names_or_paths: Sequence[str], state: str | None = None) -> ReplayLibrary:
    """A library over recordings, one GPU each: built-in names (`h200`) or files; the same one may stand there twice.

    Raises ReplayError.
    """
    recordings = {name: read_recording(name) for name in names_or_paths}
    for name, recording in recordings.items():
        check_recording(recording, name, state)
    return ReplayLibrary([recordings[name] for name in names_or_paths], state)


@dataclass(slots=True, eq=False)
class _Sample:
    """A GPM sample: the device, and the state that it was in."""

    device: RecordedDevice
    state: RecordedState
    freed: bool = False


class ReplayLibrary:
    """NVML over recordings, one GPU each, in that order.

    Each walk shows the next state, idle first, or always `state`. Counters go on from walk to walk, and never fall;
    with one state they stand still. GPUs that were recorded under one identity get identities of their own. A call
    that was not recorded is one that the driver does not have.

    Args:
        recordings: not to be changed afterwards, nor are the answers.
        state: one that every recording has.
        sleep: called before each answer, with the seconds that the call took when it was recorded. For GPM metrics
            that is the time of all that were recorded, however few are asked for.

    Raises ReplayError.
    """

    replayed = True
    wraps_at: int | None = None

    def __init__(
        self,
        recordings: Sequence[Mapping[str, Any]],
        state: str | None = None,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self._devices = [
            RecordedDevice(recording, index, state, f"recording {index}")
            for index, recording in enumerate(recordings)
        ]
        taken: set[str] = set()
        for device in self._devices:
            identify(device, taken)
        self._system: Mapping[str, Any] = recordings[0].get("system", {}) if recordings else {}
        self._sleep = sleep
        self._begun = 0
        self._closed = False
        self._changed = threading.Condition()

    def begin_walk(self) -> None:
        with self._changed:
            self._begun += 1
            self._changed.notify_all()

    @property
    def _walk(self) -> int:
        return max(0, self._begun - 1)

    def call(self, name: str, *arguments: Any) -> Any:
        self._check_open()
        if not arguments or not isinstance(arguments[0], RecordedDevice):
            return self._ask_system(name, arguments)
        device, *rest = arguments
        if name == "nvmlDeviceGetMigDeviceHandleByIndex":
            return _at(device.mig_devices, rest[0], _NOT_FOUND)
        return self._value(device.answer(self._walk, name, rest))

    def _ask_system(self, name: str, arguments: Sequence[Any]) -> Any:
        if name == "nvmlDeviceGetHandleByIndex":
            return _at(self._devices, arguments[0], _INVALID_ARGUMENT)
        if name == "nvmlDeviceGetCount":
            return len(self._devices)
        if name not in self._system:
            raise NvmlError(FUNCTION_NOT_FOUND)
        return self._value(self._system[name])

    def _value(self, entry: Mapping[str, Any]) -> Any:
        self._pass_us(entry.get("us", 0))
        if "value" in entry:
            return entry["value"]
        raise NvmlError(entry.get("code", _INVALID_ARGUMENT))

    def field_values(self, handle: Any, ids: Sequence[int]) -> dict[int, float | NvmlError]:
        self._check_open()
        walk = self._walk
        fields = handle.state(walk).fields
        self._pass_us(sum(fields.get(field_id, {}).get("latency_us", 0) for field_id in ids))
        return {field_id: handle.field(walk, field_id) for field_id in ids}

    def take_sample(self, handle: Any, gpu_instance: int | None = None) -> Any:
        self._check_open()
        walk = self._walk
        device = handle if gpu_instance is None else _mig_device(handle, gpu_instance, walk)
        state = device.state(walk)
        self._pass_us(state.gpm.get("sample_us", 0))
        if not state.metrics:
            raise NvmlError(state.gpm.get("code", _NOT_SUPPORTED))
        return _Sample(device, state)

    def compute_metrics(self, earlier: Any, later: Any, ids: Sequence[int]) -> dict[int, float | NvmlError]:
        self._check_open()
        if earlier.device is not later.device or earlier.freed or later.freed:
            raise NvmlError(_INVALID_ARGUMENT)
        self._pass_us(later.state.gpm.get("read_us", 0))
        return {metric_id: _metric(later.state.metrics.get(metric_id)) for metric_id in ids}

    def free_sample(self, sample: Any) -> None:
        sample.freed = True

    def listen(self, handles: Sequence[Any]) -> ReplayedEvents:
        self._check_open()
        events = [
            (event["after_walks"], device.bus_id, event["xid"])
            for device in handles
            for event in device.events
        ]
        return ReplayedEvents(sorted(events), self._changed, lambda: self._begun, lambda: self._closed)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _check_open(self) -> None:
        if self._closed:
            raise NvmlError(_UNINITIALIZED)

    def _pass_us(self, microseconds: float) -> None:
        if self._sleep is not None:
            self._sleep(microseconds / 1e6)


def _at(devices: Sequence[RecordedDevice], index: int, code: int) -> RecordedDevice:
    if not 0 <= index < len(devices):
        raise NvmlError(code)
    return devices[index]


def _mig_device(gpu: RecordedDevice, gpu_instance: int, walk: int) -> RecordedDevice:
    for device in gpu.mig_devices:
        if device.state(walk).calls.get("nvmlDeviceGetGpuInstanceId()", {}).get("value") == gpu_instance:
            return device
    raise NvmlError(_INVALID_ARGUMENT)


def _metric(entry: Mapping[str, Any] | None) -> float | NvmlError:
    if entry is None:
        return NvmlError(_INVALID_ARGUMENT)
    return NvmlError(entry["ret"]) if entry["ret"] else float(entry["value"])


class ReplayedEvents:
    """XID errors, each once, when as many walks have begun as it says (`after_walks`)."""

    def __init__(
        self,
        events: Sequence[tuple[int, str, int]],
        changed: threading.Condition,
        begun: Callable[[], int],
        library_closed: Callable[[], bool],
    ) -> None:
        self._coming: Iterator[tuple[int, str, int]] = iter(events)
        self._next = next(self._coming, None)
        self._changed, self._begun, self._library_closed = changed, begun, library_closed
        self._closed = False

    def wait(self, timeout_s: float) -> tuple[str, int] | None:
        with self._changed:
            if self._is_closed():
                raise NvmlError(_UNINITIALIZED)
            self._changed.wait_for(lambda: self._is_closed() or self._is_due(), timeout_s)
            return None if self._is_closed() else self._take()

    def _take(self) -> tuple[str, int] | None:
        if self._next is None or not self._is_due():
            return None
        _, bus_id, xid = self._next
        self._next = next(self._coming, None)
        return bus_id, xid

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_due(self) -> bool:
        return self._next is not None and self._next[0] <= self._begun()

    def _is_closed(self) -> bool:
        return self._closed or self._library_closed()
