"""Frozen bins: what counts of a feature are counts of. Numbers fall between edges, classes have a bin each."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from otelml.drift.classes import class_text, encodable

if TYPE_CHECKING:
    import numpy as np

    Counts = np.ndarray[Any, np.dtype[np.int64]]

BELOW, ABOVE, MISSING, OTHER = "below", "above", "missing", "other"
RESERVED = frozenset({BELOW, ABOVE, MISSING, OTHER})

_SORTED = 16_384
"""Numbers sorted together: a chunk stays in the processor's cache, and bounds the memory of a call."""
_COUNTED = 65_536
"""Classes counted together: bounds the memory of a call, however many there are."""

LEAST_OF_CLASS = 10
"""Values of a class in the reference for which it has a bin of its own."""

MAX_LABEL = 64
"""Characters of a class that its label has; where two classes would look alike, a number makes them differ."""


@dataclass(frozen=True)
class NumericBins:
    """Half-open bins between increasing edges, and one each for what is below, above and missing (NaN).

    With edges e0 < e1 < ... < ek, bin i holds e_i <= v < e_(i+1). Infinity is above or below.
    """

    edges: tuple[float, ...]

    @classmethod
    def fit(cls, values: Any, bins: int) -> NumericBins:
        """Edges at quantiles of `values`, a one-dimensional float64 array.

        A value that holds more than a bin's share gets a bin of its own, and so does each of few different ones:
        that is what the quantiles of discrete and constant features need. No edge stands on a value, so that float32
        copies of float64 values, or the other way round, fall where those do.

        Raises:
            ValueError: no value is finite.
        """
        import numpy as np

        values = values[np.isfinite(values)]
        if not values.size:
            raise ValueError("it has no finite value")
        different = np.unique(values)
        few = different.size <= bins
        inner = _between(different).tolist() if few else _quantile_edges(values, different, bins)
        ends = [_beyond(float(different[0]), -math.inf), _beyond(float(different[-1]), math.inf)]
        return cls(tuple(edge for edge in (ends[0], *inner, ends[1]) if math.isfinite(edge)))

    @property
    def labels(self) -> tuple[str, ...]:
        """`below`, `00`, `01`, ..., `above`, `missing`: in the order of the counts."""
        width = max(2, len(str(len(self.edges) - 2)))
        return (BELOW, *(f"{i:0{width}d}" for i in range(len(self.edges) - 1)), ABOVE, MISSING)

    @property
    def size(self) -> int:
        """How many counts there are."""
        return len(self.edges) + 2

    @property
    def ordered(self) -> int:
        """How many of them, from the first on, have an order."""
        return len(self.edges) + 1

    @cached_property
    def _edges(self) -> Any:
        import numpy as np

        return np.array(self.edges, dtype=np.float64)

    def count(self, values: Any) -> Counts:
        """Counts of a one-dimensional array of real numbers.

        Sorting a chunk and searching the few edges in it takes a third of the time of searching each value among the
        edges, where numpy sorts with vector instructions; elsewhere it takes twice the time.
        """
        import numpy as np

        upto = np.zeros(len(self.edges) + 2, dtype=np.int64)
        for start in range(0, len(values), _SORTED):
            chunk = np.sort(values[start : start + _SORTED])
            # How many are below each edge, how many are there (NaN sorts behind infinity), and all.
            upto[:-2] += chunk.searchsorted(self._edges)
            upto[-2] += chunk.searchsorted(math.nan) if chunk.dtype.kind == "f" else chunk.size
            upto[-1] += chunk.size
        return np.diff(upto, prepend=0)


def _between(different: Any) -> Any:
    """Half way between increasing values and the next ones; on the latter where no number is between."""
    import numpy as np

    before, behind = different[:-1], different[1:]
    middle = before / 2 + behind / 2  # their sum may be too large
    return np.where(middle > before, middle, behind)


def _quantile_edges(values: Any, different: Any, bins: int) -> list[float]:
    """Before the values at quantiles, and on both sides of each that is two of them and so fills a bin.

    Around the latter, what float32 cannot tell from it is in its bin.
    """
    import numpy as np

    shares = np.linspace(0, 1, bins, endpoint=False)
    starts, often = np.unique(np.quantile(values, shares, method="higher"), return_counts=True)
    between = _between(different).tolist()
    begins = np.searchsorted(different, starts)
    edges = {between[i - 1] for i in begins if i > 0}
    for i in begins[often > 1]:
        before, behind = (_beyond(float(different[i]), end) for end in (-math.inf, math.inf))
        edges -= {edge for edge in edges if before < edge < behind}
        edges |= {min(before, edge) for edge in between[max(0, i - 1) : i]}
        edges |= {max(behind, edge) for edge in between[i : i + 1]}
    return sorted(edges)


