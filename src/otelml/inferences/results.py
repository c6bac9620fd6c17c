"""What came out of a model: confidences and predicted classes, in whatever form a program has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any

from otelml.inferences import deferred, labels
from otelml.instruments import internal
from otelml.instruments.aggregate import numpy_module

ROUNDING = 2.0**-7
"""How far above 1 a confidence may be by rounding (a step of bfloat16 at 1); it is taken for 1."""


class Confidence:
    """Records confidences of one model. `series` is of a histogram."""

    __slots__ = ("_record", "_series")

    def __init__(self, series: Any) -> None:
        self._series = series
        self._record = series.record

    def add(self, values: Any) -> None:
        """Record a number, or all in an array, tensor or (nested) sequence. Never raises."""
        if type(values) is float and 0.0 <= values <= 1.0:
            self._record(values)
            return
        with internal.guard("inference"):
            if deferred.is_on_device(values):
                deferred.read_later(values, self._add_many)
            else:
                self._add_many(values)

    def _add_many(self, values: Any) -> None:
        numpy = numpy_module()
        array = None if numpy is None else labels.as_array(values, numpy)
        if numpy is not None and array is not None and array.dtype.kind in "fiub":
            self._series.record_many(_usable_array(numpy, array.astype(numpy.float64, copy=False).ravel()))
        else:
            self._series.record_many(_usable(labels.flatten(values)))


def _usable_array(numpy: Any, values: Any) -> Any:
    if not values.size or (values.min() >= 0.0 and values.max() <= 1.0):  # NaN is neither
        return values
    outside = numpy.isfinite(values) & ((values < 0.0) | (values > 1.0 + ROUNDING))
    _refuse(int(numpy.count_nonzero(outside)), values[outside])
    kept = values[~outside]
    return numpy.where((kept > 1.0) & (kept <= 1.0 + ROUNDING), 1.0, kept)


def _usable(values: Iterable[Any]) -> list[Any]:
    """Those in range; what is no finite number is left to the histogram, which counts it."""
    kept, outside = [], []
    for value in values:
        if isinstance(value, (int, float)) and (value < 0.0 or value > 1.0) and abs(value) != float("inf"):
            if 1.0 < value <= 1.0 + ROUNDING:
                kept.append(1.0)
            else:
                outside.append(value)
        else:
            kept.append(value)
    _refuse(len(outside), outside)
    return kept


def _refuse(n: int, values: Any) -> None:
    if n:
        internal.count("dropped", "inference", "confidence_out_of_range", n)
        internal.warn_once(
            "inference:confidence",
            "otelml: a confidence of %g is left out: it is a fraction from 0 to 1, not a percentage, a logit or a "
            "log-probability",
            values[0],
        )


class Predictions:
    """Counts predicted classes of one model (None: of all models over the limit)."""

    __slots__ = ("_classes", "_known")

    def __init__(self, model: str | None) -> None:
        self._classes = labels.Classes(model)
        self._known = self._classes.series

    def add(self, classes: Any) -> None:
        """Count a class, all in an array, tensor or (nested) sequence, or a mapping of counts. Never raises."""
        if type(classes) is str:
            add = self._known.get(classes)
            if add is not None:
                add(1)
                return
        with internal.guard("inference"):
            if deferred.is_on_device(classes):
                deferred.read_later(classes, self._add_many)
            else:
                self._add_many({classes: 1} if type(classes) is str else classes)

    def _add_many(self, classes: Any) -> None:
        counted = _counted(classes) if isinstance(classes, Mapping) else labels.count(classes)
        self._classes.add_all(counted)


def _counted(counts: Mapping[Any, Any]) -> Iterator[tuple[Any, int]]:
    """A mapping's items; what is not counted in whole numbers from 0 is left out."""
    for label, n in counts.items():
        if isinstance(n, Integral) and int(n) >= 0:
            yield label, int(n)
        else:
            internal.count("dropped", "inference", "no_count")
