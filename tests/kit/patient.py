"""A program that is well, or has every trouble that there is an alert for: `ill` and `well` on stdin say which.

    python tests/kit/patient.py server|trainer|stalled|finished

It stands apart from the tests because they start it several times over, in different roles.
"""

from __future__ import annotations

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import otelml
from otelml import instruments
from otelml.gpu.recordings import read_recording, states_of
from otelml.instruments import internal
from otelml.semconv import _generated as semconv

TICK_S = 0.05
rng = np.random.default_rng(int(os.environ.get("RANK", "0")))
ill, over = threading.Event(), threading.Event()


def listen() -> None:
    """Do as stdin says, until it ends."""
    for line in sys.stdin:
        (ill.set if line.strip() == "ill" else ill.clear)()
    over.set()


# -- a server


def answer(number: int) -> None:
    """Requests; an ill model is slow, and every other request fails."""
    for request in range(2):
        error = "timeout" if ill.is_set() and request else None
        duration_s = 2.0 if ill.is_set() else 0.004
        otelml.record_inference("digits", duration_s, version="1", device="cpu", batch_size=8, error=error)
    if ill.is_set() and number == 0:
        threading.Thread(target=hang, daemon=True).start()


def hang() -> None:
    """A request that does not end."""
    with otelml.inference("llama"):
        over.wait()


def run_stages() -> None:
    """Two stages; of an ill one every run fails, and the other is slow."""
    try:
        with otelml.stage("encode", items=8):
            if ill.is_set():
                raise ValueError
    except ValueError:
        pass
    duration = instruments.histogram(semconv.METRIC_ML_STAGE_DURATION).bind({semconv.ML_STAGE_NAME: "decode"})
    duration.record(20.0 if ill.is_set() else 0.002)


def convert(number: int) -> None:
    """Conversions; ill ones fail, but for one that takes six minutes."""
    try:
        with otelml.model_conversion("digits", "onnx"):
            if ill.is_set():
                raise NotImplementedError
    except NotImplementedError:
        pass
    if ill.is_set() and number == 0:
        duration = instruments.histogram(semconv.METRIC_ML_MODEL_CONVERSION_DURATION)
        duration.bind({semconv.ML_MODEL_NAME: "llama", semconv.ML_MODEL_FORMAT: "coreml"}).record(400.0)


def lose_telemetry(number: int) -> None:
    """What otelml counts where it loses something, and where it fails; one of its spans is left out on purpose."""
    internal.count("dropped", "stage", "span_budget", 100)
    if ill.is_set() and number == 0:
        internal.count("dropped", "export.otlp", "spans_queue_full", 512)
        internal.count("errors", "export.files", "ENOSPC", 40)


def serve() -> None:
    """All of that, a drift monitor and a codebook."""
    codebook = otelml.Quantizer("behaviour", codebook_size=16)
    reference = otelml.DriftReference.fit({"age": rng.normal(size=20_000)}, bins=10)
    monitor = otelml.DriftMonitor(reference, model="digits", window=1000, patience=1)
    number = 0
    while not over.wait(TICK_S):
        answer(number)
        run_stages()
        convert(number)
        lose_telemetry(number)
        codebook.observe(np.zeros(32, int) if ill.is_set() else rng.integers(0, 16, 32))
        monitor.observe({"age": rng.normal(2.0 if ill.is_set() else 0.0, 1, 50)})
        number += 1


# -- trainings


def batches() -> Iterator[Any]:
    """What a loader gives; an ill one is late, that of rank 1 most of all."""
    while not over.is_set():
        if ill.is_set():
            time.sleep(0.2 + 0.4 * int(os.environ.get("RANK", "0")))
        yield np.zeros((32, 8))


def train(stop: Callable[[int], bool] = lambda _: False) -> None:
    """Steps of 0.2 s; of an ill training the loss is NaN once."""
    with otelml.run("patient", progress=False) as run:
        for epoch in run.epochs(1):
            for number, _ in enumerate(epoch.steps(batches(), total=100_000, tokens=32 * 16)):
                loss = math.nan if ill.is_set() and number == 10 else 1 / (1 + number)
                epoch.update({"loss": loss, "lr": 0.1, "grad_norm": 1.0})
                time.sleep(0.2)
                if stop(number):
                    return


def stall() -> None:
    """A training that stands still after some steps, while it is open."""
    train(lambda number: number > 5 and over.wait())


def finish() -> None:
    """A training that ends, in a process that ends."""
    train(lambda number: number > 20)


# -- GPUs


def write_recordings() -> str:
    """Two H200. Of ill ones both have an XID error; one is busy with nothing, full and hot, one has bad memory."""
    paths = [Path.cwd() / "gpu0.json", Path.cwd() / "gpu1.json"]
    for number, (path, xid) in enumerate(zip(paths, (79, 94), strict=True)):
        recording = read_recording("h200")
        for state in states_of(recording):
            own = {"pid": os.getpid(), "usedGpuMemory": 1 << 30}
            recording[state]["nvmlDeviceGetComputeRunningProcesses_v3()"] = {"us": 30, "value": [own]}
        if ill.is_set():
            recording["events"] = [{"after_walks": 3, "xid": xid}]
            make_ill = spoil_memory if number else spoil_activity
            make_ill(recording)
        path.write_text(json.dumps(recording))
    return os.pathsep.join(map(str, paths))


def spoil_activity(recording: Any) -> None:
    """All of its time in use, hardly any of its multiprocessors; no memory left; too hot."""
    for state in states_of(recording):
        calls, metrics = recording[state], recording[f"{state}_gpm"]["metrics"]
        calls["nvmlDeviceGetUtilizationRates()"]["value"]["gpu"] = 100
        metrics["NVML_GPM_METRIC_SM_UTIL"]["value"] = 0.5
        memory = calls["nvmlDeviceGetMemoryInfo()"]["value"]
        memory["used"] = memory["total"] * 99 // 100
        calls["nvmlDeviceGetCurrentClocksEventReasons()"]["value"] = 0x40


def spoil_memory(recording: Any) -> None:
    """An error that is not corrected, each time that it is under load, and no row left to replace a bad one with."""
    recording["load"]["nvmlDeviceGetTotalEccErrors(1,0)"]["value"] += 1
    for state in states_of(recording):
        recording[state]["nvmlDeviceGetRemappedRows()"]["value"] = [0, 0, 0, 1]


ROLES = {"server": serve, "trainer": train, "stalled": stall, "finished": finish}


def main() -> None:
    """One role, as well as the first line of stdin says."""
    role = sys.argv[1]
    if sys.stdin.readline().strip() == "ill":
        ill.set()
    gpus = write_recordings() if role == "trainer" else None
    otelml.configure(service_name=role, nvml_replay=gpus)
    print("ready", flush=True)
    threading.Thread(target=listen, daemon=True).start()
    ROLES[role]()


if __name__ == "__main__":
    main()
