"""`make demo`: runs the behaviour pipeline under `opentelemetry-instrument` and shows what its telemetry says.

Every number comes from where a user would look: the Prometheus endpoint, scraped while the program runs, and the
files it leaves behind. Nothing is taken from the program's memory, and what is missing is an error.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from readback import (
    MissingTelemetryError,
    quantile,
    rate,
    read_attributes,
    read_final_points,
    read_gpus,
    read_lines,
    read_spans,
    read_stages,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

PIPELINE = Path(__file__).with_name("behaviour_pipeline.py")
SCRAPE_INTERVAL_S = 0.25
RATE_WINDOW_S = 5
REPLAY = {"OTELML_NVML_REPLAY": "h200", "OTELML_GPU_INTERVAL": "2s"}


# --- Running the pipeline ------------------------------------------------------------------------------------------


@dataclass
class Observed:
    """What was seen while the program ran."""

    url: str = ""
    folder: Path | None = None
    scrapes: list[tuple[float, str]] = field(default_factory=list)
    cpu_s: float = 0.0
    peak_rss: int = 0
    wall_s: float = 0.0


def has_gpu(environ: dict[str, str]) -> bool:
    """Whether NVML shows a GPU here; `otelml gpu` says so with its exit status."""
    command = [sys.executable, "-m", "otelml", "gpu", "--json"]
    return subprocess.run(command, env=environ, capture_output=True, check=False).returncode == 0


def start(arguments: list[str]) -> subprocess.Popen[str]:
    """The pipeline as a user starts it, without the shell's OTEL_* variables: they would change what is shown."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "OTELML_"))}
    environ["PYTHONUNBUFFERED"] = "1"
    if not has_gpu(environ):
        environ |= REPLAY
        print("No GPU here: a recorded one is replayed, as", " ".join(f"{k}={v}" for k, v in REPLAY.items()))
    launcher = shutil.which("opentelemetry-instrument", path=str(Path(sys.executable).parent))
    if launcher is None:
        raise MissingTelemetryError("opentelemetry-instrument is not installed beside this Python")
    command = [launcher, sys.executable, str(PIPELINE), *arguments]
    print("$ opentelemetry-instrument python examples/behaviour_pipeline.py", *arguments, flush=True)
    return subprocess.Popen(
        command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8"
    )


def echo(child: subprocess.Popen[str], seen: Observed) -> None:
    """Pass the program's output on, and take endpoint and folder from the start-up line in it."""
    for line in child.stdout or ():
        print("  |", line.rstrip(), flush=True)
        if not seen.url and (found := re.search(r"http://\S+/metrics", line)):
            seen.url = found[0]
        if seen.folder is None and (found := re.search(r"(\S*telemetry[/\\]\S+?)[,;.]?(\s|$)", line)):
            seen.folder = Path(found[1])


def observe(child: subprocess.Popen[str], seen: Observed) -> None:
    """Until the program ends: scrape its endpoint, and ask the system for its CPU time and memory."""
    process, began = psutil.Process(child.pid), time.monotonic()
    while child.poll() is None:
        time.sleep(SCRAPE_INTERVAL_S)
        try:
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
            seen.cpu_s, seen.peak_rss = times.user + times.system, max(seen.peak_rss, memory.rss)
            if seen.url:
                with urllib.request.urlopen(seen.url, timeout=2) as answer:  # noqa: S310 - the pattern asks for http
                    seen.scrapes.append((time.monotonic() - began, answer.read().decode()))
        except (psutil.Error, OSError):
            continue  # the program is on its way out
        finally:
            seen.wall_s = time.monotonic() - began


def stop(child: subprocess.Popen[str]) -> None:
    """End the program: a Ctrl-C reached it too, so first let it finish on its own."""
    for step in (lambda: None, child.terminate, child.kill):
        step()
        try:
            child.wait(3)
        except subprocess.TimeoutExpired:
            continue
        return


