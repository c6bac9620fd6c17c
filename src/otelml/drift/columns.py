"""Reads what people have their data in: arrays, mappings, lists, tables of pandas, polars and pyarrow, CPU tensors.

Libraries are recognised by their looks and never imported; only numpy is, when the first values come.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

from otelml.instruments.aggregate import tensor_array

UNNAMED = "value"
"""The name of the only feature of a reference that was made from one array."""

_MISSING = frozenset({"NAType", "NaTType", "NoneType"})
"""Types of what is not there: those of pandas, and of None."""


class BadColumnError(ValueError):
    """Values that cannot be counted; `reason` is one of few words, for `otelml.internal.errors`."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason


def read_columns(values: Any, *, whole: bool = False) -> dict[str, Any]:
    """The columns of `values` by name, as they are.

    A mapping, a table and a list of mappings have names. Of a two-dimensional array the columns are `x0`, `x1`, ...;
    anything else, and with `whole` any array, is the one feature `value`.

    Raises:
        BadColumnError: an array has more than two dimensions.
    """
    if isinstance(values, Mapping):
        return {str(name): column for name, column in values.items()}
    names = _names_of_table(values)
    if names is not None:
        return {str(name): values[name] for name in names}
    if _is_of_mappings(values):
        names = dict.fromkeys(name for row in values for name in row)
        return {str(name): [row.get(name) for row in values] for name in names}
    array = plain_array(values)
    if whole or array.ndim < 2:
        return {UNNAMED: array}
    if array.ndim > 2:
        raise BadColumnError(
            "shape", f"an array of shape {array.shape} is no table: it needs 1 or 2 dimensions"
        )
    return {f"x{i}": array[:, i] for i in range(array.shape[1])}


def _names_of_table(values: Any) -> Any:
    """Names of the columns of a table of pandas, polars or pyarrow, or of a structured array; None for others."""
    root = type(values).__module__.partition(".")[0]
    if root == "pyarrow":
        return getattr(values, "column_names", None)
    if root in {"pandas", "polars", "modin", "cudf"} and hasattr(values, "columns"):
        return list(values.columns)
    return getattr(getattr(values, "dtype", None), "names", None)


def _is_of_mappings(values: Any) -> bool:
    """Whether these are rows as JSON has them."""
    return (
        isinstance(values, (list, tuple)) and bool(values) and all(isinstance(row, Mapping) for row in values)
    )


def plain_array(values: Any) -> Any:
    """A numpy array of `values`, of numbers where they are numbers, else of objects."""
    import numpy as np

    if isinstance(values, np.ma.MaskedArray):
        kind: Any
        hole: Any
        kind, hole = (np.float64, np.nan) if values.dtype.kind in "biuf" else (object, None)
        return np.where(np.ma.getmaskarray(values), hole, values.data.astype(kind))
    if isinstance(values, np.ndarray):
        return values
    if hasattr(values, "detach"):
        return _of_tensor(values)
    if type(values).__module__.partition(".")[0] in {"pandas", "polars", "pyarrow"}:
        return _of_series(values)
    if hasattr(values, "__array__"):
        return np.asarray(values)
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        values = [values]
    return _of_list(values if isinstance(values, list) else list(values))


def _of_tensor(values: Any) -> Any:
    if getattr(values, "is_cuda", False) or getattr(getattr(values, "device", None), "type", "cpu") != "cpu":
        # Reading it would make the program wait for the device.
        raise BadColumnError("device", "a tensor on a device is not read; hand over `tensor.cpu()`")
    return tensor_array(values)


def _of_series(values: Any) -> Any:
    import numpy as np

    if getattr(getattr(values, "dtype", None), "kind", "") in "iuf" and hasattr(values, "isna"):
        return values.to_numpy(dtype=np.float64, na_value=np.nan)  # pandas, with nulls or without
    try:
        return values.to_numpy(zero_copy_only=False)  # pyarrow's arrays
    except TypeError:
        return values.to_numpy()


