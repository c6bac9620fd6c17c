"""What a run costs: a step of `epoch.steps` where no terminal is, `run.update` and `run.log`, and a step by hand."""

from __future__ import annotations

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Histogram

import otelml
from bench import measure
from bench.measure import Row
from otelml.instruments import drain, table, timer
from otelml.training import run as start_run

LIMIT_F = 12.0


class _Batch:
    """As much of an array as counting its samples asks for."""

    shape = (32, 64)


def run() -> bool:
    """Measure, print, and say whether the limit holds."""
    drain.attach(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    measure.pin_to_one_core()
    otelml.counter("bench.warm").bind()
    timer.stop()  # its share of the work is measured by `hot_path`
    observe = Histogram("p", "p", ["a"], registry=CollectorRegistry()).labels("b").observe
    with start_run("bench") as active:
        loops = {"F": measure.floor, "prometheus_client observe (P)": _observe(observe), **_loops(active)}
        best = measure.interleave(loops, between=lambda: table.drain_now(everything=True))
    f = best.pop("F")
    rows = [_row(name, ns, f) for name, ns in best.items()]
    return measure.show("A training step, no terminal", rows, f, best["prometheus_client observe (P)"])


def _row(name: str, ns: float, f: float) -> Row:
    if not name.startswith("epoch.steps"):
        return Row(name, ns)
    return Row(name, ns, f"{LIMIT_F:g} F", ns <= LIMIT_F * f)


def _observe(observe):
    def loop(n: int) -> None:
        for _ in range(n):
            observe(0.5)

    return loop


def _loops(active):
    epoch = active.open_epoch(0, 1)
    batch, metrics = _Batch(), {"loss": 0.5, "lr": 0.1}

    def steps(n: int) -> None:
        for _ in epoch.steps([None] * n):
            pass

    def steps_with_samples(n: int) -> None:
        for _ in epoch.steps([batch] * n):
            pass

    def by_hand(n: int) -> None:
        for _ in range(n):
            with active.step(samples=32):
                pass

    def update(n: int) -> None:
        for _ in range(n):
            active.update(metrics)

    return {
        "epoch.steps, nothing to count": steps,
        "epoch.steps, samples counted": steps_with_samples,
        "with run.step(samples=)": by_hand,
        "run.update, 2 metrics": update,
    }
