"""GPU: does it work or only look busy, what holds it back, and is it well?"""

from __future__ import annotations

from typing import Any

from dashboards.boards import units
from dashboards.boards.board import Board, Row
from dashboards.boards.panels import Column, Panel, Query, legend, limit, stat, states, tables, timeseries
from dashboards.boards.promql import (
    GPU,
    HOST,
    RANGE,
    RANK,
    RATE_INTERVAL,
    SERVICE,
    Scope,
    aggregate,
    differs,
    equals,
    labels,
)
from otelml.semconv import _generated as semconv
from otelml.semconv.model import Metric

SCOPE = Scope((SERVICE, HOST, RANK, GPU))
DEVICE = (semconv.HOST_NAME, semconv.ML_GPU_INDEX, semconv.HW_ID)
NAME = "{{host_name}} GPU {{ml_gpu_index}}"
USAGE, LIMIT = semconv.METRIC_HW_GPU_MEMORY_USAGE, semconv.METRIC_HW_GPU_MEMORY_LIMIT
ERRORS, STATUS = semconv.METRIC_HW_ERRORS, semconv.METRIC_HW_STATUS
THROTTLED, SLOWED = semconv.METRIC_ML_GPU_THROTTLE_ACTIVE, semconv.METRIC_ML_GPU_THROTTLE_DURATION
STATES = {"ok": "green", "predicted_failure": "yellow", "degraded": "orange", "failed": "red"}
"""Of a GPU, from good to bad, and how each is drawn."""
BUSY = semconv.METRIC_HW_GPU_UTILIZATION
SM = semconv.METRIC_ML_GPU_SM_UTILIZATION
GENERAL, OTHER_TASKS = equals(semconv.HW_GPU_TASK, "general"), differs(semconv.HW_GPU_TASK, "general")


def now(metric: Metric, *matchers: str, by: tuple[str, ...] = ()) -> str:
    """As it is, for each GPU once, however many processes report it."""
    return SCOPE.latest(metric, *matchers, by=(*DEVICE, *by))


def lines(metric: Metric, *matchers: str, by: tuple[str, ...] = (), hint: str = "", **looks: Any) -> Panel:
    """A line for each GPU and value of `by`."""
    looks = {"most": 1} | looks if metric.unit == "1" else looks
    query = Query(now(metric, *matchers, by=by), f"{NAME} {legend(*by)}".strip())
    return timeseries(units.title(metric), units.unit(metric), query, hint=hint, **looks)


def growth(metric: Metric, *, by: tuple[str, ...] = (), hint: str = "", **looks: Any) -> Panel:
    """How much a counter of each GPU grows a second."""
    query = Query(SCOPE.rate(metric, by=(*DEVICE, *by), operator="max"), f"{NAME} {legend(*by)}".strip())
    return timeseries(units.title(metric), units.rate_unit(metric), query, hint=hint, **looks)


def errors(over: str, by: tuple[str, ...] = (*DEVICE, semconv.ERROR_TYPE)) -> str:
    """Errors of each GPU that are new in a time, once however many processes report them."""
    return SCOPE.increase(ERRORS, by=by, over=over, operator="max")


def worst() -> str:
    """The state of each GPU as a number, the worst that is known: 0 for ok, 1, 2, 3 for what is worse."""
    ranked = [
        f"{number} * {SCOPE.series(STATUS, equals(semconv.HW_STATE, state))}"
        for number, state in enumerate(STATES)
    ]
    return aggregate("max", DEVICE, " or ".join(ranked))


def throttled() -> str:
    """Whether each reason is active, of those that were active at all in the range."""
    by = (*DEVICE, semconv.ML_GPU_THROTTLE_REASON)
    ever = aggregate("max", by, f"max_over_time({SCOPE.series(THROTTLED)}[{RANGE}])")
    return f"{SCOPE.latest(THROTTLED, by=by)} and {ever} > 0"


def slowed() -> str:
    """The part of the time for each reason, of those that took any in the range."""
    by = (*DEVICE, semconv.ML_GPU_THROTTLE_REASON)
    ever = aggregate("max", by, f"increase({SCOPE.series(SLOWED)}[{RANGE}])")
    return f"{SCOPE.rate(SLOWED, by=by, operator='max')} and {ever} > 0"


