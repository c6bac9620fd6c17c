"""Every metric of the plugin against the recording's own numbers; the conversions of units are this file's own."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from otelml.gpu import readings
from otelml.gpu.plugin import GAUGES
from otelml.semconv._generated import METRICS

PERCENT, MILLI, NANO = Fraction(1, 100), Fraction(1, 1000), Fraction(1, 10**9)
MEGA, MEBI = Fraction(10**6), Fraction(2**20)
REASON = "ml.gpu.throttle.reason"
DIRECTION = "network.io.direction"
LINK = "ml.gpu.interconnect"

# Metric, attributes beside those that every series has, where the recording has it, and the factor of the units.
CALLS: list[tuple[str, dict[str, str], str, Any, Fraction]] = [
    ("hw.gpu.utilization", {"hw.gpu.task": "general"}, "nvmlDeviceGetUtilizationRates()", "gpu", PERCENT),
    ("hw.gpu.utilization", {"hw.gpu.task": "encoder"}, "nvmlDeviceGetEncoderUtilization()", 0, PERCENT),
    ("hw.gpu.utilization", {"hw.gpu.task": "decoder"}, "nvmlDeviceGetDecoderUtilization()", 0, PERCENT),
    ("ml.gpu.engine.utilization", {"ml.gpu.engine": "jpeg"}, "nvmlDeviceGetJpgUtilization()", 0, PERCENT),
    ("ml.gpu.engine.utilization", {"ml.gpu.engine": "ofa"}, "nvmlDeviceGetOfaUtilization()", 0, PERCENT),
    ("ml.gpu.memory.controller.utilization", {}, "nvmlDeviceGetUtilizationRates()", "memory", PERCENT),
    ("hw.gpu.memory.usage", {}, "nvmlDeviceGetMemoryInfo()", "used", Fraction(1)),
    ("hw.gpu.memory.limit", {}, "nvmlDeviceGetMemoryInfo()", "total", Fraction(1)),
    ("hw.power", {"hw.type": "gpu"}, "nvmlDeviceGetPowerUsage()", None, MILLI),
    ("ml.gpu.power.limit", {}, "nvmlDeviceGetEnforcedPowerLimit()", None, MILLI),
    ("hw.energy", {"hw.type": "gpu"}, "nvmlDeviceGetTotalEnergyConsumption()", None, MILLI),
    ("hw.temperature", {"hw.sensor_location": "gpu"}, "nvmlDeviceGetTemperature(0)", None, Fraction(1)),
    ("ml.gpu.clock.frequency", {"ml.gpu.clock": "graphics"}, "nvmlDeviceGetClockInfo(0)", None, MEGA),
    ("ml.gpu.clock.frequency", {"ml.gpu.clock": "sm"}, "nvmlDeviceGetClockInfo(1)", None, MEGA),
    ("ml.gpu.clock.frequency", {"ml.gpu.clock": "memory"}, "nvmlDeviceGetClockInfo(2)", None, MEGA),
    ("ml.gpu.clock.frequency", {"ml.gpu.clock": "video"}, "nvmlDeviceGetClockInfo(3)", None, MEGA),
    *(
        ("ml.gpu.throttle.duration", {REASON: reason}, f"nvmlDeviceGetViolationStatus({policy})", "violationTime", NANO)
        for policy, reason in ((0, "power"), (1, "thermal"), (2, "sync_boost"), (3, "board_limit"), (5, "reliability"))
    ),
    *(
        (
            "hw.temperature.limit",
            {"hw.sensor_location": location, "hw.limit_type": limit},
            f"nvmlDeviceGetTemperatureThreshold({kind})", None, Fraction(1),
        )
        for kind, location, limit in (
            (0, "gpu", "high.critical"), (1, "gpu", "high.degraded"), (2, "memory", "high.degraded"),
            (3, "gpu", "throttled"),
        )
    ),
    *(
        ("hw.errors", {"hw.type": "gpu", "error.type": kind}, call, part, Fraction(1))
        for kind, call, part in (
            ("corrected", "nvmlDeviceGetTotalEccErrors(0,0)", None),
            ("uncorrected", "nvmlDeviceGetTotalEccErrors(1,0)", None),
            ("pcie_replay", "nvmlDeviceGetPcieReplayCounter()", None),
            ("row_remap_corrected", "nvmlDeviceGetRemappedRows()", 0),
            ("row_remap_uncorrected", "nvmlDeviceGetRemappedRows()", 1),
        )
    ),
]  # fmt: skip
FIELDS: list[tuple[str, dict[str, str], int]] = [
    ("hw.temperature", {"hw.sensor_location": "memory"}, 82),
    ("hw.gpu.io", {DIRECTION: "transmit"}, 197),
    ("hw.gpu.io", {DIRECTION: "receive"}, 198),
]
GPM: list[tuple[str, dict[str, str], int, Fraction]] = [
    ("ml.gpu.sm.utilization", {}, 2, PERCENT),
    ("ml.gpu.sm.occupancy", {}, 3, PERCENT),
    ("ml.gpu.tensor.utilization", {}, 5, PERCENT),
    ("ml.gpu.memory.bandwidth.utilization", {}, 10, PERCENT),
    ("ml.gpu.pipe.utilization", {"ml.gpu.pipe": "fp64"}, 11, PERCENT),
    ("ml.gpu.pipe.utilization", {"ml.gpu.pipe": "fp32"}, 12, PERCENT),
    ("ml.gpu.pipe.utilization", {"ml.gpu.pipe": "fp16"}, 13, PERCENT),
    ("ml.gpu.interconnect.io", {LINK: "pcie", DIRECTION: "transmit"}, 20, MEBI),
    ("ml.gpu.interconnect.io", {LINK: "pcie", DIRECTION: "receive"}, 21, MEBI),
    ("ml.gpu.interconnect.io", {LINK: "nvlink", DIRECTION: "receive"}, 60, MEBI),
    ("ml.gpu.interconnect.io", {LINK: "nvlink", DIRECTION: "transmit"}, 61, MEBI),
]
# The bits of NVML's header, and the state of each in the recording: 1 is 'idle', 4 the software's power cap.
REASON_BITS = {
    "application_clocks": 0x2, "sw_power_cap": 0x4, "hw_slowdown": 0x8, "sync_boost": 0x10, "sw_thermal": 0x20,
    "hw_thermal": 0x40, "hw_power_brake": 0x80, "display_clocks": 0x100,
}  # fmt: skip
OWN = {
    "hw.id": "GPU-00000000-0000-0000-0000-000000000001",
    "hw.name": "NVIDIA H200 (replayed)",
    "hw.model": "NVIDIA H200",
    "hw.vendor": "NVIDIA",
    "hw.driver_version": "580.159.04",
    "ml.gpu.index": 0,
}


def expected_series(recording: dict[str, Any], state: str) -> dict[tuple[str, frozenset[Any]], float]:
    """What the plugin must show for one state of a recording, and nothing else."""
    calls, gpm = recording[state], recording[f"{state}_gpm"]["metrics"].values()
    expected: dict[tuple[str, frozenset[Any]], float] = {}

    def add(metric: str, attributes: dict[str, Any], value: float | Fraction) -> None:
        expected[metric, frozenset({**OWN, **attributes}.items())] = float(value)

    for metric, attributes, call, part, factor in CALLS:
        raw = calls[call]["value"]
        add(metric, attributes, (raw if part is None else raw[part]) * factor)
    for metric, attributes, field in FIELDS:
        add(metric, attributes, next(f["value"] for f in calls["fields"].values() if f["id"] == field))
    for metric, attributes, number, factor in GPM:
        add(metric, attributes, Fraction(next(m["value"] for m in gpm if m["id"] == number)) * factor)
    memory = calls["nvmlDeviceGetMemoryInfo()"]["value"]
    add("hw.gpu.memory.utilization", {}, Fraction(memory["used"], memory["total"]))
    active = calls["nvmlDeviceGetCurrentClocksEventReasons()"]["value"]
    for reason, bit in REASON_BITS.items():
        add("ml.gpu.throttle.active", {REASON: reason}, int(bool(active & bit)))
    for each in ("ok", "degraded", "failed", "predicted_failure"):
        add("hw.status", {"hw.type": "gpu", "hw.state": each}, int(each == "ok"))
    return expected


def found_series(snapshot: Any) -> dict[tuple[str, frozenset[Any]], float]:
    """What the plugin shows."""
    return {
        (metric.name, frozenset(attributes.items())): value
        for metric in GAUGES
        for value, attributes in snapshot.series(metric.name)
    }


@pytest.mark.parametrize("state", ["idle", "load"])
def test_every_series_has_the_recordings_number(make_rig, recording: dict[str, Any], state: str) -> None:
    """All series of a snapshot, exactly, to the last bit but for what a product of two floats may round."""
    found = found_series(make_rig([recording], state).walk(2))
    expected = expected_series(recording, state)
    assert set(found) == set(expected)
    assert found == pytest.approx(expected, rel=1e-15, abs=0)


def test_no_metric_of_the_registry_is_forgotten(rig, recording: dict[str, Any]) -> None:
    """What the recording cannot show is known by name: no fan, no reserved memory, no process of this program."""
    shown = {name for name, _ in found_series(rig.walk(2))}
    assert {metric.name for metric in GAUGES} - shown == {
        "hw.fan.speed_ratio", "ml.gpu.memory.reserved", "ml.gpu.process.memory.usage"
    }  # fmt: skip
    assert {name for name in METRICS if name.startswith("ml.gpu.collect")} == {
        "ml.gpu.collect.duration", "ml.gpu.collect.errors"
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [9223372036854775794, 9223372036854775792, 2**64 - 1, 2**32 - 1, -1, True, None, "N/A", float("nan"), float("inf"),
     140737488355328.0],
)  # fmt: skip
def test_what_is_no_reading(value: Any) -> None:
    """Sentinels of DCGM and NVML, and whatever is no number, are absent."""
    assert readings.number(value) is None
    assert readings.ratio(value) is None
    assert readings.from_thousandths(value) is None


@pytest.mark.parametrize(
    ("percent", "ratio"), [(0, 0.0), (100, 1.0), (99, 0.99), (100.4, 1.0), (102.5, None), (-0.1, None)]
)
def test_ratios_stay_within_their_range(percent: float, ratio: float | None) -> None:
    """A hair above 100 % is a sampling window's doing; more than that is no reading."""
    assert readings.ratio(percent) == ratio


