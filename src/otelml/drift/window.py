"""What was observed, as counts that add up exactly, whoever observed it: a batch, a rank, a replica, an hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from otelml.drift.columns import UNNAMED, BadColumnError, read_columns
from otelml.drift.features import Distribution, Feature
from otelml.drift.scores import Score
from otelml.instruments import internal

if TYPE_CHECKING:
    from otelml.drift.features import Vector
    from otelml.drift.reference import DriftReference

Threshold = float | Mapping[str, float] | None
"""One for all methods, one a method, or None: the calibrated ones where there are any, else 0.1.

Of `difference`, which has the unit of the scores, a tenth of the reference's mean.
"""


class DriftWindow:
    """Counts of observations in the bins of a reference. Not safe for several threads at once; a monitor is."""

    def __init__(self, reference: DriftReference, vectors: Mapping[str, Vector] | None = None) -> None:
        self.reference = reference
        self._vectors: dict[str, Vector] = dict(vectors or {})

    def observe(self, batch: Any) -> None:
        """Count a batch in, as `DriftMonitor.observe` does; nothing else is recorded."""
        for feature, tally in tally_batch(self.reference, batch):
            self._vectors[feature.name] = self._vector(feature) + tally

    def _vector(self, feature: Feature) -> Vector:
        import numpy as np

        found = self._vectors.get(feature.name)
        return np.zeros(feature.size) if found is None else found

    def merge(self, *others: DriftWindow) -> DriftWindow:
        """A window of everything that this one and `others` hold; none of them changes.

        Counts are added, so it is exact, and neither order nor grouping matters.

        Raises:
            ValueError: one of them is of another reference.
        """
        for other in others:
            if other.reference.fingerprint != self.reference.fingerprint:
                raise ValueError("windows of different references do not add up")
        vectors = {
            feature.name: sum((other._vector(feature) for other in others), self._vector(feature))  # noqa: SLF001
            for feature in self.reference.values()
        }
        return DriftWindow(self.reference, vectors)

    @property
    def vector(self) -> Vector:
        """Everything as one float64 array, which a collective operation can add up: `from_vector` reads it."""
        import numpy as np

        return np.concatenate([self._vector(feature) for feature in self.reference.values()])

    @classmethod
    def from_vector(cls, reference: DriftReference, vector: Any) -> DriftWindow:
        """A window from what `vector` gave, or from a sum of such.

        Raises:
            ValueError: it has another length than windows of this reference.
        """
        import numpy as np

        vector = np.array(vector, dtype=np.float64)
        wanted = sum(feature.size for feature in reference.values())
        if vector.shape != (wanted,):
            raise ValueError(
                f"a window of this reference is an array of shape ({wanted},), not {vector.shape}"
            )
        vectors, start = {}, 0
        for feature in reference.values():
            vectors[feature.name] = vector[start : start + feature.size]
            start += feature.size
        return cls(reference, vectors)

    def observations(self, name: str) -> int:
        """How many observations of a feature there are."""
        feature = self.reference[name]
        return round(feature.observations(self._vector(feature)))

    def counts(self, name: str) -> dict[str, int]:
        """Counts of a feature by the labels of its bins, of an embedding by part and label; none of performance."""
        feature = self.reference[name]
        if not isinstance(feature, Distribution):
            return {}
        return {
            f"{part.name}.{label}" if part.name else label: round(count)
            for part, counts in feature.split(self._vector(feature))
            for label, count in zip(part.bins.labels, counts.tolist(), strict=True)
        }

    def scores(
        self, *, threshold: Threshold = None, min_count: int | None = None
    ) -> dict[str, dict[str, Score]]:
        """Scores by feature and method; a feature with fewer than `min_count` observations is absent.

        So is one whose reference has fewer, of which `otelml` warns once.

        Args:
            threshold: see `Threshold`.
            min_count: ten a bin that the reference fills, thirty scores for performance, where it is None.
        """
        found = {}
        for feature in self.reference.values():
            vector = self._vector(feature)
            scores = score(feature, vector, feature.observations(vector), threshold, min_count)
            if scores:
                found[feature.name] = scores
        return found


def score(
    feature: Feature, vector: Vector, n: float, threshold: Threshold, min_count: int | None
) -> dict[str, Score]:
    """Scores by method of a vector that stands for `n` observations; none where it, or the reference, has too few."""
    least = max(1, feature.min_count if min_count is None else min_count)
    if n < least or _is_small(feature, min(least, feature.min_count)):
        return {}
    return {
        method: Score(value, noise.floor, find_threshold(feature, method, threshold), n, noise.limit)
        for method, (value, noise) in feature.compare(vector, n).items()
    }


def _is_small(feature: Feature, least: int) -> bool:
    """Whether the reference has so few observations that its own deviation would be taken for drift; that is said."""
    if feature.rows >= least:
        return False
    internal.warn_once(
        f"drift:small:{feature.name[:100]}",
        "otelml: there is no drift score of feature %.100r: its reference has %d observations, and a score needs %d; "
        "give it more, or fewer bins",
        feature.name,
        feature.rows,
        least,
    )
    return True


def find_threshold(feature: Feature, method: str, threshold: Threshold) -> float:
    """The threshold in force."""
    chosen = threshold.get(method) if isinstance(threshold, Mapping) else threshold
    return feature.thresholds.get(method, feature.default_threshold) if chosen is None else float(chosen)


def tally_batch(reference: DriftReference, batch: Any) -> Iterator[tuple[Feature, Vector]]:
    """The vector of each feature in a batch. What cannot be counted is, as an error, and the other features go on."""
    columns = _columns_of(reference, batch)
    unknown = [name for name in columns if name not in reference]
    if unknown:
        _tell_unknown(reference, unknown)
    for name, values in columns.items():
        feature = reference.get(name)
        if feature is None:
            continue
        with internal.guard("drift"):
            try:
                tally = feature.tally(values)
            except BadColumnError as problem:
                refuse(name, problem)
                continue
            yield feature, tally


def _tell_unknown(reference: DriftReference, unknown: Sequence[str]) -> None:
    """Once a reference, however many there are: what is said is bounded for the program as a whole."""
    internal.count("dropped", "drift", "unknown_feature", len(unknown))
    internal.warn_once(
        f"drift:unknown:{reference.fingerprint}",
        "otelml: drift has no reference for %s, which a batch has; they are left out, and counted",
        some_of(unknown),
    )


def some_of(names: Sequence[str]) -> str:
    """The first few of `names`, and how many more there are, for messages."""
    first = ", ".join(f"{name[:100]!r}" for name in names[:3])
    return f"{first} and {len(names) - 3} more" if len(names) > 3 else first


def _columns_of(reference: DriftReference, batch: Any) -> dict[str, Any]:
    try:
        return read_columns(batch, whole=list(reference) == [UNNAMED])
    except BadColumnError as problem:
        refuse("the batch", problem)
        return {}


def refuse(name: str, problem: BadColumnError) -> None:
    """Count that values could not be counted, and say so once a reason."""
    internal.count("errors", "drift", problem.reason)
    internal.warn_once(
        f"drift:refused:{problem.reason}",
        "otelml: a batch of feature %.100r was not counted for drift: %s; others were",
        name,
        problem,
    )
