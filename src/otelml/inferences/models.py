"""What is known of a model apart from its requests: how well it did in an evaluation, and how large it is."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

from otelml import instruments
from otelml.inferences.identity import check_model
from otelml.inferences.labels import text_of
from otelml.instruments import internal
from otelml.instruments.aggregate import as_number
from otelml.semconv import _generated as semconv

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def record_evaluation(
    model: str, scores: Mapping[str, float] | None = None, /, **named: float | None
) -> None:
    """Set `ml.evaluation.score` of a model, a series for each metric: `record_evaluation("digits", accuracy=0.97)`.

    Args:
        model: its name, a constant of the program.
        scores: by metric, where a name is no keyword: `{"top-5": 0.99}`.
        named: the same as keywords. None is left out; a score that is NaN or infinite makes its series absent.

    Raises:
        TypeError: `model` is not a string.
    """
    check_model(model)
    gauge = instruments.gauge(semconv.METRIC_ML_EVALUATION_SCORE)
    if not gauge.active:
        return
    with internal.guard("inference"):
        for metric, score in {**(scores or {}), **named}.items():
            name = text_of(metric)
            if score is not None and name is not None:
                known = {semconv.ML_MODEL_NAME: model, semconv.ML_EVALUATION_METRIC: name}
                gauge.bind(known).set(score)


def record_model_size(
    model: str,
    size: float | str | os.PathLike[str],
    *,
    format: str | None = None,  # noqa: A002
) -> None:
    """Set `ml.model.size` of a model, in bytes: `record_model_size("digits", "digits.onnx", format="onnx")`.

    Args:
        model: its name, a constant of the program.
        size: in bytes; or the path of its file, or of its folder, whose files are added up.
        format: what it is stored as: `onnx`, `coreml`, `safetensors`.

    Raises:
        TypeError: `model` is not a string.
    """
    check_model(model)
    gauge = instruments.gauge(semconv.METRIC_ML_MODEL_SIZE)
    if not gauge.active:
        return
    with internal.guard("inference"):
        size_bytes = _read_size(size) if isinstance(size, (str, os.PathLike)) else _as_bytes(size)
        if size_bytes is not None:
            gauge.bind({semconv.ML_MODEL_NAME: model, semconv.ML_MODEL_FORMAT: text_of(format)}).set(
                size_bytes
            )


def _as_bytes(size: Any) -> int | None:
    number = as_number(size)
    if number is not None and math.isfinite(number) and number >= 0:
        return round(number)
    internal.count("dropped", "inference", "model_size")
    internal.warn_once(
        "inference:model_size", "otelml: a model's size is a number of bytes or a path; it is left out"
    )
    return None


def _read_size(path: str | os.PathLike[str]) -> int | None:
    try:
        if not os.path.isdir(path):  # noqa: PTH112 - a path as the user has it
            return os.stat(path).st_size  # noqa: PTH116 - same
        return sum(_file_sizes(path))
    except (OSError, ValueError) as problem:
        internal.count("dropped", "inference", "model_size")
        internal.warn_once(
            f"inference:model_size:{type(problem).__name__}",
            "otelml: a model's size is not known: %s",
            problem,
        )
        return None


def _file_sizes(folder: str | os.PathLike[str]) -> Iterator[int]:
    """Of the files below `folder`; what symbolic links lead to is somebody else's."""
    for place, _, files in os.walk(folder):
        for file in files:
            yield os.lstat(os.path.join(place, file)).st_size  # noqa: PTH118 - `place` is a string
