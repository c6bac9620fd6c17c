"""What fails is absent and counted, said once, and harms nothing else: variants of the recording."""

from __future__ import annotations

import copy
import logging
from typing import TYPE_CHECKING, Any

import pytest

from otelml.gpu.library import NvmlError
from otelml.gpu.replay import ReplayLibrary

if TYPE_CHECKING:
    from collections.abc import Callable

GPU_0 = "GPU-00000000-0000-0000-0000-000000000001"


class Troubled(ReplayLibrary):
    """A recording whose calls some `trouble` comes before; it may raise, or return an answer of its own."""

    def __init__(
        self, recordings: list[Any], trouble: Callable[[str, Any], Any], state: str = "load"
    ) -> None:
        super().__init__(recordings, state)
        self.trouble = trouble
        self.asked: list[str] = []

    def call(self, name: str, *arguments: Any) -> Any:
        self.asked.append(name)
        answer = self.trouble(name, arguments)
        return super().call(name, *arguments) if answer is None else answer

    def field_values(self, handle: Any, ids: Any) -> Any:
        self.trouble("nvmlDeviceGetFieldValues", (handle,))
        return super().field_values(handle, ids)

    def take_sample(self, handle: Any, gpu_instance: int | None = None) -> Any:
        self.trouble("nvmlGpmSampleGet", (handle,))
        return super().take_sample(handle, gpu_instance)


def fail(call: str, code: int) -> Callable[[str, Any], None]:
    """One call fails always."""

    def trouble(name: str, _arguments: Any) -> None:
        if name == call:
            raise NvmlError(code)

    return trouble


def metrics_of(snapshot: Any) -> set[str]:
    """The metrics that have series."""
    return {name for gpu in snapshot.gpus for name in gpu.series}


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was said."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_failing_call_is_absent_counted_and_said_once(make_rig, recording, rig, caplog) -> None:
    """Its metric goes, all others stay; each failure counts, one warning names call and reason."""
    troubled = make_rig(Troubled([recording], fail("nvmlDeviceGetPowerUsage", 999)))
    snapshot = troubled.walk(4)
    assert metrics_of(rig.walk(4)) - metrics_of(snapshot) == {"hw.power"}
    assert troubled.boundary.failures() == {("nvmlDeviceGetPowerUsage", "unknown", GPU_0): 4}
    (said,) = warnings_of(caplog)
    assert "nvmlDeviceGetPowerUsage failed with unknown" in said


@pytest.mark.parametrize("code", [3, 13, 25])
def test_what_is_not_supported_is_asked_once(make_rig, recording, caplog, code: int) -> None:
    """No number, no count, no warning, and no second question."""
    library = Troubled([recording], fail("nvmlDeviceGetPowerUsage", code))
    rig = make_rig(library)
    assert "hw.power" not in metrics_of(rig.walk(3))
    assert library.asked.count("nvmlDeviceGetPowerUsage") == 1
    assert rig.boundary.failures() == {}
    assert warnings_of(caplog) == []


def test_no_permission_is_counted_once_and_left_alone(make_rig, recording, caplog) -> None:
    """Asking again would not help."""
    library = Troubled([recording], fail("nvmlDeviceGetPowerUsage", 4))
    rig = make_rig(library)
    rig.walk(3)
    assert library.asked.count("nvmlDeviceGetPowerUsage") == 1
    assert rig.boundary.failures() == {("nvmlDeviceGetPowerUsage", "no_permission", GPU_0): 1}
    assert len(warnings_of(caplog)) == 1


def test_every_third_call_failing(make_rig, recording) -> None:
    """Each value is either right or absent, never 0; what is absent comes back; the count is exact."""
    calls, failed = 0, 0
    exempt = {"nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetUUID"}

    def trouble(name: str, _arguments: Any) -> None:
        nonlocal calls, failed
        if name in exempt:
            return
        calls += 1
        if calls % 3 == 0:
            failed += 1
            raise NvmlError(999)

    right = {
        (name, frozenset(attributes.items())): value
        for name in ("hw.power", "hw.temperature", "ml.gpu.clock.frequency", "hw.gpu.utilization")
        for value, attributes in make_rig([recording]).walk(2).series(name)
    }
    rig, seen = make_rig(Troubled([recording], trouble)), dict.fromkeys(right, 0)
    for _ in range(12):
        snapshot = rig.walk()
        for (name, attributes), expected in right.items():
            for value, found in snapshot.series(name):
                if frozenset(found.items()) == attributes:
                    assert value == expected
                    seen[name, attributes] += 1
    assert all(0 < count < 12 for count in seen.values())
    assert sum(rig.boundary.failures().values()) == failed > 0


