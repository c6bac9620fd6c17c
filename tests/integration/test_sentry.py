"""Whole programs with a DSN: how they end, fork, and print, and which of their errors reach Sentry."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sentrykit import SentryCapture

# On a busy machine too, what can be delivered is to be.
PATIENT = {"OTELML_EXIT_TIMEOUT": "60", "SENTRY_TRACES_SAMPLE_RATE": "0"}
WORK = """
    import otelml

    def fail(what):
        with otelml.stage("work", what=what):
            raise ValueError(what)
"""
CONFIGURE = "    otelml.configure()\n"


@pytest.fixture
def sentry() -> Iterator[SentryCapture]:
    """A server that takes what is sent."""
    with SentryCapture() as server:
        yield server


@pytest.fixture
def run(program: Any, sentry: SentryCapture) -> Any:
    """Runs programs that are set up with that server's DSN."""

    def start(code: str, way: str = "configure", status: int = 0, **environ: str) -> Any:
        if way == "instrument":
            program.way = (str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable)
        configured = CONFIGURE if way == "configure" else ""
        environ = {"SENTRY_DSN": sentry.dsn, **PATIENT, **environ}
        return program.run(WORK + configured + code, status=status, **environ)

    return start


@pytest.mark.parametrize("way", ["configure", "instrument"])
def test_what_ends_the_program_is_reported_and_printed_as_ever(
    run: Any, sentry: SentryCapture, way: str
) -> None:
    """The traceback on the console is the one that there would be without Sentry, and the exit status too."""
    code = """
    def outer():
        fail("batch")
    outer()
    """
    done = run(code, way, status=1)
    assert sentry.titles == ["ValueError: batch"]
    assert done.stderr == run(code, way, status=1, SENTRY_DSN="").stderr
    assert len(sentry.events) == 1


def test_an_uncaught_exception_is_linked_to_the_span_that_it_came_through(
    run: Any, sentry: SentryCapture
) -> None:
    """Of any library, with no stage around."""
    sentry_traces = {"SENTRY_TRACES_SAMPLE_RATE": "1"}
    code = """
    from opentelemetry import trace
    with trace.get_tracer("x").start_as_current_span("outer"):
        with trace.get_tracer("x").start_as_current_span("inner"):
            raise ValueError("batch")
    """
    run(code, status=1, **sentry_traces)
    (inner,) = [span for span in sentry.spans() if span.name == "inner"]
    (event,) = sentry.events
    assert event["contexts"]["trace"] == {"trace_id": inner.trace_id.hex(), "span_id": inner.span_id.hex()}


def test_in_threads_too_the_console_is_as_ever(run: Any, sentry: SentryCapture) -> None:
    """No frame of ours or of Sentry is in what is printed."""
    code = """
    def work():
        raise ValueError("in a thread")
    thread = threading.Thread(target=work, name="loader")
    thread.start()
    thread.join()
    """
    done = run(code)
    assert sentry.titles == ["ValueError: in a thread"]
    assert done.stderr == run(code, SENTRY_DSN="").stderr


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("    sys.exit(3)", 3),
        ("    raise KeyboardInterrupt", -signal.SIGINT),
        ("    os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM),
        ("    with otelml.run('x', progress=False): sys.exit(1)", 1),
        ("    run = otelml.run('x', progress=False).start()\n    sys.exit(1)", 1),
        (
            """
    async def main():
        task = asyncio.create_task(asyncio.sleep(1000))
        await asyncio.sleep(0)
        task.cancel()
        with otelml.stage("waits"):
            await task
    try:
        asyncio.run(main())
    except asyncio.CancelledError:
        pass
    """,
            0,
        ),
    ],
    ids=["exit", "ctrl-c", "sigterm", "exit in a run", "exit with an open run", "cancelled"],
)
def test_ways_to_end_are_no_errors(run: Any, sentry: SentryCapture, code: str, status: int) -> None:
    """A program that is told to end, or ends by itself, has not failed."""
    run(code, status=status)
    assert sentry.events == []


def test_before_sigterm_ends_the_program_errors_are_sent(run: Any, sentry: SentryCapture) -> None:
    """Within the half second that there is for everything."""
    run(
        "    logging.getLogger().error('bad')\n    os.kill(os.getpid(), signal.SIGTERM)",
        status=-signal.SIGTERM,
    )
    assert sentry.titles == ["bad"]


def test_errors_while_the_program_ends_are_sent(run: Any, sentry: SentryCapture) -> None:
    """The first ones, too, though from Python 3.12 on no thread can be started then; and the run that fails with it."""
    run(
        """
    atexit.register(lambda: logging.getLogger().error("at the end"))
    run = otelml.run("x", progress=False).start()
    raise ValueError("batch")
    """,
        status=1,
    )
    assert sentry.titles == ["ValueError: batch", "at the end"]


def test_tasks_that_nobody_waits_for(run: Any, sentry: SentryCapture) -> None:
    """asyncio logs what became of them."""
    run(
        """
    async def main():
        asyncio.create_task(work())
        await asyncio.sleep(0.01)

    async def work():
        raise ValueError("lost")

    asyncio.run(main())
    """
    )
    assert sentry.titles == ["ValueError: lost"]


