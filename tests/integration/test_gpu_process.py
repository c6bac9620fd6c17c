"""The GPU plugin in real processes: both ways in, ranks, forks, workers, no driver, and the end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

INSTRUMENT = (str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable)
REPLAY = {"OTELML_NVML_REPLAY": "h200", "OTELML_NVML_REPLAY_STATE": "load"}
HAS_DRIVER = Path("/dev/nvidiactl").exists()

WAIT = """
    import json, urllib.request
    from otelml import gpu

    def wait_for_gpus():
        while gpu.current() is None:
            time.sleep(0.01)
        return [reading.attributes["ml.gpu.index"] for reading in gpu.current().gpus]

    def threads():
        return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("otelml-gpu"))
"""
CONFIGURE = "\n    configurator.configure(service_name='gpu')\n"


def power(lines: list[dict[str, Any]]) -> dict[str, float]:
    """Watts by UUID in the last export."""
    found = {}
    for resource in lines[-1]["resourceMetrics"]:
        for scope in resource["scopeMetrics"]:
            for metric in scope["metrics"]:
                for point in metric["gauge"]["dataPoints"] if metric["name"] == "hw.power" else ():
                    attributes = {a["key"]: a["value"] for a in point["attributes"]}
                    found[attributes["hw.id"]["stringValue"]] = point["asDouble"]
    return found


@pytest.mark.parametrize("way", ["instrument", "configure"])
def test_both_ways_in(program, way: str) -> None:
    """Zero code or `configure()`: on the endpoint while it runs, in the file when it ends."""
    start = CONFIGURE if way == "configure" else ""
    if way == "instrument":
        program.way = INSTRUMENT
    ended = program.run(
        WAIT + start + """
    wait_for_gpus()
    (url,) = [reader.url for reader in configurator.active_pipeline().readers if hasattr(reader, "url")]
    page = urllib.request.urlopen(url).read().decode()
    print(json.dumps([line for line in page.splitlines() if line.startswith("hw_power_watts{")]))
    """,
        **REPLAY,
    )  # fmt: skip
    (line,) = json.loads(ended.stdout)
    assert 'hw_name="NVIDIA H200 (replayed)"' in line
    assert line.endswith(" 688.069")
    assert list(power(program.lines("metrics")).values()) == [688.069]
    assert ended.stderr == ""


def test_each_rank_reports_its_own_gpu(program) -> None:
    """Over the ranks of a node every GPU is there once."""
    replay = {"OTELML_NVML_REPLAY": os.pathsep.join(["h200"] * 4)}
    seen = [
        json.loads(
            program.run(
                WAIT + CONFIGURE + "    print(json.dumps(wait_for_gpus()))",
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="4", LOCAL_WORLD_SIZE="4", **replay,
            ).stdout
        )
        for rank in range(4)
    ]  # fmt: skip
    assert seen == [[0], [1], [2], [3]]


def test_none(program) -> None:
    """No thread, no metric."""
    ended = program.run(
        WAIT + CONFIGURE + "    time.sleep(0.3); print(threads())", OTELML_GPU_DEVICES="none", **REPLAY
    )
    assert ended.stdout.strip() == "[]"
    assert power(program.lines("metrics")) == {}


@pytest.mark.skipif(HAS_DRIVER, reason="this machine has a driver")
@pytest.mark.parametrize(("visible", "said"), [("", 0), ("0", 1)])
def test_a_machine_without_a_driver(program, visible: str, said: int) -> None:
    """One warning where a GPU was asked for, none elsewhere; the program and its other telemetry are unharmed."""
    ended = program.run(
        WAIT + CONFIGURE + """
    from otelml.gpu.session import Session
    while threads():
        time.sleep(0.01)
    instruments.counter("work.done").add(1)
    """,
        CUDA_VISIBLE_DEVICES=visible,
    )  # fmt: skip
    assert (
        ended.stderr.count("no GPU metrics: the NVIDIA driver's library, libnvidia-ml.so.1, was not found")
        == said
    )
    assert len(ended.stderr.splitlines()) == said
    (totals,) = program.totals().values()
    assert totals.values["work.done"] == 1


def test_shutdown_ends_it(program) -> None:
    """`otelml.shutdown()` leaves no thread, and the last values in the file."""
    ended = program.run(
        WAIT + CONFIGURE + """
    wait_for_gpus()
    before = threads()
    configurator.shutdown()
    while threads():  # one waits for the driver, a second at most
        time.sleep(0.01)
    print(before, gpu.current())
    """,
        **REPLAY,
    )  # fmt: skip
    assert ended.stdout.strip() == "['otelml-gpu', 'otelml-gpu-xid'] None"
    assert list(power(program.lines("metrics")).values()) == [688.069]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_program_that_forks(program) -> None:
    """The child has no thread of the parent's; as it exports, it opens the library anew and says the same."""
    ended = program.run(
        WAIT + CONFIGURE + """
    wait_for_gpus()
    pid = os.fork()
    if pid == 0:
        at_first = threads()
        (url,) = [reader.url for reader in configurator.active_pipeline().readers if hasattr(reader, "url")]
        urllib.request.urlopen(url).read()
        gpus = wait_for_gpus()
        page = urllib.request.urlopen(url).read().decode()
        print(at_first, gpus, page.count("hw_power_watts{"), flush=True)
        sys.exit(0)
    os.waitpid(pid, 0)
    print(threads(), wait_for_gpus(), flush=True)
    """,
        **REPLAY,
    )  # fmt: skip
    assert ended.stdout.splitlines() == ["[] [0] 1", "['otelml-gpu', 'otelml-gpu-xid'] [0]"]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_silent_workers_do_not_touch_the_gpu(program, method: str) -> None:
    """Workers of multiprocessing that do not export have neither thread nor library."""
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    ended = program.run(
        WAIT + """
    def work():
        time.sleep(0.5)
        print(threads(), flush=True)

    if __name__ == "__main__":
        configurator.configure(service_name="gpu")
        wait_for_gpus()
        worker = multiprocessing.get_context(sys.argv[1]).Process(target=work)
        worker.start()
        worker.join()
        print(threads(), flush=True)
    """,
        method,
        **REPLAY,
    )  # fmt: skip
    assert ended.stdout.splitlines() == ["[]", "['otelml-gpu', 'otelml-gpu-xid']"]


def test_a_worker_that_exports_has_its_own(program) -> None:
    """With `OTELML_FORK=export`, after the worker's first collection."""
    ended = program.run(
        WAIT + """
    def work():
        (url,) = [reader.url for reader in configurator.active_pipeline().readers if hasattr(reader, "url")]
        urllib.request.urlopen(url).read()
        print(wait_for_gpus(), threads(), flush=True)

    if __name__ == "__main__":
        configurator.configure(service_name="gpu")
        wait_for_gpus()
        worker = multiprocessing.get_context("fork").Process(target=work)
        worker.start()
        worker.join()
    """,
        OTELML_FORK="export",
        **REPLAY,
    )  # fmt: skip
    assert ended.stdout.strip() == "[0] ['otelml-gpu', 'otelml-gpu-xid']"


def test_the_end_does_not_wait_for_a_driver_that_hangs(program) -> None:
    """A program ends within its time at exit, though a call never returns."""
    ended = program.run(
        """
    from otelml.gpu.replay import ReplayLibrary

    asked = threading.Event()

    def hang(*_):
        asked.set()
        time.sleep(3600)

    ReplayLibrary.call = hang
    configurator.configure(service_name="gpu")
    asked.wait()
    print("the program is done")
    """,
        **REPLAY,
    )
    assert ended.stdout.strip() == "the program is done"
