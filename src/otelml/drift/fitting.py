"""Makes the features of a reference from data: what kind each column is, its bins, and thresholds by chunks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from otelml.drift.bins import ClassBins, NumericBins
from otelml.drift.columns import (
    BadColumnError,
    as_array,
    as_numbers,
    as_rows,
    holds_dates,
    is_numeric,
    plain_array,
)
from otelml.drift.features import (
    CATEGORICAL,
    EMBEDDING,
    KINDS,
    NUMERIC,
    PERFORMANCE,
    Distribution,
    Feature,
    Found,
    Part,
    Performance,
)
from otelml.drift.projection import Projection
from otelml.drift.scores import DIFFERENCE

LEAST_THRESHOLD = 0.01
"""No calibrated threshold is below: what differs by so little is of no consequence, however steady it was.

That is not so of `difference`, which has the unit of the scores.
"""

LEAST_CHUNKS = 5
"""A standard deviation of fewer scores says nothing."""

_SIGMAS = 3


@dataclass(frozen=True)
class Plan:
    """How features are made, as `DriftReference.fit` was told."""

    kinds: Mapping[str, str]
    bins: int = 20
    top: int = 20
    projections: int = 8
    seed: int = 0
    lower_is_better: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, kind in self.kinds.items():
            if kind not in KINDS:
                raise ValueError(f"{name!r} cannot be of kind {kind!r}: one of {', '.join(KINDS)}")
        for what, value, least in (
            ("bins", self.bins, 1),
            ("top", self.top, 1),
            ("projections", self.projections, 0),
        ):
            if value < least:
                raise ValueError(f"{what} must be at least {least}, not {value}")

    def create(self, name: str, values: Any) -> Feature:
        """The feature of a column: its bins, with nothing counted yet.

        Raises:
            ValueError: nothing can be made of the column; the message names it.
        """
        try:
            kind = self.kinds.get(name) or infer_kind(values)
            return self._create(name, kind, values)
        except ValueError as problem:
            raise ValueError(f"feature {name!r}: {problem}") from None

    def _create(self, name: str, kind: str, values: Any) -> Feature:
        if kind == PERFORMANCE:
            return _create_performance(name, values, name in self.lower_is_better)
        if kind == CATEGORICAL:
            return _single(name, kind, ClassBins.fit(as_array(values, 1), self.top))
        if kind != EMBEDDING:
            return _single(name, kind, NumericBins.fit(as_numbers(values), self.bins))
        rows = as_rows(values)
        projection = Projection(rows.shape[1], self.projections, self.seed)
        columns = zip(projection.names, projection.apply(rows), strict=True)
        parts = (_part(part, NumericBins.fit(column, self.bins)) for part, column in columns)
        return Distribution(name, kind, tuple(parts), projection)


def infer_kind(values: Any) -> str:
    """Rows of numbers are an embedding, numbers numeric, everything else categorical.

    Raises:
        BadColumnError: dates, times and complex numbers, which are none of these.
    """
    array = plain_array(values)
    if array.dtype.kind == "c" or holds_dates(array):
        what = "a column of dates" if array.dtype.kind == "O" else array.dtype.name
        raise BadColumnError("type", f"{what} cannot be compared; turn it into numbers first")
    if array.ndim == 2 or _is_of_rows(array):
        return EMBEDDING
    return NUMERIC if is_numeric(array) else CATEGORICAL


def _is_of_rows(array: Any) -> bool:
    """Whether a column has lists or arrays in it, as embeddings have in tables."""
    first = array[0] if array.ndim == 1 and array.dtype.kind == "O" and len(array) else None
    return isinstance(first, (list, tuple)) or getattr(first, "ndim", 0) == 1


def _part(name: str, bins: NumericBins | ClassBins) -> Part:
    return Part(name, bins, (0,) * bins.size)


def _single(name: str, kind: str, bins: NumericBins | ClassBins) -> Distribution:
    return Distribution(name, kind, (_part("", bins),))


def _create_performance(name: str, values: Any, lower_is_better: bool) -> Performance:
    import numpy as np

    scores = as_numbers(values).astype(np.float64)
    scores = scores[np.isfinite(scores)]
    if not scores.size:
        raise BadColumnError("type", "it has no finite value")
    mean = float(scores.mean())
    return Performance(name, mean, origin=mean, lower_is_better=lower_is_better)


def finish(feature: Feature, vectors: Sequence[Any], chunks: int = 0) -> Feature:
    """The feature with the vectors as what the reference holds, and thresholds from them if there are to be any.

    Args:
        feature: as `Plan.create` made it.
        vectors: of parts of the reference; with `chunks`, as many.
        chunks: how many, or 0 for no calibration.

    Raises:
        ValueError: the chunks are too small to be scored.
    """
    if isinstance(feature, Performance) and sum(float(vector[0]) for vector in vectors) <= 1:
        return feature  # a score that was given as such
    whole = feature.with_reference(sum(vectors))
    if not chunks:
        return whole
    smallest = min(whole.observations(vector) for vector in vectors)
    if smallest < whole.min_count:
        raise ValueError(
            f"feature {whole.name!r}: a chunk has {smallest:.0f} observations, and a score needs {whole.min_count}; "
            "use fewer chunks, or fewer bins"
        )
    found = _score_chunks(whole, vectors)
    methods = [name for name in found[0] if all(name in each for each in found)]
    return whole.with_thresholds({m: _threshold(m, [each[m].value for each in found]) for m in methods})


def _score_chunks(whole: Feature, vectors: Sequence[Any]) -> list[Found]:
    """Each chunk against all the others: against a whole that it is part of it would score too little.

    Of k equal chunks its variance is by k^2 / (k^2 - 1) above that of a live window of its size, 4 % at most.
    """
    total = sum(vectors)
    return [whole.with_reference(total - v).compare(v, whole.observations(v)) for v in vectors]


def _threshold(method: str, scores: Sequence[float]) -> float:
    """Mean and three standard deviations of what the reference's own chunks score."""
    least = 0.0 if method == DIFFERENCE else LEAST_THRESHOLD
    limit = fmean(scores) + _SIGMAS * stdev(scores)
    return max(least, limit) if math.isfinite(limit) else least
