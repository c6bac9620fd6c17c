"""How many samples and tokens a batch has, found out at the first ones and counted so ever after.

A number that is wrong is worse than none: where a batch does not tell (a list of images of one size looks like a pair
of arrays), nothing is counted, unless the program says how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from otelml.instruments import internal
from otelml.logs.values import describe_exception, on_device

Count = Callable[[Any], int]

LOOKS = 8
"""Batches that are looked at for a way to count."""


def samples_of(batch: Any, batch_size: int | None) -> Count | None:
    """How to count the samples of batches like this one; None where it does not tell.

    Args:
        batch: an array (its first dimension), a mapping or a tuple of such, or a list of two unlike arrays.
        batch_size: what the loader says of a full batch; where this is one, that decides between the ways there are.
    """
    ways = [way for way in (_array, _first_value, _first_item, len) if _applies(way, batch)]
    if batch_size is not None:
        full = next((way for way in ways if way(batch) == batch_size), None)
        if full is not None:
            return full
    return ways[0] if ways and ways[0] is not len and _is_clear(batch) else None


def tokens_of(batch: Any) -> Count | None:
    """How to count tokens: the elements of `input_ids`, padding included; None where a batch has none."""
    if not isinstance(batch, Mapping) or "input_ids" not in batch:
        return None
    ids = batch["input_ids"]
    if hasattr(ids, "numel"):
        return lambda batch: int(batch["input_ids"].numel())
    return (lambda batch: int(batch["input_ids"].size)) if hasattr(ids, "size") else None


def as_count(given: int | Count | None) -> Count | None:
    """A number that every batch has, or a function of a batch, as a function."""
    if given is None or callable(given):
        return given
    number = int(given)
    return lambda _: number


def count_in(count: Count, batch: Any, add: Callable[[int], object]) -> int:
    """Count `batch` and `add` that; 0 for a batch that cannot be counted, which is itself counted as dropped."""
    try:
        n = count(batch)
        if type(n) is not int:
            n = _integer(n)
    except Exception as problem:  # noqa: BLE001 - batches and functions of the user's
        internal.count("dropped", "training", "batch_not_counted")
        internal.warn_once(
            f"batch:{type(problem).__name__}",
            "otelml: a batch is not counted: %s",
            describe_exception(problem),
        )
        return 0
    add(n)
    return n


def _integer(number: Any) -> int:
    if on_device(number):
        raise ValueError("the number lives on a device, and reading it would make the training wait")
    return int(number)


def _array(batch: Any) -> int:
    return int(batch.shape[0])


def _first_value(batch: Any) -> int:
    return int(next(iter(batch.values())).shape[0])


def _first_item(batch: Any) -> int:
    return int(batch[0].shape[0])


def _applies(way: Count, batch: Any) -> bool:
    try:
        return way(batch) >= 0
    except Exception:  # noqa: BLE001 - batches are whatever a loader makes
        return False


def _is_clear(batch: Any) -> bool:
    """Whether a batch without a known size leaves no doubt: it is arrays that all have as many rows."""
    if hasattr(batch, "shape"):
        return True
    parts = list(batch.values()) if isinstance(batch, Mapping) else list(batch)
    shapes = [tuple(getattr(part, "shape", ())) for part in parts]
    # A part without rows: a label beside one image, whose channels are no samples.
    if not all(shapes) or len({shape[0] for shape in shapes}) != 1:
        return False
    # Equal shapes in a list are as well so many samples as so many columns.
    return not isinstance(batch, list) or len(set(shapes)) == len(shapes)
