"""Runs in real processes: whatever ends the program, the status is right and what was written is readable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "training_loop.py"

A_RUN = """
    from otelml.training import run as start_run
    configurator.configure(service_name="training")

    def train(active, steps=3, end=None):
        for epoch in active.epochs(2):
            for x in epoch.steps(range(steps)):
                active.log({"loss": 1 / (1 + x)})
            if end is not None and epoch.number == 1:
                end()
"""


def run_end(program: Any) -> dict[str, Any]:
    """The one `run_end` in the log files."""
    found = [line for line in program.lines("logs") if line.get("event") == "run_end"]
    assert len(found) == 1, found
    return found[0]


def run_spans(program: Any) -> list[dict[str, Any]]:
    """The attributes of the run's spans in the trace files."""
    spans = [
        span
        for line in program.lines("traces")
        for resource in line["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
        if span["name"].startswith("run ")
    ]
    return [{a["key"]: a["value"].get("stringValue") for a in span["attributes"]} for span in spans]


def events(program: Any) -> list[str]:
    """The names of all events, in order."""
    return [line["event"] for line in program.lines("logs") if "event" in line]


def last_metrics(folder: Path) -> dict[str, float]:
    """Values (counts of histograms) by name in the last export, over all attributes."""
    text = "".join(path.read_text() for path in folder.rglob("metrics*.jsonl"))
    found: dict[str, float] = {}
    for resource in json.loads(text.splitlines()[-1])["resourceMetrics"]:
        for metric in (metric for scope in resource["scopeMetrics"] for metric in scope["metrics"]):
            points = next(
                metric[kind]["dataPoints"] for kind in ("sum", "gauge", "histogram") if kind in metric
            )
            values = (float(p.get("asInt", p.get("asDouble", p.get("count", 0)))) for p in points)
            found[metric["name"]] = sum(values)
    return found


def wait_for_line(process: subprocess.Popen[str], expected: str = "ready") -> None:
    """Read the program's output up to a line."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == expected:
            return
    assert process.stderr is not None
    pytest.fail(process.stderr.read())


ENDS = {
    "by itself": ("", 0, "completed", None),
    "sys.exit(0)": ("sys.exit(0)", 0, "completed", None),
    "sys.exit(3)": ("sys.exit(3)", 3, "failed", "SystemExit"),
    "sys.exit(143)": ("sys.exit(143)", 143, "killed", "SystemExit"),
    "an exception": ("raise ValueError('bad batch')", 1, "failed", "ValueError"),
}


@pytest.mark.parametrize("how", ENDS)
def test_a_block_has_the_status_that_the_program_ends_with(program: Any, how: str) -> None:
    """Once, in the event and on the span, with the program's own exit code and the process' run id."""
    code, exit_code, status, error = ENDS[how]
    program.run(
        A_RUN
        + f"""
    def end():
        {code or "pass"}

    with start_run("digits", "first") as active:
        train(active, end=end)
    """,
        status=exit_code,
    )
    end = run_end(program)
    assert (end["status"], end.get("error_type"), end["run_id"]) == (status, error, "run-1")
    assert end["final_metrics"] == {"loss": 1 / 3}
    expected = {
        "ml.run.id": "run-1",
        "ml.run.experiment": "digits",
        "ml.run.name": "first",
        "ml.run.status": status,
    }
    assert run_spans(program) == [expected | ({"error.type": error} if error else {})]
    whole = ["epoch_complete", "training_complete"] if status == "completed" else []
    told = [name for name in events(program) if name in ("epoch_complete", "training_complete")]
    assert told == ["epoch_complete", *whole]


@pytest.mark.parametrize("how", ENDS)
def test_a_run_that_nobody_ends_has_the_status_that_the_program_ends_with(program: Any, how: str) -> None:
    """`start()` without `end()`: the end of the interpreter ends it, before the last flush."""
    code, exit_code, status, _ = ENDS[how]
    program.run(
        A_RUN + f"    active = start_run('digits').start()\n    train(active)\n    {code}\n", status=exit_code
    )
    assert run_end(program)["status"] == status
    assert [span["ml.run.status"] for span in run_spans(program)] == [status]


WAITING = (
    A_RUN
    + """
    with start_run("digits") as active:
        with start_run("digits", "inner") as inner:
            for epoch in inner.epochs(2):
                for x in epoch.steps(iter(int, 1)):
                    inner.log({"loss": 1.0})
                    if x == 0 and inner.scope.step == 2:
                        print("ready", flush=True)
                        time.sleep(100)
"""
)


@pytest.mark.parametrize(
    ("signum", "exit_code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, -signal.SIGINT)]
)
def test_a_signal_kills_all_runs_that_are_open(program: Any, signum: int, exit_code: int) -> None:
    """The innermost first, with exit code and death by signal as without us; no epoch is called complete."""
    process = program.start(WAITING)
    wait_for_line(process)
    process.send_signal(signum)
    process.communicate(timeout=60)
    assert process.returncode == exit_code
    ends = [line for line in program.lines("logs") if line.get("event") == "run_end"]
    assert [(end["status"], end["run_id"]) for end in ends] == [("killed", "run-1-2"), ("killed", "run-1")]
    assert {span["ml.run.status"] for span in run_spans(program)} == {"killed"}
    assert not {"epoch_complete", "training_complete"} & set(events(program))


def test_a_handler_that_lets_the_program_go_on_kills_no_run(program: Any) -> None:
    """A checkpoint on SIGTERM, and then the end of the loop: completed."""
    process = program.start("""
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    configurator.configure(service_name="training")
    from otelml.training import run as start_run

    with start_run("digits") as active:
        print("ready", flush=True)
        while not stopping:
            time.sleep(0.01)
        active.log({"loss": 0.5})
    print(active.status, flush=True)
    """)
    wait_for_line(process)
    process.send_signal(signal.SIGTERM)
    stdout, _ = process.communicate(timeout=60)
    assert (process.returncode, stdout.strip()) == (0, "completed")
    assert (run_end(program)["status"], events(program).count("run_metrics")) == ("completed", 1)


def test_a_block_of_a_daemon_thread_is_cut_off_by_the_end(program: Any) -> None:
    """The program ends well, but not this run."""
    program.run(
        A_RUN
        + """
    def work():
        with start_run("digits"):
            started.set()
            time.sleep(100)

    started = threading.Event()
    threading.Thread(target=work, daemon=True).start()
    started.wait()
    """
    )
    assert run_end(program)["status"] == "killed"


def test_after_kill_9_what_was_written_is_readable(program: Any) -> None:
    """Whole lines up to some moment before; no status, since nobody was there to give one."""
    process = program.start(WAITING)
    wait_for_line(process)
    deadline = time.monotonic() + 60
    while "run_metrics" not in events(program) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.kill()
    process.communicate(timeout=60)
    told = events(program)
    assert told[:2] == ["run_start", "run_start"]
    assert "run_metrics" in told
    assert "run_end" not in told


def test_a_forked_child_neither_ends_the_run_nor_knows_how_far_it_is(program: Any) -> None:
    """Its log lines carry the run's id, without the epoch and step of the moment of the fork."""
    program.run(
        A_RUN
        + """
    with start_run("digits") as active:
        active.set_epoch(1)
        active.set_step(7)
        pid = os.fork()
        if not pid:
            logging.getLogger("child").warning("from the child")
            active.end()
            active.log({"loss": 1.0})
            sys.exit(0)
        os.waitpid(pid, 0)
        logging.getLogger("parent").warning("from the parent")
    """
    )
    lines = {line["message"]: line for line in program.lines("logs")}
    parent, child = lines["from the parent"], lines["from the child"]
    assert (parent["run_id"], parent["epoch"], parent["step"]) == ("run-1", 1, 7)
    assert (child["run_id"], child.get("epoch"), child.get("step")) == ("run-1", None, None)
    assert run_end(program)["status"] == "completed"


def test_workers_of_a_pool_leave_the_run_alone(program: Any) -> None:
    """Processes of multiprocessing that are forked inside of a run come and go without a word."""
    program.run(
        A_RUN
        + """
    def work(x):
        return x * x

    if __name__ == "__main__":
        with start_run("digits") as active:
            with multiprocessing.get_context("fork").Pool(2) as pool:
                for epoch in active.epochs(1):
                    for x in epoch.steps(pool.imap(work, range(5)), total=5):
                        active.log({"loss": float(x)})
    """
    )
    assert run_end(program)["final_metrics"] == {"loss": 16.0}
    assert events(program).count("run_metrics") == 5


def test_joules_of_a_run_are_there_where_a_gpu_tells_them(program: Any) -> None:
    """By the GPU instrumentor; a recording in one state never moves its counter, so that it is 0, and known."""
    code = """
    import otelml
    otelml.configure()
    from otelml import gpu
    from otelml.training import run as start_run

    while gpu.current() is None:
        time.sleep(0.05)
    with start_run("digits") as active:
        for epoch in active.epochs(2):
            pass
    """
    program.run(code, OTELML_NVML_REPLAY="h200", OTELML_NVML_REPLAY_STATE="load")
    told = [line for line in program.lines("logs") if line.get("event") in ("epoch_complete", "run_end")]
    assert [line["energy_joules"] for line in told] == [0.0, 0.0, 0.0]


def test_the_example_trains_and_its_record_says_so(tmp_path: Path) -> None:
    """Under opentelemetry-instrument: steps, epochs, loss and accuracy in the files are what it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["opentelemetry-instrument", sys.executable, EXAMPLE, "--epochs", "5"],
        cwd=tmp_path,
        env={**kept, "OTEL_EXPORTER_PROMETHEUS_PORT": "0", "PATH": path},
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    steps, samples = 5 * 43, 5 * 1347  # three quarters of 1797 images, 32 at a time
    assert f"{steps} steps over {samples} samples" in done.stdout
    records = [
        json.loads(line) for path in tmp_path.rglob("logs*.jsonl") for line in path.read_text().splitlines()
    ]
    by_event: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        by_event.setdefault(record.get("event", ""), []).append(record)
    assert {name: len(by_event.get(name, ())) for name in (
        "run_start", "run_params", "training_start", "run_metrics", "epoch_complete", "training_complete",
        "run_result", "run_artifact", "run_end",
    )} == {
        "run_start": 1, "run_params": 1, "training_start": 1, "run_metrics": 5, "epoch_complete": 5,
        "training_complete": 1, "run_result": 1, "run_artifact": 1, "run_end": 1,
    }  # fmt: skip
    assert [record["epoch"] for record in by_event["epoch_complete"]] == [0, 1, 2, 3, 4]
    assert [record["samples"] for record in by_event["epoch_complete"]] == [1347] * 5
    losses = [record["loss"] for record in by_event["epoch_complete"]]
    assert losses[-1] < losses[0]
    accuracy = by_event["run_result"][0]["value"]
    assert accuracy > 0.9
    assert f"accuracy {accuracy:.3f}" in done.stdout
    assert by_event["run_end"][0]["status"] == "completed"
    assert {record["run_id"] for record in records if "epoch" in record} == {
        by_event["run_start"][0]["run_id"]
    }
    metrics = last_metrics(tmp_path)
    assert metrics["ml.training.steps"] == metrics["ml.training.step.duration"] == steps
    assert metrics["ml.training.data.wait.duration"] == steps
    assert metrics["ml.training.samples"] == samples
    assert "ml.training.loss" not in metrics, "the run is over"


@pytest.mark.parametrize(("environ", "shown"), [({}, True), ({"OTELML_QUIET": "true"}, False)])
def test_progress_is_printed_where_nobody_would_show_it(
    tmp_path: Path, environ: dict[str, str], shown: bool
) -> None:
    """Redirected, and without any logging: a line now and then on stderr."""
    code = "import otelml\nwith otelml.run('a') as run:\n    for x in run.steps(range(3)): pass\n"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**kept, **environ}, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    assert ("steps: 3/3" in done.stderr) is shown
