"""Start, flush, stop, and who forks; what needs a process of its own is in tests/integration."""

from __future__ import annotations

import inspect
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from otelml import lifecycle
from otelml.export.delivery import span_queue
from otelml.instruments import internal
from otelml.lifecycle import signals, workers
from otelml.lifecycle.signals import SignalHandlers
from otelml.lifecycle.stuck import SignalWatch

SETTINGS = SimpleNamespace(fork="silent", exit_timeout_s=60.0)
# From Python 3.12 on, forking a process that has threads is deprecated, which is what these tests are about.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


class Part:
    """A provider or reader that remembers what was asked of it."""

    def __init__(self, *, answer: bool = True) -> None:
        self.answer = answer
        self.calls: list[str] = []
        self.forks: list[bool] = []

    def start(self) -> None:
        """A reader is started."""
        self.calls.append("start")

    def force_flush(self, timeout_millis: int) -> bool:
        """Both are flushed."""
        assert 0 < timeout_millis <= 60_000
        self.calls.append("flush")
        return self.answer

    def after_fork_in_child(self, *, silent: bool) -> None:
        """Parts of ours are told of a fork."""
        self.forks.append(silent)


def make_pipeline(**parts: Any) -> Any:
    """A pipeline of `parts`, the rest empty."""
    empty = {"tracer_provider": None, "meter_provider": None, "logger_provider": None, "reporter": None}
    return SimpleNamespace(**{**empty, "readers": [], "exporters": [], **parts})


@pytest.fixture(autouse=True)
def stopped() -> Iterator[None]:
    """Nothing outlives a test."""
    yield
    lifecycle.stop()


