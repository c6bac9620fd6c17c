"""Tensors on a device that wait for the drain: copied there by the caller, who never waits, and read here later."""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal, table, timer

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_WAITING = 4096
"""Tensors that wait at most; the drain takes them many times a second."""

_waiting: deque[tuple[Any, Any, Callable[[Any], object]]] = deque()


def is_on_device(values: Any) -> bool:
    """Whether reading `values` would wait for a device: a tensor that is not in the machine's own memory."""
    kind = getattr(getattr(values, "device", None), "type", "cpu")
    return kind != "cpu" and hasattr(values, "detach")


def read_later(tensor: Any, consume: Callable[[Any], object]) -> None:
    """Have the drain thread call `consume` with a copy of `tensor`, as it is now, in the machine's memory."""
    if len(_waiting) >= MAX_WAITING:
        internal.count("dropped", "inference", "device_queue_full")
        return
    if _is_capturing(tensor):
        internal.count("dropped", "inference", "graph_capture")
        internal.warn_once(
            "inference:graph_capture",
            "otelml: results handed in while a CUDA graph is captured are left out; hand them in after its replay",
        )
        return
    _start()
    copy = tensor.detach().clone()
    _waiting.append((copy, _mark(copy), consume))


def read_waiting() -> None:
    """Read all that waits: on the drain thread, and before metrics are collected."""
    while _waiting:
        try:
            copy, mark, consume = _waiting.popleft()
        except IndexError:  # another thread took it
            return
        with internal.guard("inference"):
            if mark is not None:
                mark.synchronize()
            consume(copy.cpu())


def _start() -> None:
    if read_waiting not in table.before_drain:
        table.before_drain.append(read_waiting)
        timer.fork_hooks.append(_waiting.clear)


def _cuda(tensor: Any) -> Any | None:
    """`torch.cuda` where it is what the tensor belongs to."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and tensor.device.type == "cuda" else None


def _is_capturing(tensor: Any) -> bool:
    cuda = _cuda(tensor)
    return cuda is not None and bool(cuda.is_current_stream_capturing())


def _mark(copy: Any) -> Any | None:
    """Where the caller's stream is now: the drain thread has another stream, which does not wait for it by itself."""
    cuda = _cuda(copy)
    if cuda is None:
        return None
    mark = cuda.Event()
    mark.record(cuda.current_stream(copy.device))
    return mark


def reset() -> None:
    """Forget what waits: for tests."""
    _waiting.clear()
    if read_waiting in table.before_drain:
        table.before_drain.remove(read_waiting)
        timer.fork_hooks.remove(_waiting.clear)
