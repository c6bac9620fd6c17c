"""Shares of CPU time, with times and a clock that are given, and against the kernel's own count."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from otelml.instrumentation import cpu
from otelml.semconv._generated import ATTRIBUTES, CPU_MODE


@dataclass
class Machine:
    """Its clock and its times, to be set."""

    now_s: float = 100.0
    times: dict[str, float] = field(default_factory=lambda: {"user": 10.0, "idle": 50.0})

    def shares(self) -> cpu.Shares:
        """Shares of all that was spent."""
        return cpu.Shares(lambda: self.times, lambda _, spent: sum(spent.values()), lambda: self.now_s)

    def spend(self, elapsed_s: float, **times: float) -> None:
        """Let time pass."""
        self.now_s += elapsed_s
        self.times = {mode: seconds + times.get(mode, 0.0) for mode, seconds in self.times.items()}


def by_mode(shares: cpu.Shares) -> dict[str, float]:
    """The readings, each of which has its mode as its one attribute."""
    readings = shares()
    assert all(set(attributes) == {CPU_MODE} for _, attributes in readings)
    return {attributes[CPU_MODE]: value for value, attributes in readings}


def test_nothing_is_known_before_a_window_has_passed() -> None:
    """Unknown is absent, not 0."""
    machine = Machine()
    shares = machine.shares()
    assert by_mode(shares) == {}
    machine.spend(0.9, user=0.9)
    assert by_mode(shares) == {}


def test_shares_are_of_what_passed_since_the_last_reading() -> None:
    """Of 4 CPU seconds 3 were idle, then of 2 none."""
    machine = Machine()
    shares = machine.shares()
    machine.spend(1.0, user=1.0, idle=3.0)
    assert by_mode(shares) == {"user": 0.25, "idle": 0.75}
    machine.spend(1.0, user=2.0)
    assert by_mode(shares) == {"user": 1.0, "idle": 0.0}


def test_a_second_exporter_shortly_after_sees_the_same() -> None:
    """It neither gets a share of a few milliseconds nor shortens the window of the first."""
    machine = Machine()
    shares = machine.shares()
    machine.spend(10.0, user=1.0, idle=1.0)
    first = by_mode(shares)
    machine.spend(0.005, user=0.01)
    assert by_mode(shares) == first == {"user": 0.5, "idle": 0.5}
    machine.spend(0.995, user=0.99)
    assert by_mode(shares) == {"user": 1.0, "idle": 0.0}


def test_times_that_go_back_are_no_time() -> None:
    """As iowait does at times; a share is never negative."""
    machine = Machine(times={"user": 1.0, "iowait": 5.0})
    shares = machine.shares()
    machine.spend(1.0, user=1.0, iowait=-0.5)
    assert by_mode(shares) == {"user": 1.0, "iowait": 0.0}


def test_a_machine_that_stood_still_has_no_shares() -> None:
    """Nothing passed, so nothing can be said."""
    machine = Machine()
    shares = machine.shares()
    machine.spend(5.0)
    assert by_mode(shares) == {}


def test_a_share_is_at_most_all() -> None:
    """The kernel's steps of 10 ms may make it a little more."""
    machine = Machine(times={"user": 0.0})
    shares = cpu.Shares(lambda: machine.times, lambda elapsed_s, _: elapsed_s, lambda: machine.now_s)
    machine.spend(1.0, user=1.01)
    assert by_mode(shares) == {"user": 1.0}


def test_starting_anew_forgets_the_times_before() -> None:
    """A forked child's times begin at 0, and its first window with it."""
    machine = Machine()
    shares = machine.shares()
    machine.spend(9.0, user=1.0)
    machine.times = {"user": 0.0, "idle": 0.0}
    shares.start_anew()
    assert by_mode(shares) == {}
    machine.spend(1.0, user=0.5, idle=0.5)
    assert by_mode(shares) == {"user": 0.5, "idle": 0.5}


def test_a_machine_that_does_not_tell_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as a sandbox without /proc/stat; what it tells later is no share of anything."""
    told = psutil.cpu_times()

    def refuse() -> None:
        raise FileNotFoundError("/proc/stat")

    monkeypatch.setattr(psutil, "cpu_times", refuse)
    machine = Machine()
    shares = cpu.Shares(cpu.read_machine_times, lambda _, spent: sum(spent.values()), lambda: machine.now_s)
    machine.spend(2.0)
    monkeypatch.setattr(psutil, "cpu_times", lambda: told)
    assert by_mode(shares) == {}


def read_proc_stat() -> dict[str, float]:
    """The kernel's own count, in the order of `man 5 proc`."""
    fields = Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    user, nice, system, idle, iowait, irq, softirq, steal = (
        int(ticks) / os.sysconf("SC_CLK_TCK") for ticks in fields
    )
    return {
        "user": user, "nice": nice, "system": system, "idle": idle, "iowait": iowait,
        "interrupt": irq + softirq, "steal": steal,
    }  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_machines_times_are_the_kernels() -> None:
    """All of the convention's modes, nothing counted twice."""
    before, found, after = read_proc_stat(), cpu.read_machine_times(), read_proc_stat()
    assert list(found) == list(before)
    assert set(found) == set(ATTRIBUTES[CPU_MODE].members)
    assert [mode for mode in found if not before[mode] - 1 <= found[mode] <= after[mode] + 1] == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_process_times_are_its_own() -> None:
    """Fields 14 and 15 of /proc/self/stat."""
    found = cpu.read_process_times()
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[11:13]
    ticks = os.sysconf("SC_CLK_TCK")
    assert found == pytest.approx(
        dict(zip(("user", "system"), (int(field) / ticks for field in fields), strict=True)), abs=0.1
    )


@pytest.mark.skipif(sys.platform != "linux", reason="runs nproc")
def test_the_cpus_that_may_be_used_are_counted() -> None:
    """As coreutils count them, which hears of affinity too."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    one = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}}); "
    program = "from otelml.instrumentation import cpu; print(cpu.count_cpus())"
    said = [
        subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout
        for command in (["nproc"], [sys.executable, "-c", program], [sys.executable, "-c", one + program])
    ]
    assert said == [said[0], said[0], "1\n"]
