"""The conversion of a model to another format: a stage `convert` with a histogram of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelml import instruments
from otelml.inferences.identity import check_model
from otelml.inferences.labels import text_of
from otelml.semconv import _generated as semconv
from otelml.stages import NoopStage, names, spans
from otelml.stages.logged import DEPTH, LoggedStage

if TYPE_CHECKING:
    import logging

STAGE = "convert"

_NOOP: Any = NoopStage()

# A conversion is made like a stage, whose private parts it fills.
# ruff: noqa: SLF001


class Conversion(LoggedStage):
    """What `otelml.model_conversion(...)` returns: a context manager and a decorator, as a stage is."""

    __slots__ = ("_is_logged", "format", "model")

    model: str
    format: str | None
    _is_logged: bool

    def _record(self, elapsed_ns: int, error: BaseException | None) -> None:
        super()._record(elapsed_ns, error)
        known: dict[str, Any] = {semconv.ML_MODEL_NAME: self.model, semconv.ML_MODEL_FORMAT: self.format}
        if error is not None:
            known[semconv.ERROR_TYPE] = spans.error_type(error)
        histogram = instruments.histogram(semconv.METRIC_ML_MODEL_CONVERSION_DURATION)
        histogram.bind(known).record_ns(elapsed_ns)

    def _span_identity(self, start_ns: int | None) -> dict[str, Any]:
        known = {semconv.ML_MODEL_NAME: self.model, semconv.ML_MODEL_FORMAT: self.format}
        return {**known, **super()._span_identity(start_ns)}

    def _emit(self, event: str, message: str, level: int = 20, **fields: Any) -> None:
        if self._is_logged:
            super()._emit(event, message, level, **fields)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (
            self.model,
            self.format,
            self._is_logged and (self._logger or True),
            self.attributes,
        )


def model_conversion(
    model: str,
    format: str | None = None,  # noqa: A002 - what it is called everywhere
    *,
    log: bool | logging.Logger = False,
    **attributes: Any,
) -> Conversion:
    """Measure the conversion of a model: `with otelml.model_conversion("digits", "onnx"):`, or as a decorator.

    Records `ml.model.conversion.duration` (seconds; with `error.type` where it raised), and is a stage `convert`: with
    its metrics, its span, and with `log` its pair of log records.

    Args:
        model: its name, a constant of the program.
        format: what it is converted to: `onnx`, `coreml`, `safetensors`.
        log: as for `otelml.stage`.
        attributes: go to the span and the log records, never to a metric.

    Raises:
        TypeError: `model` is not a string.
    """
    check_model(model)
    if not (log or instruments.active()):
        return _NOOP
    made = Conversion()
    made.name, made.items, made.attributes = STAGE, None, attributes
    made.model, made.format = model, text_of(format)
    made._state = names.of(STAGE)
    made._start = made._cell = made._span = None
    made._is_logged = bool(log)
    made._logger = None if isinstance(log, bool) else log
    made._depth = DEPTH
    return made


def _rebuild(model: str, format_: str | None, log: Any, attributes: dict[str, Any]) -> Conversion:
    return model_conversion(model, format_, log=log, **attributes)
