"""The windows of GPM: a seed first, not under a second, not over ten minutes, and no sample is leaked."""

from __future__ import annotations

from typing import Any

import pytest

from otelml.gpu.activity import Activity
from otelml.gpu.boundary import Boundary
from otelml.gpu.library import NvmlError
from otelml.gpu.replay import ReplayLibrary

SM = 2


class Samples(ReplayLibrary):
    """A recording that keeps account of its samples, and may fail to give one."""

    def __init__(self, recording: dict[str, Any]) -> None:
        super().__init__([recording], "load")
        self.taken = self.freed = self.measured = 0
        self.fails = False

    def take_sample(self, handle: Any, gpu_instance: int | None = None) -> Any:
        if self.fails:
            raise NvmlError(999)
        self.taken += 1
        return super().take_sample(handle, gpu_instance)

    def compute_metrics(self, earlier: Any, later: Any, ids: Any) -> Any:
        assert earlier is not later
        self.measured += 1
        return super().compute_metrics(earlier, later, ids)

    def free_sample(self, sample: Any) -> None:
        self.freed += 1
        super().free_sample(sample)


@pytest.fixture
def samples(recording: dict[str, Any]) -> Samples:
    """One GPU under load."""
    return Samples(recording)


def steps(samples: Samples, *at_s: float) -> list[float | None]:
    """SM activity in per cent, read at these times."""
    times = iter(at_s)
    boundary = Boundary(samples)
    activity = Activity("GPU-1", samples.call("nvmlDeviceGetHandleByIndex", 0), clock=lambda: next(times))
    return [activity.read(boundary).get(SM) for _ in at_s]


def test_the_first_sample_seeds(samples: Samples) -> None:
    """Nothing is known before the second one."""
    assert steps(samples, 0, 5) == [None, pytest.approx(82.265, abs=1e-3)]


def test_less_than_a_second_gives_the_values_before(samples: Samples) -> None:
    """No sample is taken, and none is used up."""
    before, soon, later = steps(samples, 0, 5, 5.9, 6.1)[1:]
    assert before == soon == later
    assert samples.taken == 3
    assert steps(samples, 0, 0.5) == [None, None]


def test_more_than_ten_minutes_seeds_again(samples: Samples) -> None:
    """A laptop that slept, a process that was stopped: the average over that time is no use."""
    assert [value is None for value in steps(samples, 0, 601, 606)] == [True, True, False]
    assert samples.measured == 1


def test_samples_are_given_back(samples: Samples) -> None:
    """One is kept for the next window."""
    steps(samples, *range(0, 100, 5))
    assert (samples.taken, samples.freed) == (20, 19)


def test_a_failed_sample_is_a_gap(samples: Samples) -> None:
    """Absent, then a seed, then known again; nothing leaks."""
    times, boundary = iter(range(0, 100, 5)), Boundary(samples)
    activity = Activity("GPU-1", samples.call("nvmlDeviceGetHandleByIndex", 0), clock=lambda: next(times))
    found = []
    for samples.fails in (False, False, True, False, False):
        found.append(SM in activity.read(boundary))
    assert found == [False, True, False, False, True]
    assert samples.taken - samples.freed == 1
    assert boundary.failures() == {("nvmlGpmSampleGet", "unknown", "GPU-1"): 1}
