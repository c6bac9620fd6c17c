"""Handlers that keep a slow handler (a network, a full disk) off the program's threads, within bounds.

`NonBlockingHandler` hands each record on at once, `BufferedHandler` many together; a thread of theirs does the work.
"""

from __future__ import annotations

import contextvars
import logging
import logging.handlers
import queue
import sys
import threading
import weakref
from typing import TYPE_CHECKING

from otelml import context, settings
from otelml.instruments import internal, timer
from otelml.logs.record import extra_names, has_plain_args, read_message
from otelml.logs.values import to_attribute

if TYPE_CHECKING:
    from collections.abc import Iterator

QUEUE_SIZE = 10_000
"""Records that wait at most."""

_PLAIN = (str, int, float, bool, type(None))
_IDLE_S = 0.5
"""How long the thread sleeps at most: so that it ends soon after its handler was forgotten."""

_Taken = tuple[contextvars.Context, logging.LogRecord] | threading.Event
"""A record and the context it was logged in; or somebody who waits for all before."""

_handlers: weakref.WeakSet[_QueuedHandler] = weakref.WeakSet()


class _QueuedHandler(logging.handlers.MemoryHandler):
    """What the two have in common: a bounded queue, a thread that empties it, and what was dropped.

    A `MemoryHandler` for `dictConfig`, which finds the target of such a one by its name.
    """

    # How many make a batch, how old the oldest of it may get, and the level that does not wait for one.
    _batch = 1
    _interval_s = 0.0
    _urgent = logging.NOTSET

    def __init__(self, target: logging.Handler, queue_size: int) -> None:
        if not isinstance(target, logging.Handler):
            raise TypeError(f"target must be a logging.Handler, not {type(target).__name__}")
        if type(queue_size) is not int or queue_size < 1:
            raise ValueError(f"queue_size {queue_size!r} must be a whole number from 1")
        super().__init__(queue_size)
        self.target: logging.Handler = target
        self.queue_size = queue_size
        self.dropped = 0
        self._start_over()
        _handlers.add(self)
        if _after_fork not in timer.fork_hooks:
            timer.fork_hooks.append(_after_fork)
            timer.ensure_fork_hook()

    def _start_over(self) -> None:
        # Re-entrant, unlike the bounded `Queue`: a signal handler may log while the interrupted frame is logging.
        self.queue: queue.SimpleQueue[_Taken] = queue.SimpleQueue()
        self.dropped = 0
        self._said = 0
        self._delivering = threading.Lock()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        # Whoever waited in vain: while nobody answers that one, nobody else needs to wait.
        self._unanswered: threading.Event | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Put a copy of `record` into the queue, or count it as dropped. Never waits."""
        if self._closed and self._is_stuck():
            self._drop(1, "exit_deadline")
            return
        if self.queue.qsize() >= self.queue_size:
            self._drop(1, "queue_full")
            return
        try:
            self.queue.put_nowait((contextvars.copy_context(), self.prepare(record)))
        except Exception:  # noqa: BLE001 - as every handler does with what it cannot write
            self.handleError(record)
            return
        if self._closed:
            self.flush()  # logged while the program ends
            return
        if self._thread is None:
            self._start_thread()
        if record.levelno >= self._urgent or self.queue.qsize() >= self._batch:
            self._wake.set()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """A copy that later changes in the program do not reach: message formatted, extras plain, its run noted."""
        prepared = _copy_of(record)
        given = prepared.__dict__
        if not has_plain_args(record):
            prepared.msg, prepared.args = read_message(record), None
        for name in extra_names(given):
            if type(given[name]) not in _PLAIN:
                given[name] = to_attribute(given[name])
        if context.opened:
            for name, value in context.attributes().items():
                given.setdefault(name, value)
        return prepared

    def flush(self) -> None:
        """Hand on all that waits, within `OTELML_EXIT_TIMEOUT`."""
        self.deliver(settings.current().exit_timeout_s)

    def deliver(self, timeout_s: float) -> bool:
        """Hand on all that waits; False where that takes longer than `timeout_s` seconds, or a call before hangs."""
        thread = self._thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            self._deliver()
            return True
        if self._is_stuck():
            return False
        # Its thread does it, so that a target that hangs hangs nobody else.
        done = threading.Event()
        self.queue.put(done)
        self._wake.set()
        self._unanswered = None if done.wait(timeout_s) else done
        return self._unanswered is None

    def _is_stuck(self) -> bool:
        return self._unanswered is not None and not self._unanswered.is_set()

    def close(self) -> None:
        """Flush, say what was dropped, and end the thread. The target stays open: it is its owner's."""
        if self._closed:
            return
        delivered = self.deliver(settings.current().exit_timeout_s)
        self._closed = True
        self._wake.set()
        if delivered:
            self._tell()
        else:
            left = [taken for taken in self._take_all() if isinstance(taken, tuple)]
            self._drop(len(left), "exit_deadline")
            # Our thread holds the old one for as long as the target hangs, and `logging.shutdown` waits for it.
            self.target.createLock()
        logging.Handler.close(self)

    def _deliver(self) -> None:
        """Empty the queue into the target, one thread at a time."""
        with self._delivering:
            for taken in self._take_all():
                if isinstance(taken, threading.Event):
                    self.target.flush()
                    taken.set()
                else:
                    about, record = taken
                    # In the context it was logged in: what formats it asks for the current span.
                    about.run(self._hand_on, record)
            self.target.flush()

    def _take_all(self) -> Iterator[_Taken]:
        """What is in the queue, until it is empty."""
        while True:
            try:
                yield self.queue.get_nowait()
            except queue.Empty:
                return

    def _hand_on(self, record: logging.LogRecord) -> None:
        if record.levelno < self.target.level:
            return
        try:
            self.target.handle(record)
        except Exception:  # noqa: BLE001 - a target may raise anything; the next record is another matter
            if not (self._closed and self._is_stuck()):  # else of the lock that `close` has replaced
                self.target.handleError(record)

    def _drop(self, number: int, reason: str) -> None:
        self.dropped += number
        internal.count("dropped", "logs", reason, number)
        internal.warn_once(
            f"logs:queue:{id(self)}",
            "otelml: %s cannot keep up behind its %s of %d records (%s): log records are dropped",
            type(self.target).__name__,
            type(self).__name__,
            self.queue_size,
            reason,
        )

    def _tell(self) -> None:
        """Say once at the end, into the target itself, how many are missing there."""
        missing, self._said = self.dropped - self._said, self.dropped
        if missing:
            text = f"otelml: {missing} log records are missing here: the queue was full, or the time at exit was up"
            self._hand_on(
                logging.LogRecord("otelml.internal", logging.WARNING, "(unknown file)", 0, text, None, None)
            )

    # -- the thread

    def _start_thread(self) -> None:
        with internal.guard("logs"):
            thread = threading.Thread(
                target=_run, args=(weakref.ref(self), self._wake), name="otelml-logs", daemon=True
            )
            thread.start()
            self._thread = thread
            _flush_when_a_worker_ends(self)


