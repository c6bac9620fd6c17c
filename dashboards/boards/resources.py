"""Resources: CPU, memory, disk and network of the machines, and what of it each process takes."""

from __future__ import annotations

from typing import Any

from dashboards.boards import elsewhere, units
from dashboards.boards.board import Board, Row
from dashboards.boards.panels import Panel, Query, legend, limit, stat, timeseries
from dashboards.boards.promql import HOST, RANK, SERVICE, Scope, aggregate, differs, equals
from otelml.semconv import _generated as semconv
from otelml.semconv.model import Metric

SCOPE = Scope((SERVICE, HOST, RANK))
MACHINE = (semconv.HOST_NAME,)
PROCESS = (semconv.ML_DISTRIBUTED_RANK, semconv.HOST_NAME, semconv.SERVICE_NAME)
CPU, OWN_CPU = semconv.METRIC_SYSTEM_CPU_UTILIZATION, semconv.METRIC_PROCESS_CPU_UTILIZATION
AVAILABLE, MEMORY = semconv.METRIC_SYSTEM_MEMORY_LINUX_AVAILABLE, semconv.METRIC_SYSTEM_MEMORY_LIMIT
DISK, DISK_USED = semconv.METRIC_SYSTEM_FILESYSTEM_LIMIT, semconv.METRIC_SYSTEM_FILESYSTEM_USAGE
FULL = semconv.METRIC_SYSTEM_FILESYSTEM_UTILIZATION
MODE, STATE = (semconv.CPU_MODE,), (elsewhere.MEMORY_STATE,)
BY_TYPE = (elsewhere.TYPE, semconv.SERVICE_NAME)
BY_DEVICE = (semconv.HOST_NAME, elsewhere.DEVICE, elsewhere.DIRECTION)
ACCELERATOR = (
    semconv.ML_DEVICE_NAME,
    semconv.ML_GPU_INDEX,
    semconv.ML_DISTRIBUTED_RANK,
    semconv.SERVICE_NAME,
)
FILESYSTEM = (semconv.SYSTEM_FILESYSTEM_MOUNTPOINT, semconv.HOST_NAME)
NOT_IDLE = differs(semconv.CPU_MODE, "idle", "iowait")

taken = f"1 - {SCOPE.latest(AVAILABLE, by=MACHINE)} / {SCOPE.latest(MEMORY, by=MACHINE)}"


def of_machine(metric: Metric, *matchers: str, by: tuple[str, ...]) -> str:
    """Parts of a whole on each machine. Its processes read them at other times: means add up to 1, maxima to more."""
    return SCOPE.latest(metric, *matchers, by=(*MACHINE, *by), operator="avg")


def of_processes(metric: Metric, *, by: tuple[str, ...] = PROCESS, hint: str = "", **looks: Any) -> Panel:
    """A line for each rank of a service on a machine, which may be several processes."""
    query = Query(aggregate("sum", by, SCOPE.series(metric)), legend(*by))
    return timeseries(units.title(metric), units.unit(metric), query, hint=hint, **looks)


def flow(metric: Metric, *, by: tuple[str, ...], operator: str, hint: str, **looks: Any) -> Panel:
    """How much a counter grows a second."""
    query = Query(SCOPE.rate(metric, by=by, operator=operator), legend(*by))
    return timeseries(units.title(metric), units.rate_unit(metric), query, hint=hint, **looks)


NOW = Row(
    "Now",
    [
        stat(
            units.title(CPU), units.RATIO,
            f"max({aggregate('sum', MACHINE, of_machine(CPU, NOT_IDLE, by=MODE))})",
            hint="Of the busiest machine; all modes but idle and waiting for disks.", width=6, bad=0.9,
        ),
        stat(
            "Memory in use", units.RATIO, f"max({taken})",
            hint="Of the fullest machine: what programs can have no more.", width=6, bad=0.9, worse=0.95,
        ),
        stat(
            units.title(FULL), units.RATIO, SCOPE.latest(FULL, by=()), hint="Of the fullest filesystem.", width=6,
            bad=0.8, worse=0.9,
        ),
        stat(
            units.title(elsewhere.PROCESS_MEMORY), "bytes", f"sum({SCOPE.series(elsewhere.PROCESS_MEMORY)})",
            hint="Of all chosen processes together.", width=6,
        ),
    ],
)  # fmt: skip

