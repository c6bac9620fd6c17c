"""Columns out of CSV and parquet files, a batch at a time, so that a file may be larger than the memory."""

from __future__ import annotations

import csv
import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROWS = 50_000
"""Rows in a batch."""

_MISSING = frozenset(
    ("", " ", "?", "NULL", "null", "Null", "None", "none",
     "NA", "na", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "NAN", "-NaN", "-nan")
)  # fmt: skip
"""What stands in CSV files for no value."""

_is_whole = re.compile(r"-?\d+\.0").fullmatch
_QUOTED = re.compile(r'(?<![^,;\t|\r\n])"[^"]*(?:""[^"]*)*"')

_PARQUET = frozenset({".parquet", ".pq"})
_SNIFFED = 65_536
_LONGEST_FIELD = 2**24


class DataFileError(ValueError):
    """A file cannot be read as a table."""


def read_batches(path: Path) -> Iterator[dict[str, Any]]:
    """Batches of columns by name. Columns of CSV hold text, None where there is no value.

    Raises:
        DataFileError: it is not there, is no table, or no library is installed that reads it.
    """
    try:
        yield from _read_parquet(path) if path.suffix.lower() in _PARQUET else _read_csv(path)
    except OSError as problem:
        raise DataFileError(f"{path} cannot be read: {problem.strerror or problem}") from None
    except UnicodeDecodeError:
        raise DataFileError(f"{path} is not UTF-8 text") from None
    except csv.Error as problem:
        raise DataFileError(f"{path} is no CSV file: {problem}") from None


# -- CSV


def _read_csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        start = file.read(_SNIFFED)
        file.seek(0)
        before = csv.field_size_limit(_LONGEST_FIELD)
        try:
            rows = csv.reader(file, delimiter=_delimiter(start), strict=True)
            names = next(rows, [])
            if not names or len(set(names)) < len(names):
                raise DataFileError(f"{path} needs a first line with names of columns that differ")
            yield from _batches(path, names, rows)
        finally:
            csv.field_size_limit(before)


def _delimiter(start: str) -> str:
    """What most often stands outside of quotes in both the first line and the next, else in the first one alone."""
    lines = [line for line in _QUOTED.sub("", start).splitlines()[:2] if line] or [""]
    return max(",;\t|", key=lambda mark: (min(line.count(mark) for line in lines), lines[0].count(mark)))


def _batches(path: Path, names: Sequence[str], rows: Any) -> Iterator[dict[str, Any]]:
    batch: list[list[str]] = []
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            raise DataFileError(f"{path}, line {rows.line_num}: {len(row)} fields, and {len(names)} names")
        batch.append(row)
        if len(batch) >= ROWS:
            yield _columns(names, batch)
            batch = []
    if batch:
        yield _columns(names, batch)


def _columns(names: Sequence[str], rows: list[list[str]]) -> dict[str, Any]:
    import numpy as np

    columns = {}
    for name, values in zip(names, zip(*rows, strict=True), strict=True):
        column = np.empty(len(values), dtype=object)
        # Integers that have become floats, as they do where one is missing, are the same class again.
        column[:] = [
            None if text in _MISSING else text[:-2] if text[-2:] == ".0" and _is_whole(text) else text
            for text in values
        ]
        columns[name] = column
    return columns


# -- parquet


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    path.open("rb").close()  # missing files are told apart from broken ones
    for library, read in (
        ("pyarrow.parquet", _with_pyarrow),
        ("pandas", _with_frame),
        ("polars", _with_frame),
    ):
        try:
            module = importlib.import_module(library)
        except ImportError:
            continue
        try:
            yield from read(module, path)
        except OSError:
            raise
        except Exception as problem:  # noqa: BLE001 - each library has its own errors for a broken file
            raise DataFileError(f"{path} is no parquet file: {problem}") from None
        return
    raise DataFileError(
        f"{path}: parquet files need one of pyarrow, polars, or pandas with an engine for them"
    )


def _with_pyarrow(module: Any, path: Path) -> Iterator[dict[str, Any]]:
    with module.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=ROWS):
            yield {name: batch.column(name).to_numpy(zero_copy_only=False) for name in batch.schema.names}


def _with_frame(module: Any, path: Path) -> Iterator[dict[str, Any]]:
    frame = module.read_parquet(path)
    for start in range(0, len(frame), ROWS):
        rows = frame[start : start + ROWS]
        yield {str(name): rows[name].to_numpy() for name in rows.columns}


# -- text as numbers


def parse_numbers(values: Any) -> tuple[Any, int]:
    """A column as float64, and how many of its values are no numbers (they become NaN); numbers stay as they are."""
    import numpy as np

    if values.dtype.kind != "O":
        return values, 0
    try:
        if not any(_is_python(value) for value in values.tolist()):
            return values.astype(np.float64), 0
    except (TypeError, ValueError):
        pass
    parsed = [_parse(value) for value in values.tolist()]
    return np.array([np.nan if n is None else n for n in parsed]), parsed.count(None)


def _is_python(value: Any) -> bool:
    """Whether a text is a number in Python's source code alone: `12_34` is an identifier."""
    return type(value) is str and "_" in value


def _parse(value: Any) -> float | None:
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return float("nan")
    if _is_python(value):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def convert(batch: Mapping[str, Any], numeric: Mapping[str, int]) -> tuple[dict[str, Any], dict[str, int]]:
    """A batch with the columns in `numeric` as numbers, and that with how many values of each are none added."""
    columns, no_numbers = dict(batch), dict(numeric)
    for name in numeric:
        columns[name], wrong = parse_numbers(batch[name])
        no_numbers[name] += wrong
    return columns, no_numbers
