"""Telemetry health: what programs and the collector drop, fail at and queue, and what watching costs."""

from __future__ import annotations

from typing import Any

from dashboards.boards import elsewhere, units
from dashboards.boards.board import Board, Row
from dashboards.boards.elsewhere import collector_series
from dashboards.boards.panels import Panel, Query, legend, limit, stat, timeseries
from dashboards.boards.promql import (
    RANGE,
    RANK,
    RATE_INTERVAL,
    SERVICE,
    Scope,
    Variable,
    aggregate,
    differs,
    equals,
)
from otelml.semconv import _generated as semconv
from otelml.semconv.model import Metric

JOB = Variable("job", elsewhere.JOB, "Job", of=elsewhere.UP)
"""What Prometheus scrapes: programs, and collectors for what they say of themselves."""
SCOPE = Scope((SERVICE, RANK, JOB))
ERRORS, DROPPED = semconv.METRIC_OTELML_INTERNAL_ERRORS, semconv.METRIC_OTELML_INTERNAL_DROPPED
OVERFLOW = semconv.METRIC_OTELML_INTERNAL_OVERFLOW
COLLECT, CALLS = semconv.METRIC_ML_GPU_COLLECT_DURATION, semconv.METRIC_ML_GPU_COLLECT_ERRORS
BY_REASON = (semconv.OTELML_COMPONENT, semconv.OTELML_REASON, semconv.SERVICE_NAME)
TARGET = (elsewhere.JOB, elsewhere.INSTANCE)
LOST = differs(semconv.OTELML_REASON, "span_budget")
"""Spans over their budget are left out on purpose."""


def told(metric: Metric, *matchers: str, hint: str, **looks: Any) -> Panel:
    """One of the library's counters of its own troubles, by what and why."""
    return timeseries(
        units.title(metric), units.rate_unit(metric),
        Query(SCOPE.rate(metric, *matchers, by=BY_REASON), legend(*BY_REASON)), hint=f"Each second. {hint}",
        **looks,
    )  # fmt: skip


def in_range(metric: Metric, *matchers: str) -> str:
    """How much a counter of troubles grew; it is not there while there were none."""
    return SCOPE.increase(metric, *matchers, by=(), over=RANGE)


def collector_rate(metric: Metric, by: tuple[str, ...] = ()) -> str:
    """How much one of the collector's counters grows a second."""
    return aggregate("sum", by, f"rate({collector_series(metric, JOB.matcher)}[{RATE_INTERVAL}])")


def passed(metrics: dict[str, Metric], otherwise: dict[str, Metric] | None = None) -> list[Query]:
    """A line for each signal; 0 where there is nothing but something of `otherwise`."""
    return [
        Query(
            collector_rate(metric) + (f" or 0 * {collector_rate(otherwise[signal])}" if otherwise else ""),
            elsewhere.SIGNALS[signal],
        )
        for signal, metric in metrics.items()
    ]


size = collector_series(elsewhere.QUEUE_SIZE, JOB.matcher)
capacity = collector_series(elsewhere.QUEUE_CAPACITY, JOB.matcher)
by_queue = (elsewhere.EXPORTER, elsewhere.DATA_TYPE)
filled = f"{aggregate('max', by_queue, size)} / {aggregate('max', by_queue, capacity)}"
none = f"0 * max({collector_series(elsewhere.COLLECTOR_UPTIME, JOB.matcher)})"
given_up = " + ".join(
    f"({collector_rate(metric)} or {none})"
    for metrics in (elsewhere.SEND_FAILED, elsewhere.ENQUEUE_FAILED)
    for metric in metrics.values()
)

NOW = Row(
    "Now",
    [
        stat(
            "Targets down", units.WHOLE, f"sum({SCOPE.series(elsewhere.UP)} == bool 0)",
            hint="Of those that Prometheus scrapes.", worse=1,
        ),
        stat(
            units.title(ERRORS), units.WHOLE, in_range(ERRORS), hint="In the whole range.", bad=1, instant=True,
            nothing="none",
        ),
        stat(
            units.title(DROPPED), units.WHOLE, in_range(DROPPED, LOST),
            hint="In the whole range, without spans over their budget.", nothing="none", bad=1, instant=True,
        ),
        stat(
            units.title(OVERFLOW), units.WHOLE, in_range(OVERFLOW), hint="In the whole range.", bad=1, instant=True,
            nothing="none",
        ),
        stat("Collector: lost", "cps", given_up, hint="All signals, each second.", worse=0.01),
        stat(
            "Collector: fullest queue", units.RATIO, f"max({filled})", hint="A full queue drops what comes.",
            bad=0.5, worse=0.9,
        ),
    ],
)  # fmt: skip

