"""A run: a span and a context, from its start to its end, whatever ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from time import perf_counter_ns
from types import TracebackType
from typing import Any

from otelml import context, events
from otelml.instruments import internal
from otelml.logs.values import exception_message
from otelml.stages import failures
from otelml.stages.spans import error_type
from otelml.training import ending, energy, identity
from otelml.training.course import Course
from otelml.training.lines import describe_duration
from otelml.training.spans import RunSpan
from otelml.training.status import COMPLETED, FAILED, STATUSES, status_of
from otelml.training.telling import tell

RUNNING = "running"


class Run(Course):
    """What `otelml.run(...)` returns; see there.

    Attributes:
        experiment, name: as given.
        id: of the run, once it is started.
        status: "running" while it is open; then "completed", "failed" or "killed"; None before.
        scope: what its log records and spans carry.
        pid: of the process that started it.
    """

    def __init__(
        self,
        experiment: str,
        name: str | None = None,
        *,
        params: Any = None,
        tags: Mapping[str, Any] | Iterable[str] | None = None,
        run_id: str | None = None,
        progress: bool = True,
    ) -> None:
        super().__init__(experiment, name, run_id, tags, progress=progress)
        self.pid = os.getpid()
        self._resumes = run_id is not None
        self._given_params = params
        self._handled_at_start = id(None)
        self._token: context.Token | None = None
        self._span: RunSpan | None = None
        self._energy: Any = None

    def start(self) -> Run:
        """Start it outside of a `with` block; `end()` ends it, or the end of the program does. Returns it."""
        self._start(in_block=False)
        return self

    def end(
        self,
        status: str | None = None,
        *,
        error: BaseException | None = None,
        wait_s: float = energy.RUN_WAIT_S,
    ) -> None:
        """End it; again without harm.

        Args:
            status: "completed", "failed" or "killed"; what `error` makes of it when not given.
            error: the exception that ended it; when neither is given, one that a `finally` or `except` around this
                call has to do with.
            wait_s: how long to wait for its energy.
        """
        token, self._token = self._token, None
        if token is None:
            return
        try:
            # A forked child has a copy of the run; the run itself goes on in the parent.
            if self.pid == os.getpid():
                with internal.guard("training"):
                    if status is None and error is None:
                        error = self._exception_in_hand()
                    self._end(_known_status(status, error), error, wait_s)
        finally:
            with internal.guard("training"):
                self._gauges.close()
                context.pop(token)
                ending.closed(self)

    def __enter__(self) -> Run:
        self._start(in_block=True)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.end(COMPLETED if exc is None else None, error=exc)

    async def __aenter__(self) -> Run:
        return self.__enter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(exc_type, exc, tb)

    def _start(self, *, in_block: bool) -> None:
        if self._token is not None:
            internal.count("errors", "training", "started_twice")
            return
        with internal.guard("training"):
            # Started once more, it goes on.
            self._resumes = self._resumes or self._duration_s is not None
            self._duration_s, self.pid, self.status = None, os.getpid(), RUNNING
            self.scope.run_id = self.scope.run_id or identity.new_run_id()
            # What was left undecided when it ended before, stays so.
            self._postponed, self._training_start_ns = [], None
            self._start_ns = perf_counter_ns()
            # Its id: the exception itself would keep alive what its frames hold.
            self._handled_at_start = id(sys.exc_info()[1])
            self._token = context.push(self.scope)
            self._gauges.is_open = True
            self._span = RunSpan(self.experiment, self.name, self.id)
            self._energy = energy.start()
            ending.opened(self, in_block=in_block)
            self._tell_start()

    def _exception_in_hand(self) -> BaseException | None:
        """The exception that is being handled, unless that was so when the run was started."""
        error = sys.exc_info()[1]
        return None if id(error) == self._handled_at_start else error

    def _tell_start(self) -> None:
        above = self.scope.above
        while above is not None and not above.is_open:
            above = above.above
        tell(
            events.run_start,
            self.fields(),
            message=f"run {self.name or self.id} of {self.experiment} starts",
            experiment=self.experiment,
            run_name=self.name,
            tags=self._tags or None,
            parent_run_id=above.run_id if above is not None else None,
            resumed=self._resumes,
        )
        if self._given_params is not None:
            self._add_params(self._given_params)

    def _end(self, status: str, error: BaseException | None, wait_s: float) -> None:
        if wait_s > ending.KILLED_WAIT_S:
            if self._readings:
                internal.run_deferred()  # what lives on a device is waited for now
            self.finish_loops()
        self._close_all(complete=status == COMPLETED, by_exception=error is not None)
        self._joules = energy.stop(self._energy, wait_s)
        self._duration_s = (perf_counter_ns() - self._start_ns) / 1e9
        self.status = status
        error = None if status == COMPLETED else error
        if status == FAILED and failures.listeners:
            self._tell_failure(error)
        self._tell_end(status, error)
        if self._span is not None:
            self._span.end(status, error)

    def _tell_failure(self, error: BaseException | None) -> None:
        """Tell of a run that failed; where the program says so itself, what it is handling just now is the reason."""
        if error is None and ending.ends_now:
            return  # by `sys.exit(1)`: a way to end, of which everything has been said
        error = error or self._exception_in_hand()
        if self._span is not None:
            failures.tell(f"run {self.experiment}", error, self._span.identity, {}, self._span.span)

    def _close_all(self, *, complete: bool, by_exception: bool) -> None:
        """What is still open or undecided is complete if the run is."""
        if complete:
            self._settle(by_exception=by_exception)
            if self._epoch is not None:
                self.close_epoch(self._epoch)
            self.end_training()
        self._epoch, self._postponed, self._phases = None, [], []

    def _tell_end(self, status: str, error: BaseException | None) -> None:
        took = describe_duration(self._duration_s or 0)
        tell(
            events.run_end,
            self.fields(),
            message=f"run {self.name or self.id} of {self.experiment} {status} after {took}",
            status=status,
            duration_seconds=self._duration_s,
            final_metrics=self.latest_metrics() or None,
            error_type=error_type(error) if error is not None else None,
            error_message=(events.mask(exception_message(error)) or None) if error is not None else None,
            energy_joules=self._joules,
        )


def _known_status(status: str | None, error: BaseException | None) -> str:
    if status is None:
        return status_of(error)
    if status in STATUSES:
        return status
    internal.count("errors", "training", "unknown_status")
    internal.warn_once(
        f"training:status:{status}",
        "otelml: a run ends %s, not %r; it is taken for failed",
        " or ".join(STATUSES),
        status,
    )
    return FAILED
