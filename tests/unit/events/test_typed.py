"""Typed events: the outputs of the reference document, derived fields, levels, and the place of the caller."""

from __future__ import annotations

import inspect
import json
import logging
import math
from typing import Any

import numpy as np
import pytest

from otelml import events, testing
from otelml.instruments import internal
from otelml.logs.flat import dumps, to_flat
from otelml.semconv._generated import EVENTS
from otelml.semconv.codegen.functions import BY_HAND, parameter

PLACE = {"timestamp", "logger", "module", "function", "line"}
HERE = __name__.rpartition(".")[2]

# What computes a required field, where the caller need not give it.
COMPUTED = {("config", "config_hash"): "config", ("fsq_config", "codebook_size"): "levels"}

EXAMPLES: dict[str, Any] = {
    "string": "text", "int": 3, "double": 0.5, "boolean": True, "int[]": [8, 6, 5], "string[]": ["a"],
    "any": {"a": 1},
}  # fmt: skip


def said(captured: testing.Capture) -> list[dict[str, Any]]:
    """The events, without time and place."""
    flats = [json.loads(dumps(to_flat(data))) for data in captured.logs]
    return [{k: v for k, v in flat.items() if k not in PLACE} for flat in flats]


# The printed outputs of the system that these events come from, without the timestamps: what is derived is printed
# there with one digit behind the point.
REFERENCE = [
    (
        events.config,
        {"config": {"model_name": "conv2d_fsq", "fsq_levels": [8, 6, 5], "embedding_dim": 64, "random_seed": 42}},
        {
            "level": "INFO", "event": "config", "model_name": "conv2d_fsq", "fsq_levels": [8, 6, 5],
            "embedding_dim": 64, "codebook_size": 240, "random_seed": 42,
        },
    ),
    (
        events.epoch_complete,
        {
            "epoch": 15, "loss": 0.123, "accuracy": 0.856, "learning_rate": 0.001, "duration_seconds": 47.3,
            "samples": 32_278,
        },
        {
            "level": "INFO", "event": "epoch_complete", "epoch": 15, "loss": 0.123, "accuracy": 0.856,
            "learning_rate": 0.001, "duration_seconds": 47.3, "samples_per_second": 682.4,
        },
    ),
    (
        events.fsq_encoding,
        {"batch_size": 32, "perplexity": 125.6, "usage": 0.75, "duration_s": 0.023},
        {
            "level": "INFO", "event": "fsq_encoding", "batch_size": 32, "perplexity": 125.6,
            "code_usage_percent": 75.0, "codebook_utilization": "good", "encoding_duration_ms": 23.0,
            "codes_per_second": 1391.3,
        },
    ),
    (
        events.clustering,
        {
            "algorithm": "gmm", "k_clusters": 4, "n_samples": 1000, "silhouette_score": 0.68, "merge_operations": 2,
            "clusters_final": 4, "hungarian_matching": True, "duration_s": 0.1567,
        },
        {
            "level": "INFO", "event": "clustering", "algorithm": "gmm", "k_clusters": 4, "n_samples": 1000,
            "silhouette_score": 0.68, "merge_operations": 2, "clusters_final": 4, "hungarian_matching": True,
            "clustering_duration_ms": 156.7,
        },
    ),
    (
        events.temporal_smoothing,
        {
            "policy": "median_hysteresis", "min_dwell": 5, "window_size": 7, "transitions_before": 87,
            "transitions_after": 34, "duration_s": 0.0124,
        },
        {
            "level": "INFO", "event": "temporal_smoothing", "policy": "median_hysteresis", "min_dwell": 5,
            "window_size": 7, "transitions_before": 87, "transitions_after": 34, "reduction_percent": 60.9,
            "smoothing_duration_ms": 12.4,
        },
    ),
    (
        events.qa_exception,
        {
            "check": "nan_detection", "severity": "warning", "affected_rows": 5, "total_rows": 1000,
            "details": "NaN values found in features[245:250]", "action_taken": "interpolation",
        },
        {
            "level": "WARNING", "event": "qa_exception", "check": "nan_detection", "severity": "warning",
            "affected_rows": 5, "total_rows": 1000, "affected_percent": 0.5,
            "details": "NaN values found in features[245:250]", "action_taken": "interpolation",
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "given", "printed"), REFERENCE, ids=lambda value: getattr(value, "__name__", "")
)
def test_the_reference_s_outputs(function: Any, given: dict[str, Any], printed: dict[str, Any]) -> None:
    """Each printed output of the reference document comes out of its function, and nothing that is not explained."""
    with testing.capture() as captured:
        function(**given)
        (flat,) = said(captured)
        captured.assert_conforms()
    shown = {k: round(v, 1) if k.endswith(("_percent", "_per_second", "_ms")) else v for k, v in flat.items()}
    assert {name: shown.get(name) for name in printed} == printed
    assert set(shown) - set(printed) <= {"message", "config", "config_hash", "samples"}


def required_values(name: str) -> dict[str, Any]:
    """A value of the right type for each required field, by its keyword."""
    fields = [field for field in EVENTS[name].fields if field.requirement == "required"]
    return {parameter(field.name): EXAMPLES[field.type] for field in fields}


@pytest.mark.parametrize("name", sorted(set(EVENTS) - {"otelml_typed"}))
def test_every_event_has_its_function(name: str) -> None:
    """Keyword-only; a required field is a required keyword unless it can be computed, every other an optional one."""
    parameters = inspect.signature(getattr(events, name)).parameters
    assert name in events.__all__
    assert {p.kind for p in parameters.values()} <= {
        inspect.Parameter.KEYWORD_ONLY,
        inspect.Parameter.VAR_KEYWORD,
    }
    for field in EVENTS[name].fields:
        keyword = parameters[parameter(field.name)]
        is_required = field.requirement == "required" and (name, field.name) not in COMPUTED
        assert (keyword.default is inspect.Parameter.empty) == is_required, field.name
    assert [p for p in COMPUTED.items() if p[0][0] == name and p[1] not in parameters] == []
    assert (getattr(events, name).__module__ == "otelml.events.derived") == (name in BY_HAND)


@pytest.mark.parametrize("name", sorted(set(EVENTS) - {"otelml_typed"}))
def test_every_function_writes_its_event(name: str) -> None:
    """With what is required only, it conforms, has the registry's level, and this test as its place."""
    with testing.capture() as captured:
        getattr(events, name)(**required_values(name), my_own="field")
        captured.assert_conforms()
        (data,) = captured.logs
    flat = to_flat(data)
    assert (flat["event"], flat["logger"], flat["my_own"]) == (name, "otelml", "field")
    assert (flat["module"], flat["function"]) == (HERE, "test_every_function_writes_its_event")
    assert flat["level"] == EVENTS[name].level
    required = {field.name for field in EVENTS[name].fields if field.requirement == "required"}
    derived = {"codebook_utilization", "codes_per_second", "reduction_percent"}
    assert set(flat) - PLACE - {"level", "message", "event", "my_own"} - derived == required


def helper() -> None:
    """Emit in the name of the caller, one of each kind of function."""
    events.fsq_encoding(batch_size=1, stacklevel=2)
    events.batch_start(batch_size=1, stacklevel=2)


def test_how_to_write_can_be_said() -> None:
    """Message, level, logger, stack level and exception are as for `emit`."""
    with testing.capture() as captured:
        helper()
        events.batch_start(
            batch_size=1, message="100% begun", level=logging.ERROR, logger=logging.getLogger("otelml.mine"),
            exc_info=ValueError("bad"),
        )  # fmt: skip
        first, second, third = map(to_flat, captured.logs)
    assert (first["function"], second["function"]) == ("test_how_to_write_can_be_said",) * 2
    assert third["level"] == "ERROR"
    assert (third["message"], third["logger"], third["exception.type"]) == (
        "100% begun",
        "otelml.mine",
        "ValueError",
    )


@pytest.mark.parametrize(
    ("usage", "percent", "verdict"),
    [
        (1.0, 100, "good"),
        (0.7, 70, "good"),
        (0.6999, 69.99, "fair"),
        (0.3, 30, "fair"),
        (0.2999, 29.99, "poor"),
        (0, 0, "poor"),
        (np.float32(0.5), 50, "fair"),
        (math.nan, None, None),
        (None, None, None),
        ("much", None, None),
    ],
)
def test_codebook_utilization(usage: Any, percent: float | None, verdict: str | None) -> None:
    """Good from 0.7 of the codes, fair from 0.3, poor below; absent where the share is unknown."""
    with testing.capture() as captured:
        events.fsq_encoding(batch_size=32, usage=usage)
        (flat,) = said(captured)
    assert flat.get("code_usage_percent") == pytest.approx(percent)
    assert flat.get("codebook_utilization") == verdict


def test_a_percentage_is_judged_too() -> None:
    """Whoever has the percentage gets the same verdict."""
    with testing.capture() as captured:
        events.fsq_encoding(batch_size=32, code_usage_percent=70.0)
        assert said(captured)[0]["codebook_utilization"] == "good"


def test_a_usage_that_is_no_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """75 where 0.75 was meant: the event is written without what would be wrong, and that is counted."""
    monkeypatch.setattr(internal, "raise_errors", False)
    with testing.capture() as captured:
        events.fsq_encoding(batch_size=32, usage=75)
        flat = said(captured)[-1]
    assert {"code_usage_percent", "codebook_utilization"}.isdisjoint(flat)
    assert internal.totals() == {("errors", "events", "range"): 1}


@pytest.mark.parametrize(
    ("given", "rate", "elapsed_ms"),
    [
        ({"duration_s": 0.5}, 64.0, 500.0),
        ({"duration_s": 0.5, "codes": 3200}, 6400.0, 500.0),
        ({"encoding_duration_ms": 500}, 64.0, 500),
        ({"duration_s": 0.5, "codes_per_second": 7.0}, 7.0, 500.0),
        ({"duration_s": 0}, None, 0.0),
        ({"duration_s": -1}, None, -1000.0),
        ({"duration_s": math.inf}, None, None),
        ({}, None, None),
    ],
)
def test_codes_per_second(given: dict[str, Any], rate: float | None, elapsed_ms: float | None) -> None:
    """One code a sample unless `codes` says otherwise; no rate without a duration."""
    with testing.capture() as captured:
        events.fsq_encoding(batch_size=32, **given)
        (flat,) = said(captured)
    assert flat.get("codes_per_second") == rate
    assert flat.get("encoding_duration_ms") == elapsed_ms


@pytest.mark.parametrize(
    ("before", "after", "percent"),
    [(10, 5, 50.0), (10, 10, 0.0), (10, 12, -20.0), (0, 0, None), (10, 0, 100.0)],
)
def test_reduction(before: int, after: int, percent: float | None) -> None:
    """Of no transitions nothing can be taken away; smoothing that adds some says so."""
    with testing.capture() as captured:
        events.temporal_smoothing(policy="p", transitions_before=before, transitions_after=after)
        assert said(captured)[0].get("reduction_percent") == pytest.approx(percent)


@pytest.mark.parametrize(
    ("severity", "level"),
    [
        ("info", "INFO"),
        ("Warning", "WARNING"),
        ("error", "ERROR"),
        ("critical", "CRITICAL"),
        ("odd", "WARNING"),
    ],
)
def test_severity_is_the_level(severity: str, level: str) -> None:
    """The level of a quality exception is what its severity says; the registry's for a severity of one's own."""
    with testing.capture() as captured:
        events.qa_exception(check="c", severity=severity)
        assert said(captured) == [
            {
                "level": level,
                "event": "qa_exception",
                "message": "qa_exception",
                "check": "c",
                "severity": severity,
            }
        ]


@pytest.mark.parametrize(
    ("status", "level"), [("healthy", "INFO"), ("degraded", "WARNING"), ("unhealthy", "ERROR")]
)
def test_health_has_a_level(status: str, level: str) -> None:
    """A health that is none is heard."""
    with testing.capture() as captured:
        events.health(status=status)
        assert said(captured)[0]["level"] == level


def test_fsq_config_multiplies_the_levels() -> None:
    """The codebook's size is the product of the levels; a given one stands."""
    with testing.capture() as captured:
        events.fsq_config(levels=np.array([8, 6, 5]), embedding_dim=64)
        events.fsq_config(levels=[8, 6, 5], codebook_size=256)
        captured.assert_conforms()
        assert [flat["codebook_size"] for flat in said(captured)] == [240, 256]


@pytest.mark.parametrize("levels", [[], [8, 0], [8, -1], ["a"], [2.5], None, [math.nan]])
def test_levels_that_have_no_product(levels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no codebook has no size."""
    monkeypatch.setattr(internal, "raise_errors", False)
    with testing.capture() as captured:
        events.fsq_config(levels=levels)
        assert "codebook_size" not in said(captured)[-1]


class OnDevice:
    """An array on an accelerator: reading it waits."""

    shape = ()
    device = type("device", (), {"type": "cuda"})()

    def __float__(self) -> float:
        raise AssertionError("the program would wait for the device")


def test_nothing_waits_for_a_device() -> None:
    """A number on an accelerator is written as what it is, and nothing is computed from it."""
    with testing.capture() as captured:
        events.fsq_encoding(batch_size=32, usage=OnDevice(), duration_s=OnDevice())
        events.epoch_complete(epoch=1, duration_seconds=OnDevice(), samples=3)
        first, second = said(captured)
    assert set(first) == {"level", "event", "message", "batch_size"}
    assert "samples_per_second" not in second


class Sore:
    """Nothing about it works."""

    def __repr__(self) -> str:
        raise RuntimeError("no")

    def __float__(self) -> float:
        raise TypeError("no")


@pytest.mark.parametrize("value", [Sore(), "x" * 200_000, [[]], {}, b"\xff", object(), 10**400, "\ud800"])
def test_whatever_it_is_given(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that a field may be makes a function raise, or keeps the event back."""
    monkeypatch.setattr(internal, "raise_errors", False)
    with testing.capture() as captured:
        for name in (
            "fsq_encoding",
            "temporal_smoothing",
            "config",
            "epoch_complete",
            "qa_exception",
            "run_params",
        ):
            keywords = inspect.signature(getattr(events, name)).parameters
            getattr(events, name)(**{k: value for k in keywords if k not in ("stacklevel", "more")})
        names = [to_flat(data).get("event") for data in captured.logs]
    assert [name for name in names if name] == [
        "fsq_encoding", "temporal_smoothing", "config", "epoch_complete", "qa_exception", "run_params",
    ]  # fmt: skip