PROGRAMS = Row(
    "What programs leave out",
    [
        told(
            DROPPED, LOST, stacked=True,
            hint="Values that are not finite or make no sense, and what did not fit into a queue.",
        ),
        told(ERRORS, hint="The program was unharmed; the log says each once.", stacked=True),
        told(OVERFLOW, hint="A label with too many values: look at what the component records.", stacked=True),
        timeseries(
            units.title(DROPPED, ": spans over budget"), units.rate_unit(DROPPED),
            Query(
                SCOPE.rate(
                    DROPPED, equals(semconv.OTELML_REASON, "span_budget"),
                    by=(semconv.OTELML_COMPONENT, semconv.SERVICE_NAME),
                ),
                legend(semconv.OTELML_COMPONENT, semconv.SERVICE_NAME),
            ),
            hint="Left out on purpose, each second: metrics count them all. OTELML_SPAN_BUDGET sets the budget.",
            width=12,
        ),
        timeseries(
            units.title(CALLS), units.rate_unit(CALLS),
            Query(
                SCOPE.rate(CALLS, by=(semconv.ML_GPU_CALL, semconv.ERROR_TYPE, semconv.SERVICE_NAME)),
                legend(semconv.ML_GPU_CALL, semconv.ERROR_TYPE, semconv.SERVICE_NAME),
            ),
            hint="Each second. What a device does not support is asked once and no error.", width=12,
        ),
    ],
)  # fmt: skip

COST = Row(
    "What watching costs",
    [
        timeseries(
            units.title(COLLECT, ", p50 and p95"), units.SECONDS,
            *(
                Query(
                    SCOPE.quantile(q, COLLECT, by=(semconv.SERVICE_NAME,)),
                    legend(semconv.SERVICE_NAME, text=f"p{q * 100:.0f}"),
                )
                for q in (0.5, 0.95)
            ),
            hint="On a thread of its own, every 5 s.",
        ),
        timeseries(
            units.title(elsewhere.SCRAPE_DURATION), units.SECONDS,
            Query(SCOPE.series(elsewhere.SCRAPE_DURATION), legend(*TARGET)),
            hint="A program collects while it is scraped.",
        ),
        timeseries(
            units.title(elsewhere.SCRAPE_SAMPLES), units.COUNT,
            Query(SCOPE.series(elsewhere.SCRAPE_SAMPLES), legend(*TARGET)),
            hint="What grows without end has a label that it should not have.",
        ),
    ],
)  # fmt: skip

COLLECTOR = Row(
    "The collector",
    [
        timeseries("Collector: accepted", "cps", *passed(elsewhere.ACCEPTED), hint="Each second."),
        timeseries(
            "Collector: delivered", "cps", *passed(elsewhere.SENT), hint="Each second, to all exporters together.",
        ),
        timeseries(
            "Collector: refused", "cps", *passed(elsewhere.REFUSED, elsewhere.ACCEPTED),
            hint="Each second. Memory runs out, or all queues are full.",
        ),
        timeseries(
            "Collector: failed to deliver", "cps", *passed(elsewhere.SEND_FAILED, elsewhere.SENT),
            hint="Each second: lost.",
        ),
        timeseries(
            "Collector: failed to queue", "cps", *passed(elsewhere.ENQUEUE_FAILED, elsewhere.SENT),
            hint="Each second: lost.",
        ),
        timeseries(
            "Collector: queues", units.RATIO, Query(filled, legend(*by_queue)),
            limit("collector_queue_nearly_full"),
            hint="The first over the second. While a destination is down, its queue fills.", most=1,
        ),
        timeseries(
            "Collector: CPUs in use", units.COUNT,
            Query(collector_rate(elsewhere.COLLECTOR_CPU, (elsewhere.INSTANCE,)), "{{instance}}"),
            hint="Seconds of CPU in a second.",
        ),
        timeseries(
            "Collector: memory", "bytes",
            Query(
                aggregate("max", (elsewhere.INSTANCE,), collector_series(elsewhere.COLLECTOR_MEMORY, JOB.matcher)),
                "{{instance}}",
            ),
        ),
        timeseries(
            "Collector: uptime", "s",
            Query(
                aggregate("max", (elsewhere.INSTANCE,), collector_series(elsewhere.COLLECTOR_UPTIME, JOB.matcher)),
                "{{instance}}",
            ),
            hint="It falls to 0 where the collector was restarted.",
        ),
    ],
)  # fmt: skip

BOARD = Board(
    uid="otelml-telemetry-health",
    title="Telemetry health",
    description="What programs and the collector drop, fail at and queue, and what watching costs.",
    scope=SCOPE,
    of=(semconv.METRIC_ML_STAGE_DURATION, semconv.METRIC_PROCESS_UNIX_FILE_DESCRIPTOR_COUNT, DROPPED, ERRORS),
    rows=(NOW, PROGRAMS, COST, COLLECTOR),
)
