"""Loops that know at once when they are left, and how: neither a generator nor an iterator is told."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from inspect import CO_GENERATOR
from opcode import opname
from types import FrameType
from typing import Any, Generic, TypeVar

# With these a loop drops its iterator where `break` or `return` leaves it (POP_ITER: from Python 3.14 on).
_DROPS = ("POP_TOP", "POP_ITER")

_Item = TypeVar("_Item")


class Items(Generic[_Item]):
    """What one `for` loop goes over; `left` is called when it is over or left, with whether by an exception.

    Nothing but the loop may hold it: `iter(x)` makes one, for the loop itself.
    """

    __slots__ = ("_left", "_next")

    def __init__(self, next_item: Callable[[], _Item], left: Callable[[bool], object]) -> None:
        self._next, self._left = next_item, left

    def __iter__(self) -> Iterator[_Item]:
        return self

    def __next__(self) -> _Item:
        return self._next()

    def __del__(self) -> None:
        self._left(not is_left_by_break(sys._getframe().f_back))  # noqa: SLF001 - how `inspect` finds it too


def is_left_by_break(frame: FrameType | None) -> bool:
    """Whether what `frame` drops just now is the iterator of a loop that a `break` or `return` leaves.

    An exception drops it too, and does not show itself; but the frame then stands where that was raised. A generator
    that goes over the items for somebody else is dropped, and so closed, by the loop over itself.
    """
    while frame is not None:
        if opname[frame.f_code.co_code[frame.f_lasti]] in _DROPS:
            return True
        frame = frame.f_back if frame.f_code.co_flags & CO_GENERATOR else None
    return False


class AsyncItems:
    """`async for` over `source`; `finish` is called when the loop is over or left: an async generator would wait."""

    __slots__ = ("_after", "_before", "_finish", "_is_inside", "_item", "_iterator", "_source")

    def __init__(
        self,
        source: Any,
        *,
        before: Callable[[], object],
        after: Callable[[Any], object],
        finish: Callable[[], object],
    ) -> None:
        self._source = source
        self._iterator: Any = None
        self._before, self._after, self._finish = before, after, finish
        self._item: Any = None
        self._is_inside = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._iterator is None:
            self._iterator = self._source.__aiter__()
        if self._is_inside:
            self._is_inside = False
            self._after(self._item)
        try:
            item = await self._iterator.__anext__()
        except BaseException:
            self._finish()
            raise
        self._item, self._is_inside = item, True
        self._before()
        return item

    def __del__(self) -> None:
        self._finish()
