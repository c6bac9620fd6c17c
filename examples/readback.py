"""Reads telemetry back from what otelml leaves: a scrape of its endpoint, and the files of its embedded default.

Apart from the demo, because these are pure functions that a test checks by hand-made numbers.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class MissingTelemetryError(Exception):
    """Something that the library promises was not there."""


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


def read_stages(text: str) -> dict[str, Stage]:
    """Stages by name from a scrape in Prometheus' text format, summed over all other labels."""
    stages: dict[str, Stage] = defaultdict(Stage)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            stage = stages[sample.labels["ml_stage_name"]] if "ml_stage_name" in sample.labels else Stage()
            if sample.name == "ml_stage_duration_seconds_bucket":
                stage.buckets[float(sample.labels["le"])] += sample.value
            elif sample.name == "ml_stage_duration_seconds_sum":
                stage.sum_s += sample.value
            elif sample.name == "ml_stage_duration_seconds_count" and sample.labels.get("error_type"):
                stage.failed += sample.value
            elif sample.name == "ml_stage_items_total":
                stage.items += sample.value
    return dict(stages)


def read_gpus(text: str) -> dict[str, dict[str, float | str]]:
    """GPUs by `hw_id` from a scrape: name and state, and of each series that one GPU has once its value by name."""
    gpus: dict[str, dict[str, float | str]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if "hw_id" not in sample.labels or sample.name == "ml_gpu_collect_errors_total":
                continue
            gpu = gpus[sample.labels["hw_id"]]
            gpu["name"] = sample.labels.get("hw_name", "")
            if sample.labels.get("hw_gpu_task", "general") == "general":
                gpu.setdefault(sample.name, sample.value)
            if sample.name == "hw_status" and sample.value == 1:
                gpu["state"] = sample.labels["hw_state"]
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
