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

_FORBIDDEN = re.compile(r"[^a-zA-Z0-9]+")


def prometheus_name(metric: Metric) -> str:
    """The name of `metric`'s series; of a histogram the name without `_bucket`, `_sum` and `_count`."""
    return series_name(metric.name, metric.kind, metric.unit)


def series_name(name: str, kind: str, unit: str) -> str:
    """`prometheus_name` of a metric that is in no registry: its OTel name, kind (`counter`, ...) and unit (UCUM)."""
    words = [word for word in _FORBIDDEN.split(name) if word]
    words += [suffix for suffix in _unit_suffixes(unit) if suffix not in words]
    if kind == "counter":
        words = [word for word in words if word != "total"] + ["total"]
    elif kind == "gauge" and unit == "1":
        words = [word for word in words if word != "ratio"] + ["ratio"]
    made = "_".join(words)
    return f"_{made}" if made[:1].isdigit() else made


def gauge_unit(unit: str) -> str:
    """The unit with which OTel Python's own Prometheus exporter gives a gauge of `unit` this name.

    That exporter adds nothing for a ratio, and spells out an annotation that stands for a part of a unit (`J/{token}`).
    """
    return "ratio" if unit == "1" else "_".join(_unit_suffixes(unit))


def label_name(key: str) -> str:
    """The label that an attribute becomes."""
    return _FORBIDDEN.sub("_", key)


def _unit_suffixes(unit: str) -> list[str]:
    """What a unit adds to a name: `By/s` gives `bytes` and `per_second`, an annotation such as `{loss}` nothing."""
    main, _, per = unit.partition("/")
    suffixes = []
    if word := _unit_word(main, _UNITS):
        suffixes.append(word)
    if word := _unit_word(per, _PER):
        suffixes.append(f"per_{word}")
    return suffixes


def _unit_word(unit: str, known: dict[str, str]) -> str:
    return "" if "{" in unit else _FORBIDDEN.sub("_", known.get(unit, unit)).strip("_")
