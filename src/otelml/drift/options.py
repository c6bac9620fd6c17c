"""What a monitor is told, looked at before it begins: a setting that can never work is an error at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from otelml.drift.scores import DIFFERENCE, METHODS
from otelml.drift.window import Threshold


def checked_methods(method: str | Iterable[str]) -> tuple[str, ...]:
    """The methods that alerts go by.

    Raises:
        TypeError: these are no names.
        ValueError: there is none, or an unknown one.
    """
    if not isinstance(method, Iterable):
        raise TypeError(f"method must be the name of one, or several, not {method!r}")
    methods = (method,) if isinstance(method, str) else tuple(method)
    if not methods:
        raise ValueError(f"alerts need a method: one of {', '.join(METHODS)}")
    _check_names(methods, METHODS)
    return methods


def _check_names(methods: Iterable[str], known: Iterable[str]) -> None:
    known = tuple(known)
    for method in methods:
        if method not in known:
            raise ValueError(f"{method!r} is no method of drift: one of {', '.join(known)}")


def checked_threshold(threshold: Threshold) -> Threshold:
    """The threshold, or those by method, as floats.

    Raises:
        TypeError: one is no number.
        ValueError: one is not finite, or is of an unknown method.
    """
    if threshold is None:
        return None
    if isinstance(threshold, Mapping):
        _check_names(threshold, (*METHODS, DIFFERENCE))
        return {method: _finite(f"threshold of {method}", value) for method, value in threshold.items()}
    return _finite("threshold", threshold)


def check_positive(**numbers: float | None) -> None:
    """Look at numbers by name; None is fine.

    Raises:
        TypeError: one is no number.
        ValueError: one is not positive.
    """
    for name, value in numbers.items():
        if value is not None and not _number(name, value) > 0:
            raise ValueError(f"{name} must be positive, not {value}")


def _finite(name: str, value: Any) -> float:
    number = _number(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, not {value}")
    return number


def _number(name: str, value: Any) -> float:
    try:
        if not isinstance(value, (str, bytes)):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise TypeError(f"{name} must be a number, not {value!r}")