def in_child(report: Callable[[], Any]) -> str:
    """What `report()` says in a forked child, as text."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.write(write_fd, repr(report()).encode())
        finally:
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_before_anything_is_started_there_is_nothing_to_do() -> None:
    """Flushing and stopping are harmless, nobody is silenced."""
    lifecycle.stop()
    assert lifecycle.flush(1) == ()
    assert not lifecycle.is_silenced()


def test_start_starts_the_readers_once() -> None:
    """The same pipeline again changes nothing; another one takes over."""
    first, second = make_pipeline(readers=[Part()]), make_pipeline(readers=[Part()])
    for pipeline in (first, first, second):
        lifecycle.start(pipeline, SETTINGS)
    assert [p.readers[0].calls for p in (first, second)] == [["start"], ["start"]]


def test_flush_reaches_every_signal() -> None:
    """Both providers and all readers; the names of those that were not done come back."""
    pipeline = make_pipeline(
        tracer_provider=Part(),
        logger_provider=Part(answer=False),
        readers=[Part(), SimpleNamespace(is_pulled=True)],
    )
    pipeline.readers[0].destination = "files"
    lifecycle.start(pipeline, SETTINGS)
    assert lifecycle.flush(60) == ("logs",)
    assert pipeline.tracer_provider.calls == ["flush"]
    assert pipeline.readers[0].calls == ["start", "flush"]


def test_a_files_providers_are_flushed_as_wholes() -> None:
    """Where the pipeline shows no readers, the meter provider stands for them."""
    pipeline = make_pipeline(meter_provider=Part())
    lifecycle.start(pipeline, SETTINGS)
    assert lifecycle.flush(60) == ()
    assert pipeline.meter_provider.calls == ["flush"]


def test_stop_gives_everything_back() -> None:
    """Signal handlers, the wake-up descriptor and threads are as before."""

    def state() -> tuple[Any, ...]:
        wakeup = signal.set_wakeup_fd(-1)
        signal.set_wakeup_fd(wakeup)
        return signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT), wakeup

    before, threads_before = state(), set(threading.enumerate())
    lifecycle.start(make_pipeline(tracer_provider=Part()), SETTINGS)
    assert state() != before
    threads = set(threading.enumerate()) - threads_before
    assert {thread.name for thread in threads} == {
        "otelml-flush-drain",
        "otelml-flush-traces",
        "otelml-signals",
    }
    lifecycle.stop()
    for thread in threads:
        thread.join(60)
    assert state() == before
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_bare_fork_exports_from_zero() -> None:
    """Its parts are told so, it can flush, and counts of the parent are gone."""
    part, provider = Part(), Part()
    lifecycle.start(make_pipeline(exporters=[part], tracer_provider=provider), SETTINGS)
    internal.count("dropped", "test", "of the parent")
    provider.calls.clear()

    def report() -> Any:
        return lifecycle.is_silenced(), part.forks, lifecycle.flush(60), provider.calls, internal.totals()

    assert in_child(report) == repr((False, [False], (), ["flush"], {}))
    assert part.forks == []
    assert lifecycle.flush(60) == ()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize(("fork", "silent"), [("silent", True), ("export", False)])
def test_workers_of_multiprocessing_are_silent_unless_asked(fork: str, silent: bool) -> None:
    """By OTELML_FORK; a silent one does not flush, and signals do what they do without us."""
    part, provider = Part(), Part()
    pipeline = make_pipeline(exporters=[part], tracer_provider=provider)
    lifecycle.start(pipeline, SimpleNamespace(fork=fork, exit_timeout_s=60.0))
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()

    def work() -> None:
        lifecycle.flush(60)
        default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        queue.put((lifecycle.is_silenced(), part.forks, len(provider.calls), default))

    process = context.Process(target=work)
    process.start()
    said = queue.get()
    process.join()
    assert said == (silent, [silent], 0 if silent else 1, silent)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_silent_workers_own_child_is_silent() -> None:
    """Silence is inherited: the worker's helper is no server's child."""
    lifecycle.start(make_pipeline(), SETTINGS)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    process = context.Process(target=lambda: queue.put(in_child(lifecycle.is_silenced)))
    process.start()
    assert queue.get() == "True"
    process.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_process_to_be_replaced_by_another_program_is_left_alone() -> None:
    """`subprocess` with `preexec_fn` runs the fork hooks; nothing of ours is started for that moment."""
    part = Part()
    lifecycle.start(make_pipeline(exporters=[part]), SETTINGS)
    read_fd, write_fd = os.pipe()

    def say() -> None:
        os.write(write_fd, repr((lifecycle.is_silenced(), part.forks)).encode())

    subprocess.run([sys.executable, "-c", ""], preexec_fn=say, check=True)
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        assert pipe.read() == repr((True, []))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_leaves_no_signal_blocked() -> None:
    """The mask of the thread that forks is the same after it, in both processes."""
    lifecycle.start(make_pipeline(), SETTINGS)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert in_child(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before) == "True"
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_worker_terminated_at_once_dies() -> None:
    """`start(); terminate()` ends it as without us: a signal in its first moments is not lost."""
    lifecycle.start(make_pipeline(), SETTINGS)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=threading.Event().wait) for _ in range(20)]
    for process in processes:
        process.start()
        process.terminate()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [-signal.SIGTERM] * 20


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("multiprocessing.popen_fork", "multiprocessing"),
        ("multiprocessing.forkserver", "multiprocessing"),
        ("multiprocess.popen_fork", "multiprocess"),
        ("subprocess", workers.SUBPROCESS),
        ("gunicorn.arbiter", None),
        ("billiard.popen_fork", None),
    ],
)
def test_the_forker_is_found_on_the_stack(module: str, expected: str | None) -> None:
    """Also below wrappers around os.fork, as gevent has one."""
    namespace = types.ModuleType(module).__dict__
    exec("def launch(fork): return fork()", namespace)  # noqa: S102

    def wrapped_fork() -> str | None:
        return workers.find_forker(inspect.currentframe())

    assert namespace["launch"](wrapped_fork) == expected


def undelivering_pipeline() -> tuple[Any, TracerProvider]:
    """A pipeline whose spans nobody takes, with two spans in it."""
    exporter = InMemorySpanExporter()
    exporter.export = lambda _: SpanExportResult.FAILURE  # type: ignore[method-assign]
    queue = span_queue(lambda: exporter, destination="otlp")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(queue)
    for _ in range(2):
        provider.get_tracer("test").start_span("x").end()
    return make_pipeline(tracer_provider=provider, exporters=[queue]), provider


def test_what_is_not_delivered_at_exit_is_said_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    """How many of what, and where to."""
    pipeline, provider = undelivering_pipeline()
    pipeline.readers = [Part(answer=False)]
    pipeline.readers[0].destination = "otlp"
    lifecycle.start(pipeline, SETTINGS)
    lifecycle._current.at_exit()
    assert [record.message for record in caplog.records] == [
        "otelml: not delivered when the program ended: 2 spans (otlp), metrics (otlp)"
    ]
    provider.shutdown()


def test_nothing_is_said_when_all_was_delivered(caplog: pytest.LogCaptureFixture) -> None:
    """The usual exit is silent."""
    with caplog.at_level(logging.DEBUG):
        lifecycle.start(make_pipeline(tracer_provider=Part(), readers=[Part()]), SETTINGS)
        lifecycle._current.at_exit()
    assert caplog.records == []


def test_the_deadline_at_exit_is_short_after_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is waiting for the prompt."""
    assert lifecycle._exit_limit_s(2.0) == 2.0
    monkeypatch.setattr(sys, "last_type", KeyboardInterrupt, raising=False)
    assert lifecycle._exit_limit_s(2.0) == signals.TIMEOUT_S
    assert lifecycle._exit_limit_s(0.1) == 0.1


