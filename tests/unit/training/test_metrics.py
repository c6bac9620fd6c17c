"""What a run logs: gauges, events, what is not finite, and what lives on a device that nobody may wait for."""

from __future__ import annotations

import hashlib
import os
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from otelml import testing
from otelml.instruments import internal
from otelml.training import run
from otelml.training.artifacts import read_artifact
from otelml.training.metrics import MAX_TOLD, describe, read_number

TRAIN, EVAL = {"ml.training.phase": "train"}, {"ml.training.phase": "eval"}


def fields_of(telemetry: testing.Capture, name: str) -> list[dict[str, Any]]:
    """The fields of each event of that name, without those of the run."""
    return [
        {
            key: value
            for key, value in data.log_record.attributes.items()
            if not key.startswith(("ml.", "code."))
        }
        for data in telemetry.logs
        if data.log_record.event_name == f"ml.{name}"
    ]


def test_known_names_have_gauges_of_their_own_and_all_are_gone_after_the_run() -> None:
    """The latest value of each; nothing of a run that is over."""
    with testing.capture() as telemetry:
        with run("a") as active:
            active.log({"loss": 2.0, "lr": 0.1, "grad_norm": 3.0, "val_loss": 4.0, "f1": 0.5})
            active.log({"loss": 1.0})
            points = telemetry.points()
            found = {
                (name, *sorted(dict(point.attributes).values())): point.value
                for name, of_name in points.items()
                for point in of_name
                if name.startswith("ml.training")
            }
            telemetry.assert_conforms()
        gone = [name for name in telemetry.points() if name.startswith("ml.training")]
    assert found == {
        ("ml.training.loss", "train"): 1.0,
        ("ml.training.loss", "eval"): 4.0,
        ("ml.training.learning_rate", "train"): 0.1,
        ("ml.training.gradient.norm", "train"): 3.0,
        ("ml.training.metric", "f1", "train"): 0.5,
    }
    assert gone == []


def test_loss_within_evaluation_is_the_evaluations() -> None:
    """The phase of the steps around it says which."""
    with testing.capture() as telemetry, run("a") as active:
        for _ in active.steps([1], phase="eval"):
            active.update({"loss": 5.0})
        active.update({"loss": 6.0})
        assert telemetry.value("ml.training.loss", EVAL) == 5.0
        assert telemetry.value("ml.training.loss", TRAIN) == 6.0


def test_other_metrics_of_training_and_evaluation_are_apart_too() -> None:
    """By the steps around them, or by what their name says; each with its own last value."""
    with testing.capture() as telemetry, run("a") as active:
        for phase, accuracy in (("train", 0.9), ("eval", 0.7)):
            for _ in active.steps([1], phase=phase):
                active.update({"accuracy": accuracy, "train_f1": 0.5, "val_f1": 0.4, "eval_f1": 0.3})
        active.log({"validity": 1.0})
        found = {
            (attributes["ml.metric.name"], attributes["ml.training.phase"]): point.value
            for point in telemetry.points()["ml.training.metric"]
            for attributes in [dict(point.attributes)]
        }
        telemetry.assert_conforms()
    assert found == {
        ("accuracy", "train"): 0.9,
        ("accuracy", "eval"): 0.7,
        ("train_f1", "train"): 0.5,
        ("val_f1", "eval"): 0.4,
        ("eval_f1", "eval"): 0.3,
        ("validity", "train"): 1.0,
    }
    assert active.latest_metrics()["eval_accuracy"] == 0.7


def test_what_is_not_finite_is_counted_told_with_its_step_and_absent() -> None:
    """Each value is counted, each episode told once, and the gauge is absent meanwhile."""
    nan, inf = float("nan"), float("inf")
    with testing.capture() as telemetry, run("a") as active:
        active.set_epoch(2)
        for step, loss in enumerate([1.0, nan, inf, 2.0, -inf]):
            active.log({"loss": loss}, step=step)
            gauge = telemetry.value("ml.training.loss", TRAIN)
            assert gauge == (loss if np.isfinite(loss) else None)
        assert telemetry.value("ml.training.non_finite", {"ml.metric.name": "loss"}) == 3
        telemetry.assert_conforms()
    told = [data.log_record for data in telemetry.logs if data.log_record.event_name == "ml.non_finite"]
    assert [(record.body, record.severity_text) for record in told] == [
        ("loss is nan at step 1", "WARN"),
        ("loss is -inf at step 4", "WARN"),
    ]
    assert fields_of(telemetry, "non_finite")[0] == {"metric": "loss", "count": 1, "step": 1, "epoch": 2}
    assert active.summary()["metrics"]["loss"] == {
        "count": 2,
        "last": None,
        "min": 1.0,
        "max": 2.0,
        "mean": 1.5,
    }
    assert "dropped" not in {kind for kind, *_ in internal.totals()}


