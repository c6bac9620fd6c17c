"""Shares of CPU time between one reading and the next, for the gauges that show utilisation.

Ours, not psutil's: its percentages begin with a 0 that means "unknown", and answer at random when two exporters read
one of them shortly after each other.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from time import monotonic

from otelml.instruments.observed import Reading
from otelml.semconv._generated import CPU_MODE

WINDOW_S = 1.0
"""Between two readings at least: the kernel counts in steps of 10 ms, and several exporters may share one source."""

_MODES = {
    "user": "user",  # with the time of guests
    "nice": "nice",
    "system": "system",
    "idle": "idle",
    "iowait": "iowait",
    "irq": "interrupt",
    "softirq": "interrupt",
    "interrupt": "interrupt",
    "dpc": "interrupt",
    "steal": "steal",
}
"""OpenTelemetry's mode for each field of `psutil.cpu_times()`, where the two are the same time."""

Times = Mapping[str, float]
"""Seconds spent so far, by mode."""


class Shares:
    """A source of utilisations by mode; absent until there was a window to measure.

    Args:
        read_times: the seconds so far.
        whole_s: the seconds that there were to spend, from those that passed and those spent by mode.
        clock: seconds.
    """

    def __init__(
        self,
        read_times: Callable[[], Times],
        whole_s: Callable[[float, Times], float],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._read_times, self._whole_s, self._clock = read_times, whole_s, clock
        self.start_anew()

    def start_anew(self) -> None:
        """Forget the past: a forked child has another one."""
        self._at_s, self._before = self._clock(), self._read_times()
        self._readings: list[Reading] = []

    def __call__(self) -> list[Reading]:
        """The shares of the last window; a new one if it lasted long enough."""
        now_s = self._clock()
        if now_s - self._at_s >= WINDOW_S:
            times = self._read_times()
            # The kernel's iowait may go back by a little.
            spent = {
                mode: max(0.0, times[mode] - before) for mode, before in self._before.items() if mode in times
            }
            whole_s = self._whole_s(now_s - self._at_s, spent)
            self._at_s, self._before = now_s, times
            self._readings = [
                (min(1.0, seconds / whole_s), {CPU_MODE: mode}) for mode, seconds in spent.items() if whole_s
            ]
        return self._readings


def machine_shares() -> Shares:
    """Of all CPUs of the machine together."""
    return Shares(read_machine_times, lambda _elapsed_s, spent: sum(spent.values()))


def process_shares() -> Shares:
    """Of the CPUs that this process may use."""
    return Shares(read_process_times, lambda elapsed_s, _spent: elapsed_s * count_cpus())


def read_machine_times() -> Times:
    """Of all CPUs, since the machine started; empty where it does not tell."""
    import psutil

    times: dict[str, float] = {}
    try:
        found = psutil.cpu_times()
    except (OSError, psutil.Error):
        return times
    for name, seconds in found._asdict().items():
        if name in _MODES:
            times[_MODES[name]] = times.get(_MODES[name], 0.0) + seconds
    return times


def read_process_times() -> Times:
    """Of this process without its children."""
    times = os.times()
    return {"user": times.user, "system": times.system}


def count_cpus() -> int:
    """The CPUs that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
