"""What counts of codes say about the use of a codebook: pure functions of counts.

Formulas: entropy and its exponential as in Cover and Thomas, "Elements of Information Theory" (2006), chapter 2;
perplexity of a codebook as in van den Oord et al., "Neural Discrete Representation Learning" (2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from otelml.events.derived import FAIR_USAGE, GOOD_USAGE
from otelml.quantizer.codebook import Codebook

Verdict = Literal["good", "fair", "poor"]


@dataclass(frozen=True)
class CodebookStats:
    """The use of a codebook in a window of codes.

    `perplexity` is `exp(H)`, with `H` the entropy of the codes in nats: the number of equally likely codes of the same
    entropy, from 1 to `codebook_size`. `entropy_utilization` is `H / log(codebook_size)`, `code_utilization` the share
    of codes that were seen, `dead_codes` the number of those that were not, `top_code_share` the share of the most
    frequent one; ratios are from 0 to 1. `level_utilization` has, for each dimension of an FSQ quantizer, the share of
    its levels that were seen; it is None for a plain codebook. `window` is the number of codes all that is about,
    `codes` the number since the start.
    """

    codebook_size: int
    perplexity: float
    entropy_utilization: float
    code_utilization: float
    dead_codes: int
    top_code_share: float
    level_utilization: tuple[float, ...] | None
    window: int
    codes: int

    @property
    def codebook_utilization(self) -> Verdict:
        """`code_utilization` in a word, see `describe_utilization`."""
        return describe_utilization(self.code_utilization)


def describe_utilization(code_utilization: float) -> Verdict:
    """The share of codes that are in use, in a word: good from 0.7 of them, fair from 0.3, poor below."""
    if code_utilization >= GOOD_USAGE:
        return "good"
    return "fair" if code_utilization >= FAIR_USAGE else "poor"


def compute_stats(counts: Any, codebook: Codebook, codes: int) -> CodebookStats:
    """The statistics of `counts`, an integer array of shape (codebook size,) whose sum is not 0.

    Takes about 10 ns a code of the codebook.
    """
    import numpy as np

    seen = counts[counts > 0]
    window = int(seen.sum())
    shares = seen / window
    # One code makes -0.0. Rounding may leave the entropy just above the most that so many codes can have.
    entropy = min(max(0.0, -float((shares * np.log(shares)).sum())), math.log(seen.size))
    return CodebookStats(
        codebook_size=codebook.size,
        perplexity=min(math.exp(entropy), float(seen.size)),
        entropy_utilization=entropy / math.log(codebook.size),
        code_utilization=seen.size / codebook.size,
        dead_codes=codebook.size - int(seen.size),
        top_code_share=int(seen.max()) / window,
        level_utilization=_level_utilization(counts, codebook),
        window=window,
        codes=codes,
    )


def _level_utilization(counts: Any, codebook: Codebook) -> tuple[float, ...] | None:
    if codebook.levels is None:
        return None
    return tuple(float((level > 0).mean()) for level in codebook.level_counts(counts))
