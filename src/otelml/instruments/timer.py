"""The drain thread: wakes often enough that buffers stay small, and does the work that hot paths leave for later.

Apart from the SDK: buffers are bounded by it even where no provider is set up yet.
"""

from __future__ import annotations

import os
import threading
from time import perf_counter
from typing import TYPE_CHECKING

from otelml.instruments import internal, table

if TYPE_CHECKING:
    from collections.abc import Callable

INTERVAL_S = 0.05
"""Between wake-ups while little is recorded: what a tight loop can buffer before the first drain."""
SHORTEST_S = 0.002
"""Between wake-ups while a loop records as fast as it can."""

_BUSY = 65_536

tick_hooks: list[Callable[[float], object]] = []
"""Called at each wake-up, with the seconds since the last one, outside all locks."""

fork_hooks: list[Callable[[], object]] = []
"""Called in a forked child, which starts from zero."""

_thread: threading.Thread | None = None
_fork_hook = False
_forked_pid: int | None = None
_stopping = threading.Event()
_start_lock = threading.Lock()


def ensure_started() -> None:
    """Start the thread unless it runs. Called when an instrument is made, never on a hot path."""
    global _thread  # noqa: PLW0603
    ensure_fork_hook()
    if _thread is not None and _thread.is_alive():
        return
    with _start_lock:
        if _thread is None or not _thread.is_alive():
            _stopping.clear()
            _thread = threading.Thread(target=_run, args=(_stopping,), name="otelml-drain", daemon=True)
            _thread.start()


def ensure_fork_hook() -> None:
    """Have `fork_hooks` called in forked children, also where no instrument was made."""
    global _fork_hook  # noqa: PLW0603
    if not _fork_hook and hasattr(os, "register_at_fork"):
        _fork_hook = True
        os.register_at_fork(after_in_child=start_anew)


def stop() -> None:
    """End the thread (at shutdown and in tests); recording goes on into the buffers."""
    _stopping.set()
    thread = _thread
    if thread is not None and thread is not threading.current_thread():
        thread.join(1.0)


def _run(stopping: threading.Event) -> None:
    interval, last = INTERVAL_S, perf_counter()
    while not stopping.wait(interval):
        now = perf_counter()
        interval = next_interval(interval, tick(now - last))
        last = now


def tick(elapsed_s: float) -> int:
    """One round of the thread's work; returns the most values that one series had waiting."""
    most = 0
    with internal.guard("drain"):
        most = table.drain_now()
    for hook in tick_hooks:
        with internal.guard("drain"):
            hook(elapsed_s)
    internal.run_deferred()
    return most


def next_interval(interval_s: float, most_waiting: int) -> float:
    """Adapt: at once when a buffer grew large, slowly back."""
    if most_waiting > _BUSY:
        return SHORTEST_S
    return min(INTERVAL_S, interval_s * 2)


def start_anew() -> None:
    """In a forked child: new locks, nothing recorded, and a new thread if there was one. Once a child.

    Called by a fork hook of this module, so that programs that were never configured are safe too, and by
    `drain.reset_in_child`.
    """
    global _thread, _stopping, _start_lock, _forked_pid  # noqa: PLW0603
    if _forked_pid == os.getpid():
        return
    _forked_pid = os.getpid()
    table.renew_locks()
    internal.reset()
    table.clear_recorded()
    for hook in fork_hooks:
        hook()
    had_thread = _thread is not None
    _thread, _stopping, _start_lock = None, threading.Event(), threading.Lock()
    if had_thread:
        ensure_started()
