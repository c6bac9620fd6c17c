"""Fork, exit and signals, for all three signals of telemetry in one place.

Not covered: `os._exit`, SIGKILL and crashes. What was exported until then stands; files hold whole lines. Providers
that OTEL_CONFIG_FILE built are flushed, but their readers and exporters are the SDK's: workers of multiprocessing are
not silent with them, though they start from zero.
"""

from __future__ import annotations

import atexit
import inspect
import os
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

from otelml import context
from otelml.export import quiet
from otelml.export.flusher import Flusher
from otelml.instruments import drain, internal
from otelml.lifecycle import signals, workers
from otelml.logs import bridge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from otelml.settings import Settings

FORK_TIMEOUT_S = 1.0
"""How long a fork waits for a collection to end, a lock."""

_PROVIDERS = {"traces": "tracer_provider", "metrics": "meter_provider", "logs": "logger_provider"}

_current: _Lifecycle | None = None


def start(pipeline: Any, settings: Settings) -> None:
    """Take charge of `pipeline`: start its readers, and see to fork, exit, SIGTERM and SIGINT.

    Uses `pipeline.tracer_provider`, `.logger_provider`, `.reporter` (each may be None), `.readers` and `.exporters`,
    and of `settings`: `fork`, `exit_timeout_s`. Starting the same pipeline again does nothing; another one replaces it.
    Signal handlers are only installed from the main thread.
    """
    global _current  # noqa: PLW0603
    if _current is not None and _current.pipeline is pipeline:
        return
    stop()
    _current = _Lifecycle(pipeline, settings)
    _current.start()


def stop() -> None:
    """Give everything back: signal handlers, the exit hook, threads. Does not shut the providers down."""
    global _current
    lifecycle, _current = _current, None
    if lifecycle is not None:
        lifecycle.stop()


def reset() -> None:
    """For tests: `stop`."""
    stop()


def flush(timeout_s: float) -> tuple[str, ...]:
    """Drain and flush all signals within `timeout_s` seconds; the names of what was not done (empty: all).

    From any thread, also from a signal handler. Nothing to do, and so (), before `start` and in silent processes.
    """
    return _current.flush(timeout_s) if _current is not None else ()


def is_silenced() -> bool:
    """Whether this process is a multiprocessing child that must not export."""
    return _current is not None and _current.silent


