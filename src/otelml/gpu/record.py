"""Recording a GPU: everything that is ever asked of it is asked once, in a form that `replay` answers from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from time import perf_counter, sleep
from typing import Any

from otelml.gpu.library import Library, NvmlError
from otelml.gpu.nvml import pynvml_version
from otelml.gpu.recordings import model_of

SYSTEM_CALLS = (
    "nvmlSystemGetDriverVersion",
    "nvmlSystemGetNVMLVersion",
    "nvmlSystemGetCudaDriverVersion_v2",
    "nvmlDeviceGetCount",
)
"""What is asked of the machine."""

CALLS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("nvmlDeviceGetName", ()),
    ("nvmlDeviceGetUUID", ()),
    ("nvmlDeviceGetSerial", ()),
    ("nvmlDeviceGetPciInfo", ()),
    ("nvmlDeviceGetArchitecture", ()),
    ("nvmlDeviceGetGspFirmwareVersion", ()),
    ("nvmlDeviceGetMigMode", ()),
    ("nvmlDeviceGetMaxMigDeviceCount", ()),
    ("nvmlDeviceGetGpuInstanceId", ()),
    ("nvmlDeviceGetComputeInstanceId", ()),
    ("nvmlDeviceGetUtilizationRates", ()),
    ("nvmlDeviceGetEncoderUtilization", ()),
    ("nvmlDeviceGetDecoderUtilization", ()),
    ("nvmlDeviceGetJpgUtilization", ()),
    ("nvmlDeviceGetOfaUtilization", ()),
    ("nvmlDeviceGetMemoryInfo_v2", ()),
    ("nvmlDeviceGetMemoryInfo", ()),
    ("nvmlDeviceGetPowerUsage", ()),
    ("nvmlDeviceGetEnforcedPowerLimit", ()),
    ("nvmlDeviceGetTotalEnergyConsumption", ()),
    ("nvmlDeviceGetTemperature", (0,)),
    *(("nvmlDeviceGetTemperatureThreshold", (kind,)) for kind in range(4)),
    *(("nvmlDeviceGetClockInfo", (clock,)) for clock in range(4)),
    *(("nvmlDeviceGetMaxClockInfo", (clock,)) for clock in range(4)),
    ("nvmlDeviceGetPerformanceState", ()),
    ("nvmlDeviceGetCurrentClocksEventReasons", ()),
    ("nvmlDeviceGetCurrentClocksThrottleReasons", ()),
    ("nvmlDeviceGetSupportedClocksEventReasons", ()),
    *(("nvmlDeviceGetViolationStatus", (policy,)) for policy in (0, 1, 2, 3, 5)),
    ("nvmlDeviceGetNumFans", ()),
    ("nvmlDeviceGetPcieReplayCounter", ()),
    ("nvmlDeviceGetEccMode", ()),
    ("nvmlDeviceGetTotalEccErrors", (0, 0)),
    ("nvmlDeviceGetTotalEccErrors", (1, 0)),
    ("nvmlDeviceGetRemappedRows", ()),
    ("nvmlDeviceGetComputeRunningProcesses_v3", ()),
    ("nvmlDeviceGetComputeRunningProcesses", ()),
    ("nvmlGpmQueryDeviceSupport", ()),
)
"""What is asked of a GPU, with the arguments after its handle; beside that, each of its fans."""

FIELDS = {
    "NVML_FI_DEV_MEMORY_TEMP": 82,
    "NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 83,
    "NVML_FI_DEV_PCIE_REPLAY_COUNTER": 94,
    "NVML_FI_DEV_REMAPPED_COR": 142,
    "NVML_FI_DEV_REMAPPED_UNC": 143,
    "NVML_FI_DEV_REMAPPED_PENDING": 144,
    "NVML_FI_DEV_REMAPPED_FAILURE": 145,
    "NVML_FI_DEV_POWER_AVERAGE": 185,
    "NVML_FI_DEV_POWER_INSTANT": 186,
    "NVML_FI_DEV_PCIE_COUNT_TX_BYTES": 197,
    "NVML_FI_DEV_PCIE_COUNT_RX_BYTES": 198,
    "NVML_FI_DEV_GET_GPU_RECOVERY_ACTION": 230,
}
"""Field values, by NVML's names."""

