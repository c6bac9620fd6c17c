"""Epochs that are left: complete by a `break` once the run goes on, and never by an exception that somebody caught."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import pytest

from otelml import testing
from otelml.training import Epoch, Run, run

Leave = Callable[[], object]
Way = Callable[[Run, Leave], object]


def told(telemetry: testing.Capture) -> list[str]:
    """What was told of epochs and trainings, in order."""
    names = [(data.log_record.event_name or "").removeprefix("ml.") for data in telemetry.logs]
    return [name for name in names if name in ("epoch_complete", "training_complete")]


def bad() -> None:
    """Leave by an exception."""
    raise ValueError("bad")


def in_a_for(active: Run, leave: Leave) -> None:
    """In the second epoch, as all of these."""
    for epoch in active.epochs(3):
        if epoch.number:
            leave()
            break


def in_the_steps(active: Run, leave: Leave) -> None:
    """By `return`, from the loop within."""
    for epoch in active.epochs(3):
        for step in epoch.steps(range(3)):
            if epoch.number and step == 1:
                leave()
                return


def of_a_held_iterator(active: Run, leave: Leave) -> None:
    """Which somebody keeps."""
    epochs = active.epochs(3)
    for epoch in epochs:
        if epoch.number:
            leave()
            break
    active.held = epochs  # type: ignore[attr-defined]


def in_an_enumeration(active: Run, leave: Leave) -> None:
    """Or another iterator that goes over them."""
    for number, _ in enumerate(active.epochs(3)):
        if number:
            leave()
            break


def wrapped(active: Run) -> Iterator[Epoch]:
    """A generator of the program's, which is closed where its loop is left."""
    try:
        for epoch in active.epochs(3):  # noqa: UP028 - stands for programs that do more in it
            yield epoch
    finally:
        len("of a progress bar, say")


def in_a_generator(active: Run, leave: Leave) -> None:
    """A generator over a generator."""
    for epoch in (epoch for epoch in wrapped(active)):
        if epoch.number:
            leave()
            break


def delegated(active: Run) -> Iterator[Epoch]:
    """By `yield from`."""
    yield from active.epochs(3)


def in_a_delegate(active: Run, leave: Leave) -> int | None:
    """By `return` with a value."""
    for epoch in delegated(active):
        if epoch.number:
            leave()
            return epoch.number
    return None


def within_other_blocks(active: Run, leave: Leave) -> None:
    """That clean up while the loop is left."""
    for epoch in active.epochs(3):
        with suppress(KeyError), nullcontext():
            try:
                if epoch.number:
                    leave()
                    break
            finally:
                len("a")


def while_another_is_handled(active: Run, leave: Leave) -> None:
    """An exception of the epoch's own, that it has seen to."""
    for epoch in active.epochs(3):
        try:
            if epoch.number:
                raise KeyError
        except KeyError:
            leave()
            break


def in_a_coroutine(active: Run, leave: Leave) -> None:
    """While it awaits."""

    async def step() -> None:
        await asyncio.sleep(0)
        leave()

    async def train() -> None:
        for epoch in active.epochs(3):
            if epoch.number:
                await step()
                break

    asyncio.run(train())


def in_an_asynchronous_loop(active: Run, leave: Leave) -> None:
    """`async for` within."""

    async def loader() -> Any:
        for item in range(3):
            await asyncio.sleep(0)
            yield item

    async def train() -> None:
        for epoch in active.epochs(3):
            async for step in epoch.steps(loader()):
                if epoch.number and step:
                    leave()
                    return

    asyncio.run(train())


def in_a_while(active: Run, leave: Leave) -> None:
    """By hand, in a block."""
    while True:
        with active.epoch() as epoch:
            if epoch.number:
                leave()
                break


LOOPS: list[Way] = [
    in_a_for,
    in_the_steps,
    of_a_held_iterator,
    in_an_enumeration,
    in_a_generator,
    in_a_delegate,
    within_other_blocks,
    while_another_is_handled,
    in_a_coroutine,
    in_an_asynchronous_loop,
    in_a_while,
]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("goes_on", [True, False])
def test_an_epoch_that_an_exception_left_is_not_complete(loop: Way, goes_on: bool) -> None:
    """Caught within the run, whether or not anything is done in it after that."""
    with testing.capture() as telemetry, run("a") as active:
        with pytest.raises(ValueError, match="bad"):
            loop(active, bad)
        if goes_on:
            active.log({"loss": 1.0})
            assert told(telemetry) == ["epoch_complete"]
    assert active.status == "completed"
    assert active.summary()["epochs"] == 1
    # A loop by hand is none of which an exception could show the end.
    assert told(telemetry) == ["epoch_complete", *["training_complete"] * (loop is in_a_while)]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("goes_on", [True, False])
