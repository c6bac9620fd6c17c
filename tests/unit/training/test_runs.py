"""A run: its events, its span, what reaches what is written in it, and the status that each end gives it."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import otelml
from otelml import context, testing
from otelml.instruments import internal, timer
from otelml.semconv.conformance import violations
from otelml.training import Run, ending, run


def events_of(telemetry: testing.Capture) -> list[str]:
    """The names of all events, in order, without `ml.`."""
    names = [data.log_record.event_name for data in telemetry.logs]
    return [name.removeprefix("ml.") for name in names if name]


def fields_of(telemetry: testing.Capture, name: str) -> list[dict[str, Any]]:
    """The fields of each event of that name: without those of the run, and without where it was written."""
    return [
        {
            key: value
            for key, value in data.log_record.attributes.items()
            if not key.startswith(("ml.", "code."))
        }
        for data in telemetry.logs
        if data.log_record.event_name == f"ml.{name}"
    ]


@dataclass
class Options:
    lr: float = 0.1
    api_key: str = "sk-123456"


def test_a_run_tells_its_whole_story() -> None:
    """Each event once, with the registry's fields, from the line of the program that caused it."""
    with testing.capture(resource={"ml.run.id": "job-7"}) as telemetry:
        with run("digits", "first", params=Options(), tags={"team": "vision"}) as active:
            active.params({"model": "mlp", "seed": 3}, depth=2)
            active.log({"loss": 0.5, "note": "warm"}, step=4)
            active.result("accuracy", 0.9, split="test")
            active.tags("quick")
        telemetry.assert_conforms()
    assert events_of(telemetry) == [
        *(
            "run_start",
            "run_params",
            "run_params",
            "run_params",
            "run_metrics",
            "run_result",
            "run_tags",
            "run_end",
        )
    ]
    assert fields_of(telemetry, "run_start") == [
        {"experiment": "digits", "run_name": "first", "tags": {"team": "vision"}, "resumed": False}
    ]
    assert [fields["params"] for fields in fields_of(telemetry, "run_params")] == [
        {"lr": 0.1, "api_key": "***"},
        {"model": "mlp", "seed": 3},
        {"depth": 2},
    ]
    assert fields_of(telemetry, "run_metrics") == [{"metrics": {"loss": 0.5, "note": "warm"}, "step": 4}]
    assert fields_of(telemetry, "run_result") == [
        {"result": "accuracy", "value": 0.9, "metadata": {"split": "test"}}
    ]
    [end] = fields_of(telemetry, "run_end")
    assert end.pop("duration_seconds") > 0
    assert end == {"status": "completed", "final_metrics": {"loss": 0.5}}
    ours = [data.log_record.attributes for data in telemetry.logs]
    assert {attributes["code.file.path"] for attributes in ours} == {__file__}
    assert {attributes["ml.run.id"] for attributes in ours} == {"job-7"}


def test_the_span_of_a_run_holds_what_is_done_in_it() -> None:
    """Its name and attributes are the registry's; stages are its children."""
    with testing.capture() as telemetry:
        with run("digits", "first", run_id="r9"), otelml.stage("forward"):
            pass
        stage, span = telemetry.spans
        telemetry.assert_conforms()
    assert span.name == "run digits"
    assert dict(span.attributes) == {
        "ml.run.id": "r9",
        "ml.run.experiment": "digits",
        "ml.run.name": "first",
        "ml.run.status": "completed",
    }
    assert stage.parent.span_id == span.context.span_id
    assert span.status.is_ok or span.status.is_unset


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ValueError("bad batch"), "failed"),
        (Odd(), "failed"),
        (KeyboardInterrupt(), "killed"),
        (asyncio.CancelledError(), "killed"),
        (SystemExit(), "completed"),
        (SystemExit(0), "completed"),
        (SystemExit(1), "failed"),
        (SystemExit("no data"), "failed"),
        (SystemExit(143), "killed"),
        (GeneratorExit(), "completed"),
    ],
)
def test_an_exception_decides_the_status_and_goes_on_as_it_is(error: BaseException, status: str) -> None:
    """In the event, on the span, on the object; nothing of ours in its way."""
    with testing.capture() as telemetry:
        with pytest.raises(type(error)) as caught, run("digits") as active:
            raise error
        telemetry.assert_conforms()
    assert caught.value is error
    assert active.status == status
    [end] = fields_of(telemetry, "run_end")
    [span] = telemetry.spans
    assert end["status"] == span.attributes["ml.run.status"] == status
    assert ("error_type" in end) == (status != "completed") == ("error.type" in span.attributes)
    assert span.status.is_ok or (status == "completed") == span.status.is_unset


