"""What is asked of a GPU, how often, and which points the answers become: one row a question.

Values leave here in the units of the registry. What is no number, a sentinel, or beyond its range is no point.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

from otelml.gpu.status import STATES, State
from otelml.semconv import _generated as names
from otelml.semconv.model import Metric

Pace = Literal["each walk", "slow", "once"]
"""How often a question is asked. Slow: what takes up to 3 ms, or changes seldom; see walk.SLOW_S."""


class Point(NamedTuple):
    """One value of one series of a GPU; `attributes` are those beside the GPU's own."""

    metric: Metric
    value: float
    attributes: tuple[tuple[str, str], ...] = ()


Points = Iterable[Point]


@dataclass(frozen=True)
class Question:
    """A call on a device, its arguments after the handle, and what its answer becomes."""

    call: str
    points: Callable[[Any], Points]
    arguments: tuple[Any, ...] = ()
    pace: Pace = "each walk"
    otherwise: Question | None = None
    """Asked instead where the call is not supported."""


# -- values

# DCGM's 'blank' integers begin here, NVML's 'not available' are all ones; none of these is ever a reading.
_FIRST_SENTINEL = 0x7FFFFFFFFFFFFFF0
_ALL_ONES = (0xFFFFFFFF, -1)
_FIRST_DOUBLE_SENTINEL = 140737488355328.0


def number(value: Any) -> float | None:
    """`value` as it is, or None where it is no reading: no number, not finite, negative, or a sentinel."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0 or value != value:  # noqa: PLR0124
        return None
    if isinstance(value, float):
        return value if value < _FIRST_DOUBLE_SENTINEL else None
    return value if value < _FIRST_SENTINEL and value not in _ALL_ONES else None


def ratio(percent: Any) -> float | None:
    """Percent as a ratio; a sampling window may make a hair more than 100 of it, and more than that is no reading."""
    value = number(percent)
    return None if value is None or value > 102 else min(value, 100) / 100


def from_thousandths(value: Any) -> float | None:
    """mW as W, mJ as J."""
    return None if number(value) is None else value / 1000


def from_ns(value: Any) -> float | None:
    """ns as s."""
    return None if number(value) is None else value / 1_000_000_000


def from_mega(value: Any) -> int | None:
    """MHz as Hz."""
    return None if number(value) is None else value * 1_000_000


def from_mib(value: Any) -> float | None:
    """MiB/s as By/s."""
    return None if number(value) is None else value * 2**20


def one(metric: Metric, value: float | None, *attributes: tuple[str, str]) -> Iterator[Point]:
    """The point of `value`; none where it is absent."""
    if value is not None:
        yield Point(metric, value, attributes)


# -- answers

_GPU = (names.HW_TYPE, "gpu")
_CLOCKS = ("graphics", "sm", "memory", "video")
_POLICIES = {
    0: "power",
    1: "thermal",
    2: "sync_boost",
    3: "board_limit",
    5: "reliability",
}  # 4 is 'low utilization'
# Bit 0, 'idle', is no throttling.
REASONS = {
    0x002: "application_clocks",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal",
    0x040: "hw_thermal",
    0x080: "hw_power_brake",
    0x100: "display_clocks",
    0x200: "board_limit",
    0x400: "reliability",
}
"""NVML's bits for why the clocks are lower than they could be, as `ml.gpu.throttle.reason`."""

_THRESHOLDS = {
    0: ("gpu", "high.critical"),  # shuts down
    1: ("gpu", "high.degraded"),  # slows down in hardware
    2: ("memory", "high.degraded"),  # slows down for the memory's sake
    3: ("gpu", "throttled"),  # slows down in software, to stay below
}
_FIELD_MEMORY_TEMPERATURE = 82
FIELD_RECOVERY_ACTION = 230
PCIE = {"transmit": (197, 20), "receive": (198, 21)}
"""Of each direction: the field value that counts bytes, and the GPM metric that is their rate in MiB/s."""
FIELDS = (_FIELD_MEMORY_TEMPERATURE, *(field for field, _ in PCIE.values()), FIELD_RECOVERY_ACTION)


def _utilization(rates: Mapping[str, Any]) -> Points:
    yield from one(names.METRIC_HW_GPU_UTILIZATION, ratio(rates["gpu"]), (names.HW_GPU_TASK, "general"))
    yield from one(names.METRIC_ML_GPU_MEMORY_CONTROLLER_UTILIZATION, ratio(rates["memory"]))


