"""Training: does it learn, does it wait for data, how fast is it, and which rank holds the others up?"""

from __future__ import annotations

from typing import Any

from dashboards.boards import units
from dashboards.boards.board import Board, Row
from dashboards.boards.panels import (
    Column,
    Panel,
    Query,
    bars,
    heatmaps,
    legend,
    limit,
    stat,
    tables,
    timeseries,
)
from dashboards.boards.promql import RANGE, RANK, SERVICE, Scope, equals, labels
from otelml.semconv import _generated as semconv
from otelml.semconv.model import Metric

SCOPE = Scope((SERVICE, RANK))
STEP, WAIT = semconv.METRIC_ML_TRAINING_STEP_DURATION, semconv.METRIC_ML_TRAINING_DATA_WAIT_DURATION
STAGE = semconv.METRIC_ML_STAGE_DURATION
NON_FINITE, LOSS = semconv.METRIC_ML_TRAINING_NON_FINITE, semconv.METRIC_ML_TRAINING_LOSS
PROGRESS, SAMPLES = semconv.METRIC_ML_TRAINING_PROGRESS, semconv.METRIC_ML_TRAINING_SAMPLES
PHASE, OF_RANK = semconv.ML_TRAINING_PHASE, semconv.ML_DISTRIBUTED_RANK
TRAIN = equals(PHASE, "train")
BY_SERVICE = (semconv.SERVICE_NAME,)
BY_PHASE = (PHASE, semconv.SERVICE_NAME)
BY_RANK = (OF_RANK, semconv.SERVICE_NAME)
RANK_OF = legend(*BY_RANK)

in_steps = SCOPE.rate(STEP, TRAIN, by=BY_RANK, suffix="_sum")
in_waits = SCOPE.rate(WAIT, TRAIN, by=BY_RANK, suffix="_sum")
wait_share = f"{in_waits} / (({in_steps} + {in_waits}) > 0)"
mean_step = SCOPE.mean(STEP, TRAIN, by=BY_RANK)
mean_stage = SCOPE.mean(STAGE, by=(OF_RANK, semconv.ML_STAGE_NAME, semconv.SERVICE_NAME))


def over_median(expression: str, *among: str) -> str:
    """How much more each is than the one in the middle of those with the same of `among`."""
    same = labels(among)
    return f"({expression}) / on ({same}) group_left () quantile by ({same}) (0.5, {expression}) - 1"


def gauge(
    metric: Metric, *, by: tuple[str, ...] = BY_PHASE, hint: str = "The mean of all ranks.", **looks: Any
) -> Panel:
    """A line for each phase."""
    query = Query(SCOPE.latest(metric, by=by, operator="avg"), legend(*by))
    return timeseries(units.title(metric), units.unit(metric), query, hint=hint, **looks)


def throughput(metric: Metric) -> Panel:
    """What all ranks get through in a second."""
    query = Query(SCOPE.rate(metric, by=BY_PHASE), legend(*BY_PHASE))
    return timeseries(units.title(metric), units.rate_unit(metric), query, hint="Of all ranks, each second.")


NOW = Row(
    "Now",
    [
        stat(
            units.title(PROGRESS), units.RATIO,
            SCOPE.latest(PROGRESS, by=(), operator="min"), hint="Of the rank that is furthest behind.",
        ),
        stat(
            units.title(semconv.METRIC_ML_TRAINING_EPOCH), units.WHOLE,
            SCOPE.latest(semconv.METRIC_ML_TRAINING_EPOCH, by=(), operator="min"), hint="They count from 0.",
        ),
        stat(
            units.title(LOSS), units.COUNT,
            SCOPE.latest(LOSS, TRAIN, by=(), operator="avg"), hint="The mean of all ranks.",
        ),
        stat(
            units.title(SAMPLES), units.rate_unit(SAMPLES),
            SCOPE.rate(SAMPLES, TRAIN, by=()), hint="Of all ranks, each second.",
        ),
        stat(
            units.title(WAIT, ", share"), units.RATIO, f"max({wait_share})",
            hint="The part of the time in which the rank that waits most waits for data.", bad=0.1, worse=0.3,
        ),
        stat(
            units.title(NON_FINITE), units.WHOLE,
            SCOPE.increase(NON_FINITE, by=(), over=RANGE),
            hint="In the whole range.", bad=1, instant=True,
        ),
    ],
)  # fmt: skip