def test_an_epoch_that_a_break_left_is_complete(loop: Way, goes_on: bool) -> None:
    """Once the run goes on, or at its end: not if that is a failure."""
    with testing.capture() as telemetry, run("a") as active:
        loop(active, int)
        if goes_on:
            active.log({"loss": 1.0})
            assert told(telemetry)[:2] == ["epoch_complete", "epoch_complete"]
    assert told(telemetry) == ["epoch_complete", "epoch_complete", "training_complete"]
    with testing.capture() as telemetry, suppress(ValueError), run("a") as active:
        loop(active, int)
        bad()
    assert "training_complete" not in told(telemetry)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_epoch_that_a_good_exit_left_is_complete(loop: Way) -> None:
    """`sys.exit(0)` where the work is done: the program says that all is well."""
    with testing.capture() as telemetry, pytest.raises(SystemExit), run("a") as active:
        loop(active, lambda: sys.exit(0))
    assert active.status == "completed"
    assert told(telemetry) == ["epoch_complete", "epoch_complete", "training_complete"]


def test_a_good_exit_completes_no_epoch_that_an_exception_left_before() -> None:
    """The run has gone on in between."""
    with testing.capture() as telemetry, pytest.raises(SystemExit), run("a") as active:
        with suppress(ValueError):
            in_a_for(active, bad)
        active.log({"loss": 1.0})
        sys.exit(0)
    assert told(telemetry) == ["epoch_complete"]


def test_a_cancelled_task_leaves_its_epoch_incomplete() -> None:
    """Also where the run goes on."""

    async def train(active: Run) -> None:
        for _ in active.epochs(3):
            await asyncio.sleep(100)

    async def stop_it(active: Run) -> None:
        task = asyncio.create_task(train(active))
        await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        active.log({"loss": 1.0})

    with testing.capture() as telemetry, run("a") as active:
        asyncio.run(stop_it(active))
    assert told(telemetry) == []


def test_a_training_that_is_tried_again() -> None:
    """The epoch in which it failed is told once, when it is done."""
    failures = [True, False]

    def try_it(active: Run, start: int) -> int:
        for epoch in active.epochs(3, start=start):
            if epoch.number == 1 and failures.pop(0):
                raise ValueError
        return 3

    with testing.capture() as telemetry, run("a") as active:
        with suppress(ValueError):
            try_it(active, 0)
        try_it(active, 1)
    numbers = [
        data.log_record.attributes["epoch"]
        for data in telemetry.logs
        if data.log_record.event_name == "ml.epoch_complete"
    ]
    assert numbers == [0, 1, 2]
    assert told(telemetry) == [*["epoch_complete"] * 3, "training_complete"]


@pytest.mark.parametrize("by_hand", [iter, lambda epochs: epochs])
def test_epochs_by_next(by_hand: Callable[[Iterable[Epoch]], Iterator[Epoch]]) -> None:
    """Each lasts to the next one, and the last to the end; a loop goes on with those that are left."""
    with testing.capture() as telemetry, run("a") as active:
        epochs = by_hand(active.epochs(3))
        next(epochs)
        assert told(telemetry) == []
        next(epochs)
        assert told(telemetry) == ["epoch_complete"]
        assert [epoch.number for epoch in epochs] == [2]
        assert told(telemetry) == [*["epoch_complete"] * 3, "training_complete"]
        with pytest.raises(StopIteration):
            next(epochs)
    assert told(telemetry) == [*["epoch_complete"] * 3, "training_complete"]


def test_an_epoch_that_nobody_saw_is_not_complete() -> None:
    """`zip` takes one from each until one is at its end."""
    with testing.capture() as telemetry, run("a") as active:
        for _ in zip(active.epochs(5), "ab", strict=False):
            pass
    assert told(telemetry) == ["epoch_complete", "epoch_complete"]


def test_epochs_by_hand_in_blocks_are_a_training() -> None:
    """Complete with the run."""
    with testing.capture() as telemetry, run("a") as active:
        for _ in range(2):
            with active.epoch():
                pass
    assert told(telemetry) == ["epoch_complete", "epoch_complete", "training_complete"]
