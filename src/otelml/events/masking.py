"""Secrets out of a configuration, and a hash that tells two configurations apart.

Alone because what is written must never hold a password, whichever event writes it.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from otelml.events.secrets import MASK, MAX_TEXT, is_secret_name, mask_text
from otelml.instruments import internal

HASH_DIGITS = 12
"""Hexadecimal digits of `config_hash`: 48 bits, so that a million configurations collide with odds of 1 to 500."""

MAX_DEPTH = 16
"""Containers within containers; what is deeper is described."""

MAX_ITEMS = 10_000
"""Leaves and containers in all; what is beyond is left out, and that is said."""

MAX_CHARACTERS = 2**20
"""Characters of all texts together; what is beyond is left out, and that is said."""

UNREADABLE = "<unreadable>"
"""What stands in the place of a value that raises when it is read."""

_PLAIN = (str, int, float, bool, type(None))

_OPTION = re.compile(r"--\w[\w.\-]*\Z")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def mask(value: Any) -> Any:
    """`value` in plain types (dict, list, text, numbers, None), with what is secret in it replaced by `***`.

    Secret is what stands under a key such as `api_key`, `accessToken`, `password`, `client-secret`, `credentials`
    or `authorization`, at any depth; within any text the user part of a URL, values behind such names
    (`Password=...;`, `?token=...`, `--api-key ...`), bearer tokens and private keys; in lists what follows
    `"--api-key"`, and pairs such as `("password", ...)`. `max_tokens`, `eos_token`, `tokenizer` and `key_dim` are no
    secrets. A text alone, such as an exception's, may be given too. A value that cannot be read is `<unreadable>`, and
    costs none of those beside it. Never raises.
    """
    with internal.guard("events"):
        return plain(value)
    return MASK


def config_hash(config: Any) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of `mask(config)` as JSON with sorted keys.

    The JSON is ASCII without spaces. So the order of keys, tuple or list, and the process do not matter, nor do
    secrets: the same experiment under another password has the same hash. 1 and 1.0 differ. Arrays in host memory
    count by their shape, type and bytes, objects by their `repr` without addresses.
    """
    return hash_plain(plain(config))


def hash_plain(masked: Any) -> str:
    """`config_hash` of what `plain` returned."""
    text = json.dumps(masked, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]


class _Walk:
    """What is left of the bounds during one conversion, and the containers that are open (for cycles)."""

    __slots__ = ("characters", "items", "open")

    def __init__(self) -> None:
        self.items = MAX_ITEMS
        self.characters = MAX_CHARACTERS
        self.open: list[int] = []

    def text(self, text: str) -> str:
        """`text` masked, as much of it as the bounds leave."""
        limit = max(0, min(MAX_TEXT, self.characters))
        self.characters -= min(len(text), limit)
        return mask_text(text, limit)


def plain(value: Any) -> Any:
    """`value` masked and in JSON's types; see `mask`, which also contains errors."""
    return _convert(value, _Walk())


def _convert(value: Any, walk: _Walk) -> Any:
    walk.items -= 1
    if isinstance(value, str):
        return walk.text(str.__str__(value))
    if isinstance(value, _PLAIN) and not isinstance(value, enum.Enum):
        return _number(value)
    try:
        if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
            return _number(value.item())
        members = _members(value)
        if members is None:
            return walk.text(_describe(value))
        return _enter(value, members, walk)
    except Exception:  # noqa: BLE001 - objects of any origin: whatever their methods raise, they are not shown
        return f"<unprintable {type(value).__name__} object>"


def _number(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value) if value.bit_length() <= 64 else hex(value)
    return value


def _members(value: Any) -> Callable[[_Walk], Any] | None:
    """How to convert a container; None for what is none."""
    if isinstance(value, Mapping):
        return lambda walk: _pairs(value, value.__getitem__, walk)
    names = _field_names(type(value))
    if names is not None:
        return lambda walk: _pairs(names, lambda name: getattr(value, name, None), walk)
    if isinstance(value, AbstractSet):
        # In an order that another process shares.
        ordered = sorted(value, key=lambda item: (type(item).__name__, repr(item)))
        return lambda walk: _elements(ordered, walk)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return lambda walk: _elements(value, walk)
    if _is_bare_record(value):
        return lambda walk: _pairs(vars(value), vars(value).__getitem__, walk)
    return None


