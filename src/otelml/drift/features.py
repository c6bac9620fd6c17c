"""What a reference knows of one feature, and how a batch becomes a vector that adds up, across ranks as well."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from otelml.drift.bins import ClassBins, NumericBins
from otelml.drift.columns import as_array, as_numbers, as_rows
from otelml.drift.noise import Noise, of_mean
from otelml.drift.projection import Projection
from otelml.drift.scores import DEFAULT_THRESHOLD, DIFFERENCE, Measured, compare
from otelml.instruments import internal

if TYPE_CHECKING:
    import numpy as np

    Vector = np.ndarray[Any, np.dtype[np.float64]]

Found = dict[str, Measured]
"""By method."""

NUMERIC, CATEGORICAL, EMBEDDING, CONFIDENCE, PERFORMANCE = KINDS = (
    "numeric",
    "categorical",
    "embedding",
    "confidence",
    "performance",
)

DRIFT_KINDS = ("distribution", CONFIDENCE, PERFORMANCE)
"""The values of `ml.drift.kind`."""

_PER_BIN = 10
_LEAST_SCORES = 30


def drift_kind(kind: str) -> str:
    """The value of `ml.drift.kind` for a feature of `kind`."""
    return kind if kind in DRIFT_KINDS else "distribution"


class Feature(Protocol):
    """One feature of a reference. Vectors are float64, in which counts are exact up to 2^53."""

    @property
    def name(self) -> str:
        """As in the data."""

    @property
    def kind(self) -> str:
        """One of `KINDS`."""

    @property
    def thresholds(self) -> Mapping[str, float]:
        """Those that were calibrated, by method."""

    @property
    def size(self) -> int:
        """Length of the vectors."""

    @property
    def min_count(self) -> int:
        """Observations, of a window and of the reference, below which a score says more about chance than drift."""

    @property
    def rows(self) -> float:
        """Observations that the reference holds; infinite where it was given as one number."""

    @property
    def default_threshold(self) -> float:
        """Where none was given or calibrated."""

    def tally(self, values: Any) -> Vector:
        """The vector of a batch.

        Raises:
            BadColumnError: it cannot be counted.
        """

    def observations(self, vector: Vector) -> float:
        """How many observations a vector holds."""

    def compare(self, vector: Vector, n: float) -> Found:
        """Every method that applies to a vector that stands for `n` observations."""

    def with_reference(self, vector: Vector) -> Feature:
        """The same with `vector` as what the reference holds."""

    def with_thresholds(self, thresholds: Mapping[str, float]) -> Feature:
        """The same with calibrated thresholds."""


@dataclass(frozen=True)
class Part:
    """One set of bins of a feature, and the reference's counts in them; an embedding has several."""

    name: str
    bins: NumericBins | ClassBins
    counts: tuple[int, ...]

    @property
    def proportions(self) -> list[float]:
        """The reference's share of each bin."""
        m = sum(self.counts)
        return [count / m for count in self.counts]


@dataclass(frozen=True)
class Distribution:
    """A feature that is compared by its counts in frozen bins; of several parts, the mean over them counts."""

    name: str
    kind: str
    parts: tuple[Part, ...]
    projection: Projection | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return sum(part.bins.size for part in self.parts)

    @property
    def min_count(self) -> int:
        """Ten observations a bin: there the noise floor of psi has come down to the default threshold."""
        return _PER_BIN * max(sum(count > 0 for count in part.counts) for part in self.parts)

    @property
    def rows(self) -> float:
        return sum(self.parts[0].counts)

    @property
    def default_threshold(self) -> float:
        return DEFAULT_THRESHOLD

    def tally(self, values: Any) -> Vector:
        import numpy as np

        counts = [part.bins.count(c) for part, c in zip(self.parts, self._columns(values), strict=True)]
        return np.concatenate(counts).astype(np.float64)

    def _columns(self, values: Any) -> list[Any]:
        if self.projection is not None:
            return self.projection.apply(as_rows(values, self.projection.dimensions))
        return [as_array(values, 1) if self.kind == CATEGORICAL else as_numbers(values)]

    def observations(self, vector: Vector) -> float:
        return float(vector.sum()) / len(self.parts)

    def compare(self, vector: Vector, n: float) -> Found:
        import numpy as np

        found = [
            compare(np.array(part.counts, dtype=np.float64), counts, n, part.bins.ordered)
            for part, counts in self.split(vector)
        ]
        shared = [name for name in found[0] if all(name in each for each in found)]
        return {name: _average([each[name] for each in found]) for name in shared}

    def split(self, vector: Vector) -> Iterator[tuple[Part, Vector]]:
        """Each part with its section of a vector."""
        start = 0
        for part in self.parts:
            yield part, vector[start : start + part.bins.size]
            start += part.bins.size

    def with_reference(self, vector: Vector) -> Distribution:
        parts = tuple(replace(part, counts=tuple(map(int, counts))) for part, counts in self.split(vector))
        return replace(self, parts=parts)

    def with_thresholds(self, thresholds: Mapping[str, float]) -> Distribution:
        return replace(self, thresholds=dict(thresholds))


