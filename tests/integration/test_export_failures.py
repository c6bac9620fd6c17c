"""Programs whose telemetry has nowhere to go: they run on, at full speed, with a word about it."""

from __future__ import annotations

import json
import socket
import statistics
import urllib.request
from pathlib import Path
from typing import Any

import pytest

WORK = """
    from opentelemetry import trace

    configurator.configure(service_name="failures")
    counter = instruments.counter("work.done").bind(kind="test")
    # The console is the user's; here nobody reads it.
    logging.getLogger("app").addHandler(logging.NullHandler())
    logging.getLogger("app").propagate = False
    logging.getLogger("app").setLevel(logging.INFO)

    def work(n):
        for i in range(n):
            counter.add(1)
            with trace.get_tracer("test").start_as_current_span("step"):
                logging.getLogger("app").info("working")
            sum(range(2000))
"""
OFTEN = {
    "OTEL_METRIC_EXPORT_INTERVAL": "50",
    "OTEL_BSP_SCHEDULE_DELAY": "50",
    "OTEL_BLRP_SCHEDULE_DELAY": "50",
    "OTELML_EXIT_TIMEOUT": "0.5",
}


def test_a_taken_port_moves_to_the_next_free_one(program: Any) -> None:
    """Two programs that want the same port both serve, and say where."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = program.run(
            WORK
            + """
    import urllib.request
    work(1)
    (url,) = [reader.url for reader in configurator.active_pipeline().readers if hasattr(reader, "url")]
    print(url, urllib.request.urlopen(url).status)
    """,
            OTEL_EXPORTER_PROMETHEUS_PORT=str(port),
        )
    said_url, status = done.stdout.split()
    assert status == "200"
    assert int(said_url.split(":")[2].split("/")[0]) != port


def test_an_address_that_cannot_be_bound_harms_nobody(program: Any) -> None:
    """One line says that there is no endpoint; the files are there."""
    done = program.run(WORK + "    work(3)\n    print('result')", OTEL_EXPORTER_PROMETHEUS_HOST="203.0.113.7")
    assert done.stdout == "result\n"
    assert len([line for line in done.stderr.splitlines() if "no Prometheus endpoint" in line]) == 1
    assert program.totals()["metrics.jsonl"].values["work.done"] == 3


def test_a_folder_that_cannot_be_made_is_said_in_one_line(program: Any) -> None:
    """With a file in its place, over many exports of all signals, the program ends as usual."""
    (program.folder / "telemetry").write_text("in the way")
    done = program.run(
        WORK
        + """
    for _ in range(20):
        work(10)
        lifecycle.flush(60)
    print("result")
    """
    )
    assert done.stdout == "result\n"
    (about_files, at_the_end) = done.stderr.splitlines()
    assert "cannot write telemetry" in about_files
    assert at_the_end.startswith("otelml: not delivered when the program ended: 200 spans (files), ")
    assert (program.folder / "telemetry").read_text() == "in the way"


def test_a_full_disk_is_said_in_one_line(program: Any) -> None:
    """No half lines, no harm; what goes to other files still arrives."""
    folder = program.folder / "telemetry" / "failures" / "run-1"
    folder.mkdir(parents=True)
    for signal in ("traces", "logs"):
        (folder / f"{signal}.jsonl").symlink_to("/dev/full")
    done = program.run(
        WORK
        + """
    for _ in range(20):
        work(10)
        lifecycle.flush(60)
    print("result")
    """
    )
    assert done.stdout == "result\n"
    assert [("cannot write" in line, "not delivered" in line) for line in done.stderr.splitlines()] == [
        (True, False),
        (False, True),
    ]
    totals = program.totals()["metrics.jsonl"]
    assert totals.values["work.done"] == 200
    assert totals.values["otelml.internal.dropped"] > 0


def test_a_folder_deleted_mid_run_is_made_again(program: Any) -> None:
    """What comes after is written, in whole lines."""
    program.run(
        WORK
        + """
    import shutil
    work(10)
    assert lifecycle.flush(60) == ()
    shutil.rmtree("telemetry")
    work(10)
    """
    )
    assert program.totals()["metrics.jsonl"].values["work.done"] == 20
    assert len(program.lines("logs")) == 10


def time_work(program: Any, **environ: str) -> tuple[float, str]:
    """Seconds for a fixed piece of work with telemetry, after a warm-up; and what was said meanwhile."""
    done = program.run(
        WORK
        + """
    work(200)
    times = []
    for _ in range(5):
        started = time.perf_counter()
        work(1500)
        times.append(time.perf_counter() - started)
    print(times)
    """,
        **OFTEN,
        **environ,
    )
    return statistics.median(json.loads(done.stdout)), done.stderr


@pytest.mark.parametrize("unhelpful", ["refuses", "hangs", "503"], indirect=True)
def test_the_program_runs_at_full_speed_whatever_the_endpoint_does(program: Any, unhelpful: Any) -> None:
    """Work is not slowed down much against a program that writes files, and the console is not flooded."""
    usual_s, _ = time_work(program)
    with_trouble_s, stderr = time_work(program, OTEL_EXPORTER_OTLP_ENDPOINT=unhelpful.endpoint)
    assert with_trouble_s < 5 * usual_s
    assert len(stderr.splitlines()) <= 5, stderr


@pytest.mark.parametrize("unhelpful", ["hangs", "trickles"], indirect=True)
def test_what_a_hanging_endpoint_costs_in_records_is_counted(program: Any, unhelpful: Any) -> None:
    """The queue is bounded; what finds no room is counted to the last record."""
    done = program.run(
        WORK
        + """
    from otelml.instruments import internal
    work(3000)
    queues = [part for part in configurator.active_pipeline().exporters if hasattr(part, "ledger")]
    for ledger in (queue.ledger for queue in queues):
        dropped = internal.totals()["dropped", "export.otlp", f"{ledger.items}_queue_full"]
        print(ledger.undelivered, ledger.lost - dropped, dropped)
    """,
        OTEL_EXPORTER_OTLP_ENDPOINT=unhelpful.endpoint,
        OTEL_BSP_MAX_QUEUE_SIZE="1000",
        OTEL_BLRP_MAX_QUEUE_SIZE="1000",
        **OFTEN,
    )
    for line in done.stdout.splitlines():
        undelivered, unexplained, dropped = map(int, line.split())
        assert (undelivered, unexplained) == (3000, 0)
        assert 3000 - 1000 - 512 <= dropped <= 3000 - 1000


def test_scrapes_go_on_while_files_cannot_be_written(program: Any) -> None:
    """One way out that fails takes no other with it."""
    (program.folder / "telemetry").write_text("in the way")
    process = program.start(
        WORK
        + """
    (url,) = [reader.url for reader in configurator.active_pipeline().readers if hasattr(reader, "url")]
    work(10)
    lifecycle.flush(60)
    print(url, flush=True)
    time.sleep(1000)
    """
    )
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    with urllib.request.urlopen(url, timeout=60) as response:
        text = response.read().decode()
    process.kill()
    process.communicate()
    assert any(line.startswith("work_done_total{") and line.endswith(" 10.0") for line in text.splitlines())
    assert Path(program.folder / "telemetry").is_file()