def _task(task: str) -> Callable[[Any], Points]:
    return lambda answer: one(names.METRIC_HW_GPU_UTILIZATION, ratio(answer[0]), (names.HW_GPU_TASK, task))


def _engine(engine: str) -> Callable[[Any], Points]:
    return lambda answer: one(
        names.METRIC_ML_GPU_ENGINE_UTILIZATION, ratio(answer[0]), (names.ML_GPU_ENGINE, engine)
    )


def _memory(info: Mapping[str, Any]) -> Points:
    used, total = number(info["used"]), number(info["total"])
    yield from one(names.METRIC_HW_GPU_MEMORY_USAGE, used)
    yield from one(names.METRIC_HW_GPU_MEMORY_LIMIT, total)
    if used is not None and total:
        yield from one(names.METRIC_HW_GPU_MEMORY_UTILIZATION, used / total)
    yield from one(names.METRIC_ML_GPU_MEMORY_RESERVED, number(info.get("reserved")))


def _power(milliwatts: Any) -> Points:
    return one(names.METRIC_HW_POWER, from_thousandths(milliwatts), _GPU)


def _power_limit(milliwatts: Any) -> Points:
    return one(names.METRIC_ML_GPU_POWER_LIMIT, from_thousandths(milliwatts))


def _energy(millijoules: Any) -> Points:
    return one(names.METRIC_HW_ENERGY, from_thousandths(millijoules), _GPU)


def _temperature(location: str, celsius: Any) -> Points:
    return one(names.METRIC_HW_TEMPERATURE, number(celsius), (names.HW_SENSOR_LOCATION, location))


def _threshold(kind: int) -> Callable[[Any], Points]:
    location, limit = _THRESHOLDS[kind]
    return lambda celsius: one(
        names.METRIC_HW_TEMPERATURE_LIMIT,
        number(celsius) or None,  # 0 where the board has no such limit
        (names.HW_SENSOR_LOCATION, location),
        (names.HW_LIMIT_TYPE, limit),
    )


def _clock(kind: int) -> Callable[[Any], Points]:
    return lambda megahertz: one(
        names.METRIC_ML_GPU_CLOCK_FREQUENCY, from_mega(megahertz), (names.ML_GPU_CLOCK, _CLOCKS[kind])
    )


def _fan(fan: int) -> Callable[[Any], Points]:
    # Beyond 100 % it is noise of the regulation: the ratio's maximum then.
    return lambda percent: one(
        names.METRIC_HW_FAN_SPEED_RATIO, ratio(percent), (names.HW_SENSOR_LOCATION, f"fan_{fan}")
    )


def _throttled_for(policy: int) -> Callable[[Any], Points]:
    return lambda status: one(
        names.METRIC_ML_GPU_THROTTLE_DURATION,
        from_ns(status["violationTime"]),
        (names.ML_GPU_THROTTLE_REASON, _POLICIES[policy]),
    )


def throttle_points(active_bits: int, supported_bits: int) -> Points:
    """1 or 0 for each of the reasons that the GPU knows."""
    for bit, reason in REASONS.items():
        if bit & (supported_bits | active_bits):
            active = int(bool(active_bits & bit))
            yield Point(
                names.METRIC_ML_GPU_THROTTLE_ACTIVE, active, ((names.ML_GPU_THROTTLE_REASON, reason),)
            )


def _errors(kind: str) -> Callable[[Any], Points]:
    return lambda count: error_points(kind, count)


def error_points(kind: str, count: Any) -> Points:
    """Errors of one kind so far."""
    return one(names.METRIC_HW_ERRORS, number(count), _GPU, (names.ERROR_TYPE, kind))


def _remapped(rows: Sequence[Any]) -> Points:
    yield from error_points("row_remap_corrected", rows[0])
    yield from error_points("row_remap_uncorrected", rows[1])


def status_points(state: State) -> Points:
    """1 for the state that the GPU is in, 0 for each of the others."""
    for each in STATES:
        yield Point(names.METRIC_HW_STATUS, int(each == state), (_GPU, (names.HW_STATE, each)))


def memory_temperature_points(values: Mapping[int, float]) -> Points:
    """The field value of the memory's sensor; 0 where there is none."""
    return _temperature("memory", values.get(_FIELD_MEMORY_TEMPERATURE) or None)


def pcie_points(direction: str, total_bytes: float | None) -> Points:
    """Bytes over PCIe so far."""
    return one(names.METRIC_HW_GPU_IO, total_bytes, (names.NETWORK_IO_DIRECTION, direction))


