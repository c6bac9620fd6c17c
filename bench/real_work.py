"""18 us of real work in a stage, many times: how much slower is the whole loop, the drain thread running as in life."""

from __future__ import annotations

from time import perf_counter_ns

import numpy as np
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

import otelml
from otelml.instruments import drain

LIMIT = 0.05
CALLS = 100_000
SLICE = 2_000


def run() -> bool:
    """Interleave slices of the two loops, a hundred thousand calls of each, and compare the sums and the medians."""
    drain.attach(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    work = _work_of_18_us()
    bare, staged = [], []
    for _ in range(CALLS // SLICE):
        bare.append(_bare(work, SLICE))
        staged.append(_staged(work, SLICE))
    slower = float(np.median(staged) / np.median(bare)) - 1
    per_call_us = float(np.median(bare)) / SLICE / 1e3
    print(
        f"\n{CALLS} stages of {per_call_us:.1f} us of work: the loop is {slower:+.1%} slower (median of slices; "
        f"{sum(staged) / sum(bare) - 1:+.1%} by the sums); limit {LIMIT:.0%}  {'ok' if slower <= LIMIT else 'OVER'}"
    )
    return slower <= LIMIT


def _work_of_18_us():
    """A numpy function over an array of a size that takes about 18 us on this machine; no BLAS, so on one thread."""
    size = 256
    while True:
        values = np.linspace(0, 1, size)
        if min(_bare(lambda values=values: np.tanh(values), 200) / 200 for _ in range(9)) >= 18_000:
            return lambda: np.tanh(values)
        size += 64


def _bare(work, n: int) -> int:
    start = perf_counter_ns()
    for _ in range(n):
        work()
    return perf_counter_ns() - start


def _staged(work, n: int) -> int:
    stage = otelml.stage("fusion")
    start = perf_counter_ns()
    for _ in range(n):
        with stage:
            work()
    return perf_counter_ns() - start
