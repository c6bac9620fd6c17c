"""NVML through pynvml, against a driver of C functions: every answer, every way to fail, and a whole session."""

from __future__ import annotations

import ctypes
import importlib.util
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pynvml
import pytest

from otelml import gpu, settings, testing
from otelml.gpu import nvml
from otelml.gpu.library import NvmlError
from otelml.gpu.nvml import NvmlLibrary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def load_fake_driver() -> Any:
    """The module beside this one: tests are no package."""
    spec = importlib.util.spec_from_file_location("fake_driver", Path(__file__).with_name("fake_driver.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fake = load_fake_driver()

PID, MEMORY = os.getpid(), fake.PROCESS_MEMORY
NO_INSTANCE = 0xFFFFFFFF
PROCESSES = [
    {"pid": pid, "usedGpuMemory": used, "gpuInstanceId": NO_INSTANCE, "computeInstanceId": NO_INSTANCE}
    for pid, used in ((PID, MEMORY), (fake.OTHER_PID, fake.OTHER_MEMORY))
]
# What the plugin asks of a GPU, and the plain form of what the driver says.
PLAIN: list[tuple[str, tuple[int, ...], Any]] = [
    ("nvmlDeviceGetName", (), "NVIDIA H200"),
    ("nvmlDeviceGetUUID", (), "GPU-first"),
    ("nvmlDeviceGetSerial", (), "1650000000001"),
    ("nvmlDeviceGetPciInfo", (), {
        "busIdLegacy": "0000:1B:00.0", "domain": 0, "bus": 27, "device": 0, "pciDeviceId": 0x233510DE,
        "pciSubSystemId": 0x18BE10DE, "busId": "00000000:1B:00.0",
    }),
    ("nvmlDeviceGetMigMode", (), [0, 0]),
    ("nvmlDeviceGetNumFans", (), 1),
    ("nvmlDeviceGetFanSpeed_v2", (0,), 30),
    ("nvmlDeviceGetUtilizationRates", (), {"gpu": 99, "memory": 16}),
    ("nvmlDeviceGetEncoderUtilization", (), [1, 167000]),
    ("nvmlDeviceGetDecoderUtilization", (), [2, 167000]),
    ("nvmlDeviceGetJpgUtilization", (), [3, 167000]),
    ("nvmlDeviceGetOfaUtilization", (), [4, 167000]),
    ("nvmlDeviceGetMemoryInfo", (), {
        "total": 150_000_000_000, "free": 139_000_000_000, "used": 11_000_000_000,
    }),
    ("nvmlDeviceGetMemoryInfo_v2", (), {
        "version": 0x02000028, "total": 150_000_000_000, "reserved": 1_000_000_000, "free": 139_000_000_000,
        "used": 10_000_000_000,
    }),
    ("nvmlDeviceGetPowerUsage", (), 612_345),
    ("nvmlDeviceGetEnforcedPowerLimit", (), 700_000),
    ("nvmlDeviceGetTotalEnergyConsumption", (), 2**33),
    ("nvmlDeviceGetTemperature", (0,), 54),
    ("nvmlDeviceGetTemperatureThreshold", (3,), 87),
    ("nvmlDeviceGetClockInfo", (2,), 3201),
    ("nvmlDeviceGetSupportedClocksEventReasons", (), 5),
    ("nvmlDeviceGetCurrentClocksEventReasons", (), 4),
    ("nvmlDeviceGetCurrentClocksThrottleReasons", (), 4),
    ("nvmlDeviceGetViolationStatus", (5,), {"referenceTime": 10**12, "violationTime": 5 * 10**9 + 2**33}),
    ("nvmlDeviceGetPcieReplayCounter", (), 6),
    ("nvmlDeviceGetTotalEccErrors", (0, 0), 2**32 + 7),
    ("nvmlDeviceGetRemappedRows", (), [1, 2, 0, 0]),
    ("nvmlDeviceGetComputeRunningProcesses_v3", (), PROCESSES),
    ("nvmlDeviceGetComputeRunningProcesses", (), PROCESSES),
    ("nvmlGpmQueryDeviceSupport", (), {"version": 1, "isSupportedDevice": 1}),
]  # fmt: skip
_STATE = ("nvmlLib", "libLoadLock", "_nvmlLib_refcount")


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A driver, loaded; what pynvml knows of the real one, if there is one, is put back after."""
    found = fake.FakeDriver()
    cache = dict(pynvml._nvmlGetFunctionPointer_cache)
    for name, value in zip(_STATE, (found.library, threading.Lock(), 0), strict=True):
        monkeypatch.setattr(pynvml, name, value)
    pynvml._nvmlGetFunctionPointer_cache.clear()
    yield found
    pynvml._nvmlGetFunctionPointer_cache.clear()
    pynvml._nvmlGetFunctionPointer_cache.update(cache)


@pytest.fixture
def library(driver: Any) -> NvmlLibrary:
    """NVML, initialised."""
    return NvmlLibrary()


@pytest.fixture
def handle(library: NvmlLibrary) -> Any:
    """The GPU that is not divided."""
    return library.call("nvmlDeviceGetHandleByIndex", 0)


@pytest.fixture
def parted(library: NvmlLibrary) -> Any:
    """The GPU that is divided."""
    return library.call("nvmlDeviceGetHandleByIndex", 1)


def code_of(ask: Callable[..., Any], *arguments: Any) -> int:
    """The code of the error that this ends in."""
    with pytest.raises(NvmlError) as raised:
        ask(*arguments)
    return raised.value.code


def simplify(values: dict[int, Any]) -> dict[int, Any]:
    """Errors as text, which compare."""
    return {key: value.name if isinstance(value, NvmlError) else value for key, value in values.items()}


@pytest.mark.parametrize(("call", "arguments", "expected"), PLAIN, ids=lambda each: str(each)[:40])
def test_answers_are_plain(library, handle, call: str, arguments: tuple[int, ...], expected: Any) -> None:
    """Numbers, strings, lists and dicts, with what the driver wrote."""
    found = library.call(call, handle, *arguments)
    assert found == expected
    assert json.loads(json.dumps(found)) == found


def test_answers_about_the_machine_and_a_part_of_a_gpu(library, parted) -> None:
    """Handles are passed through as they are, those of MIG devices too; a gap between these is `not_found`."""
    assert library.call("nvmlSystemGetDriverVersion") == "580.159.04"
    assert library.call("nvmlDeviceGetCount") == 2
    assert library.call("nvmlDeviceGetMaxMigDeviceCount", parted) == 7
    assert code_of(library.call, "nvmlDeviceGetMigDeviceHandleByIndex", parted, 0) == 6
    part = library.call("nvmlDeviceGetMigDeviceHandleByIndex", parted, 1)
    assert library.call("nvmlDeviceGetUUID", part) == "MIG-part"
    assert library.call("nvmlDeviceGetGpuInstanceId", part) == fake.GPU_INSTANCE
    assert library.call("nvmlDeviceGetComputeRunningProcesses_v3", part) == []


@pytest.mark.parametrize("code", [1, 2, 3, 4, 9, 15, 27, 999, 12345])
def test_errors_have_their_code(driver, library, handle, code: int) -> None:
    """Each that the driver answers, known to pynvml or not, from every method."""
    functions = ("nvmlDeviceGetPowerUsage", "nvmlDeviceGetFieldValues", "nvmlGpmMetricsGet", "nvmlGpmSampleAlloc",
                 "nvmlEventSetCreate", "nvmlShutdown")  # fmt: skip
    sample = library.take_sample(handle)
    driver.errors = dict.fromkeys(functions, code)
    assert code_of(library.call, "nvmlDeviceGetPowerUsage", handle) == code
    assert code_of(library.field_values, handle, [82]) == code
    assert code_of(library.compute_metrics, sample, sample, [2]) == code
    assert code_of(library.take_sample, handle) == code
    assert code_of(library.listen, [handle]) == code
    assert code_of(library.close) == code


@pytest.mark.parametrize("code", [4, 9, 18])
def test_no_driver_to_talk_to(driver, code: int) -> None:
    """The reason is the driver's."""
    driver.errors["nvmlInitWithFlags"] = code
    assert code_of(NvmlLibrary) == code
    assert driver.open == 0


def test_no_library_on_this_machine(driver, monkeypatch) -> None:
    """As on every machine without the driver."""

    def find_nothing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(pynvml, "nvmlLib", None)
    monkeypatch.setattr(pynvml, "CDLL", find_nothing)
    assert code_of(NvmlLibrary) == 12


def test_no_pynvml(monkeypatch) -> None:
    """The same to us; the cause is kept."""
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(NvmlError) as raised:
        NvmlLibrary()
    assert raised.value.code == 12
    assert isinstance(raised.value.__cause__, ImportError)


def test_an_older_driver_lacks_functions(driver, library, handle) -> None:
    """It says so; processes are asked in the form that it has."""
    driver.missing = {
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlGpmSampleAlloc",
    }
    assert code_of(library.call, "nvmlDeviceGetMemoryInfo_v2", handle) == 13
    assert code_of(library.call, "nvmlDeviceGetComputeRunningProcesses_v3", handle) == 13
    assert code_of(library.take_sample, handle) == 13
    assert library.call("nvmlDeviceGetComputeRunningProcesses", handle) == PROCESSES


def refuse(handle: Any) -> None:
    """What pynvml's functions without a version do when the driver does not have the newest one."""
    raise getattr(pynvml, "NVMLLibraryMismatchError", TypeError)


def lack(name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """A pynvml without that function."""
    return lambda patch: patch.delattr(pynvml, name, raising=False)


def become(name: str, function: Callable[..., Any]) -> Callable[[pytest.MonkeyPatch], None]:
    """A pynvml in which that function is another."""
    return lambda patch: patch.setattr(pynvml, name, function)


@pytest.mark.parametrize(
    ("change", "call", "code"),
    [
        (lack("nvmlDeviceGetOfaUtilization"), "nvmlDeviceGetOfaUtilization", 13),
        (lack("nvmlDeviceGetComputeRunningProcesses_v2"), "nvmlDeviceGetComputeRunningProcesses", 13),
        (become("nvmlDeviceGetMemoryInfo", lambda handle: None), "nvmlDeviceGetMemoryInfo_v2", 13),
        (become("nvmlDeviceGetUtilizationRates", refuse), "nvmlDeviceGetUtilizationRates", 13),
    ],
    ids=["without it", "without the one behind it", "without its parameter", "newer than the driver"],
)
def test_another_pynvml(library, handle, monkeypatch, change, call: str, code: int) -> None:
    """What it cannot ask is not supported, in whichever way it says so."""
    change(monkeypatch)
    assert code_of(library.call, call, handle) == code


def test_garbled_texts(driver, library, handle) -> None:
    """A broken InfoROM is an error of that call, or a mark in its place, and never another exception."""
    answers = driver.answers[fake.FIRST]
    answers["nvmlDeviceGetSerial()"] = (b"\xff\xfe",)
    answers["nvmlDeviceGetPciInfo_v3()"] = (b"\xff", 0, 27, 0, 0, 0, b"00000000:1B:00.0")
    assert code_of(library.call, "nvmlDeviceGetSerial", handle) == 999
    assert library.call("nvmlDeviceGetPciInfo", handle)["busIdLegacy"] == "\N{REPLACEMENT CHARACTER}"


def test_fields_of_every_type(driver, library, handle) -> None:
    """The member of the union that belongs to its type; an unknown type, or field, is an error of that field alone."""
    cases = [
        ("d", 0.5),
        ("I", 2**32 - 2),
        ("L", 7),
        ("Q", 2**63),
        ("q", -1),
        ("i", -2),
        ("H", 65535),
        ("Q", 1),
    ]
    driver.fields = {
        100 + kind: (kind, fake.struct.pack(f"@{layout}", value))
        for kind, (layout, value) in enumerate(cases)
    }
    found = library.field_values(handle, [*driver.fields, 200])
    expected = {100 + kind: value for kind, (_, value) in enumerate(cases)}
    assert simplify(found) == expected | {107: "function_not_found", 200: "not_supported"}


@pytest.mark.parametrize("instance", [None, fake.GPU_INSTANCE])
def test_metrics_between_two_samples(driver, library, parted, instance: int | None) -> None:
    """In their order, of a GPU and of an instance; a metric that the driver does not know is an error by itself."""
    earlier, later = (library.take_sample(parted, instance) for _ in range(2))
    found = library.compute_metrics(earlier, later, (3, 60, 2, 20))
    assert simplify(found) == {3: 12.5, 60: "invalid_argument", 2: 82.0, 20: 0.25}
    assert [taken[1] for taken in driver.samples.values()] == [(fake.SECOND, instance)] * 2
    assert code_of(library.compute_metrics, later, earlier, (2,)) == 2
    library.free_sample(earlier)
    library.free_sample(later)
    assert driver.samples == {}


def test_samples_are_given_back(driver, library, handle) -> None:
    """One that could not be taken at once, one that nobody gave back at the end, an error doing so regardless."""
    driver.errors["nvmlGpmSampleGet"] = 15
    assert code_of(library.take_sample, handle) == 15
    assert driver.samples == {}
    driver.errors.clear()
    library.take_sample(handle)
    library.free_sample(library.take_sample(handle))
    library.close()
    assert (driver.samples, driver.open) == ({}, 0)
    assert driver.calls["nvmlGpmSampleAlloc"] == driver.calls["nvmlGpmSampleFree"] == 3


def test_a_sample_that_cannot_be_freed_does_not_keep_nvml_open(driver, library, handle) -> None:
    """It is lost, with its GPU."""
    library.take_sample(handle)
    driver.errors["nvmlGpmSampleFree"] = 15
    library.close()
    assert driver.open == 0


def test_xid_errors(driver, library, handle, parted) -> None:
    """Each with its GPU, in their order; nothing within the time is no error."""
    events = library.listen([handle, parted])
    assert list(driver.events.values()) == [[fake.FIRST, fake.SECOND]]
    driver.xids.put((fake.SECOND, 31))
    driver.xids.put((fake.FIRST, 94))
    assert events.wait(5.0) == ("00000000:43:00.0", 31)
    assert events.wait(5.0) == ("00000000:1B:00.0", 94)
    started_s = time.monotonic()
    assert events.wait(0.05) is None
    assert time.monotonic() - started_s > 0.04
    events.close()
    assert driver.events == {}
    assert code_of(events.wait, 0.05) == 2


def test_a_gpu_that_falls_off_the_bus_is_named(driver, library, handle, parted) -> None:
    """XID 79 is the last that it says: its address has to be known before."""
    events = library.listen([handle])
    driver.errors["nvmlDeviceGetPciInfo_v3"] = 15
    driver.xids.put((fake.FIRST, 79))
    assert events.wait(5.0) == ("00000000:1B:00.0", 79)


def test_a_gpu_that_was_not_asked_for_is_named(driver, library, handle) -> None:
    """By asking it now."""
    events = library.listen([handle])
    driver.xids.put((fake.SECOND, 31))
    assert events.wait(5.0) == ("00000000:43:00.0", 31)


@pytest.mark.parametrize(("error", "code"), [({"nvmlDeviceRegisterEvents": 4}, 4), ({}, 3)])
def test_nobody_to_listen_to(driver, library, handle, error: dict[str, int], code: int) -> None:
    """All GPUs refuse, or there is none: an error, and no set of events is left behind."""
    driver.errors = error
    assert code_of(library.listen, [handle] if error else []) == code
    assert (driver.events, driver.calls["nvmlEventSetFree"]) == ({}, 1)


def test_a_gpu_that_cannot_tell_is_left_out(driver, library, handle, parted) -> None:
    """The other is listened to."""
    del driver.answers[fake.FIRST]["nvmlDeviceGetPciInfo_v3()"]
    library.listen([handle, parted])
    assert list(driver.events.values()) == [[fake.SECOND]]


def test_opening_and_closing_are_counted_apart(driver) -> None:
    """Another user of NVML in this process is not shut down with us."""
    pynvml.nvmlInit()
    NvmlLibrary().close()
    assert driver.open == pynvml._nvmlLib_refcount == 1
    assert pynvml.nvmlDeviceGetCount() == 2


def test_other_threads_run_during_a_call(driver, library) -> None:
    """The driver is a C library that sleeps here (with the handle as microseconds); Python goes on meanwhile."""
    driver.library.nvmlDeviceGetPowerUsage = ctypes.CDLL(None).usleep
    handle = ctypes.cast(300_000, pynvml.c_nvmlDevice_t)
    caller = threading.Thread(target=library.call, args=("nvmlDeviceGetPowerUsage", handle))
    started_s = time.monotonic()
    caller.start()
    turns = 0
    while caller.is_alive():
        time.sleep(0.001)
        turns += 1
    assert time.monotonic() - started_s >= 0.3
    assert turns > 3  # one, if it waited for the call


def test_a_lock_held_at_a_fork_is_renewed(driver, monkeypatch) -> None:
    """The thread that would give it back is the parent's."""
    monkeypatch.setattr(nvml, "_IMPORTED_IN", os.getpid() + 1)
    pynvml.libLoadLock.acquire()
    opening = threading.Thread(target=NvmlLibrary, daemon=True)
    opening.start()
    opening.join(20)
    assert driver.open == 1
    assert not pynvml.libLoadLock.locked()


def test_a_lock_held_by_another_user_is_waited_for(driver) -> None:
    """It may load the driver for longer than that, and gives the lock back itself."""
    lock = pynvml.libLoadLock
    lock.acquire()
    threading.Timer(1.2, lock.release).start()
    NvmlLibrary().close()
    assert pynvml.libLoadLock is lock


GPU = {"hw.id": "GPU-first", "hw.name": "NVIDIA H200", "hw.model": "NVIDIA H200", "ml.gpu.index": 0}
COMMON = {"hw.vendor": "NVIDIA", "hw.driver_version": "580.159.04"}
PART = {
    "hw.id": "MIG-part", "hw.name": "NVIDIA H200 MIG 1g.18gb", "hw.model": "NVIDIA H200", "ml.gpu.index": 1,
    "hw.parent": "GPU-second",
}  # fmt: skip
TASK, ENGINE, PIPE, CLOCK = "hw.gpu.task", "ml.gpu.engine", "ml.gpu.pipe", "ml.gpu.clock"
PLACE, LIMIT, REASON, STATE = "hw.sensor_location", "hw.limit_type", "ml.gpu.throttle.reason", "hw.state"
DIRECTION, LINK, TYPE = "network.io.direction", "ml.gpu.interconnect", {"hw.type": "gpu"}
# After two walks, five seconds apart; the counters of the PCIe bus went on by 1 MiB and by 3 MiB, one over its end.
SERIES: list[tuple[str, dict[str, str], float]] = [
    ("hw.gpu.utilization", {TASK: "general"}, 0.99),
    ("hw.gpu.utilization", {TASK: "encoder"}, 0.01),
    ("hw.gpu.utilization", {TASK: "decoder"}, 0.02),
    ("ml.gpu.engine.utilization", {ENGINE: "jpeg"}, 0.03),
    ("ml.gpu.engine.utilization", {ENGINE: "ofa"}, 0.04),
    ("ml.gpu.memory.controller.utilization", {}, 0.16),
    ("hw.gpu.memory.usage", {}, 10_000_000_000),
    ("hw.gpu.memory.limit", {}, 150_000_000_000),
    ("hw.gpu.memory.utilization", {}, 1 / 15),
    ("ml.gpu.memory.reserved", {}, 1_000_000_000),
    ("ml.gpu.process.memory.usage", {}, MEMORY),
    ("hw.power", TYPE, 612.345),
    ("ml.gpu.power.limit", {}, 700),
    ("hw.energy", TYPE, 8_589_934.592),
    ("hw.temperature", {PLACE: "gpu"}, 54),
    ("hw.temperature", {PLACE: "memory"}, 46),
    ("hw.temperature.limit", {PLACE: "gpu", LIMIT: "high.critical"}, 92),
    ("hw.temperature.limit", {PLACE: "gpu", LIMIT: "high.degraded"}, 89),
    ("hw.temperature.limit", {PLACE: "memory", LIMIT: "high.degraded"}, 95),
    ("hw.temperature.limit", {PLACE: "gpu", LIMIT: "throttled"}, 87),
    ("hw.fan.speed_ratio", {PLACE: "fan_0"}, 0.3),
    ("ml.gpu.clock.frequency", {CLOCK: "graphics"}, 1_980_000_000),
    ("ml.gpu.clock.frequency", {CLOCK: "sm"}, 1_965_000_000),
    ("ml.gpu.clock.frequency", {CLOCK: "memory"}, 3_201_000_000),
    ("ml.gpu.clock.frequency", {CLOCK: "video"}, 1_545_000_000),
    ("ml.gpu.throttle.active", {REASON: "sw_power_cap"}, 1),
    ("ml.gpu.throttle.duration", {REASON: "power"}, 8.589934592),
    ("ml.gpu.throttle.duration", {REASON: "thermal"}, 9.589934592),
    ("ml.gpu.throttle.duration", {REASON: "sync_boost"}, 10.589934592),
    ("ml.gpu.throttle.duration", {REASON: "board_limit"}, 11.589934592),
    ("ml.gpu.throttle.duration", {REASON: "reliability"}, 13.589934592),
    ("hw.errors", {**TYPE, "error.type": "corrected"}, 4_294_967_303),
    ("hw.errors", {**TYPE, "error.type": "uncorrected"}, 0),
    ("hw.errors", {**TYPE, "error.type": "pcie_replay"}, 6),
    ("hw.errors", {**TYPE, "error.type": "row_remap_corrected"}, 1),
    ("hw.errors", {**TYPE, "error.type": "row_remap_uncorrected"}, 2),
    ("hw.gpu.io", {DIRECTION: "transmit"}, 4_294_000_000 + 2**20),
    ("hw.gpu.io", {DIRECTION: "receive"}, 1000 + 3 * 2**20),
    ("ml.gpu.sm.utilization", {}, 0.82),
    ("ml.gpu.sm.occupancy", {}, 0.125),
    ("ml.gpu.tensor.utilization", {}, 0.8),
    ("ml.gpu.memory.bandwidth.utilization", {}, 0.16),
    ("ml.gpu.pipe.utilization", {PIPE: "fp64"}, 0),
    ("ml.gpu.pipe.utilization", {PIPE: "fp32"}, 0.04),
    ("ml.gpu.pipe.utilization", {PIPE: "fp16"}, 0.08),
    ("ml.gpu.interconnect.io", {LINK: "pcie", DIRECTION: "transmit"}, 262_144),
    ("ml.gpu.interconnect.io", {LINK: "pcie", DIRECTION: "receive"}, 524_288),
    *(("hw.status", {**TYPE, STATE: state}, int(state == "ok"))
      for state in ("ok", "degraded", "failed", "predicted_failure")),
]  # fmt: skip
OF_PART: list[tuple[str, dict[str, str], float]] = [
    ("hw.gpu.memory.usage", {}, 500_000_000),
    ("hw.gpu.memory.limit", {}, 18_000_000_000),
    ("hw.gpu.memory.utilization", {}, 5 / 180),
    ("ml.gpu.memory.reserved", {}, 100_000_000),
    *(
        each
        for each in SERIES
        if each[0].startswith(("ml.gpu.sm", "ml.gpu.tensor", "ml.gpu.memory.b", "ml.gpu.pi"))
    ),
    *(each for each in SERIES if each[0] == "ml.gpu.interconnect.io"),
]


def count_pcie(driver: Any, transmitted: int, received: int) -> None:
    """Move the byte counters, which are 32 bits wide, to these totals."""
    for field, total in ((197, transmitted), (198, received)):
        driver.fields[field] = (1, fake.struct.pack("@I", total % 2**32))


@pytest.mark.parametrize(
    ("number", "own", "expected"), [(0, GPU, SERIES), (2, PART, OF_PART)], ids=["gpu", "mig"]
)
def test_every_series_of_two_walks(driver, library, make_rig, number: int, own: Any, expected: Any) -> None:
    """From the driver's memory to the registry's names and units, and nothing else."""
    rig = make_rig(library)
    rig.walk()
    count_pcie(driver, 4_294_000_000 + 2**20, 1000 + 3 * 2**20)
    found = {
        (name, frozenset(attributes.items())): value
        for name, readings in rig.walk().gpus[number].series.items()
        for value, attributes in readings
    }
    right = {(name, frozenset({**COMMON, **own, **more}.items())): value for name, more, value in expected}
    assert set(found) == set(right)
    assert found == pytest.approx(right, rel=1e-15, abs=0)
    assert rig.boundary.failures() == {}


def wait_for(condition: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """What `condition` returns once that is true."""
    end_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end_s, "it did not happen"
        time.sleep(0.01)
    return found


def own_threads() -> set[str]:
    """The plugin's threads that are alive."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("otelml-gpu")}


def test_a_whole_session(driver) -> None:
    """Metrics and an XID event come out; at the end all that NVML gave is given back, and no thread is left."""
    with testing.capture(gpu_interval_s=1.0, gpu_devices="visible") as captured:
        gpu.start(settings.current())
        wait_for(gpu.current)
        wait_for(lambda: driver.events)
        power = captured.value("hw.power", {**COMMON, **GPU, "hw.type": "gpu"})
        memory = captured.value("ml.gpu.process.memory.usage", {**COMMON, **GPU})
        driver.xids.put((fake.FIRST, 13))
        (told,) = wait_for(
            lambda: [each for each in captured.logs if each.log_record.event_name == "ml.gpu_xid"]
        )
        errors = {**COMMON, **GPU, "hw.type": "gpu", "error.type": "xid_13"}
        counted = wait_for(lambda: captured.value("hw.errors", errors))
        assert own_threads() == {"otelml-gpu", "otelml-gpu-xid"}
        captured.assert_conforms()
        gpu.stop()
        wait_for(lambda: not own_threads())
    assert (power, memory, counted) == (612.345, MEMORY, 1)
    assert told.log_record.attributes["hw.id"] == "GPU-first"
    calls = driver.calls
    assert (driver.open, calls["nvmlInitWithFlags"], calls["nvmlShutdown"]) == (0, 1, 1)
    assert (driver.events, calls["nvmlEventSetCreate"], calls["nvmlEventSetFree"]) == ({}, 1, 1)
    assert (driver.samples, calls["nvmlGpmSampleAlloc"]) == ({}, calls["nvmlGpmSampleFree"])


def test_somebody_shuts_nvml_down(driver, library, make_rig) -> None:
    """The boundary learns that it has to be initialised again."""
    rig = make_rig(library)
    rig.walk()
    driver.open = 0
    rig.walk()
    assert rig.boundary.needs_init


def test_version_of_pynvml(monkeypatch) -> None:
    """The package's, or None without it."""
    assert int(nvml.pynvml_version().split(".")[0]) >= 12
    monkeypatch.setattr(sys, "path", [])
    assert nvml.pynvml_version() is None