NOW = Row(
    "Now",
    [
        stat("GPUs", units.WHOLE, f"count({now(LIMIT)})", hint="How many report.", width=3),
        stat(
            units.title(STATUS, ": not ok"), units.WHOLE,
            f"sum({now(STATUS, differs(semconv.HW_STATE, 'ok'))})",
            hint="How many are degraded, failed or about to fail.", width=3, worse=1,
        ),
        stat(units.title(SM), units.RATIO, f"avg({now(SM)})", hint="The mean of all GPUs.", width=3),
        stat(
            units.title(semconv.METRIC_ML_GPU_TENSOR_UTILIZATION), units.RATIO,
            f"avg({now(semconv.METRIC_ML_GPU_TENSOR_UTILIZATION)})", hint="The mean of all GPUs.", width=3,
        ),
        stat(
            units.title(semconv.METRIC_HW_GPU_MEMORY_UTILIZATION), units.RATIO,
            f"max({now(semconv.METRIC_HW_GPU_MEMORY_UTILIZATION)})", hint="Of the fullest GPU.", width=3, bad=0.9,
            worse=0.97,
        ),
        stat(
            units.title(semconv.METRIC_HW_POWER), "watt", f"sum({now(semconv.METRIC_HW_POWER)})",
            hint="Of all GPUs together.", width=3,
        ),
        stat(
            units.title(semconv.METRIC_HW_ENERGY), "joule",
            f"sum({aggregate('max', DEVICE, f'increase({SCOPE.series(semconv.METRIC_HW_ENERGY)}[{RANGE}])')})",
            hint="Of all GPUs in the whole range. A kilowatt-hour is 3.6 MJ.", width=3, instant=True,
        ),
        stat(
            units.title(ERRORS), units.WHOLE, f"sum({errors(RANGE)})", hint="In the whole range, of all kinds.",
            width=3, bad=1, instant=True,
        ),
    ],
)  # fmt: skip

ACTIVITY = Row(
    "Does it work, or only look busy",
    [
        lines(
            BUSY, GENERAL,
            hint="What every tool shows: 100 % with one kernel on one multiprocessor. Compare it with SM utilization.",
        ),
        lines(SM, hint="How much of the GPU has work. From Hopper on."),
        lines(
            semconv.METRIC_ML_GPU_TENSOR_UTILIZATION,
            hint="Mixed precision that works shows here. From Hopper on.",
        ),
        lines(
            semconv.METRIC_ML_GPU_MEMORY_BANDWIDTH_UTILIZATION,
            hint="High with low tensor utilization: bound by memory, not by arithmetic. From Hopper on.",
        ),
        lines(
            semconv.METRIC_ML_GPU_SM_OCCUPANCY,
            hint="Low is no fault by itself: large matrix products do well with little. From Hopper on.",
        ),
        timeseries(
            "Busy without work", units.RATIO,
            Query(f"clamp_min({now(BUSY, GENERAL)} - on ({labels(DEVICE)}) {now(SM)}, 0)", NAME),
            hint="The first less the second: near 1 for minutes, a kernel hangs or waits for another GPU.", most=1,
        ),
        lines(
            semconv.METRIC_ML_GPU_PIPE_UTILIZATION, by=(semconv.ML_GPU_PIPE,),
            hint="Which precision the arithmetic has.",
        ),
        lines(
            semconv.METRIC_ML_GPU_MEMORY_CONTROLLER_UTILIZATION,
            hint="For GPUs older than Hopper, which do not tell their bandwidth.",
        ),
        timeseries(
            "Encoder, decoder and other engines", units.RATIO,
            Query(now(BUSY, OTHER_TASKS, by=(semconv.HW_GPU_TASK,)), f"{NAME} {{{{hw_gpu_task}}}}"),
            Query(
                now(semconv.METRIC_ML_GPU_ENGINE_UTILIZATION, by=(semconv.ML_GPU_ENGINE,)),
                f"{NAME} {{{{ml_gpu_engine}}}}",
            ),
            hint="Decoding video or images on the GPU shows here.", most=1,
        ),
    ],
)  # fmt: skip

MEMORY = Row(
    "Memory",
    [
        timeseries(
            units.title(USAGE), "bytes",
            Query(now(USAGE), NAME), Query(aggregate("max", (), SCOPE.series(LIMIT)), "size limit"),
            hint="Of all processes on the GPU. An allocator keeps what it once had. The line is the largest size.",
        ),
        timeseries(
            units.title(semconv.METRIC_HW_GPU_MEMORY_UTILIZATION), units.RATIO,
            Query(now(semconv.METRIC_HW_GPU_MEMORY_UTILIZATION), NAME), limit("gpu_memory_nearly_full"), most=1,
        ),
        timeseries(
            "Memory of this program, and reserved", "bytes",
            Query(
                SCOPE.latest(semconv.METRIC_ML_GPU_PROCESS_MEMORY_USAGE, by=(*DEVICE, semconv.SERVICE_NAME)),
                f"{NAME} {legend(semconv.SERVICE_NAME)}",
            ),
            Query(now(semconv.METRIC_ML_GPU_MEMORY_RESERVED), f"{NAME} reserved"),
            hint="Absent in containers where the driver shows the process ids of the host.",
        ),
    ],
)  # fmt: skip

