"""Drift: which features are not what they were, by how much more than chance, in each process and in a fleet?"""

from __future__ import annotations

from dashboards.boards import units
from dashboards.boards.board import Board, Row
from dashboards.boards.elsewhere import FLEET_PSI, FLEET_PSI_LIMIT
from dashboards.boards.panels import Column, Query, columns, legend, limit, stat, tables, timeseries
from dashboards.boards.promql import FEATURE, METHOD, MODEL, RANGE, RANK, SERVICE, Scope, aggregate
from otelml.semconv import _generated as semconv
from otelml.semconv.model import Metric

SCOPE = Scope((SERVICE, RANK, MODEL, FEATURE, METHOD))
ALL_METHODS = Scope((SERVICE, RANK, MODEL, FEATURE))
SCORE, THRESHOLD, NOISE = (
    semconv.METRIC_ML_DRIFT_SCORE,
    semconv.METRIC_ML_DRIFT_THRESHOLD,
    semconv.METRIC_ML_DRIFT_NOISE_FLOOR,
)
OBSERVATIONS, REFERENCE = semconv.METRIC_ML_DRIFT_OBSERVATIONS, semconv.METRIC_ML_DRIFT_REFERENCE_PROPORTION
ALERTS = semconv.METRIC_ML_DRIFT_ALERTS
OF_FEATURE = (semconv.ML_FEATURE_NAME, semconv.ML_MODEL_NAME, semconv.SERVICE_NAME)
BY_FEATURE = (
    semconv.ML_FEATURE_NAME,
    semconv.ML_DISTRIBUTED_RANK,
    semconv.ML_MODEL_NAME,
    semconv.SERVICE_NAME,
)
BY_METHOD = (semconv.ML_DRIFT_METHOD, semconv.ML_DRIFT_KIND, *BY_FEATURE)
IN_FLEET = (semconv.ML_FEATURE_NAME, semconv.ML_MODEL_NAME)


def ratio(scope: Scope, other: Metric, by: tuple[str, ...]) -> str:
    """How many times the score is `other`."""
    return f"{scope.latest(SCORE, by=by)} / ({scope.latest(other, by=by)} > 0)"


above = f"{SCOPE.series(SCORE)} > bool {SCOPE.series(THRESHOLD)}"
in_bin = SCOPE.increase(OBSERVATIONS, by=(semconv.ML_DRIFT_BIN,), over=RANGE)
in_all = SCOPE.increase(OBSERVATIONS, by=(), over=RANGE)

NOW = Row(
    "Now",
    [
        stat(
            "Features that drifted", units.WHOLE, f"sum({aggregate('max', BY_FEATURE, above)})",
            hint="Features of the latest windows, by the chosen method.", bad=1, width=6,
        ),
        stat(
            units.title(SCORE, ", over its threshold"), units.COUNT, f"max({ratio(SCOPE, THRESHOLD, BY_FEATURE)})",
            hint="Of the feature that drifted most: 1 is the threshold.", bad=0.8, worse=1, width=6,
        ),
        stat(
            units.title(ALERTS), units.WHOLE, SCOPE.increase(ALERTS, by=(), over=RANGE),
            hint="In the whole range.", bad=1, width=6, instant=True,
        ),
        stat(
            units.title(OBSERVATIONS), "cps", SCOPE.rate(OBSERVATIONS, by=()), hint="Of all features, each second.",
            width=6,
        ),
    ],
)  # fmt: skip

