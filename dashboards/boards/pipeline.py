"""Pipeline: is the codebook in use, what do clustering and smoothing find, and which rows of data are wrong?"""

from __future__ import annotations

from typing import Any

from dashboards.boards import links, units
from dashboards.boards.board import Board, Row
from dashboards.boards.panels import Column, Panel, Query, legend, limit, stat, tables, timeseries
from dashboards.boards.promql import RANGE, RANK, SERVICE, Scope, differs, equals
from otelml.semconv import _generated as semconv
from otelml.semconv.model import Metric

SCOPE = Scope((SERVICE, RANK))
BY_QUANTIZER = (semconv.ML_QUANTIZER_NAME, semconv.ML_DISTRIBUTED_RANK, semconv.SERVICE_NAME)
PERPLEXITY, CODES_LIMIT = semconv.METRIC_ML_QUANTIZER_PERPLEXITY, semconv.METRIC_ML_QUANTIZER_CODE_LIMIT
ENTROPY, USED = semconv.METRIC_ML_QUANTIZER_ENTROPY_UTILIZATION, semconv.METRIC_ML_QUANTIZER_CODE_UTILIZATION
DEAD, CODES = semconv.METRIC_ML_QUANTIZER_CODE_DEAD, semconv.METRIC_ML_QUANTIZER_CODES
TRANSITIONS, ROWS = semconv.METRIC_ML_SMOOTHING_TRANSITIONS, semconv.METRIC_ML_DATA_ROWS
CLUSTERS, STAGE = semconv.METRIC_ML_CLUSTERING_CLUSTER_COUNT, semconv.METRIC_ML_STAGE_DURATION
BY_POLICY = (semconv.ML_SMOOTHING_POLICY, semconv.SERVICE_NAME)
BY_CHECK = (semconv.ML_DATA_CHECK, semconv.ML_DATA_ACTION, semconv.SERVICE_NAME)
BY_STAGE = (semconv.ML_STAGE_NAME, semconv.SERVICE_NAME)
KNOWN = ("fusion", "preprocess", "encode", "quantize", "cluster", "smooth", "classify", "postprocess")
NOT_A_SUMMARY = differs(semconv.ML_DATA_CHECK, "qa_summary")
"""What a summary counts was mostly counted by its issues already."""


def of_codebooks(metric: Metric, *more: Query, operator: str = "min", hint: str = "", **looks: Any) -> Panel:
    """A line for each codebook and rank."""
    query = Query(SCOPE.latest(metric, by=BY_QUANTIZER, operator=operator), legend(*BY_QUANTIZER))
    return timeseries(units.title(metric), units.unit(metric), query, *more, hint=hint, **looks)


def transitions(side: str) -> str:
    """Transitions a second on one side of the smoothing."""
    return SCOPE.rate(TRANSITIONS, equals(semconv.ML_SMOOTHING_SIDE, side), by=BY_POLICY)


NOW = Row(
    "Now",
    [
        stat(
            units.title(ENTROPY), units.RATIO, SCOPE.latest(ENTROPY, by=(), operator="min"),
            hint="Of the codebook that is used least evenly; below 0.5 it has collapsed.",
        ),
        stat(
            units.title(USED), units.RATIO, SCOPE.latest(USED, by=(), operator="min"),
            hint="Of the codebook that is used least.",
        ),
        stat(units.title(DEAD), units.COUNT, SCOPE.latest(DEAD, by=()), hint="Of the codebook that has the most."),
        stat(units.title(CODES), units.rate_unit(CODES), SCOPE.rate(CODES, by=()), hint="Of all, each second."),
        stat(
            units.title(CLUSTERS), units.WHOLE, SCOPE.latest(CLUSTERS, by=()),
            hint="The most that any clustering found.",
        ),
        stat(
            units.title(ROWS, " in the range"), units.WHOLE, SCOPE.increase(ROWS, NOT_A_SUMMARY, by=(), over=RANGE),
            hint="Those that a check found wrong.", instant=True,
        ),
    ],
)  # fmt: skip

