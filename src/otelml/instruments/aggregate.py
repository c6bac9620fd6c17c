"""Turns raw recorded values into exact sums and distributions, a chunk at a time, with numpy where the program has it.

Apart from the SDK: the drain merges these into the SDK's aggregations, `summary()` reads them directly.
"""

from __future__ import annotations

import math
import sys
from bisect import bisect_left, bisect_right
from operator import mul
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Boundaries = tuple[float, ...]

_PLAIN = {int, float, bool}
# A C call on a list of this size stays far below the interpreter's 5 ms switch interval.
_PURE_CHUNK = 8192
# Small enough that a chunk and its temporaries stay in the processor's cache: sorting is then twice as fast.
_ARRAY_CHUNK = 16_384
# Below this share of the sum of squares, their difference from the squared sum has lost half its digits.
_CANCELLED = 1e-6
# numpy lets go of the interpreter in each of its calls, and a thread that records as fast as it can then keeps it
# for 5 ms. Where that much has piled up, fewer calls matter more than the cache.
_LONG_ARRAY = 1_000_000


def numpy_module() -> Any | None:
    """numpy when the program has already imported it (completely); importing it is never our decision."""
    numpy = sys.modules.get("numpy")
    return (
        numpy if numpy is not None and hasattr(numpy, "searchsorted") and hasattr(numpy, "bincount") else None
    )


def tensor_array(tensor: Any) -> Any:
    """A tensor in the machine's own memory as an array of numpy: that memory itself, where numpy has its type."""
    tensor = tensor.detach()
    try:
        return tensor.numpy()
    except TypeError:  # bfloat16, float8
        return tensor.float().numpy()


def as_number(value: object) -> float | int | None:
    """`value` as a Python number, or None where it is not one (strings are not, even where they look like it)."""
    if isinstance(value, (str, bytes)) or value is None:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # numpy and torch scalars, Decimal, Fraction
    except OverflowError:
        return math.inf
    except Exception:  # noqa: BLE001 - a class of the user's may raise anything
        return None
    # Counters of ints stay exact.
    return value if type(value) is int else number


class Refused:
    """Why values of a chunk were left out, by reason."""

    __slots__ = ("invalid", "negative", "non_finite")

    def __init__(self) -> None:
        self.invalid = 0
        self.non_finite = 0
        self.negative = 0

    def __bool__(self) -> bool:
        return bool(self.invalid or self.non_finite or self.negative)


def sift(values: Iterable[object], refused: Refused, *, non_negative: bool) -> list[float]:
    """The usable numbers among `values`, one by one: the slow path, for chunks that hold something odd."""
    kept: list[float] = []
    for value in values:
        number = as_number(value)
        if number is None:
            refused.invalid += 1
        elif not math.isfinite(number):
            refused.non_finite += 1
        elif non_negative and number < 0:
            refused.negative += 1
        else:
            kept.append(number)
    return kept


def clean(values: list[Any], refused: Refused, *, non_negative: bool) -> list[float]:
    """`values` as finite Python numbers; the same list where nothing is odd (about 60 ns a value)."""
    if not values:
        return values
    if set(map(type, values)) <= _PLAIN:
        try:
            finite = math.isfinite(math.fsum(values))
        except (OverflowError, ValueError):  # too large for a float: in one value, or in all together
            finite = False
        if finite and not (non_negative and min(values) < 0):
            return values
    return sift(values, refused, non_negative=non_negative)


class Distribution:
    """Exact count, sum, spread, extremes and bucket counts of non-negative values.

    `counts` holds one list of bucket counts for each set of boundaries: the instrument's own first, then those
    that views ask for. Bucket i takes values v with boundaries[i-1] < v <= boundaries[i], as in OTLP. `m2` is the
    sum of squared deviations from the mean (Chan, Golub and LeVeque 1979 for merging).
    """

    __slots__ = ("count", "counts", "m2", "max", "min", "sum")

    def __init__(self, boundaries: Iterable[Boundaries] = ()) -> None:
        self.count = 0
        self.sum = 0.0
        self.m2 = 0.0
        self.min = math.inf
        self.max = -math.inf
        self.counts: dict[Boundaries, list[int]] = {b: [0] * (len(b) + 1) for b in boundaries}

    def merge(self, other: Distribution) -> None:
        """Add `other` in. Boundaries that only one of them has are kept only if this one was empty."""
        if not other.count:
            return
        both = self.count + other.count
        if self.count:
            delta = other.sum / other.count - self.sum / self.count
            self.m2 += other.m2 + delta * delta * self.count * other.count / both
            self.counts = {b: _added(c, other.counts[b]) for b, c in self.counts.items() if b in other.counts}
        else:
            self.m2 = other.m2
            self.counts = {b: list(c) for b, c in other.counts.items()}
        self.count = both
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def copy(self) -> Distribution:
        """An independent copy."""
        new = Distribution()
        new.merge(self)
        return new

    def add_values(self, values: list[Any], boundaries: Sequence[Boundaries], refused: Refused) -> None:
        """Count a chunk of raw recorded values in; what cannot be used goes to `refused`."""
        numpy = numpy_module()
        if numpy is not None:
            array = _as_array(numpy, values)
            if array is not None:
                self.add_array(array, boundaries, refused)
                return
        for start in range(0, len(values), _PURE_CHUNK):
            chunk = clean(values[start : start + _PURE_CHUNK], refused, non_negative=True)
            if chunk:
                self.merge(_from_sorted(sorted(chunk), boundaries))

    def add_array(self, array: Any, boundaries: Sequence[Boundaries], refused: Refused) -> None:
        """Count a one-dimensional float64 numpy array in (about 8 ns a value)."""
        numpy = numpy_module()
        assert numpy is not None, "callers have a numpy array in hand"  # noqa: S101
        chunk = _ARRAY_CHUNK if array.size < _LONG_ARRAY else array.size
        for start in range(0, array.size, chunk):
            ordered = numpy.sort(array[start : start + chunk])
            # NaN sorts to the end, with infinity; negative values to the front.
            if not (ordered[0] >= 0 and ordered[-1] < math.inf):
                ordered = _usable_part(numpy, ordered, refused)
            if ordered.size:
                self.merge(_from_sorted_array(numpy, ordered, boundaries))


