"""Stages: how long each takes, how much it gets through, how often it fails; from each to its traces and logs."""

from __future__ import annotations

from typing import Any

from dashboards.boards import links, units
from dashboards.boards.board import Board, Row
from dashboards.boards.panels import Column, Panel, Query, heatmaps, legend, limit, tables, timeseries
from dashboards.boards.promql import RANGE, RANK, SERVICE, STAGE, Scope, present
from otelml.semconv import _generated as semconv

SCOPE = Scope((SERVICE, RANK, STAGE))
DURATION, ITEMS = semconv.METRIC_ML_STAGE_DURATION, semconv.METRIC_ML_STAGE_ITEMS
FAILED = present(semconv.ERROR_TYPE)
BY_STAGE = (semconv.ML_STAGE_NAME, semconv.SERVICE_NAME)
BY_ERROR = (semconv.ML_STAGE_NAME, semconv.ERROR_TYPE, semconv.SERVICE_NAME)
TO_SPANS = (
    *links.to_traces("${__field.labels.service_name}", "${__field.labels.ml_stage_name}"),
    *links.to_logs("${__field.labels.service_name}", "${__field.labels.ml_stage_name}"),
)
FROM_A_ROW = (
    *links.to_traces("${__data.fields.Service}", "${__data.fields.Stage}"),
    *links.to_logs("${__data.fields.Service}", "${__data.fields.Stage}"),
)
SAMPLED = (
    "Click a line for its traces and logs. Spans are a sample, with more of the slow: count here, look there."
)


def over_time(title: str, unit: str, expression: str, *more: Query, hint: str = "", **looks: Any) -> Panel:
    """A panel with a line for each stage, which leads to its traces and logs."""
    return timeseries(
        title, unit, Query(expression, legend(*BY_STAGE)), *more, hint=hint, links=TO_SPANS, **looks
    )


SUMMARY = Row(
    "All stages",
    [
        tables(
            units.title(DURATION, ", by stage"),
            {semconv.ML_STAGE_NAME: "Stage", semconv.SERVICE_NAME: "Service"},
            Column("Runs", "cps", SCOPE.rate(DURATION, by=BY_STAGE)),
            Column("Mean", units.SECONDS, SCOPE.mean(DURATION, by=BY_STAGE)),
            Column("p50", units.SECONDS, SCOPE.quantile(0.5, DURATION, by=BY_STAGE)),
            Column("p95", units.SECONDS, SCOPE.quantile(0.95, DURATION, by=BY_STAGE)),
            Column("p99", units.SECONDS, SCOPE.quantile(0.99, DURATION, by=BY_STAGE)),
            Column("Failed", units.RATIO, SCOPE.share(DURATION, FAILED, by=BY_STAGE), bad=0.01, worse=0.05),
            Column("Items", "cps", SCOPE.rate(ITEMS, by=BY_STAGE)),
            Column("Busy", units.RATIO, SCOPE.rate(DURATION, by=BY_STAGE, suffix="_sum")),
            hint="Runs and items are those of a second. Busy is the time spent in the stage over the time that passes, "
            "of all processes and threads together; a stage within another counts in both.",
            height=10, links=FROM_A_ROW, sort="Busy",
        ),
    ],
)  # fmt: skip

QUANTILES = Row(
    "How long",
    [
        over_time(
            units.title(DURATION, ", p95"), units.SECONDS, SCOPE.quantile(0.95, DURATION, by=BY_STAGE),
            hint=f"95 of 100 runs are faster. {SAMPLED}", logarithmic=True, width=24, many=True,
        ),
        over_time(
            units.title(DURATION, ", p50"), units.SECONDS, SCOPE.quantile(0.5, DURATION, by=BY_STAGE),
            hint="Half of the runs are faster.", logarithmic=True,
        ),
        over_time(
            units.title(DURATION, ", p99"), units.SECONDS, SCOPE.quantile(0.99, DURATION, by=BY_STAGE),
            hint="99 of 100 runs are faster.", logarithmic=True,
        ),
        over_time(
            units.title(DURATION, ", mean"), units.SECONDS, SCOPE.mean(DURATION, by=BY_STAGE), logarithmic=True,
        ),
        over_time(
            "Time in stages", units.RATIO, SCOPE.rate(DURATION, by=BY_STAGE, suffix="_sum"),
            hint="Seconds that each takes in a second, of all processes; a stage within another counts in both.",
            stacked=True, width=24, many=True,
        ),
    ],
)  # fmt: skip

THROUGHPUT = Row(
    "How much, and what failed",
    [
        over_time(
            units.title(ITEMS), units.rate_unit(ITEMS), SCOPE.rate(ITEMS, by=BY_STAGE),
            hint="Each second; of stages that say how many they work on.", logarithmic=True,
        ),
        over_time(
            units.counted(DURATION), units.rate_unit(DURATION), SCOPE.rate(DURATION, by=BY_STAGE),
            hint="How often each stage runs, each second.", logarithmic=True,
        ),
        over_time(
            units.counted(DURATION, ": failed"), units.RATIO, SCOPE.share(DURATION, FAILED, by=BY_STAGE),
            limit("stage_error_rate_high"), hint="The part of the runs that ended with an exception.",
        ),
        tables(
            units.counted(DURATION, ": errors in the range"),
            {semconv.ML_STAGE_NAME: "Stage", semconv.ERROR_TYPE: "Error", semconv.SERVICE_NAME: "Service"},
            Column("Runs", units.WHOLE, f"{SCOPE.increase(DURATION, FAILED, by=BY_ERROR, over=RANGE)} > 0"),
            hint="How often each error ended a stage.", width=12, links=FROM_A_ROW, sort="Runs",
        ),
        timeseries(
            units.counted(DURATION, ": errors by type"), units.rate_unit(DURATION),
            Query(SCOPE.rate(DURATION, FAILED, by=BY_ERROR), legend(*BY_ERROR)),
            hint="Each second.", width=12, stacked=True, links=TO_SPANS,
        ),
    ],
)  # fmt: skip

HEATMAPS = Row(
    "Heatmaps",
    [
        heatmaps(
            units.title(DURATION, ": $stage"), units.SECONDS, SCOPE.buckets(DURATION),
            hint="How many runs took how long.", width=8, repeat="stage",
        ),
    ],
)  # fmt: skip

BOARD = Board(
    uid="otelml-stages",
    title="Stages",
    description="Duration, throughput and errors of each stage, with links to its traces and logs.",
    scope=SCOPE,
    of=(DURATION,),
    rows=(SUMMARY, QUANTILES, THROUGHPUT, HEATMAPS),
)
