"""System and process metrics in real processes: both ways in, forks, whose choice it is, and what a collection does."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="compares with /proc")

INSTRUMENT = (str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable)

UPSTREAM = {
    "process_context_switches",
    "process_cpu_time_seconds",
    "process_memory_usage_bytes",
    "process_memory_virtual_bytes",
    "process_thread_count",
    "system_disk_io_bytes",
    "system_memory_usage_bytes",
    "system_memory_utilization_ratio",
    "system_network_io_bytes",
}
OURS = {
    "process_cpu_utilization_ratio",
    "process_unix_file_descriptor_count",
    "system_cpu_utilization_ratio",
    "system_filesystem_limit_bytes",
    "system_filesystem_usage_bytes",
    "system_filesystem_utilization_ratio",
    "system_memory_limit_bytes",
    "system_memory_linux_available_bytes",
}
OF_DEVICES = {"system_disk_io_bytes", "system_network_io_bytes"}
"""Absent on a machine without hardware that it could name."""

SCRAPE = """
    import json, urllib.request

    def scrape():
        readers = configurator.active_pipeline().readers
        (url,) = [reader.url for reader in readers if hasattr(reader, "url")]
        return urllib.request.urlopen(url).read().decode()
"""
CONFIGURE = "\n    configurator.configure(service_name='system')\n"
PRINT = """
    time.sleep(1.1)
    print(json.dumps(scrape()))
"""


def read_samples(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Values on a Prometheus page by family and by the values of the labels that are the metric's own."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        if family.name.startswith(("process_", "system_", "cpython_", "python_")):
            for sample in family.samples:
                of_all = ("otel_scope_", "service_", "host_", "ml_")
                own = tuple(v for k, v in sorted(sample.labels.items()) if not k.startswith(of_all))
                found.setdefault(family.name, {})[own] = sample.value
    return found


def names(text: str) -> set[str]:
    """The families, but for those that depend on the machine's devices."""
    return set(read_samples(text)) - OF_DEVICES


@pytest.mark.parametrize(
    ("way", "start"), [(INSTRUMENT, ""), ((sys.executable,), CONFIGURE)], ids=["instrument", "configure"]
)
def test_our_set_is_there_with_nothing_set(program: Any, way: tuple[str, ...], start: str) -> None:
    """Both ways in: these names and no other, so no deprecated one; few series, each with a value that can be."""
    program.way = way
    done = program.run(SCRAPE + start + PRINT)
    samples = read_samples(json.loads(done.stdout))
    assert set(samples) - OF_DEVICES == (UPSTREAM | OURS) - OF_DEVICES
    assert done.stderr == ""
    assert {name: len(found) for name, found in samples.items() if name not in OF_DEVICES} == {
        **dict.fromkeys(samples.keys() - OF_DEVICES, 1),
        "process_context_switches": 2,
        "process_cpu_time_seconds": 2,
        "process_cpu_utilization_ratio": 2,
        "system_cpu_utilization_ratio": 7,
        "system_memory_usage_bytes": 3,
        "system_filesystem_limit_bytes": (filesystems := count_filesystems(program.folder)),
        "system_filesystem_usage_bytes": filesystems * 3,
        "system_filesystem_utilization_ratio": filesystems,
    }
    ratios = [value for name in samples if name.endswith("_ratio") for value in samples[name].values()]
    assert [value for value in ratios if not 0 <= value <= 1] == []
    assert sum(samples["system_cpu_utilization_ratio"].values()) == pytest.approx(1)


def count_filesystems(folder: Path) -> int:
    """Of the root and of `folder`."""
    return len({Path("/").stat().st_dev, folder.stat().st_dev})


def test_a_short_program_says_nothing_of_its_utilisation(program: Any) -> None:
    """Its files hold what is known at its end; a ratio that would be a guess is absent, not 0."""
    program.run(CONFIGURE)
    found = {
        metric["name"]
        for line in program.lines("metrics")
        for scope in line["resourceMetrics"][0]["scopeMetrics"]
        for metric in scope["metrics"]
    }
    assert {"process.memory.usage", "system.filesystem.usage", "system.memory.limit"} <= found
    assert found & {"process.cpu.utilization", "system.cpu.utilization"} == set()


