"""Whatever a user may put into `extra` becomes something that a log attribute can hold."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import logging
import math
import pathlib
import re
import types
import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otelml.logs.values import MAX_DEPTH, MAX_ITEMS, MAX_TEXT, clean_text, on_device, to_attribute


class Color(enum.Enum):
    RED = 1


class Code(enum.IntEnum):
    OK = 200


class Mode(str, enum.Enum):
    TRAIN = "train"


class Bits(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass
class Config:
    lr: float
    layers: list[int]
    shape: tuple[int, ...] = (3, 224, 224)  # a class attribute too, as arrays have


Point = collections.namedtuple("Point", "x y")  # noqa: PYI024 - the old form is still common


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no text for you")


class Moody(dict):  # type: ignore[type-arg]
    """A mapping that cannot be iterated, like a configuration with missing values."""

    def items(self):  # type: ignore[no-untyped-def]
        raise KeyError("missing value")

    def __repr__(self) -> str:
        return "Moody(...)"


class Device:
    def __init__(self, type_: str) -> None:
        self.type = type_

    def __str__(self) -> str:
        return f"{self.type}:0" if self.type == "cuda" else self.type


class Tensor:
    """What can be seen of a torch tensor; reading one that is on a GPU would make the program wait."""

    __module__ = "torch"
    shape = property(lambda self: (2, 3))
    dtype = property(lambda self: "torch.float32")
    device = property(lambda self: self._device)

    def __init__(self, device: str, values: object = None) -> None:
        self._device = Device(device)
        self.values = values

    def numel(self) -> int:
        return 6

    def tolist(self) -> object:
        if self._device.type != "cpu":
            raise AssertionError("the device was synchronised")
        return self.values

    def item(self) -> object:
        return self.tolist()

    def __repr__(self) -> str:
        return str(self.tolist())


class Parameter(Tensor):
    __module__ = "model_of_the_user"


EXACT = [
    (None, None),
    (True, True),
    (3, 3),
    (2.5, 2.5),
    ("text", "text"),
    (b"\x00\xff", b"\x00\xff"),
    (bytearray(b"ab"), b"ab"),
    (memoryview(b"ab"), b"ab"),
    ([1, "a", None], [1, "a", None]),
    ((1, 2), [1, 2]),
    ({3, 1, 2}, [1, 2, 3]),
    (frozenset({"b", "a"}), ["a", "b"]),
    (range(3), [0, 1, 2]),
    (collections.deque([1, 2]), [1, 2]),
    ({"a": {"b": 1}}, {"a": {"b": 1}}),
    ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "None": "b", "[1, 2]": "c"}),
    ({1: "int", "1": "text"}, {"1": "int", "1_": "text"}),
    ({"": 1}, {"_": 1}),
    ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.values(), [1]),
    (collections.OrderedDict(a=1), {"a": 1}),
    (collections.UserDict({"a": 1}), {"a": 1}),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    (Point(1, 2), {"x": 1, "y": 2}),
    (Config(0.1, [1, 2]), {"lr": 0.1, "layers": [1, 2], "shape": [3, 224, 224]}),
    (types.SimpleNamespace(a=1), {"a": 1}),
    (argparse.Namespace(lr=0.1), {"lr": 0.1}),
    (Color.RED, "RED"),
    (Code.OK, 200),
    (Mode.TRAIN, "train"),
    (Bits.A, "A"),
    (dt.datetime(2025, 11, 7, 12, 34, 56, tzinfo=dt.timezone.utc), "2025-11-07T12:34:56+00:00"),
    (dt.date(2025, 11, 7), "2025-11-07"),
    (dt.time(12, 34), "12:34:00"),
    (dt.timedelta(milliseconds=1500), 1.5),
    (decimal.Decimal("0.10"), "0.10"),
    (fractions.Fraction(1, 3), "1/3"),
    (1 + 2j, "(1+2j)"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.PurePosixPath("/data/x.npy"), "/data/x.npy"),
    (ValueError("bad"), "ValueError: bad"),
    (KeyError(), "KeyError"),
    (logging.Logger, "logging.Logger"),
    (math.hypot, "math.hypot"),
    (2**63 - 1, 2**63 - 1),
    (-(2**63), -(2**63)),
    (2**63, "9223372036854775808"),
    (np.float32(0.5), 0.5),
    (np.float64(0.5), 0.5),
    (np.longdouble(0.5), 0.5),
    (np.int64(7), 7),
    (np.uint64(2**64 - 1), "18446744073709551615"),
    (np.bool_(True), True),
    (np.str_("s"), "s"),
    (np.bytes_(b"s"), b"s"),
    (np.complex128(1j), "1j"),
    (np.datetime64("2025-11-07T12:00:00", "ns"), "2025-11-07T12:00:00.000000000"),
    (np.array(3), 3),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array(["2025-11-07"], dtype="datetime64[D]"), ["2025-11-07"]),
    (np.zeros((100, 3), dtype=np.float32), "ndarray(shape=(100, 3), dtype=float32)"),
    (Tensor("cpu", [1.0, 2.0]), [1.0, 2.0]),
    (Tensor("cuda"), "Tensor(shape=(2, 3), dtype=float32, device=cuda:0)"),
    (Parameter("cuda"), "Parameter(shape=(2, 3), dtype=float32, device=cuda:0)"),
    ([Tensor("cuda")], ["Tensor(shape=(2, 3), dtype=float32, device=cuda:0)"]),
    (Silent(), "<unprintable Silent object>"),
    (Moody(), "Moody(...)"),
    (object, "object"),
]


@pytest.mark.parametrize(("value", "expected"), EXACT, ids=lambda value: type(value).__name__)
def test_each_kind_of_value(value: object, expected: object) -> None:
    """A value keeps its meaning, and has exactly a type that OpenTelemetry can hold."""
    converted = to_attribute(value)
    assert converted == expected
    assert type(converted) is type(expected)


def test_not_a_number_stays() -> None:
    """NaN and infinities are numbers of OTLP; what JSON makes of them is not decided here."""
    assert math.isnan(to_attribute(float("nan")))
    assert to_attribute(np.float32("inf")) == math.inf


def test_other_objects_by_repr() -> None:
    """What no rule is for is its repr."""
    assert re.fullmatch(r"<object object at 0x[0-9a-f]+>", to_attribute(object()))


def test_unprintable_exception() -> None:
    """An exception that cannot say its text keeps its type."""

    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert to_attribute(Mute()).endswith("Mute: <unprintable Mute object>")


def test_array_that_cannot_be_read_is_described() -> None:
    """A fake or sparse array on the CPU whose values cannot be had is described."""

    class Fake(Tensor):
        def tolist(self) -> object:
            raise RuntimeError("fake")

    assert to_attribute(Fake("cpu")) == "Fake(shape=(2, 3), dtype=float32)"


def test_generators_are_not_consumed() -> None:
    """Logging a generator leaves all its elements to the program."""
    generator = (number for number in range(3))
    to_attribute(generator)
    assert list(generator) == [0, 1, 2]


def test_cycles() -> None:
    """A structure that contains itself ends at a mark; the same object twice side by side is no cycle."""
    cyclic: dict[str, object] = {"a": 1}
    cyclic["self"] = cyclic
    shared = [1]
    assert to_attribute(cyclic) == {"a": 1, "self": "<cycle: dict>"}
    assert to_attribute([shared, shared]) == [[1], [1]]


def test_failing_element_does_not_count_as_open() -> None:
    """After an element that raised, its container's depth is what it was."""
    assert to_attribute([Moody(), Moody(), [1]]) == ["Moody(...)", "Moody(...)", [1]]


