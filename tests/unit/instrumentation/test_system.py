"""The machine and this process: names, values and attributes, and who else may own a name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otelml import instruments, testing
from otelml.instrumentation import cpu, system, system_metrics
from otelml.instrumentation.system import SystemInstrumentor
from otelml.instruments import table, timer
from otelml.semconv._generated import METRICS

NAMES = {
    "process.cpu.utilization",
    "process.unix.file_descriptor.count",
    "system.cpu.utilization",
    "system.filesystem.limit",
    "system.filesystem.usage",
    "system.filesystem.utilization",
    "system.memory.limit",
    *(["system.memory.linux.available"] if sys.platform == "linux" else []),
}


SHM = Path("/dev/shm")  # noqa: S108 - another filesystem; nothing is written to it


@pytest.fixture
def instrumentor() -> Iterator[SystemInstrumentor]:
    """The one instrumentor."""
    yield SystemInstrumentor()
    system.reset()


def let_time_pass(instrumentor: SystemInstrumentor) -> None:
    """Two seconds, in which each mode had one."""
    for shares in instrumentor._shares:
        shares._at_s -= 2
        shares._before = {mode: seconds - 1 for mode, seconds in shares._before.items()}


def test_all_of_it_is_emitted_and_conforms(instrumentor: SystemInstrumentor) -> None:
    """Every metric of the registry's file, with exactly the attributes that it declares."""
    with testing.capture() as telemetry:
        instrumentor.instrument()
        let_time_pass(instrumentor)
        points = telemetry.points()
        telemetry.assert_conforms()
    assert points.keys() == NAMES
    assert {name for name in METRICS if name.startswith(("process.", "system."))} >= NAMES
    for name, found in points.items():
        for point in found:
            assert set(METRICS[name].required) <= set(point.attributes) <= set(METRICS[name].attributes)
    assert sum(point.value for point in points["system.cpu.utilization"]) == pytest.approx(1)
    assert [dict(p.attributes) for p in points["process.cpu.utilization"]] == [
        {"cpu.mode": "user"}, {"cpu.mode": "system"},
    ]  # fmt: skip


def test_no_name_is_system_metrics_too() -> None:
    """Our set for it and ours are apart: one name, one kind and unit."""
    assert NAMES.isdisjoint(system_metrics.LEAN)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/meminfo")
def test_memory_is_the_kernels(instrumentor: SystemInstrumentor) -> None:
    """MemTotal exactly; MemAvailable but for what happens meanwhile."""
    with testing.capture() as telemetry:
        instrumentor.instrument()
        lines = Path("/proc/meminfo").read_text().splitlines()
        kib = {name: int(text.split()[0]) for name, text in (line.split(":") for line in lines)}
        assert telemetry.value("system.memory.limit") == kib["MemTotal"] * 1024
        assert telemetry.value("system.memory.linux.available") == pytest.approx(
            kib["MemAvailable"] * 1024, abs=2**28
        )


def test_open_files_are_counted(instrumentor: SystemInstrumentor, tmp_path: Path) -> None:
    """Without the one that the count itself opens."""
    with testing.capture() as telemetry:
        instrumentor.instrument()
        before = telemetry.value("process.unix.file_descriptor.count")
        files = [(tmp_path / str(number)).open("w") for number in range(10)]
        assert telemetry.value("process.unix.file_descriptor.count") == before + 10
        for file in files:
            file.close()
        assert telemetry.value("process.unix.file_descriptor.count") == before


@pytest.mark.parametrize("folder", ["/proc/self/fd", "/dev/fd"])
def test_the_count_of_open_files_is_exact(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """Each number that has a status is an open file; the same as Linux tells it, and by looking at each."""
    monkeypatch.setattr(system, "_OPEN_FILES", (folder,))

    def is_open(number: int) -> bool:
        try:
            os.fstat(number)
        except OSError:
            return False
        return True

    ((count, attributes),) = system.read_open_files()
    assert (count, attributes) == (sum(map(is_open, range(4096))), {})


def test_where_there_is_no_folder_of_open_files_they_are_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows."""
    monkeypatch.setattr(system, "_OPEN_FILES", ("/no/such/folder",))
    assert system.read_open_files() == []


def test_the_filesystems_are_the_programs(
    instrumentor: SystemInstrumentor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root, the working directory's and that of the telemetry, each once."""
    monkeypatch.chdir(tmp_path)
    with testing.capture(telemetry_dir=SHM / "telemetry") as telemetry:
        instrumentor.instrument()
        found = [
            point.attributes["system.filesystem.mountpoint"]
            for point in telemetry.points()["system.filesystem.limit"]
        ]
    mounts = [next(place for place in (path, *path.parents) if place.is_mount()) for path in (tmp_path, SHM)]
    assert found == list(dict.fromkeys(["/", *map(str, mounts)]))


def test_what_the_user_excludes_is_left_out(
    instrumentor: SystemInstrumentor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable of system-metrics: whose metric it is need not concern him."""
    monkeypatch.setenv("OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS", "system.*,process.cpu.*")
    with testing.capture() as telemetry:
        instrumentor.instrument()
        assert telemetry.points().keys() == {"process.unix.file_descriptor.count"}


def test_a_name_has_one_owner(instrumentor: SystemInstrumentor, upstream: Any) -> None:
    """A user who has system-metrics emit a metric of the same name, per CPU, gets his and not ours beside it."""
    with testing.capture() as telemetry:
        upstream(config={"system.cpu.utilization": ["user"]}).instrument()
        instrumentor.instrument()
        let_time_pass(instrumentor)
        points = telemetry.points()
    assert points.keys() == NAMES
    assert {frozenset(p.attributes) for p in points["system.cpu.utilization"]} == {
        frozenset({"cpu", "state"})
    }


def test_uninstrumenting_ends_it_and_it_can_begin_again(instrumentor: SystemInstrumentor) -> None:
    """Nothing is left behind: no series, no source, no hook."""
    hooks = list(timer.fork_hooks)
    with testing.capture() as telemetry:
        for _ in range(2):
            instrumentor.instrument()
            let_time_pass(instrumentor)
            assert telemetry.points().keys() == NAMES
            instrumentor.uninstrument()
            assert telemetry.points() == {}
    assert [observed.spec.name for observed in table.observed.values() if observed.sources] == []
    assert timer.fork_hooks == hooks


def test_a_forked_child_starts_its_shares_anew(
    instrumentor: SystemInstrumentor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no past there, until a second later."""
    monkeypatch.setattr(cpu, "WINDOW_S", 1.5)
    with testing.capture() as telemetry:
        instrumentor.instrument()
        let_time_pass(instrumentor)
        assert telemetry.points().keys() == NAMES
        assert instrumentor.start_anew in timer.fork_hooks
        instrumentor.start_anew()
        assert telemetry.points().keys() == NAMES - {"system.cpu.utilization", "process.cpu.utilization"}


def test_it_can_be_observed_with_telemetry_off(
    instrumentor: SystemInstrumentor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever instruments by hand gets no error for it."""
    monkeypatch.setattr(table, "_active", False)
    assert not instruments.active()
    instrumentor.instrument()
    assert instrumentor.is_instrumented_by_opentelemetry