def run(child: subprocess.Popen[str]) -> Observed:
    """Watch the pipeline to its end and return what was seen on the way."""
    seen = Observed()
    reader = threading.Thread(target=echo, args=(child, seen), daemon=True)
    reader.start()
    try:
        observe(child, seen)
    finally:
        if child.poll() is None:
            stop(child)
        reader.join(3)
    if child.returncode:
        raise MissingTelemetryError(f"the pipeline ended with exit code {child.returncode}")
    return seen


SM_ACTIVE = "ml_gpu_sm_utilization_ratio"
GPU_COLUMNS = (
    ("util", "hw_gpu_utilization_ratio", 100, "%"),
    ("SM", SM_ACTIVE, 100, "%"),
    ("tensor", "ml_gpu_tensor_utilization_ratio", 100, "%"),
    ("DRAM", "ml_gpu_memory_bandwidth_utilization_ratio", 100, "%"),
    ("memory", "hw_gpu_memory_usage_bytes", 1 / 2**20, "MiB"),
    ("power", "hw_power_watts", 1, "W"),
    ("temp", "hw_temperature_celsius", 1, "C"),
    ("energy", "hw_energy_joules_total", 1, "J"),
)


# --- Showing it ----------------------------------------------------------------------------------------------------


def show_seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    scale, unit = next(((s, u) for s, u in ((1, "s"), (1e3, "ms")) if value * s >= 1), (1e6, "us"))
    return f"{value * scale:.3g} {unit}"