def test_a_metric_that_comes_and_goes_floods_nothing() -> None:
    """A gradient norm that is infinite every other step: all counted, the first ones told."""
    with testing.capture() as telemetry, run("a") as active:
        for step in range(100):
            active.update({"grad_norm": float("inf") if step % 2 else 1.0})
        assert telemetry.value("ml.training.non_finite", {"ml.metric.name": "grad_norm"}) == 50
    assert len(fields_of(telemetry, "non_finite")) == MAX_TOLD


class DeviceTensor:
    """A one-element tensor on an accelerator: reading it waits, so it must not be read by the training's thread."""

    shape = ()
    dtype = "float32"
    device = "cuda:0"

    def __init__(self, value: float, readers: list[int]) -> None:
        self.value, self.readers = value, readers

    def detach(self) -> DeviceTensor:
        return self

    def clone(self) -> DeviceTensor:
        return DeviceTensor(self.value, self.readers)

    def item(self) -> float:
        self.readers.append(threading.get_ident())
        return self.value

    def __float__(self) -> float:
        return self.item()


def test_values_on_a_device_are_read_by_another_thread() -> None:
    """As they were when they were logged, under the step that they were logged at."""
    readers: list[int] = []
    with testing.capture() as telemetry, run("a") as active:
        loss = DeviceTensor(0.5, readers)
        active.log({"loss": loss}, step=3)
        loss.value = 0.25
        active.update({"grad_norm": loss})
        active.set_step(9)
        assert readers == []
        thread = threading.Thread(target=telemetry.tick)
        thread.start()
        thread.join()
        assert telemetry.value("ml.training.loss", TRAIN) == 0.5
        assert telemetry.value("ml.training.gradient.norm", TRAIN) == 0.25
    assert readers
    assert threading.get_ident() not in readers
    [fields] = fields_of(telemetry, "run_metrics")
    assert (fields["metrics"], fields["step"]) == ({"loss": 0.5}, 3)


def test_the_end_of_a_run_waits_for_what_is_still_on_a_device() -> None:
    """The last values are in its final metrics."""
    with testing.capture() as telemetry, run("a") as active:
        active.log({"loss": DeviceTensor(0.5, [])})
    assert fields_of(telemetry, "run_end")[0]["final_metrics"] == {"loss": 0.5}


class Unreadable:
    shape = (2,)

    def __float__(self) -> float:
        raise RuntimeError("no")

    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (1.5, 1.5),
        (3, 3),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.array(2.5), 2.5),
        (np.array([2.5]), 2.5),
        (Decimal("0.5"), 0.5),
        (True, None),
        (np.bool_(True), None),
        ("0.5", None),
        (None, None),
        (np.zeros(3), None),
        (np.array([]), None),
        (10**400, None),
        ([1.0], None),
        (Unreadable(), None),
    ],
)
def test_numbers_are_told_from_what_is_none(value: Any, number: float | None) -> None:
    """Scalars of Python and numpy, one-element arrays; nothing else, and nothing raises."""
    assert read_number(value) == number
    assert type(read_number(value)) in (int, float, type(None))


def test_what_is_no_number_goes_into_the_event_only() -> None:
    """Text, lists, huge integers, objects whose repr raises."""
    with testing.capture() as telemetry, run("a") as active:
        active.log({"note": "x" * 200_000, "odd": Unreadable(), 3: 1.0, "big": 10**400, "naïve ☃": 2})
        names = [dict(p.attributes)["ml.metric.name"] for p in telemetry.points()["ml.training.metric"]]
        telemetry.assert_conforms()
    assert names == ["3", "naïve ☃"]
    assert len(fields_of(telemetry, "run_metrics")) == 1


