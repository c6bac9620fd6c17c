"""Overview: is anything wrong, and which board says more? Requests, errors, saturation, a number for each subject."""

from __future__ import annotations

from dashboards.boards import links, units
from dashboards.boards.board import Board, Row
from dashboards.boards.panels import Query, bars, legend, limit, stat, timeseries
from dashboards.boards.promql import (
    MODEL,
    RANK,
    RATE_INTERVAL,
    SERVICE,
    Scope,
    aggregate,
    differs,
    equals,
    present,
)
from otelml.semconv import _generated as semconv

SCOPE = Scope((SERVICE, RANK, MODEL))
STAGES, REQUESTS = semconv.METRIC_ML_STAGE_DURATION, semconv.METRIC_ML_INFERENCE_DURATION
STEPS, WAIT = semconv.METRIC_ML_TRAINING_STEP_DURATION, semconv.METRIC_ML_TRAINING_DATA_WAIT_DURATION
LOSS, IN_FLIGHT = semconv.METRIC_ML_TRAINING_LOSS, semconv.METRIC_ML_INFERENCE_ACTIVE
SM, STATUS = semconv.METRIC_ML_GPU_SM_UTILIZATION, semconv.METRIC_HW_STATUS
DROPPED, ERRORS = semconv.METRIC_OTELML_INTERNAL_DROPPED, semconv.METRIC_OTELML_INTERNAL_ERRORS
AVAILABLE, MEMORY = semconv.METRIC_SYSTEM_MEMORY_LINUX_AVAILABLE, semconv.METRIC_SYSTEM_MEMORY_LIMIT
FULL, CPU = semconv.METRIC_SYSTEM_FILESYSTEM_UTILIZATION, semconv.METRIC_PROCESS_CPU_UTILIZATION
FAILED = present(semconv.ERROR_TYPE)
BY_SERVICE = (semconv.SERVICE_NAME,)
BY_MODEL = (semconv.ML_MODEL_NAME, semconv.SERVICE_NAME)
BY_STAGE = (semconv.ML_STAGE_NAME, semconv.SERVICE_NAME)
BY_PHASE = (semconv.ML_TRAINING_PHASE, semconv.SERVICE_NAME)
BY_RANK = (semconv.ML_DISTRIBUTED_RANK, semconv.SERVICE_NAME)
BY_FEATURE = (semconv.ML_FEATURE_NAME, semconv.ML_MODEL_NAME, semconv.SERVICE_NAME)

waiting, working = (SCOPE.rate(metric, by=(), suffix="_sum") for metric in (WAIT, STEPS))
above = (
    f"{SCOPE.series(semconv.METRIC_ML_DRIFT_SCORE)} > bool {SCOPE.series(semconv.METRIC_ML_DRIFT_THRESHOLD)}"
)
not_ok = SCOPE.latest(STATUS, differs(semconv.HW_STATE, "ok"), by=(semconv.HW_ID,))
dropped = f"rate({SCOPE.series(DROPPED, differs(semconv.OTELML_REASON, 'span_budget'))}[{RATE_INTERVAL}])"
none = f"0 * count({SCOPE.series(semconv.METRIC_PROCESS_UNIX_FILE_DESCRIPTOR_COUNT)})"
lost = f"(sum({dropped}) or {none}) + ({SCOPE.rate(ERRORS, by=())} or {none})"

NOW = Row(
    "Now",
    [
        stat(
            units.counted(REQUESTS), "reqps", SCOPE.rate(REQUESTS, by=()), hint="Requests to models, each second.",
            link=links.to_board("otelml-model-quality", "Model quality"),
        ),
        stat(
            units.counted(REQUESTS, ": failed"), units.RATIO, SCOPE.share(REQUESTS, FAILED, by=()),
            hint="The part of them that ended with an error.", bad=0.01, worse=0.05,
        ),
        stat(
            units.title(REQUESTS, ", p95"), units.SECONDS, SCOPE.quantile(0.95, REQUESTS, by=()),
            hint="95 of 100 requests are faster.",
        ),
        stat(
            units.counted(STAGES, ": failed"), units.RATIO, SCOPE.share(STAGES, FAILED, by=()),
            hint="The part of all runs of stages that ended with an exception.", bad=0.01, worse=0.05,
            link=links.to_board("otelml-stages", "Stages"),
        ),
        stat(
            "Features that drifted", units.WHOLE, f"sum({aggregate('max', BY_FEATURE, above)})",
            hint="Of which some method says so.", bad=1, link=links.to_board("otelml-drift", "Drift"),
        ),
        stat(
            "Telemetry lost", units.rate_unit(DROPPED), lost,
            hint="Spans over their budget are left out on purpose, and not counted here.", bad=0.01,
            link=links.to_board("otelml-telemetry-health", "Telemetry health"),
        ),
        stat(
            units.title(semconv.METRIC_ML_TRAINING_SAMPLES), units.rate_unit(semconv.METRIC_ML_TRAINING_SAMPLES),
            SCOPE.rate(semconv.METRIC_ML_TRAINING_SAMPLES, by=()), hint="Of all ranks, each second.",
            link=links.to_board("otelml-training", "Training"),
        ),
        stat(
            units.title(WAIT, ", share"), units.RATIO, f"{waiting} / (({waiting} + {working}) > 0)",
            hint="The part of the training's time in which it waits for data.", bad=0.1, worse=0.3,
        ),
        stat(
            units.title(SM), units.RATIO, f"avg({SCOPE.series(SM)})",
            hint="The mean of all GPUs: whether they work.", link=links.to_board("otelml-gpu", "GPU"),
        ),
        stat(
            units.title(STATUS, ": not ok"), units.WHOLE, f"sum({not_ok})",
            hint="GPUs that are degraded, failed or about to fail.", worse=1,
        ),
        stat(
            "Memory in use", units.RATIO, f"max(1 - {SCOPE.series(AVAILABLE)} / {SCOPE.series(MEMORY)})",
            hint="Of the fullest machine: what programs can have no more.", bad=0.9, worse=0.95,
            link=links.to_board("otelml-resources", "Resources"),
        ),
        stat(
            units.title(FULL), units.RATIO, f"max({SCOPE.series(FULL)})", hint="Of the fullest filesystem.",
            bad=0.8, worse=0.9,
        ),
    ],
)  # fmt: skip

