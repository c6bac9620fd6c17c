"""Throttling and XID errors as events, once an episode and once an error, and what they do to the GPU's state."""

from __future__ import annotations

from typing import Any

import pytest

from otelml import testing
from otelml.gpu.replay import ReplayLibrary

THERMAL, POWER_CAP = 0x40, 0x4


def events_of(captured: testing.Capture, name: str) -> list[dict[str, Any]]:
    """The events of that name: their fields."""
    return [
        dict(log.log_record.attributes or {})
        for log in captured.logs
        if log.log_record.event_name == f"ml.{name}"
    ]


class Flapping(ReplayLibrary):
    """A GPU whose clocks are held down by what a test says."""

    reasons = 0

    def call(self, name: str, *arguments: Any) -> Any:
        if name == "nvmlDeviceGetCurrentClocksEventReasons":
            return self.reasons
        return super().call(name, *arguments)


def test_throttling_is_told_once_an_episode(make_rig, recording) -> None:
    """A flapping reason is one episode; one that comes back after a minute is another; a power cap is none."""
    with testing.capture() as captured:
        library = Flapping([recording], "load")
        rig = make_rig(library)
        for reasons, walks in (
            (POWER_CAP, 3),
            (THERMAL, 2),
            (POWER_CAP, 3),
            (THERMAL, 1),
            (0, 14),
            (THERMAL, 2),
        ):
            library.reasons = reasons
            rig.walk(walks)
        told = events_of(captured, "gpu_throttled")
        captured.assert_conforms()
    assert [(event["reason"], event["ml.gpu.index"]) for event in told] == [("hw_thermal", 0)] * 2


@pytest.mark.parametrize(
    ("code", "state"), [(13, "ok"), (63, "predicted_failure"), (94, "degraded"), (79, "failed")]
)
def test_an_xid_is_counted_told_and_judged(make_rig, recording, code: int, state: str) -> None:
    """Each is in the counter; its meaning is told once a minute, and its weight is in the state."""
    del recording["load"]["fields"]["NVML_FI_DEV_GET_GPU_RECOVERY_ACTION"]
    with testing.capture() as captured:
        rig = make_rig([recording])
        rig.walk()
        bus_id = rig.walker.readers[0].device.bus_id
        rig.walker.take_xid(bus_id, code)
        rig.walker.take_xid(bus_id, code)
        rig.walker.take_xid("00000000:99:00.0", code)  # somebody else's
        snapshot = rig.walk()
        (first,) = events_of(captured, "gpu_xid")
        rig.clock.now_s += 60
        rig.walker.take_xid(bus_id, code)
        assert len(events_of(captured, "gpu_xid")) == 2
        captured.assert_conforms()
    assert rig.series(snapshot, "hw.errors", "error.type")[f"xid_{code}"] == 2
    assert snapshot.gpus[0].state == state
    assert rig.series(snapshot, "hw.status", "hw.state")[state] == 1
    assert sum(rig.series(snapshot, "hw.status", "hw.state").values()) == 1
    assert first["xid"] == code
    assert first["meaning"]
    assert first["hw.name"] == "NVIDIA H200 (replayed)"


def test_a_gpu_that_fell_off_the_bus_keeps_its_count(make_rig, recording) -> None:
    """Of a lost GPU there is its state, and what was counted about it."""
    rig = make_rig([recording])
    rig.walk()
    device = rig.walker.readers[0].device
    rig.walker.take_xid(device.bus_id, 79)
    rig.boundary.lost.add(device.hw_id)
    snapshot = rig.walk()
    assert snapshot.gpus[0].state == "failed"
    assert rig.series(snapshot, "hw.errors", "error.type") == {"xid_79": 1}


@pytest.mark.parametrize(
    ("call", "value", "state"),
    [
        ("nvmlDeviceGetTotalEccErrors(1,0)", 1, "degraded"),
        ("nvmlDeviceGetRemappedRows()", [0, 1, 0, 0], "ok"),
        ("nvmlDeviceGetRemappedRows()", [0, 1, 1, 0], "predicted_failure"),
        ("nvmlDeviceGetRemappedRows()", [0, 1, 0, 1], "failed"),
    ],
)
def test_memory_errors_are_judged(make_rig, recording, call: str, value: Any, state: str) -> None:
    """ECC and row remapping feed the state too."""
    recording["load"][call]["value"] = value
    assert make_rig([recording]).walk().gpus[0].state == state


def test_the_driver_wants_a_reset(make_rig, recording) -> None:
    """What the driver itself says is to be done outweighs the rest."""
    recording["load"]["fields"]["NVML_FI_DEV_GET_GPU_RECOVERY_ACTION"]["value"] = 1
    assert make_rig([recording]).walk().gpus[0].state == "failed"