class _Lifecycle:
    """What one pipeline needs to live through forks, to the end of the process."""

    def __init__(self, pipeline: Any, settings: Settings) -> None:
        self.pipeline = pipeline
        self.settings = settings
        self.silent = False
        self.flusher: Flusher | None = None
        self.handlers = signals.SignalHandlers(self.flush, self.note_killed)
        # How the process is about to end, once it is: "exit" or "killed".
        self.ending: str | None = None
        self.pid = os.getpid()

    def start(self) -> None:
        # The first look-up of a host imports this codec: a child forked just then would wait for that import for ever.
        "localhost".encode("idna")
        for reader in self.pipeline.readers:
            if hasattr(reader, "start"):
                reader.start()
        quiet.install()
        self.flusher = self._make_flusher()
        # After the providers have registered theirs, so that in a child ours come last.
        _register_at_fork(weakref.ref(self))
        atexit.register(self.at_exit)
        self.handlers.install()

    def stop(self) -> None:
        self.handlers.restore()
        atexit.unregister(self.at_exit)
        quiet.uninstall()
        if self.flusher is not None:
            self.flusher.stop()

    def flush(self, timeout_s: float) -> tuple[str, ...]:
        if self.silent or self.flusher is None or self.pid != os.getpid():
            return ()
        return self.flusher.flush(timeout_s)

    def _make_flusher(self) -> Flusher:
        # What stages left for later becomes spans and log records in the drain: it goes first.
        return Flusher({"drain": lambda _: self._drain()}, {name: _flush_of(p) for name, p in self._ends()})

    def _drain(self) -> None:
        if self.ending is not None:
            self._last_call()
            context.end_all(self.ending)  # what is open, a run say, is ended, and that is telemetry too
        drain.drain_now()

    def _last_call(self) -> None:
        """Nobody waits for an endpoint to come back while the process ends."""
        for part in (*self.pipeline.exporters, *self.pipeline.readers):
            if hasattr(part, "last_call"):
                part.last_call()

    def note_killed(self) -> None:
        """A signal ends the process after the next flush."""
        self.ending = "killed"

    def _ends(self) -> Iterator[tuple[str, Any]]:
        pipeline = self.pipeline
        # Readers one by one, so that one that hangs holds up no other; a file's providers hide theirs.
        readers = [reader for reader in pipeline.readers if not getattr(reader, "is_pulled", False)]
        for reader in readers:
            yield f"metrics ({getattr(reader, 'destination', type(reader).__name__)})", reader
        for name in ("traces", "logs") if pipeline.readers else ("traces", "logs", "metrics"):
            provider = getattr(pipeline, _PROVIDERS[name])
            if hasattr(provider, "force_flush"):
                yield name, provider
        if pipeline.reporter is not None:
            yield "errors", pipeline.reporter

    # -- fork: the hooks below run in the thread that forks

    def before_fork(self) -> None:
        drain.acquire_for_fork(FORK_TIMEOUT_S)

    def after_fork_in_parent(self) -> None:
        drain.release_after_fork()

    def after_fork_in_child(self) -> None:
        self.pid = os.getpid()
        self.flusher = None  # its threads are the parent's
        forker = workers.find_forker(inspect.currentframe())
        if forker == workers.SUBPROCESS:
            self.silent = True  # all of this is about to be replaced by another program
            self.handlers.after_fork_in_child(silent=True)
        else:
            self._start_over(forker)

    def _start_over(self, worker_package: str | None) -> None:
        """In a forked child: from zero, either silent or as an exporting process of its own."""
        self.silent = self.silent or (worker_package is not None and self.settings.fork != "export")
        drain.reset_in_child()
        for part in (*self.pipeline.exporters, *self.pipeline.readers):
            if hasattr(part, "after_fork_in_child"):
                with internal.guard("lifecycle"):
                    part.after_fork_in_child(silent=self.silent)
        self.handlers.after_fork_in_child(silent=self.silent)
        if self.silent:
            bridge.uninstall()
            return
        self.flusher = self._make_flusher()
        if worker_package is not None:
            workers.call_at_exit(worker_package, self, _Lifecycle.at_exit)

    # -- exit

    def at_exit(self) -> None:
        """Flush within the deadline, and say in one line what could not be delivered."""
        if self.silent or self.flusher is None or self.pid != os.getpid():
            return
        with internal.guard("lifecycle"):
            internal.run_deferred()
            self.ending = self.ending or "exit"
            context.end_all(self.ending)  # on this thread, which alone sees an exception that ends a worker
            try:
                unfinished = self.flush(_exit_limit_s(self.settings.exit_timeout_s))
            except KeyboardInterrupt:  # the user is in a hurry
                unfinished = ("the rest (interrupted)",)
            self._tell_undelivered(unfinished)
            # Nothing is left to flush, and nobody to do it if the interpreter should hang while it ends.
            self.handlers.restore()

    def _tell_undelivered(self, unfinished: tuple[str, ...]) -> None:
        ledgers = [part.ledger for part in self.pipeline.exporters if hasattr(part, "ledger")]
        parts = []
        for ledger in ledgers:
            left = ledger.waiting + ledger.in_flight
            if left:
                internal.count("dropped", ledger.component, "exit_deadline", left)
            if ledger.undelivered:
                items = ledger.items.replace("_", " ")
                parts.append(f"{ledger.undelivered} {items} ({ledger.destination})")
        known = {"traces", "logs", "errors"} if ledgers else set()
        parts += [name for name in unfinished if name not in known | {"drain"}]
        if parts:
            internal.warn_once(
                "lifecycle:exit", "otelml: not delivered when the program ended: %s", ", ".join(parts)
            )


def _exit_limit_s(timeout_s: float) -> float:
    """The deadline at exit: after Ctrl-C somebody is waiting."""
    interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
    return min(timeout_s, signals.TIMEOUT_S) if interrupted else timeout_s


def _flush_of(part: Any) -> Callable[[float], object]:
    return lambda left_s: part.force_flush(max(1, int(left_s * 1000)))


def _register_at_fork(reference: weakref.ref[_Lifecycle]) -> None:
    """Hooks that act while the lifecycle is the current one; the interpreter cannot unregister them.

    What was begun before a fork is ended after it, even if another thread stopped the lifecycle meanwhile.
    """
    forking = threading.local()

    def before() -> None:
        lifecycle = reference()
        if lifecycle is not None and lifecycle is _current:
            forking.lifecycle = lifecycle
            with internal.guard("lifecycle"):
                lifecycle.before_fork()

    def after_in_parent() -> None:
        lifecycle, forking.lifecycle = getattr(forking, "lifecycle", None), None
        if lifecycle is not None:
            with internal.guard("lifecycle"):
                lifecycle.after_fork_in_parent()

    def after_in_child() -> None:
        # uWSGI forks in C and calls this hook only.
        lifecycle, forking.lifecycle = reference(), None
        if lifecycle is not None and lifecycle is _current:
            with internal.guard("lifecycle"):
                lifecycle.after_fork_in_child()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after_in_parent, after_in_child=after_in_child)


def _hold_signals() -> None:
    if _current is not None:
        signals.hold(_current.handlers.wrapped)


def _let_signals_go_in_child() -> None:
    if _current is not None:
        _current.handlers.abandon_watch()
    signals.let_go()


if hasattr(os, "register_at_fork"):
    # At import, and so before the SDK's and most others': their threads in a child must not inherit the mask.
    os.register_at_fork(
        before=_hold_signals, after_in_parent=signals.let_go, after_in_child=_let_signals_go_in_child
    )
