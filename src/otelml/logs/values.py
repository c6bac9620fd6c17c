"""Any Python value as something that a log attribute can hold: text, numbers, bytes, lists and mappings of these.

Alone because everything that a user may put into `extra` ends here, and whatever it is must neither raise, nor grow
without bound, nor make an accelerator wait. No array library is imported: arrays are known by their looks.
"""

from __future__ import annotations

import collections
import collections.abc
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import os
import types
import uuid
from typing import Any

MAX_TEXT = 65_536
"""Characters of one value; all the text within a container counts together."""

MAX_ITEMS = 1_000
"""Elements of one value, nested ones included."""

MAX_DEPTH = 8
"""Containers within containers."""

MAX_ARRAY = 64
"""Elements up to which an array in host memory is written out; a larger one is described."""

_INT64 = 2**63


class _Room:
    """What is left of the bounds while one value is converted, and the containers that are open (for cycles)."""

    __slots__ = ("characters", "items", "open")

    def __init__(self) -> None:
        self.characters = MAX_TEXT
        self.items = MAX_ITEMS
        self.open: list[int] = []


def to_attribute(value: object) -> Any:
    """`value` as an OTel attribute value (`AnyValue`). Never raises.

    Text is valid UTF-8 and at most `MAX_TEXT` characters long, integers outside 64 bits become text, mappings stay
    mappings with text keys, other collections become lists, arrays on an accelerator are described by shape, dtype
    and device without waiting for it, and anything else is its `repr`. Cycles and what exceeds the bounds are marked.
    """
    kind = type(value)
    if kind is str:
        return clean_text(value)  # type: ignore[arg-type]
    if value is None or kind is float or kind is bool or (kind is int and -_INT64 <= value < _INT64):  # type: ignore[operator]
        return value
    return _convert(value, _Room())


def clean_text(text: str, limit: int = MAX_TEXT) -> str:
    """`text` of at most about `limit` characters (the middle left out) that can be encoded as UTF-8."""
    if len(text) > limit:
        text = _shorten(text, limit)
    if text.isascii():
        return text
    try:
        text.encode()
    except (
        UnicodeEncodeError
    ):  # lone surrogates: file names, broken JSON; one would fail a whole batch of records
        return text.encode(errors="backslashreplace").decode()
    return text


def on_device(value: object) -> bool:
    """Whether `value` is an array outside host memory: reading it would make the program wait for the device."""
    try:
        device = getattr(value, "device", None) if hasattr(type(value), "shape") else None
        return device is not None and getattr(device, "type", str(device)) != "cpu"
    except Exception:  # noqa: BLE001 - an array class that cannot say where it is
        return True


def _shorten(text: str, limit: int) -> str:
    head, tail = limit - limit // 4, limit // 4
    left_out = len(text) - head - tail
    return f"{text[:head]}... [{left_out} characters left out] ...{text[len(text) - tail :] if tail else ''}"


def _convert(value: object, room: _Room) -> Any:
    try:
        return _convert_kind(value, room)
    except Exception:  # noqa: BLE001 - objects of any origin: whatever their methods raise, the record must live
        return _last_resort(value, room)


def _last_resort(value: object, room: _Room) -> str:
    try:
        return _text(repr(value), room)
    except Exception:  # noqa: BLE001 - as above
        return _unprintable(value)


def _unprintable(value: object) -> str:
    return f"<unprintable {type(value).__name__} object>"


@functools.singledispatch
def _convert_kind(value: object, room: _Room) -> Any:
    """What no rule below is for: structured objects, arrays, and the rest by `repr`."""
    fields = _fields(value)
    if fields is not None:
        return _mapping(value, fields, room)
    kind = type(value)
    if hasattr(kind, "shape") and (hasattr(kind, "dtype") or hasattr(kind, "dtypes")):
        return _array(value, room)
    return _text(repr(value), room)


@_convert_kind.register(type(None))
@_convert_kind.register(bool)
def _same(value: Any, _room: _Room) -> Any:
    return value


