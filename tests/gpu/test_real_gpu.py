"""On a machine with an NVIDIA GPU: what the plugin shows is what nvidia-smi says, and what a load does is seen.

Skipped elsewhere. With `OTELML_RECORD=FILE` the recording of the idle and the busy GPU is written there, too.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from otelml import gpu, settings, testing
from otelml.gpu.library import NvmlError
from otelml.gpu.nvml import NvmlLibrary
from otelml.gpu.record import record
from otelml.gpu.recordings.files import save

if TYPE_CHECKING:
    from collections.abc import Iterator

LOAD = """
import sys, time
import torch
a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
print("ready", flush=True)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    for _ in range(20):
        a = (a @ a).clamp_(-1, 1)
    torch.cuda.synchronize()
"""
QUERY = {
    "hw.gpu.memory.limit": ("memory.total", 2**20, 0.01),
    "hw.gpu.memory.usage": ("memory.used", 2**20, 0.1),
    "hw.power": ("power.draw", 1, 0.35),
    "ml.gpu.power.limit": ("enforced.power.limit", 1, 0.001),
    "hw.temperature": ("temperature.gpu", 1, 0.15),
}
"""Of each metric: what nvidia-smi calls it, the factor of its unit, how much it may differ: no GPU stands still."""


def no_gpu() -> str:
    """Why there is nothing to test here; nothing where there is."""
    try:
        library = NvmlLibrary()
        count = library.call("nvmlDeviceGetCount")
        library.close()
    except NvmlError as error:
        return f"no GPU: {gpu.explain(error)}"
    return "" if count else "no GPU: NVML counts none"


pytestmark = pytest.mark.skipif(bool(no_gpu()), reason=no_gpu() or "there is one")


@pytest.fixture
def captured() -> Iterator[testing.Capture]:
    """The plugin on all GPUs, after two walks."""
    with testing.capture(gpu_devices="all", gpu_interval_s=1.1) as captured:
        gpu.start(settings.current())
        wait_for(lambda: gpu.current() and gpu.current().series("hw.power"))
        time.sleep(2.5)
        yield captured
        gpu.stop()


@pytest.fixture
def load() -> Iterator[subprocess.Popen[str]]:
    """A process that keeps the first GPU busy for a while."""
    if subprocess.run([sys.executable, "-c", "import torch"], check=False, capture_output=True).returncode:
        pytest.skip("torch is not installed, so there is nothing that could load the GPU")
    process = subprocess.Popen([sys.executable, "-c", LOAD, "20"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(3)
    yield process
    process.kill()
    process.wait()


def wait_for(condition: Any, within_s: float = 30) -> None:
    """Until `condition` holds."""
    end_s = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.05)


def ask_smi() -> list[dict[str, str]]:
    """What nvidia-smi says of each GPU."""
    if shutil.which("nvidia-smi") is None:
        pytest.skip("nvidia-smi is not on the PATH")
    fields = ["uuid", "name", "driver_version", *(field for field, _, _ in QUERY.values())]
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [
        dict(zip(fields, (cell.strip() for cell in row), strict=True))
        for row in csv.reader(text.splitlines())
    ]


def first(captured: testing.Capture, metric: str, uuid: str, **wanted: str) -> float | None:
    """The first series of a metric that a GPU has."""
    for point in captured.points().get(metric, ()):
        attributes = dict(point.attributes)
        if attributes["hw.id"] == uuid and all(attributes[key] == value for key, value in wanted.items()):
            return float(point.value)
    return None


def test_the_same_as_nvidia_smi(captured: testing.Capture) -> None:
    """Names, driver, memory, power and temperature of each GPU; and all of it conforms to the registry."""
    for said in ask_smi():
        for metric, (field, factor, tolerance) in QUERY.items():
            if said[field].replace(".", "").isdigit():
                assert first(captured, metric, said["uuid"]) == pytest.approx(
                    float(said[field]) * factor, rel=tolerance
                )
        attributes = next(
            dict(p.attributes) for p in captured.points()["hw.power"] if p.attributes["hw.id"] == said["uuid"]
        )
        assert (attributes["hw.name"], attributes["hw.driver_version"]) == (
            said["name"],
            said["driver_version"],
        )
    captured.assert_conforms()
    assert not captured.points().get("ml.gpu.collect.errors")


def test_a_load_is_seen(load: subprocess.Popen[str], captured: testing.Capture) -> None:
    """True activity, the classic utilisation and the load's own memory; energy counts up."""
    assert load.poll() is None
    reading = gpu.current().gpus[0]
    uuid = reading.attributes["hw.id"]
    assert first(captured, "hw.gpu.utilization", uuid) > 0.5
    if reading.series.get("ml.gpu.interconnect.io"):
        assert first(captured, "ml.gpu.sm.utilization", uuid) > 0.1
        assert first(captured, "ml.gpu.tensor.utilization", uuid) > 0.05
    # The load is a child of this process.
    assert (first(captured, "ml.gpu.process.memory.usage", uuid) or 0) > 100 * 2**20
    with gpu.energy_meter() as meter:
        time.sleep(2)
    assert meter.joules is None or 20 < meter.joules < 3000 * len(gpu.current().gpus)


def test_the_recording_can_be_refreshed(load: subprocess.Popen[str], tmp_path: Path) -> None:
    """Every call is recorded, the busy state and, after the load, the idle one."""
    path = Path(os.environ.get("OTELML_RECORD", tmp_path / "gpu.json"))
    library = NvmlLibrary()
    save(path, record(library, state="load"))
    load.kill()
    load.wait()
    time.sleep(3)
    held = save(path, record(library, state="idle"))
    library.close()
    assert {"idle", "load"} <= set(held)
    with testing.capture() as captured, testing.replayed_gpus(str(path), state="load"):
        assert first(captured, "hw.gpu.utilization", gpu.current().gpus[0].attributes["hw.id"]) > 0.5