@pytest.fixture
def sigint() -> Iterator[None]:
    """SIGINT is as before after the test."""
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("sigint")
def test_a_users_handler_is_called_after_the_flush() -> None:
    """With its arguments; a second signal during the flush does not flush again."""
    order: list[Any] = []

    def flush(timeout_s: float) -> None:
        order.append(timeout_s)
        if len(order) == 1:
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, lambda signum, frame: order.append((signum, frame is not None)))
    handlers = SignalHandlers(flush)
    handlers.install()
    signal.raise_signal(signal.SIGINT)
    handlers.restore()
    assert order == [signals.TIMEOUT_S, (signal.SIGINT, True), (signal.SIGINT, True)]


@pytest.mark.usefixtures("sigint")
@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_pythons_own_sigint_handler_and_ignored_signals_are_left_alone(handler: Any) -> None:
    """asyncio looks for the former; the latter end nothing."""
    signal.signal(signal.SIGINT, handler)
    handlers = SignalHandlers(lambda _: None)
    handlers.install()
    assert signal.getsignal(signal.SIGINT) is handler
    handlers.restore()


@pytest.mark.usefixtures("sigint")
def test_what_the_user_installs_later_stays() -> None:
    """Restoring does not touch a handler that is not ours."""
    signal.signal(signal.SIGINT, lambda *_: None)
    handlers = SignalHandlers(lambda _: None)
    handlers.install()
    later = lambda *_: None  # noqa: E731
    signal.signal(signal.SIGINT, later)
    handlers.restore()
    assert signal.getsignal(signal.SIGINT) is later


def test_a_thread_that_is_not_the_main_one_installs_nothing() -> None:
    """Python allows signal handlers from the main thread only."""
    before = signal.getsignal(signal.SIGTERM)
    handlers = SignalHandlers(lambda _: None)
    thread = threading.Thread(target=handlers.install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.usefixtures("sigint")
def test_the_watch_sees_signals_that_have_a_handler() -> None:
    """On a thread of its own."""
    seen, noticed = [], threading.Event()

    def notice(signum: int) -> None:
        seen.append((signum, threading.current_thread().name))
        noticed.set()

    signal.signal(signal.SIGINT, lambda *_: None)
    watch = SignalWatch(notice)
    watch.start()
    signal.raise_signal(signal.SIGINT)
    assert noticed.wait(60)
    watch.stop()
    assert seen == [(signal.SIGINT, "otelml-signals")]


def test_the_watch_leaves_an_event_loops_descriptor_alone() -> None:
    """It neither takes it nor, when it stops, takes it away."""
    read_fd, write_fd = os.pipe()
    os.set_blocking(write_fd, False)
    signal.set_wakeup_fd(write_fd)
    try:
        watch = SignalWatch(lambda _: None)
        watch.start()
        watch.stop()
    finally:
        assert signal.set_wakeup_fd(-1) == write_fd
        os.close(read_fd)
        os.close(write_fd)


def test_the_watch_stays_away_where_trio_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """trio takes the descriptor when it runs, and would warn the user that somebody has it."""
    (tmp_path / "trio.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    SignalWatch(lambda _: None).start()
    assert signal.set_wakeup_fd(-1) == -1