def test_a_call_that_takes_three_seconds_is_left_alone_for_a_while(make_rig, recording, caplog) -> None:
    """It counts as a time-out, what it said holds for its walk, the next ones are quick; later it is asked again."""
    library = Troubled([recording], lambda *_: None)
    rig = make_rig(library)

    def trouble(name: str, _arguments: Any) -> None:
        if name == "nvmlDeviceGetTemperature":
            rig.clock.now_s += 3

    library.trouble = trouble
    first = rig.walk()
    assert first.walk_s == pytest.approx(3)
    assert first.library_s == pytest.approx(3)
    assert rig.series(first, "hw.temperature", "hw.sensor_location") == {"gpu": 54, "memory": 46}
    rested = rig.walk(10)
    assert rested.walk_s == 0
    assert rig.series(rested, "hw.temperature", "hw.sensor_location") == {"memory": 46}
    assert library.asked.count("nvmlDeviceGetTemperature") == 1
    assert rig.boundary.failures() == {("nvmlDeviceGetTemperature", "timeout", GPU_0): 1}
    library.trouble = lambda *_: None
    assert rig.series(rig.walk(3), "hw.temperature", "hw.sensor_location") == {"gpu": 54, "memory": 46}
    assert len(warnings_of(caplog)) == 1


def test_a_lost_gpu_leaves_the_other_alone(make_rig, recording) -> None:
    """It shows that it failed, and nothing else; it is asked seldom, and comes back when it does."""
    lost = False

    def trouble(_name: str, arguments: Any) -> None:
        if lost and arguments and getattr(arguments[0], "bus_id", "").endswith(second_bus):
            raise NvmlError(15)

    library = Troubled([recording, copy.deepcopy(recording)], trouble)
    rig = make_rig(library)
    first, second = (reader.device for reader in rig.walker.readers)
    second_bus = second.bus_id
    healthy = rig.walk(2)
    lost = True
    snapshot = rig.walk()
    assert snapshot.gpus[0].series.keys() == healthy.gpus[0].series.keys()
    assert set(snapshot.gpus[1].series) == {"hw.status"}
    assert rig.series(snapshot, "hw.status", "hw.id", "hw.state")[second.hw_id, "failed"] == 1
    assert rig.series(snapshot, "hw.status", "hw.id", "hw.state")[first.hw_id, "ok"] == 1
    asked = len(library.asked)
    rig.walk(6)
    per_walk = (len(library.asked) - asked) / 6
    assert per_walk < 30  # those of one GPU, and one question to the other each 15 s
    assert sum(n for (_, why, hw_id), n in rig.boundary.failures().items() if hw_id == second.hw_id) == 3
    lost = False
    back = rig.walk(4)
    assert back.gpus[1].state == "ok"
    assert back.gpus[1].series.keys() == healthy.gpus[1].series.keys()


def test_a_counter_that_was_reset_goes_on(make_rig, recording) -> None:
    """Energy and throttle time never fall: what was counted before the reset is kept."""
    readings = iter((5_000_000, 6_000_000, 1_000, 51_000))

    def trouble(name: str, _arguments: Any) -> Any:
        return next(readings) if name == "nvmlDeviceGetTotalEnergyConsumption" else None

    rig = make_rig(Troubled([recording], trouble))
    totals = [rig.walk(3).gpus[0].series["hw.energy"][0][0] for _ in range(4)]
    assert totals == [5000, 6000, 6001, 6051]


