"""Epochs and steps: what is timed, counted and numbered, and what is left out when a loop is left."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from otelml import testing
from otelml.instruments import internal
from otelml.training import run
from otelml.training.batches import samples_of, tokens_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TRAIN, EVAL = {"ml.training.phase": "train"}, {"ml.training.phase": "eval"}


def events_of(telemetry: testing.Capture, *names: str) -> list[str]:
    """The names of the events among `names`, in order."""
    told = [(data.log_record.event_name or "").removeprefix("ml.") for data in telemetry.logs]
    return [name for name in told if name in names]


def fields_of(telemetry: testing.Capture, name: str) -> list[dict[str, Any]]:
    """The fields of each event of that name, without those of the run."""
    return [
        {
            key: value
            for key, value in data.log_record.attributes.items()
            if not key.startswith(("ml.", "code."))
        }
        for data in telemetry.logs
        if data.log_record.event_name == f"ml.{name}"
    ]


def test_steps_are_timed_apart_from_the_wait_for_data() -> None:
    """A slow loader is in one histogram, a slow step in the other, each as long as it really took."""

    def slow_loader() -> Iterator[int]:
        for item in range(3):
            time.sleep(0.05)
            yield item

    with testing.capture() as telemetry, run("a") as active:
        for epoch in active.epochs(1):
            for _ in epoch.steps(slow_loader()):
                time.sleep(0.01)
        wait = telemetry.point("ml.training.data.wait.duration", TRAIN)
        step = telemetry.point("ml.training.step.duration", TRAIN)
        steps = telemetry.value("ml.training.steps", TRAIN)
        telemetry.assert_conforms()
    assert (wait.count, step.count, steps) == (3, 3, 3)
    assert wait.sum >= 0.15
    assert step.sum >= 0.03
    assert wait.min >= 0.05
    assert step.min >= 0.01


def test_steps_go_on_over_epochs_and_evaluation_does_not_count() -> None:
    """Step and epoch on the log lines of each batch; steps of the phase eval leave the step where it is."""
    log = logging.getLogger("app")
    with testing.capture() as telemetry, run("a") as active:
        for epoch in active.epochs(2):
            for _ in epoch.steps([1, 2]):
                log.warning("train")
            for _ in epoch.steps([1], phase="eval"):
                log.warning("eval")
            assert int(epoch.__index__()) == epoch.number
        assert telemetry.value("ml.training.steps", TRAIN) == 4
        assert telemetry.value("ml.training.steps", EVAL) == 2
    seen = [
        (
            d.log_record.body,
            d.log_record.attributes["ml.training.epoch"],
            d.log_record.attributes["ml.training.step"],
        )
        for d in telemetry.logs
        if not d.log_record.event_name
    ]
    assert seen == [
        *[("train", 0, 0), ("train", 0, 1), ("eval", 0, 1)],
        *[("train", 1, 2), ("train", 1, 3), ("eval", 1, 3)],
    ]
    assert active.summary()["steps"] == 4


def test_the_events_of_a_training() -> None:
    """One at the start, one an epoch with what was latest in it, one at the end; the parameters are in the first."""
    params = {"model": "mlp", "dataset": "digits", "batch_size": 5, "seed": 1}
    with testing.capture() as telemetry:
        with run("a", params=params) as active:
            for epoch in active.epochs(2):
                for batch in epoch.steps([np.zeros((5, 2))] * 2):
                    active.update({"loss": 1.0 / (1 + epoch.number), "lr": 0.1, "n": len(batch)})
                active.log({"accuracy": 0.5})
        telemetry.assert_conforms()
    assert events_of(telemetry, "training_start", "epoch_complete", "training_complete", "run_end") == [
        *("training_start", "epoch_complete", "epoch_complete", "training_complete", "run_end")
    ]
    [start] = fields_of(telemetry, "training_start")
    assert len(start.pop("config_hash")) == 12
    assert start == {"model": "mlp", "dataset": "digits", "seed": 1, "batch_size": 5, "total_epochs": 2}
    epochs = fields_of(telemetry, "epoch_complete")
    for epoch in epochs:
        assert epoch.pop("samples_per_second") == pytest.approx(10 / epoch.pop("duration_seconds"))
    assert epochs == [
        {
            "epoch": number,
            "loss": loss,
            "accuracy": 0.5,
            "learning_rate": 0.1,
            "samples": 10,
            "metrics": {"loss": loss, "lr": 0.1, "n": 5, "accuracy": 0.5},
        }
        for number, loss in ((0, 1.0), (1, 0.5))
    ]
    [complete] = fields_of(telemetry, "training_complete")
    assert (complete["total_epochs"], complete["final_accuracy"]) == (2, 0.5)
    assert complete["metrics_summary"]["loss"] == {
        "count": 4,
        "last": 0.5,
        "min": 0.5,
        "max": 1.0,
        "mean": 0.75,
    }


def test_a_loop_that_is_left_by_a_break_is_complete_if_the_run_goes_on() -> None:
    """Early stopping: the epoch and the training are over; what was not finished is not counted as a step."""
    with testing.capture() as telemetry, run("a") as active:
        for epoch in active.epochs(10):
            for batch in epoch.steps(range(100)):
                if batch == 2:
                    break
            if epoch.number == 1:
                break
        active.log({"loss": 1.0})
        steps = telemetry.value("ml.training.steps", TRAIN)
    assert steps == 4
    assert events_of(telemetry, "epoch_complete", "training_complete", "run_metrics") == [
        *("epoch_complete", "epoch_complete", "training_complete", "run_metrics")
    ]
    assert fields_of(telemetry, "training_complete")[0]["total_epochs"] == 2


def test_a_loop_that_an_exception_ends_is_not_complete() -> None:
    """Neither the epoch nor the training; the exception goes on."""
    with testing.capture() as telemetry, pytest.raises(ValueError, match="bad"), run("a") as active:
        for epoch in active.epochs(3):
            for batch in epoch.steps(range(5)):
                if epoch.number == 1 and batch == 2:
                    raise ValueError("bad")
    assert events_of(telemetry, "epoch_complete", "training_complete", "run_end") == [
        "epoch_complete",
        "run_end",
    ]
    assert active.summary()["epochs"] == 1


def test_errors_of_the_loader_are_the_programs() -> None:
    """They come out of the loop as they are, and steps before them count."""

    def loader() -> Iterator[int]:
        yield 1
        raise OSError("disk")

    with testing.capture() as telemetry, run("a") as active:
        with pytest.raises(OSError, match="disk"):
            for _ in active.steps(loader()):
                pass
        assert telemetry.value("ml.training.steps", TRAIN) == 1


def test_loops_by_hand() -> None:
    """`epoch()`, `set_epoch`, `step()` and `set_step` number and count like the iterators; `with` times a step."""
    with testing.capture() as telemetry, run("a") as active:
        for _ in range(2):
            active.epoch()
            for _ in range(2):
                with active.step(samples=8, tokens=16) as step:
                    time.sleep(0.01)
        assert (step.number, active.scope.epoch) == (3, 1)
        active.set_step(100)
        assert active.step().number == 101
        with active.set_epoch(7) as epoch:
            assert active.scope.epoch == 7
        assert epoch.duration_s > 0
        values = [
            telemetry.value(f"ml.training.{name}", TRAIN) for name in ("steps", "samples", "tokens", "epoch")
        ]
        duration = telemetry.point("ml.training.step.duration", TRAIN)
        telemetry.assert_conforms()
    assert values == [5, 32, 64, 7]
    assert (duration.count, duration.sum >= 0.04) == (4, True)
    assert [fields["epoch"] for fields in fields_of(telemetry, "epoch_complete")] == [0, 1, 7]
    assert events_of(telemetry, "training_start", "training_complete").count("training_start") == 1


def test_a_resumed_run_goes_on_where_it_was() -> None:
    """Epochs from `start`, steps after the one that was set."""
    with testing.capture(), run("a", run_id="old") as active:
        active.set_step(99)
        seen = [
            (epoch.number, active.scope.step)
            for epoch in active.epochs(4, start=2)
            for _ in epoch.steps([1, 2])
        ]
    assert seen == [(2, 100), (2, 101), (3, 102), (3, 103)]


def test_asynchronous_loaders() -> None:
    """`async for` times and counts the same."""

    async def loader() -> AsyncIterator[Any]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield np.zeros((4, 2))

    async def train() -> None:
        async with run("a") as active:
            for epoch in active.epochs(1):
                async for _ in epoch.steps(loader(), total=3):
                    pass
            async for _ in active.progress(loader(), total=3):
                pass

    with testing.capture() as telemetry:
        asyncio.run(train())
        assert telemetry.value("ml.training.steps", TRAIN) == 3
        assert telemetry.value("ml.training.samples", TRAIN) == 12
        assert telemetry.value("ml.training.data.wait.duration", TRAIN) == 3


def test_the_progress_is_the_share_of_all_epochs_and_gone_after_the_run() -> None:
    """Half of the second of four epochs is 3/8; a run that is over has no epoch and no progress."""
    with testing.capture() as telemetry:
        with run("a") as active:
            for epoch in active.epochs(4):
                for _ in epoch.steps(iter([1]), total=2):
                    pass
                if epoch.number == 1:
                    assert telemetry.value("ml.training.progress", TRAIN) == 3 / 8
                    assert telemetry.value("ml.training.epoch", TRAIN) == 1
        assert telemetry.point("ml.training.progress", TRAIN) is None
        assert telemetry.point("ml.training.epoch", TRAIN) is None
        telemetry.assert_conforms()


x, y = np.zeros((32, 8)), np.zeros(32)


@pytest.mark.parametrize(
    ("batch", "batch_size", "samples"),
    [
        (x, None, 32),
        ((x, y), None, 32),
        ([x, y], None, 32),
        ({"pixels": x, "label": y}, None, 32),
        ((x, x), None, 32),
        ([x, x], None, None),
        ([x, x], 32, 32),
        ([x, x], 2, 2),
        ([np.zeros((3, 8, 8))] * 4, 4, 4),
        ([np.zeros((3, 8, 8))] * 4, None, None),
        (["a", "b"], 2, 2),
        (["a", "b"], None, None),
        ((x, np.zeros((31,))), None, None),
        ((x[:20], y[:20]), 32, 20),
        ({"pixels": x[:20], "label": y[:20]}, 32, 20),
        ([x[:20], x[:20]], 32, None),
        ((np.zeros((3, 224, 224)), 7), None, None),
        ((np.zeros((3, 224, 224)), np.int64(7)), None, None),
        ({"image": np.zeros((3, 224, 224)), "label": 7}, None, None),
        (np.float64(3), None, None),
        (7, None, None),
        (None, None, None),
        ({}, None, None),
    ],
)
def test_samples_are_counted_where_a_batch_leaves_no_doubt(
    batch: Any, batch_size: int | None, samples: Any
) -> None:
    """A number that may be wrong is none."""
    count = samples_of(batch, batch_size)
    assert (None if count is None else count(batch)) == samples


def test_tokens_are_the_elements_of_input_ids() -> None:
    """Of mappings that have them."""
    batch = {"input_ids": np.zeros((4, 16), int)}
    count = tokens_of(batch)
    assert count is not None
    assert count(batch) == 64
    assert tokens_of((x, y)) is None
    assert tokens_of({"labels": y}) is None


def test_the_last_batch_counts_as_many_as_it_has() -> None:
    """Ten samples, four at a time, of a loader that says so."""

    class Loader:
        batch_size = 4

        def __iter__(self) -> Iterator[Any]:
            yield from (np.zeros((n, 2)) for n in (4, 4, 2))

        def __len__(self) -> int:
            return 3

    with testing.capture() as telemetry, run("a") as active:
        steps = active.steps(Loader())
        assert steps.total == 3
        for _ in steps:
            pass
        assert (steps.done, steps.samples) == (3, 10)
        assert telemetry.value("ml.training.samples", TRAIN) == 10


def test_a_count_of_the_users_that_fails_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch of it is counted as dropped and the first said; the loop goes on."""
    monkeypatch.setattr(internal, "raise_errors", False)
    with testing.capture() as telemetry, run("a") as active:
        assert list(active.steps([1, 2], samples=lambda batch: batch["x"])) == [1, 2]
        assert telemetry.value("ml.training.samples", TRAIN) is None
        assert telemetry.value("ml.training.steps", TRAIN) == 2
    assert internal.totals()["dropped", "training", "batch_not_counted"] == 2