def _average(found: list[Measured]) -> Measured:
    """Of the parts; the limit is that of parts that vary as one, an upper bound."""
    value = math.fsum(each.value for each in found) / len(found)
    floor = math.fsum(each.noise.floor for each in found) / len(found)
    limit = math.fsum(each.noise.limit for each in found) / len(found)
    return Measured(value, Noise(floor, limit))


@dataclass(frozen=True)
class Performance:
    """A score of the model (accuracy, a loss, ...) that is compared by its mean with the reference's.

    Its vector is the number of scores, the sum of their differences from `origin`, and the sum of those squared:
    measured from near the mean, nothing cancels.

    Attributes:
        mean: the reference score.
        variance: of single scores in the reference; 0 where only the score is known.
        count: scores in the reference; 0 where only the score is known.
        lower_is_better: as for a loss. Drift is what is worse.
    """

    name: str
    mean: float
    variance: float = 0.0
    count: int = 0
    origin: float = 0.0
    lower_is_better: bool = False
    thresholds: Mapping[str, float] = field(default_factory=dict)
    kind: str = PERFORMANCE

    @property
    def size(self) -> int:
        return 3

    @property
    def min_count(self) -> int:
        """Thirty scores, from which on a mean may be taken for normally distributed."""
        return _LEAST_SCORES

    @property
    def rows(self) -> float:
        return self.count or math.inf

    @property
    def default_threshold(self) -> float:
        """A tenth of the mean, whatever the scores' unit; of a mean of 0 the noise alone decides."""
        return DEFAULT_THRESHOLD * abs(self.mean)

    def tally(self, values: Any) -> Vector:
        """Scores that are not finite are left out, and counted so."""
        import numpy as np

        scores = as_numbers(values).astype(np.float64, copy=False)
        finite = np.isfinite(scores)
        if not finite.all():
            internal.count("dropped", "drift", "non_finite_value", int(scores.size - finite.sum()))
        differences = scores[finite] - self.origin
        with np.errstate(over="ignore"):
            return np.array([differences.size, differences.sum(), np.einsum("i,i", differences, differences)])

    def observations(self, vector: Vector) -> float:
        return float(vector[0])

    def compare(self, vector: Vector, n: float) -> Found:
        """`difference`: how much worse the mean is."""
        mean, variance = _moments(vector)
        worse = self.origin + mean - self.mean if self.lower_is_better else self.mean - self.origin - mean
        spread = variance / n + (self.variance / self.count if self.count else 0.0)
        if not (math.isfinite(worse) and math.isfinite(spread)):
            return {}
        return {DIFFERENCE: Measured(worse, of_mean(math.sqrt(spread)))}

    def with_reference(self, vector: Vector) -> Performance:
        mean, variance = _moments(vector)
        return replace(self, mean=self.origin + mean, variance=variance, count=int(vector[0]))

    def with_thresholds(self, thresholds: Mapping[str, float]) -> Performance:
        return replace(self, thresholds=dict(thresholds))


def _moments(vector: Vector) -> tuple[float, float]:
    """Mean and variance of what a performance vector holds."""
    n, total, squares = (float(x) for x in vector)
    mean = total / n
    return mean, max(0.0, squares / n - mean * mean)
