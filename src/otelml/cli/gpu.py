"""Show the GPUs as they are now, the classic utilisation beside the true activity; or record one.

The GPUs are those that a program started here would report (OTELML_GPU_DEVICES). With OTELML_NVML_REPLAY they are
recorded ones. In JSON the keys say the units, ratios are 0 to 1, and what is not known is null; with --watch each
look is one line. The exit status is 1 when there is nothing to show.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from otelml.gpu.library import Library
    from otelml.gpu.snapshot import GpuReading, Snapshot
    from otelml.gpu.walker import Walker
    from otelml.settings import Settings

Row = Mapping[str, Any]
"""One GPU or MIG device, as `describe` makes it and `--json` shows it."""

_ACTIVITY_S = 1.1  # true activity is measured between two samples at least a second apart
_WIDTH = 100
_CLEAR = "\x1b[2J\x1b[H"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--watch",
        nargs="?",
        type=_interval,
        const=2.0,
        metavar="SECONDS",
        help="go on until interrupted (every 2 seconds)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    commands = parser.add_subparsers(title="commands", metavar="[COMMAND]", dest="gpu_command")
    _add_record(commands.add_parser("record", help=_RECORD, description=_RECORD))


_RECORD = (
    "Record what NVML says of a GPU, for OTELML_NVML_REPLAY; a file that has the other state is added to."
)


def _add_record(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="the file")
    parser.add_argument(
        "--state",
        choices=("idle", "load"),
        help="what it is recorded as (load if it is more than 10 %% active)",
    )
    parser.add_argument("--device", type=int, default=0, metavar="N", help="NVML's index of the GPU (0)")
    parser.add_argument("--unmasked", action="store_true", help="write UUIDs and serial number as they are")


def _interval(text: str) -> float:
    seconds = float(text)
    if not 0.1 <= seconds < 86_400:
        raise argparse.ArgumentTypeError("must be at least 0.1, and less than a day")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Show, or record."""
    from otelml import gpu, settings
    from otelml.gpu.library import NvmlError
    from otelml.gpu.recordings import ReplayError
    from otelml.gpu.recordings.files import RecordError

    task = _record if arguments.gpu_command == "record" else _show
    try:
        found = settings.load(os.environ)
        library = gpu.open_library(found)
    except NvmlError as error:
        return _refuse(f"no GPU to show: {gpu.explain(error)}")
    except (settings.SettingsError, ReplayError) as error:
        return _refuse(error)
    try:
        return task(arguments, found, library)
    except NvmlError as error:
        return _refuse(f"NVML says {error}")
    except RecordError as error:
        return _refuse(error)
    finally:
        with suppress(NvmlError):
            library.close()


def _refuse(reason: object) -> int:
    print(f"otelml: {reason}", file=sys.stderr)
    return 1


# -- recording


def _record(arguments: argparse.Namespace, _: Settings, library: Library) -> int:
    from otelml.gpu.record import record
    from otelml.gpu.recordings import model_of, states_of
    from otelml.gpu.recordings.files import save

    recording = record(library, arguments.device, state=arguments.state, masked=not arguments.unmasked)
    (state,) = states_of(recording)
    try:
        held = save(arguments.out, recording)
    except OSError as error:
        return _refuse(f"{arguments.out} cannot be written: {error.strerror}")
    replayed = " (replayed)" if library.replayed else ""
    chosen = "as asked" if arguments.state else "by its activity"
    print(
        f"{arguments.out}: recorded GPU {arguments.device}, {model_of(recording)}{replayed}, as {state}, {chosen}"
    )
    if len(states_of(held)) == 1:
        other = "load" if state == "idle" else "idle"
        print(f"Record it once more {'under load' if other == 'load' else 'while idle'} to have both states.")
    return 0


# -- showing


