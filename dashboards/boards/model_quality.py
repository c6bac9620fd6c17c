"""Model quality: how sure, what it predicts, how it scores; how fast it answers; sizes and conversions."""

from __future__ import annotations

from dashboards.boards import links, units
from dashboards.boards.board import Board, Row
from dashboards.boards.panels import Column, Query, bars, heatmaps, legend, limit, stat, tables, timeseries
from dashboards.boards.promql import MODEL, RANGE, RANK, SERVICE, Scope, aggregate, labels, present
from otelml.semconv import _generated as semconv

SCOPE = Scope((SERVICE, RANK, MODEL))
REQUESTS, CONFIDENCE = semconv.METRIC_ML_INFERENCE_DURATION, semconv.METRIC_ML_INFERENCE_CONFIDENCE
PREDICTIONS, BATCH = semconv.METRIC_ML_INFERENCE_PREDICTIONS, semconv.METRIC_ML_INFERENCE_BATCH_SIZE
CONVERSION, SIZE = semconv.METRIC_ML_MODEL_CONVERSION_DURATION, semconv.METRIC_ML_MODEL_SIZE
SCORE, IN_FLIGHT = semconv.METRIC_ML_EVALUATION_SCORE, semconv.METRIC_ML_INFERENCE_ACTIVE
FAILED = present(semconv.ERROR_TYPE)
BY_MODEL = (semconv.ML_MODEL_NAME, semconv.SERVICE_NAME)
BY_VERSION = (semconv.ML_MODEL_NAME, semconv.ML_MODEL_VERSION, semconv.ML_DEVICE_NAME, semconv.SERVICE_NAME)
BY_CLASS = (semconv.ML_MODEL_NAME, semconv.ML_PREDICTION_CLASS, semconv.SERVICE_NAME)
BY_FORMAT = (semconv.ML_MODEL_NAME, semconv.ML_MODEL_FORMAT, semconv.SERVICE_NAME)
TO_SPANS = tuple(
    links.to_traces("${__field.labels.service_name}", "inference ${__field.labels.ml_model_name}")
)

share_of_class = (
    f"{SCOPE.rate(PREDICTIONS, by=BY_CLASS)} / on ({labels(BY_MODEL)}) group_left () "
    f"({SCOPE.rate(PREDICTIONS, by=BY_MODEL)} > 0)"
)

NOW = Row(
    "Now",
    [
        stat(units.counted(REQUESTS), "reqps", SCOPE.rate(REQUESTS, by=()), hint="Each second."),
        stat(
            units.counted(REQUESTS, ": failed"), units.RATIO, SCOPE.share(REQUESTS, FAILED, by=()),
            hint="The part of them that ended with an error.", bad=0.01, worse=0.05,
        ),
        stat(
            units.title(REQUESTS, ", p95"), units.SECONDS, SCOPE.quantile(0.95, REQUESTS, by=()),
            hint="Of all models.",
        ),
        stat(units.title(CONFIDENCE, ", mean"), units.RATIO, SCOPE.mean(CONFIDENCE, by=()), hint="Of all models."),
        stat(
            units.counted(CONVERSION, ": failed"), units.WHOLE,
            SCOPE.increase(CONVERSION, FAILED, by=(), over=RANGE),
            hint="How many failed in the whole range.", worse=1, instant=True, nothing="none",
        ),
        stat(
            units.title(IN_FLIGHT), units.COUNT,
            f"sum({SCOPE.series(IN_FLIGHT)})", hint="Of all models.",
        ),
    ],
)  # fmt: skip

PREDICTED = Row(
    "What the models say",
    [
        heatmaps(
            units.title(CONFIDENCE), units.RATIO, SCOPE.buckets(CONFIDENCE),
            hint="How many predictions were how sure.", width=8,
        ),
        timeseries(
            units.title(CONFIDENCE, ", mean and p10"), units.RATIO,
            Query(SCOPE.mean(CONFIDENCE, by=BY_MODEL), legend(*BY_MODEL, text="mean")),
            Query(SCOPE.quantile(0.1, CONFIDENCE, by=BY_MODEL), legend(*BY_MODEL, text="p10")),
            hint="A model that becomes unsure sees what it was not trained on.", most=1,
        ),
        timeseries(
            units.title(PREDICTIONS, ", share of each class"), units.RATIO,
            Query(share_of_class, legend(*BY_CLASS)),
            hint="A class that takes over or dies out, without a change in the data, is a fault.", most=1,
        ),
        timeseries(
            units.title(SCORE), units.COUNT,
            Query(
                SCOPE.latest(
                    SCORE, by=(semconv.ML_MODEL_NAME, semconv.ML_EVALUATION_METRIC, semconv.SERVICE_NAME),
                    operator="avg",
                ),
                legend(semconv.ML_MODEL_NAME, semconv.ML_EVALUATION_METRIC, semconv.SERVICE_NAME),
            ),
            hint="The mean of all ranks.", width=12,
        ),
        bars(
            units.title(PREDICTIONS, " in the range"), units.COUNT,
            Query(f"sort_desc({SCOPE.increase(PREDICTIONS, by=BY_CLASS, over=RANGE)})", legend(*BY_CLASS)),
            width=12,
        ),
    ],
)  # fmt: skip

