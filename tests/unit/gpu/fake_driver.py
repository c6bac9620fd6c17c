"""A driver's library of real C functions, whose bodies are Python's: pynvml calls it as it calls the real one.

Arguments arrive as plain numbers and addresses, and answers are written to memory in the layouts of `nvml.h` (as
formats of `struct`), so nothing of pynvml's own idea of them is taken on trust.
"""

from __future__ import annotations

import os
import queue
import struct
from collections import Counter
from ctypes import CFUNCTYPE, c_int, c_uint, c_ulonglong, c_void_p, cast, memmove, string_at
from functools import partial
from itertools import count, islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, INSUFFICIENT_SIZE, TIMEOUT = (
    0,
    1,
    2,
    3,
    6,
    7,
    10,
)
VERSION_MISMATCH = 25
XID = 8

# Beyond 32 bits, as real ones are: one that is passed on as an int does not arrive.
FIRST, SECOND, MIG = 0x7F10_0000_1000, 0x7F10_0000_2000, 0x7F10_0000_3000
GPU_INSTANCE = 9
PROCESS_MEMORY, OTHER_PID, OTHER_MEMORY = 3_000_000_000, 0x7FFF_FFF0, 5_000_000_000

MEMORY_V2, PCI_INFO, PROCESS, FIELD, EVENT = "IQQQQ", "16sIIIII32s", "IQII", "IIqqII8s", "PQQII"
GPM_REQUEST, GPM_METRIC = "IIPP", "IIdPPP"

# After the handle: how many numbers go in, and the layout behind each address that follows.
GETTERS: dict[str, tuple[Any, ...]] = {
    "nvmlDeviceGetPciInfo_v3": (0, PCI_INFO),
    "nvmlDeviceGetMigMode": (0, "I", "I"),
    "nvmlDeviceGetMaxMigDeviceCount": (0, "I"),
    "nvmlDeviceGetGpuInstanceId": (0, "I"),
    "nvmlDeviceGetComputeInstanceId": (0, "I"),
    "nvmlDeviceGetMigDeviceHandleByIndex": (1, "P"),
    "nvmlDeviceGetNumFans": (0, "I"),
    "nvmlDeviceGetFanSpeed_v2": (1, "I"),
    "nvmlDeviceGetUtilizationRates": (0, "II"),
    "nvmlDeviceGetEncoderUtilization": (0, "I", "I"),
    "nvmlDeviceGetDecoderUtilization": (0, "I", "I"),
    "nvmlDeviceGetJpgUtilization": (0, "I", "I"),
    "nvmlDeviceGetOfaUtilization": (0, "I", "I"),
    "nvmlDeviceGetMemoryInfo": (0, "QQQ"),
    "nvmlDeviceGetPowerUsage": (0, "I"),
    "nvmlDeviceGetEnforcedPowerLimit": (0, "I"),
    "nvmlDeviceGetTotalEnergyConsumption": (0, "Q"),
    "nvmlDeviceGetTemperature": (1, "I"),
    "nvmlDeviceGetTemperatureThreshold": (1, "I"),
    "nvmlDeviceGetClockInfo": (1, "I"),
    "nvmlDeviceGetSupportedClocksEventReasons": (0, "Q"),
    "nvmlDeviceGetCurrentClocksEventReasons": (0, "Q"),
    "nvmlDeviceGetCurrentClocksThrottleReasons": (0, "Q"),
    "nvmlDeviceGetViolationStatus": (1, "QQ"),
    "nvmlDeviceGetPcieReplayCounter": (0, "I"),
    "nvmlDeviceGetTotalEccErrors": (2, "Q"),
    "nvmlDeviceGetRemappedRows": (0, "I", "I", "I", "I"),
}
TEXTS = ("nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetSerial")