def _show(arguments: argparse.Namespace, settings: Settings, library: Library) -> int:
    from otelml import gpu
    from otelml.gpu.boundary import Boundary
    from otelml.gpu.discovery import discover
    from otelml.gpu.walker import Walker

    boundary = Boundary(library)
    devices, notes = discover(boundary, gpu.options_of(settings))
    for note in notes:
        print(f"otelml: {note}", file=sys.stderr)
    if not devices:
        return _refuse(f"no GPU to show with OTELML_GPU_DEVICES={settings.gpu_devices}")
    show = _printer(arguments)
    try:
        for snapshot in look(Walker(boundary, devices), arguments.watch):
            show(describe(snapshot))
    except KeyboardInterrupt:
        pass
    return 0


def look(
    walker: Walker, every_s: float | None, wait: Callable[[float], object] = sleep
) -> Iterator[Snapshot]:
    """The GPUs as they are, once their activity is measured; again every `every_s`, for ever, unless that is None."""
    walker.walk()
    wait(_ACTIVITY_S)
    yield walker.walk()
    while every_s is not None:
        wait(every_s)
        yield walker.walk()


def _printer(arguments: argparse.Namespace) -> Callable[[Sequence[Row]], None]:
    if arguments.json:
        indent = None if arguments.watch else 2
        return lambda rows: print(json.dumps({"gpus": rows}, indent=indent), flush=True)
    start = _CLEAR if arguments.watch and sys.stdout.isatty() else ""
    end = "\n\n" if arguments.watch else "\n"
    return lambda rows: print(start + "\n".join(create_table(rows)), end=end, flush=True)


def describe(snapshot: Snapshot) -> list[dict[str, Any]]:
    """The GPUs of a snapshot, a GPU before its MIG devices, as plain data."""
    return [_describe(gpu) for gpu in snapshot.gpus]


def _describe(gpu: GpuReading) -> dict[str, Any]:
    from otelml.semconv import _generated as names

    about = gpu.attributes
    general, sm_clock, memory_clock = (
        {names.HW_GPU_TASK: "general"},
        {names.ML_GPU_CLOCK: "sm"},
        {names.ML_GPU_CLOCK: "memory"},
    )
    rates = {
        direction: {names.ML_GPU_INTERCONNECT: "pcie", names.NETWORK_IO_DIRECTION: direction}
        for direction in ("receive", "transmit")
    }
    return {
        "index": about.get(names.ML_GPU_INDEX),
        "name": about.get(names.HW_NAME),
        "uuid": about.get(names.HW_ID),
        "parent_uuid": about.get(names.HW_PARENT),
        "driver_version": about.get(names.HW_DRIVER_VERSION),
        "utilization_ratio": gpu.value(names.METRIC_HW_GPU_UTILIZATION, general),
        "sm_active_ratio": gpu.value(names.METRIC_ML_GPU_SM_UTILIZATION),
        "sm_occupancy_ratio": gpu.value(names.METRIC_ML_GPU_SM_OCCUPANCY),
        "tensor_active_ratio": gpu.value(names.METRIC_ML_GPU_TENSOR_UTILIZATION),
        "dram_bandwidth_ratio": gpu.value(names.METRIC_ML_GPU_MEMORY_BANDWIDTH_UTILIZATION),
        "memory_used_bytes": gpu.value(names.METRIC_HW_GPU_MEMORY_USAGE),
        "memory_limit_bytes": gpu.value(names.METRIC_HW_GPU_MEMORY_LIMIT),
        "process_memory_bytes": gpu.value(names.METRIC_ML_GPU_PROCESS_MEMORY_USAGE),
        "power_watts": gpu.value(names.METRIC_HW_POWER),
        "power_limit_watts": gpu.value(names.METRIC_ML_GPU_POWER_LIMIT),
        "temperature_celsius": gpu.value(names.METRIC_HW_TEMPERATURE, {names.HW_SENSOR_LOCATION: "gpu"}),
        "sm_clock_hertz": gpu.value(names.METRIC_ML_GPU_CLOCK_FREQUENCY, sm_clock),
        "memory_clock_hertz": gpu.value(names.METRIC_ML_GPU_CLOCK_FREQUENCY, memory_clock),
        "pcie_receive_bytes_per_second": gpu.value(names.METRIC_ML_GPU_INTERCONNECT_IO, rates["receive"]),
        "pcie_transmit_bytes_per_second": gpu.value(names.METRIC_ML_GPU_INTERCONNECT_IO, rates["transmit"]),
        "throttle_reasons": _throttle_reasons(gpu),
        "status": gpu.state,
    }


