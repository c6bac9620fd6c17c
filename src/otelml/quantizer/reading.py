"""Makes flat codes of what programs hand over: arrays, tensors and lists of any shape and type, right or wrong.

What cannot be a code is told by why: `invalid_code` has a value that is none of the codebook, `no_code` a type or shape
that none has.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from otelml.instruments.aggregate import tensor_array
from otelml.quantizer.codebook import Codebook


@dataclass
class Refused:
    """How many values were left out, by reason, and one of them in words."""

    counts: dict[str, int] = field(default_factory=dict)
    example: str = ""

    def add(self, reason: str, n: int, example: str) -> None:
        """Count `n` more; the first example is kept."""
        if n:
            self.counts[reason] = self.counts.get(reason, 0) + n
            self.example = self.example or example


def is_per_level(shape: tuple[int, ...], codebook: Codebook, asked: bool | None) -> bool:
    """Whether an array of that shape holds an index a level: by its last axis, unless the caller says so himself.

    A one-dimensional array is taken for flat codes, also where it is as long as there are levels.
    """
    if codebook.levels is None:
        return False
    if asked is not None:
        return asked
    return len(shape) > 1 and shape[-1] == len(codebook.levels)


def read_codes(codes: Any, codebook: Codebook, per_level: bool | None, refused: Refused) -> Any:
    """The valid codes, as a flat array of integers (a view of `codes` where that is possible)."""
    import numpy as np

    array = _as_array(codes)
    if array is None:
        array = _flatten(codes)
        if codebook.levels is not None:
            # Rows whose indices nobody can tell apart any more.
            refused.add("no_code", array.size, "rows of different lengths")
            return np.empty(0, np.int64)
    if is_per_level(array.shape, codebook, per_level):
        return _from_levels(array, codebook, refused)
    flat = _whole(array, refused).ravel()
    if flat.size and not _is_within(flat, codebook.size):
        fits = (flat >= 0) & (flat < codebook.size)
        refused.add("invalid_code", int(flat.size - np.count_nonzero(fits)), _first(array.ravel(), ~fits))
        flat = flat[fits]
    # What `bincount` takes; unsigned 64-bit integers it does not, and these are small by now.
    return flat.astype(np.int64) if flat.dtype.kind == "u" and flat.dtype.itemsize == 8 else flat


def _is_within(flat: Any, size: int) -> bool:
    """Whether all are from 0 to `size`; as unsigned integers negative ones are huge, so one comparison is enough."""
    bytes_each = flat.dtype.itemsize
    limit = size if flat.dtype.kind == "u" else min(size, 1 << (8 * bytes_each - 1))
    return bool(flat.view(f"u{bytes_each}").max() < limit)


def _from_levels(array: Any, codebook: Codebook, refused: Refused) -> Any:
    import numpy as np

    levels = codebook.levels or ()
    if array.shape[-1:] != (len(levels),):
        refused.add("no_code", array.size, f"shape {array.shape}, whose last axis is not {len(levels)}")
        return np.empty(0, np.int64)
    rows = _whole(array, refused).reshape(-1, len(levels))
    if rows.dtype.kind == "u":
        # Larger than any level stays larger.
        rows = np.minimum(rows, np.iinfo(np.int64).max).astype(np.int64)
    try:
        return np.ravel_multi_index(tuple(rows.T), levels, order="F")
    except ValueError:  # some index is not one of its level
        fits = ((rows >= 0) & (rows < levels)).all(axis=1)
        given = array.reshape(-1, len(levels))
        refused.add("invalid_code", int(len(rows) - np.count_nonzero(fits)), _first(given, ~fits))
        return np.ravel_multi_index(tuple(rows[fits].T), levels, order="F")


def _first(given: Any, wrong: Any) -> str:
    """The first wrong one in words; an object of the user's stays unnamed, as its `repr` may be anything."""
    return f"such as {given[wrong.argmax()].tolist()}" if given.dtype.kind in "iuf" else "not numbers"


def _as_array(codes: Any) -> Any:
    """A numpy array of `codes`; None of a list that is none, such as one of rows of different lengths."""
    import numpy as np

    if isinstance(codes, np.ma.MaskedArray):
        return codes.compressed()
    if isinstance(codes, np.ndarray):
        # Not a subclass of it, such as a matrix, which stays two-dimensional whatever is done to it.
        return np.asarray(codes)
    if hasattr(codes, "detach"):
        return tensor_array(codes)
    if not isinstance(codes, (list, tuple)):
        return np.asarray(codes)
    try:
        array = np.asarray(codes)
        # Among texts numpy makes texts of numbers too, and of a bool among numbers a number.
        is_mixed = array.dtype.kind in "US" or (array.dtype.kind in "iuf" and bool in map(type, codes))
        return np.asarray(codes, object) if is_mixed else array
    except Exception:  # noqa: BLE001 - objects in it may raise anything
        return None


def _flatten(codes: Any) -> Any:
    """All elements of lists in lists, one by one, as a flat array of objects."""
    import numpy as np

    flat = list(_elements(codes))
    return np.fromiter(flat, object, len(flat))


def _elements(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _elements(value)
        else:
            yield value


def _whole(array: Any, refused: Refused) -> Any:
    """`array` as integers of the same shape; -1, which no codebook has, where there is no integer."""
    import numpy as np

    kind = array.dtype.kind
    if kind in "iu":
        # Of this machine's byte order, as the check looks at the bytes.
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))
    if kind == "f":
        # Half precision cannot be compared with what is too large for it.
        array = array.astype(np.float64) if array.dtype.itemsize < 8 else array
        with np.errstate(invalid="ignore"):
            is_whole = (array == np.floor(array)) & (np.abs(array) < 2.0**63)
        return np.where(is_whole, array, -1).astype(np.int64)
    if kind == "O":
        return np.array([_as_integer(v) for v in array.ravel()], np.int64).reshape(array.shape)
    refused.add("no_code", array.size, f"values of type {array.dtype}")
    return np.empty((0, *array.shape[1:]), np.int64)


def _as_integer(value: Any) -> int:
    """A whole number that is not negative and below 2**63; -1 for anything else, bools and texts among it."""
    if isinstance(value, (bool, str, bytes)):
        return -1
    try:
        number = float(value)
        whole = int(value)
    except Exception:  # noqa: BLE001 - a class of the user's may raise anything
        return -1
    return whole if math.isfinite(number) and number == whole and 0 <= whole < 1 << 63 else -1