@pytest.mark.parametrize("sentinel", [9223372036854775794, 2**64 - 1, 2**32 - 1])
def test_sentinels_are_never_shown(make_rig, recording, sentinel: int) -> None:
    """Whatever a broken driver stamps in place of numbers, no series has it."""
    calls = recording["load"]
    for entry in (*calls.values(), *calls["fields"].values()):
        if isinstance(entry.get("value"), int):
            entry["value"] = sentinel
        elif isinstance(entry.get("value"), list):
            entry["value"] = [sentinel if isinstance(each, int) else each for each in entry["value"]]
        elif isinstance(entry.get("value"), dict):
            entry["value"] = {k: sentinel if isinstance(v, int) else v for k, v in entry["value"].items()}
    for entry in recording["load_gpm"]["metrics"].values():
        entry["value"] = float(sentinel) if sentinel > 2**48 else float("nan")
    calls["nvmlDeviceGetMigMode()"]["value"] = [0, 0]
    calls["nvmlDeviceGetNumFans()"]["value"] = 0
    calls["nvmlDeviceGetComputeRunningProcesses_v3()"]["value"] = []
    calls["nvmlDeviceGetCurrentClocksEventReasons()"]["value"] = sentinel
    snapshot = make_rig([recording]).walk(2)
    assert metrics_of(snapshot) == set()


def test_an_old_driver(make_rig, recording) -> None:
    """Without GPM, the new memory call, event reasons by that name, and the third process call, the rest is there."""
    calls = recording["load"]
    del recording["load_gpm"]
    calls["nvmlGpmQueryDeviceSupport()"] = {"us": 1, "error": "Function Not Found", "code": 13}
    for new, old in (
        ("nvmlDeviceGetCurrentClocksEventReasons()", "nvmlDeviceGetCurrentClocksThrottleReasons()"),
        ("nvmlDeviceGetComputeRunningProcesses_v3()", "nvmlDeviceGetComputeRunningProcesses()"),
    ):
        calls[old] = calls.pop(new)
    for field in ("NVML_FI_DEV_PCIE_COUNT_TX_BYTES", "NVML_FI_DEV_PCIE_COUNT_RX_BYTES"):
        calls["fields"][field] = {"id": calls["fields"][field]["id"], "error": 3}
    rig = make_rig([recording])
    snapshot = rig.walk(2)
    assert rig.series(snapshot, "ml.gpu.throttle.active", "ml.gpu.throttle.reason")["sw_power_cap"] == 1
    assert rig.series(snapshot, "hw.gpu.memory.usage", "hw.id") == {GPU_0: 2107506688}
    gone = {"ml.gpu.sm.utilization", "ml.gpu.sm.occupancy", "ml.gpu.tensor.utilization", "ml.gpu.pipe.utilization",
            "ml.gpu.memory.bandwidth.utilization", "ml.gpu.interconnect.io", "hw.gpu.io"}  # fmt: skip
    assert metrics_of(snapshot) & gone == set()
    assert rig.boundary.failures() == {}


def test_mig_devices_are_shown_beside_their_gpu(make_rig, recording) -> None:
    """Each has its own id, memory and activity, and names its GPU; power, clocks and health are the GPU's."""
    recording["load"]["nvmlDeviceGetMigMode()"]["value"] = [1, 1]
    recording["load"]["nvmlDeviceGetMaxMigDeviceCount()"]["value"] = 7
    recording["mig_devices"] = [mig_device(1, 10), mig_device(2, 20)]
    rig = make_rig([recording])
    snapshot = rig.walk(2)
    gpu, *parts = snapshot.gpus
    assert [part.attributes["hw.id"] for part in parts] == ["MIG-1", "MIG-2"]
    assert {part.attributes["hw.parent"] for part in parts} == {GPU_0}
    assert "hw.parent" not in gpu.attributes
    assert rig.series(snapshot, "hw.gpu.memory.usage", "hw.id") == {
        GPU_0: 2107506688,
        "MIG-1": 10,
        "MIG-2": 20,
    }
    assert rig.series(snapshot, "ml.gpu.sm.utilization", "hw.id")["MIG-2"] == 0.2
    assert set(rig.series(snapshot, "hw.power", "hw.id")) == {GPU_0}
    assert {key for key, _ in rig.series(snapshot, "hw.status", "hw.id", "hw.state")} == {GPU_0}