def _throttle_reasons(gpu: GpuReading) -> list[str] | None:
    from otelml.semconv import _generated as names

    series = gpu.series.get(names.METRIC_ML_GPU_THROTTLE_ACTIVE.name)
    if series is None:
        return None
    return [attributes[names.ML_GPU_THROTTLE_REASON] for value, attributes in series if value]


# -- the table: names, units, then a line a GPU


def create_table(rows: Sequence[Row]) -> Iterator[str]:
    """The lines of the table, for 100 columns."""
    if not rows:
        return
    yield f"NVIDIA driver {rows[0].get('driver_version') or '-'}"
    yield ""
    labels = _label(rows)
    cells = [*_HEAD, *((label, *_cells(row)) for label, row in zip(labels, rows, strict=True))]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        yield "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
    yield ""
    for label, row in zip(labels, rows, strict=True):
        identity = f"{label:>{widths[0]}}  {_identity(row)}"
        yield from textwrap.wrap(identity, _WIDTH, subsequent_indent=" " * (widths[0] + 2))
    yield ""
    yield from textwrap.wrap(_LEGEND, _WIDTH)


_HEAD = (
    ("GPU", "util", "SM", "occ", "tensor", "DRAM", "memory", "power", "temp", "SM/mem", "PCIe rx", "tx"),
    ("", "%", "%", "%", "%", "%", "GiB", "W", "C", "MHz", "MB/s", "MB/s"),
)
_LEGEND = (
    "util: the time in which anything ran, which is what other tools show. SM, occ (occupancy), tensor, DRAM "
    "(bandwidth): what the GPU did, of what it could do."
)


def _cells(row: Row) -> list[str]:
    return [
        *(
            _number(row, f"{name}_ratio", 100)
            for name in ("utilization", "sm_active", "sm_occupancy", "tensor_active", "dram_bandwidth")
        ),
        _pair(row, "memory_used_bytes", "memory_limit_bytes", 1 / 2**30, 1),
        _pair(row, "power_watts", "power_limit_watts"),
        _number(row, "temperature_celsius"),
        _pair(row, "sm_clock_hertz", "memory_clock_hertz", 1e-6),
        _number(row, "pcie_receive_bytes_per_second", 1e-6),
        _number(row, "pcie_transmit_bytes_per_second", 1e-6),
    ]


def _label(rows: Sequence[Row]) -> list[str]:
    """The index of each GPU; its MIG devices are counted after a point."""
    labels: list[str] = []
    parts: Counter[Any] = Counter()
    for row in rows:
        label = "-" if row.get("index") is None else str(row["index"])
        parent = row.get("parent_uuid")
        parts[parent] += 1
        labels.append(f"{label}.{parts[parent]}" if parent else label)
    return labels


def _number(row: Row, key: str, factor: float = 1, digits: int = 0) -> str:
    value = row.get(key)
    return "-" if value is None else f"{value * factor:.{digits}f}"


def _pair(row: Row, key: str, limit: str, factor: float = 1, digits: int = 0) -> str:
    pair = _number(row, key, factor, digits), _number(row, limit, factor, digits)
    return "-" if pair == ("-", "-") else "/".join(pair)


def _identity(row: Row) -> str:
    parts = [row.get("name") or "-", row.get("uuid") or "-", row.get("status") or "-"]
    if row.get("throttle_reasons"):
        parts.append(f"throttled: {', '.join(row['throttle_reasons'])}")
    if row.get("process_memory_bytes") is not None:
        parts.append(f"this program: {_number(row, 'process_memory_bytes', 1 / 2**30, 1)} GiB")
    return "  ".join(parts)