def _run(reference: weakref.ref[_QueuedHandler], wake: threading.Event) -> None:
    """Deliver while the handler is there and not closed. Holds no reference to it while it sleeps."""
    interval_s = _IDLE_S
    handler = reference()
    while handler is not None and not handler._closed:  # noqa: SLF001 - its own thread
        interval_s = handler._interval_s or _IDLE_S  # noqa: SLF001
        del handler
        wake.wait(interval_s)
        wake.clear()
        handler = reference()
        if handler is not None and not handler.queue.empty():
            with internal.guard("logs"):
                handler._deliver()  # noqa: SLF001


def _copy_of(record: logging.LogRecord) -> logging.LogRecord:
    """What `copy.copy` makes, in a fifth of its time."""
    made = record.__class__.__new__(record.__class__)
    made.__dict__.update(record.__dict__)
    return made


class NonBlockingHandler(_QueuedHandler):
    """Hands records on to `target` from a thread of its own: logging never waits for a disk or a network.

    Records keep the span, run, epoch and step that they were logged in. While the queue is full, records are dropped,
    and that is counted (`dropped`, `otelml.internal.dropped`), said once when it begins, and written into the target
    at the end. What waits is written when the program ends. A forked child starts with an empty queue: what waited is
    the parent's to write. The target's own level and filters hold.

    Args:
        target: the handler that writes.
        queue_size: records that wait at most.

    Raises:
        TypeError: `target` is no handler.
        ValueError: `queue_size` is no whole number from 1.
    """

    def __init__(self, target: logging.Handler, queue_size: int = QUEUE_SIZE) -> None:
        super().__init__(target, queue_size)


class BufferedHandler(_QueuedHandler):
    """As `NonBlockingHandler`, handing records on many at a time: when there are `capacity`, or the time is up.

    Args:
        target: the handler that writes.
        capacity: records that make a batch.
        flush_interval_s: seconds after which a batch is handed on however small it is.
        flush_level: records from this level on are handed on at once, with all before them.
        queue_size: records that wait at most.

    Raises:
        TypeError: `target` is no handler.
        ValueError: a number out of its range, or a level that is none.
    """

    def __init__(
        self,
        target: logging.Handler,
        capacity: int = 100,
        *,
        flush_interval_s: float = 5.0,
        flush_level: int | str = logging.ERROR,
        queue_size: int = QUEUE_SIZE,
    ) -> None:
        from otelml.logs.setup import level_number

        if type(capacity) is not int or not 1 <= capacity <= queue_size:
            raise ValueError(
                f"capacity {capacity!r} must be a whole number from 1 to queue_size ({queue_size})"
            )
        if not flush_interval_s > 0:
            raise ValueError(f"flush_interval_s {flush_interval_s!r} must be more than 0 seconds")
        super().__init__(target, queue_size)
        self._batch = capacity
        self._interval_s = flush_interval_s
        self._urgent = level_number(flush_level)


def _flush_when_a_worker_ends(handler: _QueuedHandler) -> None:
    """Workers of multiprocessing end without `atexit`, by which `logging` would flush."""
    process = sys.modules.get("multiprocessing.process")
    if process is not None and process.parent_process() is not None:
        from multiprocessing.util import Finalize

        Finalize(None, _close_weakly, args=(weakref.ref(handler),), exitpriority=0)


def _close_weakly(reference: weakref.ref[_QueuedHandler]) -> None:
    handler = reference()
    if handler is not None and handler.deliver(settings.current().exit_timeout_s):
        handler._tell()  # noqa: SLF001 - this module's own


def _after_fork() -> None:
    """In a forked child, whose threads are gone and whose locks may be held by nobody."""
    for handler in list(_handlers):
        handler._start_over()  # noqa: SLF001 - this module's own


def reset() -> None:
    """For tests: nobody is told of forks any more."""
    if _after_fork in timer.fork_hooks:
        timer.fork_hooks.remove(_after_fork)


__all__ = ["QUEUE_SIZE", "BufferedHandler", "NonBlockingHandler", "reset"]