def test_only_the_mig_device_that_cuda_sees(make_rig, recording) -> None:
    """Its GPU belongs to others too, so its power is not told here."""
    recording["load"]["nvmlDeviceGetMigMode()"]["value"] = [1, 1]
    recording["load"]["nvmlDeviceGetMaxMigDeviceCount()"]["value"] = 7
    recording["mig_devices"] = [mig_device(1, 10), mig_device(2, 20)]
    snapshot = make_rig([recording], environ={"CUDA_VISIBLE_DEVICES": "MIG-2"}).walk(2)
    assert [part.attributes["hw.id"] for part in snapshot.gpus] == ["MIG-2"]
    assert "hw.power" not in metrics_of(snapshot)


def mig_device(instance: int, number: int) -> dict[str, Any]:
    """A recorded MIG device, with `number` bytes used and as many per cent of activity."""
    return {
        "load": {
            "nvmlDeviceGetName()": {"us": 1, "value": "NVIDIA H200 MIG 1g.18gb"},
            "nvmlDeviceGetUUID()": {"us": 1, "value": f"MIG-{instance}"},
            "nvmlDeviceGetGpuInstanceId()": {"us": 1, "value": instance},
            "nvmlDeviceGetComputeInstanceId()": {"us": 1, "value": 0},
            "nvmlDeviceGetMemoryInfo()": {
                "us": 1,
                "value": {"total": 100, "free": 100 - number, "used": number},
            },
            "nvmlDeviceGetComputeRunningProcesses_v3()": {"us": 1, "value": []},
        },
        "load_gpm": {
            "sample_us": 1,
            "read_us": 1,
            "metrics": {"SM": {"id": 2, "ret": 0, "value": float(number)}},
        },
    }


def test_a_slow_start_is_no_end(make_rig, recording) -> None:
    """Without persistence mode the first calls take seconds: their answers hold, and nothing is left out."""
    library = Troubled([recording, copy.deepcopy(recording)], lambda *_: None)
    clock = None

    def trouble(name: str, _arguments: Any) -> None:
        if clock is not None and name in ("nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"):
            clock.now_s += 3

    library.trouble = trouble
    rig = make_rig(library)
    clock = rig.clock
    again = make_rig(library)
    assert len(again.walk(2).gpus) == len(rig.walk(2).gpus) == 2


def test_what_a_device_has_is_asked_until_it_answers(make_rig, recording) -> None:
    """One failure at the start costs no metric for ever."""
    calls = {"nvmlGpmQueryDeviceSupport", "nvmlDeviceGetNumFans", "nvmlDeviceGetSupportedClocksEventReasons"}
    failing = set(calls)
    recording["load"]["nvmlDeviceGetNumFans()"]["value"] = 1
    recording["load"]["nvmlDeviceGetFanSpeed_v2(0)"] = {"us": 1, "value": 30}

    def trouble(name: str, _arguments: Any) -> None:
        if name in failing:
            raise NvmlError(999)

    rig = make_rig(Troubled([recording], trouble))
    rig.walk(2)
    failing.clear()
    snapshot = rig.walk(6)
    assert {"ml.gpu.sm.utilization", "hw.fan.speed_ratio"} <= metrics_of(snapshot)
    assert len(snapshot.series("ml.gpu.throttle.active")) == 8


def test_a_gpu_that_answers_slowly_rests_as_a_whole(make_rig, recording, caplog) -> None:
    """The other one is seen at every walk; the sick one is absent meanwhile, and not said to be well."""
    library = Troubled([recording, copy.deepcopy(recording)], lambda *_: None)
    rig = make_rig(library)
    rig.walk()
    second = rig.walker.readers[1].device

    def trouble(_name: str, arguments: Any) -> None:
        if arguments and getattr(arguments[0], "bus_id", "") == second.bus_id:
            rig.clock.now_s += 1.2

    library.trouble = trouble
    for reader in rig.walker.readers:
        reader.hears_xids = True
    rig.walk(2)
    walks = [rig.walk() for _ in range(9)]
    assert all("hw.power" in snapshot.gpus[0].series for snapshot in walks)
    assert all(snapshot.walk_s == 0 and snapshot.gpus[1].state is None for snapshot in walks)
    assert len(warnings_of(caplog)) < 6


