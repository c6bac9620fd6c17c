"""Asynchronous loops that end at once when they are left."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any


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
