"""Class labels of any type: as flat lists, counted, as text, and the guard on how many classes a model has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from otelml import instruments
from otelml.instruments import internal
from otelml.instruments.aggregate import numpy_module, tensor_array
from otelml.instruments.attributes import MAX_VALUE_LENGTH
from otelml.semconv import _generated as semconv

MAX_CLASSES = semconv.ATTRIBUTES[semconv.ML_PREDICTION_CLASS].cardinality or 1000
"""Classes a model may have series for; further ones are counted together."""

# Labels up to here are counted by their value, without sorting.
_SMALL = 65_536


class Classes:
    """The series of each class of one model (None: of all models over the limit)."""

    __slots__ = ("_counter", "_known", "_model", "series")

    def __init__(self, model: str | None) -> None:
        self._model = model
        self._counter = instruments.counter(semconv.METRIC_ML_INFERENCE_PREDICTIONS)
        # The `add` of each class, by its text and, where it came as an integer, by that. Nothing else is looked up:
        # True and 1.0 are equal to 1, and are other classes.
        self.series: dict[str | int, Callable[[int], None]] = {}
        self._known = 0

    def add_all(self, counted: Iterable[tuple[Any, Any]]) -> None:
        """Count predictions by class: about 60 ns a class that is known, and 400 ns one beyond the bound."""
        none, beyond, example = 0, 0, ""
        for label, n in counted:
            add = self.series.get(label) if type(label) is str or type(label) is int else None
            if add is None:
                text = class_text(label)
                add = None if text is None else self._find(label, text)
                if text is None:
                    none += n
                elif add is None:
                    beyond, example = beyond + n, text
            if add is not None:
                add(n)
        if none:
            internal.count("dropped", "inference", "no_class", none)
        if beyond:
            self._count_beyond(beyond, example)

    def _find(self, label: Any, text: str) -> Callable[[int], None] | None:
        """The `add` of a class that may be new; None beyond the bound."""
        add = self.series.get(text)
        if add is None:
            if self._model is None or self._known >= MAX_CLASSES:
                return None
            self._known += 1
            known = {semconv.ML_MODEL_NAME: self._model, semconv.ML_PREDICTION_CLASS: text}
            add = self.series.setdefault(text, self._counter.bind(known).add)
        if type(label) is int:
            self.series[label] = add
        return add

    def _count_beyond(self, n: int, example: str) -> None:
        self._counter.overflow_series().add(n)
        internal.count("overflow", "inference", semconv.ML_PREDICTION_CLASS, n)
        internal.warn_once(
            f"overflow:inference:{self._model}",
            "otelml: model %s predicts more than %d classes; new ones, such as %r, are counted together under "
            "otel.metric.overflow=true",
            self._model,
            MAX_CLASSES,
            example[:200],
        )


def text_of(value: object) -> str | None:
    """`value` as a bounded text that can be sent; None for None, and for what has no text."""
    if value is None:
        return None
    if isinstance(value, Enum):
        value = value.value
    try:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        # `str` once more: a subclass, numpy's say, stays itself when cut.
        return str(text[:MAX_VALUE_LENGTH]).encode("utf-8", "replace").decode("utf-8")
    except Exception as problem:  # noqa: BLE001 - a user's __str__ may raise anything
        internal.count("dropped", "inference", f"no_text_{type(problem).__name__}")
        return None


_MISSING = frozenset({"NAType", "NaTType"})  # pandas'


def class_text(label: Any) -> str | None:
    """The text of a class label; None for None, NaN, and numbers that are no integer, which are scores."""
    if type(label) is int and -_SMALL < label < 1 << 63:  # almost all there are
        return str(label)
    if isinstance(label, Enum):
        label = label.value
    if getattr(label, "shape", None) == () and hasattr(label, "item"):
        label = label.item()
    if type(label).__name__ in _MISSING:
        return None
    if isinstance(label, float):
        if not label.is_integer():
            _say_scores(label)
            return None
        label = int(label)
    return text_of(label)


def _say_scores(score: float) -> None:
    internal.warn_once(
        "inference:scores",
        "otelml: %g is left out of the predicted classes: it is no class but a score; take argmax first",
        score,
    )


def count(labels: Any) -> Iterable[tuple[Any, int]]:
    """Distinct labels and how often each occurs in a label, an array, a tensor or a (nested) sequence."""
    numpy = numpy_module()
    array = as_array(labels, numpy) if numpy is not None else None
    if array is not None and array.dtype.kind in "iufUS":
        return _count_array(numpy, array.ravel())
    flat = flatten(labels if array is None else array)
    try:
        # By type too: 1, True and 1.0 are equal as keys, and are not the same class.
        return [(label, n) for (_, label), n in Counter((type(label), label) for label in flat).items()]
    except Exception:  # noqa: BLE001 - some cannot be keys, and an object's own __hash__ may raise anything
        return [(label, 1) for label in flat]


def _count_array(numpy: Any, array: Any) -> Iterable[tuple[Any, int]]:
    if array.dtype.kind == "f":
        array = _whole(numpy, array)
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() < _SMALL:
        counts = numpy.bincount(array.astype(numpy.int64, copy=False))
        seen = numpy.flatnonzero(counts)
        return zip(seen.tolist(), counts[seen].tolist(), strict=True)
    seen, counts = numpy.unique(array, return_counts=True)
    return zip(seen.tolist(), counts.tolist(), strict=True)


def _whole(numpy: Any, array: Any) -> Any:
    """The integers among floats; the others, NaN too, are no class."""
    if array.dtype.itemsize < 8:  # half precision cannot be compared with what is too large for it
        array = array.astype(numpy.float64)
    whole = (numpy.abs(array) < 2.0**53) & (numpy.floor(array) == array)
    others = array.size - int(numpy.count_nonzero(whole))
    if others:
        internal.count("dropped", "inference", "no_class", others)
        _say_scores(float(array[~whole][0]))
    return array[whole].astype(numpy.int64)


def as_array(values: Any, numpy: Any) -> Any | None:
    """`values` as a numpy array where it is an array, a tensor in the machine's memory, or a column of a table."""
    if hasattr(values, "compressed"):  # masked: what is masked is not there
        return values.compressed()
    if hasattr(values, "detach"):
        return tensor_array(values)
    if hasattr(values, "to_numpy"):
        return values.to_numpy()
    return numpy.asarray(values) if hasattr(values, "__array__") else None


def flatten(values: Any) -> list[Any]:
    """The elements of an array, tensor or any iterable, however nested; a list of one for what is none."""
    if hasattr(values, "tolist"):
        values = values.tolist()
    if isinstance(values, (str, bytes, Enum)) or not isinstance(values, Iterable):
        return [values]
    return [element for value in values for element in flatten(value)]
