"""How programs end: by themselves, by signals, and with endpoints that do not answer."""

from __future__ import annotations

import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess

SOME_TELEMETRY = """
    from opentelemetry import trace

    configurator.configure(service_name="exit")
    counter = instruments.counter("work.done").bind(kind="test")

    def work(n):
        for _ in range(n):
            counter.add(1)
            with trace.get_tracer("test").start_as_current_span("step"):
                logging.getLogger("app").warning("working")
"""
SLACK_S = 8.0
"""On top of a deadline, for slow machines; without a deadline the SDK takes 15 s and more."""


def wait_for_line(process: subprocess.Popen[str], expected: str = "ready") -> None:
    """Read the program's output up to a line."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == expected:
            return
    assert process.stderr is not None
    pytest.fail(process.stderr.read())


def assert_all_undelivered(stderr: str, count: int) -> None:
    """One line says so of `count` spans and log records; what is said of the endpoint itself is a record as well."""
    (said,) = [line for line in stderr.splitlines() if "not delivered" in line]
    logs = f"({count}|{count + 1}) log records"
    expected = rf"{count} spans \(otlp\), {logs} \(otlp\), metrics \(otlp\)"
    assert re.fullmatch(f"otelml: not delivered when the program ended: {expected}", said), said


def test_a_short_program_keeps_its_record(program: Any) -> None:
    """All three files hold everything when it ends, exit status and output as without us."""
    done = program.run(SOME_TELEMETRY + "    work(100)\n    print('result')\n    sys.exit(3)", status=3)
    assert done.stdout == "result\n"
    assert done.stderr == "working\n" * 100
    assert program.totals()["metrics.jsonl"].values["work.done"] == 100
    assert len(program.lines("logs")) == 100
    spans = [s for line in program.lines("traces") for r in line["resourceSpans"] for s in r["scopeSpans"]]
    assert sum(len(scope["spans"]) for scope in spans) == 100


def test_what_the_users_exit_handlers_record_is_kept(program: Any) -> None:
    """Ours runs after those that were registered later."""
    program.run(SOME_TELEMETRY + "    atexit.register(work, 5)")
    assert program.totals()["metrics.jsonl"].values["work.done"] == 5


def test_an_exception_ends_the_program_as_it_would_without_us(program: Any) -> None:
    """Status 1, its traceback, and the telemetry up to then."""
    done = program.run(SOME_TELEMETRY + "    work(5)\n    1 / 0", status=1)
    assert done.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert program.totals()["metrics.jsonl"].values["work.done"] == 5


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("unhelpful", ["refuses", "hangs", "trickles", "503"], indirect=True)
def test_an_endpoint_that_does_not_answer_does_not_hold_up_the_end(
    program: Any, unhelpful: Any, protocol: str
) -> None:
    """The program ends within its deadline, and says in one line what could not be delivered."""
    process = program.start(
        SOME_TELEMETRY + "    work(100)\n    print('ready', flush=True)",
        OTEL_EXPORTER_OTLP_ENDPOINT=unhelpful.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTELML_EXIT_TIMEOUT="1",
    )
    wait_for_line(process)
    started = time.monotonic()
    _, stderr = process.communicate(timeout=60)
    assert time.monotonic() - started < 1 + SLACK_S
    assert process.returncode == 0
    assert_all_undelivered(stderr, 100)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
@pytest.mark.parametrize("unhelpful", ["refuses", "503"], indirect=True)
def test_an_endpoint_that_is_known_to_be_down_is_not_waited_for(
    program: Any, unhelpful: Any, protocol: str
) -> None:
    """The deadline is ten minutes away, but no further attempt would change anything; all is counted."""
    process = program.start(
        SOME_TELEMETRY
        + """
    work(3000)
    time.sleep(0.5)  # some of it is in the middle of being tried again, or is not: the end is the same
    atexit.register(print, "ready", flush=True)
    """,
        OTEL_EXPORTER_OTLP_ENDPOINT=unhelpful.endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTELML_EXIT_TIMEOUT="600",
    )
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 0
    assert_all_undelivered(stderr, 3000)


@pytest.mark.parametrize("unhelpful", ["hangs"], indirect=True)
def test_ctrl_c_during_the_last_flush_ends_it(program: Any, unhelpful: Any) -> None:
    """A user in a hurry does not wait for the deadline, and sees no traceback of ours."""
    process = program.start(
        SOME_TELEMETRY + "    work(1)\n    atexit.register(print, 'ready', flush=True)",
        OTEL_EXPORTER_OTLP_ENDPOINT=unhelpful.endpoint,
        OTELML_EXIT_TIMEOUT="60",
    )
    wait_for_line(process)
    time.sleep(0.5)  # into the flush, or a little before: then Ctrl-C ends the exit handler before it
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert "lifecycle" not in stderr


def test_sigterm_leaves_complete_files_with_the_numbers_so_far(program: Any) -> None:
    """In the middle of recording on four threads; the parent sees a process that died of the signal."""
    process = program.start(
        SOME_TELEMETRY
        + """
    for _ in range(4):
        threading.Thread(target=work, args=(10**9,), daemon=True).start()
    while time.process_time() < 1:
        time.sleep(0.01)
    print("ready", flush=True)
    time.sleep(1000)
    """
    )
    wait_for_line(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    (totals,) = program.totals().values()
    assert totals.values["work.done"] > 0
    assert len(program.lines("logs")) > 0
    assert len(program.lines("traces")) > 0


@pytest.mark.parametrize("unhelpful", ["hangs"], indirect=True)
def test_sigterm_is_not_held_up_by_an_endpoint(program: Any, unhelpful: Any) -> None:
    """Half a second is given to the flush, whatever the deadline at exit."""
    process = program.start(
        SOME_TELEMETRY + "    work(10)\n    print('ready', flush=True)\n    time.sleep(1000)",
        OTEL_EXPORTER_OTLP_ENDPOINT=unhelpful.endpoint,
        OTELML_EXIT_TIMEOUT="60",
    )
    wait_for_line(process)
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert time.monotonic() - started < 0.5 + SLACK_S
    assert process.returncode == -signal.SIGTERM


def test_sigterm_ends_a_process_whose_main_thread_is_stuck(program: Any) -> None:
    """In a long C call no Python handler runs; the process dies as it would without us, its record kept."""
    process = program.start(
        SOME_TELEMETRY
        + """
    import hashlib
    work(7)
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    """
    )
    wait_for_line(process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM
    assert program.totals()["metrics.jsonl"].values["work.done"] == 7


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_users_sigterm_handler_decides(program: Any, when: str) -> None:
    """Installed before us or after: it is called, and its exit is the program's."""
    # Not print(): the signal may come while the program is still in its own, which cannot be entered twice.
    handler = """
    def stop(*_):
        os.write(1, b"stopping\\n")
        sys.exit(7)
    signal.signal(signal.SIGTERM, stop)
    """
    first, second = (handler, SOME_TELEMETRY) if when == "before" else (SOME_TELEMETRY, handler)
    process = program.start(
        first + second + "\n    work(7)\n    print('ready', flush=True)\n    time.sleep(1000)"
    )
    wait_for_line(process)
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (7, "stopping\n"), stderr
    assert program.totals()["metrics.jsonl"].values["work.done"] == 7


