"""Quality: issues and summaries as events and counted rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from otelml import quality, testing
from otelml.instruments import internal
from otelml.logs.flat import to_flat

ROWS = "ml.data.rows"
NOT_FIELDS = {"timestamp", "logger", "module", "function", "line", "message"}


def said(captured: testing.Capture) -> list[dict[str, Any]]:
    """The events, without time and place."""
    flats = [to_flat(data) for data in captured.logs]
    return [{k: v for k, v in flat.items() if k not in NOT_FIELDS} for flat in flats if "event" in flat]


def counted(captured: testing.Capture) -> dict[tuple[str, str | None], int]:
    """Rows by check and action."""
    points = captured.points().get(ROWS, [])
    return {(p.attributes["ml.data.check"], p.attributes.get("ml.data.action")): p.value for p in points}


def test_an_issue() -> None:
    """It is the reference document's event, and its rows are counted by check and action."""
    with testing.capture() as captured:
        quality.issue(
            "nan_detection", "warning", 5, 1000, "NaN values found in features[245:250]", "interpolation"
        )
        quality.issue("nan_detection", "info", 2, action="interpolation", batch=7)
        quality.issue("outliers", affected_rows=np.int64(3), total_rows=np.int64(60))
        captured.assert_conforms()
        first, second, third = said(captured)
        assert counted(captured) == {("nan_detection", "interpolation"): 7, ("outliers", None): 3}
        place = to_flat(captured.logs[0])
    assert first == {
        "level": "WARNING", "event": "qa_exception", "check": "nan_detection", "severity": "warning",
        "affected_rows": 5, "total_rows": 1000, "affected_percent": 0.5,
        "details": "NaN values found in features[245:250]", "action_taken": "interpolation",
    }  # fmt: skip
    assert second == {
        "level": "INFO", "event": "qa_exception", "check": "nan_detection", "severity": "info", "affected_rows": 2,
        "action_taken": "interpolation", "batch": 7,
    }  # fmt: skip
    assert (third["severity"], third["affected_percent"]) == ("warning", 5.0)
    assert (place["module"], place["function"]) == ("test_quality", "test_an_issue")


def test_a_summary() -> None:
    """It is the reference's event; its rows are counted apart from those of issues, which may be the same."""
    with testing.capture() as captured:
        quality.issue("nan_detection", "warning", 15, 1000, action="interpolated")
        quality.summary(total_samples=1000, interpolated=15, all_nan=3, mean_fallback=7, outliers_detected=2)
        quality.summary(500, interpolated=1, note="x")
        captured.assert_conforms()
        _, first, second = said(captured)
        assert counted(captured) == {
            ("nan_detection", "interpolated"): 15, ("qa_summary", "interpolated"): 16, ("qa_summary", "all_nan"): 3,
            ("qa_summary", "mean_fallback"): 7, ("qa_summary", "outliers_detected"): 2,
        }  # fmt: skip
        place = to_flat(captured.logs[1])
    assert first == {
        "level": "INFO", "event": "qa_summary", "total_samples": 1000, "interpolated": 15, "all_nan": 3,
        "mean_fallback": 7, "outliers_detected": 2,
    }  # fmt: skip
    assert second == {
        "level": "INFO",
        "event": "qa_summary",
        "total_samples": 500,
        "interpolated": 1,
        "note": "x",
    }
    assert place["function"] == "test_a_summary"


@pytest.mark.parametrize("rows", [-1, 1.5, math.nan, math.inf, "5", True, [5]])
def test_rows_that_are_no_number(rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is written, nothing is counted as rows, and that is counted and said."""
    monkeypatch.setattr(internal, "raise_errors", False)
    with testing.capture() as captured:
        quality.issue("c", affected_rows=rows)
        assert counted(captured) == {}
        assert len(said(captured)) == 1
    assert internal.totals()["errors", "quality", "rows"] == 1


def test_inspect() -> None:
    """Each kind of row that there is becomes an issue with where the first one is; what there is not is not said."""
    data = np.array([[1.0, 2], [np.nan, 3], [1, 2], [4, 4], [np.inf, 1]])
    with testing.capture() as captured:
        counts = quality.inspect(data, action="dropped", split="train")
        clean = quality.inspect(np.array([[1.0, 2], [3, 4]]))
        captured.assert_conforms()
        found = said(captured)
        assert counted(captured) == {
            ("nan_detection", "dropped"): 1, ("infinite_detection", "dropped"): 1,
            ("constant_detection", "dropped"): 1, ("duplicate_detection", "dropped"): 1,
        }  # fmt: skip
        place = to_flat(captured.logs[0])
    assert counts == quality.RowCounts(
        5, 1, 0, 1, 1, 1, {"nan": 1, "infinite": 4, "constant": 3, "duplicated": 2}
    )
    assert clean == quality.RowCounts(2, 0, 0, 0, 0, 0, {})
    assert {event["check"]: event["details"] for event in found} == {
        "nan_detection": "NaN or missing values in 1 of 5 rows, first in row 1",
        "infinite_detection": "infinite values in 1 of 5 rows, first in row 4",
        "constant_detection": "the same value in all columns in 1 of 5 rows, first in row 3",
        "duplicate_detection": "copies of earlier rows in 1 of 5 rows, first in row 2",
    }
    assert {event["split"] for event in found} == {"train"}
    assert place["function"] == "test_inspect"


def test_inspect_what_cannot_be_counted() -> None:
    """There are no counts, and no issue."""
    with testing.capture() as captured:
        assert quality.inspect("text") is None
        assert said(captured) == []
