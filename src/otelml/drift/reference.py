"""The reference that drift is measured from: what was seen when all was well, frozen into bins and counts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from otelml.drift import document
from otelml.drift.columns import UNNAMED, BadColumnError, plain_array, read_columns
from otelml.drift.features import Feature
from otelml.drift.fitting import LEAST_CHUNKS, Plan, finish
from otelml.drift.sample import sample_columns

DriftReferenceError = document.DriftReferenceError


class DriftReference(Mapping[str, Feature]):
    """The features of a reference by name. Make one with `fit`, keep it with `save`, get it back with `load`.

    It does not change and may be shared by threads and monitors; a pickle is as good as a file.
    """

    def __init__(self, features: Iterable[Feature]) -> None:
        self._features = {feature.name: feature for feature in features}
        if not self._features:
            raise ValueError("a reference needs at least one feature")

    def __getitem__(self, name: str) -> Feature:
        return self._features[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)

    def __repr__(self) -> str:
        return f"DriftReference({', '.join(f'{f.name}: {f.kind}' for f in self.values())})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DriftReference) and self._features == other._features

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @cached_property
    def fingerprint(self) -> str:
        """A digest of everything in it: windows add up only where this is the same."""
        return hashlib.sha256(document.dumps(self).encode()).hexdigest()[:16]

    @classmethod
    def fit(
        cls,
        values: Any,
        *,
        kinds: Mapping[str, str] | str | None = None,
        bins: int = 20,
        top: int = 20,
        projections: int = 8,
        seed: int = 0,
        lower_is_better: Iterable[str] = (),
        chunks: int = 0,
    ) -> DriftReference:
        """A reference from data of the time when all was well.

        Args:
            values: a mapping of names to columns, a table of pandas, polars or pyarrow, an array of shape (n,) or
                (n, features), or a list. A column is an array or list of shape (n,), of an embedding (n, dimensions).
            kinds: what columns are, by name: `numeric`, `categorical`, `embedding`, `confidence` (numbers, reported
                as drift of the confidence) or `performance` (scores of single predictions, or one number, the
                reference score). One word for an array as a whole. Without it, numbers are numeric, rows of numbers
                embeddings, and anything else categorical.
            bins: quantile bins of numbers.
            top: classes that are told apart, by frequency.
            projections: random directions that embeddings are projected onto; 0 compares each dimension.
            seed: of the directions.
            lower_is_better: names of performance features that are so, such as losses.
            chunks: calibrate the thresholds to the mean and three standard deviations of the scores that this many
                successive chunks of the reference, 5 or more, have against the rest of it. A chunk should be about as
                large as a window will be.

        Raises:
            ValueError: a column holds nothing, or nothing that can be compared; the message names it.
        """
        plan = _plan(
            kinds,
            bins=bins,
            top=top,
            projections=projections,
            seed=seed,
            lower_is_better=frozenset(lower_is_better),
        )
        columns = read_columns(values, whole=isinstance(kinds, str))
        _check_chunks(chunks)
        features = []
        for name, values_of_it in columns.items():
            column = _plain_column(name, values_of_it)
            feature = plan.create(name, column)
            pieces = _cut(column, chunks) if chunks else [column]
            features.append(finish(feature, [feature.tally(piece) for piece in pieces], chunks))
        return cls(features)

    @classmethod
    def fit_batches(
        cls,
        batches: Callable[[], Iterable[Mapping[str, Any]]],
        *,
        kinds: Mapping[str, str] | None = None,
        bins: int = 20,
        top: int = 20,
        sample: int | Mapping[str, Any] = 200_000,
    ) -> DriftReference:
        """As `fit`, from data too large for the memory, which is read twice.

        The first reading draws a sample that the edges of bins and the top classes come from, the second one counts
        everything.

        Args:
            batches: called for each reading; gives mappings of names to columns.
            kinds: as for `fit`.
            bins: as for `fit`.
            top: as for `fit`.
            sample: rows to draw, or columns that were drawn already.

        Raises:
            ValueError: there are no rows, or a column holds nothing that can be compared.
        """
        plan = _plan(kinds, bins=bins, top=top)
        drawn = sample_columns(batches(), sample) if isinstance(sample, int) else sample
        features = {name: plan.create(name, column) for name, column in drawn.items()}
        if not features:
            raise ValueError("there are no rows")
        totals: dict[str, Any] = {}
        for batch in batches():
            for name, feature in features.items():
                tally = feature.tally(batch[name])
                totals[name] = totals[name] + tally if name in totals else tally
        return cls(finish(feature, [totals[name]]) for name, feature in features.items())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, a few kilobytes; the file is whole or not there, whatever happens meanwhile.

        Raises:
            OSError: the file cannot be written.
        """
        document.write(Path(path), document.dumps(self))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> DriftReference:
        """Read what `save` wrote.

        Raises:
            OSError: the file cannot be read.
            DriftReferenceError: it is no reference, is broken, or was written by a newer version.
        """
        return cls(document.loads(Path(path).read_bytes(), str(path)))


def _plan(kinds: Mapping[str, str] | str | None, **how: Any) -> Plan:
    named = {UNNAMED: kinds} if isinstance(kinds, str) else dict(kinds or {})
    return Plan(named, **how)


def _check_chunks(chunks: int) -> None:
    if chunks and chunks < LEAST_CHUNKS:
        raise ValueError(f"a calibration needs at least {LEAST_CHUNKS} chunks, not {chunks}")


def _plain_column(name: str, values: Any) -> Any:
    """A column as an array with a length, made once: an iterator can be read once, and slices differ elsewhere."""
    try:
        array = plain_array(values)
    except BadColumnError as problem:
        raise ValueError(f"feature {name!r}: {problem}") from None
    return array if array.ndim else array.reshape(1)


def _cut(column: Any, chunks: int) -> list[Any]:
    """Successive chunks of an array that differ by a row at most."""
    rows = len(column)
    limits = [i * rows // chunks for i in range(chunks + 1)]
    return [column[start:end] for start, end in zip(limits, limits[1:], strict=False)]