def test_a_users_handler_that_leaves_at_once_leaves_a_record(program: Any) -> None:
    """`os._exit` in a SIGINT handler runs no exit handlers: the flush came before it."""
    process = program.start(
        "    signal.signal(signal.SIGINT, lambda *_: os._exit(9))\n"
        + SOME_TELEMETRY
        + "    work(7)\n    print('ready', flush=True)\n    time.sleep(1000)"
    )
    wait_for_line(process)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 9
    assert program.totals()["metrics.jsonl"].values["work.done"] == 7


def test_ctrl_c_is_a_keyboard_interrupt(program: Any) -> None:
    """It can be caught, finally blocks run, what they record is kept."""
    process = program.start(
        SOME_TELEMETRY
        + """
    try:
        print("ready", flush=True)
        time.sleep(1000)
    finally:
        work(7)
    """
    )
    wait_for_line(process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert program.totals()["metrics.jsonl"].values["work.done"] == 7


def test_ctrl_c_cancels_the_main_task_of_asyncio(program: Any) -> None:
    """As without us: asyncio's own handler is in place."""
    process = program.start(
        SOME_TELEMETRY
        + """
    async def main():
        try:
            print("ready", flush=True)
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            print("cancelled", flush=True)
            raise
    asyncio.run(main())
    """
    )
    wait_for_line(process)
    process.send_signal(signal.SIGINT)
    stdout, _ = process.communicate(timeout=60)
    assert stdout == "cancelled\n"


def test_what_was_flushed_survives_a_kill(program: Any) -> None:
    """SIGKILL runs nothing; the files hold whole lines up to the last flush."""
    process = program.start(
        SOME_TELEMETRY
        + "    work(7)\n    lifecycle.flush(60)\n    work(3)\n    print('ready', flush=True)\n    time.sleep(1000)"
    )
    wait_for_line(process)
    process.kill()
    process.communicate(timeout=60)
    assert program.totals()["metrics.jsonl"].values["work.done"] == 7
    assert len(program.lines("logs")) >= 7
