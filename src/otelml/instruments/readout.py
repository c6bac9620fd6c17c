"""Reads everything back within the process: `otelml.summary()` and `otelml.export_prometheus(path)`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from otelml.instruments import aggregate, table

if TYPE_CHECKING:
    import os

    from otelml.instruments.instrument import Instrument

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def summary() -> dict[str, list[dict[str, Any]]]:
    """Everything recorded since the process started, by metric name, one entry a series.

    Every entry has `kind`, `unit` and `attributes`. Counters add `value`; gauges `value` (series that are absent are
    left out); histograms `count`, `sum`, `mean`, `std` (population), `min`, `max`, and for each of `p50`, `p95`,
    `p99` the value and `<name>_error`, the most it can differ from the sample's own order statistic (quantiles are
    read off buckets; everything else is exact). Values are in the metric's unit. Empty where telemetry is disabled.
    """
    with table.drain_lock:
        table.drain_now(everything=True)
        found = {name: _series(instrument) for name, instrument in sorted(table.instruments.items())}
    return {name: series for name, series in found.items() if series}


def _series(instrument: Instrument) -> list[dict[str, Any]]:
    entries = []
    for bound in instrument.all_series():
        numbers = _numbers(instrument.spec.kind, bound)
        if numbers:
            head = {
                "kind": instrument.spec.kind,
                "unit": instrument.spec.unit,
                "attributes": dict(bound.attributes),
            }
            entries.append(head | numbers)
    return entries


def _numbers(kind: str, bound: Any) -> dict[str, Any]:
    if kind == "gauge":
        return {} if bound.last is None else {"value": bound.last}
    if kind != "histogram":
        return {} if bound.total is None else {"value": bound.total}
    total = bound.total()
    return _distribution_numbers(total) if total.count else {}


def _distribution_numbers(total: aggregate.Distribution) -> dict[str, Any]:
    numbers: dict[str, Any] = {
        "count": total.count,
        "sum": total.sum,
        "mean": total.sum / total.count,
        **({"std": math.sqrt(total.m2 / total.count)} if math.isfinite(total.m2) else {}),
        "min": total.min,
        "max": total.max,
    }
    for name, q in QUANTILES.items():
        numbers[name], numbers[f"{name}_error"] = aggregate.quantile(total, q)
    return numbers


def export_prometheus(path: str | os.PathLike[str]) -> None:
    """Write everything recorded since the process started as a Prometheus text file (for the textfile collector).

    The file is replaced atomically: a reader sees the old one or the new one, whole. Names are the same as on the
    `/metrics` endpoint and behind a collector.

    Raises:
        OSError: the file cannot be written.
    """
    from prometheus_client import CollectorRegistry, write_to_textfile

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_TextfileCollector())
    write_to_textfile(str(path), registry)


class _TextfileCollector:
    def collect(self) -> list[Any]:
        with table.drain_lock:
            table.drain_now(everything=True)
            return [
                family
                for instrument in list(table.instruments.values())
                if (family := _family(instrument)) is not None
            ]


def _family(instrument: Instrument) -> Any | None:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    from otelml.semconv.prometheus import label_name, prometheus_name

    series = [bound for bound in instrument.all_series() if _numbers(instrument.spec.kind, bound)]
    if not series:
        return None
    name, help_text = prometheus_name(instrument.spec), instrument.spec.brief
    labels = sorted({key for bound in series for key in bound.attributes})
    label_names = [label_name(key) for key in labels]
    classes = {"counter": CounterMetricFamily, "histogram": HistogramMetricFamily}
    family = classes.get(instrument.spec.kind, GaugeMetricFamily)(name, help_text, labels=label_names)
    # 1 and "1" are two series here and one label there.
    merged: dict[tuple[str, ...], Any] = {}
    for bound in series:
        values = tuple(_label_value(bound.attributes.get(key, "")) for key in labels)
        merged[values] = _together(instrument.spec.kind, merged.get(values), bound)
    for values, total in merged.items():
        if instrument.spec.kind == "histogram":
            family.add_metric(values, buckets=_cumulative(total), sum_value=total.sum)
        else:
            family.add_metric(values, total)
    return family


def _together(kind: str, total: Any, bound: Any) -> Any:
    if kind == "gauge":
        return bound.last
    if kind != "histogram":
        return bound.total if total is None else total + bound.total
    if total is None:
        return bound.total()
    total.merge(bound.total())
    return total


def _label_value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cumulative(total: aggregate.Distribution) -> list[tuple[str, int]]:
    bounds, counts = next(iter(total.counts.items()))
    buckets, seen = [], 0
    for bound, n in zip([*map(float, bounds), math.inf], counts, strict=True):
        seen += n
        buckets.append(("+Inf" if bound == math.inf else str(bound), seen))
    return buckets