def test_utilisation_is_what_the_process_used(program: Any) -> None:
    """Of the CPUs that it may use, by its own clock of CPU time; here it may use one."""
    done = program.run(
        SCRAPE
        + """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    """
        + CONFIGURE
        + """
    began, used = time.monotonic(), time.process_time()
    while time.process_time() - used < 1.2:
        pass
    time.sleep(0.4)
    used, lasted = time.process_time() - used, time.monotonic() - began
    print(json.dumps([used / lasted, scrape()]))
    """
    )
    expected, text = json.loads(done.stdout)
    assert sum(read_samples(text)["process_cpu_utilization_ratio"].values()) == pytest.approx(
        expected, abs=0.1
    )


FORKED = (
    SCRAPE
    + """
    stop = threading.Event()
    threads = [threading.Thread(target=stop.wait) for _ in range(40)]

    def burn(seconds):
        until = time.process_time() + seconds
        while time.process_time() < until:
            sum(range(100_000))  # in user mode, unlike asking for the time

    def tell():
        "What this process is, by /proc and its own clocks, and what its endpoint says."
        time.sleep(1.1)
        text = scrape()
        status = dict(line.split(":", 1) for line in open("/proc/self/status"))
        return {
            "text": text,
            "rss": int(status["VmRSS"].split()[0]) * 1024,
            "threads": int(status["Threads"]),
            "switches": int(status["voluntary_ctxt_switches"]),
            "user": os.times().user,
            "files": len(os.listdir("/proc/self/fd")) - 1,
        }

    def child():
        global ballast
        ballast = b"x" * 200_000_000
        print(json.dumps(tell()), flush=True)

    configurator.configure(service_name="fork")
    for thread in threads:
        thread.start()
    burn(1.5)
    files = [open(os.devnull) for _ in range(50)]
"""
)
BY_OS = """
    pid = os.fork()
    if not pid:
        child()
        os._exit(0)
    os.waitpid(pid, 0)
"""
BY_MULTIPROCESSING = """
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
"""
END = """
    print(json.dumps(tell()))
    stop.set()
"""


@pytest.mark.parametrize("fork", [BY_OS, BY_MULTIPROCESSING], ids=["os.fork", "multiprocessing"])
def test_a_forked_child_speaks_of_itself(program: Any, fork: str) -> None:
    """Memory, threads, CPU time and files are the child's own, and the parent's stay the parent's."""
    done = program.run(FORKED + fork + END, OTELML_FORK="export")
    child, parent = map(json.loads, done.stdout.splitlines())
    for told in (child, parent):
        found = read_samples(told["text"])
        assert found["process_memory_usage_bytes"][()] == pytest.approx(told["rss"], abs=2**24)
        assert found["process_thread_count"][()] == pytest.approx(told["threads"], abs=2)
        assert found["process_cpu_time_seconds"]["user",] == pytest.approx(told["user"], abs=0.2)
        assert found["process_unix_file_descriptor_count"][()] == pytest.approx(told["files"], abs=3)
        assert found["process_context_switches"]["voluntary",] <= told["switches"]
        assert set(found) - OF_DEVICES == (UPSTREAM | OURS) - OF_DEVICES
    assert child["rss"] > parent["rss"] + 150_000_000
    assert child["threads"] < 40 < parent["threads"]
    assert child["user"] < 1 < parent["user"]


def test_the_fork_test_can_fail(program: Any) -> None:
    """Without its hook the child reports the parent's threads and memory."""
    done = program.run(FORKED + "    instruments.timer.fork_hooks.clear()" + BY_OS + END)
    child, parent = map(json.loads, done.stdout.splitlines())
    found = read_samples(child["text"])
    assert found["process_thread_count"][()] == pytest.approx(parent["threads"], abs=2)
    assert found["process_memory_usage_bytes"][()] < child["rss"] - 150_000_000