def test_new_memory_call_keeps_reserved_apart(make_rig, recording: dict[str, Any]) -> None:
    """Where the driver has it, `used` is without what the driver reserves, which is shown beside it."""
    recording["load"]["nvmlDeviceGetMemoryInfo_v2()"] = {
        "us": 1, "value": {"version": 33554472, "total": 1000, "reserved": 100, "free": 700, "used": 200}
    }  # fmt: skip
    rig = make_rig([recording])
    found = rig.walk()
    names = (
        "hw.gpu.memory.usage",
        "hw.gpu.memory.limit",
        "ml.gpu.memory.reserved",
        "hw.gpu.memory.utilization",
    )
    assert [rig.series(found, name, "hw.id") for name in names] == [
        {OWN["hw.id"]: value} for value in (200, 1000, 100, 0.2)
    ]


def test_fans(make_rig, recording: dict[str, Any]) -> None:
    """Each fan is asked, and 30 % is 0.3; the H200 has none."""
    recording["load"]["nvmlDeviceGetNumFans()"] = {"us": 1, "value": 2}
    recording["load"]["nvmlDeviceGetFanSpeed_v2(0)"] = {"us": 1, "value": 30}
    recording["load"]["nvmlDeviceGetFanSpeed_v2(1)"] = {"us": 1, "value": 101}
    rig = make_rig([recording])
    assert rig.series(rig.walk(), "hw.fan.speed_ratio", "hw.sensor_location") == {"fan_0": 0.3, "fan_1": 1.0}


def test_serial_number_on_request(make_rig, recording: dict[str, Any]) -> None:
    """It identifies hardware beyond this system, so it is off by default."""
    (_, attributes), *_ = make_rig([recording], serial_number=True).walk().series("hw.power")
    assert attributes["hw.serial_number"] == "0000000000000"
