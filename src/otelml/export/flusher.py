"""Threads made ahead of time that flush with a deadline.

From Python 3.12 on no thread can be started once the interpreter exits, and a signal handler must not flush itself:
it may have interrupted a frame that holds a lock that flushing takes. So both hand the work to these and wait.
"""

from __future__ import annotations

import threading
from queue import SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING

from otelml.instruments import internal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Job = Callable[[float], object]
    """Takes the seconds that are left; done unless it returns False or raises."""


class Flusher:
    """Runs stages of jobs: the jobs of a stage at once, each on its own daemon thread, stages one after another.

    A job that hangs holds its own thread only; later requests for it end at their deadlines.
    """

    def __init__(self, *stages: Mapping[str, Job]) -> None:
        self._stages: Sequence[Sequence[_Worker]] = [
            [_Worker(name, job) for name, job in stage.items()] for stage in stages
        ]

    def flush(self, timeout_s: float) -> tuple[str, ...]:
        """Run everything; the names of the jobs that failed or were not done in time.

        Takes no lock that another call holds, so a signal handler may call it whatever it interrupted.
        """
        deadline = monotonic() + timeout_s
        unfinished: list[str] = []
        for index, workers in enumerate(self._stages):
            left = deadline - monotonic()
            # The stages to come keep half of the time, however long this one would take.
            share = left if index == len(self._stages) - 1 else left / 2
            unfinished += _run(workers, share)
        return tuple(unfinished)

    def stop(self) -> None:
        """End the threads when they have done what they are at. Does not wait."""
        for workers in self._stages:
            for worker in workers:
                worker.stop()


def _run(workers: Sequence[_Worker], timeout_s: float) -> list[str]:
    request = _Request(len(workers), timeout_s)
    for worker in workers:
        worker.ask(request)
    request.all_settled.wait(max(0.0, timeout_s))
    return [worker.name for worker in workers if worker.name not in request.done]


class _Request:
    """One round of a stage. Made anew for each, so that no two callers ever share a lock."""

    def __init__(self, jobs: int, timeout_s: float) -> None:
        self.deadline = monotonic() + timeout_s
        self.done: set[str] = set()
        self.all_settled = threading.Event()
        self._open = list(range(jobs))
        if not jobs:
            self.all_settled.set()

    def settle(self, name: str, *, done: bool) -> None:
        if done:
            self.done.add(name)
        self._open.pop()
        if not self._open:
            self.all_settled.set()


class _Worker:
    def __init__(self, name: str, job: Job) -> None:
        self.name = name
        self._job = job
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()  # its `put` may interrupt itself
        threading.Thread(target=self._run, name=f"otelml-flush-{name}", daemon=True).start()

    def ask(self, request: _Request) -> None:
        self._requests.put(request)

    def stop(self) -> None:
        self._requests.put(None)

    def _run(self) -> None:
        while (request := self._requests.get()) is not None:
            done = False
            try:
                with internal.guard(f"flush.{self.name}"):
                    done = self._job(max(0.0, request.deadline - monotonic())) is not False
            finally:
                request.settle(self.name, done=done)
