"""Reads everything back within the process: `otelml.summary()` and `otelml.export_prometheus(path)`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from otelml.instruments import aggregate, table

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from otelml.instruments.instrument import Instrument
    from otelml.semconv.model import Metric

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def summary() -> dict[str, list[dict[str, Any]]]:
    """Everything recorded since the process started, by metric name, one entry a series.

    Every entry has `kind`, `unit` and `attributes`. Counters add `value`; gauges `value` (series that are absent are
    left out); histograms `count`, `sum`, `mean`, `std` (population), `min`, `max`, and for each of `p50`, `p95`,
    `p99` the value and `<name>_error`, the most it can differ from the sample's own order statistic (quantiles are
    read off buckets; everything else is exact). Values are in the metric's unit. Empty where telemetry is disabled.
    """
    return {
        spec.name: [
            {"kind": spec.kind, "unit": spec.unit, "attributes": dict(attributes), **_numbers(value)}
            for value, attributes in series
        ]
        for spec, series in sorted(_read_all(), key=lambda item: item[0].name)
    }


def _read_all() -> list[tuple[Metric, list[tuple[Any, Mapping[str, Any]]]]]:
    """Every metric that has series, and these: a number or, of a histogram, a `Distribution`; and the attributes."""
    with table.drain_lock:
        table.drain_now(everything=True)
        recorded = [(each.spec, _series(each)) for each in list(table.instruments.values())]
    observed = [(each.spec, each.read()) for each in list(table.observed.values())]
    return [(spec, series) for spec, series in (*recorded, *observed) if series]


def _series(instrument: Instrument) -> list[tuple[Any, Mapping[str, Any]]]:
    values = [(_value(instrument.spec.kind, bound), bound.attributes) for bound in instrument.all_series()]
    return [(value, attributes) for value, attributes in values if value is not None]


def _value(kind: str, bound: Any) -> Any | None:
    if kind == "gauge":
        return bound.last
    if kind != "histogram":
        return bound.total
    distribution = bound.total()
    return distribution if distribution.count else None


def _numbers(value: Any) -> dict[str, Any]:
    return _distribution_numbers(value) if isinstance(value, aggregate.Distribution) else {"value": value}


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
        return [_family(spec, series) for spec, series in _read_all()]


def _family(spec: Metric, series: list[tuple[Any, Mapping[str, Any]]]) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    from otelml.semconv.prometheus import label_name, prometheus_name

    labels = sorted({key for _, attributes in series for key in attributes})
    classes = {"counter": CounterMetricFamily, "histogram": HistogramMetricFamily}
    family: Any = classes.get(spec.kind, GaugeMetricFamily)(
        prometheus_name(spec), spec.brief, labels=[label_name(key) for key in labels]
    )
    # 1 and "1" are two series here and one label there.
    merged: dict[tuple[str, ...], Any] = {}
    for value, attributes in series:
        values = tuple(_label_value(attributes.get(key, "")) for key in labels)
        merged[values] = _together(spec.kind, merged[values], value) if values in merged else value
    for values, total in merged.items():
        if spec.kind == "histogram":
            family.add_metric(values, buckets=_cumulative(total), sum_value=total.sum)
        else:
            family.add_metric(values, total)
    return family


def _together(kind: str, total: Any, value: Any) -> Any:
    if kind == "gauge":
        return value
    if kind != "histogram":
        return total + value
    total.merge(value)
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
