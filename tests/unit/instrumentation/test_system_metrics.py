"""opentelemetry-instrumentation-system-metrics under the distribution: its set, contained, and by whose choice."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from opentelemetry.instrumentation.system_metrics import _DEFAULT_CONFIG
from opentelemetry.semconv._incubating.metrics import process_metrics
from opentelemetry.semconv._incubating.metrics import system_metrics as semconv

from otelml import testing
from otelml.instrumentation import system_metrics
from otelml.instruments import internal, timer

DEVICES = {"system.disk.io", "system.network.io"}
SERIES = {
    "process.context_switches": [{"type": "involuntary"}, {"type": "voluntary"}],
    "process.cpu.time": [{"type": "user"}, {"type": "system"}],
    "process.memory.usage": [{}],
    "process.memory.virtual": [{}],
    "process.thread.count": [{}],
    "system.memory.usage": [{"state": "used"}, {"state": "free"}, {"state": "cached"}],
    "system.memory.utilization": [{"state": "used"}],
}


def start(kind: Any, **environ: str) -> Any:
    """Instrument as the distribution does."""
    instrumentor, options = system_metrics.prepare(kind, environ)
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.instrument(**options)
    return instrumentor


def series(telemetry: testing.Capture) -> dict[str, list[dict[str, Any]]]:
    """Attributes by metric, without the metrics that depend on the machine's devices."""
    points = telemetry.points()
    return {name: [dict(p.attributes) for p in points[name]] for name in points.keys() - DEVICES}


def test_our_set_is_upstreams_and_in_the_conventions() -> None:
    """Each metric is one that it has by default, of states that it has, and under a name that is not deprecated."""
    known = {}
    for module in (process_metrics, semconv):
        for name, value in vars(module).items():
            create = getattr(module, f"create_{name.lower()}", None)
            if isinstance(value, str) and create is not None:
                known[value] = "Deprecated" not in (create.__doc__ or "")
    assert {name: known.get(name) for name in system_metrics.LEAN} == dict.fromkeys(system_metrics.LEAN, True)
    assert known["process.open_file_descriptor.count"] is False  # this test can fail
    assert system_metrics.LEAN.keys() <= _DEFAULT_CONFIG.keys()
    states = {
        name
        for name, states in system_metrics.LEAN.items()
        if not set(states or ()) <= set(_DEFAULT_CONFIG[name] or ())
    }
    assert states == set()


def test_it_emits_our_set(upstream: Any) -> None:
    """Few series, and nothing under another name."""
    with testing.capture() as telemetry:
        start(upstream)
        assert series(telemetry) == SERIES
        telemetry.assert_conforms()


def test_the_values_are_the_kernels(upstream: Any) -> None:
    """Memory, threads and switches of this process, of /proc; memory of the machine, of /proc/meminfo."""
    with testing.capture() as telemetry:
        start(upstream)
        status = dict(
            line.split(":\t", 1)
            for line in Path("/proc/self/status").read_text().splitlines()
            if ":\t" in line
        )
        meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        kib = {name: int(text.split()[0]) * 1024 for name, text in meminfo.items()}
        points = telemetry.points()
    found = {
        (name, *p.attributes.values()): p.value for name in points.keys() - DEVICES for p in points[name]
    }
    assert found["process.thread.count",] == int(status["Threads"])
    assert found["process.memory.usage",] == pytest.approx(int(status["VmRSS"].split()[0]) * 1024, abs=2**24)
    assert found["process.memory.virtual",] == pytest.approx(
        int(status["VmSize"].split()[0]) * 1024, abs=2**24
    )
    assert found["process.context_switches", "voluntary"] >= int(status["voluntary_ctxt_switches"])
    assert found["process.cpu.time", "user"] == pytest.approx(os.times().user, abs=1)
    used = kib["MemTotal"] - kib["MemAvailable"]
    assert found["system.memory.usage", "free"] == pytest.approx(kib["MemFree"], abs=2**28)
    assert found["system.memory.usage", "used"] == pytest.approx(used, abs=2**28)
    assert found["system.memory.utilization", "used"] == pytest.approx(used / kib["MemTotal"], abs=0.05)


def test_what_the_user_excludes_is_left_out(upstream: Any) -> None:
    """By upstream's own variable, in globs, from our set too."""
    with testing.capture() as telemetry:
        start(upstream, OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS=" process.* , system.memory.usage,")
        assert series(telemetry) == {"system.memory.utilization": SERIES["system.memory.utilization"]}


@pytest.mark.parametrize(
    ("patterns", "excluded"),
    [
        (None, False),
        ("", False),
        (" , ", False),
        ("system.cpu", False),
        ("x, system.cpu.*", True),
        ("*", True),
    ],
)
def test_patterns_are_globs_with_commas_between(patterns: str | None, excluded: bool) -> None:
    """An empty one excludes nothing."""
    environ = {} if patterns is None else {system_metrics.EXCLUDED: patterns}
    assert system_metrics.is_excluded("system.cpu.utilization", environ) is excluded


