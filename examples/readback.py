"""Reads telemetry back from what otelml leaves: a scrape of its endpoint, and the files of its embedded default.

Apart from the demo, because these are pure functions that a test checks by hand-made numbers.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


Scrape = dict[str, list[tuple[dict[str, str], float]]]


class MissingTelemetryError(Exception):
    """Something that the library promises was not there."""


@dataclass
class Observed:
    """What was seen while the program ran."""

    url: str = ""
    folder: Path | None = None
    began_at_s: float = 0.0
    scrapes: list[tuple[float, str]] = field(default_factory=list)
    cpu_s: float = 0.0
    peak_rss: int = 0
    wall_s: float = 0.0


@dataclass
class Stage:
    """One stage as the endpoint shows it: cumulative bucket counts by upper bound, seconds, failures and items."""

    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    sum_s: float = 0
    failed: float = 0
    items: float = 0

    @property
    def calls(self) -> float:
        """How often it ran."""
        return self.buckets[math.inf]


def read_scrape(text: str) -> Scrape:
    """Each series of a scrape in Prometheus' text format, by the name of its samples: labels and value."""
    samples: Scrape = defaultdict(list)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            samples[sample.name].append((sample.labels, sample.value))
    return dict(samples)


def read_values(scrape: Scrape, name: str, **labels: str) -> list[tuple[dict[str, str], float]]:
    """The series of a name that have these labels; an error where there is none."""
    found = [one for one in scrape.get(name, ()) if labels.items() <= one[0].items()]
    if not found:
        raise MissingTelemetryError(f"no {name}{labels or ''} at the endpoint")
    return found


def read_value(scrape: Scrape, name: str, **labels: str) -> float:
    """Their sum."""
    return sum(value for _, value in read_values(scrape, name, **labels))


def read_buckets(scrape: Scrape, name: str, **labels: str) -> dict[float, float]:
    """Cumulative counts of a histogram by upper bound, summed over all series that have these labels."""
    buckets: dict[float, float] = defaultdict(float)
    for found, value in read_values(scrape, f"{name}_bucket", **labels):
        buckets[float(found["le"])] += value
    return dict(buckets)


def read_stages(scrape: Scrape) -> dict[str, Stage]:
    """Stages by name, summed over all other labels."""
    stages: dict[str, Stage] = defaultdict(Stage)
    for labels, value in scrape.get("ml_stage_duration_seconds_bucket", ()):
        stages[labels["ml_stage_name"]].buckets[float(labels["le"])] += value
    for labels, value in scrape.get("ml_stage_duration_seconds_sum", ()):
        stages[labels["ml_stage_name"]].sum_s += value
    for labels, value in scrape.get("ml_stage_duration_seconds_count", ()):
        if labels.get("error_type"):
            stages[labels["ml_stage_name"]].failed += value
    for labels, value in scrape.get("ml_stage_items_total", ()):
        stages[labels["ml_stage_name"]].items += value
    return dict(stages)


def read_gpus(scrape: Scrape) -> dict[str, dict[str, float | str]]:
    """GPUs by `hw_id`: name and state, and of each series that one GPU has once its value by name."""
    gpus: dict[str, dict[str, float | str]] = defaultdict(dict)
    series = ((name, *one) for name, found in scrape.items() for one in found if "hw_id" in one[0])
    for name, labels, value in series:
        if name == "ml_gpu_collect_errors_total":
            continue
        gpu = gpus[labels["hw_id"]]
        gpu["name"] = labels.get("hw_name", "")
        if labels.get("hw_gpu_task", "general") == "general":
            gpu.setdefault(name, value)
        if name == "hw_status" and value == 1:
            gpu["state"] = labels["hw_state"]
    return dict(gpus)


def quantile(q: float, buckets: dict[float, float]) -> float:
    """The `q` quantile as PromQL's `histogram_quantile` computes it: linear within the bucket that holds it."""
    bounds = sorted(buckets)
    rank = q * buckets[bounds[-1]]
    at = next(index for index, bound in enumerate(bounds) if buckets[bound] >= rank)
    if bounds[at] == math.inf:
        return bounds[at - 1]
    lower, below = (bounds[at - 1], buckets[bounds[at - 1]]) if at else (0.0, 0.0)
    inside = buckets[bounds[at]] - below
    return lower + (bounds[at] - lower) * ((rank - below) / inside if inside else 0.0)


def rate(samples: Iterable[tuple[float, float]]) -> float:
    """Growth per second of a counter, from (time in s, value); 0 with fewer than two samples."""
    (first_s, first), (last_s, last) = itemgetter(0, -1)(list(samples) or [(0.0, 0.0)])
    return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


def read_lines(folder: Path, kind: str) -> list[Any]:
    """The JSON lines of one kind of file, rotated ones included, the oldest first."""
    files = sorted(folder.glob(f"{kind}*.jsonl*"), key=lambda file: file.stat().st_mtime_ns)
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    if not lines:
        raise MissingTelemetryError(f"no {kind} in {folder}")
    return lines


def to_seconds(timestamp: str) -> float:
    """Seconds since 1970 of a timestamp in UTC."""
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def read_events(records: Iterable[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    """The log records of one event, with `at_s`, their time in seconds since 1970; an error where there is none."""
    found = [record for record in records if record.get("event") == name]
    if not found:
        raise MissingTelemetryError(f"no event {name} among the log records")
    return [{**record, "at_s": to_seconds(record["timestamp"])} for record in found]


def read_attributes(item: dict[str, Any]) -> dict[str, Any]:
    """OTLP/JSON attributes as a plain dict."""
    return {one["key"]: next(iter(one["value"].values()), None) for one in item.get("attributes", ())}


def read_spans(lines: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All spans of OTLP/JSON lines."""
    return [
        span
        for line in lines
        for resource in line["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]


def read_final_points(line: dict[str, Any], metric: str) -> Iterator[tuple[dict[str, Any], float]]:
    """Attributes and value (of a histogram: its count) of each series of a metric in one OTLP/JSON export."""
    for resource in line["resourceMetrics"]:
        for scope in resource["scopeMetrics"]:
            for found in scope["metrics"]:
                if found["name"] == metric:
                    data = found.get("sum") or found.get("histogram") or found.get("gauge")
                    for point in data["dataPoints"]:
                        yield (
                            read_attributes(point),
                            float(point.get("count") or point.get("asInt") or point.get("asDouble") or 0),
                        )