def test_start_and_end_are_the_block_in_two_calls() -> None:
    """Ended twice it ends once; started twice it starts once; a status may be given."""
    with testing.capture() as telemetry:
        active = run("digits").start()
        active.start()
        active.end("killed")
        active.end()
    assert events_of(telemetry) == ["run_start", "run_end"]
    assert active.status == "killed"
    assert internal.totals()["errors", "training", "started_twice"] == 1


def test_an_end_in_a_finally_knows_what_ended_the_run() -> None:
    """And in an `except`; not what was handled before it began; and a status that is given is the status."""
    with testing.capture() as telemetry:
        with pytest.raises(ValueError, match="bad"):
            end_in_a_finally()
        try:
            raise KeyError
        except KeyError:
            run("handled").start().end()
            active = run("given").start()
            try:
                raise StopIteration
            except StopIteration:
                active.end("completed")
    ends = fields_of(telemetry, "run_end")
    assert [(end["status"], end.get("error_type")) for end in ends] == [
        *(("failed", "ValueError"), ("completed", None), ("completed", None))
    ]


def end_in_a_finally() -> None:
    """As programs do that have no block."""
    active = run("a").start()
    try:
        raise ValueError("bad")
    finally:
        active.end()


def test_a_status_that_there_is_not_is_a_failure() -> None:
    """Said once, and counted; a wrong number would be worse."""
    with testing.capture():
        active = run("digits").start()
        active.end("finished")
    assert active.status == "failed"
    assert internal.totals()["errors", "training", "unknown_status"] == 1


def test_ids_are_the_process_and_a_number() -> None:
    """The first run of a process is the process'; others, nested or later, agree on all ranks."""
    with testing.capture(resource={"ml.run.id": "job"}) as telemetry:
        with run("a") as first, run("a") as nested:
            logging.getLogger("app").warning("nested")
        with run("a") as third:
            pass
    assert (first.id, nested.id, third.id) == ("job", "job-2", "job-3")
    starts = fields_of(telemetry, "run_start")
    assert [start.get("parent_run_id") for start in starts] == [None, "job", None]
    [line] = [data.log_record for data in telemetry.logs if data.log_record.body == "nested"]
    assert line.attributes["ml.run.id"] == "job-2"


def test_without_an_id_of_the_process_one_is_made_up_once() -> None:
    """So that the runs of a program without telemetry still belong together."""
    with run("a") as first, run("a") as second:
        pass
    assert second.id == f"{first.id}-2"


def test_a_resumed_run_says_so() -> None:
    """By its id, or by starting an object again."""
    with testing.capture() as telemetry:
        with run("a", run_id="old") as active:
            pass
        with active:
            pass
        with run("a") as fresh:
            pass
    assert [start["resumed"] for start in fields_of(telemetry, "run_start")] == [True, True, False]
    assert (active.id, fresh.id == "old") == ("old", False)


def test_events_are_the_runs_own_wherever_they_are_written() -> None:
    """An outer run that logs within an inner one logs under its own id."""
    with testing.capture(resource={"ml.run.id": "job"}) as telemetry, run("a") as outer, run("a"):
        outer.log({"loss": 1.0})
    [record] = [data.log_record for data in telemetry.logs if data.log_record.event_name == "ml.run_metrics"]
    assert record.attributes["ml.run.id"] == "job"


def test_an_asynchronous_run() -> None:
    """`async with`, and two of them side by side in one loop, each with lines of its own."""

    async def work(name: str) -> None:
        async with run("a", run_id=name) as active:
            for _ in range(3):
                await asyncio.sleep(0)
                active.log({"loss": 1.0})
                logging.getLogger("app").warning(name)

    async def both() -> None:
        await asyncio.gather(work("x"), work("y"))

    with testing.capture() as telemetry:
        asyncio.run(both())
    plain = [data.log_record for data in telemetry.logs if not data.log_record.event_name]
    assert [record.body for record in plain] == [record.attributes["ml.run.id"] for record in plain]
    assert events_of(telemetry).count("run_end") == 2