def _of_list(values: list[Any]) -> Any:
    """Numbers, None among them or not, or rows of numbers as floats; anything else as objects."""
    import numpy as np

    kinds = set(map(type, values))
    if not any(issubclass(kind, (str, bytes, bool)) for kind in kinds):
        try:
            return np.array(values, dtype=np.float64)
        except Exception:  # noqa: BLE001, S110 - a class of the user's may raise anything; its values stay objects
            pass
    return np.fromiter(values, dtype=object, count=len(values))


def is_numeric(array: Any) -> bool:
    """Whether an array holds real numbers; of objects, whether each is a number or missing."""
    if array.dtype.kind in "iuf":
        return True
    if array.dtype.kind != "O":
        return False
    kinds = set(map(type, array.ravel().tolist())) - {type(None)}
    return bool(kinds) and bool not in kinds and all(issubclass(kind, (Real, Decimal)) for kind in kinds)


def holds_dates(array: Any) -> bool:
    """Whether an array holds dates, times or durations, as numpy has them or as objects."""
    if array.dtype.kind != "O":
        return array.dtype.kind in "mM"
    kinds = {kind for kind in set(map(type, array.ravel().tolist())) if kind.__name__ not in _MISSING}
    return bool(kinds) and all(issubclass(kind, (date, time, timedelta)) for kind in kinds)


def as_numbers(values: Any) -> Any:
    """A one-dimensional array of real numbers; what is missing is NaN.

    Raises:
        BadColumnError: it has another shape, or holds something else.
    """
    array = as_array(values, 1)
    if array.dtype.kind in "iuf":
        return array
    return _as_floats(array)


def as_rows(values: Any, dimensions: int | None = None) -> Any:
    """An array of shape (n, dimensions) of real numbers; one row may come as (dimensions,).

    Raises:
        BadColumnError: it has another shape, or holds something else.
    """
    import numpy as np

    array = plain_array(values)
    if array.dtype.kind == "O" and array.ndim == 1 and len(array):
        try:
            array = np.stack([np.asarray(row, dtype=np.float64) for row in array])  # a column of lists
        except Exception:  # noqa: BLE001 - a class of the user's may raise anything
            raise BadColumnError("shape", "its rows are not all of the same length, or no numbers") from None
    if array.ndim == 1 and array.size and dimensions in {None, array.shape[0]}:
        array = array[np.newaxis, :]
    if not array.size:
        array = array.reshape(0, dimensions or 0)
    if array.ndim != 2 or (dimensions is not None and array.shape[1] != dimensions):
        raise BadColumnError("shape", f"its shape is {array.shape}, not (n, {dimensions or 'dimensions'})")
    return array if array.dtype.kind in "iuf" else _as_floats(array)


def as_array(values: Any, dimensions: int) -> Any:
    """An array of that many dimensions; a single value counts as an array of one.

    Raises:
        BadColumnError: it has more dimensions than one that are longer than 1.
    """
    array = plain_array(values)
    if array.ndim != dimensions:
        if dimensions == 1 and sum(length != 1 for length in array.shape) <= 1:
            return array.reshape(-1)  # a scalar, a column, a row
        raise BadColumnError("shape", f"its shape is {array.shape}, not (n,)")
    return array


def _as_floats(array: Any) -> Any:
    import numpy as np

    if array.dtype.kind == "b":
        return array.astype(np.float64)
    if array.dtype.kind == "O" and not any(
        isinstance(value, (str, bytes)) for value in array.ravel().tolist()
    ):
        try:
            return array.astype(np.float64)
        except Exception:  # noqa: BLE001 - a class of the user's may raise anything
            return np.array([_as_float(value) for value in array.ravel().tolist()]).reshape(array.shape)
    raise BadColumnError("type", f"it holds {array.dtype.name}, not real numbers")


def _as_float(value: Any) -> float:
    """`value` as a number; what is none is missing (None, pandas' NA) or a mistake."""
    if type(value).__name__ in _MISSING:
        return float("nan")
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    except Exception:  # noqa: BLE001 - a class of the user's may raise anything
        raise BadColumnError("type", f"it holds a {type(value).__name__}, which is no real number") from None