def _beyond(value: float, towards: float) -> float:
    """Next to `value` and to its float32, as far as float32 can tell; where that has no such number, float64."""
    import numpy as np

    with np.errstate(over="ignore"):
        single = np.float32(value)
        found = float(np.nextafter(single, np.float32(towards)))
        if math.isfinite(single) and math.isfinite(found):
            return found
        found = float(np.nextafter(value, towards))
    # A bin begins on its edge, so the least number there is needs none before.
    return value if found == -math.inf else found


@dataclass(frozen=True)
class ClassBins:
    """A bin for each of the most frequent classes, one for all others and one for missing ones (None, NaN).

    Classes are told apart by their text, so that 3 in an array and "3" in a file are the same.
    """

    classes: tuple[str, ...]
    labels: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", (*_labels(self.classes), OTHER, MISSING))

    @classmethod
    def fit(cls, values: Sequence[Any], top: int) -> ClassBins:
        """The `top` most frequent classes of `values`, in the order of their text.

        Of rare classes those are among them that happened to be frequent here, and would always seem to have become
        rarer: where there are classes of `LEAST_OF_CLASS` values, those with fewer are left out.

        Raises:
            ValueError: every value is missing.
        """
        often: Counter[str] = Counter()
        for chunk in _chunks(values):
            for value, n in chunk.items():
                text = class_text(value)
                if text is not None:
                    often[text] += n
        if not often:
            raise ValueError("all of its values are missing")
        # Equally frequent ones by their text, so that the choice does not depend on the order of the rows.
        kept = sorted(often, key=lambda text: (-often[text], text))[:top]
        known = [text for text in kept if often[text] >= LEAST_OF_CLASS]
        return cls(tuple(sorted(known or kept)))

    @property
    def size(self) -> int:
        """How many counts there are."""
        return len(self.classes) + 2

    @property
    def ordered(self) -> int:
        """Classes have no order."""
        return 0

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {text: i for i, text in enumerate(self.classes)}

    def count(self, values: Sequence[Any]) -> Counts:
        """Counts of the classes in a sequence or a one-dimensional array: a look-up a value, in C."""
        import numpy as np

        counts = np.zeros(self.size, dtype=np.int64)
        for chunk in _chunks(values):
            for value, n in chunk.items():
                counts[self._position(value)] += n
        return counts

    def _position(self, value: Any) -> int:
        found = self._positions.get(value) if type(value) is str else None
        if found is not None:
            return found
        text = class_text(value)
        return -1 if text is None else self._positions.get(text, -2)


def _chunks(values: Iterable[Any]) -> Iterable[Mapping[Any, int]]:
    """How often each value occurs, a chunk at a time: millions of classes take no more memory than a chunk."""
    if hasattr(values, "dtype") and hasattr(values, "tolist"):
        for start in range(0, len(values), _COUNTED):  # type: ignore[arg-type]  # an array
            yield _count_array(values[start : start + _COUNTED])  # type: ignore[index]
    else:
        rest = iter(values)
        while chunk := list(islice(rest, _COUNTED)):
            yield _count_list(chunk)


def _count_array(values: Any) -> Mapping[Any, int]:
    """Numbers by sorting, with vector instructions; text and objects by a dictionary."""
    import numpy as np

    if values.dtype.kind not in "iuf":
        return _count_list(values.tolist())
    different, often = np.unique(values, return_counts=True)
    return dict(zip(different.tolist(), often.tolist(), strict=True))


def _count_list(values: list[Any]) -> Mapping[Any, int]:
    # 1, 1.0 and True are equal as keys and differ as text.
    if len(set(map(type, values))) <= 1:
        try:
            return Counter(values)
        except Exception:  # noqa: BLE001 - a class of the user's may have no hash, or one that raises
            return Counter(map(class_text, values))
    return Counter(map(class_text, values))


def _labels(classes: Sequence[str]) -> Iterable[str]:
    """Short labels that differ, and differ from those of the other bins."""
    seen: set[str] = set(RESERVED)
    for text in map(encodable, classes):
        short = text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"
        label, number = short, 1
        while label in seen:
            number += 1
            label = f"{short} ({number})"
        seen.add(label)
        yield label