METRICS = {
    "NVML_GPM_METRIC_GRAPHICS_UTIL": 1,
    "NVML_GPM_METRIC_SM_UTIL": 2,
    "NVML_GPM_METRIC_SM_OCCUPANCY": 3,
    "NVML_GPM_METRIC_ANY_TENSOR_UTIL": 5,
    "NVML_GPM_METRIC_DFMA_TENSOR_UTIL": 6,
    "NVML_GPM_METRIC_HMMA_TENSOR_UTIL": 7,
    "NVML_GPM_METRIC_DMMA_TENSOR_UTIL": 8,
    "NVML_GPM_METRIC_IMMA_TENSOR_UTIL": 9,
    "NVML_GPM_METRIC_DRAM_BW_UTIL": 10,
    "NVML_GPM_METRIC_FP64_UTIL": 11,
    "NVML_GPM_METRIC_FP32_UTIL": 12,
    "NVML_GPM_METRIC_FP16_UTIL": 13,
    "NVML_GPM_METRIC_PCIE_TX_PER_SEC": 20,
    "NVML_GPM_METRIC_PCIE_RX_PER_SEC": 21,
    "NVML_GPM_METRIC_NVLINK_TOTAL_RX_PER_SEC": 60,
    "NVML_GPM_METRIC_NVLINK_TOTAL_TX_PER_SEC": 61,
}
"""GPM metrics, by NVML's names."""

BUSY_PERCENT = 10.0
"""A GPU that does more than this is under load."""

_MASKED_ID = "00000000-0000-0000-0000-{:012d}"


def record(
    library: Library,
    device: int = 0,
    *,
    state: str | None = None,
    masked: bool = True,
    gpm_window_s: float = 1.1,
    wait: Callable[[float], object] = sleep,
) -> dict[str, Any]:
    """A recording of the GPU with that index as it is now; plain data for JSON.

    Args:
        library: where the answers come from.
        device: NVML's index.
        state: what to call it, "idle" or "load"; None for what it is (see `find_state`).
        masked: whether to put zeros in the place of UUIDs and the serial number.
        gpm_window_s: over which the true activity is measured.
        wait: waits so many seconds.

    Raises NvmlError when there is no such GPU.
    """
    library.begin_walk()
    handle = library.call("nvmlDeviceGetHandleByIndex", device)
    targets = [_Target(library, handle), *_mig_targets(library, handle)]
    for target in targets:
        target.ask_all()
    wait(gpm_window_s)
    for target in targets:
        target.measure_activity()
    if masked:
        for number, target in enumerate(targets):
            _mask(target.calls, number)
    state = state or find_state(targets[0].calls, targets[0].gpm)
    system = {name: _timed(partial(library.call, name)) for name in SYSTEM_CALLS}
    recording: dict[str, Any] = {"pynvml": None if library.replayed else pynvml_version(), "system": system}
    recording |= targets[0].as_state(state)
    if len(targets) > 1:
        recording["mig_devices"] = [target.as_state(state) for target in targets[1:]]
    return recording | {"note": _note(recording, masked=masked, replayed=library.replayed)}


def find_state(calls: Mapping[str, Any], gpm: Mapping[str, Any] | None) -> str:
    """Whether a GPU is under load: by its SM activity, or by the classic utilisation where that is not known."""
    sm = (gpm or {}).get("metrics", {}).get("NVML_GPM_METRIC_SM_UTIL", {})
    rates = calls.get("nvmlDeviceGetUtilizationRates()", {}).get("value") or {}
    percent = sm["value"] if "value" in sm else rates.get("gpu", 0)
    return "load" if percent > BUSY_PERCENT else "idle"


