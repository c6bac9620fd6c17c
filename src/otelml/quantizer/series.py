"""The metrics of all quantizers of the process: who is shown under which name, and when they are worked on."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from otelml import instruments
from otelml.instruments import internal, timer
from otelml.instruments.attributes import clean_attributes
from otelml.instruments.bound import NOOP_BOUND
from otelml.semconv import _generated as semconv

if TYPE_CHECKING:
    from otelml.instruments.observed import Reading, Source
    from otelml.quantizer.core import Quantizer
    from otelml.quantizer.statistics import CodebookStats
    from otelml.semconv.model import Metric

MAX_SHOWN = semconv.ATTRIBUTES[semconv.ML_QUANTIZER_NAME].cardinality or 20
"""Names that have series: a bound on them, and on the counts that are kept for them."""

_READ: tuple[tuple[Metric, Callable[[CodebookStats], float]], ...] = (
    (semconv.METRIC_ML_QUANTIZER_PERPLEXITY, lambda stats: stats.perplexity),
    (semconv.METRIC_ML_QUANTIZER_ENTROPY_UTILIZATION, lambda stats: stats.entropy_utilization),
    (semconv.METRIC_ML_QUANTIZER_CODE_UTILIZATION, lambda stats: stats.code_utilization),
    (semconv.METRIC_ML_QUANTIZER_CODE_DEAD, lambda stats: stats.dead_codes),
)

_shown: dict[str, tuple[Quantizer, Mapping[str, Any]]] = {}
# Those that are not shown count too, and have a lock that a fork may leave held. A list: another thread may add to it
# while one goes through it.
_all: list[weakref.ref[Quantizer]] = []
_sources: list[Source] = []


def register(quantizer: Quantizer) -> Any:
    """Show the metrics of `quantizer`; returns the series of its counter, for as long as it is shown."""
    _all.append(weakref.ref(quantizer))
    _start_observing()
    if quantizer.name not in _shown and len(_shown) >= MAX_SHOWN:
        internal.count("overflow", "quantizer", "quantizers")
        internal.warn_once(
            "quantizer:overflow",
            "otelml: more than %d quantizers have metrics; from %s on, new ones have none until others are closed",
            MAX_SHOWN,
            quantizer.name,
        )
        return NOOP_BOUND
    if quantizer.name in _shown:
        internal.inform_once(
            f"quantizer:{quantizer.name}:again",
            "otelml: another quantizer is named %s; from now on the metrics of that name are its",
            quantizer.name,
        )
        _shown[quantizer.name][0].withdraw()
    attributes = clean_attributes({semconv.ML_QUANTIZER_NAME: quantizer.name}, "ml.quantizer")
    _shown[quantizer.name] = (quantizer, attributes)
    return instruments.counter(semconv.METRIC_ML_QUANTIZER_CODES).bind(attributes)


def unregister(quantizer: Quantizer) -> None:
    """The end of `register`: its series are gone from now on."""
    shown = _shown.get(quantizer.name)
    if shown is not None and shown[0] is quantizer:
        del _shown[quantizer.name]
        quantizer.withdraw().release()


def _start_observing() -> None:
    if _sources:
        return
    _sources.append(_read_sizes)
    instruments.observe(semconv.METRIC_ML_QUANTIZER_CODE_LIMIT, _read_sizes)
    for metric, value_of in _READ:
        source = partial(_read_stats, value_of)
        _sources.append(source)
        instruments.observe(metric, source)
    timer.tick_hooks.append(_on_tick)
    timer.fork_hooks.append(_start_anew)


def _read_sizes() -> list[Reading]:
    return [(quantizer.codebook.size, attributes) for quantizer, attributes in list(_shown.values())]


def _read_stats(value_of: Callable[[CodebookStats], float]) -> list[Reading]:
    readings: list[Reading] = []
    for quantizer, attributes in list(_shown.values()):
        quantizer.settle(may_wait=False)
        stats = quantizer.judge()
        if stats is not None:
            readings.append((value_of(stats), attributes))
    return readings


def _on_tick(elapsed_s: float) -> None:
    # No time passes in a tick that somebody asked for: a flush, which wants everything.
    for reference in _all[:]:
        quantizer = reference()
        if quantizer is None:
            _all.remove(reference)
            continue
        with internal.guard("quantizer"):
            quantizer.on_tick(is_flush=elapsed_s == 0)


def _start_anew() -> None:
    for reference in _all:
        quantizer = reference()
        if quantizer is not None:
            quantizer.start_anew()


def reset() -> None:
    """Forget every quantizer: for tests."""
    if _sources:
        timer.tick_hooks.remove(_on_tick)
        timer.fork_hooks.remove(_start_anew)
    for source in _sources:
        instruments.stop_observing(source)
    _sources.clear()
    _shown.clear()
    _all.clear()
