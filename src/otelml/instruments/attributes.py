"""Makes attributes safe to use as a metric's identity: plain types, one key for one meaning."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = str | bool | int | float
Key = tuple[tuple[str, type, Value], ...]

MAX_VALUE_LENGTH = 1024
"""Characters of a string value that are kept; a label longer than this is an accident."""

MAX_ITEMS = 128
"""Elements of a list that a span attribute keeps as a list."""

OVERFLOW: dict[str, Value] = {"otel.metric.overflow": True}
"""The attributes of the series that takes what the cardinality guard turned away (OTel's own convention)."""


def clean_attributes(attributes: Mapping[Any, Any], owner: str) -> dict[str, Value]:
    """`attributes` with plain Python values; what cannot be one is left out, counted and named once.

    numpy scalars (and other zero-dimensional values with `.item()`) become Python's; enums their value; None is
    absence. `owner` is the instrument, for the message.
    """
    clean: dict[str, Value] = {}
    for key, value in attributes.items():
        plain = _plain(value)
        if isinstance(key, str) and key and plain is not None:
            clean[key] = plain
        elif value is not None:
            internal.count("dropped", "instruments", "attribute_type")
            internal.warn_once(
                f"attribute:{owner}:{key!r}",
                "otelml: attribute %r of %s has a value of type %s, which no metric can carry; the attribute is left "
                "out. Use a str, bool, int or float.",
                key,
                owner,
                type(value).__name__,
            )
    return clean


def attributes_key(attributes: Mapping[str, Value]) -> Key:
    """What makes two attribute sets the same series: order does not matter, the types of values do (1 is not True)."""
    return tuple((k, type(attributes[k]), attributes[k]) for k in sorted(attributes))


def _plain(value: Any) -> Value | None:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        text = str(value[:MAX_VALUE_LENGTH])
        # Lone surrogates, as in file names that are not UTF-8, cannot be sent.
        return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if value == value else None  # noqa: PLR0124 - NaN would be a new series each time
    # A scalar of numpy, or of a CPU tensor; a CUDA tensor would make `.item()` wait for the device.
    if getattr(value, "shape", None) == () and not getattr(value, "is_cuda", False):
        item = value.item()
        return item if isinstance(item, (str, bool, int, float)) else None
    return None


def whole_number(value: Any) -> int | None:
    """`value` as an integer, also where it is one of numpy, or a float that is whole; None for what is no number."""
    plain = _plain(value)
    if isinstance(plain, float) and plain.is_integer():
        return int(plain)
    return plain if isinstance(plain, int) and not isinstance(plain, bool) else None


def span_value(value: Any) -> Any:
    """`value` as an attribute of a span: a plain value, a list of plain values, or a bounded description."""
    plain = _plain(value)
    if plain is not None:
        return plain
    if isinstance(value, (list, tuple)) and len(value) <= MAX_ITEMS:
        plains = [_plain(v) for v in value]
        if len({type(v) for v in plains}) == 1 and plains[0] is not None:
            return plains
    try:
        return str(value)[:MAX_VALUE_LENGTH]
    except Exception as problem:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<{type(value).__name__}: str() raised {type(problem).__name__}>"