ANSWERS: dict[int, dict[str, tuple[Any, ...]]] = {
    FIRST: {
        "nvmlDeviceGetName()": (b"NVIDIA H200",),
        "nvmlDeviceGetUUID()": (b"GPU-first",),
        "nvmlDeviceGetSerial()": (b"1650000000001",),
        "nvmlDeviceGetPciInfo_v3()": (
            b"0000:1B:00.0",
            0,
            0x1B,
            0,
            0x233510DE,
            0x18BE10DE,
            b"00000000:1B:00.0",
        ),
        "nvmlDeviceGetMigMode()": (0, 0),
        "nvmlDeviceGetNumFans()": (1,),
        "nvmlDeviceGetFanSpeed_v2(0)": (30,),
        "nvmlDeviceGetUtilizationRates()": (99, 16),
        "nvmlDeviceGetEncoderUtilization()": (1, 167_000),
        "nvmlDeviceGetDecoderUtilization()": (2, 167_000),
        "nvmlDeviceGetJpgUtilization()": (3, 167_000),
        "nvmlDeviceGetOfaUtilization()": (4, 167_000),
        "nvmlDeviceGetMemoryInfo()": (150_000_000_000, 139_000_000_000, 11_000_000_000),
        "nvmlDeviceGetMemoryInfo_v2()": (150_000_000_000, 1_000_000_000, 139_000_000_000, 10_000_000_000),
        "nvmlDeviceGetPowerUsage()": (612_345,),
        "nvmlDeviceGetEnforcedPowerLimit()": (700_000,),
        "nvmlDeviceGetTotalEnergyConsumption()": (2**33,),
        "nvmlDeviceGetTemperature(0)": (54,),
        "nvmlDeviceGetTemperatureThreshold(0)": (92,),
        "nvmlDeviceGetTemperatureThreshold(1)": (89,),
        "nvmlDeviceGetTemperatureThreshold(2)": (95,),
        "nvmlDeviceGetTemperatureThreshold(3)": (87,),
        "nvmlDeviceGetClockInfo(0)": (1980,),
        "nvmlDeviceGetClockInfo(1)": (1965,),
        "nvmlDeviceGetClockInfo(2)": (3201,),
        "nvmlDeviceGetClockInfo(3)": (1545,),
        "nvmlDeviceGetSupportedClocksEventReasons()": (0x5,),
        "nvmlDeviceGetCurrentClocksEventReasons()": (0x4,),
        "nvmlDeviceGetCurrentClocksThrottleReasons()": (0x4,),
        **{
            f"nvmlDeviceGetViolationStatus({kind})": (10**12, kind * 10**9 + 2**33)
            for kind in (0, 1, 2, 3, 5)
        },
        "nvmlDeviceGetPcieReplayCounter()": (6,),
        "nvmlDeviceGetTotalEccErrors(0,0)": (2**32 + 7,),
        "nvmlDeviceGetTotalEccErrors(1,0)": (0,),
        "nvmlDeviceGetRemappedRows()": (1, 2, 0, 0),
    },
    SECOND: {
        "nvmlDeviceGetName()": (b"NVIDIA H200",),
        "nvmlDeviceGetUUID()": (b"GPU-second",),
        "nvmlDeviceGetPciInfo_v3()": (
            b"0000:43:00.0",
            0,
            0x43,
            0,
            0x233510DE,
            0x18BE10DE,
            b"00000000:43:00.0",
        ),
        "nvmlDeviceGetMigMode()": (1, 1),
        "nvmlDeviceGetMaxMigDeviceCount()": (7,),
        # There is none at 0: devices that were taken down leave gaps.
        "nvmlDeviceGetMigDeviceHandleByIndex(1)": (MIG,),
    },
    MIG: {
        "nvmlDeviceGetName()": (b"NVIDIA H200 MIG 1g.18gb",),
        "nvmlDeviceGetUUID()": (b"MIG-part",),
        "nvmlDeviceGetGpuInstanceId()": (GPU_INSTANCE,),
        "nvmlDeviceGetComputeInstanceId()": (0,),
        "nvmlDeviceGetMemoryInfo_v2()": (18_000_000_000, 100_000_000, 17_400_000_000, 500_000_000),
    },
}

# Type and bytes by id: memory temperature, PCIe out and in, recovery action.
FIELDS = {
    82: (1, struct.pack("@I", 46)),
    197: (1, struct.pack("@I", 4_294_000_000)),
    198: (1, struct.pack("@I", 1_000)),
    230: (1, struct.pack("@I", 0)),
}
# Per cent, then MiB/s; this driver knows no NVLink metrics (60, 61).
GPM = {2: 82.0, 3: 12.5, 5: 80.0, 10: 16.0, 11: 0.0, 12: 4.0, 13: 8.0, 20: 0.25, 21: 0.5}

FUNCTIONS: dict[str, tuple[tuple[Any, ...], Callable[..., int]]] = {}


def write(address: int, layout: str, *values: Any) -> None:
    """Put values where a C function's caller wants them."""
    memmove(address, struct.pack(f"@{layout}", *values), struct.calcsize(f"@{layout}"))


def read(address: int, layout: str) -> tuple[Any, ...]:
    """What the caller of a C function put there."""
    return struct.unpack(f"@{layout}", string_at(address, struct.calcsize(f"@{layout}")))


def function(name: str, *types: Any) -> Callable[[Any], Any]:
    """A method that answers a function of the library, which has parameters of these types."""

    def register(method: Any) -> Any:
        FUNCTIONS[name] = (types, method)
        return method

    return register