def test_threads_log_into_one_run_without_losing_a_value() -> None:
    """Counts of four threads add up, and their lines carry the run."""

    def work() -> None:
        for _ in range(500):
            active.update({"loss": 1.0})
        logging.getLogger("app").warning("done")

    with testing.capture() as telemetry, run("a") as active:
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert active.summary()["metrics"]["loss"]["count"] == 2000
    lines = [data.log_record for data in telemetry.logs if data.log_record.body == "done"]
    assert [line.attributes["ml.run.id"] for line in lines] == [active.id] * 4


def test_the_summary_holds_what_is_known() -> None:
    """In plain types, and without a word about what is not known."""
    with testing.capture(), run("a", "b", params={"lr": 1}, tags=["quick"]) as active:
        for epoch in active.epochs(2):
            for _ in epoch.steps(range(3), samples=4, tokens=lambda batch: batch + 1):
                active.update({"loss": 2.0})
        active.update({"loss": 4.0, "bad": float("inf")})
        active.result("score", 1)
        during = active.summary()
    summary = active.summary()
    assert during["status"] == "running"
    assert 0 < during.pop("duration_s") <= summary.pop("duration_s")
    assert summary == {**during, "status": "completed"}
    assert summary == {
        "run_id": active.id,
        "experiment": "a",
        "name": "b",
        "status": "completed",
        "steps": 6,
        "samples": 24,
        "tokens": 12,
        "epochs": 2,
        "params": {"lr": 1},
        "tags": {"quick": True},
        "metrics": {
            "loss": {"count": 7, "last": 4.0, "min": 2.0, "max": 4.0, "mean": 16 / 7},
            "bad": {"count": 0, "last": None},
        },
        "results": {"score": 1},
    }


class Meter:
    """Joules as a GPU would tell them."""

    def __init__(self, joules: float | None) -> None:
        self.joules = joules

    def stop(self, timeout_s: float) -> float | None:
        assert 0 < timeout_s <= 1
        return self.joules


def test_joules_of_a_run_and_its_epochs_where_a_gpu_tells_them() -> None:
    """By whoever has registered a meter; absent without one, and where it does not know."""
    for joules, expected in ((12.5, 12.5), (None, None)):
        context.energy_meter = lambda joules=joules: Meter(joules)
        with testing.capture() as telemetry, run("a") as active:
            for _ in active.epochs(1):
                pass
        assert fields_of(telemetry, "epoch_complete")[0].get("energy_joules") == expected
        assert fields_of(telemetry, "run_end")[0].get("energy_joules") == expected
        assert active.summary().get("energy_joules") == expected


def test_the_end_of_the_program_ends_what_is_open() -> None:
    """The innermost first, killed by a signal; once."""
    with testing.capture() as telemetry:
        outer, inner = run("a", run_id="outer").start(), run("a", run_id="inner").start()
        context.end_all("killed")
        context.end_all("exit")
    assert (outer.status, inner.status) == ("killed", "killed")
    ends = [data.log_record for data in telemetry.logs if data.log_record.event_name == "ml.run_end"]
    assert [record.attributes["ml.run.id"] for record in ends] == ["inner", "outer"]


def test_sys_exit_is_watched_only_while_nobody_else_would_know() -> None:
    """A started run remembers the code for the end of the interpreter; after it `sys.exit` is the interpreter's own."""
    before = sys.exit
    with run("block"):
        assert sys.exit is before
    active = run("a").start()
    with pytest.raises(SystemExit) as caught:
        sys.exit(3)
    context.end_all("exit")
    assert (caught.value.code, active.status) == (3, "failed")
    assert sys.exit is before


def test_a_forked_child_leaves_the_run_to_its_parent() -> None:
    """No event, no end: only the parent's process may say how the run ended."""
    with testing.capture() as telemetry:
        active = run("a").start()
        active.pid = -1
        ending.end_open_runs("killed")
        assert active.status == "running"
        active.end()
        assert "run_end" not in events_of(telemetry)
        assert context.fields() == {}


