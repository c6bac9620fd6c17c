"""The values that a run logs: the latest of each as a gauge, statistics for the summary, and what was not finite."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from otelml import instruments
from otelml.instruments import internal
from otelml.logs.values import on_device
from otelml.semconv import _generated as semconv
from otelml.training.gauges import Gauges

MAX_NAMES = 1_000
"""Names of metrics that a run keeps; values of further ones are counted as dropped."""

_PLAIN = (float, int, str, bool)

MAX_TOLD = 20
"""`non_finite` events a metric of a run; all values are counted."""

# Names that have a gauge of their own.
_OWN_GAUGES = {
    "loss": semconv.METRIC_ML_TRAINING_LOSS,
    "train_loss": semconv.METRIC_ML_TRAINING_LOSS,
    "val_loss": semconv.METRIC_ML_TRAINING_LOSS,
    "eval_loss": semconv.METRIC_ML_TRAINING_LOSS,
    "lr": semconv.METRIC_ML_TRAINING_LEARNING_RATE,
    "learning_rate": semconv.METRIC_ML_TRAINING_LEARNING_RATE,
    "grad_norm": semconv.METRIC_ML_TRAINING_GRADIENT_NORM,
    "gradient_norm": semconv.METRIC_ML_TRAINING_GRADIENT_NORM,
}

# What a name may say of its phase; else it is that of the moment.
_PHASES = {"train": "train", "val": "eval", "eval": "eval"}


class Where(NamedTuple):
    """Where in the run a value was logged."""

    phase: str
    epoch: int | None
    step: int | None


class Series:
    """One metric of a run in one phase: its gauge, and what was seen of it."""

    __slots__ = ("count", "finite", "gauge", "last", "max", "min", "name", "told", "total")

    def __init__(self, name: str, phase: str) -> None:
        self.name = name
        self.gauge = _bind(name, phase)
        self.count = self.told = 0
        self.finite = True
        self.last: float | None = None
        self.min, self.max, self.total = math.inf, -math.inf, 0.0

    def summary(self) -> dict[str, float | int | None]:
        """`last`, `min`, `max`, `mean` and `count` of the finite values; `last` is None if it was none."""
        if not self.count:
            return {"count": 0, "last": None}
        mean = self.total / self.count
        last = self.last if self.finite else None
        return {"count": self.count, "last": last, "min": self.min, "max": self.max, "mean": mean}


def _bind(name: str, phase: str) -> Any:
    attributes = {semconv.ML_TRAINING_PHASE: phase}
    spec = _OWN_GAUGES.get(name)
    if spec is None:
        spec, attributes[semconv.ML_METRIC_NAME] = semconv.METRIC_ML_TRAINING_METRIC, name
    return instruments.gauge(spec).bind(attributes)


def _phase_of(name: str, phase: str) -> str:
    prefix, underscore, _ = name.partition("_")
    return _PHASES.get(prefix, phase) if underscore else phase


class Metrics:
    """All of a run's. `tell` is called with a name, a value that is not finite (the first of an episode), and where."""

    def __init__(self, tell: Callable[[str, float, Where], object], gauges: Gauges) -> None:
        self._tell, self._gauges = tell, gauges
        # By the phase that they belong to; and by that in which they are logged, which a name may overrule.
        self._series: dict[tuple[str, str], Series] = {}
        self._found: dict[tuple[str, str], Series] = {}
        self._lock = threading.Lock()

    def renew_lock(self) -> None:
        """In a forked child: a thread that the fork left behind may hold the old one."""
        self._lock = threading.Lock()

    def take(self, metrics: Mapping[Any, Any], where: Where) -> dict[str, Any]:
        """Record the numbers in `metrics`; all of them by name, numbers as plain ones, the rest as it is."""
        taken: dict[str, Any] = {}
        for given, value in metrics.items():
            name = given if type(given) is str else str(given)
            number = value if type(value) is float else read_number(value)
            taken[name] = value if number is None else number
            if number is not None:
                self._record(name, number, where)
        return taken

    def _record(self, name: str, number: float, where: Where) -> None:
        series = self._found.get((name, where.phase)) or self._find(name, where.phase)
        if series is None:
            internal.count("dropped", "training", "too_many_metrics")
        elif math.isfinite(number):
            with self._lock:
                series.count += 1
                series.total += number
                series.last = number
                if number < series.min:  # noqa: PLR1730 - `min` and `max` would cost more than the rest
                    series.min = number
                if number > series.max:  # noqa: PLR1730 - same
                    series.max = number
            series.finite = True
            self._gauges.set(series.gauge, number)
        else:
            self._record_non_finite(series, number, where)

    def _find(self, name: str, phase: str) -> Series | None:
        key = (name, _phase_of(name, phase))
        if key not in self._series and len(self._series) >= MAX_NAMES:
            return None
        found = self._found[name, phase] = self._series.setdefault(key, Series(name[:256], key[1]))
        return found

    def _record_non_finite(self, series: Series, number: float, where: Where) -> None:
        """Count each; tell the first of an episode. The gauge is absent, not frozen at its last good value."""
        counter = instruments.counter(semconv.METRIC_ML_TRAINING_NON_FINITE)
        counter.add(1, {semconv.ML_METRIC_NAME: series.name})
        self._gauges.unset(series.gauge)
        with self._lock:
            tell = series.finite and series.told < MAX_TOLD
            series.finite = False
            series.told += tell
        if tell:
            self._tell(series.name, number, where)

    def latest(self) -> dict[str, float]:
        """The last value of each name, of those whose last one was finite; names as in `summary`."""
        return {
            name: series.last for name, series in self._named() if series.finite and series.last is not None
        }

    def summary(self) -> dict[str, dict[str, Any]]:
        """Statistics by name; the evaluation's is `eval_<name>` where the training has that name as well."""
        return {name: series.summary() for name, series in self._named()}

    def _named(self) -> Iterator[tuple[str, Series]]:
        for (name, phase), series in list(self._series.items()):
            is_shared = phase != "train" and (name, "train") in self._series
            own_name = f"eval_{series.name}" if is_shared else series.name
            # Somebody may have logged that name too.
            is_taken = is_shared and not {(own_name, "train"), (own_name, "eval")}.isdisjoint(self._series)
            yield (f"{series.name} (eval)" if is_taken else own_name), series