COMPARED = Row(
    "All features",
    [
        timeseries(
            units.title(SCORE, ", over its threshold"), units.COUNT,
            Query(ratio(SCOPE, THRESHOLD, BY_FEATURE), legend(*BY_FEATURE)),
            limit("drift_detected"), hint="1 is the threshold, whatever the method and the feature.", width=12,
        ),
        timeseries(
            units.title(SCORE, ", over its noise floor"), units.COUNT,
            Query(ratio(SCOPE, NOISE, BY_FEATURE), legend(*BY_FEATURE)),
            hint="About 1 is chance. Above the threshold and near the noise floor, the windows are too small.",
            width=12, logarithmic=True,
        ),
        tables(
            units.title(SCORE, ", by method"),
            {
                semconv.ML_FEATURE_NAME: "Feature",
                semconv.ML_DRIFT_METHOD: "Method",
                semconv.ML_DRIFT_KIND: "Kind",
                semconv.ML_MODEL_NAME: "Model",
                semconv.ML_DISTRIBUTED_RANK: "Rank",
                semconv.SERVICE_NAME: "Service",
            },
            Column("Score", units.COUNT, ALL_METHODS.latest(SCORE, by=BY_METHOD)),
            Column("Noise floor", units.COUNT, ALL_METHODS.latest(NOISE, by=BY_METHOD)),
            Column("Threshold", units.COUNT, ALL_METHODS.latest(THRESHOLD, by=BY_METHOD)),
            Column("Over threshold", units.COUNT, ratio(ALL_METHODS, THRESHOLD, BY_METHOD), bad=0.8, worse=1),
            hint="Of the latest windows.", sort="Over threshold", height=10,
        ),
    ],
)  # fmt: skip

FLEET_WIDE = Row(
    "The fleet",
    [
        timeseries(
            "Drift PSI, fleet-wide", units.COUNT,
            Query(aggregate("max", IN_FLEET, SCOPE.series(FLEET_PSI)), legend(*IN_FLEET)),
            Query(aggregate("max", IN_FLEET, SCOPE.series(FLEET_PSI_LIMIT)), legend(*IN_FLEET) + " noise limit"),
            limit("fleet_drift"),
            hint="From the bins that all replicas count, added up. It needs the recording rules of dashboards/rules.",
            width=12,
        ),
        timeseries(
            units.title(OBSERVATIONS), "cps", Query(SCOPE.rate(OBSERVATIONS, by=OF_FEATURE), legend(*OF_FEATURE)),
            hint="Each second, of all replicas.", width=6,
        ),
        timeseries(
            units.title(ALERTS), units.WHOLE,
            Query(
                SCOPE.increase(ALERTS, by=(semconv.ML_DRIFT_KIND, semconv.ML_FEATURE_NAME, semconv.SERVICE_NAME)),
                legend(semconv.ML_FEATURE_NAME, semconv.ML_DRIFT_KIND, semconv.SERVICE_NAME),
            ),
            hint="How many came with each point.", width=6,
        ),
    ],
)  # fmt: skip

FEATURES = Row(
    "Score, threshold and noise floor of each feature",
    [
        timeseries(
            units.title(SCORE, ": $feature"), units.COUNT,
            Query(
                SCOPE.latest(SCORE, by=BY_FEATURE),
                legend(semconv.ML_MODEL_NAME, semconv.ML_DISTRIBUTED_RANK, semconv.SERVICE_NAME),
            ),
            Query(SCOPE.latest(NOISE, by=(semconv.ML_FEATURE_NAME,)), "noise floor"),
            Query(SCOPE.latest(THRESHOLD, by=(semconv.ML_FEATURE_NAME,), operator="min"), "threshold limit"),
            repeat="feature",
        ),
    ],
)  # fmt: skip

BINS = Row(
    "What changed: the bins of each feature",
    [
        columns(
            units.title(OBSERVATIONS, " by bin: $feature"), units.RATIO, semconv.ML_DRIFT_BIN,
            Query(SCOPE.latest(REFERENCE, by=(semconv.ML_DRIFT_BIN,)), "reference"),
            Query(f"{in_bin} / on () group_left () ({in_all} > 0)", "in the range"),
            hint="The part of the observations that fell into each bin. Of numbers, 00 has the smallest.",
            repeat="feature",
        ),
    ],
)  # fmt: skip

BOARD = Board(
    uid="otelml-drift",
    title="Drift",
    description="Drift scores by feature, against threshold and noise floor; the PSI of the fleet; changed bins.",
    scope=SCOPE,
    of=(SCORE, OBSERVATIONS),
    rows=(NOW, COMPARED, FLEET_WIDE, FEATURES, BINS),
)
