"""A program that emits the whole vocabulary: a round for each line on stdin, and what it counted so far on stdout.

It stands alone because boards, rules and their pictures need one program with everything in it, whose numbers are
known. What takes time takes little; latencies that are handed in are made up.

    while sleep 1; do echo; done | python tests/kit/emitter.py digits
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import otelml
from otelml import pipeline, quality
from otelml.gpu.recordings import read_recording, states_of

STEPS = 5
"""Training steps a round."""
REQUESTS, FAILED_REQUESTS = 10, 1
"""Requests to the model `digits` a round, and how many of them fail."""
POSTPROCESSED, FAILED_POSTPROCESSED = 4, 1
"""How often the stage `postprocess` runs a round, and how many of these fail."""
ROUNDS = 400
"""What the run plans; it ends early with stdin."""

RANK = int(os.environ.get("RANK", "0"))
rng = np.random.default_rng(RANK)
counted: Counter[str] = Counter()


def work(milliseconds: float) -> None:
    """Something that takes about so long; rank 1 is the slower one."""
    time.sleep(milliseconds / 1000 * rng.lognormal(sigma=0.3) * (1 + 0.6 * RANK))


def stage(name: str, milliseconds: float, items: int = 32) -> None:
    """One stage of a pipeline."""
    with otelml.stage(name, items=items):
        work(milliseconds)
    counted["stages"] += 1


# -----------------------------------------------------------------------------
# training


def batches() -> Iterator[Any]:
    """What the loader gives: now and then it is late."""
    for _ in range(STEPS):
        with otelml.stage("data", items=32):
            work(4)
        yield np.zeros((32, 8))


def train(epoch: Any, number: int) -> None:
    """An epoch of a few steps, whose loss falls; in every tenth the gradient overflows once."""
    for step, batch in enumerate(epoch.steps(batches(), total=STEPS, tokens=32 * 128)):
        stage("forward", 4, len(batch))
        stage("backward", 8, len(batch))
        stage("optimizer", 1, len(batch))
        done = number + step / STEPS
        loss = 0.2 + 2 * np.exp(-done / 40) + rng.normal(scale=0.02)
        overflows = step == 1 and number % 10 == 0
        counted["non_finite"] += overflows
        norm = float("inf") if overflows else 1.5 * np.exp(-done / 120) * rng.lognormal(sigma=0.05)
        rate = 3e-4 * min(1, (done + 1) / 10) * 0.5 * (1 + np.cos(np.pi * done / ROUNDS))
        epoch.update({"loss": loss, "lr": rate, "grad_norm": norm, "entropy": 2 * loss})
        counted["steps"] += 1
        counted["samples"] += len(batch)
    for _ in epoch.steps([np.zeros((32, 8))] * 2, phase="eval"):
        work(3)
    epoch.log({"val_loss": 0.25 + 2 * np.exp(-number / 40), "accuracy": 1 - np.exp(-number / 30)})


# -----------------------------------------------------------------------------
# serving


def serve(number: int) -> None:
    """Requests to two models; of those to `digits`, some fail."""
    for request in range(REQUESTS):
        error = "timeout" if request < FAILED_REQUESTS else None
        confidence = None if error else rng.beta(8, 2, size=32)
        predicted = None if error else rng.choice(["zero", "one", "two"], 32, p=[0.5, 0.3, 0.2])
        otelml.record_inference(
            "digits", float(rng.lognormal(-3.5, 0.5)), version="3", device="cuda:0",
            batch_size=32, confidence=confidence, predicted=predicted, error=error,
        )  # fmt: skip
        counted["requests"] += 1
        counted["failed"] += error is not None
    otelml.record_evaluation("digits", accuracy=0.9 + 0.08 * (1 - np.exp(-number / 30)), f1=0.93)
    otelml.record_evaluation("topics", accuracy=0.8)


def serve_topics() -> None:
    """Requests to `topics` that take their time, on a thread of their own: some are always in flight."""
    own = np.random.default_rng(RANK + 10)
    while True:
        with otelml.inference("topics", version="1", device="cpu") as inference:
            inference.batch(int(own.integers(1, 9)))
            inference.confidence(own.beta(5, 3, size=8))
            inference.confidence(7.0)  # no fraction: left out, and counted as that
            inference.predicted(own.choice(["sports", "politics"], 8))
            time.sleep(own.lognormal(-1, 0.6))


def convert() -> None:
    """Models get another format; one format does not work."""
    otelml.record_model_size("digits", 48_000_000, format="safetensors")
    otelml.record_model_size("digits", 12_500_000, format="onnx")
    otelml.record_model_size("topics", 230_000_000, format="safetensors")
    with otelml.model_conversion("digits", "onnx"):
        work(120)
    try:
        with otelml.model_conversion("digits", "coreml"):
            work(5)
            raise NotImplementedError
    except NotImplementedError:
        counted["failed_conversions"] += 1


# -----------------------------------------------------------------------------
# the pipeline, its codebook, its data


def run_pipeline(quantizer: otelml.Quantizer, number: int) -> None:
    """The stages that boards know, a codebook that slowly collapses, clusters, transitions, rows."""
    for name, milliseconds in (("fusion", 6), ("preprocess", 3), ("encode", 12), ("quantize", 2)):
        stage(name, milliseconds)
    for name, milliseconds in (("cluster", 8), ("smooth", 1), ("classify", 5), ("checkpoint", 15)):
        stage(name, milliseconds)
    used = max(40, 240 - 4 * max(0, number - 20))
    quantizer.observe(rng.integers(0, used, 600))
    pipeline.clustering(
        algorithm="gmm", k_clusters=int(rng.integers(8, 11)), n_samples=600, silhouette_score=0.4
    )
    before = int(rng.integers(80, 120))
    pipeline.temporal_smoothing(
        policy="median_hysteresis", min_dwell=5, window_size=7,
        transitions_before=before, transitions_after=before // 4,
    )  # fmt: skip
    quality.issue("nan_detection", "info", int(rng.integers(1, 9)), 600, action="interpolated")
    quality.issue("outlier_detection", "info", int(rng.integers(1, 4)), 600, action="dropped")
    postprocess()


def postprocess() -> None:
    """A stage that fails now and then."""
    for run in range(POSTPROCESSED):
        counted["postprocessed"] += 1
        try:
            with otelml.stage("postprocess", items=10):
                work(2)
                if run < FAILED_POSTPROCESSED:
                    raise ValueError
        except ValueError:
            counted["failed_postprocessed"] += 1


def draw_features(shift: float, size: int) -> dict[str, Any]:
    """Rows of two features and a confidence; a shift moves the numbers."""
    return {
        "age": rng.normal(40 + 10 * shift, 10, size),
        "city": rng.choice(["Bern", "Oslo", "Porto"], size, p=[0.5, 0.3, 0.2]),
        "confidence": rng.beta(8, 2 + 2 * shift, size),
    }


def watch_drift() -> otelml.DriftMonitor:
    """A monitor whose window closes every few rounds."""
    kinds = {"confidence": "confidence"}
    reference = otelml.DriftReference.fit(draw_features(0, 20_000), kinds=kinds, bins=10)
    return otelml.DriftMonitor(reference, model="digits", window=1000, patience=2)


# -----------------------------------------------------------------------------
# what goes wrong


def misuse(monitor: otelml.DriftMonitor, number: int) -> None:
    """A batch of a wrong shape, more users than a metric has series for, a loop with far more spans than its budget."""
    monitor.observe({"age": np.zeros((3, 2))})
    requests = otelml.counter("emitter.requests", unit="{request}")
    for user in range(100):
        requests.bind(user=f"user{100 * number + user}").add(1)
    for _ in range(100):
        with otelml.stage("tokenize", items=1):
            pass
        counted["last_stages"] += 1


def write_recording(path: Path) -> None:
    """The recording of an H200, and what it lacks: a fan, reserved memory, this process, a failing call, an error."""
    recording = read_recording("h200")
    idle, load = (recording[state]["nvmlDeviceGetTotalEnergyConsumption()"] for state in ("idle", "load"))
    # The replay shows the two readings at an interval that is not the recording's: as much as 804 W make of it.
    interval_s = float(os.environ.get("OTELML_GPU_INTERVAL", "5").removesuffix("s"))
    load["value"] = idle["value"] + int(804_000 * interval_s)
    for state in states_of(recording):
        calls = recording[state]
        memory = calls["nvmlDeviceGetMemoryInfo()"]["value"]
        reserved = {**memory, "reserved": 600 << 20, "used": memory["used"] - (600 << 20)}
        process = {"pid": os.getpid(), "usedGpuMemory": 1_453_326_336}
        calls["nvmlDeviceGetMemoryInfo_v2()"] = {"us": 5, "value": reserved}
        calls["nvmlDeviceGetNumFans()"] = {"us": 1, "value": 1}
        calls["nvmlDeviceGetFanSpeed_v2(0)"] = {"us": 1, "value": 30 if state == "idle" else 65}
        calls["nvmlDeviceGetComputeRunningProcesses_v3()"] = {"us": 30, "value": [process]}
        calls["nvmlDeviceGetOfaUtilization()"] = {"us": 1, "code": 999}
    recording["events"] = [{"after_walks": 4, "xid": 63}]
    path.write_text(json.dumps(recording))


def main() -> None:
    """A round for each line."""
    gpu = Path.cwd() / "gpu.json"
    write_recording(gpu)
    otelml.configure(service_name=sys.argv[1], nvml_replay=f"{gpu}{os.pathsep}{gpu}")
    for _ in range(2):
        threading.Thread(target=serve_topics, daemon=True).start()
    quantizer = otelml.Quantizer("behaviour", levels=[8, 6, 5])
    monitor = watch_drift()
    with otelml.run("emitter", progress=False) as run:
        for number, epoch in enumerate(run.epochs(ROUNDS)):
            if not sys.stdin.readline():
                break
            train(epoch, number)
            serve(number)
            convert()
            run_pipeline(quantizer, number)
            monitor.observe(draw_features(max(0.0, (number - 60) / 200), 250))
            misuse(monitor, number)
            otelml.record_resources(cpu=0.45, memory=2 << 30, gpu={"npu": 0.4}, gpu_memory={"npu": 4 << 30})
            counted["rounds"] += 1
            print(json.dumps(counted), flush=True)


if __name__ == "__main__":
    main()