def _field_names(kind: type) -> Sequence[str] | None:
    """Of dataclasses and named tuples; None for others."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return getattr(kind, "_fields", None) if issubclass(kind, tuple) else None


def _is_bare_record(value: Any) -> bool:
    """Whether an object is its attributes: namespaces, pydantic's and attrs' classes, plain classes for options."""
    kind = type(value)
    if isinstance(value, (type, enum.Enum, BaseException)) or callable(value) or hasattr(kind, "shape"):
        return False
    if hasattr(kind, "__fspath__") or hasattr(kind, "isoformat") or hasattr(kind, "get_secret_value"):
        return False
    return bool(getattr(value, "__dict__", None))


def _enter(value: Any, members: Callable[[_Walk], Any], walk: _Walk) -> Any:
    if id(value) in walk.open:
        return f"<cycle: {type(value).__name__}>"
    if len(walk.open) >= MAX_DEPTH:
        return f"<{type(value).__name__}: too deep>"
    walk.open.append(id(value))
    try:
        return members(walk)
    finally:
        walk.open.pop()


def _pairs(keys: Iterable[Any], read: Callable[[Any], Any], walk: _Walk) -> dict[str, Any]:
    converted: dict[str, Any] = {}
    for key in keys:
        if walk.items <= 0:
            converted["..."] = "[more items left out]"
            break
        name = key if isinstance(key, str) else _read(_name, key)
        value = _read(read, key)
        converted[name] = MASK if _hides(name, value) else _convert(value, walk)
    return converted


def _read(read: Callable[[Any], Any], key: Any) -> Any:
    """One value by itself: mandatory ones that are missing, and interpolations, raise when they are read."""
    try:
        return read(key)
    except Exception:  # noqa: BLE001 - objects of any origin; the values beside it are to be seen all the same
        return UNREADABLE


def _hides(name: str, value: Any) -> bool:
    return is_secret_name(name) and _can_be_secret(name, value)


def _can_be_secret(name: str, value: Any) -> bool:
    """A flag, nothing at all, or a number of tokens gives nothing away, and tells a reader more than a mask."""
    if value is None or isinstance(value, bool) or (isinstance(value, str) and value in ("", UNREADABLE)):
        return False
    return not (isinstance(value, (int, float)) and name.lower().endswith(("token", "tokens")))


def _name(key: Any) -> str:
    return str(key) if isinstance(key, _PLAIN) else _describe(key)


def _elements(values: Sequence[Any], walk: _Walk) -> list[Any]:
    if isinstance(values, tuple) and len(values) == 2 and isinstance(values[0], str):
        name, value = values
        if _hides(name, value):
            return [name, MASK]
    converted: list[Any] = []
    option: Any = None
    for index in range(len(values)):
        if walk.items <= 0:
            converted.append(f"... [{len(values) - index} items left out]")
            break
        value = _read(values.__getitem__, index)
        converted.append(MASK if _is_secret_argument(option, value) else _convert(value, walk))
        option = value
    return converted


def _is_secret_argument(option: Any, value: Any) -> bool:
    """Whether `value` stands behind `option` on a command line, as `"--api-key", "sk-123"`."""
    if not isinstance(option, str) or not _OPTION.match(option) or not isinstance(value, str):
        return False
    return not value.startswith("--") and _hides(option, value)


def _describe(value: Any) -> str:
    kind = type(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, enum.Enum):
        return value.name
    if hasattr(kind, "shape") and hasattr(kind, "dtype"):
        return _describe_array(value)
    if callable(value) and hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    return _ADDRESS.sub("", repr(value))


def _describe_array(value: Any) -> str:
    """Arrays of numpy by a hash of their bytes, others by shape and type: nobody waits."""
    if type(value).__module__.partition(".")[0] != "numpy":
        return f"{type(value).__name__}(shape={tuple(value.shape)}, dtype={value.dtype})"
    digest = hashlib.sha256(value.tobytes()).hexdigest()[:HASH_DIGITS]
    return f"{type(value).__name__}(shape={value.shape}, dtype={value.dtype}, sha256={digest})"