@_convert_kind.register(float)
def _float(value: float, _room: _Room) -> float:
    return float(value)


@_convert_kind.register(int)
def _int(value: int, room: _Room) -> int | str:
    plain = int(value)
    if -_INT64 <= plain < _INT64:
        return plain
    # Decimal text beyond a few thousand digits is refused by the interpreter.
    return _text(str(plain) if plain.bit_length() < 10_000 else hex(plain), room)


@_convert_kind.register(str)
def _str(value: str, room: _Room) -> str:
    return _text(str.__str__(value), room)


@_convert_kind.register(bytes)
@_convert_kind.register(bytearray)
@_convert_kind.register(memoryview)
def _bytes(value: bytes | bytearray | memoryview, room: _Room) -> bytes:
    plain = (value.tobytes() if isinstance(value, memoryview) else bytes(value))[: max(room.characters, 0)]
    room.characters -= len(plain)
    return plain


@_convert_kind.register(BaseException)
def _exception(value: BaseException, room: _Room) -> str:
    return _text(describe_exception(value), room)


def describe_exception(value: BaseException) -> str:
    """`ValueError: text`, also where the exception cannot say its text."""
    message = exception_message(value)
    name = type_name(type(value))
    return f"{name}: {message}" if message else name


def exception_message(value: BaseException) -> str:
    """`str(value)`, or a note that there is none."""
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - an exception class of the user's
        return _unprintable(value)