def _usable_part(numpy: Any, ordered: Any, refused: Refused) -> Any:
    finite = numpy.isfinite(ordered)
    refused.non_finite += int(ordered.size - numpy.count_nonzero(finite))
    ordered = ordered[finite]
    below = int(numpy.searchsorted(ordered, 0.0, side="left"))
    refused.negative += below
    return ordered[below:]


def _as_array(numpy: Any, values: list[Any]) -> Any | None:
    """`values` as a float64 array, or None where some value needs a closer look."""
    try:
        # Adding up is the cheapest test of all (4 ns a value) that keeps strings and None away from numpy, which
        # would take them for numbers.
        sum(values)
        return numpy.fromiter(values, numpy.float64, len(values))
    except Exception:  # noqa: BLE001 - odd values may raise anything; `sift` looks at each
        return None


def _from_sorted_array(numpy: Any, ordered: Any, boundaries: Sequence[Boundaries]) -> Distribution:
    part = Distribution()
    part.count = int(ordered.size)
    with numpy.errstate(over="ignore"):
        part.sum = float(ordered.sum())
    part.min = float(ordered[0])
    part.max = float(ordered[-1])
    with numpy.errstate(over="ignore", invalid="ignore"):  # values above 1e154 have no finite square
        # Not numpy.dot: it wakes up the threads of BLAS, which belong to the program.
        squares = float(numpy.einsum("i,i", ordered, ordered))
        part.m2 = squares - part.sum * part.sum / part.count
        if part.m2 < _CANCELLED * squares:
            deviation = ordered - part.sum / part.count
            part.m2 = float(numpy.einsum("i,i", deviation, deviation))
    for bounds in boundaries:
        # Searching the few boundaries among the sorted values costs nothing beside the other way round.
        upto = numpy.searchsorted(ordered, _bounds_array(numpy, bounds), side="right").tolist()
        part.counts[bounds] = [high - low for low, high in zip([0, *upto], [*upto, part.count], strict=True)]
    return part


_bounds_arrays: dict[Boundaries, Any] = {}


def _bounds_array(numpy: Any, bounds: Boundaries) -> Any:
    array = _bounds_arrays.get(bounds)
    if array is None:
        array = _bounds_arrays[bounds] = numpy.array(bounds, dtype=numpy.float64)
    return array


def _from_sorted(ordered: list[float], boundaries: Sequence[Boundaries]) -> Distribution:
    part = Distribution()
    part.count = len(ordered)
    part.sum = _sum(ordered)
    part.min = float(ordered[0])
    part.max = float(ordered[-1])
    # Exact products summed exactly: cancellation shows only where the spread is under 1e-7 of the mean.
    part.m2 = max(0.0, _sum(map(mul, ordered, ordered)) - part.sum * part.sum / part.count)
    for bounds in boundaries:
        part.counts[bounds] = _bucket_counts(ordered, bounds)
    return part


def _sum(values: Iterable[float]) -> float:
    """`math.fsum`, infinite where the sum is too large for a float."""
    try:
        return math.fsum(values)
    except OverflowError:
        return math.inf


def _bucket_counts(ordered: list[float], bounds: Boundaries) -> list[int]:
    """Bucket counts of a sorted list: a search in the list for each boundary it can reach, not one a value."""
    counts = [0] * (len(bounds) + 1)
    first = bisect_left(bounds, ordered[0])
    last = bisect_left(bounds, ordered[-1])
    below = 0
    for i in range(first, last):
        upto = bisect_right(ordered, bounds[i])
        counts[i] = upto - below
        below = upto
    counts[last] = len(ordered) - below
    return counts


def _added(a: list[int], b: list[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]


def exact_sum(values: list[float]) -> float | int:
    """The sum of finite numbers: an int for ints, else correctly rounded (`math.fsum`)."""
    return _sum(values) if float in set(map(type, values)) else sum(values)


def quantile(distribution: Distribution, q: float) -> tuple[float, float]:
    """The q-quantile read off the first set of bucket counts, and the most it can be wrong.

    Linear within its bucket, as PromQL's `histogram_quantile`, with the bucket's edges drawn in to the observed
    minimum and maximum; the true sample quantile lies in that bucket, so the error is the distance to its
    farther edge.

    Raises:
        ValueError: the distribution is empty.
    """
    if not distribution.count:
        raise ValueError("a quantile needs at least one recorded value")
    bounds, counts = next(iter(distribution.counts.items()))
    rank = q * distribution.count
    seen = 0
    for i, n in enumerate(counts):
        if n and seen + n >= rank:
            low = max(bounds[i - 1] if i else distribution.min, distribution.min)
            high = min(bounds[i] if i < len(bounds) else distribution.max, distribution.max)
            value = low + (high - low) * min(1.0, max(0.0, (rank - seen) / n))
            return value, max(value - low, high - value)
        seen += n
    return distribution.max, 0.0