def test_nothing_known_is_no_good_health(make_rig, recording) -> None:
    """A GPU that answers nothing but errors is not `ok`, though no XID was heard."""
    library = Troubled([recording], lambda *_: None)
    rig = make_rig(library)
    rig.walk()
    rig.walker.readers[0].hears_xids = True

    def trouble(*_: Any) -> None:
        raise NvmlError(999)

    library.trouble = trouble
    library.compute_metrics = lambda *_: trouble()
    assert rig.walk(5).gpus[0].state is None


def test_a_call_that_was_answered_is_never_unsupported(make_rig, recording) -> None:
    """After a reset old handles are 'invalid arguments': that counts, is said, and asks for a new look around."""
    library = Troubled([recording], lambda *_: None)
    rig = make_rig(library)
    rig.walk()
    library.trouble = fail("nvmlDeviceGetPowerUsage", 2)
    rig.walk()
    assert rig.boundary.is_stale
    assert rig.boundary.failures() == {("nvmlDeviceGetPowerUsage", "invalid_argument", GPU_0): 1}
    library.trouble = lambda *_: None
    assert "hw.power" in metrics_of(rig.walk())


@pytest.mark.parametrize(
    "error", [TypeError("x"), OSError("x"), MemoryError(), KeyError("x"), UnicodeError("x")]
)
def test_errors_of_another_kind_cost_one_value(make_rig, recording, rig, error: Exception) -> None:
    """Whatever a library of another version raises, it counts like any failure, and the rest is there."""

    def trouble(name: str, _arguments: Any) -> None:
        if name == "nvmlDeviceGetPowerUsage":
            raise error

    troubled = make_rig(Troubled([recording], trouble))
    assert metrics_of(rig.walk()) - metrics_of(troubled.walk()) == {"hw.power"}
    assert troubled.boundary.failures() == {("nvmlDeviceGetPowerUsage", type(error).__name__, GPU_0): 1}


def test_an_answer_of_another_form_costs_one_value(make_rig, recording, rig, monkeypatch) -> None:
    """A structure without the field that is wanted."""
    from otelml.instruments import internal

    monkeypatch.setattr(internal, "raise_errors", False)
    recording = copy.deepcopy(recording)
    recording["load"]["nvmlDeviceGetMemoryInfo()"]["value"] = {"size": 1}
    found = metrics_of(make_rig([recording]).walk())
    memory = {"hw.gpu.memory.usage", "hw.gpu.memory.limit", "hw.gpu.memory.utilization"}
    assert metrics_of(rig.walk()) - found == memory


def test_a_gpu_without_an_id_hides_no_other(make_rig, recording) -> None:
    """The first one refuses its UUID; the second is reported."""
    first = copy.deepcopy(recording)
    first["load"]["nvmlDeviceGetUUID()"] = {"us": 1, "error": "Not Supported", "code": 3}
    rig = make_rig([first, recording])
    assert [gpu.attributes["ml.gpu.index"] for gpu in rig.walk().gpus] == [1]


def test_a_walk_a_second_loses_no_bytes(make_rig, recording) -> None:
    """Samples that come too soon leave the counter as it is; the bytes are in the next window."""
    received = 0

    def trouble(name: str, _arguments: Any) -> Any:
        return None

    class Link(Troubled):
        wraps_at = 2**32

        def field_values(self, handle: Any, ids: Any) -> Any:
            return {**super().field_values(handle, ids), 198: received % 2**32}

        def compute_metrics(self, earlier: Any, later: Any, ids: Any) -> Any:
            return {**super().compute_metrics(earlier, later, ids), 21: 8e9 / 2**20}

    rig = make_rig(Link([recording], trouble))
    seen = []
    for step_s in (1.0, 0.99, 0.4, 1.1, 0.3, 0.3, 0.5, 1.0) * 5:
        snapshot = rig.walk(every_s=0)
        seen.append(rig.series(snapshot, "hw.gpu.io", "network.io.direction").get("receive"))
        rig.clock.now_s += step_s
        received += int(8e9 * step_s)
    assert None not in seen
    assert seen == sorted(seen)
    rig.clock.now_s += 1
    received += int(8e9)
    assert rig.series(rig.walk(), "hw.gpu.io", "network.io.direction")["receive"] == received