def type_name(kind: type) -> str:
    """The qualified name of a class, without `builtins`."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


@_convert_kind.register(dt.date)
@_convert_kind.register(dt.time)
def _moment(value: dt.date | dt.time, room: _Room) -> str:
    return _text(value.isoformat(), room)


@_convert_kind.register(dt.timedelta)
def _seconds(value: dt.timedelta, _room: _Room) -> float:
    return value.total_seconds()


@_convert_kind.register(decimal.Decimal)
@_convert_kind.register(fractions.Fraction)
@_convert_kind.register(complex)
@_convert_kind.register(uuid.UUID)
def _exact(value: object, room: _Room) -> str:
    return _text(str(value), room)


@_convert_kind.register(os.PathLike)
def _path(value: os.PathLike[Any], room: _Room) -> str:
    return _text(os.fsdecode(value), room)


@_convert_kind.register(enum.Enum)
def _enum(value: enum.Enum, room: _Room) -> str:
    """The name; members that are also `int` or `str` never come here and give their value."""
    return _text(value.name or str(value), room)


@_convert_kind.register(type)
def _class(value: type, room: _Room) -> str:
    return _text(type_name(value), room)


@_convert_kind.register(types.FunctionType)
@_convert_kind.register(types.BuiltinFunctionType)
@_convert_kind.register(types.MethodType)
def _function(value: Any, room: _Room) -> str:
    return _text(f"{value.__module__}.{value.__qualname__}", room)


@_convert_kind.register(collections.abc.Mapping)
def _any_mapping(value: collections.abc.Mapping[Any, Any], room: _Room) -> Any:
    return _mapping(value, value.items(), room)


@_convert_kind.register(tuple)
def _tuple(value: tuple[Any, ...], room: _Room) -> Any:
    names = getattr(type(value), "_fields", None)
    return _sequence(value, room) if names is None else _mapping(value, zip(names, value, strict=False), room)


@_convert_kind.register(collections.abc.Set)
def _set(value: collections.abc.Set[Any], room: _Room) -> Any:
    # Sorted where nobody else's comparison is called, so that the same set reads the same in every run.
    comparable = len(value) <= MAX_ITEMS and {type(element) for element in value} in ({str}, {int})
    return _sequence(sorted(value) if comparable else value, room)


@_convert_kind.register(collections.abc.Sequence)
@_convert_kind.register(collections.deque)
@_convert_kind.register(collections.abc.ValuesView)
def _sequence(value: Any, room: _Room) -> Any:
    return _refusal(value, room) or _entered(value, room, lambda: _elements(value, room))


def _mapping(value: Any, pairs: Any, room: _Room) -> Any:
    return _refusal(value, room) or _entered(value, room, lambda: _pairs(pairs, room))


def _entered(value: object, room: _Room, convert: collections.abc.Callable[[], Any]) -> Any:
    room.open.append(id(value))
    try:
        return convert()
    finally:
        room.open.pop()


def _elements(values: Any, room: _Room) -> list[Any]:
    converted: list[Any] = []
    for index, element in enumerate(values):
        if not _take(room):
            converted.append(f"... [{len(values) - index} items left out]")
            break
        converted.append(_convert(element, room))
    return converted


def _pairs(pairs: Any, room: _Room) -> dict[str, Any]:
    converted: dict[str, Any] = {}
    for key, element in pairs:
        if not _take(room):
            converted[free_key(converted, "...")] = "[more items left out]"
            break
        converted[free_key(converted, _key(key, room))] = _convert(element, room)
    return converted


def _take(room: _Room) -> bool:
    room.items -= 1
    return room.items >= 0 and room.characters > 0


def free_key(taken: collections.abc.Container[str], key: str) -> str:
    """`key`, with underscores added until it is none of `taken`: what collides is renamed, never lost."""
    while key in taken:
        key += "_"
    return key


def _key(key: object, room: _Room) -> str:
    text = key if isinstance(key, str) else _convert(key, room)
    # An empty key is refused by OpenTelemetry.
    return _text(str(text), room) or "_"


def _refusal(value: object, room: _Room) -> str | None:
    """Why a container is not entered, or None."""
    if id(value) in room.open:
        return f"<cycle: {type(value).__name__}>"
    if len(room.open) >= MAX_DEPTH:
        return f"<{type(value).__name__}: too deep>"
    return None


def _text(text: str, room: _Room) -> str:
    clean = clean_text(text, max(room.characters, 0))
    room.characters -= len(clean)
    return clean


def _fields(value: object) -> Any:
    """(name, value) pairs of an object that is a bare record (dataclass, attrs class, namespace), else None."""
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        return ((field.name, getattr(value, field.name, None)) for field in dataclasses.fields(kind))
    if hasattr(kind, "__attrs_attrs__"):
        return ((field.name, getattr(value, field.name, None)) for field in kind.__attrs_attrs__)
    pydantic = hasattr(kind, "model_fields") and hasattr(kind, "model_dump")
    if pydantic or isinstance(value, types.SimpleNamespace) or type_name(kind) == "argparse.Namespace":
        return vars(value).items()
    return None


def _array(value: Any, room: _Room) -> Any:
    """Small arrays in host memory written out, others described; only numpy's and torch's are known to be in it."""
    family = _family(type(value))
    try:
        if family == "numpy" and value.size <= MAX_ARRAY:
            return _numpy(value, room)
        if family == "torch" and value.device.type == "cpu" and value.numel() <= MAX_ARRAY:
            return _convert(value.tolist(), room)
    except Exception:  # noqa: BLE001 - fake, sparse, lazy or half-made arrays: describe them instead
        return _describe(value, room)
    return _describe(value, room)


def _family(kind: type) -> str | None:
    for base in kind.__mro__:
        root = base.__module__.partition(".")[0]
        if root in ("numpy", "torch"):
            return root
    return None


def _numpy(value: Any, room: _Room) -> Any:
    if value.dtype.kind in "mM":  # `tolist` of nanosecond times gives bare integers
        value = value.astype(str)
    plain = value.tolist()
    # Extended precision has no Python type and comes back as itself.
    return float(plain) if hasattr(type(plain), "dtype") else _convert(plain, room)


def _describe(value: Any, room: _Room) -> str:
    parts = [f"shape={tuple(value.shape)}"]
    for name in ("dtype", "device"):
        text = str(getattr(value, name, "")).removeprefix("torch.")
        if text not in ("", "cpu"):
            parts.append(f"{name}={text}")
    return _text(f"{type(value).__name__}({', '.join(parts)})", room)
