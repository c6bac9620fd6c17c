"""`MLFormatter` and the colour schemes: step, epoch and metrics where readers look, in every mode."""

from __future__ import annotations

import logging
import logging.config
from typing import Any

import pytest

from otelml import context
from otelml.logs.formatters import COLOR_SCHEMES, ColorFormatter
from otelml.logs.ml_formatter import MLFormatter

RUN = {
    "epoch": 5,
    "step": 1000,
    "metrics": {"loss": 0.234, "accuracy": 0.92, "lr": 1e-06, "n": 3, "note": "x"},
}


def record(**extra: Any) -> logging.LogRecord:
    """A record at METRIC."""
    made = logging.makeLogRecord({"name": "train", "levelno": 22, "levelname": "METRIC", "msg": "Epoch done"})
    made.__dict__.update(extra)
    return made


def line(formatter: logging.Formatter, **extra: Any) -> str:
    """The line of such a record, without its time."""
    text = formatter.format(record(**extra))
    return text.split(" - ", 1)[1] if " - " in text else text.split(" ", 1)[1]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            {"metric_precision": 1, "show_step": False},
            "train - METRIC - [epoch 5] Epoch done (loss: 0.2, accuracy: 0.9, lr: 1.0e-06, n: 3, note: x, gpu: a)",
        ),
        (
            {"metric_precision": 2, "show_step": False},
            "train - METRIC - [epoch 5] Epoch done (loss: 0.23, accuracy: 0.92, lr: 1.00e-06, n: 3, note: x, gpu: a)",
        ),
        ({"show_metrics": False, "show_epoch": False}, "train - METRIC - [step 1000] Epoch done (gpu: a)"),
        ({"show_metrics": False, "show_epoch": False, "show_step": False, "show_extra": False},
         "train - METRIC - Epoch done"),
        (
            {"compact_mode": True},
            "METRIC e5 s1000 Epoch done loss=0.2340 accuracy=0.9200 lr=1.0000e-06 n=3 note=x (gpu: a)",
        ),
        ({"fmt": "x %(message)s", "show_metrics": False}, "Epoch done (gpu: a)"),
        ({"fmt": "x {progress}{message}", "style": "{", "show_extra": False}, "[epoch 5, step 1000] Epoch done"),
    ],
)  # fmt: skip
def test_lines(options: dict[str, Any], expected: str) -> None:
    """What is shown is what was asked for."""
    assert line(MLFormatter(**options), **RUN, gpu="a") == expected


def test_the_defaults() -> None:
    """Four digits, and all that is known."""
    shown = line(MLFormatter(), epoch=5, step=1000, metrics={"loss": 0.234, "accuracy": 0.92})
    assert shown == "train - METRIC - [epoch 5, step 1000] Epoch done (loss: 0.2340, accuracy: 0.9200)"


def test_without_anything_to_show() -> None:
    """A record that says nothing of a run is a plain line."""
    assert line(MLFormatter()) == "train - METRIC - Epoch done"
    assert line(MLFormatter(compact_mode=True)) == "METRIC Epoch done"
    assert line(MLFormatter(), metrics="no mapping") == "train - METRIC - Epoch done"


def test_the_open_run_is_shown() -> None:
    """Step and epoch are the open run's where the record has none of its own."""
    scope = context.Scope("run", epoch=2, step=7)
    token = context.push(scope)
    try:
        assert line(MLFormatter()) == "train - METRIC - [epoch 2, step 7] Epoch done"
        assert line(MLFormatter(), step=9) == "train - METRIC - [epoch 2, step 9] Epoch done"
    finally:
        context.pop(token)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"), (float("inf"), "inf"), (0.0, "0.0000"), (-1e-9, "-1.0000e-09"), (1e20, "1.0000e+20"),
        (True, "True"), (None, "None"), (12, "12"), ([1, 2], "[1, 2]"), (123456.789, "123456.7890"),
    ],
)  # fmt: skip
def test_values(value: Any, shown: str) -> None:
    """Every value has a form that tells what it is."""
    assert line(MLFormatter(), metrics={"x": value}) == f"train - METRIC - Epoch done (x: {shown})"


def test_the_record_stays_as_it_is() -> None:
    """Other handlers get the same record."""
    made = record(**RUN)
    before = dict(vars(made))
    MLFormatter(color=True).format(made)
    added = set(vars(made)) - set(before)
    assert added <= {"message", "asctime"}
    assert {name: vars(made)[name] for name in before} == before


def test_exceptions_follow() -> None:
    """A traceback stands below the line."""
    try:
        raise ValueError("bad")
    except ValueError as error:
        text = MLFormatter().format(record(exc_info=(ValueError, error, error.__traceback__), **RUN))
    assert text.splitlines()[-1] == "ValueError: bad"


@pytest.mark.parametrize("precision", [-1, 18, 2.0, True, "4"])
def test_precisions_that_are_none(precision: Any) -> None:
    """A precision is a whole number that floats have digits for."""
    with pytest.raises(ValueError, match=r"metric_precision .* must be a whole number from 0 to 17"):
        MLFormatter(metric_precision=precision)


@pytest.mark.parametrize("scheme", COLOR_SCHEMES)
def test_schemes(scheme: str) -> None:
    """Each scheme colours every level, and takes the colour back."""
    formatter = ColorFormatter("%(levelname)s", color=True, color_scheme=scheme)
    for level in (5, 10, 20, 21, 22, 23, 24, 30, 40, 50):
        made = logging.makeLogRecord({"levelno": level, "levelname": "X", "msg": ""})
        text = formatter.format(made)
        assert text.startswith("\x1b[")
        assert text.endswith("mX\x1b[0m")
    assert [floor for floor, _ in COLOR_SCHEMES[scheme]] == sorted(
        (floor for floor, _ in COLOR_SCHEMES[scheme]), reverse=True
    )


def test_a_scheme_that_is_none() -> None:
    """The error says which there are."""
    with pytest.raises(ValueError, match="color_scheme 'pink' must be one of default, dark, light"):
        ColorFormatter(color_scheme="pink")
    with pytest.raises(ValueError, match="color_scheme 'pink'"):
        MLFormatter(color_scheme="pink")


@pytest.mark.parametrize(
    ("environment", "is_colored"),
    [
        ({}, False),
        ({"NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)  # fmt: skip
def test_colours_of_the_ml_formatter(
    environment: dict[str, str], is_colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR and FORCE_COLOR decide where there is no terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ("\x1b[" in MLFormatter(color="auto").format(record(**RUN))) == is_colored


def test_in_a_configuration() -> None:
    """The class stands in a `dictConfig`."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"ml": {"()": "otelml.logs.ml_formatter.MLFormatter", "compact_mode": True}},
            "handlers": {"h": {"class": "logging.StreamHandler", "formatter": "ml"}},
            "loggers": {"otelml_test_formatter": {"handlers": ["h"]}},
        }
    )
    (handler,) = logging.getLogger("otelml_test_formatter").handlers
    assert isinstance(handler.formatter, MLFormatter)
    logging.getLogger("otelml_test_formatter").handlers.clear()
