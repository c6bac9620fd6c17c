"""How many rows of an array or a data frame are suspicious. numpy only; pandas and polars are known by their looks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal
from otelml.instruments.aggregate import tensor_array

if TYPE_CHECKING:
    import numpy as np

CHECKS = {
    "nan_detection": ("nan", "NaN or missing values"),
    "infinite_detection": ("infinite", "infinite values"),
    "constant_detection": ("constant", "the same value in all columns"),
    "duplicate_detection": ("duplicated", "copies of earlier rows"),
}
"""For each check the count that it reports, and what it says."""


@dataclass(frozen=True)
class RowCounts:
    """Rows by what is wrong with them; a row may count in several.

    Attributes:
        total: rows in all.
        nan: rows with at least one NaN, NaT or missing value.
        all_nan: rows that hold nothing else.
        infinite: rows with at least one infinite value.
        constant: rows whose values are all the same; None with a single column, where every row would be.
        duplicated: rows that are equal to an earlier row (NaN equals NaN, 0.0 equals -0.0).
        first: the number of the first such row from 0, by the names above; only where there is one.
    """

    total: int
    nan: int
    all_nan: int
    infinite: int
    constant: int | None
    duplicated: int
    first: dict[str, int] = field(default_factory=dict)


def count_rows(data: Any) -> RowCounts | None:
    """Count the suspicious rows of `data`.

    Args:
        data: an array of any number of dimensions (the first counts rows; with one, each value is a row), a pandas
            or polars DataFrame or Series, or nested lists. A tensor in host memory is read; one on an accelerator
            is not, because reading it would make the program wait.

    Returns:
        None where `data` is nothing that can be counted; that is counted (`otelml.internal.errors`) and said once.
    """
    counts = None
    with internal.guard("quality"):
        columns = _columns(data)
        if columns is None:
            internal.count("errors", "quality", "data")
            kind = type(data).__name__
            internal.warn_once(f"quality:{kind}", "otelml: the rows of a %s cannot be counted here", kind)
        else:
            counts = _count(columns)
    return counts


def _columns(data: Any) -> list[Any] | None:
    """One two-dimensional array, or one array a column; None where there are no rows to be had."""
    import numpy as np

    if _is_on_device(data):
        return None
    kind = type(data)
    if hasattr(kind, "get_columns") or (hasattr(kind, "iloc") and data.ndim == 2):
        return [_column(column) for column in _series(data)]
    if hasattr(kind, "to_numpy") and not isinstance(data, np.ndarray):
        return [_column(data)]
    rows = _as_array(data)
    return None if rows is None else [rows]


def _as_array(data: Any) -> np.ndarray[Any, Any] | None:
    """Rows by columns, whatever the shape."""
    import numpy as np

    if not hasattr(data, "__array__") and not isinstance(data, (list, tuple)):
        return None
    if isinstance(data, np.ma.MaskedArray):
        data = _unmasked(data)
    try:
        array = tensor_array(data) if hasattr(data, "detach") else np.asarray(data)
    except ValueError:  # lists of different lengths
        return None
    if array.ndim == 0:
        return None
    return array.reshape(len(array), -1) if array.size else array.reshape(len(array), 0)


def _unmasked(data: Any) -> np.ndarray[Any, Any]:
    """NaN, NaT or None where `data` is masked."""
    import numpy as np

    values = data.data.astype(data.dtype if data.dtype.kind in "fmM" else object)
    values[np.ma.getmaskarray(data)] = None
    return values


def _is_on_device(data: Any) -> bool:
    device = getattr(data, "device", None)
    return device is not None and getattr(device, "type", str(device)) != "cpu"


def _series(frame: Any) -> list[Any]:
    """The columns of pandas' frames by position (names may occur twice), of polars' as it gives them."""
    if hasattr(frame, "iloc"):
        return [frame.iloc[:, position] for position in range(frame.shape[1])]
    return list(frame.get_columns())


def _column(series: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    values = np.asarray(series.to_numpy())
    return values.reshape(len(values), -1)


def _count(columns: list[Any]) -> RowCounts:
    import numpy as np

    total = len(columns[0]) if columns else 0
    width = sum(column.shape[1] for column in columns)
    if not total or not width:
        return RowCounts(total, 0, 0, 0, None if width < 2 else 0, 0)
    missing = [_missing(column) for column in columns]
    any_missing = np.any([mask.any(axis=1) for mask in missing], axis=0)
    masks = {
        "nan": any_missing,
        "all_nan": np.all([mask.all(axis=1) for mask in missing], axis=0),
        "infinite": np.any([_infinite(column).any(axis=1) for column in columns], axis=0),
        "duplicated": _duplicated(columns),
    }
    if width > 1:
        masks["constant"] = _constant(columns) & ~any_missing
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    first = {name: int(mask.argmax()) for name, mask in masks.items() if counts[name]}
    return RowCounts(
        total=total,
        nan=counts["nan"],
        all_nan=counts["all_nan"],
        infinite=counts["infinite"],
        constant=counts.get("constant"),
        duplicated=counts["duplicated"],
        first=first,
    )


def _missing(column: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    if column.dtype.kind in "fc":
        return np.isnan(column)
    if column.dtype.kind in "mM":
        return np.isnat(column)
    if column.dtype.kind != "O":
        return np.zeros(column.shape, bool)
    return np.frompyfunc(_is_missing, 1, 1)(column).astype(bool)


def _is_missing(value: Any) -> bool:
    """None, and what is not equal to itself: NaN, NaT; pandas' NA, for which no comparison is true or false."""
    if value is None:
        return True
    try:
        return bool(value != value)  # noqa: PLR0124 - the definition of NaN
    except (TypeError, ValueError):
        return type(value).__name__ == "NAType"