def read_number(value: Any) -> float | int | None:
    """A plain number for a number of Python, numpy or a one-element array; None for everything else."""
    kind = type(value)
    if kind is float or kind is int:
        return value if kind is float or abs(value) < 2**63 else None
    if kind is bool or isinstance(value, (str, bytes)):
        return None
    try:
        number = value.item() if hasattr(kind, "item") else float(value)
    except Exception:  # noqa: BLE001 - arrays of several elements, objects that are no numbers at all
        return None
    return number if type(number) in (int, float) else None


def is_waiting(metrics: Mapping[Any, Any]) -> bool:
    """Whether a value lives on an accelerator: reading it would make the training wait."""
    for value in metrics.values():  # noqa: SIM110 - a generator costs more than the checks
        if type(value) not in _PLAIN and on_device(value):
            return True
    return False


def copy_on_device(metrics: Mapping[Any, Any]) -> dict[Any, Any]:
    """`metrics` with copies of what lives on a device, made there without waiting: the loop may go on changing them."""
    return {name: _copy(value) if on_device(value) else value for name, value in metrics.items()}


def _copy(value: Any) -> Any:
    return value.detach().clone() if hasattr(value, "detach") else value


def describe(metrics: Mapping[str, Any], limit: int = 6) -> str:
    """`loss 0.1234, accuracy 0.9`: the first `limit` numbers, for people."""
    shown = [
        f"{name} {number:.4g}"
        for name, value in metrics.items()
        if (number := read_number(value)) is not None
    ]
    return ", ".join(shown[:limit])
