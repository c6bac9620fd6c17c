"""`make demo` as a user sees it: it ends well, it reads what it shows from endpoint and files, it stops on Ctrl-C."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest
from scipy.stats import entropy

if TYPE_CHECKING:
    from types import ModuleType

EXAMPLES = Path(__file__).parents[2] / "examples"

SCRAPE = """\
# TYPE ml_stage_duration_seconds histogram
ml_stage_duration_seconds_bucket{ml_stage_name="a",le="1.0"} 2.0
ml_stage_duration_seconds_bucket{ml_stage_name="a",le="2.0"} 6.0
ml_stage_duration_seconds_bucket{ml_stage_name="a",le="+Inf"} 6.0
ml_stage_duration_seconds_count{ml_stage_name="a"} 6.0
ml_stage_duration_seconds_sum{ml_stage_name="a"} 7.0
ml_stage_duration_seconds_bucket{ml_stage_name="a",error_type="ValueError",le="1.0"} 0.0
ml_stage_duration_seconds_bucket{ml_stage_name="a",error_type="ValueError",le="2.0"} 0.0
ml_stage_duration_seconds_bucket{ml_stage_name="a",error_type="ValueError",le="+Inf"} 2.0
ml_stage_duration_seconds_count{ml_stage_name="a",error_type="ValueError"} 2.0
# TYPE ml_stage_items counter
ml_stage_items_total{ml_stage_name="a"} 64.0
# TYPE python_info gauge
python_info{version="3"} 1.0
"""


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The demo's functions."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("demo")


@pytest.fixture
def readback(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The functions that read telemetry back."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("readback")


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The pipeline's functions."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("behaviour_pipeline")


def start_demo(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """The demo in a process group of its own, as a terminal has it; its files go below `folder`."""
    return subprocess.Popen(
        [sys.executable, EXAMPLES / "demo.py", *arguments], cwd=folder, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def start_program(code: str) -> subprocess.Popen[str]:
    """A program of one line in the place of the pipeline."""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_a_scrape_is_summed_by_stage(readback: ModuleType) -> None:
    """Buckets add up over error types, failures and items are told apart, other metrics are ignored."""
    (name, stage), *rest = readback.read_stages(SCRAPE).items()
    assert (name, dict(stage.buckets), stage.sum_s, stage.failed, stage.items, rest) == (
        "a", {1.0: 2, 2.0: 6, math.inf: 8}, 7, 2, 64, [],
    )  # fmt: skip


def test_quantiles_are_those_of_promql(readback: ModuleType) -> None:
    """Linear within a bucket, from zero in the first, and the last finite bound where the rank lies beyond it."""
    buckets = {1.0: 2.0, 2.0: 6.0, math.inf: 8.0}
    assert [readback.quantile(q, buckets) for q in (0.125, 0.25, 0.5, 0.75, 0.99)] == [
        0.5,
        1.0,
        1.5,
        2.0,
        2.0,
    ]


def test_rates_are_growth_per_second(readback: ModuleType) -> None:
    """A counter's rate is its growth over the time between first and last sample; one sample has none."""
    assert readback.rate(iter([(1.0, 10.0), (2.0, 11.0), (3.0, 30.0)])) == 10.0
    assert readback.rate([(1.0, 10.0)]) == readback.rate([]) == 0.0


def test_rotated_files_are_read_oldest_first(readback: ModuleType, tmp_path: Path) -> None:
    """The last line read is the last one written, whatever a rotated file is called."""
    for age, name in enumerate(["metrics.jsonl", "metrics.jsonl.1", "metrics.jsonl.2"]):
        (tmp_path / name).write_text(json.dumps(age))
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert readback.read_lines(tmp_path, "metrics") == [2, 1, 0]


def test_fsq_uses_each_code_and_no_other(pipeline: ModuleType) -> None:
    """Levels 8, 6, 5 make 240 codes; latents wide enough reach all of them."""
    quantizer = pipeline.FiniteScalarQuantizer((8, 6, 5), np.ones(3))
    codes = quantizer.encode(np.random.default_rng(0).normal(0.0, 2.0, (50_000, 3)))
    assert set(codes.tolist()) == set(range(240))
    assert quantizer.health(codes)[1] == 1.0