CPUS = Row(
    "CPU",
    [
        timeseries(
            units.title(CPU, " by mode"), units.RATIO,
            Query(
                aggregate("avg", MODE, of_machine(CPU, differs(semconv.CPU_MODE, "idle"), by=MODE)),
                legend(*MODE),
            ),
            hint="The mean of the chosen machines. Much `iowait`: the disk is too slow for the loaders.",
            stacked=True, most=1,
        ),
        timeseries(
            units.title(OWN_CPU), units.RATIO,
            Query(aggregate("sum", PROCESS, SCOPE.series(OWN_CPU)), legend(*PROCESS)),
            hint="User and system together.",
        ),
        timeseries(
            units.title(elsewhere.PROCESS_CPU_TIME, ": CPUs in use"), units.COUNT,
            Query(SCOPE.rate(elsewhere.PROCESS_CPU_TIME, by=BY_TYPE), legend(*BY_TYPE)),
            hint="Seconds of CPU in a second: 4 is four CPUs. Much `system`: small reads, or threads that wait.",
        ),
        flow(
            elsewhere.PROCESS_CONTEXT_SWITCHES, by=BY_TYPE, operator="sum",
            hint="Each second. Many involuntary ones: more threads than CPUs.",
        ),
        of_processes(elsewhere.PROCESS_THREADS),
        of_processes(
            semconv.METRIC_PROCESS_UNIX_FILE_DESCRIPTOR_COUNT,
            hint="Data loaders that share tensors through files run into `ulimit -n`.",
        ),
    ],
)  # fmt: skip

MEMORIES = Row(
    "Memory",
    [
        timeseries(
            "Memory in use", units.RATIO, Query(taken, legend(*MACHINE)), limit("memory_nearly_full"),
            hint="The part of the machine's memory that programs cannot have any more.", most=1,
        ),
        timeseries(
            "Memory available", "bytes", Query(SCOPE.latest(AVAILABLE, by=MACHINE), legend(*MACHINE)),
            Query(SCOPE.latest(MEMORY, by=()), "size limit"),
            hint="The machine's, also in a container with less. The line is the largest machine.",
        ),
        timeseries(
            units.title(elsewhere.MEMORY_USAGE, " by state"), "bytes",
            Query(aggregate("avg", STATE, of_machine(elsewhere.MEMORY_USAGE, by=STATE)), legend(*STATE)),
            hint="The mean of the chosen machines.", stacked=True,
        ),
        of_processes(
            elsewhere.PROCESS_MEMORY, width=12,
            hint="Where it grows by the epoch, something is kept that should not be.",
        ),
        of_processes(
            elsewhere.PROCESS_VIRTUAL_MEMORY, width=12,
            hint="With CUDA it is far more than there is; its growth counts.",
        ),
    ],
)  # fmt: skip

DISKS = Row(
    "Disk and network",
    [
        timeseries(
            units.title(FULL), units.RATIO, Query(SCOPE.latest(FULL, by=FILESYSTEM), legend(*FILESYSTEM)),
            limit("disk_nearly_full"), hint="Checkpoints fill it.", most=1, width=12,
        ),
        timeseries(
            units.title(DISK_USED), "bytes",
            Query(
                SCOPE.latest(DISK_USED, equals(semconv.SYSTEM_FILESYSTEM_STATE, "used"), by=FILESYSTEM),
                legend(*FILESYSTEM),
            ),
            Query(SCOPE.latest(DISK, by=()), "size limit"),
            hint="What is used. The line is the largest filesystem.", width=12,
        ),
        flow(
            elsewhere.DISK_IO, by=BY_DEVICE, operator="max", width=12,
            hint="Of the machine. Where it is flat at the disk's limit, the loaders wait for it.",
        ),
        flow(elsewhere.NETWORK_IO, by=BY_DEVICE, operator="max", hint="Of the machine.", width=12),
    ],
)  # fmt: skip

HANDED_IN = Row(
    "Measured by the programs themselves",
    [
        of_processes(semconv.METRIC_ML_RESOURCE_CPU_UTILIZATION, width=6),
        of_processes(semconv.METRIC_ML_RESOURCE_MEMORY_USAGE, width=6),
        of_processes(semconv.METRIC_ML_RESOURCE_GPU_UTILIZATION, by=ACCELERATOR, width=6),
        of_processes(semconv.METRIC_ML_RESOURCE_GPU_MEMORY_USAGE, by=ACCELERATOR, width=6),
    ],
)  # fmt: skip

BOARD = Board(
    uid="otelml-resources",
    title="Resources",
    description="CPU, memory, disk and network of the machines, and what each process takes of it.",
    scope=SCOPE,
    of=(semconv.METRIC_PROCESS_UNIX_FILE_DESCRIPTOR_COUNT, elsewhere.PROCESS_MEMORY, MEMORY),
    rows=(NOW, CPUS, MEMORIES, DISKS, HANDED_IN),
)