def test_a_million_names_do_not_eat_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound they are dropped and counted."""
    monkeypatch.setattr("otelml.training.metrics.MAX_NAMES", 10)
    with testing.capture(), run("a") as active:
        active.update({f"m{i}": 1.0 for i in range(50)})
    assert len(active.summary()["metrics"]) == 10
    assert internal.totals()["dropped", "training", "too_many_metrics"] == 40


def test_metrics_in_a_line() -> None:
    """The first numbers, to four digits."""
    assert describe({"loss": 0.123456, "note": "x", "n": 3}) == "loss 0.1235, n 3"


def test_a_file_is_measured_and_hashed(tmp_path: Path) -> None:
    """As hashlib says; the event holds no byte of it."""
    path = tmp_path / "model.pkl"
    path.write_bytes(b"weights" * 500_000)
    with testing.capture() as telemetry, run("a") as active:
        found = active.artifact(path, type="model")
        telemetry.assert_conforms()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (found.size_bytes, found.sha256) == (3_500_000, digest)
    assert fields_of(telemetry, "run_artifact") == [
        {"path": str(path), "artifact_type": "model", "size_bytes": 3_500_000, "sha256": digest}
    ]


def test_a_folder_is_the_digest_of_its_files_by_name(tmp_path: Path) -> None:
    """As `sha256sum` over all files, sorted, would print it; links to folders are not followed."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "sub" / "a.txt").write_text("a")
    (tmp_path / "loop").symlink_to(tmp_path)
    lines = [
        f"{hashlib.sha256(name.encode()).hexdigest()}  {path}\n"
        for path, name in (("b.txt", "b"), ("sub/a.txt", "a"))
    ]
    found = read_artifact(tmp_path)
    assert (found.size_bytes, found.sha256) == (2, hashlib.sha256("".join(lines).encode()).hexdigest())


def test_what_cannot_be_read_does_no_harm(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A missing file and a pipe, which would never end: named, counted, said, and without a size."""
    os.mkfifo(tmp_path / "pipe")
    with testing.capture() as telemetry, run("a") as active:
        for name in ("missing", "pipe"):
            found = active.artifact(tmp_path / name)
            assert (found.size_bytes, found.sha256) == (None, None)
    assert internal.totals()["errors", "training", "artifact_unreadable"] == 2
    assert [set(fields) for fields in fields_of(telemetry, "run_artifact")] == [{"path"}] * 2
    assert "artifact not read" in caplog.text


def test_the_losses_of_evaluation_and_training_are_told_apart() -> None:
    """Under one name the training's is `loss`, in events, summary and bars; the evaluation's is `eval_loss`."""
    with testing.capture() as telemetry, run("a") as active:
        for epoch in active.epochs(1):
            for phase, loss in (("eval", 8.0), ("train", 1.0), ("eval", 9.0)):
                for _ in epoch.steps([1], phase=phase):
                    active.log({"loss": loss, "val_loss": 3.0})
    expected = {"eval_loss": 9.0, "val_loss": 3.0, "loss": 1.0}
    [epoch_complete] = fields_of(telemetry, "epoch_complete")
    assert (epoch_complete["loss"], epoch_complete["metrics"]) == (1.0, expected)
    assert fields_of(telemetry, "run_end")[0]["final_metrics"] == expected
    assert {name: found["last"] for name, found in active.summary()["metrics"].items()} == expected


def test_a_name_that_stands_for_the_evaluation_is_not_taken_twice() -> None:
    """Whoever logs `eval_loss` too finds both."""
    with testing.capture(), run("a") as active:
        active.log({"loss": 1.0, "eval_loss": 2.0})
        for _ in active.steps([1], phase="eval"):
            active.log({"loss": 3.0})
    assert active.latest_metrics() == {"loss": 1.0, "eval_loss": 2.0, "loss (eval)": 3.0}


def test_the_end_of_a_run_leaves_the_gauges_of_others_alone() -> None:
    """It takes away what it was the last to set; and after it nothing of it comes back."""
    with testing.capture() as telemetry:
        with run("outer") as outer:
            outer.update({"loss": 1.0, "lr": 0.1})
            with run("inner") as inner:
                inner.update({"loss": 2.0, "lr": 0.2})
                inner.set_epoch(3)
                outer.update({"loss": 1.5})
            inner.update({"loss": 9.0, "lr": float("nan"), "f1": 1.0})
            inner.set_epoch(4)
            assert telemetry.value("ml.training.loss", TRAIN) == 1.5
            left = {name for name in telemetry.points() if name.startswith("ml.training")}
            assert left == {"ml.training.loss", "ml.training.non_finite"}
        outer.log({"loss": 7.0})
        left = {name for name in telemetry.points() if name.startswith("ml.training")}
    assert left == {"ml.training.non_finite"}