LEARNING = Row(
    "Does it learn",
    [
        gauge(LOSS, hint="The mean of all ranks; absent while it is NaN or infinite."),
        gauge(semconv.METRIC_ML_TRAINING_LEARNING_RATE),
        gauge(
            semconv.METRIC_ML_TRAINING_GRADIENT_NORM,
            hint="The mean of all ranks; absent while it is NaN or infinite.",
        ),
        gauge(semconv.METRIC_ML_TRAINING_METRIC, by=(semconv.ML_METRIC_NAME, semconv.SERVICE_NAME), width=12),
        timeseries(
            units.title(NON_FINITE), units.COUNT,
            Query(
                SCOPE.increase(NON_FINITE, by=(semconv.ML_METRIC_NAME, semconv.SERVICE_NAME)),
                legend(semconv.ML_METRIC_NAME, semconv.SERVICE_NAME),
            ),
            hint="How many came with each point. A loss scaler makes some gradients overflow; a loss never should.",
            width=12,
        ),
    ],
)  # fmt: skip

SPEED = Row(
    "How fast, and what it waits for",
    [
        timeseries(
            "Step against wait for data, p50 and p95", units.SECONDS,
            *(
                Query(
                    SCOPE.quantile(q, metric, TRAIN, by=BY_SERVICE),
                    legend(*BY_SERVICE, text=f"{what} p{q * 100:.0f}"),
                )
                for metric, what in ((STEP, "step"), (WAIT, "wait"))
                for q in (0.5, 0.95)
            ),
            hint="Where the wait is as long as the step, the GPU idles half of the time.", logarithmic=True,
        ),
        timeseries(
            units.title(WAIT, ", share"), units.RATIO, Query(wait_share, RANK_OF), limit("training_input_bound"),
            hint="The part of each rank's time in which it waits for data: it may need more workers or faster disks.",
        ),
        heatmaps(
            units.title(STEP), units.SECONDS, SCOPE.buckets(STEP, TRAIN), hint="How many steps took how long.",
            width=8,
        ),
        throughput(SAMPLES),
        throughput(semconv.METRIC_ML_TRAINING_TOKENS),
        throughput(semconv.METRIC_ML_TRAINING_STEPS),
    ],
)  # fmt: skip

RANKS = Row(
    "Ranks side by side",
    [
        timeseries(
            units.title(STEP, ", mean by rank"), units.SECONDS, Query(mean_step, RANK_OF),
            hint="Where ranks wait for each other within a step, all look alike; their stages tell who is late.",
        ),
        timeseries(
            units.title(STEP, ": slower than the median"), units.RATIO,
            Query(over_median(mean_step, semconv.SERVICE_NAME), RANK_OF), limit("training_rank_slow"),
            hint="How much longer the steps of a rank take than those of the rank in the middle.",
        ),
        bars(
            units.title(STEP, ": slowest ranks"), units.SECONDS,
            Query(f"sort_desc(topk(10, {mean_step}))", RANK_OF),
            hint="The ten with the longest steps on average.",
        ),
        tables(
            units.title(STAGE, ", mean by rank"),
            {OF_RANK: "Rank", semconv.ML_STAGE_NAME: "Stage", semconv.SERVICE_NAME: "Service"},
            Column("Mean", units.SECONDS, mean_stage),
            Column(
                "Over the median", units.RATIO,
                over_median(mean_stage, semconv.SERVICE_NAME, semconv.ML_STAGE_NAME),
                bad=0.2, worse=0.5,
            ),
            hint="In synchronous training the late rank is slow in `data` or `forward`; the others wait in `backward`.",
            width=12, sort="Over the median",
        ),
        timeseries(
            units.title(LOSS, " by rank"), units.COUNT,
            Query(SCOPE.latest(LOSS, TRAIN, by=BY_RANK, operator="avg"), RANK_OF),
            hint="Ranks see other data, and should fall together.", width=12,
        ),
    ],
)  # fmt: skip

BOARD = Board(
    uid="otelml-training",
    title="Training",
    description="Loss, learning rate, gradient norm; steps against the wait for data; throughput; ranks side by side.",
    scope=SCOPE,
    of=(semconv.METRIC_ML_TRAINING_STEPS,),
    rows=(NOW, LEARNING, SPEED, RANKS),
)
