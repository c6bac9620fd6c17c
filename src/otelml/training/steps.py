"""The steps of an epoch: each timed apart from the wait for its data, with its samples and tokens counted.

A step costs two readings of the clock and four appends; it takes no lock and makes no call into OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from time import perf_counter_ns as _clock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from otelml import instruments
from otelml.instruments import internal
from otelml.semconv import _generated as semconv
from otelml.training.batches import LOOKS, Count, as_count, count_in, samples_of, tokens_of
from otelml.training.loops import AsyncItems
from otelml.training.progress import Meter, length_of

if TYPE_CHECKING:
    from otelml.training.course import Course
    from otelml.training.epochs import Epoch

TRAIN = "train"


class PhaseSeries:
    """The series of one phase, bound once."""

    __slots__ = ("add_samples", "add_steps", "add_tokens", "epoch", "progress", "step_ns", "wait_ns")

    def __init__(self, phase: str) -> None:
        attributes = {semconv.ML_TRAINING_PHASE: phase}
        self.step_ns: Callable[[int], None] = _histogram(semconv.METRIC_ML_TRAINING_STEP_DURATION, attributes)
        self.wait_ns: Callable[[int], None] = _histogram(
            semconv.METRIC_ML_TRAINING_DATA_WAIT_DURATION, attributes
        )
        self.add_steps: Callable[[int], None] = _counter(semconv.METRIC_ML_TRAINING_STEPS, attributes)
        self.add_samples: Callable[[int], None] = _counter(semconv.METRIC_ML_TRAINING_SAMPLES, attributes)
        self.add_tokens: Callable[[int], None] = _counter(semconv.METRIC_ML_TRAINING_TOKENS, attributes)
        self.epoch = instruments.gauge(semconv.METRIC_ML_TRAINING_EPOCH).bind(attributes)
        self.progress = instruments.gauge(semconv.METRIC_ML_TRAINING_PROGRESS).bind(attributes)


def _histogram(spec: Any, attributes: dict[str, str]) -> Any:
    return instruments.histogram(spec).bind(attributes).record_ns


def _counter(spec: Any, attributes: dict[str, str]) -> Any:
    return instruments.counter(spec).bind(attributes).add


class Steps:
    """What `epoch.steps(loader)` returns: the loader's batches, once, with `for` or `async for`.

    Attributes:
        epoch: the one that they belong to.
        done: steps that are done.
        samples, tokens: what they had, of what could be counted.
    """

    def __init__(
        self,
        run: Course,
        epoch: Epoch | None,
        loader: Any,
        *,
        total: int | None,
        phase: str,
        samples: int | Count | None,
        tokens: int | Count | None,
        description: str,
    ) -> None:
        self._run, self.epoch, self._loader, self._phase = run, epoch, loader, phase
        self._count_samples, self._count_tokens = as_count(samples), as_count(tokens)
        self._looks = LOOKS
        self._kept: tuple[int, int, int] = (0, 0, 0)
        self.samples = self.tokens = 0
        total = length_of(loader) if total is None else total
        self._meter = Meter(run, f"{phase} steps", description, total, run.latest_metrics, on_tick=self._keep)

    @property
    def done(self) -> int:
        return self._meter.done

    @property
    def total(self) -> int | None:
        """How many steps there are to be; None where that is not known."""
        return self._meter.total

    def update(self, metrics: Mapping[str, Any]) -> None:
        """As `run.update`."""
        self._run.update(metrics)

    def __iter__(self) -> Iterator[Any]:
        # A step that a `break` or an exception leaves is not counted: nobody knows whether it was done.
        meter, scope, series = self._meter, self._run.scope, self._run.series_of(self._phase)
        wait_ns, step_ns, add_steps = series.wait_ns, series.step_ns, series.add_steps
        number, in_training = self._begin(), self._phase == TRAIN
        try:
            before = _clock()
            for batch in self._loader:
                ready = _clock()
                wait_ns(ready - before)
                if in_training:
                    scope.step = number
                    number += 1
                yield batch
                before = _clock()
                step_ns(before - ready)
                add_steps(1)
                meter.done += 1
                self._count(batch, series)
                if before >= meter.next_ns:
                    meter.tick(before)
                before = _clock()  # counting and drawing are no wait for data
        finally:
            self.finish()

    def __aiter__(self) -> AsyncIterator[Any]:
        meter, scope, series = self._meter, self._run.scope, self._run.series_of(self._phase)
        number, in_training = self._begin(), self._phase == TRAIN
        ready = before = _clock()

        def start_step() -> None:
            nonlocal ready, number
            ready = _clock()
            series.wait_ns(ready - before)
            if in_training:
                scope.step = number
                number += 1

        def end_step(batch: Any) -> None:
            nonlocal before
            now = _clock()
            series.step_ns(now - ready)
            series.add_steps(1)
            meter.done += 1
            self._count(batch, series)
            if now >= meter.next_ns:
                meter.tick(now)
            before = _clock()

        return AsyncItems(self._loader, before=start_step, after=end_step, finish=self.finish)

    def _begin(self) -> int:
        self._meter.start()
        return self._run.enter_phase(self._phase, self)

    def finish(self) -> None:
        """The loop is over, or left; again without harm."""
        with internal.guard("training"):
            self._meter.stop()
            self._run.leave_phase(self)

    def _count(self, batch: Any, series: PhaseSeries) -> None:
        if self._looks:
            self._find_counts(batch)
        if self._count_samples is not None:
            self.samples += count_in(self._count_samples, batch, series.add_samples)
        if self._count_tokens is not None:
            self.tokens += count_in(self._count_tokens, batch, series.add_tokens)

    def _find_counts(self, batch: Any) -> None:
        """From the first batch that tells something; not from an odd one, and not from each of a thousand."""
        self._looks -= 1
        if self._count_samples is None:
            size = getattr(self._loader, "batch_size", None)
            self._count_samples = samples_of(batch, size if type(size) is int else None)
        if self._count_tokens is None:
            self._count_tokens = tokens_of(batch)
        if self._count_samples is not None:
            self._looks = 0

    def _keep(self) -> None:
        """Add to the run's and the epoch's counts what came since the last time."""
        now = (self._meter.done, self.samples, self.tokens)
        done, samples, tokens = (new - old for new, old in zip(now, self._kept, strict=True))
        self._kept = now
        self._run.add_done(self._phase, done, samples, tokens)
        if self.epoch is not None and self._phase == TRAIN:
            self.epoch.samples += samples
        self._run.set_progress(self.epoch, now[0], self.total)


class Step:
    """What `run.step()` returns. As a `with` block it times the step."""

    __slots__ = ("_run", "_start_ns", "number")

    def __init__(self, run: Course, number: int) -> None:
        self._run = run
        self.number = number
        self._start_ns = 0

    def __index__(self) -> int:
        return self.number

    def __enter__(self) -> Step:
        self._start_ns = _clock()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if exc is None:
            self._run.series_of(self._run.phase).step_ns(_clock() - self._start_ns)