MODELS = Row(
    "Models",
    [
        timeseries(
            units.counted(REQUESTS, " by model"), "reqps",
            Query(SCOPE.rate(REQUESTS, by=BY_MODEL), legend(*BY_MODEL)),
            hint="Each second.",
        ),
        timeseries(
            units.title(REQUESTS, ": p50, p95, p99"), units.SECONDS,
            *(Query(SCOPE.quantile(q, REQUESTS, by=()), f"p{q * 100:.0f}") for q in (0.5, 0.95, 0.99)),
            hint="Of all chosen models together.",
        ),
        timeseries(
            units.counted(REQUESTS, ": failed"), units.RATIO,
            Query(SCOPE.share(REQUESTS, FAILED, by=BY_MODEL), legend(*BY_MODEL)),
            limit("inference_error_rate_high"),
            hint="The part of the requests that ended with an error.",
        ),
    ],
)  # fmt: skip

WORK = Row(
    "Stages and training",
    [
        bars(
            units.title(STAGES, ", p95 of the slowest"), units.SECONDS,
            Query(f"sort_desc(topk(10, {SCOPE.quantile(0.95, STAGES, by=BY_STAGE)}))", legend(*BY_STAGE)),
            hint="The ten slowest stages now.",
        ),
        timeseries(
            units.counted(STAGES, ": failed"), units.RATIO,
            Query(f"{SCOPE.share(STAGES, FAILED, by=BY_STAGE)} > 0", legend(*BY_STAGE)),
            limit("stage_error_rate_high"),
            hint="The part that ended with an exception; stages that did not fail are left out.",
        ),
        timeseries(
            units.title(LOSS), units.COUNT,
            Query(SCOPE.latest(LOSS, by=BY_PHASE, operator="avg"), legend(*BY_PHASE)),
            hint="The mean of all ranks.",
        ),
    ],
)  # fmt: skip

general = equals(semconv.HW_GPU_TASK, "general")
SATURATION = Row(
    "Saturation",
    [
        timeseries(
            units.title(IN_FLIGHT), units.COUNT,
            Query(aggregate("sum", BY_MODEL, SCOPE.series(IN_FLIGHT)), legend(*BY_MODEL)),
            hint="Where it grows and requests do not, the model is saturated.",
        ),
        timeseries(
            "GPU activity and memory", units.RATIO,
            Query(f"avg({SCOPE.series(semconv.METRIC_HW_GPU_UTILIZATION, general)})", "classic utilization"),
            Query(f"avg({SCOPE.series(SM)})", "SM"),
            Query(f"avg({SCOPE.series(semconv.METRIC_ML_GPU_TENSOR_UTILIZATION)})", "tensor cores"),
            Query(f"max({SCOPE.series(semconv.METRIC_HW_GPU_MEMORY_UTILIZATION)})", "memory of the fullest"),
            hint="The means of all GPUs.", most=1,
        ),
        timeseries(
            units.title(CPU), units.RATIO,
            Query(aggregate("sum", BY_RANK, SCOPE.series(CPU)), legend(*BY_RANK)),
            hint="User and system together.",
        ),
    ],
)  # fmt: skip

BOARD = Board(
    uid="otelml-overview",
    title="Overview",
    description="Requests, latency, errors and saturation of all services, with links to the other boards.",
    scope=SCOPE,
    of=(STAGES, REQUESTS, semconv.METRIC_ML_TRAINING_STEPS, CPU),
    rows=(NOW, MODELS, WORK, SATURATION),
    is_home=True,
)
