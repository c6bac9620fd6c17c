"""What is remembered of the log: the latest, in bounds, in plain values."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from otelml.export.sentry.breadcrumbs import MAX_CRUMBS, MAX_TEXT, MAX_VALUES, Breadcrumbs


def record(message: str = "x", level: int = logging.INFO) -> logging.LogRecord:
    """A record of the logger `train`."""
    return logging.LogRecord("train", level, "train.py", 1, message, (), None)


def crumb_of(attributes: dict[str, Any], message: str = "x") -> dict[str, Any]:
    """What is remembered of a record with these attributes."""
    breadcrumbs = Breadcrumbs()
    breadcrumbs.add(record(), message, attributes, None)
    (crumb,) = breadcrumbs.read()
    return crumb


def test_the_latest_are_kept() -> None:
    """A hundred, oldest first; after `clear` none."""
    breadcrumbs = Breadcrumbs()
    for number in range(MAX_CRUMBS + 5):
        breadcrumbs.add(record(), str(number), {}, None)
    assert [crumb["message"] for crumb in breadcrumbs.read()] == [str(n) for n in range(5, MAX_CRUMBS + 5)]
    breadcrumbs.clear()
    assert breadcrumbs.read() == []


def test_texts_and_values_are_bounded() -> None:
    """Whatever a record holds."""
    crumb = crumb_of({f"v{n}": "y" * 5000 for n in range(100)}, "z" * 5000)
    assert len(crumb["message"]) == MAX_TEXT
    assert len(crumb["data"]) == MAX_VALUES
    assert {len(value) for value in crumb["data"].values()} == {MAX_TEXT}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (3, 3),
        (0.5, 0.5),
        (None, None),
        ([1, 2], [1, 2]),
        ({"a": [1]}, {"a": [1]}),
        (list(range(5000)), f"{list(range(5000))}"[:MAX_TEXT]),
        (b"abc", "\"b'abc'\""),
    ],
)
def test_values(value: object, shown: object) -> None:
    """Short ones are as they were, long ones begin as their JSON does."""
    assert crumb_of({"value": value})["data"] == {"value": shown}


def test_what_an_issue_says_elsewhere_is_left_out() -> None:
    """Where it was logged, the exception, the run."""
    attributes = {
        "code.line.number": 1,
        "exception.type": "X",
        "ml.run.id": "r",
        "ml.training.epoch": 2,
        "loss": 1.0,
    }
    assert crumb_of(attributes)["data"] == {"loss": 1.0}


@pytest.mark.parametrize(
    ("level", "name"),
    [
        (5, "debug"),
        (10, "debug"),
        (20, "info"),
        (22, "info"),
        (30, "warning"),
        (35, "warning"),
        (40, "error"),
        (50, "fatal"),
    ],
)
def test_levels_between_the_usual_ones_have_a_name_that_sentry_knows(level: int, name: str) -> None:
    """As PROGRESS and METRIC of the ML logger do."""
    breadcrumbs = Breadcrumbs()
    breadcrumbs.add(record(level=level), "x", {}, "ml.progress")
    (crumb,) = breadcrumbs.read()
    assert (crumb["level"], crumb["category"]) == (name, "ml.progress")