class FakeDriver:
    """A machine with a GPU, and one that is divided; `library` is what pynvml loads.

    Attributes:
        errors: what a function answers instead, by its name.
        missing: functions that this driver does not have.
        calls: how often each was called.
        open: how often the library was initialised, and not shut down.
        samples: when each GPM sample that is not freed was taken, and of what.
        events: GPUs registered, by the event set.
        xids: put (GPU, XID) there.
    """

    def __init__(self) -> None:
        self.library = Library(self)
        self.answers = {device: dict(answers) for device, answers in ANSWERS.items()}
        self.fields = dict(FIELDS)
        self.errors: dict[str, int] = {}
        self.missing: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.open = 0
        self.samples: dict[int, tuple[int, Any] | None] = {}
        self.events: dict[int, list[int]] = {}
        self.xids: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()
        self._numbers = count(1)

    def answer(self, name: str, body: Callable[..., int], arguments: tuple[Any, ...]) -> int:
        """One call from C."""
        self.calls[name] += 1
        if not self.open and name != "nvmlInitWithFlags":
            return UNINITIALIZED
        return self.errors.get(name) or body(self, *arguments)

    def get(self, device: int, *rest: Any, name: str) -> int:
        """Any of `GETTERS`."""
        inputs, *layouts = GETTERS[name]
        found = self.answers.get(device)
        if found is None:
            return INVALID_ARGUMENT
        values = found.get(f"{name}({','.join(map(str, rest[:inputs]))})")
        if values is None:
            return NOT_FOUND if "ByIndex" in name else NOT_SUPPORTED
        left = iter(values)
        for address, layout in zip(rest[inputs:], layouts, strict=True):
            write(address, layout, *islice(left, len(read(address, layout))))
        return SUCCESS

    def get_text(self, device: int, address: int, size: int, *, name: str) -> int:
        """Any of `TEXTS`."""
        if device not in self.answers:
            return INVALID_ARGUMENT
        values = self.answers[device].get(f"{name}()")
        return NOT_SUPPORTED if values is None else self._put_text(address, size, values[0])

    @staticmethod
    def _put_text(address: int, size: int, text: bytes) -> int:
        if len(text) >= size:
            return INSUFFICIENT_SIZE
        write(address, f"{len(text) + 1}s", text)
        return SUCCESS

    @function("nvmlInitWithFlags", c_uint)
    def init(self, flags: int) -> int:
        self.open += 1
        return SUCCESS if flags == 0 else INVALID_ARGUMENT

    @function("nvmlShutdown")
    def shut_down(self) -> int:
        self.open -= 1
        return SUCCESS

    @function("nvmlSystemGetDriverVersion", c_void_p, c_uint)
    def get_driver_version(self, address: int, size: int) -> int:
        return self._put_text(address, size, b"580.159.04")

    @function("nvmlDeviceGetCount_v2", c_void_p)
    def get_count(self, address: int) -> int:
        write(address, "I", 2)
        return SUCCESS

    @function("nvmlDeviceGetHandleByIndex_v2", c_uint, c_void_p)
    def get_handle(self, index: int, address: int) -> int:
        write(address, "P", (FIRST, SECOND)[index])
        return SUCCESS

    @function("nvmlDeviceGetMemoryInfo_v2", c_void_p, c_void_p)
    def get_memory(self, device: int, address: int) -> int:
        version, *_ = read(address, MEMORY_V2)
        if version != struct.calcsize(f"@{MEMORY_V2}") | 2 << 24:
            return VERSION_MISMATCH
        values = self.answers[device].get("nvmlDeviceGetMemoryInfo_v2()")
        if values is None:
            return NOT_SUPPORTED
        write(address, MEMORY_V2, version, *values)
        return SUCCESS

    @function("nvmlDeviceGetComputeRunningProcesses_v2", c_void_p, c_void_p, c_void_p)
    @function("nvmlDeviceGetComputeRunningProcesses_v3", c_void_p, c_void_p, c_void_p)
    def get_processes(self, device: int, number: int, address: int | None) -> int:
        found = [(os.getpid(), PROCESS_MEMORY), (OTHER_PID, OTHER_MEMORY)] if device == FIRST else []
        (room,) = read(number, "I")
        write(number, "I", len(found))
        if room < len(found):
            return INSUFFICIENT_SIZE
        for position, (pid, memory) in enumerate(found):
            write(address + position * 24, PROCESS, pid, memory, 0xFFFFFFFF, 0xFFFFFFFF)
        return SUCCESS

    @function("nvmlDeviceGetFieldValues", c_void_p, c_int, c_void_p)
    def get_fields(self, device: int, number: int, address: int) -> int:
        size = struct.calcsize(f"@{FIELD}")
        for each in range(address, address + number * size, size):
            field, scope, *_ = read(each, FIELD)
            kind, value = self.fields.get(field, (0, b""))
            failed = NOT_SUPPORTED if field not in self.fields else SUCCESS
            # What the value leaves of its union is garbage.
            write(
                each, FIELD, field, scope, 1_700_000_000_000_000, 150, kind, failed, value.ljust(8, b"\xee")
            )
        return SUCCESS if device in self.answers else INVALID_ARGUMENT

    # -- GPM

    @function("nvmlGpmQueryDeviceSupport", c_void_p, c_void_p)
    def query_gpm(self, device: int, address: int) -> int:
        version, _ = read(address, "II")
        write(address, "II", version, 1)
        return SUCCESS if version == 1 else VERSION_MISMATCH

    @function("nvmlGpmSampleAlloc", c_void_p)
    def allocate_sample(self, address: int) -> int:
        sample = 0x7F20_0000_0000 + 0x100 * next(self._numbers)
        self.samples[sample] = None
        write(address, "P", sample)
        return SUCCESS

    @function("nvmlGpmSampleGet", c_void_p, c_void_p)
    def take_sample(self, device: int, sample: int) -> int:
        return self._take(sample, device)

    @function("nvmlGpmMigSampleGet", c_void_p, c_uint, c_void_p)
    def take_mig_sample(self, device: int, gpu_instance: int, sample: int) -> int:
        return self._take(sample, device, gpu_instance)

    def _take(self, sample: int, device: int, gpu_instance: int | None = None) -> int:
        if sample not in self.samples or device not in self.answers:
            return INVALID_ARGUMENT
        self.samples[sample] = (next(self._numbers), (device, gpu_instance))
        return SUCCESS

    @function("nvmlGpmMetricsGet", c_void_p)
    def compute_metrics(self, address: int) -> int:
        version, number, *taken = read(address, GPM_REQUEST)
        if version != 1:
            return VERSION_MISMATCH
        earlier, later = (self.samples.get(sample) for sample in taken)
        if earlier is None or later is None or earlier[0] >= later[0] or earlier[1] != later[1]:
            return INVALID_ARGUMENT
        first, size = address + struct.calcsize(f"@{GPM_REQUEST}"), struct.calcsize(f"@{GPM_METRIC}")
        for each in range(first, first + number * size, size):
            metric, *_ = read(each, GPM_METRIC)
            failed = SUCCESS if metric in GPM else INVALID_ARGUMENT
            write(each, GPM_METRIC, metric, failed, GPM.get(metric, float("nan")), 0, 0, 0)
        return SUCCESS

    @function("nvmlGpmSampleFree", c_void_p)
    def free_sample(self, sample: int) -> int:
        return INVALID_ARGUMENT if self.samples.pop(sample, -1) == -1 else SUCCESS

    # -- events

    @function("nvmlEventSetCreate", c_void_p)
    def create_events(self, address: int) -> int:
        events = 0x7F30_0000_0000 + 0x100 * next(self._numbers)
        self.events[events] = []
        write(address, "P", events)
        return SUCCESS

    @function("nvmlDeviceRegisterEvents", c_void_p, c_ulonglong, c_void_p)
    def register_events(self, device: int, types: int, events: int) -> int:
        if types != XID or events not in self.events:
            return INVALID_ARGUMENT
        self.events[events].append(device)
        return SUCCESS

    @function("nvmlEventSetWait_v2", c_void_p, c_void_p, c_uint)
    def wait(self, events: int, address: int, timeout_ms: int) -> int:
        if events not in self.events:
            return INVALID_ARGUMENT
        try:
            device, xid = self.xids.get(timeout=timeout_ms / 1000)
        except queue.Empty:
            return TIMEOUT
        write(address, EVENT, device, XID, xid, 0xFFFFFFFF, 0xFFFFFFFF)
        return SUCCESS

    @function("nvmlEventSetFree", c_void_p)
    def free_events(self, events: int) -> int:
        return INVALID_ARGUMENT if self.events.pop(events, None) is None else SUCCESS


for _name, (_inputs, *_layouts) in GETTERS.items():
    _types = (c_void_p, *[c_uint] * _inputs, *[c_void_p] * len(_layouts))
    FUNCTIONS[_name] = (_types, partial(FakeDriver.get, name=_name))
for _name in TEXTS:
    FUNCTIONS[_name] = ((c_void_p, c_void_p, c_uint), partial(FakeDriver.get_text, name=_name))


class Library:
    """Attributes are functions, as a `ctypes.CDLL` has them: what they take and return is not declared."""

    def __init__(self, driver: FakeDriver) -> None:
        self._driver = driver
        self._callbacks: list[Any] = []  # C knows their addresses only, which keeps nothing alive

    def __getattr__(self, name: str) -> Any:
        if name not in FUNCTIONS or name in self._driver.missing:
            raise AttributeError(name)
        types, body = FUNCTIONS[name]
        callback = CFUNCTYPE(c_uint, *types)(lambda *arguments: self._driver.answer(name, body, arguments))
        self._callbacks.append(callback)
        setattr(self, name, CFUNCTYPE(c_int)(cast(callback, c_void_p).value))
        return self.__dict__[name]
