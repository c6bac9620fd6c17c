"""What `Quantizer.observe` costs beside numpy's bare `bincount` of the same data, interleaved in one process."""

from __future__ import annotations

import gc
from statistics import mean, median
from time import perf_counter_ns

import numpy as np
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from otelml.instruments import drain
from otelml.quantizer import Quantizer

LIMIT = 3.0
VALUES = 100_000
ROUNDS = 300


def run() -> bool:
    """Measure each form of codes; whether the ratio holds for all of `VALUES` values."""
    drain.attach(MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False))
    random = np.random.default_rng(0)
    flat = random.integers(0, 240, VALUES)
    levels = random.integers(0, [8, 6, 5], (VALUES // 3, 3))
    print(f"\nobserve beside bincount of the same {VALUES} values, us (medians of {ROUNDS} pairs)")
    fine = [
        _compare("flat codes, codebook of 240", flat, levels=[8, 6, 5]),
        _compare("flat codes, 32 bits", flat.astype(np.int32), levels=[8, 6, 5]),
        _compare("flat codes, codebook of 16 384", random.integers(0, 16_384, VALUES), codebook_size=16_384),
        _compare("indices of three levels", levels, levels=[8, 6, 5]),
    ]
    _small_batches(flat)
    _large_codebook(random)
    return all(fine)


def _compare(name: str, codes: np.ndarray, **codebook) -> bool:
    quantizer = Quantizer(name, **codebook)
    size = quantizer.codebook.size
    values = codes.ravel()
    bare, observed = [], []
    gc.collect()
    for _ in range(ROUNDS):
        bare.append(_time_us(lambda: np.bincount(values, minlength=size)))
        observed.append(_time_us(lambda: quantizer.observe(codes)))
    quantizer.close()
    ratio = median(observed) / median(bare)
    fine = ratio <= LIMIT
    print(
        f"{name:34}{median(bare):8.0f}{median(observed):8.0f}   {ratio:.2f} x, limit {LIMIT:g} x  "
        f"{'ok' if fine else 'OVER'}"
    )
    return fine


def _small_batches(flat: np.ndarray) -> None:
    """A step of 32 codes, counting included: a thousand steps, and what they leave to be counted."""
    quantizer = Quantizer("small", levels=[8, 6, 5])
    batch = flat[:32]

    def steps() -> None:
        for _ in range(1000):
            quantizer.observe(batch)
        quantizer.settle(may_wait=False)

    print(f"{'a batch of 32':34}{'':8}{median(_time_us(steps) for _ in range(30)) / 1000:8.1f}")
    quantizer.close()


def _large_codebook(random: np.random.Generator) -> None:
    """A million codes: a batch, and the statistics, which pass over the whole codebook at each collection."""
    quantizer = Quantizer("large", codebook_size=1_000_000, min_codes=1)
    batch = random.integers(0, 1_000_000, VALUES)
    # The mean: batches this small beside the codebook wait, and every third counts for all of them.
    observed = mean(_time_us(lambda: quantizer.observe(batch)) for _ in range(100))

    def read() -> None:
        quantizer.observe(batch[:1])
        quantizer.stats()

    print(f"{'a codebook of a million':34}{'':8}{observed:8.0f}   its stats(): {_time_us(read) / 1e3:.1f} ms")
    quantizer.close()


def _time_us(work) -> float:
    start = perf_counter_ns()
    work()
    return (perf_counter_ns() - start) / 1e3
