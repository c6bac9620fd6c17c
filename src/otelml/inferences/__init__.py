"""Inference: requests, latency, confidence, predicted classes, evaluation, model size and conversion, resources.

Not called `inference`: importing a submodule of that name would put it in the place of the function `otelml.inference`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelml import instruments
from otelml.inferences.conversion import model_conversion
from otelml.inferences.identity import identities, identity_of
from otelml.inferences.labels import text_of
from otelml.inferences.models import record_evaluation, record_model_size
from otelml.inferences.request import Inference, NoopInference
from otelml.inferences.resources import record_resources
from otelml.instruments import internal
from otelml.semconv import _generated as semconv
from otelml.stages import failures, spans

__all__ = [
    "Inference",
    "inference",
    "model_conversion",
    "record_evaluation",
    "record_inference",
    "record_model_size",
    "record_resources",
]

# The modules of this package share the private parts of an inference.
# ruff: noqa: SLF001

_NOOP: Any = NoopInference()

if TYPE_CHECKING:

    def inference(
        model: str,
        *,
        version: Any = None,
        device: Any = None,
        batch_size: int | None = None,
        **attributes: Any,
    ) -> Inference:
        """See `_inference_on`."""


def _inference_on(
    model: str, *, version: Any = None, device: Any = None, batch_size: int | None = None, **attributes: Any
) -> Inference:
    """Measure an inference request: `with otelml.inference("resnet50", device="cuda:0") as inference:`, or `@...`.

    Records `ml.inference.duration` (seconds, every time; its count is the request count), counts
    `ml.inference.active` up and down, records `ml.inference.batch.size`, and makes a span within the budget
    (`OTELML_SPAN_BUDGET`, for each model, version and device). An exception is recorded under its `error.type` and
    goes on as it is. On what `with` gives, `confidence`, `predicted` and `batch` record results. The object may be
    kept and used again, also by several threads and tasks at once. As a decorator it takes functions, coroutines and
    generators.

    A GPU computes after the call has returned: the block takes as long as the program waits for the result, which
    is the whole request once results are read inside the block. Nothing here waits for the device.

    Args:
        model: its name, a constant of the program.
        version: of the model; a string or number.
        device: where it runs: `cuda:0`, `cpu`, `iphone15pro`, or a `torch.device`.
        batch_size: samples in each request; where it varies, call `batch` inside the block.
        attributes: go to the span, never to a metric.

    Raises:
        TypeError: `model` is not a string.
    """
    # Filled here and not by an __init__: a call of a class with keywords costs 240 ns more.
    made = Inference()
    made.name = model
    made.version = version
    made.device = device
    made.items = batch_size
    made.attributes = attributes
    try:
        made._state = identities[model][version][device]
    except Exception:  # noqa: BLE001 - new, or something that cannot be a key: its __hash__ may raise anything
        made._state = identity_of(model, version, device)
    made._start = made._cell = None
    return made


def _inference_off(model: str, **_: Any) -> Any:  # noqa: ARG001
    """`inference` where telemetry is off for good."""
    return _NOOP


def record_inference(
    model: str,
    duration_s: float,
    *,
    version: Any = None,
    device: Any = None,
    batch_size: int | None = None,
    confidence: Any = None,
    predicted: Any = None,
    error: str | BaseException | type[BaseException] | None = None,
) -> None:
    """Record an inference request that was timed elsewhere; the same metrics as `inference`, and no span.

    Args:
        model: its name, a constant of the program.
        duration_s: seconds it took.
        version: as for `inference`.
        device: as for `inference`.
        batch_size: samples in the request.
        confidence: as for `Inference.confidence`.
        predicted: as for `Inference.predicted`.
        error: why it failed, if it did: an exception, or a word of low cardinality such as `timeout`.

    Raises:
        TypeError: `model` is not a string.
    """
    if not instruments.active():
        return
    identity = identity_of(model, version, device)
    with internal.guard("inference"):
        identity.record_elsewhere(duration_s, None if error is None else _error_type(error))
        if batch_size is not None:
            identity.add_items(batch_size)
        if confidence is not None:
            identity.model.confidence(confidence)
        if predicted is not None:
            identity.model.predicted(predicted)
        if isinstance(error, BaseException) and failures.listeners:
            failures.tell(f"inference {model}", error, _identity_of(model, version, device), {}, None)


def _identity_of(model: str, version: Any, device: Any) -> dict[str, Any]:
    return {
        semconv.ML_MODEL_NAME: model,
        semconv.ML_MODEL_VERSION: version,
        semconv.ML_DEVICE_NAME: device,
    }


def _error_type(error: str | BaseException | type[BaseException]) -> str:
    if isinstance(error, BaseException):
        return spans.error_type(error)
    return spans.class_name(error) if isinstance(error, type) else text_of(error) or type(error).__name__


def rebuild(model: str, version: Any, device: Any, batch_size: int | None, attributes: dict[str, Any]) -> Any:
    """The inference that a copy or a pickle of one is."""
    return __getattr__("inference")(
        model, version=version, device=device, batch_size=batch_size, **attributes
    )


def __getattr__(attribute: str) -> Any:
    # `inference` is one of two functions, chosen at its first use, so that neither asks at every call.
    if attribute != "inference":
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
    chosen = _inference_on if instruments.active() else _inference_off
    chosen.__name__ = chosen.__qualname__ = "inference"
    globals()["inference"] = chosen
    return chosen