def show_table(header: list[str], rows: Iterable[list[str]]) -> None:
    """Columns as wide as they need to be; the first to the left, numbers to the right."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        cells = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())


def show_stages(seen: Observed) -> dict[str, float]:
    """The stages as scraped; returns calls by stage."""
    history = [(at_s, read_stages(text)) for at_s, text in seen.scrapes]
    if not history or "multimodal_fusion" not in history[-1][1]:
        raise MissingTelemetryError(f"no stage multimodal_fusion at {seen.url or 'any endpoint'}")
    last_s, stages = history[-1]
    recent = [(at_s, then) for at_s, then in history if at_s >= last_s - RATE_WINDOW_S]
    print(
        f"\nStages, from {len(history)} scrapes of {seen.url}, the last {seen.wall_s - last_s:.1f} s before the end"
    )
    rows = []
    for name, stage in sorted(stages.items()):
        calls_rate = rate((at_s, then[name].calls) for at_s, then in recent if name in then)
        items_rate = rate((at_s, then[name].items) for at_s, then in recent if name in then)
        rows.append([
            name, f"{stage.calls:.0f}", f"{stage.failed:.0f}" if stage.failed else "",
            show_seconds(stage.sum_s / stage.calls),
            *(show_seconds(quantile(q, stage.buckets)) for q in (0.5, 0.95, 0.99)),
            f"{calls_rate:.1f}" if calls_rate else "", f"{items_rate:.0f}" if items_rate else "",
        ])  # fmt: skip
    show_table(["stage", "calls", "failed", "mean", "p50", "p95", "p99", "calls/s", "items/s"], rows)
    print("  Means are exact, quantiles interpolated within buckets as PromQL does,", end=" ")
    print(f"rates over the last {RATE_WINDOW_S} s.")
    return {name: stage.calls for name, stage in stages.items()}


def show_events(folder: Path) -> None:
    """Log records by event."""
    records = read_lines(folder, "logs")
    events = Counter(record["event"] for record in records if record.get("event"))
    if not events["fsq_encoding"]:
        raise MissingTelemetryError(f"no event fsq_encoding among {len(records)} log records in {folder}")
    print(f"\nLog records, from logs.jsonl: {len(records)}, of which events:")
    show_table(["event", "records"], ([name, str(number)] for name, number in events.most_common()))


def show_spans(folder: Path, measured: float) -> None:
    """Spans by the reason they were kept, beside the number of stages that were measured."""
    spans = read_spans(read_lines(folder, "traces"))
    reasons = Counter(read_attributes(span).get("ml.stage.kept", "(not a stage)") for span in spans)
    known = {span["spanId"] for span in spans}
    orphans = sum(1 for span in spans if span.get("parentSpanId") and span["parentSpanId"] not in known)
    if not set(reasons) & {"budget", "first", "failed", "outlier"}:
        raise MissingTelemetryError(f"no span in {folder} says why it was kept")
    failed = sum(1 for span in spans if span.get("status", {}).get("code") in {2, "STATUS_CODE_ERROR"})
    print(f"\nSpans, from traces.jsonl: {len(spans)} kept of {measured:.0f} stages measured, and why:")
    show_table(
        ["ml.stage.kept", "spans"], ([reason, str(number)] for reason, number in reasons.most_common())
    )
    traces = len({span["traceId"] for span in spans})
    print(f"  In {traces} traces; {failed} of the spans failed; {orphans} miss their parent.")


def show_gpus(seen: Observed) -> None:
    """Each GPU at the scrape where it was busiest, classic utilisation beside true activity."""
    scrapes = [read_gpus(text) for _, text in seen.scrapes]
    ids = sorted({hw_id for scrape in scrapes for hw_id in scrape})
    if not ids:
        raise MissingTelemetryError(f"no GPU at {seen.url or 'any endpoint'}")
    print("\nGPUs, each at the scrape where it was busiest, from the endpoint")
    rows = []
    for hw_id in ids:
        busiest = max((s[hw_id] for s in scrapes if hw_id in s), key=lambda gpu: gpu.get(SM_ACTIVE, -1))
        values = [show_value(busiest.get(name), factor, unit) for _, name, factor, unit in GPU_COLUMNS]
        rows.append([str(busiest["name"]), *values, str(busiest.get("state", "-"))])
    show_table(["GPU", *(head for head, *_ in GPU_COLUMNS), "state"], rows)
    print(
        "  util: what other tools show, the time in which anything ran; SM, tensor, DRAM: how much of it worked."
    )


def show_value(value: float | str | None, factor: float, unit: str) -> str:
    """A number in another unit; a dash for one that is not known."""
    return "-" if value is None else f"{float(value) * factor:.0f} {unit}"


def show_losses(line: dict[str, Any]) -> None:
    """What the library says about itself."""
    print("\nWhat was left out, from metrics.jsonl")
    rows = [
        [kind, attributes.get("otelml.component", ""), attributes.get("otelml.reason", ""), f"{value:.0f}"]
        for kind in ("errors", "dropped", "overflow")
        for attributes, value in read_final_points(line, f"otelml.internal.{kind}")
    ]
    show_table(["kind", "component", "reason", "count"], rows or [["nothing", "", "", ""]])


def show(seen: Observed) -> None:
    """All of it."""
    scraped = show_stages(seen)
    if seen.folder is None:
        raise MissingTelemetryError("no start-up line said where the files are")
    last = read_lines(seen.folder, "metrics")[-1]
    measured: Counter[str] = Counter()
    for attributes, count in read_final_points(last, "ml.stage.duration"):
        measured[attributes["ml.stage.name"]] += int(count)
    behind = [name for name, calls in scraped.items() if measured[name] < calls]
    if behind:
        raise MissingTelemetryError(f"metrics.jsonl at exit has less than the endpoint had before: {behind}")
    show_events(seen.folder)
    show_spans(seen.folder, sum(measured.values()))
    share = 100 * seen.cpu_s / seen.wall_s
    print(
        f"\nProcess: {seen.cpu_s:.1f} s of CPU time in {seen.wall_s:.1f} s, {share:.0f} % of one core;",
        end=" ",
    )
    print(f"{seen.peak_rss / 2**20:.0f} MiB of memory at most")
    show_gpus(seen)
    show_losses(last)
    print(f"\nFiles in {seen.folder}")
    files = sorted(file for file in seen.folder.iterdir() if not file.name.startswith("."))
    show_table(["file", "KiB"], ([file.name, f"{file.stat().st_size / 1024:.0f}"] for file in files))


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recordings", type=int, help="how many recordings the pipeline serves")
    recordings = parser.parse_args().recordings
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        show(run(start([] if recordings is None else ["--recordings", str(recordings)])))
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    except MissingTelemetryError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
