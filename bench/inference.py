"""What an inference costs the thread that makes it, its span budget used up; and its results, in bulk."""

from __future__ import annotations

from functools import partial
from time import perf_counter_ns

import numpy as np
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Histogram

from bench import measure
from bench.measure import Row
from otelml.inferences import identity, inference, record_inference
from otelml.instruments import drain, table, timer

CALLS = 4000
VALUES = 100_000
LIMITS = {
    "inference held": 10.0,
    "inference made anew, version, device, batch": 10.0,
    "inference as decorator": 10.0,
}


def run() -> bool:
    """Measure, print, and say whether all limits hold."""
    drain.attach(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    measure.pin_to_one_core()
    loops = _loops()
    # Its share is measured in hot_path; here it would only add noise.
    timer.stop()
    best = measure.interleave({"F": measure.floor, **loops}, calls=CALLS, between=_spend_and_drain)
    f, p = best.pop("F"), best.pop("prometheus_client observe (P)")
    rows = [_row(name, ns, f) for name, ns in best.items()]
    rows += [Row(f"{name}, a value", ns) for name, ns in _in_bulk().items()]
    return measure.show("Inference (metrics only)", rows, f, p)


def _row(name: str, ns: float, f: float) -> Row:
    limit = LIMITS.get(name)
    return Row(name, ns) if limit is None else Row(name, ns, f"{limit} F", ns <= limit * f)


def _spend_and_drain() -> None:
    """Empty the buffers, and take the budget away: the inferences measured here are the ones without a span."""
    table.drain_now(everything=True)
    state = identity.identity_of("resnet50", "3", "cuda:0")
    state.tokens = state.failed = state.outlier = 0.0


def _loops():
    observe = Histogram("p", "p", ["a"], registry=CollectorRegistry()).labels("b").observe

    def observed(n: int) -> None:
        for _ in range(n):
            observe(0.5)

    return {"prometheus_client observe (P)": observed, **_blocks(), **_calls()}


def _blocks():
    held = inference("resnet50", version="3", device="cuda:0", batch_size=32)

    def hold(n: int) -> None:
        for _ in range(n):
            with held:
                pass

    def anew(n: int) -> None:
        for _ in range(n):
            with inference("resnet50", version="3", device="cuda:0", batch_size=32):
                pass

    return {"inference held": hold, "inference made anew, version, device, batch": anew}


def _calls():
    held = inference("resnet50", version="3", device="cuda:0", batch_size=32)

    @held
    def decorated() -> None:
        pass

    def decorate(n: int) -> None:
        for _ in range(n):
            decorated()

    def results(n: int) -> None:
        for _ in range(n):
            held.confidence(0.9)
            held.predicted("technology")

    def recorded(n: int) -> None:
        for _ in range(n):
            record_inference("resnet50", 0.01, version="3", device="cuda:0", batch_size=32)

    return {
        "inference as decorator": decorate,
        "confidence and predicted, one each": results,
        "record_inference": recorded,
    }


def _in_bulk() -> dict[str, float]:
    """ns a value of arrays of results, beside what numpy takes for the classes alone."""
    random, made = np.random.default_rng(1), inference("resnet50")
    scores, classes = random.random(VALUES), random.integers(0, 900, VALUES)
    return {
        "confidence": _best(partial(made.confidence, scores)),
        "predicted": _best(partial(made.predicted, classes)),
        "(numpy.bincount of the classes)": _best(partial(np.bincount, classes)),
    }


def _best(call) -> float:
    best = float("inf")
    for _ in range(15):
        start = perf_counter_ns()
        call()
        best = min(best, (perf_counter_ns() - start) / VALUES)
        table.drain_now(everything=True)
    return best