CODEBOOKS = Row(
    "Codebooks",
    [
        of_codebooks(
            PERPLEXITY,
            Query(SCOPE.latest(CODES_LIMIT, by=(semconv.ML_QUANTIZER_NAME,)), "{{ml_quantizer_name}} size limit"),
            hint="Of its size it has what is used evenly; when it falls, the codebook collapses.",
        ),
        of_codebooks(
            ENTROPY, limit("codebook_collapse"), hint="Perplexity on a scale from 0 to 1, alike for all sizes.",
            most=1,
        ),
        of_codebooks(USED, hint="Good from 0.7, fair from 0.3, poor below.", most=1),
        of_codebooks(DEAD, operator="max", hint="Those that the encoder never chooses."),
        timeseries(
            units.title(CODES), units.rate_unit(CODES),
            Query(SCOPE.rate(CODES, by=BY_QUANTIZER), legend(*BY_QUANTIZER)), hint="Each second.",
        ),
        timeseries(
            units.title(STAGE, ", p95, of the pipeline"), units.SECONDS,
            Query(
                SCOPE.quantile(0.95, STAGE, equals(semconv.ML_STAGE_NAME, *KNOWN), by=BY_STAGE), legend(*BY_STAGE),
            ),
            hint="Those with the names that boards know.", logarithmic=True,
            links=links.to_traces("${__field.labels.service_name}", "${__field.labels.ml_stage_name}"),
        ),
    ],
)  # fmt: skip

LABELS = Row(
    "Clusters and transitions",
    [
        timeseries(
            units.title(CLUSTERS), units.WHOLE,
            Query(
                SCOPE.latest(CLUSTERS, by=(semconv.ML_CLUSTERING_ALGORITHM, semconv.SERVICE_NAME)),
                legend(semconv.ML_CLUSTERING_ALGORITHM, semconv.SERVICE_NAME),
            ),
        ),
        timeseries(
            units.title(TRANSITIONS), units.rate_unit(TRANSITIONS),
            Query(
                SCOPE.rate(TRANSITIONS, by=(semconv.ML_SMOOTHING_SIDE, *BY_POLICY)),
                legend(semconv.ML_SMOOTHING_SIDE, *BY_POLICY),
            ),
            hint="Each second.",
        ),
        timeseries(
            units.title(TRANSITIONS, ": taken away"), units.RATIO,
            Query(f"1 - {transitions('after')} / ({transitions('before')} > 0)", legend(*BY_POLICY)),
            hint="The part of them that smoothing removes; where it grows, the labels before it flicker.", most=1,
        ),
    ],
)  # fmt: skip

DATA = Row(
    "Data",
    [
        timeseries(
            units.title(ROWS), units.rate_unit(ROWS),
            Query(SCOPE.rate(ROWS, NOT_A_SUMMARY, by=BY_CHECK), legend(*BY_CHECK)), hint="Each second.", width=12,
        ),
        tables(
            units.title(ROWS, " in the range"),
            {semconv.ML_DATA_CHECK: "Check", semconv.ML_DATA_ACTION: "Action", semconv.SERVICE_NAME: "Service"},
            Column("Rows", units.WHOLE, SCOPE.increase(ROWS, by=BY_CHECK, over=RANGE)),
            hint="The check `qa_summary` counts mostly rows that others have counted.", width=12, sort="Rows",
        ),
    ],
)  # fmt: skip

BOARD = Board(
    uid="otelml-pipeline",
    title="Pipeline",
    description="Perplexity, utilization and dead codes of codebooks; clusters, transitions; wrong rows of data.",
    scope=SCOPE,
    of=(CODES, CLUSTERS, TRANSITIONS, ROWS),
    rows=(NOW, CODEBOOKS, LABELS, DATA),
)
