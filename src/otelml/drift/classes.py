"""The text of a class: what tells the values of a categorical feature apart, in an array, a table and a file alike."""

from __future__ import annotations

import hashlib
from typing import Any

MAX_TEXT = 256
"""Characters of a class that are kept; a longer one ends in a digest of the whole."""

_MISSING = frozenset({"NAType", "NaTType"})
"""Types of pandas for what is not there, recognised without importing it."""

UNREADABLE = "<unreadable>"
"""The text of values whose `str()` raises."""


def class_text(value: Any) -> str | None:
    """`value` as text, None where it is missing: None, NaN, pandas' NA and NaT.

    A float that is a whole number has the text of the integer: tables turn integers into floats where one is missing.
    """
    if value is None or type(value).__name__ in _MISSING:
        return None
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # numpy's scalars
    if isinstance(value, float):
        if value != value:  # noqa: PLR0124 - NaN
            return None
        return str(int(value)) if value.is_integer() else repr(float(value))
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        value = _text_of(value)
    return value if len(value) <= MAX_TEXT else _shorten(value)


def encodable(text: str) -> str:
    """`text` with a question mark for what UTF-8 cannot say: surrogates by themselves."""
    return text.encode("utf-8", "replace").decode()


def _text_of(value: Any) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return UNREADABLE


def _shorten(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{text[: MAX_TEXT - 18]}…#{digest}"