def test_depth_is_bounded() -> None:
    """Nesting beyond the bound ends at a mark."""
    nested: list[object] = []
    for _ in range(MAX_DEPTH * 100):
        nested = [nested]
    converted = to_attribute(nested)
    depth = 0
    while isinstance(converted, list):
        converted, depth = converted[0], depth + 1
    assert (converted, depth) == ("<list: too deep>", MAX_DEPTH)


def test_number_of_items_is_bounded() -> None:
    """A long list and a large mapping keep their first elements and say what is missing."""
    converted = to_attribute(list(range(10 * MAX_ITEMS)))
    assert converted[:3] == [0, 1, 2]
    assert converted[-1] == f"... [{9 * MAX_ITEMS} items left out]"
    assert len(converted) == MAX_ITEMS + 1
    assert len(to_attribute({str(n): n for n in range(10 * MAX_ITEMS)})) == MAX_ITEMS + 1


def test_text_is_bounded_within_containers_too() -> None:
    """All the text in one value together is bounded, and both ends of a long text are kept."""
    converted = to_attribute("a" + "x" * 1_000_000 + "z")
    assert converted[0] == "a"
    assert converted[-1] == "z"
    assert len(converted) < MAX_TEXT + 100
    assert sum(map(len, to_attribute(["x" * 50_000] * 100))) < MAX_TEXT + 200


def test_bytes_are_bounded() -> None:
    """Bytes are cut at the bound."""
    assert len(to_attribute(b"x" * 1_000_000)) == MAX_TEXT


def test_huge_integer() -> None:
    """An integer with more digits than the interpreter prints survives as text."""
    assert to_attribute(10**20_000).startswith("0x")


def test_lone_surrogates_become_text() -> None:
    """A file name that is not UTF-8 can be encoded afterwards; other text is untouched."""
    assert clean_text("caf\udce9") == "caf\\udce9"
    assert clean_text("café 🎉") == "café 🎉"


def test_on_device() -> None:
    """Arrays in host memory can be read at once; those of an accelerator cannot."""
    assert on_device(Tensor("cuda"))
    assert not on_device(Tensor("cpu"))
    assert not on_device(np.zeros(3))
    assert not on_device(3.0)


def is_any_value(value: object) -> bool:
    """Whether OpenTelemetry can hold it, and encode it."""
    if isinstance(value, list):
        return all(map(is_any_value, value))
    if isinstance(value, dict):
        return all(type(key) is str and key and is_any_value(element) for key, element in value.items())
    if type(value) is int:
        return -(2**63) <= value < 2**63
    return (
        value is None
        or type(value) in (bool, float, bytes)
        or (type(value) is str and bool(value.encode() or True))
    )


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.complex_numbers()
    | st.text(st.characters()) | st.datetimes() | st.decimals() | st.uuids()
    | st.builds(Silent) | st.just(np.float16(1)) | st.just(Color.RED),
    lambda inner: st.lists(inner) | st.tuples(inner) | st.dictionaries(st.text(st.characters()) | st.integers(), inner),
    max_leaves=30,
)  # fmt: skip


@settings(deadline=None)
@given(anything)
def test_result_is_always_an_any_value(value: object) -> None:
    """Whatever is given, the result has only the types of OTel's AnyValue, and all its text can be encoded."""
    assert is_any_value(to_attribute(value))