def test_a_user_who_was_first_keeps_his_set(upstream: Any) -> None:
    """The class has one instance; another call of it would change what that one reads."""
    with testing.capture() as telemetry:
        his = upstream(config={"system.memory.usage": ["buffers"], "system.swap.usage": ["used"]})
        his.instrument()
        assert start(upstream) is his
        assert series(telemetry) == {
            "system.memory.usage": [{"state": "buffers"}],
            "system.swap.usage": [{"state": "used"}],
        }
        assert system_metrics.names_at_work() == {"system.memory.usage", "system.swap.usage"}


def test_names_are_at_work_only_while_it_is_instrumented(upstream: Any) -> None:
    """Made is not yet at work."""
    assert system_metrics.names_at_work() == frozenset()
    instrumentor, options = system_metrics.prepare(upstream, {})
    assert system_metrics.names_at_work() == frozenset()
    with testing.capture():
        instrumentor.instrument(**options)
        assert system_metrics.names_at_work() == set(system_metrics.LEAN)


def test_uninstrumenting_ends_it(upstream: Any) -> None:
    """By itself it would go on."""
    with testing.capture() as telemetry:
        instrumentor = start(upstream)
        assert telemetry.points()
        instrumentor.uninstrument()
        assert telemetry.points() == {}


@pytest.mark.parametrize(
    "failure", [NotImplementedError("no"), PermissionError("no"), psutil.AccessDenied(1)]
)
def test_what_the_machine_does_not_tell_is_absent(
    upstream: Any, monkeypatch: pytest.MonkeyPatch, failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """A sandbox without /proc/diskstats is nothing to complain of at each collection, or at all."""

    def refuse(**_: Any) -> None:
        raise failure

    monkeypatch.setattr(psutil, "disk_io_counters", refuse)
    with testing.capture() as telemetry:
        start(upstream)
        points = telemetry.points()
    assert "system.disk.io" not in points
    assert points.keys() >= SERIES.keys()
    assert (internal.totals(), caplog.messages) == ({}, [])


def test_a_callback_that_fails_is_said_once_and_counted(
    upstream: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The SDK would log a traceback at each collection: here a user has put his set under callbacks of ours."""
    monkeypatch.setattr(internal, "raise_errors", False)
    his = {"process.memory.usage", "process.memory.virtual", "process.thread.count"}
    with testing.capture() as telemetry:
        start(upstream)
        upstream(config=dict.fromkeys(his)).instrument()
        for _ in range(3):
            assert series(telemetry).keys() - {"otelml.internal.errors"} == his
    told = [record for record in caplog.records if record.name == "otelml.internal"]
    assert [record for record in caplog.records if record.exc_info] == []
    assert len(told) == len(internal.totals()) + 5
    assert internal.totals() == {("errors", "instrumentation", "KeyError"): 18}


def test_a_forked_child_gets_a_process_of_its_own(upstream: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called once, by the hook of the instruments; tests/integration has real forks."""
    start(upstream)
    start(upstream)
    assert timer.fork_hooks.count(system_metrics.start_anew) == 1
    instance = upstream._instance
    monkeypatch.setattr(instance, "_proc", psutil.Process(os.getppid()))
    system_metrics.start_anew()
    assert instance._proc.pid == os.getpid()


def test_a_fork_without_it_is_no_matter(upstream: Any) -> None:
    """It may be disabled."""
    assert upstream._instance is None
    system_metrics.start_anew()


@dataclass
class Reading:
    """An observation of a device."""

    value: int
    attributes: dict[str, str]


def readings(*devices: str) -> list[Reading]:
    """Two of each device, as upstream yields them."""
    return [
        Reading(1, {"device": device, "direction": direction})
        for device in devices
        for direction in ("read", "write")
    ]


def kept(found: Iterable[Any]) -> list[str]:
    """The devices whose readings are all kept."""
    return [reading.attributes["device"] for reading in found][::2]


@pytest.mark.parametrize(
    ("hardware", "devices", "expected"),
    [
        (
            ["nvme0n1", "sda"],
            ["nvme0n1", "nvme0n1p1", "sda", "sda1", "dm-0", "md0", "loop0"],
            ["nvme0n1", "sda"],
        ),
        (["eth0"], ["lo", "eth0", "docker0", "veth1a2b3c4"], ["eth0"]),
        ([], ["lo", "eth0"], ["eth0"]),
        ([], ["lo0", "en0", "utun3"], ["en0", "utun3"]),
        ([], ["loop0", "ram1", "zram0"], []),
    ],
    ids=["disks", "host with containers", "container", "mac", "only virtual ones"],
)
def test_bytes_are_counted_once(
    tmp_path: Path, hardware: list[str], devices: list[str], expected: list[str]
) -> None:
    """Hardware where the machine says what is, else all but what leads nowhere."""
    for device in hardware:
        (tmp_path / device / "device").mkdir(parents=True)
    assert kept(system_metrics.keep_hardware(readings(*devices), tmp_path)) == expected


def test_devices_are_the_machines(upstream: Any) -> None:
    """Those that the kernel links to hardware, with the kernel's own bytes, if there are any."""
    with testing.capture() as telemetry:
        start(upstream)
        points = telemetry.points()
    for name, folder in (("system.disk.io", "/sys/class/block"), ("system.network.io", "/sys/class/net")):
        hardware = {path.parent.name for path in Path(folder).glob("*/device")}
        found = {point.attributes["device"] for point in points.get(name, ())}
        assert found == hardware or not hardware