def _infinite(column: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    if column.dtype.kind in "fc":
        return np.isinf(column)
    if column.dtype.kind != "O":
        return np.zeros(column.shape, bool)
    return np.frompyfunc(lambda value: isinstance(value, float) and value in (np.inf, -np.inf), 1, 1)(
        column
    ).astype(bool)


def _constant(columns: list[Any]) -> np.ndarray[Any, Any]:
    """Compared with the first column; values of kinds that cannot be compared are different."""
    import numpy as np

    first = columns[0][:, :1]
    same = np.ones(len(first), bool)
    for column in columns:
        equal = np.asarray(column == first)
        same &= equal.all(axis=1) if equal.shape == column.shape else False
    return same


def _duplicated(columns: list[Any]) -> np.ndarray[Any, Any]:
    """Rows as bytes, sorted by numpy: exact, in n log n time and a copy of the data."""
    import numpy as np

    rows = np.hstack([_as_bytes(_codes(column)) for column in columns])
    whole = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.shape[1])))
    first = np.unique(whole.ravel(), return_index=True)[1]
    copies = np.ones(len(rows), bool)
    copies[first] = False
    return copies


def _as_bytes(values: Any) -> np.ndarray[Any, Any]:
    import numpy as np

    contiguous = np.ascontiguousarray(values)
    return contiguous.view(np.uint8).reshape(len(contiguous), -1)


def _codes(column: Any) -> np.ndarray[Any, Any]:
    """Values of which equal ones have equal bytes."""
    import numpy as np

    if column.dtype.char in "gG":  # extended precision, with bytes that mean nothing
        return np.unique(column, return_inverse=True)[1].reshape(column.shape)
    if column.dtype.kind in "fc":
        same = column + 0.0  # makes -0.0 to 0.0
        same[np.isnan(same)] = np.nan
        return same
    if column.dtype.kind != "O":
        return column
    numbers: dict[Any, int] = {}
    return np.array(
        [[numbers.setdefault(_key(value), len(numbers)) for value in row] for row in column], np.int64
    )


def _key(value: Any) -> Any:
    if _is_missing(value):
        return None
    try:
        hash(value)
    except TypeError:
        return (type(value).__name__, repr(value))
    return value