def test_errors_are_reported_whatever_becomes_of_the_signals(
    run: Any, sentry: SentryCapture, tmp_path: Path
) -> None:
    """Without logs; without anything; with a file that builds the providers. Not with telemetry off."""
    code = "    logging.getLogger().error('bad')\n    try: fail('batch')\n    except ValueError: pass"
    (tmp_path / "otel.yaml").write_text(
        'file_format: "1.0"\nresource: {attributes: [{name: service.name, value: declared}]}\n'
        "tracer_provider: {processors: [{batch: {exporter: {console: {}}}}]}\n"
    )
    off = {f"OTEL_{name}_EXPORTER": "none" for name in ("TRACES", "METRICS", "LOGS")}
    for environ in ({"OTEL_LOGS_EXPORTER": "none"}, off, {"OTEL_CONFIG_FILE": "otel.yaml"}):
        sentry.received.clear()
        run(code, **environ)
        assert sentry.titles == ["bad", "ValueError: batch"]
    assert sentry.events[0]["tags"]["service"] == "declared"
    sentry.received.clear()
    run(code, OTEL_SDK_DISABLED="true")
    assert sentry.events == []


def test_traces_to_sentry_need_to_be_told_where_that_is(run: Any) -> None:
    """A setting like any other that cannot be used."""
    done = run("    pass", status=1, SENTRY_DSN="", OTEL_TRACES_EXPORTER="otelml_sentry")
    assert "OTEL_TRACES_EXPORTER='otelml_sentry': LookupError: there is no SENTRY_DSN" in done.stderr


def test_after_shutdown_nothing_is_reported(run: Any, sentry: SentryCapture) -> None:
    """What was before it is."""
    run(
        """
    logging.getLogger().error("before")
    otelml.shutdown()
    logging.getLogger().error("after")
    raise ValueError("after")
    """,
        status=1,
    )
    assert sentry.titles == ["before"]


# -- a server that is not there, or does not answer


def test_a_server_that_hangs_costs_no_more_than_the_deadline(run: Any, sentry: SentryCapture) -> None:
    """The program ends, and says what was not delivered."""
    sentry.hangs = True
    done = run(
        "    logging.getLogger('x').addHandler(logging.NullHandler())\n"
        "    logging.getLogger('x').propagate = False\n"
        "    for i in range(3): logging.getLogger('x').error('bad %d', i)",
        OTELML_EXIT_TIMEOUT="0.2",
    )
    assert done.stderr == "otelml: not delivered when the program ended: 3 errors (sentry)\n"


def test_a_server_that_is_not_there_is_said_in_one_line(run: Any) -> None:
    """However many errors there are; the HTTP library's retries are not heard."""
    done = run(
        "    logging.getLogger('x').addHandler(logging.NullHandler())\n"
        "    logging.getLogger('x').propagate = False\n"
        "    for i in range(3): logging.getLogger('x').error('bad %d', i)",
        SENTRY_DSN="http://k@127.0.0.1:9/1",
    )
    assert done.stderr.splitlines() == [
        "otelml: an error was not delivered to Sentry (network); further ones are counted in otelml.internal.dropped",
        "otelml: not delivered when the program ended: 3 errors (sentry)",
    ]


# -- processes


WORKERS = """
    context = multiprocessing.get_context({method!r})

    def work():
        try:
            fail("in a worker")
        except ValueError:
            pass
        logging.getLogger().error("bad")

    if __name__ == "__main__":
        logging.getLogger().error("of the parent")
        process = context.Process(target=work)
        process.start()
        process.join()
        assert process.exitcode == 0
"""


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("fork", ["silent", "export"])
def test_workers_report_where_they_export(run: Any, sentry: SentryCapture, method: str, fork: str) -> None:
    """What the parent had to send is sent once, by the parent."""
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("no fork here")
    run(WORKERS.format(method=method), OTELML_FORK=fork)
    expected = ["of the parent", *(["ValueError: in a worker", "bad"] if fork == "export" else [])]
    assert sorted(sentry.titles) == sorted(expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_server_process_reports(run: Any, sentry: SentryCapture) -> None:
    """Under load: nobody hangs, nothing is sent twice, also what waited when the process forked."""
    run(
        """
    import itertools
    done = threading.Event()

    def log():
        for number in itertools.count():
            logging.getLogger().error("busy %d", number)
            if done.wait(0.001):
                return

    logging.getLogger().addHandler(logging.NullHandler())
    thread = threading.Thread(target=log)
    thread.start()
    children = []
    for number in range(20):
        child = os.fork()
        if child == 0:
            logging.getLogger().error("child %d", number)
            os._exit(0 if lifecycle.flush(60) == () else 1)
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    done.set()
    thread.join()
    assert statuses == [0] * 20
    """
    )
    children = [title for title in sentry.titles if title.startswith("child")]
    busy = [title for title in sentry.titles if title.startswith("busy")]
    assert sorted(children) == sorted(f"child {number}" for number in range(20))
    assert len(busy) == len(set(busy)) in range(10, 21), (
        busy
    )  # what a minute holds, or two when one just ended


# -- the program's own client


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_programs_own_client_gets_the_surroundings(run: Any, sentry: SentryCapture, when: str) -> None:
    """Its events go where they went, with tags of ours; nothing goes to our DSN, and that is said."""
    with SentryCapture() as theirs:
        init = f"    import sentry_sdk\n    sentry_sdk.init({theirs.dsn!r})\n"
        code = """
    logging.getLogger("otelml.internal").setLevel("INFO")
    logging.getLogger().error("bad")
    with otelml.inference("encoder"):
        fail("batch")
    """
        done = run(
            (init + CONFIGURE + code) if when == "before" else (CONFIGURE + init + code),
            way="none",
            status=1,
        )
    assert sentry.events == []
    assert theirs.titles == ["bad", "ValueError: batch"]
    assert {event["tags"]["run"] for event in theirs.events} == {"run-1"}
    assert done.stderr.count("otelml: the program has a Sentry client of its own") <= 1
