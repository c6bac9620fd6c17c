"""NVML itself, through pynvml, which nothing else imports: structures become plain values, errors become `NvmlError`.

Every call leaves the interpreter's lock while the driver works, so it never holds up the program's threads.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from otelml.gpu.library import FUNCTION_NOT_FOUND, LIBRARY_NOT_FOUND, TIMEOUT, NvmlError

_NOT_SUPPORTED, _UNKNOWN = 3, 999
_XID_CRITICAL_ERROR = 0x8
_FIELD_TYPES = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}
_IMPORTED_IN = os.getpid()

# Where pynvml's name is not NVML's: what to call instead, and with what.
_FORMS: dict[str, tuple[str, dict[str, int]]] = {
    "nvmlDeviceGetMemoryInfo_v2": ("nvmlDeviceGetMemoryInfo", {"version": 0x02000028}),  # its size, and a 2
    # By the old name pynvml asks the newest again; this one is what drivers before R510 have.
    "nvmlDeviceGetComputeRunningProcesses": ("nvmlDeviceGetComputeRunningProcesses_v2", {}),
}


def preload() -> None:
    """Import pynvml, which `NvmlLibrary` needs later, on another thread."""
    with suppress(ImportError):
        import pynvml  # noqa: F401


class NvmlLibrary:
    """The NVIDIA driver's own library. Opening it initialises NVML for this process; `close` takes that back."""

    replayed = False
    # The fields are unsigned ints, and a busy link turns them over several times a second.
    wraps_at: int | None = 2**32

    def __init__(self) -> None:
        try:
            import pynvml
        except ImportError as error:
            raise NvmlError(LIBRARY_NOT_FOUND) from error
        self._nvml: Any = pynvml
        # How a pynvml says that the driver is older than it, and Python that this pynvml is older than we are.
        self._too_old = (getattr(pynvml, "NVMLLibraryMismatchError", TypeError), TypeError)
        self._samples: list[Any] = []
        _renew_loading_lock(pynvml)
        self._ask("nvmlInit")

    def begin_walk(self) -> None:
        """Nothing: the GPU itself goes on."""

    def call(self, name: str, *arguments: Any) -> Any:
        name, options = _FORMS.get(name, (name, {}))
        return _plain(self._ask(name, *arguments, **options))

    def field_values(self, handle: Any, ids: Sequence[int]) -> dict[int, float | NvmlError]:
        answers = self._ask("nvmlDeviceGetFieldValues", handle, list(ids))
        return {answer.fieldId: _field_value(answer) for answer in answers}

    def take_sample(self, handle: Any, gpu_instance: int | None = None) -> Any:
        sample = self._ask("nvmlGpmSampleAlloc")
        self._samples.append(sample)
        try:
            if gpu_instance is None:
                return self._ask("nvmlGpmSampleGet", handle, sample)
            return self._ask("nvmlGpmMigSampleGet", handle, gpu_instance, sample)
        except NvmlError:
            self.free_sample(sample)
            raise

    def compute_metrics(self, earlier: Any, later: Any, ids: Sequence[int]) -> dict[int, float | NvmlError]:
        request = self._nvml.c_nvmlGpmMetricsGet_t()
        request.version = self._nvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = len(ids)
        request.sample1, request.sample2 = earlier, later
        for position, metric in enumerate(ids):
            request.metrics[position].metricId = metric
        self._ask("nvmlGpmMetricsGet", request)
        return {
            one.metricId: NvmlError(one.nvmlReturn) if one.nvmlReturn else float(one.value)
            for one in request.metrics[: len(ids)]
        }

    def free_sample(self, sample: Any) -> None:
        self._samples = [each for each in self._samples if each is not sample]
        self._ask("nvmlGpmSampleFree", sample)

    def listen(self, handles: Sequence[Any]) -> NvmlEvents:
        return NvmlEvents(self._ask, handles)

    def close(self) -> None:
        for sample in self._samples:
            with suppress(NvmlError):
                self.free_sample(sample)
        self._ask("nvmlShutdown")

    def _ask(self, name: str, *arguments: Any, **options: int) -> Any:
        function = getattr(self._nvml, name, None)
        if function is None:  # an older pynvml, or the other package of that name
            raise NvmlError(FUNCTION_NOT_FOUND)
        try:
            return function(*arguments, **options)
        except self._nvml.NVMLError as error:
            raise NvmlError(error.value) from None
        except self._too_old as error:
            raise NvmlError(FUNCTION_NOT_FOUND) from error
        except UnicodeDecodeError as error:  # a broken InfoROM
            raise NvmlError(_UNKNOWN) from error


