"""The progress of a loop: what is done, how fast, what is left; as a bar, as lines, or only as a gauge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from otelml.instruments import internal
from otelml.training import bars
from otelml.training.lines import LineTrack
from otelml.training.loops import AsyncItems

if TYPE_CHECKING:
    from otelml.training.course import Course

PERIOD_NS = 250_000_000
"""Between two looks at the progress of a loop: what a bar costs is paid four times a second."""


class Track(Protocol):
    """How progress is shown."""

    def show(self, done: int, elapsed_s: float, metrics: Mapping[str, Any], now_ns: int) -> None:
        """So much is done."""

    def close(self, done: int, elapsed_s: float, metrics: Mapping[str, Any], now_ns: int) -> None:
        """The loop is over."""


def open_track(run: Course, kind: str, description: str, total: int | None, *, first: int) -> Track | None:
    """A bar where there is a terminal, lines where there is none; None where nothing is to be shown."""
    if not run.shows_progress or bars.is_quiet_rank():
        return None
    with internal.guard("training"):
        if bars.are_wanted():
            return bars.BarTrack(description, total, first)
    return LineTrack(run.paces, kind, description, total=total, first=first, fields=run.fields())


class Meter:
    """Counts what is done in one loop, and shows it from time to time."""

    __slots__ = (
        "_kind",
        "_metrics",
        "_on_tick",
        "_run",
        "_start_ns",
        "_track",
        "description",
        "done",
        "next_ns",
        "total",
    )

    def __init__(
        self,
        run: Course,
        kind: str,
        description: str,
        total: int | None,
        metrics: Callable[[], Mapping[str, Any]],
        *,
        on_tick: Callable[[], object] | None = None,
    ) -> None:
        self._run, self._kind = run, kind
        self.description, self.total, self.done = description, total, 0
        self._metrics, self._on_tick = metrics, on_tick
        self._track: Track | None = None
        self._start_ns = perf_counter_ns()
        self.next_ns = 0

    def start(self) -> None:
        """The loop begins."""
        self._start_ns = perf_counter_ns()
        self._track = open_track(self._run, self._kind, self.description, self.total, first=self.done)

    def tick(self, now_ns: int) -> None:
        """Called by the loop when `next_ns` is reached."""
        self.next_ns = now_ns + PERIOD_NS
        with internal.guard("training"):
            if self._on_tick is not None:
                self._on_tick()
            if self._track is not None:
                self._track.show(self.done, (now_ns - self._start_ns) / 1e9, self._metrics(), now_ns)

    def stop(self) -> None:
        """The loop is over; again without harm."""
        track, self._track = self._track, None
        now_ns = perf_counter_ns()
        with internal.guard("training"):
            if self._on_tick is not None:
                self._on_tick()
            if track is not None:
                track.close(self.done, (now_ns - self._start_ns) / 1e9, self._metrics(), now_ns)


class Progress:
    """What `run.progress(...)` returns: `for item in ...`, `async for`, or a `with` block and `update`."""

    def __init__(self, run: Course, iterable: Any, *, total: int | None, description: str) -> None:
        self._run = run
        self._iterable = iterable
        self._latest: dict[str, Any] = {}
        self._meter = Meter(run, description, description, total, lambda: self._latest)

    @property
    def done(self) -> int:
        """How much is done."""
        return self._meter.done

    @property
    def total(self) -> int | None:
        """How much there is to do; None where that is not known."""
        return self._meter.total

    def update(self, n: int = 1, metrics: Mapping[str, Any] | None = None) -> None:
        """`n` more are done; `metrics` are shown beside them, and become gauges as by `run.update`."""
        meter = self._meter
        with internal.guard("training"):
            meter.done += int(n)
            if metrics:
                self._latest.update(metrics)
                self._run.update(metrics)
        now_ns = perf_counter_ns()
        if now_ns >= meter.next_ns:
            meter.tick(now_ns)

    def __enter__(self) -> Progress:
        with internal.guard("training"):
            self._meter.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._meter.stop()

    async def __aenter__(self) -> Progress:
        return self.__enter__()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(exc_type, exc, tb)

    def __iter__(self) -> Iterator[Any]:
        with self:
            for item in self._iterable:
                yield item
                self.update()

    def __aiter__(self) -> AsyncIterator[Any]:
        self.__enter__()
        return AsyncItems(self._iterable, before=int, after=lambda _: self.update(), finish=self._meter.stop)


def length_of(iterable: Any) -> int | None:
    """`len(iterable)` where it has one."""
    try:
        return len(iterable)
    except Exception:  # noqa: BLE001 - a loader without a length, or one whose length raises: not known
        return None
