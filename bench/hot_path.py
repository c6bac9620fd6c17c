"""Recording and stages: what a call costs the thread that makes it, and with the drain's share."""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
from time import perf_counter_ns
from typing import Any

import numpy as np
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Histogram

import otelml
from bench import measure
from bench.measure import Row
from otelml.instruments import drain, table, timer
from otelml.stages import names as stage_names

CALLS = 4000


def run() -> bool:
    """Measure, print, and say whether all limits hold."""
    drain.attach(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    measure.pin_to_one_core()
    loops = _loops()
    stage_names.of("held")
    # Its share is measured by itself below; here it would only add noise.
    timer.stop()
    best = measure.interleave({"F": measure.floor, **loops}, calls=CALLS, between=_spend_and_drain)
    f, p = best.pop("F"), best["prometheus_client observe (P)"]
    share, many = _drain_share(), _record_many()
    rows = [_row(name, ns, f) for name, ns in best.items()]
    rows.append(
        Row(
            "... bound record and its share of the drain",
            best["bound record"] + share,
            "0.3 P",
            best["bound record"] + share <= 0.3 * p,
        )
    )
    rows.append(Row("record_many, a value", many, "0.1 F", many <= 0.1 * f))
    fine = measure.show("Recording and stages (stages out of budget)", rows, f, p)
    return _disabled(f, p) and fine


LIMITS = {
    "bound record": 0.3,
    "bound add": 0.3,
    "bound set": 0.3,
    "unbound record, 2 attributes": 3.0,
    "stage held": 5.5,
    "stage made anew, 2 keywords": 7.5,
    "stage as decorator": 3.5,
    "disabled: stage held": 1.5,
    "disabled: stage made anew, 2 keywords": 4.0,
}


def _row(name: str, ns: float, f: float) -> Row:
    limit = LIMITS.get(name)
    return Row(name, ns) if limit is None else Row(name, ns, f"{limit} F", ns <= limit * f)


def _spend_and_drain() -> None:
    """Empty the buffers, and take the budget away: the stages measured here are the ones without a span."""
    table.drain_now(everything=True)
    for state in stage_names.names.values():
        state.tokens = state.failed = state.outlier = 0.0


def _loops() -> dict[str, Any]:
    observe = Histogram("p", "p", ["a"], registry=CollectorRegistry()).labels("b").observe
    histogram = otelml.histogram("bench.h", unit="s")
    record = histogram.bind(a="b", c="d").record
    add, set_ = otelml.counter("bench.c").bind(a="b").add, otelml.gauge("bench.g").bind(a="b").set
    unbound, attributes = histogram.record, {"a": "b", "c": "d"}
    return {
        "prometheus_client observe (P)": _repeat(observe, 0.5),
        "bound record": _repeat(record, 0.5),
        "bound add": _repeat(add, 1),
        "bound set": _repeat(set_, 0.5),
        "unbound record, 2 attributes": _repeat(unbound, 0.5, attributes),
        **_stage_loops(),
    }


def _repeat(call: Any, *args: Any) -> Any:
    one = args[0]
    if len(args) == 1:

        def loop(n: int) -> None:
            for _ in range(n):
                call(one)
    else:
        two = args[1]

        def loop(n: int) -> None:
            for _ in range(n):
                call(one, two)

    return loop


def _stage_loops() -> dict[str, Any]:
    held = otelml.stage("held")

    def hold(n: int) -> None:
        for _ in range(n):
            with held:
                pass

    def anew(n: int) -> None:
        for _ in range(n):
            with otelml.stage("held", batch=8, size=4):
                pass

    @otelml.stage("held")
    def decorated() -> None:
        pass

    def decorate(n: int) -> None:
        for _ in range(n):
            decorated()

    return {"stage held": hold, "stage made anew, 2 keywords": anew, "stage as decorator": decorate}


def _drain_share() -> float:
    """ns a value that the drain takes, on another thread, for a value recorded here."""
    bound = otelml.histogram("bench.drain", unit="s").bind()
    values = [random.Random(1).lognormvariate(-8, 1) for _ in range(100_000)]
    best = float("inf")
    for _ in range(7):
        with table.drain_lock:
            bound.buffer.extend(values)
            start = perf_counter_ns()
            bound.drain()
            best = min(best, (perf_counter_ns() - start) / len(values))
    return best


def _record_many() -> float:
    bound = otelml.histogram("bench.many", unit="s").bind()
    values = np.random.default_rng(1).lognormal(-8, 1, 100_000)
    best = float("inf")
    for _ in range(7):
        start = perf_counter_ns()
        bound.record_many(values)
        best = min(best, (perf_counter_ns() - start) / values.size)
        table.drain_now(everything=True)
    return best


def _disabled(f: float, p: float) -> bool:
    """The same stages with the SDK disabled, which is decided once a process: in a child, against its own floor."""
    code = (
        "from bench import hot_path, measure; measure.pin_to_one_core();"
        "loops = {'F': measure.floor, **hot_path._stage_loops()};"
        "print(measure.interleave(loops, between=lambda: None))"
    )
    environ = {**os.environ, "OTEL_SDK_DISABLED": "true"}
    out = subprocess.run(
        [sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True
    ).stdout
    best = ast.literal_eval(out)
    own_f = best.pop("F")
    rows = [_row(f"disabled: {name}", ns * f / own_f, f) for name, ns in best.items()]
    return measure.show("With OTEL_SDK_DISABLED=true", rows, f, p)
