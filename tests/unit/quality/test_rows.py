"""Counting rows: against pandas on random data, by hand where it is odd, and without harm whatever it is."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from otelml.instruments import internal
from otelml.quality import RowCounts, count_rows

pd = pytest.importorskip("pandas")

VALUES = st.sampled_from([0.0, -0.0, 1.0, 2.0, np.nan, np.inf, -np.inf])


@settings(max_examples=200, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 8), st.integers(2, 3)), elements=VALUES))
def test_against_pandas(data: Any) -> None:
    """pandas counts the same rows, of an array and of a frame."""
    frame = pd.DataFrame(data)
    expected = {
        "total": len(frame),
        "nan": int(frame.isna().any(axis=1).sum()),
        "all_nan": int(frame.isna().all(axis=1).sum()),
        "infinite": int(frame.isin([np.inf, -np.inf]).any(axis=1).sum()),
        "constant": int(((frame.nunique(axis=1, dropna=False) == 1) & ~frame.isna().any(axis=1)).sum()),
        "duplicated": int(frame.duplicated().sum()),
    }
    for form in (
        data,
        frame,
        data.astype(np.float32),
        data.astype(np.longdouble),
        data.tolist(),
        data[:, None, :],
    ):
        counts = count_rows(form)
        assert counts is not None
        assert {name: getattr(counts, name) for name in expected} == expected


def test_frames_of_several_kinds() -> None:
    """Text, missing values of every kind, times and categories count as what they are."""
    frame = pd.DataFrame(
        {
            "a": [1.0, 2.0, 2.0, None, 1.0],
            "b": ["x", "y", "y", None, "x"],
            "c": pd.array([1, 2, 2, None, None], dtype="Int64"),
            "d": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-02", None, "2026-01-01"]),
        }
    )
    assert count_rows(frame) == RowCounts(5, 2, 1, 0, 0, 1, {"nan": 3, "all_nan": 3, "duplicated": 2})
    assert int(frame.duplicated().sum()) == 1


def test_one_column() -> None:
    """A vector is a column of rows, of which none is constant more than another."""
    expected = RowCounts(4, 1, 1, 0, None, 1, {"nan": 3, "all_nan": 3, "duplicated": 2})
    for form in ([1, 2, 2, np.nan], np.array([1, 2, 2, np.nan]), pd.Series([1, 2, 2, np.nan])):
        assert count_rows(form) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([], RowCounts(0, 0, 0, 0, None, 0)),
        (np.zeros((3, 0)), RowCounts(3, 0, 0, 0, None, 0)),
        (np.zeros((0, 3)), RowCounts(0, 0, 0, 0, None, 0)),
        (pd.DataFrame(), RowCounts(0, 0, 0, 0, None, 0)),
        (np.array([[1, 1]]), RowCounts(1, 0, 0, 0, 1, 0, {"constant": 0})),
        (np.array([[True, False], [True, False]]), RowCounts(2, 0, 0, 0, 0, 1, {"duplicated": 1})),
        (np.array([["a", "a"], ["a", "b"]]), RowCounts(2, 0, 0, 0, 1, 0, {"constant": 0})),
        ([["a", None], ["a", None], ["b", 3]], RowCounts(3, 2, 0, 0, 0, 1, {"nan": 0, "duplicated": 1})),
        (np.array([[1 + 2j, np.nan], [1, 1]]), RowCounts(2, 1, 0, 0, 1, 0, {"nan": 0, "constant": 1})),
    ],
)
def test_odd_shapes_and_kinds(data: Any, expected: RowCounts) -> None:
    """Nothing to count is counted as nothing; every kind of value has its rows."""
    assert count_rows(data) == expected


@pytest.mark.parametrize(
    "values", [[1.0, 2.0, 1.0], [1 + 1j, 2, 1 + 1j], [1, 2, 1], ["a", "b", "a"], np.array([1, 2, 1], "M8[D]")]
)
def test_what_is_masked_is_missing(values: Any) -> None:
    """Whatever it hides, and of whatever kind."""
    masked = np.ma.masked_array(values, [True, False, True])
    expected = RowCounts(3, 2, 2, 0, None, 1, {"nan": 0, "all_nan": 0, "duplicated": 2})
    assert count_rows(masked) == expected
    assert count_rows(np.ma.masked_array(values)).nan == 0


def test_unhashable_values() -> None:
    """Rows of lists are compared by what they show."""
    data = np.empty((3, 1), object)
    data[:, 0] = [[1], [1], [2]]
    assert count_rows(data) == RowCounts(3, 0, 0, 0, None, 1, {"duplicated": 1})


class OnDevice:
    """An array on an accelerator."""

    shape = (2, 2)
    device = type("device", (), {"type": "cuda"})()

    def __array__(self) -> Any:
        raise AssertionError("the program would wait for the device")


class Sore:
    """An array that cannot be read."""

    def __array__(self, *_args: Any, **_named: Any) -> Any:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    "data", [None, 3, "text", {"a": 1}, [[1, 2], [3]], np.float64(1), OnDevice(), object()]
)
def test_what_cannot_be_counted(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    """No counts; that is counted and said once."""
    assert count_rows(data) is None
    assert count_rows(data) is None
    assert internal.totals() == {("errors", "quality", "data"): 2}
    (record,) = caplog.records
    assert "cannot be counted" in record.getMessage()


def test_an_array_that_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """What somebody's array raises stays in here."""
    monkeypatch.setattr(internal, "raise_errors", False)
    assert count_rows(Sore()) is None
    assert internal.totals() == {("errors", "quality", "RuntimeError"): 1}


def test_no_library_is_imported() -> None:
    """Counting brings numpy and nothing else."""
    code = (
        "import sys, otelml.quality as q\n"
        "assert 'numpy' not in sys.modules\n"
        "q.count_rows([[1, 2]])\n"
        "print([name for name in ('pandas', 'polars', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
