"""THE name of a metric in Prometheus: what the collector makes of it, and what every other path has to make too.

The rules were read off a running collector (0.159, `prometheus` exporter); tests/e2e asks a real one again.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otelml.semconv.model import Metric

PROMOTED_RESOURCE_ATTRIBUTES = ("service.name", "ml.distributed.rank", "host.name")
"""Resource attributes that are labels of every series, on every path."""

_UNITS = {
    "d": "days",
    "h": "hours",
    "min": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tibibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
    "1": "",
}
_PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}
_FOREIGN = re.compile(r"[^a-zA-Z0-9:]+")
_FOREIGN_IN_LABEL = re.compile(r"[^a-zA-Z0-9_]")


def prometheus_name(metric: Metric) -> str:
    """The name of `metric`'s series; of a histogram the name without `_bucket`, `_sum`, `_count`."""
    words = [word for word in _FOREIGN.split(metric.name) if word]
    words += [word for word in unit_words(metric.unit) if word not in words]
    if metric.kind == "counter":
        words = [word for word in words if word != "total"] + ["total"]
    elif metric.kind == "gauge" and metric.unit == "1":
        words = [word for word in words if word != "ratio"] + ["ratio"]
    name = "_".join(words)
    return f"_{name}" if name[:1].isdigit() else name


def label_name(key: str) -> str:
    """The label that an attribute becomes."""
    name = _FOREIGN_IN_LABEL.sub("_", key)
    return f"key_{name}" if name[:1].isdigit() else name


def unit_words(unit: str) -> list[str]:
    """What a unit adds to a name: `By/s` gives `bytes` and `per_second`; a unit with an annotation nothing."""
    main, _, per = unit.partition("/")
    words = [] if "{" in main else [_cleaned(_UNITS.get(main, main))]
    if per and "{" not in per:
        words.append(f"per_{_cleaned(_PER.get(per, per))}")
    return [word for word in words if word]


def _cleaned(unit: str) -> str:
    return _FOREIGN.sub("_", unit).strip("_")
