"""What the registry's metrics are called and measured in, as Grafana says it: titles, descriptions, units."""

from __future__ import annotations

import re

from dashboards.boards import elsewhere
from otelml.semconv import _generated as semconv
from otelml.semconv._generated import METRICS
from otelml.semconv.model import Metric
from otelml.semconv.prometheus import prometheus_name

RATIO, SECONDS, COUNT, WHOLE = "percentunit", "s", "short", "locale"
"""`COUNT` makes 1200 to 1.2 K, `WHOLE` leaves what can be counted as it is."""

_UNITS = {
    "1": RATIO,
    "s": SECONDS,
    "By": "bytes",
    "By/s": "binBps",
    "J": "joule",
    "W": "watt",
    "Cel": "celsius",
    "Hz": "hertz",
}
_RATES = {"s": RATIO, "By": "binBps", "J": "watt", "{request}": "reqps"}
"""Of what grows: seconds a second are a share of the time, joules a second are watts."""
_COUNTS_A_SECOND = "cps"

_ROOTS = {"ml": "", "hw": "GPU", "otelml": ""}
_SPELT = {"gpu": "GPU", "cpu": "CPU", "sm": "SM", "io": "I/O", "linux": ""}
_TITLES = {
    semconv.METRIC_HW_GPU_IO: "GPU PCIe traffic",
    semconv.METRIC_ML_CLUSTERING_CLUSTER_COUNT: "Clusters",
    semconv.METRIC_ML_GPU_INTERCONNECT_IO: "GPU interconnect traffic",
    semconv.METRIC_ML_INFERENCE_ACTIVE: "Inference requests in flight",
    semconv.METRIC_ML_QUANTIZER_CODE_DEAD: "Quantizer dead codes",
    semconv.METRIC_ML_TRAINING_DATA_WAIT_DURATION: "Training data wait",
    semconv.METRIC_ML_TRAINING_NON_FINITE: "Training values not finite",
    semconv.METRIC_PROCESS_UNIX_FILE_DESCRIPTOR_COUNT: "Process open files",
}
"""Where the words of the name make no title."""
_COUNTED = {
    semconv.METRIC_ML_INFERENCE_DURATION: "Inference requests",
    semconv.METRIC_ML_MODEL_CONVERSION_DURATION: "Model conversions",
    semconv.METRIC_ML_STAGE_DURATION: "Stage runs",
}
"""What the count of a histogram is a count of."""


def unit(metric: Metric) -> str:
    """Grafana's unit for the values of `metric`."""
    return _UNITS.get(metric.unit, COUNT)


def rate_unit(metric: Metric) -> str:
    """Grafana's unit for what a counter, or a histogram's count, grows by in a second."""
    return _RATES.get(metric.unit, _COUNTS_A_SECOND) if metric.kind == "counter" else _COUNTS_A_SECOND


def title(metric: Metric, rest: str = "") -> str:
    """The words of its name, and what `rest` adds: `Stage duration, p95`."""
    if metric in _TITLES:
        return _TITLES[metric] + rest
    root, *words = re.split(r"[._]", metric.name)
    root = _ROOTS.get(root, root)
    said = [_SPELT.get(word, word) for word in ([root] if root not in words else []) + words]
    text = " ".join(word for at, word in enumerate(said) if word and word not in said[:at])
    return text[:1].upper() + text[1:] + rest


def counted(metric: Metric, rest: str = "") -> str:
    """What a histogram counts, and what `rest` adds: `Stage runs: failed`."""
    return _COUNTED[metric] + rest


def describe(*expressions: str) -> str:
    """What the registry says of the metrics in `expressions`, in their order, each once."""
    briefs = [metric.brief for expression in expressions for metric in find_metrics(expression)]
    return " ".join(dict.fromkeys(briefs))


def find_metrics(expression: str) -> list[Metric]:
    """The known metrics that an expression asks for."""
    names = re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", expression)
    return [_KNOWN[name] for name in dict.fromkeys(names) if name in _KNOWN]


def _names(metric: Metric) -> list[str]:
    """As they stand in expressions; those of the collector without what the way to Prometheus adds."""
    suffixes = ("", "_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",)
    return [metric.name, *(prometheus_name(metric) + suffix for suffix in suffixes)]


_KNOWN = {name: metric for metric in (*METRICS.values(), *elsewhere.ALL) for name in _names(metric)}