def test_runs_of_forked_children_have_ids_of_their_own() -> None:
    """Two children of one parent must not both be its run number 2."""
    with run("a", run_id="x"):
        pass
    with run("a") as before:
        for hook in timer.fork_hooks:
            hook()
        with run("a") as after:
            pass
    assert after.id.startswith(f"{before.id}-p")


def test_errors_of_ours_stay_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is given, a run counts its troubles and lets the program go on."""
    monkeypatch.setattr(internal, "raise_errors", False)
    with testing.capture(), run("a") as active:
        active.log(3)  # type: ignore[arg-type]
        active.update(None)  # type: ignore[arg-type]
        active.params(object())
        active.tags(7)  # type: ignore[arg-type]
        active.artifact("/nowhere/at/all")
        active.result("x" * 100_000, object())
    assert active.status == "completed"
    assert internal.totals()["errors", "training", "artifact_unreadable"] == 1


def test_the_public_function_makes_a_run() -> None:
    """Not yet started: it has neither status nor id."""
    active = run("a")
    assert isinstance(active, Run)
    assert (active.status, active.id) == (None, "")


def test_the_checks_know_the_span_of_a_run() -> None:
    """What it lacks, what the registry does not have, and a status that there is not."""
    attributes = {"ml.run.id": "x", "ml.run.status": "done", "ml.run.colour": "red"}
    assert violations(spans=[SimpleNamespace(name="run a", attributes=attributes)]) == [
        "span 'run a': lacks ml.run.experiment",
        "span 'run a': attribute ml.run.colour is not declared",
        "span 'run a': ml.run.status is 'done', none of completed, failed, killed",
    ]


def test_a_run_that_is_started_again_forgets_what_was_undecided() -> None:
    """An epoch that was left when the run failed is not complete because it goes on later."""
    with testing.capture() as telemetry:
        active = run("a").start()
        for _ in active.epochs(3):
            active.end("failed")
            break
        with active:
            active.log({"loss": 1.0})
    assert "epoch_complete" not in events_of(telemetry)
    assert "training_complete" not in events_of(telemetry)


class Silent:
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def test_names_are_short_text_whatever_they_are() -> None:
    """They stand on every line: no megabytes, no objects, no invalid text."""
    with testing.capture() as telemetry:
        with run("x" * 1_000_000, Silent(), run_id="\ud800") as active:  # type: ignore[arg-type]
            active.tags({"odd": Silent()})
            active.result("odd", Silent())
        telemetry.assert_conforms()
    assert len(active.experiment) < 400
    assert "unprintable" in str(active.name)
    active.id.encode()


def test_the_summary_is_bounded() -> None:
    """What is beyond the bound is in the events, and counted."""
    with testing.capture(), run("a") as active:
        for number in range(1005):
            active.result(f"r{number}", number)
    assert len(active.summary()["results"]) == 1000
    assert internal.totals()["dropped", "training", "summary_full"] == 5


def test_no_secret_gets_into_what_a_run_tells() -> None:
    """Results, tags, logged containers and the message of an error; the summary is JSON."""

    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    with (
        testing.capture() as telemetry,
        pytest.raises(RuntimeError),
        run("a", tags={"token": "sk-1"}) as active,
    ):
        active.result("cfg", {"api_key": "sk-2"}, password="sk-3", name="n", value=2)  # noqa: S106 - to be masked
        active.result("matrix", np.eye(2))
        active.result("odd", Odd())
        active.result("score", np.float32(0.5))
        active.tag("api_key", "sk-4")
        active.log({"loss": np.float32(1), "note": {"api_key": "sk-5"}})
        raise RuntimeError("connect postgresql://me:sk-6@h/x failed")
    for data in telemetry.logs:
        assert "sk-" not in repr((data.log_record.body, data.log_record.attributes))
    summary = json.loads(json.dumps(active.summary()))
    assert "sk-" not in repr(summary)
    assert (summary["results"]["matrix"], summary["results"]["score"]) == ([[1.0, 0.0], [0.0, 1.0]], 0.5)


def test_an_exit_of_a_command_line_library_is_no_failure() -> None:
    """`click.exceptions.Exit(0)` has an integer `exit_code`."""

    class Exit(RuntimeError):
        exit_code = 0

    with testing.capture(), pytest.raises(Exit), run("a") as active:
        raise Exit
    assert active.status == "completed"
