"""How far a run is: its epochs, its steps, the share of the plan that is done."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from time import perf_counter_ns
from typing import Any

from otelml import events
from otelml.instruments import internal
from otelml.training.batches import Count
from otelml.training.epochs import Epoch, Epochs
from otelml.training.journal import Journal, Tags
from otelml.training.lines import Paces, describe_duration
from otelml.training.metrics import Where
from otelml.training.progress import Progress, length_of
from otelml.training.steps import TRAIN, PhaseSeries, Step, Steps
from otelml.training.telling import tell

EVAL = "eval"


class Course(Journal):
    """The part of a run that counts."""

    def __init__(
        self, experiment: str, name: str | None, run_id: str | None, tags: Tags, *, progress: bool
    ) -> None:
        super().__init__(experiment, name, run_id, tags)
        self.shows_progress = progress
        self.paces = Paces()
        self._series: dict[str, PhaseSeries] = {}
        self._phases: list[tuple[Steps, str]] = []
        self._epoch: Epoch | None = None
        self._training_start_ns: int | None = None

    @property
    def phase(self) -> str:
        """What the present steps are for: "eval" within steps of that phase, else "train"."""
        return self._phases[-1][1] if self._phases else TRAIN

    def epochs(self, total: int, *, start: int = 0) -> Iterator[Epoch]:
        """The epochs from `start` to `total` - 1: `for epoch in run.epochs(10):`.

        Writes `training_start`, `epoch_complete` after each, and `training_complete`. What a `break` leaves is complete
        once the run goes on; what an exception leaves is not.
        """
        return Epochs(self, int(total), int(start))

    def epoch(self) -> Epoch:
        """The next epoch: 0, 1, ...; the one before is complete. Lasts to the next, or as a `with` block."""
        return self.set_epoch(0 if self.scope.epoch is None else self.scope.epoch + 1)

    def set_epoch(self, number: int) -> Epoch:
        """It is epoch `number` now; another one before is complete."""
        if self._epoch is not None and self._epoch.number == number:
            return self._epoch
        with internal.guard("training"):
            if self._epoch is not None:
                self.close_epoch(self._epoch)
        return self.open_epoch(int(number), None)

    def step(self, *, samples: int | None = None, tokens: int | None = None) -> Step:
        """The next step: 0, 1, ... `with run.step(samples=32):` also times it. For loops without `epoch.steps`."""
        scope = self.scope
        scope.step = number = 0 if scope.step is None else scope.step + 1
        series = self.series_of(self.phase)
        series.add_steps(1)
        if samples is not None:
            series.add_samples(samples)
        if tokens is not None:
            series.add_tokens(tokens)
        self.add_done(self.phase, 1, samples or 0, tokens or 0)
        return Step(self, number)

    def set_step(self, number: int) -> None:
        """It is step `number` now; those of loops go on after it."""
        with internal.guard("training"):
            self.scope.step = int(number)

    def steps(
        self,
        loader: Any,
        *,
        total: int | None = None,
        phase: str = TRAIN,
        samples: int | Count | None = None,
        tokens: int | Count | None = None,
        description: str = "steps",
    ) -> Steps:
        """As `epoch.steps`, where there are no epochs."""
        return Steps(
            self,
            None,
            loader,
            total=total,
            phase=phase,
            samples=samples,
            tokens=tokens,
            description=description,
        )

    def progress(
        self, iterable: Any = None, *, total: int | None = None, description: str = "progress"
    ) -> Progress:
        """The progress of any loop: `for x in run.progress(files):`, or `with run.progress(total=n) as p: p.update()`.

        On a terminal a bar, elsewhere a line now and then.
        """
        return Progress(
            self, iterable, total=length_of(iterable) if total is None else total, description=description
        )

    # -- for the loops

    def series_of(self, phase: str) -> PhaseSeries:
        """The series of a phase; whatever is not training is evaluation."""
        phase = TRAIN if phase == TRAIN else EVAL
        found = self._series.get(phase)
        if found is None:
            found = self._series[phase] = PhaseSeries(phase)
        return found

    def enter_phase(self, phase: str, loop: Steps) -> int:
        """A loop of steps begins; the number of its first one."""
        with internal.guard("training"):
            self._settle()
        self._phases.append((loop, TRAIN if phase == TRAIN else EVAL))
        return 0 if self.scope.step is None else self.scope.step + 1

    def leave_phase(self, loop: Steps) -> None:
        """It is over."""
        self._phases = [entry for entry in self._phases if entry[0] is not loop]

    def finish_loops(self, epoch: Epoch | None = None) -> None:
        """Loops that somebody left without their end: those of `epoch`, or all."""
        for loop, _ in self._phases[::-1]:
            if epoch is None or loop.epoch is epoch:
                loop.finish()

    def add_done(self, phase: str, steps: int, samples: int, tokens: int) -> None:
        """Count what a loop did in training."""
        if phase == TRAIN:
            self._done["steps"] += steps
            self._done["samples"] += samples
            self._done["tokens"] += tokens

    def set_progress(self, epoch: Epoch | None, done: int, total: int | None) -> None:
        """The share of the planned work that is done, where it is known."""
        if self.phase != TRAIN or not total or not self.scope.is_open:
            return
        share = min(done / total, 1.0)
        if epoch is not None and epoch.total:
            share = min((epoch.number + share) / epoch.total, 1.0)
        self._gauges.set(self.series_of(TRAIN).progress, share)

    def open_epoch(self, number: int, total: int | None) -> Epoch:
        """An epoch begins."""
        epoch = self._epoch = Epoch(self, number, total)
        with internal.guard("training"):
            self._settle()
            self.scope.epoch = number
            self._gauges.set(self.series_of(TRAIN).epoch, number)
            if self._training_start_ns is None:
                self._training_start_ns = perf_counter_ns()
                self._tell_training_start(total)
        return epoch

    def close_epoch(self, epoch: Epoch) -> None:
        """An epoch is complete."""
        if self._stop_epoch(epoch):
            self._tell_epoch(epoch)

    def leave_epoch(self, epoch: Epoch, *, by_exception: bool) -> None:
        """An epoch was left: what comes next shows whether it is complete."""
        if self._stop_epoch(epoch):
            self._postpone(partial(self._tell_epoch, epoch), by_exception=by_exception)

    def _stop_epoch(self, epoch: Epoch) -> bool:
        """It ends now; False if that was told before, or another one has begun."""
        if self._epoch is not epoch:
            return False
        self._epoch = None
        self.finish_loops(epoch)
        epoch.stop_clock()
        return True

    def _tell_epoch(self, epoch: Epoch) -> None:
        self._done["epochs"] += 1
        epoch.tell()

    def end_training(self) -> None:
        """The epochs are over."""
        if self._training_start_ns is not None:
            self._tell_training_complete(self._stop_training())

    def leave_training(self, *, by_exception: bool) -> None:
        """They were left: as `leave_epoch`."""
        if self._training_start_ns is not None:
            complete = partial(self._tell_training_complete, self._stop_training())
            self._postpone(complete, by_exception=by_exception)

    def _stop_training(self) -> float:
        """It ends now; how long it took."""
        start_ns, self._training_start_ns = self._training_start_ns or 0, None
        return (perf_counter_ns() - start_ns) / 1e9

    def _where_at(self, step: int) -> Where:
        if not self._phases:
            self.scope.step = step
        return super()._where_at(step)

    def renew_lock(self) -> None:
        """In a forked child: a thread that the fork left behind may hold the old one."""
        self._metrics.renew_lock()

    def _tell_training_start(self, total: int | None) -> None:
        params = self._params
        tell(
            events.training_start,
            self.fields(),
            message="training starts",
            model=_text(params.get("model", params.get("model_name"))),
            dataset=_text(params.get("dataset")),
            config_hash=events.config_hash(params) if params else None,
            seed=_integer(params.get("seed", params.get("random_seed"))),
            batch_size=_integer(params.get("batch_size")),
            total_epochs=total,
        )

    def _tell_training_complete(self, duration_s: float) -> None:
        latest = self.latest_metrics()
        tell(
            events.training_complete,
            self.fields(),
            message=f"training complete after {describe_duration(duration_s)}",
            total_epochs=self._done["epochs"] or None,
            final_accuracy=latest.get("accuracy", latest.get("val_accuracy")),
            duration_seconds=duration_s,
            metrics_summary=self._metrics.summary() or None,
        )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    return value if type(value) is int else None
