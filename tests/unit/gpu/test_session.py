"""The plugin with its threads: shows what it found, outlives trouble, energy, forks and its own end."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from otelml import gpu, settings, testing
from otelml.gpu.energy import EnergyMeter
from otelml.gpu.library import NvmlError
from otelml.gpu.plugin import Plugin
from otelml.gpu.replay import ReplayError, ReplayLibrary
from otelml.gpu.session import Options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GPU_0 = "GPU-00000000-0000-0000-0000-000000000001"


def wait_for(condition: Callable[[], Any], within_s: float = 20) -> Any:
    """What `condition` returns as soon as that is true."""
    end_s = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.01)
    return found


def threads() -> set[str]:
    """Names of the plugin's threads that are alive."""
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("otelml-gpu")}


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """Whatever a test started has ended before the next one."""
    yield
    gpu.stop()
    wait_for(lambda: not threads())


@pytest.fixture
def make_plugin(no_threads_left):
    """A plugin over a library (or what makes one), stopped at the end."""
    plugins = []

    def make(library: Any, **options: Any) -> Plugin:
        open_library = library if callable(library) else lambda: library
        chosen = {"say_no_library": lambda _: None, "interval_s": 0.05, "environ": {}, **options}
        plugin = Plugin(Options(open_library, **chosen))
        plugins.append(plugin)
        plugin.start()
        return plugin

    yield make
    for plugin in plugins:
        plugin.stop()


def test_it_is_all_there_is_to_do() -> None:
    """A replayed GPU is there in the SDK and in the summary, conforms to the registry, and is gone after the end."""
    import otelml

    with testing.capture() as captured:
        with testing.replayed_gpus(state="load"):
            assert captured.points()["hw.power"][0].value == 688.069
            assert otelml.summary()["hw.power"][0]["value"] == 688.069
            assert captured.value("ml.gpu.collect.duration") >= 1
            wait_for(lambda: "ml.gpu.sm.utilization" in captured.points())
            captured.assert_conforms()
            wait_for(lambda: threads() == {"otelml-gpu", "otelml-gpu-xid"})
        assert "hw.power" not in captured.points()
        assert gpu.current() is None
    wait_for(lambda: not threads())


def test_the_test_kit_says_what_is_wrong() -> None:
    """A recording that cannot be used raises where the test asks for it."""
    with pytest.raises(ReplayError, match="no built-in recording"), testing.replayed_gpus("a100"):
        pass


def test_starting_twice_is_starting_once() -> None:
    """`opentelemetry-instrument` and `configure()` may both do it."""
    with testing.capture(nvml_replay="h200"):
        gpu.start(settings.current())
        gpu.start(settings.current())
        wait_for(gpu.current)
        assert [thread.name for thread in threading.enumerate()].count("otelml-gpu") == 1
        gpu.stop()
        gpu.stop()


def test_none_is_none() -> None:
    """With `OTELML_GPU_DEVICES=none` there is no thread, no library, and no metric."""
    with testing.capture(nvml_replay="h200", gpu_devices="none") as captured:
        gpu.start(settings.current())
        assert threads() == set()
        assert not {name for name in captured.points() if name.startswith(("hw.", "ml.gpu."))}


def test_several_gpus(make_plugin, recording) -> None:
    """Each has series of its own."""
    with testing.capture() as captured:
        plugin = make_plugin(ReplayLibrary([recording] * 8, "load"))
        wait_for(plugin.current)
        points = captured.points()
        assert [point.attributes["ml.gpu.index"] for point in points["hw.power"]] == list(range(8))
        assert len({point.attributes["hw.id"] for point in points["hw.status"]}) == 8
        captured.assert_conforms()


def test_an_old_snapshot_says_nothing(make_plugin, recording) -> None:
    """A driver that hangs leaves no value frozen: all are absent, the call is named, and nobody waits for it."""
    hang = threading.Event()

    class Hanging(ReplayLibrary):
        def call(self, name: str, *arguments: Any) -> Any:
            if self._begun > 2 and name == "nvmlDeviceGetPowerUsage":
                hang.wait(30)
            return super().call(name, *arguments)

    with testing.capture() as captured:
        plugin = make_plugin(Hanging([recording], "load"), interval_s=0.2)
        wait_for(plugin.current)
        wait_for(lambda: plugin.session().snapshot is not None and plugin.current() is None)
        started_s = time.monotonic()
        points = wait_for(lambda: (p := captured.points()).get("ml.gpu.collect.errors") and p)
        assert time.monotonic() - started_s < 15
        assert [dict(point.attributes) for point in points["ml.gpu.collect.errors"]] == [
            {"ml.gpu.call": "nvmlDeviceGetPowerUsage", "error.type": "timeout", "hw.id": GPU_0}
        ]
        assert "hw.power" not in points
        assert "hw.temperature" not in points
        started_s = time.monotonic()
        plugin.stop()
        assert time.monotonic() - started_s < 10
        hang.set()