def test_fsq_keeps_neighbours_apart_by_one_step(pipeline: ModuleType) -> None:
    """A latent moved along its first dimension passes that dimension's levels in order, and those only."""
    quantizer = pipeline.FiniteScalarQuantizer((8, 6, 5), np.ones(3))
    sweep = np.zeros((1000, 3)) - 9.0
    sweep[:, 0] = np.linspace(-9.0, 9.0, 1000)
    assert list(dict.fromkeys(quantizer.encode(sweep).tolist())) == list(range(8))


def test_perplexity_is_the_exponential_of_entropy(pipeline: ModuleType) -> None:
    """The codes' perplexity equals scipy's."""
    codes = np.random.default_rng(1).integers(0, 50, 2000)
    perplexity, usage = pipeline.FiniteScalarQuantizer((8, 6, 5), np.ones(3)).health(codes)
    assert perplexity == pytest.approx(np.exp(entropy(np.bincount(codes))))
    assert usage == 50 / 240


def test_smoothing_removes_flicker_and_keeps_bouts(pipeline: ModuleType) -> None:
    """Single frames of another label disappear; a bout stays, late by the dwell at most."""
    labels = np.repeat([3, 1, 4], 40)
    flickering = labels.copy()
    flickering[[5, 20, 60, 100]] = 9
    smoothed = pipeline.smooth(flickering, 7, 5)
    assert list(dict.fromkeys(smoothed.tolist())) == [3, 1, 4]
    assert np.count_nonzero(smoothed != labels) == 2 * 4


def test_the_demo_shows_what_the_pipeline_recorded(readback: ModuleType, tmp_path: Path) -> None:
    """It ends with success, every part of its report is there, and the files hold every call of the program."""
    with start_demo(tmp_path, "--recordings", "4") as process:
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    report = output.partition("\nStages, from ")[2]
    for expected in (
        r"multimodal_fusion +\d+ +1 ", r"serve_batch +\d+ +1 ", r"mean +p50 +p95 +p99 +calls/s +items/s",
        r"fsq_encoding +4\n", r"temporal_smoothing +4\n", r"qa_exception +1\n", r"epoch_complete +12\n",
        r"budget +\d+\n", r"[1-9] of the spans failed; 0 miss their parent", r"MiB of memory", r"traces\S*jsonl",
    ):  # fmt: skip
        assert re.search(expected, report), f"{expected} is missing in:\n{output}"
    (folder,) = tmp_path.glob("telemetry/behaviour_pipeline/*")
    measured = Counter()
    for attributes, count in readback.read_final_points(
        readback.read_lines(folder, "metrics")[-1], "ml.stage.duration"
    ):
        measured[attributes["ml.stage.name"]] += count
    # 1200 frames to train on, 4 recordings of 960 to serve; frame 500 of the first is corrupt, and the last 11 of its
    # batch of 32 are not looked at.
    assert measured["multimodal_fusion"] == 1200 + 4 * 960 - 11
    assert (measured["serve_batch"], measured["cluster"], measured["train_epoch"]) == (120, 119, 12)


def test_ctrl_c_ends_the_demo_cleanly(tmp_path: Path) -> None:
    """Ctrl-C stops program and demo without a traceback, and leaves no process behind."""
    with start_demo(tmp_path) as process:
        for line in process.stdout:
            if "Recording 0" in line:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        output = process.communicate(timeout=30)[0]
    assert (process.returncode, "Traceback" in output) == (130, False), output
    assert children
    assert psutil.wait_procs(children, timeout=10)[1] == []


def test_missing_telemetry_fails_the_demo(demo: ModuleType) -> None:
    """A pipeline that records nothing is reported, not shown as an empty table."""
    with start_program("print('no telemetry here')") as child:
        seen = demo.run(child)
    with pytest.raises(demo.MissingTelemetryError, match="no stage multimodal_fusion"):
        demo.show(seen)


def test_a_failing_pipeline_fails_the_demo(demo: ModuleType) -> None:
    """The pipeline's exit code is not swallowed."""
    with start_program("exit(3)") as child, pytest.raises(demo.MissingTelemetryError, match="exit code 3"):
        demo.run(child)
