"""The process's GPU plugin: shows the snapshots of its session as metrics, and lives through forks."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from otelml.gpu.energy import Counters, no_counters
from otelml.gpu.session import Options, Session
from otelml.gpu.snapshot import Snapshot
from otelml.instruments import internal, observe, stop_observing, timer
from otelml.instruments.observed import Reading, Source
from otelml.semconv import _generated as names
from otelml.semconv.model import Metric

_OWN = (names.METRIC_ML_GPU_COLLECT_DURATION, names.METRIC_ML_GPU_COLLECT_ERRORS)
GAUGES = tuple(
    metric
    for metric in names.METRICS.values()
    if metric.name.startswith(("hw.", "ml.gpu.")) and metric not in _OWN
)
"""Every metric that shows a part of the snapshot."""


class Plugin:
    """Metrics about GPUs from `start` to `stop`."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._lock = threading.Lock()
        self._session: Session | None = None
        self._is_running = False
        self._sources: list[Source] = []
        self._collecting = threading.local()

    def start(self) -> None:
        """Begin walking, and show what is found."""
        self._is_running = True
        self._show(GAUGES[0], self._first_series)
        for metric in GAUGES[1:]:
            self._show(metric, partial(self._series, metric.name))
        self._show(names.METRIC_ML_GPU_COLLECT_ERRORS, self._errors)
        timer.fork_hooks.append(self._forget_session)
        self.session()

    def stop(self) -> None:
        """Take it all back."""
        for source in self._sources:
            stop_observing(source)
        if self._forget_session in timer.fork_hooks:
            timer.fork_hooks.remove(self._forget_session)
        with self._lock:
            self._is_running = False
            session, self._session = self._session, None
        if session is not None and session.pid == os.getpid():
            session.stop()

    def session(self) -> Session | None:
        """This process' session. A forked child begins its own when it first collects: one that never does, never."""
        with self._lock:
            if self._session is None and self._is_running:
                self._session = Session(self._options)
                self._session.start()
            return self._session

    def current(self) -> Snapshot | None:
        """The last snapshot, while it says something about now."""
        session = self.session()
        return session.current() if session is not None else None

    def read_energy(self) -> Future[Counters]:
        """The energy counters, as soon as they are read."""
        session = self.session()
        return session.read_energy() if session is not None else no_counters()

    def _show(self, metric: Metric, source: Source) -> None:
        # One name may be taken by the program; the others are shown all the same.
        with internal.guard("gpu"):
            observe(metric, source)
            self._sources.append(source)

    def _first_series(self) -> list[Reading]:
        """The first of a collection: it chooses the snapshot, so that all the others show the same moment."""
        self._collecting.snapshot = self.current()
        return self._series(GAUGES[0].name)

    def _series(self, metric: str) -> list[Reading]:
        snapshot = getattr(self._collecting, "snapshot", None) or self.current()
        return snapshot.series(metric) if snapshot is not None else []

    def _errors(self) -> list[Reading]:
        session = self.session()
        counts = session.failures() if session is not None else {}
        return [(count, _error_attributes(*failure)) for failure, count in counts.items()]

    def _forget_session(self) -> None:
        """In a forked child, where the session's threads are not, and its lock may be held."""
        self._lock = threading.Lock()
        self._session = None


def _error_attributes(call: str, reason: str, whom: str) -> Mapping[str, Any]:
    about = {names.HW_ID: whom} if whom.startswith(("GPU-", "MIG-")) else {}
    return {names.ML_GPU_CALL: call, names.ERROR_TYPE: reason, **about}