QUESTIONS: tuple[Question, ...] = (
    Question("nvmlDeviceGetUtilizationRates", _utilization),
    Question("nvmlDeviceGetEncoderUtilization", _task("encoder")),
    Question("nvmlDeviceGetDecoderUtilization", _task("decoder")),
    Question("nvmlDeviceGetJpgUtilization", _engine("jpeg")),
    Question("nvmlDeviceGetOfaUtilization", _engine("ofa")),
    # The old call counts what the driver keeps for itself as used.
    Question("nvmlDeviceGetMemoryInfo_v2", _memory, otherwise=Question("nvmlDeviceGetMemoryInfo", _memory)),
    Question("nvmlDeviceGetPowerUsage", _power),
    Question(
        "nvmlDeviceGetTemperature",
        partial(_temperature, "gpu"),
        (0,),
        otherwise=Question("nvmlDeviceGetTemperatureV", partial(_temperature, "gpu"), (0,)),
    ),
    *(Question("nvmlDeviceGetClockInfo", _clock(kind), (kind,)) for kind in range(len(_CLOCKS))),
    Question("nvmlDeviceGetTotalEnergyConsumption", _energy, pace="slow"),
    Question("nvmlDeviceGetEnforcedPowerLimit", _power_limit, pace="slow"),
    *(
        Question("nvmlDeviceGetViolationStatus", _throttled_for(policy), (policy,), pace="slow")
        for policy in _POLICIES
    ),
    # 0 and 1: corrected and uncorrected; 0: since the driver was loaded.
    Question("nvmlDeviceGetTotalEccErrors", _errors("corrected"), (0, 0), pace="slow"),
    Question("nvmlDeviceGetTotalEccErrors", _errors("uncorrected"), (1, 0), pace="slow"),
    Question("nvmlDeviceGetPcieReplayCounter", _errors("pcie_replay"), pace="slow"),
    Question("nvmlDeviceGetRemappedRows", _remapped, pace="slow"),
    *(
        Question("nvmlDeviceGetTemperatureThreshold", _threshold(kind), (kind,), pace="once")
        for kind in _THRESHOLDS
    ),
)
"""What is asked of a GPU."""

MIG_QUESTIONS: tuple[Question, ...] = tuple(
    question for question in QUESTIONS if question.call == "nvmlDeviceGetMemoryInfo_v2"
)
"""What is asked of a MIG device: the rest is its GPU's."""


def fan_questions(fans: int) -> tuple[Question, ...]:
    """One question a fan."""
    return tuple(Question("nvmlDeviceGetFanSpeed_v2", _fan(fan), (fan,)) for fan in range(fans))


# -- GPM: true activity, from two samples


def _gpm_ratio(metric: Metric, *attributes: tuple[str, str]) -> Callable[[Any], Points]:
    return lambda percent: one(metric, ratio(percent), *attributes)


def _gpm_rate(interconnect: str, direction: str) -> Callable[[Any], Points]:
    return lambda rate: one(
        names.METRIC_ML_GPU_INTERCONNECT_IO,
        from_mib(rate),
        (names.ML_GPU_INTERCONNECT, interconnect),
        (names.NETWORK_IO_DIRECTION, direction),
    )


GPM: Mapping[int, Callable[[Any], Points]] = {
    2: _gpm_ratio(names.METRIC_ML_GPU_SM_UTILIZATION),
    3: _gpm_ratio(names.METRIC_ML_GPU_SM_OCCUPANCY),
    5: _gpm_ratio(names.METRIC_ML_GPU_TENSOR_UTILIZATION),
    10: _gpm_ratio(names.METRIC_ML_GPU_MEMORY_BANDWIDTH_UTILIZATION),
    11: _gpm_ratio(names.METRIC_ML_GPU_PIPE_UTILIZATION, (names.ML_GPU_PIPE, "fp64")),
    12: _gpm_ratio(names.METRIC_ML_GPU_PIPE_UTILIZATION, (names.ML_GPU_PIPE, "fp32")),
    13: _gpm_ratio(names.METRIC_ML_GPU_PIPE_UTILIZATION, (names.ML_GPU_PIPE, "fp16")),
    20: _gpm_rate("pcie", "transmit"),
    21: _gpm_rate("pcie", "receive"),
    60: _gpm_rate("nvlink", "receive"),
    61: _gpm_rate("nvlink", "transmit"),
}
"""What each GPM metric becomes, by NVML's id."""