@pytest.mark.parametrize(("code", "name"), [(12, "library_not_found"), (9, "driver_not_loaded")])
def test_no_library(make_plugin, code: int, name: str) -> None:
    """Counted, told, and no meter waits; without a library the thread ends, a driver may still be loaded."""
    told = []

    def refuse() -> Any:
        raise NvmlError(code)

    with testing.capture() as captured:
        plugin = make_plugin(refuse, say_no_library=told.append)
        points = wait_for(lambda: captured.points().get("ml.gpu.collect.errors"))
        assert [(dict(p.attributes), p.value) for p in points] == [
            ({"ml.gpu.call": "nvmlInit", "error.type": name}, 1)
        ]
        started_s = time.monotonic()
        assert EnergyMeter(plugin.read_energy).stop() is None
        assert time.monotonic() - started_s < 0.5
        wait_for(lambda: threads() == (set() if code == 12 else {"otelml-gpu"}))
        captured.assert_conforms()
    assert [error.name for error in told] == [name]


def test_a_driver_that_is_loaded_later(make_plugin, recording, monkeypatch) -> None:
    """It is found at the next look."""
    monkeypatch.setattr("otelml.gpu.session.RETRY_S", 0.05)
    refusals = [NvmlError(9), NvmlError(9)]

    def open_library() -> Any:
        if refusals:
            raise refusals.pop()
        return ReplayLibrary([recording], "load")

    with testing.capture():
        wait_for(make_plugin(open_library).current)


@pytest.mark.parametrize(
    ("code", "environ", "level"),
    [
        (12, {}, "INFO"),
        (12, {"CUDA_VISIBLE_DEVICES": ""}, "INFO"),
        (12, {"CUDA_VISIBLE_DEVICES": "0"}, "WARNING"),
        (9, {}, "WARNING"),
        (4, {}, "WARNING"),
        (18, {}, "WARNING"),
        (999, {}, "WARNING"),
    ],
)
def test_a_missing_driver_is_a_warning_where_a_gpu_is_expected(
    caplog, code: int, environ: Any, level: str
) -> None:
    """A laptop without a GPU is not nagged; one line says why elsewhere."""
    caplog.set_level("INFO")
    for _ in range(2):
        gpu._say_no_library(settings.load({}), NvmlError(code), environ)
    (record,) = [r for r in caplog.records if r.getMessage().startswith("otelml: no GPU metrics")]
    assert record.levelname == level


