"""What requests share: the series of each model, version and device, and the guard on how many of those there are."""

from __future__ import annotations

from contextlib import suppress
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, ClassVar

from otelml import instruments, settings
from otelml.inferences import labels, results
from otelml.instruments import internal, timer
from otelml.semconv import _generated as semconv
from otelml.stages import timed
from otelml.stages.timed import Timed

if TYPE_CHECKING:
    from collections.abc import Callable


class ModelSeries:
    """The series of one model, whatever its version and device (None: all models over the limit)."""

    __slots__ = ("add_active", "confidence", "predicted", "record_batch")

    def __init__(self, name: str | None) -> None:
        self.add_active: Callable[[int], None] = _bind(_up_down(), name).add
        self.record_batch: Callable[[Any], None] = _bind(
            instruments.histogram(semconv.METRIC_ML_INFERENCE_BATCH_SIZE), name
        ).record
        confidence = _bind(instruments.histogram(semconv.METRIC_ML_INFERENCE_CONFIDENCE), name)
        self.confidence: Callable[[Any], None] = results.Confidence(confidence).add
        self.predicted: Callable[[Any], None] = results.Predictions(name).add


class Identity(Timed):
    """The state of one model, version and device."""

    __slots__ = ("_attributes", "_duration", "add_active", "forked_ns", "model", "record_batch")

    component: ClassVar[str] = "inference"

    def __init__(self, attributes: dict[str, str] | None, model: ModelSeries) -> None:
        self._attributes = attributes
        self._duration = instruments.histogram(semconv.METRIC_ML_INFERENCE_DURATION)
        series = self._duration.overflow_series() if attributes is None else self._duration.bind(attributes)
        is_shared = attributes is not None and series is self._duration.overflow
        super().__init__(series, is_shared=is_shared)
        self.model = model
        # Here too: one look-up less on the hot path.
        self.add_active = model.add_active
        self.record_batch = model.record_batch
        # When this process was forked from another; None: it was not, since the identity was made.
        self.forked_ns: int | None = None

    def add_items(self, items: Any) -> None:
        """Record a batch size."""
        self.record_batch(items)

    def record_failure(self, duration_ns: int, error_type: str) -> None:
        """Record the duration of a request that raised, under its error type."""
        self._failed(error_type).record_ns(duration_ns)

    def record_elsewhere(self, duration_s: float, error_type: str | None) -> None:
        """Record the duration of a request that was timed elsewhere, and so asks for no span."""
        self._reported += 1
        (self._series if error_type is None else self._failed(error_type)).record(duration_s)

    def _failed(self, error_type: str) -> Any:
        if self._attributes is None:
            return self._series
        self.failures += 1
        return self._duration.bind({**self._attributes, semconv.ERROR_TYPE: error_type})


# By model, version and device as they were given; several may lead to the same one. A tuple of the three would be one
# look-up, but making and hashing it takes as long as the rest of an object's making.
identities: dict[str, dict[Any, dict[Any, Identity]]] = {}
_known = 0
_by_text: dict[tuple[str, str | None, str | None], Identity] = {}
_models: dict[str, ModelSeries] = {}
_overflow: Identity | None = None


def identity_of(model: str, version: Any, device: Any) -> Identity:
    """What requests of this model, version and device share, made at its first use; above the limit all share one.

    Raises:
        TypeError: `model` is not a string.
    """
    try:
        return identities[model][version][device]
    except Exception:  # noqa: BLE001 - new, or something that cannot be a key: its __hash__ may raise anything
        return _new(model, version, device)


def check_model(model: object) -> None:
    """Raise a TypeError unless `model` is a string."""
    if not isinstance(model, str):
        raise TypeError(
            f"a model's name is a string, not {type(model).__name__}: otelml.inference('resnet50')"
        )


def _new(model: str, version: Any, device: Any) -> Identity:
    check_model(model)
    key = (model, labels.text_of(version), labels.text_of(device))
    found = _by_text.get(key)
    limit = settings.current().cardinality_limit
    if found is None:
        if len(_by_text) >= limit:
            return _overflowed(model, limit)
        found = _adopt(key)
    if _known < 4 * limit:
        _remember(model, version, device, found)
    return found


def _remember(model: str, version: Any, device: Any, found: Identity) -> None:
    global _known  # noqa: PLW0603
    with suppress(Exception):  # what cannot be a key is found by its text
        hash((version, device))  # before anything is made for them
        identities.setdefault(model, {}).setdefault(version, {})[device] = found
        _known += 1


def _adopt(key: tuple[str, str | None, str | None]) -> Identity:
    model, version, device = key
    if _note_fork not in timer.fork_hooks:
        timer.fork_hooks.append(_note_fork)
    series = _models.get(model) or _models.setdefault(model, ModelSeries(model))
    known = {
        semconv.ML_MODEL_NAME: model,
        semconv.ML_MODEL_VERSION: version,
        semconv.ML_DEVICE_NAME: device,
    }
    made = Identity({name: value for name, value in known.items() if value is not None}, series)
    found = _by_text.setdefault(key, made)
    if found is made:
        timed.adopt(made)
    return found


def _overflowed(model: str, limit: int) -> Identity:
    global _overflow  # noqa: PLW0603
    internal.count("overflow", "inference", semconv.ML_MODEL_NAME)
    internal.warn_once(
        "overflow:inference",
        "otelml: more than %d different models, versions and devices; from %r on, new ones are measured together under "
        "otel.metric.overflow=true. A model's name is a constant: put what varies into attributes.",
        limit,
        model[:200],
    )
    if _overflow is None:
        _overflow = Identity(None, ModelSeries(None))
        timed.adopt(_overflow)
    return _overflow


def _up_down() -> Any:
    return instruments.up_down_counter(semconv.METRIC_ML_INFERENCE_ACTIVE)


def _bind(instrument: Any, model: str | None) -> Any:
    return instrument.overflow_series() if model is None else instrument.bind({semconv.ML_MODEL_NAME: model})


def _note_fork() -> None:
    now_ns = perf_counter_ns()
    for identity in [*_by_text.values(), *([_overflow] if _overflow is not None else [])]:
        identity.forked_ns = now_ns


def reset() -> None:
    """Forget all models: for tests."""
    global _overflow, _known  # noqa: PLW0603
    identities.clear()
    _known = 0
    _by_text.clear()
    _models.clear()
    _overflow = None
    if _note_fork in timer.fork_hooks:
        timer.fork_hooks.remove(_note_fork)
