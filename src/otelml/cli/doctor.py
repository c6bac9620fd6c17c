"""Check this machine and environment: libraries, GPUs, memory, disk, settings, and whether telemetry gets out.

The exit status is 0 when all is well, 1 when something is degraded, 2 when telemetry or program cannot go on like this.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from otelml.cli import show

EXIT_STATUS = {"healthy": 0, "degraded": 1, "unhealthy": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--timeout", type=_seconds, default=2.0, metavar="SECONDS", help="for each endpoint (2)"
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= 600:
        raise argparse.ArgumentTypeError("must be more than 0, and 600 at most")
    return seconds


def run(arguments: argparse.Namespace) -> int:
    """Look at everything and print it."""
    from otelml import health

    report = health.check(timeout_s=arguments.timeout)
    found = report.as_dict()
    text = json.dumps(found, indent=2, default=str) if arguments.json else "\n".join(_lines(found))
    return show(text, EXIT_STATUS[report.status])


def _lines(found: dict[str, Any]) -> Iterator[str]:
    yield f"{found['status']}: otelml {found['program']['otelml']}, Python {found['program']['python']}"
    for reason in found["reasons"]:
        yield f"  ! {reason}"
    yield "\nLibraries"
    for name, library in found["dependencies"].items():
        if library["installed"]:
            cuda = f", built for CUDA {library['cuda']}" if library.get("cuda") else ""
            yield f"  {name:<30} {library['version'] or '(version unknown)'}{cuda}"
    missing = ", ".join(name for name, library in found["dependencies"].items() if not library["installed"])
    yield f"  not installed: {missing or 'none'}"
    yield "\nGPUs"
    yield from _gpu_lines(found["gpus"])
    yield "\nMachine"
    yield from _machine_lines(found["resources"])
    yield "\nTelemetry"
    yield from _telemetry_lines(found["telemetry"])


def _gpu_lines(gpus: dict[str, Any]) -> Iterator[str]:
    for device in gpus.get("devices", ()):
        state = device["state"] or "state unknown"
        yield f"  {device['index']} {device['name']}, driver {device['driver_version']}, {state}"
    if not gpus.get("devices"):
        yield f"  none: {gpus.get('problem') or 'none is reported here'}"


def _machine_lines(resources: dict[str, Any]) -> Iterator[str]:
    for name in ("memory", "disk"):
        part = resources.get(name)
        if part is not None:
            free, total = part["available_bytes"] / 2**30, part["total_bytes"] / 2**30
            yield f"  {name:<8} {free:.1f} of {total:.1f} GiB available ({part['used_ratio']:.0%} used)"
    cpu = resources.get("cpu") or {"load_1m": None, "usable": "?", "count": "?"}
    load = "unknown" if cpu["load_1m"] is None else f"{cpu['load_1m']:.2f}"
    yield f"  cpu      {cpu['usable']} of {cpu['count']} usable, load {load}"


def _telemetry_lines(telemetry: dict[str, Any]) -> Iterator[str]:
    if not telemetry:
        return
    if telemetry["disabled"]:
        yield "  off: OTEL_SDK_DISABLED is true"
    for signal, entry in telemetry["signals"].items():
        to = entry.get("endpoint") or ", ".join(entry["exporters"]) or "nowhere"
        yield f"  {signal:<8} {to}{_reach(entry)}  (decided by: {entry['decided_by']})"
    sentry = telemetry["sentry"]
    if sentry is not None:
        missing = "" if sentry["installed"] else ", sentry-sdk is not installed"
        yield f"  errors   {sentry['project']}{_reach(sentry)}{missing}"
    files = telemetry["files"]
    yield f"  files    {files['folder']}, {'writable' if files['writable'] else 'not writable'}"
    for variable, value in telemetry["settings"].items():
        yield f"  {variable}={value}"


def _reach(entry: dict[str, Any]) -> str:
    return {True: ", reachable", False: ", cannot be reached", None: ""}[entry.get("reachable")]