SPEED = Row(
    "How fast they answer",
    [
        timeseries(
            units.title(REQUESTS, ", p50 and p95"), units.SECONDS,
            Query(SCOPE.quantile(0.5, REQUESTS, by=BY_VERSION), legend(*BY_VERSION, text="p50")),
            Query(SCOPE.quantile(0.95, REQUESTS, by=BY_VERSION), legend(*BY_VERSION, text="p95")),
            hint="By model, version and device. Click a line for its traces.", links=TO_SPANS, logarithmic=True,
        ),
        timeseries(
            units.counted(REQUESTS, ": failed"), units.RATIO,
            Query(SCOPE.share(REQUESTS, FAILED, by=BY_VERSION), legend(*BY_VERSION)),
            limit("inference_error_rate_high"),
            hint="The part of the requests that ended with an error. Click a line for its traces.", links=TO_SPANS,
        ),
        timeseries(
            units.counted(REQUESTS), "reqps", Query(SCOPE.rate(REQUESTS, by=BY_VERSION), legend(*BY_VERSION)),
            hint="Each second.", links=TO_SPANS,
        ),
        heatmaps(
            units.title(REQUESTS), units.SECONDS, SCOPE.buckets(REQUESTS), hint="How many requests took how long.",
            width=8,
        ),
        timeseries(
            units.title(BATCH, ", mean"), units.COUNT, Query(SCOPE.mean(BATCH, by=BY_MODEL), legend(*BY_MODEL)),
            hint="Small batches leave a GPU idle.",
        ),
        timeseries(
            units.title(IN_FLIGHT), units.COUNT,
            Query(aggregate("sum", BY_MODEL, SCOPE.series(IN_FLIGHT)), legend(*BY_MODEL)),
            hint="Where it grows and requests do not, the model is saturated.",
        ),
    ],
)  # fmt: skip

MODELS = Row(
    "Models as files",
    [
        bars(
            units.title(SIZE), "bytes", Query(f"sort_desc({SCOPE.latest(SIZE, by=BY_FORMAT)})", legend(*BY_FORMAT)),
            hint="Of the latest that was recorded.",
        ),
        tables(
            units.counted(CONVERSION, " in the range"),
            {semconv.ML_MODEL_NAME: "Model", semconv.ML_MODEL_FORMAT: "Format", semconv.SERVICE_NAME: "Service"},
            Column("All", units.WHOLE, SCOPE.increase(CONVERSION, by=BY_FORMAT, over=RANGE)),
            Column(
                "Failed", units.RATIO, SCOPE.share(CONVERSION, FAILED, by=BY_FORMAT, over=RANGE), bad=0.01,
                worse=0.1,
            ),
            Column("p95", units.SECONDS, SCOPE.quantile(0.95, CONVERSION, by=BY_FORMAT, over=RANGE), worse=300),
            hint="Conversions are rare: look at a long range.", width=8,
        ),
        timeseries(
            units.counted(CONVERSION, ": failed"), "cps",
            Query(SCOPE.rate(CONVERSION, FAILED, by=BY_FORMAT), legend(*BY_FORMAT)),
            limit("model_conversion_failing"),
            hint="How many fail each second.",
        ),
    ],
)  # fmt: skip

BOARD = Board(
    uid="otelml-model-quality",
    title="Model quality",
    description="Confidence, predicted classes, evaluation; latency by version; sizes and conversions of models.",
    scope=SCOPE,
    of=(REQUESTS, SCORE, SIZE, CONVERSION),
    rows=(NOW, PREDICTED, SPEED, MODELS),
)