def test_an_odd_batch_is_left_out_and_the_others_counted() -> None:
    """Wherever it comes; numbers of numpy are numbers."""
    with testing.capture() as telemetry, run("a") as active:
        steps = active.steps([None, x, None, x])
        list(steps)
        assert steps.samples == 64
        counted = active.steps([1, 2], samples=np.int64, tokens=np.float32)
        list(counted)
        assert telemetry.value("ml.training.samples", TRAIN) == 67
    assert [(type(value), value) for value in (counted.samples, counted.tokens)] == [(int, 3), (int, 3)]
    assert active.summary()["samples"] == 67
    assert internal.totals()["dropped", "training", "batch_not_counted"] == 1


def test_a_count_on_a_device_is_not_read() -> None:
    """Reading it would make the training wait."""

    class Number:
        shape, device = (), "cuda:0"

        def __int__(self) -> int:
            raise AssertionError("read")

    with testing.capture() as telemetry, run("a") as active:
        list(active.steps([1], samples=lambda _: Number()))
        assert telemetry.value("ml.training.samples", TRAIN) is None


def test_counting_is_no_wait_for_data() -> None:
    """A function of the user's that takes its time is in neither histogram."""

    def slow(batch: int) -> int:
        time.sleep(0.05)
        return batch

    async def loader() -> AsyncIterator[int]:
        for item in range(3):
            yield item

    async def consume(active: Any) -> None:
        async for _ in active.steps(loader(), samples=slow):
            pass

    with testing.capture() as telemetry, run("a") as active:
        list(active.steps([1, 2, 3], samples=slow))
        asyncio.run(consume(active))
        wait = telemetry.point("ml.training.data.wait.duration", TRAIN)
        step = telemetry.point("ml.training.step.duration", TRAIN)
    assert (wait.count, step.count) == (6, 6)
    assert max(wait.max, step.max) < 0.05


