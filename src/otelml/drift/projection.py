"""Embeddings as a few numbers each: projections onto random directions that never change, or each dimension."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

NORM = "norm"


@dataclass(frozen=True)
class Projection:
    """Turns rows of an embedding into columns of numbers.

    Random signs divided by sqrt(dimensions) project nearly as well as normal ones (Achlioptas 2003), and come off a
    hash: the same on every machine and with every version of numpy, with nothing to store but the seed.

    Attributes:
        dimensions: of the embedding.
        count: how many directions; 0 for the dimensions themselves.
        seed: of the directions.
    """

    dimensions: int
    count: int
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """`p0`, `p1`, ..., `norm`; or `0`, `1`, ... for the dimensions themselves."""
        if self.count:
            return (*(f"p{i}" for i in range(self.count)), NORM)
        return tuple(map(str, range(self.dimensions)))

    @cached_property
    def directions(self) -> Any:
        """Shape (dimensions, count), float64."""
        import numpy as np

        wanted = self.dimensions * self.count
        key = f"otelml.drift.projection:{self.seed}".encode()
        bits = np.unpackbits(np.frombuffer(hashlib.shake_256(key).digest(-(-wanted // 8)), dtype=np.uint8))
        signs = bits[:wanted].astype(np.float64) * 2 - 1
        return signs.reshape(self.count, self.dimensions).T / np.sqrt(self.dimensions)

    def apply(self, rows: Any) -> list[Any]:
        """The columns of numbers, each of shape (n,), of `rows` of shape (n, dimensions); a row with NaN gives NaN."""
        import numpy as np

        if not self.count:
            return [rows[:, i] for i in range(self.dimensions)]
        with np.errstate(invalid="ignore", over="ignore"):
            rows = rows.astype(np.float64, copy=False)
            projected = rows @ self.directions
            return [*(projected[:, i] for i in range(self.count)), np.sqrt(np.einsum("ij,ij->i", rows, rows))]
