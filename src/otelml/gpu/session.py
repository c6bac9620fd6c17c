"""The plugin's life in one process: a thread that walks over the GPUs, beside one that waits for XID errors.

Nothing but these two ever waits for NVML. They are daemons: a driver that hangs does not keep a program from ending.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from time import monotonic

from otelml.gpu.boundary import SLOW_S, Asking, Boundary, Failure
from otelml.gpu.discovery import discover
from otelml.gpu.energy import Counters, no_counters
from otelml.gpu.library import LIBRARY_NOT_FOUND, Library, NvmlError
from otelml.gpu.listener import Listener
from otelml.gpu.memory import Memory
from otelml.gpu.recordings import ReplayError
from otelml.gpu.snapshot import Snapshot
from otelml.gpu.walker import Walker
from otelml.instruments import histogram, internal
from otelml.semconv import _generated as names

RETRY_S = 60.0
"""Between two looks for what is there: GPUs come back, and MIG devices are made, while a program runs."""

HURRY_S = 1.0
"""Between two walks at least, when an XID error asks for one before its time."""

_MOST_TASKS = 1000  # after the time is up


@dataclass(frozen=True)
class Options:
    """What the settings say about GPUs; `say_no_library` is told when there is no NVML to ask."""

    open_library: Callable[[], Library]
    say_no_library: Callable[[NvmlError | ReplayError], object]
    devices: str = "rank"
    interval_s: float = 5.0
    serial_number: bool = False
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def longest_s(self) -> float:
        """The age from which a snapshot says nothing about now."""
        return 3 * self.interval_s


class Session:
    """The walks of one process, from `start` to `stop`; a forked child needs one of its own."""

    def __init__(self, options: Options) -> None:
        self.pid = os.getpid()
        self.snapshot: Snapshot | None = None
        self._options = options
        self._opening: Asking | None = None
        self._boundary: Boundary | None = None
        self._failures: Counter[Failure] = Counter()
        self._lock = threading.Lock()
        self._memories: dict[str, Memory] = {}
        self._walker: Walker | None = None
        self._listeners: list[Listener] = []
        self._tasks: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._looked_s = self._walked_s = float("-inf")
        self._hurries = False
        self._stopping, self._walking_ended, self._has_looked = (threading.Event() for _ in range(3))
        self._duration = histogram(names.METRIC_ML_GPU_COLLECT_DURATION).bind()
        self._thread = threading.Thread(target=self._run, name="otelml-gpu", daemon=True)

    def start(self) -> None:
        """Begin, with a first walk at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End, and wait for the end of a walk no longer than `timeout_s`; the threads end when NVML lets them."""
        self._stopping.set()
        self._tasks.put(lambda: None)
        self._walking_ended.wait(timeout_s)

    def current(self) -> Snapshot | None:
        """The last snapshot; None before the first one, and when it is too old to say anything about now."""
        snapshot = self.snapshot
        is_current = snapshot is not None and monotonic() - snapshot.taken_s <= self._options.longest_s
        return snapshot if is_current else None

    def failures(self) -> Mapping[Failure, int]:
        """How many NVML calls failed so far, by what and why."""
        self._notice_slow_opening()
        with self._lock:
            return self._failures + Counter(self._boundary.failures() if self._boundary is not None else {})

    def read_energy(self) -> Future[Counters]:
        """The energy counters, as soon as the thread gets to it; none at once where there is nothing to read."""
        if self._walking_ended.is_set() or (self._walker is None and self._has_looked.is_set()):
            return no_counters()
        answer: Future[Counters] = Future()
        self._tasks.put(partial(self._answer_energy, answer))
        return answer

    # -- the walking thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            with internal.guard("gpu"):
                self._open_and_walk()
            # Here at the end, without a driver, or when somebody else in this process shut NVML down.
            self._has_looked.set()
            self._work_until(monotonic() + RETRY_S)
        self._walking_ended.set()
        self._work_until(0.0)

    def _open_and_walk(self) -> None:
        self._opening = Asking(("", "nvmlInit", ()), monotonic())
        try:
            library = self._options.open_library()
        except (NvmlError, ReplayError) as error:
            self._failures["nvmlInit", getattr(error, "name", "bad_recording"), ""] += 1
            self._options.say_no_library(error)
            if isinstance(error, ReplayError) or error.code == LIBRARY_NOT_FOUND:
                self._stopping.set()  # nobody installs a driver under a running program
            return
        finally:
            self._opening = None
        self._boundary = boundary = Boundary(library)
        try:
            self._walk_until_shut(boundary)
        finally:
            self._close(boundary)

    def _walk_until_shut(self, boundary: Boundary) -> None:
        next_s = monotonic()
        while not self._stopping.is_set() and not boundary.needs_init:
            with internal.guard("gpu"):
                self._look_around(boundary)
            if self._walker is not None:
                self._walk(self._walker)
            next_s = max(next_s + self._options.interval_s, monotonic())
            self._work_until(next_s)

    def _look_around(self, boundary: Boundary) -> None:
        """Find the devices, once in a while; begin anew with those that are there now, if they are others."""
        if monotonic() - self._looked_s < RETRY_S and not boundary.is_stale:
            return
        self._looked_s, boundary.is_stale = monotonic(), False
        devices, notes = discover(boundary, self._options)
        for note in notes:
            internal.warn_once(f"gpu:{note}", "otelml: %s", note)
        if not devices:
            internal.inform_once("gpu:none", "otelml: NVML shows no GPU that this process is to report")
        if [device.hw_id for device in devices] != (self._walker.hw_ids if self._walker else []):
            self._begin(Walker(boundary, devices, self._memories) if devices else None)
        self._has_looked.set()

    def _begin(self, walker: Walker | None) -> None:
        for listener in self._listeners:
            listener.ask_to_stop()
        self._walker = walker
        handles = (
            [reader.device.handle for reader in walker.readers if not reader.device.is_mig] if walker else []
        )
        if walker is not None and handles:
            listener = Listener(walker.boundary, handles, self._on_xid)
            self._listeners.append(listener)
            listener.start()

    def _walk(self, walker: Walker) -> None:
        for reader in walker.readers:
            reader.hears_xids = bool(self._listeners) and self._listeners[-1].is_listening
        self._hurries = False
        with internal.guard("gpu"):
            self.snapshot = snapshot = walker.walk()
            self._duration.record(snapshot.walk_s)
        self._walked_s = monotonic()

    def _work_until(self, end_s: float) -> None:
        """Do what others have asked for, and what they ask for until it is time for the next walk."""
        late = 0
        while late < _MOST_TASKS:  # a storm of XID errors must not keep walks from being made
            if self._hurries:
                end_s = min(end_s, self._walked_s + HURRY_S)
            left_s = 0.0 if self._stopping.is_set() else end_s - monotonic()
            late += left_s <= 0
            try:
                task = self._tasks.get(timeout=max(left_s, 0.0))
            except queue.Empty:
                return
            with internal.guard("gpu"):
                task()

    def _close(self, boundary: Boundary) -> None:
        if self._stopping.is_set():
            self._walking_ended.set()
        self._walker = None
        with self._lock:
            self._failures.update(boundary.failures())
            self._boundary = None
        for listener in self._listeners:
            listener.ask_to_stop()
        ended = [listener.wait() for listener in self._listeners]
        self._listeners.clear()
        if all(ended):
            with suppress(NvmlError):
                boundary.library.close()
        self._looked_s = float("-inf")

    def _on_xid(self, bus_id: str, code: int) -> None:
        self._tasks.put(partial(self._take_xid, bus_id, code))

    def _take_xid(self, bus_id: str, code: int) -> None:
        if self._walker is not None:
            self._walker.take_xid(bus_id, code)
            self._hurries = True

    def _answer_energy(self, answer: Future[Counters]) -> None:
        walker = self._walker
        answer.set_result(Counters(monotonic(), walker.read_energy() if walker is not None else {}))

    def _notice_slow_opening(self) -> None:
        opening = self._opening
        if opening is not None and not opening.told and monotonic() - opening.since_s > SLOW_S:
            opening.told = True
            self._failures["nvmlInit", "timeout", ""] += 1
            internal.warn_once("gpu:slow:nvmlInit", "otelml: NVML's nvmlInit takes longer than %g s", SLOW_S)