def test_an_asynchronous_loop_that_is_left_is_over_at_once() -> None:
    """By `break` or an exception: phase and counts are right before anybody collects a generator."""

    async def loader() -> AsyncIterator[Any]:
        while True:
            yield x

    async def train(active: Any) -> None:
        epoch = active.epoch()
        n = 0
        async for _ in epoch.steps(loader(), phase="eval"):
            break
        assert active.phase == "train"
        async for _ in epoch.steps(loader()):
            n += 1
            if n == 3:
                break
        assert (epoch.samples, active.summary()["steps"]) == (64, 2)
        async for _ in active.progress(loader(), description="rows"):
            break

    with testing.capture() as telemetry, run("a") as active:
        asyncio.run(train(active))
        told = [fields["description"] for fields in fields_of(telemetry, "progress")]
    assert told[-1] == "rows"


def test_a_loop_that_is_kept_ends_with_its_epoch_or_run() -> None:
    """Whoever holds the iterator: the counts are in the event, and the phase is that of the next loop."""
    kept = []
    with testing.capture() as telemetry:
        with run("a") as active:
            kept.append(iter(active.epoch().steps([x] * 5, phase="train")))
            assert [next(kept[0]).shape, next(kept[0]).shape] == [(32, 8)] * 2
            active.epoch()
            kept.append(iter(active.steps([x] * 5, phase="eval")))
            next(kept[1])
            assert active.phase == "eval"
        assert active.phase == "train"
    assert fields_of(telemetry, "epoch_complete")[0]["samples"] == 32
    assert active.summary()["steps"] == 1


def test_phases_are_two_whatever_they_are_called() -> None:
    """What is not training is evaluation; a name that varies costs no memory."""
    with testing.capture() as telemetry, run("a") as active:
        for number in range(3):
            list(active.steps([1], phase=f"validation {number}"))
        assert telemetry.value("ml.training.steps", EVAL) == 3
        assert active.series_of("validation 1") is active.series_of("eval")
        telemetry.assert_conforms()
