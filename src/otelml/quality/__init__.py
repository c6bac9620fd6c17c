"""Data quality: what was wrong with which rows, and what was done about it, as events and counted rows.

Nothing here raises for the data or the numbers that it is given.
"""

from __future__ import annotations

from typing import Any

from otelml import events, instruments
from otelml.instruments import internal
from otelml.quality.rows import CHECKS, RowCounts, count_rows
from otelml.semconv import _generated as semconv

__all__ = ["SUMMARY_CHECK", "RowCounts", "count_rows", "inspect", "issue", "summary"]

SUMMARY_CHECK = "qa_summary"
"""`ml.data.check` of the rows that a summary counts: apart from those of single issues, which may be the same rows."""


def issue(  # noqa: PLR0917 - in the order in which one says it
    check: str,
    severity: str = "warning",
    affected_rows: int | None = None,
    total_rows: int | None = None,
    details: str | None = None,
    action: str | None = None,
    *,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """Say that `check` found something. Event `qa_exception`, and `affected_rows` counted into `ml.data.rows`.

    Args:
        check: a constant such as "nan_detection"; it is an attribute of the metric.
        severity: "debug", "info", "warning", "error" or "critical": the level of the event.
        affected_rows, total_rows: rows that have the problem, and rows looked at; the event says their percentage.
        details: what was found, for people.
        action: what was done with the rows (interpolated, dropped, mean_fallback, ...); an attribute of the metric.
        stacklevel: whose place the event has: 1 the caller's, 2 that of the caller's caller, ...
        more: further fields of the event.
    """
    with internal.guard("quality"):
        _count(check, action, affected_rows)
        # It is a warning by default, and so on many consoles: its name alone would say nothing there.
        more.setdefault("message", _describe(check, affected_rows, total_rows, details, action))
    events.qa_exception(
        check=check,
        severity=severity,
        affected_rows=affected_rows,
        total_rows=total_rows,
        details=details,
        action_taken=action,
        stacklevel=stacklevel + 1,
        **more,
    )


def _describe(
    check: str, affected: int | None, total: int | None, details: str | None, action: str | None
) -> str:
    rows = (
        None if affected is None else f"{affected} rows" if total is None else f"{affected} of {total} rows"
    )
    return f"{check}: " + ", ".join(filter(None, (details, rows, action)))


def summary(
    total_samples: int,
    *,
    interpolated: int | None = None,
    all_nan: int | None = None,
    mean_fallback: int | None = None,
    outliers_detected: int | None = None,
    stacklevel: int = 1,
    **more: Any,
) -> None:
    """Say what the checks of a data set came to. Event `qa_summary`, and its rows counted into `ml.data.rows`.

    Each number becomes a series with `ml.data.check` "qa_summary" and its own name as `ml.data.action`: never added
    to those of `issue`, which may have counted the same rows already. Call it once for each set of rows.

    Args:
        total_samples: samples in all.
        interpolated, all_nan, mean_fallback, outliers_detected: samples of each kind; None is unknown.
        stacklevel: as for `issue`.
        more: further fields of the event.
    """
    found = {
        "interpolated": interpolated,
        "all_nan": all_nan,
        "mean_fallback": mean_fallback,
        "outliers_detected": outliers_detected,
    }
    with internal.guard("quality"):
        for name, rows in found.items():
            _count(SUMMARY_CHECK, name, rows)
    events.qa_summary(total_samples=total_samples, **found, stacklevel=stacklevel + 1, **more)


def inspect(
    data: Any, *, severity: str = "warning", action: str | None = None, stacklevel: int = 1, **more: Any
) -> RowCounts | None:
    """Count the rows of `data` that are suspicious, and report each kind that there is as an `issue`.

    The checks are called `nan_detection`, `infinite_detection`, `constant_detection` and `duplicate_detection`.

    Args:
        data: see `count_rows`.
        severity: of the issues.
        action: what is done with such rows.
        stacklevel: as for `issue`.
        more: further fields of the events.

    Returns:
        The counts, or None where `data` cannot be counted, which is said once.
    """
    counts = count_rows(data)
    if counts is None:
        return None
    for check, (kind, words) in CHECKS.items():
        affected = getattr(counts, kind)
        if affected:
            details = f"{words} in {affected} of {counts.total} rows, first in row {counts.first[kind]}"
            issue(check, severity, affected, counts.total, details, action, stacklevel=stacklevel + 1, **more)
    return counts


def _count(check: str, action: str | None, rows: Any) -> None:
    """Add to `ml.data.rows`. What is no number of rows is counted as an error, and said once."""
    if rows is None:
        return
    number = _whole(rows)
    if number is None:
        internal.count("errors", "quality", "rows")
        internal.warn_once(
            f"quality:rows:{check}",
            "otelml: the check %r reported %.100r rows, which is no whole number from 0; they are not counted",
            check,
            rows,
        )
        return
    attributes = {semconv.ML_DATA_CHECK: str(check)}
    if action is not None:
        attributes[semconv.ML_DATA_ACTION] = str(action)
    instruments.counter(semconv.METRIC_ML_DATA_ROWS).add(number, attributes)


def _whole(rows: Any) -> int | None:
    if isinstance(rows, bool) or not hasattr(type(rows), "__index__"):
        return None
    number = int(rows.__index__())
    return number if number >= 0 else None