class _Target:
    """A GPU or a MIG device that is being recorded."""

    def __init__(
        self, library: Library, handle: Any, gpu: Any = None, gpu_instance: int | None = None
    ) -> None:
        self._library, self._handle = library, handle
        self._sampled = (handle if gpu is None else gpu, gpu_instance)
        self._first: dict[str, Any] = {}
        self.calls: dict[str, Any] = {}
        self.gpm: dict[str, Any] | None = None

    def ask_all(self) -> None:
        """Ask everything; the time over which the activity is measured begins."""
        if _has_gpm(self._library, self._sampled[0]):
            self._first = self._take_sample()
        for name, arguments in CALLS:
            self._ask(name, *arguments)
        for fan in range(self.calls["nvmlDeviceGetNumFans()"].get("value", 0)):
            self._ask("nvmlDeviceGetFanSpeed_v2", fan)
        self.calls["fields"] = {name: self._ask_field(field_id) for name, field_id in FIELDS.items()}

    def measure_activity(self) -> None:
        """Read the activity since `ask_all`."""
        if not self._first:
            return
        later = self._take_sample()
        samples = [entry.get("value") for entry in (self._first, later)]
        if None in samples:
            failed = self._first if samples[0] is None else later
            self.gpm = {"sample_us": failed["us"], "error": failed["error"], "code": failed["code"]}
        else:
            self.gpm = {"sample_us": later["us"], **self._compute(*samples)}
        for sample in samples:
            if sample is not None:
                _timed(partial(self._library.free_sample, sample))

    def as_state(self, state: str) -> dict[str, Any]:
        """What was found, under the state's name."""
        found: dict[str, Any] = {state: self.calls}
        return found if self.gpm is None else found | {f"{state}_gpm": self.gpm}

    def _ask(self, name: str, *arguments: int) -> None:
        key = f"{name}({','.join(map(str, arguments))})"
        self.calls[key] = _timed(partial(self._library.call, name, self._handle, *arguments))

    def _ask_field(self, field_id: int) -> dict[str, Any]:
        asked = _timed(partial(self._library.field_values, self._handle, [field_id]))
        found: dict[str, Any] = {"id": field_id, "latency_us": asked["us"]}
        if "value" not in asked:
            return found | {"error": asked["code"]}
        value = asked["value"][field_id]
        return found | ({"error": value.code} if isinstance(value, NvmlError) else {"value": value})

    def _take_sample(self) -> dict[str, Any]:
        return _timed(partial(self._library.take_sample, *self._sampled))

    def _compute(self, earlier: Any, later: Any) -> dict[str, Any]:
        ids = tuple(METRICS.values())
        asked = _timed(partial(self._library.compute_metrics, earlier, later, ids))
        if "value" not in asked:
            return {"error": asked["error"], "code": asked["code"]}
        metrics = {name: _metric(number, asked["value"][number]) for name, number in METRICS.items()}
        return {"read_us": asked["us"], "metrics": metrics}


def _metric(metric_id: int, value: float | NvmlError) -> dict[str, Any]:
    if isinstance(value, NvmlError):
        return {"id": metric_id, "ret": value.code}
    return {"id": metric_id, "ret": 0, "value": value}


def _timed(ask: Callable[[], Any]) -> dict[str, Any]:
    start_s = perf_counter()
    try:
        found = {"value": ask()}
    except NvmlError as error:
        found = {"error": error.name, "code": error.code}
    return {"us": round((perf_counter() - start_s) * 1e6, 3), **found}


def _value(library: Library, name: str, *arguments: Any) -> Any:
    return _timed(partial(library.call, name, *arguments)).get("value")


def _has_gpm(library: Library, handle: Any) -> bool:
    support = _value(library, "nvmlGpmQueryDeviceSupport", handle) or {}
    return bool(support.get("isSupportedDevice"))


def _mig_targets(library: Library, gpu: Any) -> Iterator[_Target]:
    for index in range(_value(library, "nvmlDeviceGetMaxMigDeviceCount", gpu) or 0):
        handle = _value(library, "nvmlDeviceGetMigDeviceHandleByIndex", gpu, index)
        if handle is not None:
            instance = _value(library, "nvmlDeviceGetGpuInstanceId", handle)
            yield _Target(library, handle, gpu, instance)


def _mask(calls: dict[str, Any], number: int) -> None:
    """Identities as zeros: `number` is 0 for the GPU itself, then 1, 2, ... for its MIG devices."""
    uuid, serial = calls["nvmlDeviceGetUUID()"], calls["nvmlDeviceGetSerial()"]
    if "value" in uuid:
        uuid["value"] = f"MIG-{_MASKED_ID.format(number)}" if number else f"GPU-{_MASKED_ID.format(1)}"
    if "value" in serial:
        serial["value"] = "0" * len(serial["value"])


def _note(recording: Mapping[str, Any], *, masked: bool, replayed: bool) -> str:
    driver = recording["system"]["nvmlSystemGetDriverVersion"].get("value")
    source = "a replay" if replayed else f"nvidia-ml-py {recording['pynvml']}"
    note = f"NVML readings of one {model_of(recording)} (driver {driver}), recorded through {source}. "
    return note + "'us' is a call's own time." + (" UUID and serial number are replaced." if masked else "")
