"""When a quantizer has collapsed: said once an episode, and over only when it has clearly recovered."""

from __future__ import annotations

import math
from dataclasses import dataclass

from otelml import events
from otelml.quantizer.statistics import CodebookStats


@dataclass(frozen=True)
class Threshold:
    """A measure of `CodebookStats`, below what it has collapsed, and from what on it has recovered."""

    measure: str
    below: float
    recovered_from: float


def create_thresholds(
    codebook_size: int, min_perplexity: float | None, min_entropy_utilization: float | None, hysteresis: float
) -> tuple[Threshold, ...]:
    """The thresholds of these bounds, None for none; recovery is `hysteresis` above, at most half way to the best.

    Raises:
        ValueError: a bound can never be met, or `hysteresis` is negative.
    """
    if not 0 <= hysteresis < math.inf:
        raise ValueError(f"hysteresis must be 0 or more, such as 0.1, not {hysteresis!r}")
    bounds = (
        ("perplexity", min_perplexity, float(codebook_size)),
        ("entropy_utilization", min_entropy_utilization, 1.0),
    )
    return tuple(
        _threshold(measure, bound, best, hysteresis) for measure, bound, best in bounds if bound is not None
    )


def _threshold(measure: str, bound: float, best: float, hysteresis: float) -> Threshold:
    if not 0 < bound <= best:
        raise ValueError(f"min_{measure} must be above 0 and at most {best:g}, not {bound!r}")
    return Threshold(measure, bound, min(bound * (1 + hysteresis), (bound + best) / 2))


class Episode:
    """Follows one quantizer: `judge` says which threshold begins an episode."""

    __slots__ = ("_thresholds", "collapsed")

    def __init__(self, thresholds: tuple[Threshold, ...]) -> None:
        self._thresholds = thresholds
        self.collapsed = False

    def judge(self, stats: CodebookStats) -> Threshold | None:
        """The threshold by which an episode begins with these statistics; None while nothing begins."""
        values = [(threshold, getattr(stats, threshold.measure)) for threshold in self._thresholds]
        if self.collapsed:
            self.collapsed = any(value < threshold.recovered_from for threshold, value in values)
            return None
        begun = next((threshold for threshold, value in values if value < threshold.below), None)
        self.collapsed = begun is not None
        return begun


def emit_collapse(quantizer: str, threshold: Threshold, stats: CodebookStats) -> None:
    """Write the event `quantizer_collapse`, a WARNING."""
    what = f"{threshold.measure.replace('_', ' ')} {getattr(stats, threshold.measure):.3g}"
    events.emit(
        "quantizer_collapse",
        quantizer=quantizer,
        measure=threshold.measure,
        threshold=threshold.below,
        perplexity=stats.perplexity,
        entropy_utilization=stats.entropy_utilization,
        code_utilization=stats.code_utilization,
        dead_codes=stats.dead_codes,
        codebook_size=stats.codebook_size,
        window_codes=stats.window,
        message=f"Quantizer {quantizer} has collapsed: {what} is below {threshold.below:g}; {stats.dead_codes} of "
        f"{stats.codebook_size} codes were not seen among the last {stats.window}",
    )
