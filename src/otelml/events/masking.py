"""Secrets out of a configuration, and a hash that tells two configurations apart.

Alone because what is written must never hold a password, whichever event writes it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from otelml.instruments import internal

MASK = "***"
"""What stands in the place of a secret."""

HASH_DIGITS = 12
"""Hexadecimal digits of `config_hash`: 48 bits, so that a million configurations collide with odds of 1 to 500."""

MAX_DEPTH = 16
"""Containers within containers; what is deeper is described."""

MAX_ITEMS = 10_000
"""Leaves and containers in all; what is beyond is left out, and that is said."""

MAX_TEXT = 65_536
"""Characters of one text."""

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_SECRET_WORDS = frozenset(
    "password passwords passwd pwd passphrase secret secrets credential credentials authorization "
    "bearer apikey apikeys accesskey secretkey privatekey authtoken accesstoken cookie cookies".split()
)
# `key` alone is any key of anything, `key_dim` a size: only with one of these before it a key is a secret.
_KEY_OWNERS = frozenset(
    "api access private secret encryption signing account shared ssh master license subscription".split()
)
# What a tokenizer calls a token is none to hide.
_TOKEN_OWNERS = frozenset(
    "pad eos bos unk mask cls sep special start end stop next begin first last image audio video "
    "per max min num n total input output prompt additional decoder encoder forced add new "
    "trailing leading class query time".split()
)
_PLAIN = (str, int, float, bool, type(None))

_USER_INFO = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/?#]+@")
_NAME = re.compile(r"""([A-Za-z_][\w.\-]*)["']?\s*[=:]\s*(?!//)""")
_VALUE = re.compile(r""""[^"]*"|'[^']*'|[^\s;&,)}\]]+""")
_BEARER = re.compile(r"\b(bearer|basic)(\s+)[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def mask(value: Any) -> Any:
    """`value` in plain types (dict, list, text, numbers, None), with what is secret in it replaced by `***`.

    Secret is what stands under a key such as `api_key`, `accessToken`, `password`, `client-secret`, `credentials`
    or `authorization`, at any depth; within any text the user part of a URL, values behind such names
    (`Password=...;`, `?token=...`, `--api-key=...`), bearer tokens and private keys. `max_tokens`, `eos_token`,
    `tokenizer` and `key_dim` are no secrets. Never raises.
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


@functools.lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether what has this name is to be masked."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not _SECRET_WORDS.isdisjoint(words):
        return True
    for before, word in zip(["", *words], words, strict=False):
        if word in ("key", "keys") and before in _KEY_OWNERS:
            return True
    if not words or words[-1] not in ("token", "tokens", "auth", "sig", "sas"):
        return False
    return len(words) == 1 or _TOKEN_OWNERS.isdisjoint(words[:-1])


def mask_text(text: str) -> str:
    """`text` without the secrets that can be told within it."""
    if len(text) > MAX_TEXT:
        text = f"{text[:MAX_TEXT]}... [{len(text) - MAX_TEXT} characters left out]"
    if "PRIVATE KEY" in text:
        text = _PEM.sub(MASK, text)
    if "://" in text:
        text = _USER_INFO.sub(rf"\1{MASK}@", text)
    if "=" in text or ":" in text:
        text = _mask_pairs(text)
    return _BEARER.sub(rf"\1\2{MASK}", text)


def _mask_pairs(text: str) -> str:
    """Once over the text: values stand right behind their names, whatever they are within."""
    parts, end = [], 0
    for found in _NAME.finditer(text):
        if found.start() < end or not is_secret_name(found[1]):
            continue
        value = _VALUE.match(text, found.end())
        # The scheme is no secret; what follows it is seen to by itself.
        if value is not None and value[0].lower() not in ("bearer", "basic"):
            parts += [text[end : found.end()], MASK]
            end = value.end()
    return "".join([*parts, text[end:]])


class _Walk:
    """What is left of the bounds during one conversion, and the containers that are open (for cycles)."""

    __slots__ = ("items", "open")

    def __init__(self) -> None:
        self.items = MAX_ITEMS
        self.open: list[int] = []


def plain(value: Any) -> Any:
    """`value` masked and in JSON's types; see `mask`, which also contains errors."""
    return _convert(value, _Walk())


def _convert(value: Any, walk: _Walk) -> Any:
    walk.items -= 1
    if isinstance(value, str):
        return mask_text(str.__str__(value))
    if isinstance(value, _PLAIN) and not isinstance(value, enum.Enum):
        return _number(value)
    try:
        if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
            return _number(value.item())
        members = _members(value)
        if members is None:
            return mask_text(_describe(value))
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
    kind = type(value)
    if isinstance(value, Mapping):
        return lambda walk: _pairs(value.items(), walk)
    if dataclasses.is_dataclass(kind):
        names = [field.name for field in dataclasses.fields(kind)]
        return lambda walk: _pairs(((name, getattr(value, name, None)) for name in names), walk)
    if isinstance(value, AbstractSet):
        # In an order that another process shares.
        ordered = sorted(value, key=lambda item: (type(item).__name__, repr(item)))
        return lambda walk: _elements(ordered, walk)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return lambda walk: _elements(value, walk)
    if _is_bare_record(value):
        return lambda walk: _pairs(vars(value).items(), walk)
    return None


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


def _pairs(pairs: Any, walk: _Walk) -> dict[str, Any]:
    converted: dict[str, Any] = {}
    for key, value in pairs:
        if walk.items <= 0:
            converted["..."] = "[more items left out]"
            break
        name = key if isinstance(key, str) else _name(key)
        hide = is_secret_name(name) and _can_be_secret(name, value)
        converted[name] = MASK if hide else _convert(value, walk)
    return converted


def _can_be_secret(name: str, value: Any) -> bool:
    """A flag, nothing at all, or a number of tokens gives nothing away, and tells a reader more than a mask."""
    if value is None or isinstance(value, bool) or (isinstance(value, str) and not value):
        return False
    return not (isinstance(value, (int, float)) and name.lower().endswith(("token", "tokens")))


def _name(key: Any) -> str:
    return str(key) if isinstance(key, _PLAIN) else _describe(key)


def _elements(values: Any, walk: _Walk) -> list[Any]:
    converted: list[Any] = []
    for index, value in enumerate(values):
        if walk.items <= 0:
            converted.append(f"... [{len(values) - index} items left out]")
            break
        converted.append(_convert(value, walk))
    return converted


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
