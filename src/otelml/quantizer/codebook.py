"""The shape of a codebook: its size, its levels, and how indices of levels and flat codes belong together."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MAX_SIZE = 1 << 24
"""Codes of the largest codebook that can be counted: counting takes up to 80 bytes a code, 1.3 GB for that one."""


@dataclass(frozen=True)
class Codebook:
    """A codebook of `size` codes.

    `levels` are the values that each dimension of an FSQ quantizer takes, None of a plain codebook. The flat code of
    the indices `i` is `i[0] + levels[0] * (i[1] + levels[1] * (i[2] + ...))`: the first dimension varies fastest, as
    in appendix A of Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple" (2023).
    """

    size: int
    levels: tuple[int, ...] | None = None

    def level_counts(self, counts: Any) -> list[Any]:
        """How often each value of each dimension occurs; from the counts of all codes, shape (size,)."""
        if self.levels is None:
            return []
        cube = counts.reshape(self.levels, order="F")
        axes = range(len(self.levels))
        return [cube.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes]


def create_codebook(levels: Iterable[int] | None, codebook_size: int | None) -> Codebook:
    """The codebook of these levels or of that size.

    Raises:
        ValueError: neither or both are given without agreeing, a number is below 2, or the codebook is larger than
            `MAX_SIZE`.
        TypeError: a number is not an integer.
    """
    if levels is None:
        if codebook_size is None:
            raise ValueError("a quantizer needs levels=[8, 6, 5] or codebook_size=240")
        return Codebook(_checked("codebook_size", codebook_size))
    sizes = tuple(_checked("each of levels", level) for level in levels)
    if not sizes:
        raise ValueError("levels are empty; give one number a dimension, such as levels=[8, 6, 5]")
    # Python's integers do not overflow: a product beyond 64 bits is refused like any that is too large.
    size = _checked("the product of levels", math.prod(sizes))
    if codebook_size is not None and operator.index(codebook_size) != size:
        raise ValueError(f"levels {list(sizes)} make {size} codes, not codebook_size={codebook_size}")
    return Codebook(size, sizes)


def _checked(what: str, number: int) -> int:
    if isinstance(number, bool):
        raise TypeError(f"{what} must be an integer, not {number!r}")
    size = operator.index(number)
    if size < 2:
        raise ValueError(f"{what} must be at least 2, not {size}: with one code there is nothing to measure")
    if size > MAX_SIZE:
        raise ValueError(f"{what} must be at most {MAX_SIZE}, not {size}")
    return size