def test_a_recording_that_is_none_is_said(caplog) -> None:
    """One warning that names the file; no thread stays."""
    with testing.capture(nvml_replay="/nowhere/h200.json") as captured:
        gpu.start(settings.current())
        wait_for(lambda: captured.points().get("ml.gpu.collect.errors"))
        gpu.stop()
    (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert "/nowhere/h200.json" in said
    assert "h200" in said


def test_nvml_shut_down_by_somebody_else(make_plugin, recording, monkeypatch) -> None:
    """The program's own use of NVML may end it for us too: it is opened again, and counters go on."""
    monkeypatch.setattr("otelml.gpu.session.RETRY_S", 0.01)
    libraries = []

    def open_library() -> Any:
        libraries.append(ReplayLibrary([recording], "load"))
        return libraries[-1]

    with testing.capture() as captured:
        plugin = make_plugin(open_library)
        wait_for(plugin.current)
        libraries[0].close()
        wait_for(lambda: len(libraries) > 1 and plugin.session()._walker)
        wait_for(lambda: plugin.current().taken_s > time.monotonic() - 0.5)
        errors = captured.points()["ml.gpu.collect.errors"]
        assert {point.attributes["error.type"] for point in errors} == {"uninitialized"}


def test_xid_errors_arrive_at_once(make_plugin, recording) -> None:
    """From the thread that listens to the counter, the state and the event, without waiting for the next walk."""
    recording["events"] = [{"after_walks": 1, "xid": 79}]
    with testing.capture() as captured:
        plugin = make_plugin(ReplayLibrary([recording], "load"), interval_s=30)
        series = wait_for(
            lambda: (
                [a for _, a in plugin.current().series("hw.errors") if a["error.type"] == "xid_79"]
                if plugin.current()
                else None
            )
        )
        assert series[0]["hw.id"] == GPU_0
        (event,) = [log.log_record for log in captured.logs if log.log_record.event_name == "ml.gpu_xid"]
        assert event.attributes["xid"] == 79
        assert event.severity_text == "ERROR"


def test_a_storm_of_xids_is_counted_and_costs_little(make_plugin, recording) -> None:
    """Every one counts, the walks stay a second apart, and one event tells of them."""
    recording["events"] = [{"after_walks": 1, "xid": 31}] * 500
    library = ReplayLibrary([recording], "load")
    with testing.capture() as captured:
        plugin = make_plugin(library, interval_s=30)

        def count() -> float:
            snapshot = plugin.current()
            series = snapshot.series("hw.errors") if snapshot else ()
            return next((value for value, found in series if found["error.type"] == "xid_31"), 0)

        wait_for(lambda: count() == 500)
        assert library._begun <= 4
        assert sum(log.log_record.event_name == "ml.gpu_xid" for log in captured.logs) == 1


def test_a_walk_as_long_as_the_interval_starves_nobody(make_plugin, recording) -> None:
    """XID errors and energy get their turn between two walks."""
    recording["events"] = [{"after_walks": 2, "xid": 79}]

    class Slow(ReplayLibrary):
        def begin_walk(self) -> None:
            time.sleep(0.05)
            super().begin_walk()

    with testing.capture():
        plugin = make_plugin(Slow([recording], "load"), interval_s=0.01)
        wait_for(
            lambda: (
                [a for _, a in plugin.current().series("hw.errors") if a["error.type"] == "xid_79"]
                if plugin.current()
                else None
            )
        )
        assert plugin.read_energy().result(10).joules == {GPU_0: 5155.526}


def test_what_was_counted_outlives_a_new_beginning(make_plugin, recording, monkeypatch) -> None:
    """XIDs, energy and state go on when NVML is opened again."""
    monkeypatch.setattr("otelml.gpu.session.RETRY_S", 0.01)
    recording["events"] = [{"after_walks": 1, "xid": 94}]
    libraries = []

    def open_library() -> Any:
        libraries.append(ReplayLibrary([recording if not libraries else {**recording, "events": []}], "load"))
        return libraries[-1]

    with testing.capture():
        plugin = make_plugin(open_library)
        wait_for(lambda: plugin.current() and plugin.current().gpus[0].state == "degraded")
        libraries[0].close()
        wait_for(lambda: len(libraries) > 1 and libraries[-1]._begun > 2)
        wait_for(plugin.current)
        (reading,) = plugin.current().gpus
        assert reading.state == "degraded"
        assert 1 in [v for v, a in reading.series["hw.errors"] if a["error.type"] == "xid_94"]


def test_devices_that_come_later_are_found(make_plugin, recording, monkeypatch) -> None:
    """A GPU that was lost at the start, or a MIG device that is made while the program runs."""
    monkeypatch.setattr("otelml.gpu.session.RETRY_S", 0.05)
    recording["load"]["nvmlDeviceGetMaxMigDeviceCount()"]["value"] = 7
    recording["mig_devices"] = [
        {
            "load": {
                "nvmlDeviceGetUUID()": {"us": 1, "value": "MIG-1"},
                "nvmlDeviceGetGpuInstanceId()": {"us": 1, "value": 1},
                "nvmlDeviceGetMemoryInfo()": {"us": 1, "value": {"total": 10, "free": 5, "used": 5}},
            }
        }
    ]

    class Growing(ReplayLibrary):
        mode = 0
        gpus = 0

        def call(self, name: str, *arguments: Any) -> Any:
            if name == "nvmlDeviceGetCount":
                return self.gpus
            answer = super().call(name, *arguments)
            return [self.mode, self.mode] if name == "nvmlDeviceGetMigMode" else answer

    library = Growing([recording], "load")
    with testing.capture():
        plugin = make_plugin(library)
        time.sleep(0.2)
        assert plugin.current() is None
        assert plugin.read_energy().result(0).joules == {}
        library.gpus = 1
        wait_for(lambda: plugin.current() and len(plugin.current().gpus) == 1)
        library.mode = 1
        wait_for(lambda: len(plugin.current().gpus) == 2)


def test_an_nvml_that_does_not_open_is_told(make_plugin, recording, caplog) -> None:
    """A hanging nvmlInit is a time-out, counted and said once."""
    hang = threading.Event()

    def open_library() -> Any:
        hang.wait(30)
        return ReplayLibrary([recording], "load")

    with testing.capture() as captured:
        make_plugin(open_library)
        points = wait_for(lambda: captured.points().get("ml.gpu.collect.errors"))
        assert [(dict(p.attributes), p.value) for p in points] == [
            ({"ml.gpu.call": "nvmlInit", "error.type": "timeout"}, 1)
        ]
        hang.set()
    assert len([r for r in caplog.records if "nvmlInit takes longer" in r.getMessage()]) == 1


def test_a_stopped_plugin_stays_stopped(make_plugin, recording) -> None:
    """Neither a meter nor a late collection starts it again."""
    with testing.capture():
        plugin = make_plugin(ReplayLibrary([recording], "load"))
        wait_for(plugin.current)
        meter = EnergyMeter(plugin.read_energy)
        source = plugin._sources[0]
        plugin.stop()
        assert meter.stop() is None
        assert source() == []
        wait_for(lambda: not threads())


def test_a_name_that_the_program_took_costs_no_other(make_plugin, recording, monkeypatch) -> None:
    """`hw.power` of the program's own stays as it is; the rest is shown."""
    import otelml
    from otelml.instruments import internal

    monkeypatch.setattr(internal, "raise_errors", False)
    with testing.capture() as captured:
        otelml.gauge("hw.power").set(1.5)
        plugin = make_plugin(ReplayLibrary([recording], "load"))
        wait_for(plugin.current)
        points = captured.points()
        assert [point.value for point in points["hw.power"]] == [1.5]
        assert "hw.temperature" in points


def test_stopping_takes_no_time(make_plugin, recording) -> None:
    """The thread that waits for XID errors ends by itself, a second later at most."""
    with testing.capture():
        for _ in range(5):
            plugin = make_plugin(ReplayLibrary([recording], "load"))
            wait_for(plugin.current)
            started_s = time.monotonic()
            plugin.stop()
            assert time.monotonic() - started_s < 0.9
        wait_for(lambda: not threads())


# -- energy


class Metered(ReplayLibrary):
    """A recording whose energy counter a test moves."""

    millijoules = 1_000_000

    def call(self, name: str, *arguments: Any) -> Any:
        if name == "nvmlDeviceGetTotalEnergyConsumption":
            return self.millijoules
        return super().call(name, *arguments)


def test_energy_between_two_points(make_plugin, recording) -> None:
    """The difference of the counters, in J; read at the two points, not at the walks."""
    with testing.capture():
        library = Metered([recording], "load")
        plugin = make_plugin(library, interval_s=30)
        wait_for(plugin.current)
        with EnergyMeter(plugin.read_energy) as meter:
            plugin.read_energy().result(10)  # the first reading is done when one after it is
            assert meter.joules is None
            library.millijoules += 12_345
        assert meter.joules == pytest.approx(12.345)
        assert meter.by_gpu == {GPU_0: pytest.approx(12.345)}


def test_energy_that_is_not_known(make_plugin, recording) -> None:
    """Without a plugin, after a counter that fell, and where one of the GPUs does not tell: None, never 0."""
    assert gpu.energy_meter().stop() is None
    with testing.capture():
        library = Metered([recording], "load")
        plugin = make_plugin(library, interval_s=30)
        wait_for(plugin.current)
        meter = EnergyMeter(plugin.read_energy)
        plugin.read_energy().result(10)
        library.millijoules -= 1
        assert meter.stop() is None
        silent = {**recording, "load": dict(recording["load"])}
        del silent["load"]["nvmlDeviceGetTotalEnergyConsumption()"]
        two = make_plugin(ReplayLibrary([recording, silent], "load"), interval_s=30)
        wait_for(two.current)
        meter = EnergyMeter(two.read_energy)
        assert meter.stop() is None
        assert set(meter.by_gpu) == {GPU_0}


def test_energy_does_not_wait_for_a_driver_that_hangs(make_plugin, recording) -> None:
    """The end of a run takes a bounded time."""
    hang = threading.Event()

    class Hanging(Metered):
        def call(self, name: str, *arguments: Any) -> Any:
            if name == "nvmlDeviceGetPowerUsage":
                hang.wait(30)
            return super().call(name, *arguments)

    with testing.capture():
        plugin = make_plugin(Hanging([recording], "load"))
        meter = EnergyMeter(plugin.read_energy)
        assert meter.stop(timeout_s=0.1) is None
        hang.set()


# -- fork


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_begins_anew_when_it_collects(make_plugin, recording) -> None:
    """It has no threads of the parent's and opens the library itself, but not before somebody asks for metrics."""
    opened = []

    def open_library() -> Any:
        opened.append(os.getpid())
        return ReplayLibrary([recording], "load")

    with testing.capture() as captured:
        plugin = make_plugin(open_library)
        wait_for(plugin.current)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                silent = threads() == set() and opened == [os.getppid()]
                captured.points()
                wait_for(plugin.current)
                if silent and opened[-1] == os.getpid() and captured.points()["hw.power"][0].value == 688.069:
                    status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert opened == [os.getpid()]
        assert plugin.current() is not None