class NvmlEvents:
    """XID errors, from an NVML event set; GPUs that cannot tell of them are left out."""

    def __init__(self, ask: Callable[..., Any], handles: Sequence[Any]) -> None:
        self._ask = ask
        self._bus_ids: dict[int | None, str] = {}
        self._set = ask("nvmlEventSetCreate")
        refusal = NvmlError(_NOT_SUPPORTED)
        for handle in handles:
            try:
                # Now, because a GPU that falls off the bus tells of that (XID 79), and nothing after.
                bus_id = self._ask_bus_id(handle)
                ask("nvmlDeviceRegisterEvents", handle, _XID_CRITICAL_ERROR, self._set)
                self._bus_ids[_address(handle)] = bus_id
            except NvmlError as error:
                refusal = error
        if not self._bus_ids:
            self.close()
            raise refusal

    def wait(self, timeout_s: float) -> tuple[str, int] | None:
        try:
            event = self._ask("nvmlEventSetWait_v2", self._set, int(timeout_s * 1000))
        except NvmlError as error:
            if error.code == TIMEOUT:
                return None
            raise
        bus_id = self._bus_ids.get(_address(event.device)) or self._ask_bus_id(event.device)
        return bus_id, int(event.eventData)

    def close(self) -> None:
        self._ask("nvmlEventSetFree", self._set)

    def _ask_bus_id(self, handle: Any) -> str:
        return str(_plain(self._ask("nvmlDeviceGetPciInfo", handle))["busId"])


def pynvml_version() -> str | None:
    """The version of the package that pynvml comes from; None when it is not installed."""
    import importlib.metadata

    try:
        return importlib.metadata.version("nvidia-ml-py")
    except importlib.metadata.PackageNotFoundError:
        return None


def _address(handle: Any) -> int | None:
    return ctypes.cast(handle, ctypes.c_void_p).value


def _plain(value: Any) -> Any:
    """Structures as dicts, arrays as lists, bytes as text; handles as they are."""
    if isinstance(value, ctypes._Pointer):  # noqa: SLF001 - has no public name
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, ctypes.Structure):
        # Not `getattr`: pynvml's own decodes on the way, and raises where it cannot.
        return {field[0]: _plain(object.__getattribute__(value, field[0])) for field in value._fields_}
    if isinstance(value, (list, tuple, ctypes.Array)):
        return [_plain(item) for item in value]
    fields = getattr(value, "__dict__", None)  # pynvml's "friendly objects"
    return {name: _plain(item) for name, item in fields.items()} if fields is not None else value


def _field_value(answer: Any) -> float | NvmlError:
    if answer.nvmlReturn:
        return NvmlError(answer.nvmlReturn)
    member = _FIELD_TYPES.get(answer.valueType)
    value = getattr(answer.value, member, None) if member is not None else None
    return NvmlError(FUNCTION_NOT_FOUND) if value is None else value


def _renew_loading_lock(nvml: Any) -> None:
    """In a forked child the lock around pynvml's loading may be held by a thread that is the parent's."""
    if os.getpid() == _IMPORTED_IN:
        return  # who holds it now will give it back, however long the driver takes to load
    lock = getattr(nvml, "libLoadLock", None)
    if lock is not None and not lock.acquire(timeout=1.0):
        nvml.libLoadLock = threading.Lock()
    elif lock is not None:
        lock.release()
