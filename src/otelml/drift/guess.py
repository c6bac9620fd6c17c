"""What a column of a file holds, where nobody has said so: text may stand for numbers, with a slip here and there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

from otelml.drift.classes import class_text
from otelml.drift.columns import holds_dates
from otelml.drift.features import CATEGORICAL, EMBEDDING
from otelml.drift.files import parse_numbers

_is_date = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d.*)?").fullmatch
_is_like_a_number = re.compile(r"[-+]?[$€£]?[\d.,' ]*\d ?%?").fullmatch


@dataclass(frozen=True)
class Guess:
    """What to do with a column.

    Attributes:
        numeric: read it as numbers.
        left_out: why it is left out, if it is.
        remark: what else is worth saying.
    """

    numeric: bool = False
    left_out: str = ""
    remark: str = ""


def guess(column: Any, kind: str | None) -> Guess:
    """What to do with `column`, an array, of which somebody has said that it is of `kind`."""
    if kind is not None:
        return Guess(numeric=kind not in {CATEGORICAL, EMBEDDING})
    found = _guess(column)
    if not found.left_out and _has_nothing_finite(parse_numbers(column)[0] if found.numeric else column):
        return Guess(left_out="it has no finite value")
    return found


def _has_nothing_finite(column: Any) -> bool:
    import numpy as np

    return column.dtype.kind == "f" and not np.isfinite(column).any()


def _guess(column: Any) -> Guess:
    if all(class_text(value) is None for value in column.tolist()):
        return Guess(left_out="it has no values")
    if holds_dates(column):
        return Guess(left_out=_DATES)
    if column.dtype.kind != "O":
        return Guess()
    if _is_ragged(column):
        return Guess(left_out="its rows are not all of the same length")
    kinds = {type(value) for value in column.tolist()} - {type(None)}
    if any(kind is bool or not issubclass(kind, (str, Real, Decimal)) for kind in kinds):
        return Guess()
    return _guess_text([value for value in column.tolist() if class_text(value) is not None], column)


_DATES = "it holds dates, which cannot be compared; turn them into numbers, or say --kind"


def _is_ragged(column: Any) -> bool:
    rows = [
        value
        for value in column.tolist()
        if isinstance(value, Sized) and not isinstance(value, (str, bytes, Mapping))
    ]
    return len(set(map(len, rows))) > 1


def _guess_text(values: list[Any], column: Any) -> Guess:
    wrong = parse_numbers(column)[1]
    if 2 * wrong < len(values):
        return Guess(numeric=True)
    texts = [value for value in values if isinstance(value, str)]
    if 2 * sum(_is_date(text) is not None for text in texts) > len(values):
        return Guess(left_out=_DATES)
    alike = sum(_is_like_a_number(text) is not None for text in texts)
    if wrong == len(values) and 2 * alike <= len(values):
        return Guess()
    example = next(text for text in texts if parse_numbers(_alone(text))[1])
    return Guess(
        remark=f"it is categorical, as {wrong} of {len(values)} values are no numbers: {example:.50}"
    )


def _alone(text: str) -> Any:
    import numpy as np

    return np.array([text], dtype=object)
