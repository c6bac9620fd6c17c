"""The drain thread: wakes faster under load, does its work outside locks, and survives what it calls."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

import otelml
from otelml.instruments import internal, timer


def test_it_adapts_at_once_and_relaxes_slowly() -> None:
    """A large buffer shortens the interval at once; it grows back by doubling, up to its bound."""
    assert timer.next_interval(timer.INTERVAL_S, 10**6) == timer.SHORTEST_S
    assert timer.next_interval(timer.SHORTEST_S, 10) == 2 * timer.SHORTEST_S
    assert timer.next_interval(timer.INTERVAL_S, 0) == timer.INTERVAL_S


def test_recording_starts_it_and_it_drains() -> None:
    """Making an instrument starts the thread, which empties a full buffer without any provider."""
    bound = otelml.histogram("h", bounds=(1,)).bind()
    for _ in range(200_000):
        bound.record(1)
    for _ in range(200):
        if bound.pending.count == 200_000:
            break
        timer._stopping.wait(0.05)
    assert bound.pending.count == 200_000


def test_a_failing_hook_is_contained_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One broken hook does not keep the others from running."""
    monkeypatch.setattr(internal, "raise_errors", False)
    ran = []
    monkeypatch.setattr(timer, "tick_hooks", [lambda _s: 1 / 0, ran.append])
    timer.tick(0.5)
    assert ran == [0.5]
    assert internal.totals()["errors", "drain", "ZeroDivisionError"] == 1


FORKS = """
import os, signal, threading, time, otelml
bound, counter = otelml.histogram("f.h").bind(), otelml.counter("f.c").bind()
counter.add(5)
going = True
def read():
    while going:
        for _ in range(2000): bound.record(1.5)
        otelml.summary()
threading.Thread(target=read, daemon=True).start()
time.sleep(0.1)
for _ in range(15):
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        counter.add(2)
        value = otelml.summary()["f.c"][0]["value"]
        os._exit(0 if value == 2 and any(t.name == "otelml-drain" for t in threading.enumerate()) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
going = False
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_of_a_program_that_was_never_configured() -> None:
    """The child starts from zero, with locks and a drain thread of its own, whatever the parent was doing."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORKS], check=True, timeout=120)
