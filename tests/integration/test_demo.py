"""`make demo` as a user sees it: it ends well, it reads what it shows from endpoint and files, it stops on Ctrl-C."""

from __future__ import annotations

import dataclasses
import importlib
import json
import math
import os
import re
import shutil
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
    from collections.abc import Callable, Iterator
    from types import ModuleType
    from typing import Any

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
def report(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The functions that show it."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("report")


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The pipeline's functions."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("behaviour_pipeline")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What the demo has seen of a pipeline that served four recordings, the last two with the shift in them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.syspath_prepend(EXAMPLES)
        monkeypatch.chdir(tmp_path_factory.mktemp("demo"))
        demo = importlib.import_module("demo")
        with demo.start(["--recordings", "4"]) as child:
            seen = demo.run(child)
        yield dataclasses.replace(seen, folder=seen.folder.resolve())


@pytest.fixture
def points(seen: Any, readback: ModuleType) -> Callable[..., dict[Any, float]]:
    """Reads a metric off the last line of metrics.jsonl: values by one of its attributes, summed over the others."""
    last = readback.read_lines(seen.folder, "metrics")[-1]

    def read(metric: str, attribute: str, **only: str) -> dict[Any, float]:
        found: Counter[Any] = Counter()
        for attributes, value in readback.read_final_points(last, metric):
            if {key.replace("_", "."): one for key, one in only.items()}.items() <= attributes.items():
                found[attributes.get(attribute)] += value
        return dict(found)

    return read


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
    (name, stage), *rest = readback.read_stages(readback.read_scrape(SCRAPE)).items()
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


def test_fsq_keeps_neighbours_apart_by_one_step(pipeline: ModuleType) -> None:
    """A latent moved along its first dimension passes that dimension's levels in order, and those only."""
    quantizer = pipeline.FiniteScalarQuantizer((8, 6, 5), np.ones(3))
    sweep = np.zeros((1000, 3)) - 9.0
    sweep[:, 0] = np.linspace(-9.0, 9.0, 1000)
    assert list(dict.fromkeys(quantizer.encode(sweep).tolist())) == list(range(8))


def test_the_codebook_sees_the_codes(pipeline: ModuleType) -> None:
    """What the quantizer encodes is what its codebook has counted: its perplexity equals scipy's."""
    quantizer = pipeline.FiniteScalarQuantizer((8, 6, 5), np.ones(3))
    codes = quantizer.encode(np.random.default_rng(1).normal(0.0, 0.5, (4000, 3)))
    stats = quantizer.codebook.stats()
    assert stats.perplexity == pytest.approx(np.exp(entropy(np.bincount(codes))))
    assert (stats.codes, stats.dead_codes) == (4000, 240 - len(np.unique(codes)))


def test_smoothing_removes_flicker_and_keeps_bouts(pipeline: ModuleType) -> None:
    """Single frames of another label disappear; a bout stays, late by the dwell at most."""
    labels = np.repeat([3, 1, 4], 40)
    flickering = labels.copy()
    flickering[[5, 20, 60, 100]] = 9
    smoothed = pipeline.smooth(flickering, 7, 5)
    assert list(dict.fromkeys(smoothed.tolist())) == [3, 1, 4]
    assert np.count_nonzero(smoothed != labels) == 2 * 4


def test_the_demo_shows_what_the_pipeline_recorded(tmp_path: Path) -> None:
    """It ends with success, and every part of its report is there."""
    with start_demo(tmp_path, "--recordings", "4") as process:
        output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    report = output.partition("\nStages, from ")[2]
    for expected in (
        r"multimodal_fusion +\d+ +1 ", r"serve_batch +\d+ +1 ", r"mean +p50 +p95 +p99 +calls/s +items/s",
        r"of behaviour: completed in", r"digits 1 +cpu +\d+ ", r"behaviour_fsq +\d+ ", r"gmm: 10 clusters",
        r"the camera moved with recording 2,", r"finite_pixels +dropped +32 +warning ", r"fsq_encoding +2\b",
        r"temporal_smoothing +4\b", r"qa_exception +1\b", r"epoch_complete +12\b", r"drift_detected +4\b",
        r"budget \d+", r"[1-9] of the spans failed; 0 miss their parent", r"MiB of memory", r"traces\S*jsonl \d+ KiB",
    ):  # fmt: skip
        assert re.search(expected, report), f"{expected} is missing in:\n{output}"
    assert len(output.splitlines()) <= 90


def test_the_files_hold_every_call(seen: Any, points: Callable[..., dict[Any, float]]) -> None:
    """1200 frames to train on and 4 recordings of 960 to serve, of which one batch of 32 is damaged."""
    stages = points("ml.stage.duration", "ml.stage.name")
    # Frame 500 of the first recording is corrupt; the last 11 of its batch are not looked at.
    assert stages["multimodal_fusion"] == 1200 + 4 * 960 - 11
    assert (stages["serve_batch"], stages["cluster"], stages["postprocess"]) == (120, 119, 4)
    served = 4 * 960 - 32
    assert {
        "requests": points("ml.inference.duration", "ml.model.name"),
        "confidences": points("ml.inference.confidence", "ml.model.name"),
        "codes": points("ml.quantizer.codes", "ml.quantizer.name"),
        "rows": points("ml.data.rows", "ml.data.action"),
        "steps": points("ml.training.steps", "ml.training.phase"),
        "waits": points("ml.training.data.wait.duration", "ml.training.phase"),
        "samples": points("ml.training.samples", "ml.training.phase"),
        "accuracies": points("ml.drift.observations", "ml.feature.name")["brightness"],
    } == {
        "requests": {"digits": 119},
        "confidences": {"digits": served},
        "codes": {"behaviour_fsq": served},
        "rows": {"dropped": 32},
        "steps": {"train": 12 * 37},
        "waits": {"train": 12 * 37},
        "samples": {"train": 12 * 1200},
        "accuracies": served,
    }
    assert sum(points("ml.inference.predictions", "ml.prediction.class").values()) == served


def test_the_numbers_shown_are_those_of_the_files(
    seen: Any, readback: ModuleType, report: ModuleType, capsys: pytest.CaptureFixture[str],
    points: Callable[..., dict[Any, float]],
) -> None:  # fmt: skip
    """Training as the files have it, for that was over long before the last scrape; requests no more than they have."""
    report.show(seen)
    shown = capsys.readouterr().out
    epochs = [one for one in readback.read_lines(seen.folder, "logs") if one["event"] == "epoch_complete"]
    (row,) = re.findall(r"^  (12) +(\d+) +(\d+) .* (\S+) to (\S+) +(\S+) to (\S+)$", shown, re.MULTILINE)
    assert row == (
        "12", "444", "14400", f"{epochs[0]['loss']:.2f}", f"{epochs[-1]['loss']:.2f}",
        f"{epochs[0]['accuracy']:.2f}", f"{epochs[-1]['accuracy']:.2f}",
    )  # fmt: skip
    (requests,) = re.findall(r"^  digits 1 +cpu +(\d+)", shown, re.MULTILINE)
    assert 0 < int(requests) <= points("ml.inference.duration", "ml.model.name")["digits"]
    (silhouette,) = points("ml.evaluation.score", "ml.model.name", ml_evaluation_metric="silhouette").values()
    assert f"silhouette {silhouette:.2f};" in shown


def test_drift_is_found_after_the_shift_and_not_before(
    seen: Any, readback: ModuleType, points: Callable[..., dict[Any, float]]
) -> None:
    """Every feature's alert comes once, after the camera moved; until then no scrape has one, or a score above 0.2."""
    records = readback.read_lines(seen.folder, "logs")
    (moved,) = readback.read_events(records, "camera_moved")
    found = readback.read_events(records, "drift_detected")
    assert sorted(one["feature"] for one in found) == ["accuracy", "brightness", "confidence", "embedding"]
    assert all(moved["at_s"] < one["at_s"] for one in found)
    assert points("ml.drift.alerts", "ml.feature.name") == {one["feature"]: 1 for one in found}
    for one in found:
        gauge = points("ml.drift.score", "ml.feature.name", ml_drift_method=one["method"])[one["feature"]]
        assert gauge == one["score"] > one["threshold"] > one["noise_floor"] > 0
    before = [
        readback.read_scrape(text) for at_s, text in seen.scrapes if seen.began_at_s + at_s < moved["at_s"]
    ]
    scores = [
        value
        for scrape in before
        if "ml_drift_score" in scrape
        for method in ("psi", "difference")
        for _, value in readback.read_values(scrape, "ml_drift_score", ml_drift_method=method)
    ]
    assert scores
    assert max(scores) < 0.2
    assert all(
        readback.read_value(s, "ml_drift_alerts_total") == 0 for s in before if "ml_drift_alerts_total" in s
    )


@pytest.mark.parametrize(
    "name",
    [
        "ml_training_step_duration_seconds", "ml_training_data_wait_duration_seconds", "ml_training_steps_total",
        "ml_inference_duration_seconds", "ml_inference_confidence", "ml_inference_predictions_total",
        "ml_quantizer_perplexity", "ml_quantizer_code_dead", "ml_clustering_cluster_count",
        "ml_smoothing_transitions_total", "ml_drift_score", "ml_drift_noise_floor", "hw_gpu",
    ],
)  # fmt: skip
def test_a_series_that_is_missing_fails_the_demo(
    seen: Any, report: ModuleType, readback: ModuleType, name: str
) -> None:
    """Without a metric at the endpoint there is an error that names it, and no table with a gap."""
    scrapes = [(at_s, re.sub(rf"^{name}.*\n", "", text, flags=re.MULTILINE)) for at_s, text in seen.scrapes]
    if name == "hw_gpu":  # GPUs are told apart by this label, which power and temperature have too
        scrapes = [(at_s, re.sub(r"^.*hw_id=.*\n", "", text, flags=re.MULTILINE)) for at_s, text in scrapes]
    with pytest.raises(readback.MissingTelemetryError, match="no GPU" if name == "hw_gpu" else f"no {name}"):
        report.show(dataclasses.replace(seen, scrapes=scrapes))


@pytest.mark.parametrize(
    "event",
    ["run_end", "epoch_complete", "drift_detected", "camera_moved", "qa_exception", "config", "fsq_encoding"],
)
def test_an_event_that_is_missing_fails_the_demo(
    seen: Any, report: ModuleType, readback: ModuleType, tmp_path: Path, event: str
) -> None:
    """Without an event in the log there is an error that names it."""
    with pytest.raises(readback.MissingTelemetryError, match=f"no event {event}"):
        report.show(
            with_other_logs(seen, tmp_path, lambda record: None if record["event"] == event else record)
        )


def test_drift_that_is_found_too_early_fails_the_demo(
    seen: Any, report: ModuleType, readback: ModuleType, tmp_path: Path
) -> None:
    """An alert before the shift is no success."""
    late = {"timestamp": "2999-01-01T00:00:00Z"}
    changed = with_other_logs(
        seen, tmp_path, lambda record: {**record, **(late if record["event"] == "camera_moved" else {})}
    )
    with pytest.raises(readback.MissingTelemetryError, match="before there was any"):
        report.show(changed)


def with_other_logs(
    seen: Any, folder: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]
) -> Any:
    """The same with copies of the files in which every log record is changed, or left out."""
    copy = Path(shutil.copytree(seen.folder, folder / "copy"))
    records = [json.loads(line) for line in (copy / "logs.jsonl").read_text().splitlines()]
    changed = [change(record) for record in records]
    (copy / "logs.jsonl").write_text("".join(json.dumps(record) + "\n" for record in changed if record))
    return dataclasses.replace(seen, folder=copy)


def test_ctrl_c_ends_the_demo_cleanly(tmp_path: Path) -> None:
    """Ctrl-C stops program and demo without a traceback, and leaves no process behind."""
    with start_demo(tmp_path) as process:
        for line in process.stdout:
            if "Recording  0" in line:
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