@pytest.mark.parametrize("way", [INSTRUMENT, (sys.executable,)], ids=["instrument", "configure"])
@pytest.mark.parametrize(
    ("disabled", "expected"),
    [
        ("system_metrics", OURS),
        ("otelml_system", UPSTREAM - OF_DEVICES),
        ("system_metrics, otelml_system", set()),
        ("*", set()),
    ],
)
def test_each_part_can_be_disabled(
    program: Any, way: tuple[str, ...], disabled: str, expected: set[str]
) -> None:
    """By OpenTelemetry's own variable, in either way in."""
    program.way = way
    start = CONFIGURE if way != INSTRUMENT else ""
    done = program.run(SCRAPE + start + PRINT, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=disabled)
    assert names(json.loads(done.stdout)) == expected


def test_metrics_can_be_excluded_by_name(program: Any) -> None:
    """From both parts, by the variable of system-metrics."""
    done = program.run(
        SCRAPE + CONFIGURE + PRINT, OTEL_PYTHON_SYSTEM_METRICS_EXCLUDED_METRICS="system.*, process.cpu.*"
    )
    assert names(json.loads(done.stdout)) == {
        name for name in UPSTREAM | OURS if not name.startswith(("system_", "process_cpu_"))
    }


def test_a_user_who_instruments_first_keeps_his_set(program: Any) -> None:
    """With nothing of ours beside it under the same name, and nothing said."""
    done = program.run(
        SCRAPE
        + """
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
    mine = {"system.cpu.utilization": ["idle"], "process.runtime.memory": ["rss"]}
    SystemMetricsInstrumentor(config=mine).instrument()
    """
        + CONFIGURE
        + PRINT
    )
    samples = read_samples(json.loads(done.stdout))
    assert set(samples) == OURS | {"process_runtime_cpython_memory_bytes"}
    assert {labels[1] for labels in samples["system_cpu_utilization_ratio"]} == {"idle"}
    assert done.stderr == ""


def test_both_can_be_ended_while_the_program_runs(program: Any) -> None:
    """As any instrumentation can."""
    done = program.run(
        SCRAPE
        + CONFIGURE
        + """
    from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
    from otelml.instrumentation.system import SystemInstrumentor
    time.sleep(1.1)
    pages = [scrape()]
    SystemInstrumentor().uninstrument()
    pages.append(scrape())
    SystemMetricsInstrumentor().uninstrument()
    pages.append(scrape())
    print(json.dumps(pages))
    """
    )
    pages = [names(text) for text in json.loads(done.stdout)]
    assert pages == [(UPSTREAM | OURS) - OF_DEVICES, UPSTREAM - OF_DEVICES, set()]


def test_where_telemetry_is_off_nothing_is_loaded(program: Any) -> None:
    """Not even psutil."""
    done = program.run(CONFIGURE + "    print('psutil' in sys.modules)", OTEL_SDK_DISABLED="true")
    assert done.stdout == "False\n"


def test_a_collection_looks_at_little(program: Any) -> None:
    """At files of this process and a few of the machine: no other process, no socket, no mount but those used."""
    done = program.run(
        SCRAPE
        + CONFIGURE
        + """
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    scrape()
    opened, subprocesses = [], []

    def audit(event, arguments):
        if event in {"open", "os.listdir", "os.scandir"}:
            opened.append(os.fsdecode(arguments[0]) if not isinstance(arguments[0], int) else "fd")
        elif event in {"subprocess.Popen", "os.fork", "os.posix_spawn"}:
            subprocesses.append(event)

    sys.addaudithook(audit)
    configurator.active_pipeline().readers[0].collect()
    found = [list(opened), subprocesses, os.getpid()]
    print(json.dumps(found))
    """,
        OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="otelml_gpu",
        OTEL_METRICS_EXPORTER="prometheus",
    )
    opened, subprocesses, pid = json.loads(done.stdout)
    allowed = {
        *(f"/proc/{pid}/{name}" for name in ("stat", "statm", "status")),
        *(f"/proc/{name}" for name in ("meminfo", "stat", "diskstats", "net/dev", "self/fd")),
    }
    assert set(opened) <= allowed
    assert len(opened) <= 20
    assert subprocesses == []
    assert {f"/proc/{pid}/statm", "/proc/meminfo"} <= set(opened)  # the audit sees what psutil does
