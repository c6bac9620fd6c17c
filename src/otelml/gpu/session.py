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

from otelml.gpu.boundary import Boundary, Failure
from otelml.gpu.discovery import discover
from otelml.gpu.energy import Counters
from otelml.gpu.library import Library, NvmlError
from otelml.gpu.listener import Listener
from otelml.gpu.recordings import ReplayError
from otelml.gpu.snapshot import Snapshot
from otelml.gpu.walker import Walker
from otelml.instruments import histogram, internal
from otelml.semconv import _generated as names

_RETRY_S = 30.0


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
        self._boundary: Boundary | None = None
        self._failures: Counter[Failure] = Counter()
        self._walker: Walker | None = None
        self._tasks: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._duration = histogram(names.METRIC_ML_GPU_COLLECT_DURATION).bind()
        self._thread = threading.Thread(target=self._run, name="otelml-gpu", daemon=True)

    def start(self) -> None:
        """Begin, with a first walk at once."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> None:
        """End, and wait for that no longer than `timeout_s`."""
        self._stopping.set()
        self._tasks.put(lambda: None)
        self._thread.join(timeout_s)

    def current(self) -> Snapshot | None:
        """The last snapshot; None before the first one, and when it is too old to say anything about now."""
        snapshot = self.snapshot
        is_current = snapshot is not None and monotonic() - snapshot.taken_s <= self._options.longest_s
        return snapshot if is_current else None

    def failures(self) -> Mapping[Failure, int]:
        """How many NVML calls failed so far, by what and why."""
        boundary = self._boundary
        return self._failures + Counter(boundary.failures() if boundary is not None else {})

    def read_energy(self) -> Future[Counters]:
        """The energy counters, as soon as the thread gets to it."""
        answer: Future[Counters] = Future()
        self._tasks.put(partial(self._answer_energy, answer))
        return answer

    # -- the walking thread

    def _run(self) -> None:
        while not self._stopping.is_set():
            with internal.guard("gpu"):
                self._open_and_walk()
            # Here after the end, or when somebody else in this process shut NVML down.
            self._stopping.wait(_RETRY_S)

    def _open_and_walk(self) -> None:
        try:
            library = self._options.open_library()
        except (NvmlError, ReplayError) as error:
            self._failures["nvmlInit", getattr(error, "name", "bad_recording"), ""] += 1
            self._options.say_no_library(error)
            self._stopping.set()
            return
        self._boundary = boundary = Boundary(library)
        devices, notes = discover(boundary, self._options)
        for note in notes:
            internal.warn_once(f"gpu:{note}", "otelml: %s", note)
        if devices:
            self._walker = Walker(boundary, devices)
            self._listen_and_walk(self._walker)
        else:
            self._stopping.set()
            _close(library)

    def _listen_and_walk(self, walker: Walker) -> None:
        handles = [reader.device.handle for reader in walker.readers if not reader.device.is_mig]
        listener = Listener(walker.boundary, handles, self._on_xid)
        listener.start()
        next_s = monotonic()
        while not self._stopping.is_set() and not walker.boundary.needs_init:
            for reader in walker.readers:
                reader.hears_xids = listener.is_listening
            with internal.guard("gpu"):
                self.snapshot = snapshot = walker.walk()
                self._duration.record(snapshot.walk_s)
            next_s = max(next_s + self._options.interval_s, monotonic())
            self._work_until(next_s)
        self._failures.update(walker.boundary.failures())
        self._boundary = self._walker = None
        if listener.stop():
            _close(walker.boundary.library)

    def _work_until(self, end_s: float) -> None:
        """Do what others ask for, until it is time for the next walk."""
        while not self._stopping.is_set() and (left_s := end_s - monotonic()) > 0:
            try:
                task = self._tasks.get(timeout=left_s)
            except queue.Empty:
                return
            with internal.guard("gpu"):
                task()

    def _on_xid(self, bus_id: str, code: int) -> None:
        self._tasks.put(partial(self._take_xid, bus_id, code))

    def _take_xid(self, bus_id: str, code: int) -> None:
        if self._walker is not None:
            self._walker.take_xid(bus_id, code)
            self.snapshot = self._walker.walk()

    def _answer_energy(self, answer: Future[Counters]) -> None:
        walker = self._walker
        answer.set_result(Counters(monotonic(), walker.read_energy() if walker is not None else {}))


def _close(library: Library) -> None:
    with suppress(NvmlError):
        library.close()