POWER = Row(
    "Power, heat, clocks",
    [
        timeseries(
            units.title(semconv.METRIC_HW_POWER), "watt",
            Query(now(semconv.METRIC_HW_POWER), NAME),
            Query(aggregate("max", (), SCOPE.series(semconv.METRIC_ML_GPU_POWER_LIMIT)), "power limit"),
            hint="A busy data-centre GPU is at its limit: that is no fault. The line is the highest limit.",
        ),
        growth(
            semconv.METRIC_HW_ENERGY,
            hint="The same from the energy counter: no peak between two readings is missed.",
        ),
        timeseries(
            units.title(semconv.METRIC_HW_TEMPERATURE), "celsius",
            Query(
                now(semconv.METRIC_HW_TEMPERATURE, by=(semconv.HW_SENSOR_LOCATION,)),
                f"{NAME} {{{{hw_sensor_location}}}}",
            ),
            Query(
                SCOPE.latest(
                    semconv.METRIC_HW_TEMPERATURE_LIMIT, by=(semconv.HW_SENSOR_LOCATION, semconv.HW_LIMIT_TYPE),
                    operator="min",
                ),
                "{{hw_sensor_location}} {{hw_limit_type}} limit",
            ),
            hint="At `throttled` and `high.degraded` it slows down, at `high.critical` it shuts down.",
        ),
        lines(semconv.METRIC_ML_GPU_CLOCK_FREQUENCY, by=(semconv.ML_GPU_CLOCK,)),
        lines(semconv.METRIC_HW_FAN_SPEED_RATIO, hint="Data-centre GPUs have none."),
        timeseries(
            units.title(SLOWED), units.rate_unit(SLOWED), Query(slowed(), f"{NAME} {{{{ml_gpu_throttle_reason}}}}"),
            hint="The part of the time in which a reason held the clocks down; those that did not are left out.",
            most=1,
        ),
        states(
            units.title(THROTTLED),
            Query(throttled(), f"{NAME} {{{{ml_gpu_throttle_reason}}}}"),
            {"0": ("no", "transparent"), "1": ("yes", "orange")},
            hint="Reasons that were active in the range. `sw_power_cap` is normal under load; `hw_slowdown`, "
            "`hw_thermal`, `sw_thermal` and `hw_power_brake` are not.",
        ),
        states(
            units.title(STATUS), Query(worst(), NAME),
            {str(number): (state.replace("_", " "), color) for number, (state, color) in enumerate(STATES.items())},
            hint="The worst of what is known: lost, XID and ECC errors, rows to be remapped.",
        ),
    ],
)  # fmt: skip

TRAFFIC = Row(
    "Errors, buses",
    [
        timeseries(
            units.title(ERRORS, " by type"), units.WHOLE,
            Query(aggregate("sum", (semconv.ERROR_TYPE,), errors(RATE_INTERVAL)), legend(semconv.ERROR_TYPE)),
            hint="How many are new at each point, of all GPUs.",
        ),
        tables(
            units.title(ERRORS, " in the range"),
            {
                semconv.HOST_NAME: "Host", semconv.ML_GPU_INDEX: "GPU", semconv.HW_ID: "UUID",
                semconv.ERROR_TYPE: "Error",
            },
            Column("Errors", units.WHOLE, f"{errors(RANGE)} > 0"),
            hint="Nothing here is good. docs/gpu.md says what they mean.", width=16, sort="Errors",
        ),
        lines(
            semconv.METRIC_ML_GPU_INTERCONNECT_IO, by=(semconv.ML_GPU_INTERCONNECT, semconv.NETWORK_IO_DIRECTION),
            hint="Gradients travel over NVLink, batches over PCIe. From Hopper on.", width=12,
        ),
        growth(semconv.METRIC_HW_GPU_IO, by=(semconv.NETWORK_IO_DIRECTION,), hint="From its counters.", width=12),
    ],
)  # fmt: skip

BOARD = Board(
    uid="otelml-gpu",
    title="GPU",
    description="True activity beside the classic utilization; memory, power, heat, clocks, throttling, errors.",
    scope=SCOPE,
    of=(LIMIT,),
    rows=(NOW, ACTIVITY, MEMORY, POWER, TRAFFIC),
)
