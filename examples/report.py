"""What the demo shows: tables of what the endpoint was scraped for and of what the files hold.

What the library promises and what is not there raises `MissingTelemetryError`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from readback import (
    MissingTelemetryError,
    Observed,
    quantile,
    rate,
    read_attributes,
    read_events,
    read_final_points,
    read_gpus,
    read_lines,
    read_scrape,
    read_spans,
    read_stages,
)
from report_models import show_codes, show_drift, show_inference, show_quality, show_training
from tables import show_seconds, show_table, show_value

if TYPE_CHECKING:
    from pathlib import Path

    from readback import Scrape

    Scrapes = list[tuple[float, Scrape]]
    Records = list[dict[str, Any]]

RATE_WINDOW_S = 5
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


def show(seen: Observed) -> None:
    """All of it."""
    scrapes = [(at_s, read_scrape(text)) for at_s, text in seen.scrapes]
    scraped = show_stages(seen, scrapes)
    if seen.folder is None:
        raise MissingTelemetryError("no start-up line said where the files are")
    last, records, (_, now) = (
        read_lines(seen.folder, "metrics")[-1],
        read_lines(seen.folder, "logs"),
        scrapes[-1],
    )
    measured = count_stages(last, scraped)
    show_training(now, records)
    show_inference(now)
    show_codes(now)
    show_drift(scrapes, records, seen.began_at_s)
    show_quality(last, records)
    show_events(records)
    show_spans(seen.folder, sum(measured.values()))
    show_gpus(scrapes)
    show_losses(last)
    show_process(seen, seen.folder)


def count_stages(last: dict[str, Any], scraped: dict[str, float]) -> Counter[str]:
    """Calls by stage in the last export to a file, which may not be behind the endpoint."""
    measured: Counter[str] = Counter()
    for attributes, count in read_final_points(last, "ml.stage.duration"):
        measured[attributes["ml.stage.name"]] += int(count)
    behind = [name for name, calls in scraped.items() if measured[name] < calls]
    if behind:
        raise MissingTelemetryError(f"metrics.jsonl at exit has less than the endpoint had before: {behind}")
    return measured


def show_stages(seen: Observed, scrapes: Scrapes) -> dict[str, float]:
    """The stages as scraped; returns calls by stage."""
    history = [(at_s, read_stages(scrape)) for at_s, scrape in scrapes]
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


def show_events(records: Records) -> None:
    """Log records by event, three beside each other."""
    events = Counter(record["event"] for record in records if record.get("event"))
    for name in ("config", "fsq_encoding", "temporal_smoothing", "run_start", "batch_complete"):
        read_events(records, name)
    print(f"\nLog records, from logs.jsonl: {len(records)}, by event:")
    cells = [f"{name:<19}{number:>5}" for name, number in events.most_common()]
    for start in range(0, len(cells), 4):
        print("  " + "   ".join(cells[start : start + 4]))


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
    print("  " + ", ".join(f"{reason} {number}" for reason, number in reasons.most_common()))
    traces = len({span["traceId"] for span in spans})
    print(f"  In {traces} traces; {failed} of the spans failed; {orphans} miss their parent.")


def show_gpus(scrapes: Scrapes) -> None:
    """Each GPU at the scrape where it was busiest, classic utilisation beside true activity."""
    gpus = [read_gpus(scrape) for _, scrape in scrapes]
    ids = sorted({hw_id for scrape in gpus for hw_id in scrape})
    if not ids:
        raise MissingTelemetryError("no GPU at the endpoint")
    print("\nGPUs, each at the scrape where it was busiest, from the endpoint")
    rows = []
    for hw_id in ids:
        busiest = max((s[hw_id] for s in gpus if hw_id in s), key=lambda gpu: gpu.get(SM_ACTIVE, -1))
        values = [show_value(busiest.get(name), factor, unit) for _, name, factor, unit in GPU_COLUMNS]
        rows.append([str(busiest["name"]), *values, str(busiest.get("state", "-"))])
    show_table(["GPU", *(head for head, *_ in GPU_COLUMNS), "state"], rows)
    print(
        "  util: what other tools show, the time in which anything ran; SM, tensor, DRAM: how much of it worked."
    )


def show_losses(line: dict[str, Any]) -> None:
    """What the library says about itself."""
    print("\nWhat was left out, from metrics.jsonl")
    rows = [
        [kind, attributes.get("otelml.component", ""), attributes.get("otelml.reason", ""), f"{value:.0f}"]
        for kind in ("errors", "dropped", "overflow")
        for attributes, value in read_final_points(line, f"otelml.internal.{kind}")
    ]
    if rows:
        show_table(["kind", "component", "reason", "count"], rows)
    else:
        print("  nothing")


def show_process(seen: Observed, folder: Path) -> None:
    """What it took, and what it left."""
    share = 100 * seen.cpu_s / seen.wall_s
    print(
        f"\nProcess: {seen.cpu_s:.1f} s of CPU time in {seen.wall_s:.1f} s, {share:.0f} % of one core;",
        end=" ",
    )
    print(f"{seen.peak_rss / 2**20:.0f} MiB of memory at most")
    files = sorted(file for file in folder.iterdir() if not file.name.startswith("."))
    print(f"Files in {folder}: ", end="")
    print(", ".join(f"{file.name} {file.stat().st_size / 1024:.0f} KiB" for file in files))
