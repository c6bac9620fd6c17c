"""Energy between two points of a program, from the devices' own counters.

A reading takes about 3 ms a GPU; it is made on the plugin's thread, so that it costs the program nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from time import monotonic
from types import TracebackType

_WAIT_S = 1.0


@dataclass(frozen=True, slots=True)
class Counters:
    """The energy counters at `taken_s` (monotonic), in J by `hw.id`; None where unknown."""

    taken_s: float
    joules: Mapping[str, float | None]


Request = Callable[[], "Future[Counters]"]


class EnergyMeter:
    """Measures from its making to `stop`, or the end of its `with` block.

    Attributes:
        joules: energy used by this process's GPUs; None before the end, and where a GPU does not tell.
        by_gpu: the same by `hw.id`, of those that tell.
    """

    def __init__(self, request: Request) -> None:
        self.joules: float | None = None
        self.by_gpu: dict[str, float] = {}
        self._request = request
        self._started_s, self._first = monotonic(), request()

    def __enter__(self) -> EnergyMeter:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, timeout_s: float = _WAIT_S) -> float | None:
        """Read the counters again; the joules since the start, or None where they are not known within `timeout_s`."""
        stopped_s, last = monotonic(), self._request()
        try:
            after = last.result(timeout_s)
            before = self._first.result(0)
        except Exception:  # noqa: BLE001 - no plugin, no GPU, a driver that hangs: unknown, whatever the reason
            return None
        late_s = max(before.taken_s - self._started_s, after.taken_s - stopped_s)
        # A counter read late is about another time than was asked for.
        if late_s > max(_WAIT_S, (stopped_s - self._started_s) / 100):
            return None
        self._compare(before.joules, after.joules)
        return self.joules

    def _compare(self, before: Mapping[str, float | None], after: Mapping[str, float | None]) -> None:
        self.by_gpu = {
            hw_id: last - first
            for hw_id, last in after.items()
            if last is not None and (first := before.get(hw_id)) is not None and last >= first
        }
        is_known = bool(after) and before.keys() == after.keys() == self.by_gpu.keys()
        self.joules = sum(self.by_gpu.values()) if is_known else None


def no_counters() -> Future[Counters]:
    """What there is to read without a plugin."""
    answer: Future[Counters] = Future()
    answer.set_result(Counters(monotonic(), {}))
    return answer
