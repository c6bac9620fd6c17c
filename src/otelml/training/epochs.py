"""Epochs: one is a number on everything written in it, a duration, and the event `epoch_complete` at its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import perf_counter_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any

from otelml import events
from otelml.instruments import internal
from otelml.training import energy
from otelml.training.batches import Count
from otelml.training.loops import Items
from otelml.training.metrics import describe
from otelml.training.progress import Meter
from otelml.training.steps import TRAIN, Steps
from otelml.training.telling import tell

if TYPE_CHECKING:
    from otelml.training.course import Course

_OWN_FIELDS = {
    "loss": ("train_loss", "loss"),
    "accuracy": ("accuracy", "acc", "val_accuracy", "train_accuracy"),
    "learning_rate": ("learning_rate", "lr"),
}


class Epoch:
    """An epoch of a run, from `run.epochs(n)` or `run.epoch()`; as a `with` block it ends with the block.

    Attributes:
        number: which one, from 0.
        total: how many there are to be; None where that is not known.
        samples: samples in its training steps so far.
        duration_s: how long it took; None while it is open.
    """

    def __init__(self, run: Course, number: int, total: int | None = None) -> None:
        self._run = run
        self.number, self.total = number, total
        self.samples = 0
        self.duration_s: float | None = None
        self.energy_joules: float | None = None
        self._start_ns = perf_counter_ns()
        self._energy = energy.start()

    def __index__(self) -> int:
        return self.number

    def __repr__(self) -> str:
        return f"<epoch {self.number}>"

    def steps(
        self,
        loader: Any,
        *,
        total: int | None = None,
        phase: str = TRAIN,
        samples: int | Count | None = None,
        tokens: int | Count | None = None,
        description: str | None = None,
    ) -> Steps:
        """The batches of `loader`, each step timed apart from the wait for its batch.

        Args:
            loader: any iterable, or one for `async for`.
            total: how many batches there are; `len(loader)` where it has one.
            phase: "train", or "eval": such steps do not count in the run's step.
            samples: how many each batch has, or a function of a batch; found out where the batches tell.
            tokens: the same for tokens; the elements of `input_ids`, where batches are mappings that have them.
            description: beside the bar.
        """
        return Steps(
            self._run,
            self,
            loader,
            total=total,
            phase=phase,
            samples=samples,
            tokens=tokens,
            description=description or f"epoch {self.number}{'' if phase == TRAIN else f' {phase}'}",
        )

    def log(self, metrics: Mapping[str, Any]) -> None:
        """As `run.log`."""
        self._run.log(metrics)

    def update(self, metrics: Mapping[str, Any]) -> None:
        """As `run.update`."""
        self._run.update(metrics)

    def __enter__(self) -> Epoch:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        with internal.guard("training"):
            if exc is None:
                self._run.close_epoch(self)
            else:
                self._run.leave_epoch(self, by_exception=True)

    async def __aenter__(self) -> Epoch:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.__exit__(exc_type, exc, tb)

    def stop_clock(self) -> None:
        """It ends now, whenever that is told."""
        if self.duration_s is None:
            self.duration_s = (perf_counter_ns() - self._start_ns) / 1e9
            self.energy_joules = energy.stop(self._energy, energy.EPOCH_WAIT_S)

    def tell(self) -> None:
        """Write `epoch_complete`."""
        metrics = self._run.latest_metrics()
        own = {field: _first_of(metrics, names) for field, names in _OWN_FIELDS.items()}
        position = f"epoch {self.number}" + (f" ({self.number + 1}/{self.total})" if self.total else "")
        note = describe(metrics)
        tell(
            events.epoch_complete,
            self._run.fields(self.number),
            message=f"{position} complete{': ' if note else ''}{note}",
            epoch=self.number,
            duration_seconds=self.duration_s,
            samples=self.samples or None,
            metrics=metrics or None,
            energy_joules=self.energy_joules,
            **own,
        )


def _first_of(metrics: Mapping[str, float], names: tuple[str, ...]) -> float | None:
    return next((metrics[name] for name in names if name in metrics), None)


class Epochs:
    """What `run.epochs(n)` returns: the epochs, once. A `for` loop over them tells how it was left.

    With `next` an epoch lasts to the next one, as by `run.epoch()`.
    """

    def __init__(self, run: Course, total: int, start: int) -> None:
        self._run, self._total, self._next = run, total, start
        self._epoch: Epoch | None = None
        self._is_open = False
        self._meter = Meter(run, "epochs", "epochs", total, run.latest_metrics)
        self._meter.done = start

    def __iter__(self) -> Iterator[Epoch]:
        return Items(self.__next__, self._left)

    def __next__(self) -> Epoch:
        if not self._is_open:
            self._is_open = True
            self._meter.start()
        self._complete()
        if self._next >= self._total:
            self._end()
            raise StopIteration
        self._epoch = self._run.open_epoch(self._next, self._total)
        self._next += 1
        return self._epoch

    def __del__(self) -> None:
        with internal.guard("training"):
            self._meter.stop()

    def _complete(self) -> None:
        """The loop has come back for the next one."""
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            with internal.guard("training"):
                self._run.close_epoch(epoch)
            self._meter.done += 1
            self._meter.tick(perf_counter_ns())

    def _end(self) -> None:
        self._is_open = False
        with internal.guard("training"):
            self._meter.stop()
            self._run.end_training()

    def _left(self, by_exception: bool) -> None:
        """The loop is over, or somebody has left it."""
        if self._is_open:
            self._is_open = False
            epoch, self._epoch = self._epoch, None
            with internal.guard("training"):
                self._meter.stop()
                if epoch is not None:
                    self._run.leave_epoch(epoch, by_exception=by_exception)
                self._run.leave_training(by_exception=by_exception)
