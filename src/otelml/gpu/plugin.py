"""The process's GPU plugin: shows the snapshots of its session as metrics, and lives through forks."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any

from otelml.gpu.energy import Counters
from otelml.gpu.session import Options, Session
from otelml.gpu.snapshot import Snapshot
from otelml.instruments import observe, stop_observing, timer
from otelml.instruments.observed import Reading, Source
from otelml.semconv import _generated as names

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
        self._sources: list[Source] = []

    def start(self) -> None:
        """Begin walking, and show what is found."""
        self._sources = [partial(self._series, metric.name) for metric in GAUGES]
        for metric, source in zip(GAUGES, self._sources, strict=True):
            observe(metric, source)
        self._sources.append(self._errors)
        observe(names.METRIC_ML_GPU_COLLECT_ERRORS, self._errors)
        timer.fork_hooks.append(self._forget_session)
        self.session()

    def stop(self) -> None:
        """Take it all back."""
        for source in self._sources:
            stop_observing(source)
        if self._forget_session in timer.fork_hooks:
            timer.fork_hooks.remove(self._forget_session)
        session, self._session = self._session, None
        if session is not None and session.pid == os.getpid():
            session.stop()

    def session(self) -> Session:
        """This process' session. A forked child begins its own when it first collects: one that never does, never."""
        with self._lock:
            if self._session is None:
                self._session = Session(self._options)
                self._session.start()
            return self._session

    def current(self) -> Snapshot | None:
        """The last snapshot, while it says something about now."""
        return self.session().current()

    def read_energy(self) -> Future[Counters]:
        """The energy counters, as soon as they are read."""
        return self.session().read_energy()

    def _series(self, metric: str) -> list[Reading]:
        snapshot = self.current()
        return snapshot.series(metric) if snapshot is not None else []

    def _errors(self) -> list[Reading]:
        return [
            (count, _error_attributes(call, reason, hw_id))
            for (call, reason, hw_id), count in self.session().failures().items()
        ]

    def _forget_session(self) -> None:
        """In a forked child, where the session's threads are not, and its lock may be held."""
        self._lock = threading.Lock()
        self._session = None


def _error_attributes(call: str, reason: str, hw_id: str) -> Mapping[str, Any]:
    about = {names.HW_ID: hw_id} if hw_id else {}
    return {names.ML_GPU_CALL: call, names.ERROR_TYPE: reason, **about}
