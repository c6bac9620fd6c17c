"""PromQL over the metrics of the registry: what a board's variables select, as rates, quantiles, means and sums.

It stands alone so that no board writes the name of a series or a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.boards.elsewhere import OF_NO_PROGRAM
from otelml.semconv import _generated as semconv
from otelml.semconv.model import Metric
from otelml.semconv.prometheus import PROMOTED_RESOURCE_ATTRIBUTES, label_name, prometheus_name

RATE_INTERVAL = "$__rate_interval"
"""At least four scrapes, says Grafana, which knows how often the data source is scraped."""
RANGE = "$__range"
"""All that the board shows."""

Keys = Sequence[str]
"""Attributes by their dotted names."""


@dataclass(frozen=True)
class Variable:
    """What a user chooses on a board.

    Attributes:
        name: as in `$service`.
        attribute: what the chosen values are values of.
        title: beside the choice.
        of: the metric whose values are offered; those of the board where it is None.
        default: the one value chosen at first; all, and any number of them, where it is None.
    """

    name: str
    attribute: str
    title: str
    of: Metric | None = None
    default: str | None = None

    def selects(self, metric: Metric) -> bool:
        """Whether the series of `metric` have such values."""
        promoted = () if metric in OF_NO_PROGRAM else PROMOTED_RESOURCE_ATTRIBUTES
        return self.attribute in (*promoted, *metric.attributes)

    @property
    def matcher(self) -> str:
        """The label matcher; of `.*`, which "All" stands for, it matches series without the label too."""
        return f'{label_name(self.attribute)}=~"${self.name}"'


SERVICE = Variable("service", semconv.SERVICE_NAME, "Service")
HOST = Variable("host", semconv.HOST_NAME, "Host")
RANK = Variable("rank", semconv.ML_DISTRIBUTED_RANK, "Rank")
MODEL = Variable("model", semconv.ML_MODEL_NAME, "Model")
STAGE = Variable("stage", semconv.ML_STAGE_NAME, "Stage", of=semconv.METRIC_ML_STAGE_DURATION)
FEATURE = Variable("feature", semconv.ML_FEATURE_NAME, "Feature", of=semconv.METRIC_ML_DRIFT_SCORE)
METHOD = Variable(
    "method", semconv.ML_DRIFT_METHOD, "Method", of=semconv.METRIC_ML_DRIFT_SCORE, default="psi"
)
GPU = Variable("gpu", semconv.HW_ID, "GPU", of=semconv.METRIC_HW_GPU_MEMORY_LIMIT)


def equals(key: str, *values: str) -> str:
    """A matcher for one of `values`."""
    if len(values) == 1:
        return f'{label_name(key)}="{values[0]}"'
    return f'{label_name(key)}=~"{"|".join(values)}"'


def differs(key: str, *values: str) -> str:
    """A matcher for anything but `values`, also for series without the label."""
    if len(values) == 1:
        return f'{label_name(key)}!="{values[0]}"'
    return f'{label_name(key)}!~"{"|".join(values)}"'


def present(key: str) -> str:
    """A matcher for series that have the label."""
    return f'{label_name(key)}!=""'


def labels(keys: Keys) -> str:
    """The labels of attributes, as in `by (...)`."""
    return ", ".join(map(label_name, keys))


def aggregate(operator: str, by: Keys, expression: str) -> str:
    """`sum by (service_name) (...)`."""
    return f"{operator} by ({labels(by)}) ({expression})" if by else f"{operator}({expression})"


def sample_name(metric: Metric) -> str:
    """A series that `metric` always has: of a histogram its count."""
    return prometheus_name(metric) + ("_count" if metric.kind == "histogram" else "")


@dataclass(frozen=True)
class Scope:
    """The variables of a board. Every selector that is made here has a matcher for each that its metric knows."""

    variables: tuple[Variable, ...]

    def series(self, metric: Metric, *matchers: str, suffix: str = "") -> str:
        """The selector of `metric`'s series, of a histogram those with `suffix`."""
        name = prometheus_name(metric) + suffix if suffix else sample_name(metric)
        chosen = [variable.matcher for variable in self.variables if variable.selects(metric)]
        return f"{name}{{{', '.join([*chosen, *matchers])}}}"

    def rate(self, metric: Metric, *matchers: str, by: Keys, operator: str = "sum", suffix: str = "") -> str:
        """How much a counter, or a histogram's count, grows a second."""
        return aggregate(
            operator, by, f"rate({self.series(metric, *matchers, suffix=suffix)}[{RATE_INTERVAL}])"
        )

    def increase(
        self,
        metric: Metric,
        *matchers: str,
        by: Keys,
        over: str = RATE_INTERVAL,
        operator: str = "sum",
        suffix: str = "",
    ) -> str:
        """How much a counter, or a histogram's count, grew in a time: for what is rare.

        Such a counter is not there before it counts for the first time, so that `increase` has nothing to start from
        and misses just that. While it is new, it counts as a whole; what was seen in the hour before is not new.
        """
        there = self.series(metric, *matchers, suffix=suffix)
        new = f"({there} unless last_over_time({there}[1h] offset {over}))"
        return aggregate(operator, by, f"{new} or increase({there}[{over}])")

    def quantile(self, q: float, metric: Metric, *matchers: str, by: Keys, over: str = RATE_INTERVAL) -> str:
        """A quantile of a histogram; over a whole range for what is rare."""
        if over == RANGE:
            keys = ("le", *by)
            return f"histogram_quantile({q}, {self.increase(metric, *matchers, by=keys, over=over, suffix='_bucket')})"
        return f"histogram_quantile({q}, {self.rate(metric, *matchers, by=('le', *by), suffix='_bucket')})"

    def buckets(self, metric: Metric, *matchers: str) -> str:
        """How much each bucket of a histogram grew: the rows of a heatmap."""
        return f"sum by (le) (increase({self.series(metric, *matchers, suffix='_bucket')}[{RATE_INTERVAL}]))"

    def mean(self, metric: Metric, *matchers: str, by: Keys) -> str:
        """The mean of what a histogram recorded; absent while it recorded nothing."""
        total = self.rate(metric, *matchers, by=by, suffix="_sum")
        return f"{total} / ({self.rate(metric, *matchers, by=by)} > 0)"

    def latest(self, metric: Metric, *matchers: str, by: Keys, operator: str = "max") -> str:
        """A gauge as it is, over all processes that have the same of `by`."""
        return aggregate(operator, by, self.series(metric, *matchers))

    def share(self, metric: Metric, *matchers: str, by: Keys, over: str | None = None) -> str:
        """The part of what `metric` counts that `matchers` select: 0 where none is, absent where nothing is counted."""
        count = self.rate if over is None else lambda *part, by: self.increase(*part, by=by, over=over)
        part, whole = count(metric, *matchers, by=by), count(metric, by=by)
        return f"({part} or 0 * {whole}) / ({whole} > 0)"
