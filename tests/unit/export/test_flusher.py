"""Flushing with a deadline, on threads made ahead of time."""

from __future__ import annotations

import threading

import pytest

from otelml.export.flusher import Flusher
from otelml.instruments import internal


def test_every_job_is_done_and_told_what_time_is_left() -> None:
    """Stages run one after another; the limit reaches the jobs."""
    order: list[tuple[str, bool]] = []
    flusher = Flusher(
        {"drain": lambda left_s: order.append(("drain", left_s <= 30))},
        {"traces": lambda left_s: order.append(("traces", left_s <= 60))},
    )
    assert flusher.flush(60) == ()
    assert order == [("drain", True), ("traces", True)]
    flusher.stop()


def test_a_job_that_hangs_is_named_and_holds_up_no_other() -> None:
    """The others of its stage, and the stages to come, are done; so are later flushes of theirs."""
    hanging, done = threading.Event(), []
    flusher = Flusher(
        {"drain": lambda _: hanging.wait(60)},
        {"traces": lambda _: hanging.wait(60), "logs": lambda _: done.append(1)},
    )
    assert flusher.flush(0.1) == ("drain", "traces")
    assert flusher.flush(0.1) == ("drain", "traces")
    assert done == [1, 1]
    hanging.set()
    assert flusher.flush(60) == ()
    flusher.stop()


def test_a_job_that_fails_or_says_no_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """False and an exception both mean: not done."""
    monkeypatch.setattr(internal, "raise_errors", False)
    flusher = Flusher({"false": lambda _: False, "raises": lambda _: 1 / 0, "none": lambda _: None})
    assert set(flusher.flush(60)) == {"false", "raises"}
    flusher.stop()


def test_a_flusher_without_jobs_is_done_at_once() -> None:
    """Where no signal is exported nobody waits."""
    assert Flusher({}, {}).flush(60) == ()


def test_many_callers_flush_at_once() -> None:
    """Each has its own answer; none waits for another's lock."""
    calls: list[int] = []
    flusher = Flusher({"traces": lambda _: calls.append(1)})
    answers: list[tuple[str, ...]] = []
    threads = [threading.Thread(target=lambda: answers.append(flusher.flush(60))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [()] * 20
    assert len(calls) == 20
    flusher.stop()
