"""Queued handlers: nothing waits, nothing is lost below the bound, what is lost is counted, and fork and exit hold."""

from __future__ import annotations

import gc
import json
import logging
import logging.config
import multiprocessing
import os
import subprocess
import sys
import threading
import weakref
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

import pytest

from otelml import context, testing
from otelml.instruments import internal
from otelml.logs.flat import from_record
from otelml.logs.handlers import BufferedHandler, NonBlockingHandler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# From Python 3.12 on it warns where threads are running, which is what is tested here.
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
NAME = "otelml_test_handlers"


class Target(logging.Handler):
    """Keeps the flat form of what it is given; waits for `gate` first."""

    def __init__(self) -> None:
        super().__init__()
        self.flats: list[dict[str, Any]] = []
        self.threads: set[int] = set()
        self.flushes = 0
        self.gate = threading.Event()
        self.gate.set()

    def emit(self, record: logging.LogRecord) -> None:
        self.gate.wait(20)
        self.threads.add(threading.get_ident())
        self.flats.append(from_record(record))

    def flush(self) -> None:
        self.flushes += 1

    @property
    def messages(self) -> list[str]:
        return [flat["message"] for flat in self.flats]


@pytest.fixture
def target() -> Target:
    """Where it goes."""
    return Target()


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger without handlers."""
    logger = logging.getLogger(NAME)
    logger.setLevel(1)
    logger.propagate = False
    yield logger
    for handler in logger.handlers[:]:
        handler.close()
    logger.handlers.clear()
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


def wait_for(condition: Any) -> None:
    """Until it is true, or for twenty seconds."""
    end = monotonic() + 20
    while not condition() and monotonic() < end:
        sleep(0.005)
    assert condition()


def test_another_thread_writes(logger: logging.Logger, target: Target) -> None:
    """Records arrive in their order, by a thread that is not the program's, without anybody flushing."""
    logger.addHandler(NonBlockingHandler(target))
    for number in range(100):
        logger.info("%d", number)
    wait_for(lambda: len(target.flats) == 100)
    assert target.messages == [str(number) for number in range(100)]
    assert threading.get_ident() not in target.threads


def test_logging_does_not_wait(
    logger: logging.Logger, target: Target, caplog: pytest.LogCaptureFixture
) -> None:
    """While the target hangs, records wait up to the bound; what is beyond is counted, said once, and at the end."""
    handler = NonBlockingHandler(target, 10)
    logger.addHandler(handler)
    target.gate.clear()
    logger.info("0")
    wait_for(lambda: handler._delivering.locked() and handler.queue.empty())
    for number in range(1, 100):
        logger.info("%d", number)
    assert handler.dropped == 89
    assert internal.totals() == {("dropped", "logs", "queue_full"): 89}
    (warning,) = [r.getMessage() for r in caplog.records if r.name == "otelml.internal"]
    assert warning.startswith(
        "otelml: Target cannot keep up behind its NonBlockingHandler of 10 records (queue_full)"
    )
    target.gate.set()
    handler.close()
    assert target.messages[:-1] == [str(number) for number in range(11)]
    assert target.messages[-1].startswith("otelml: 89 log records are missing here")


def test_closing_takes_a_bounded_time(
    logger: logging.Logger, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that hangs for ever holds the end up for `OTELML_EXIT_TIMEOUT`, and what it kept is counted."""
    from otelml import settings

    settings.set_current(settings.load({"OTELML_EXIT_TIMEOUT": "0.05"}))
    handler = NonBlockingHandler(target, 10)
    logger.addHandler(handler)
    target.gate.clear()
    for _ in range(5):
        logger.info("x")
    begin = monotonic()
    monkeypatch.setattr(handler, "_tell", lambda: None)
    handler.close()
    assert monotonic() - begin < 10
    assert handler.dropped in (4, 5)
    assert internal.totals() == {("dropped", "logs", "exit_deadline"): handler.dropped}
    target.gate.set()


def test_what_a_record_says_is_of_then(logger: logging.Logger, target: Target) -> None:
    """Message, span, run and step are those of the moment, though all is formatted later."""
    handler = NonBlockingHandler(target)
    logger.addHandler(handler)
    target.gate.clear()
    scope, values = context.Scope("run-1", epoch=2, step=3), [1]
    with testing.capture():
        from opentelemetry import trace

        token = context.push(scope)
        with trace.get_tracer("t").start_as_current_span("s") as span:
            logger.info("values %s", values, extra={"values": values, "nested": {"values": values}})
        scope.step = 4
        logger.info("later", extra={"step": 9})
        values.append(2)
        context.pop(token)
        target.gate.set()
        handler.close()
        span_id = f"{span.get_span_context().span_id:016x}"
    first, second = target.flats
    assert (first["message"], first["run_id"], first["epoch"], first["step"]) == ("values [1]", "run-1", 2, 3)
    assert (first["values"], first["nested"]) == ([1], {"values": [1]})
    assert (first["span_id"], second["step"]) == (span_id, 9)
    assert "span_id" not in second


def test_exceptions_and_levels(logger: logging.Logger, target: Target) -> None:
    """The traceback arrives; the levels of both handlers hold; other handlers get the record untouched."""
    seen: list[logging.LogRecord] = []
    other = logging.Handler()
    other.emit = seen.append  # type: ignore[method-assign]
    handler = NonBlockingHandler(target)
    target.setLevel("WARNING")
    logger.addHandler(handler)
    logger.addHandler(other)
    logger.info("below the target's level")
    try:
        raise ValueError("bad")
    except ValueError:
        logger.exception("x %s", [1])
    handler.close()
    assert target.messages == ["x [1]"]
    assert "ValueError: bad" in target.flats[0]["exception.stacktrace"]
    assert (seen[1].msg, seen[1].args) == ("x %s", ([1],))


class Broken(logging.Handler):
    """Raises at every other record."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.errors = 0

    def handle(self, record: logging.LogRecord) -> bool:
        if record.getMessage() == "bad":
            raise OSError("disk full")
        self.seen.append(record.getMessage())
        return True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        self.errors += 1


def test_a_target_that_raises(logger: logging.Logger) -> None:
    """It is told of its error, and the next record is written."""
    broken = Broken()
    handler = NonBlockingHandler(broken)
    logger.addHandler(handler)
    for message in ("bad", "good", "bad", "good"):
        logger.info(message)
    handler.close()
    assert (broken.seen, broken.errors) == (["good", "good"], 2)


def test_batches(logger: logging.Logger, target: Target) -> None:
    """A buffered handler waits for its capacity, or for a record of the urgent level."""
    handler = BufferedHandler(target, 3, flush_interval_s=1000)
    logger.addHandler(handler)
    logger.info("a")
    logger.info("b")
    sleep(0.1)
    assert target.flats == []
    logger.info("c")
    wait_for(lambda: target.messages == ["a", "b", "c"])
    logger.info("d")
    logger.error("e")
    wait_for(lambda: target.messages == ["a", "b", "c", "d", "e"])
    wait_for(lambda: target.flushes == 2)
    logger.info("f")
    handler.flush()
    assert target.messages[5:] == ["f"]


def test_time_is_up(logger: logging.Logger, target: Target) -> None:
    """A record does not wait longer than the interval for others."""
    logger.addHandler(BufferedHandler(target, 1000, flush_interval_s=0.05))
    logger.info("alone")
    wait_for(lambda: target.messages == ["alone"])


def test_after_the_end(logger: logging.Logger, target: Target) -> None:
    """Closed twice is closed once; a record logged after that is written all the same."""
    handler = NonBlockingHandler(target)
    logger.addHandler(handler)
    handler.close()
    handler.close()
    logger.info("late")
    assert target.messages == ["late"]


def test_a_forgotten_handler_is_gone(target: Target) -> None:
    """The thread keeps no handler alive."""
    handler = NonBlockingHandler(target)
    handler.handle(logging.makeLogRecord({"msg": "x", "levelno": 20}))
    wait_for(lambda: target.messages == ["x"])
    reference = weakref.ref(handler)
    del handler

    def is_gone() -> bool:
        gc.collect()
        return reference() is None

    wait_for(is_gone)


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: NonBlockingHandler("file"), TypeError, "target must be a logging.Handler, not str"),  # type: ignore[arg-type]
        (lambda: NonBlockingHandler(Target(), 0), ValueError, "queue_size 0 must be a whole number from 1"),
        (
            lambda: BufferedHandler(Target(), 0),
            ValueError,
            "capacity 0 must be a whole number from 1 to queue_size",
        ),
        (lambda: BufferedHandler(Target(), 20, queue_size=10), ValueError, "capacity 20 must be"),
        (
            lambda: BufferedHandler(Target(), flush_interval_s=0),
            ValueError,
            "flush_interval_s 0 must be more than 0",
        ),
        (lambda: BufferedHandler(Target(), flush_level="LOUD"), ValueError, "level 'LOUD' must be"),
    ],
)
def test_errors_say_what_is_allowed(make: Any, error: type[Exception], said: str) -> None:
    """What is wrong is said at once."""
    with pytest.raises(error, match=said):
        make()


@pytest.mark.parametrize(("first", "second"), [("a_file", "b_queue"), ("b_file", "a_queue")])
def test_dict_config(logger: logging.Logger, tmp_path: Path, first: str, second: str) -> None:
    """Both stand in a configuration, before or behind their targets."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": "otelml.logs.formatters.JSONFormatter"}},
            "handlers": {
                first: {
                    "class": "logging.FileHandler",
                    "filename": str(tmp_path / "x.jsonl"),
                    "formatter": "json",
                },
                second: {"class": "otelml.logs.handlers.BufferedHandler", "capacity": 5, "target": first},
            },
            "loggers": {NAME: {"level": "TRACE", "handlers": [second]}},
        }
    )
    logger.log(22, "measured")
    (handler,) = logger.handlers
    handler.close()
    handler.target.close()  # type: ignore[attr-defined]
    (line,) = (tmp_path / "x.jsonl").read_text().splitlines()
    assert (json.loads(line)["level"], json.loads(line)["message"]) == ("METRIC", "measured")


@FORKS
def test_fork(logger: logging.Logger, target: Target) -> None:
    """A child writes its own records, once, and what waited in the parent is the parent's to write."""
    handler = NonBlockingHandler(target)
    logger.addHandler(handler)
    target.gate.clear()
    logger.info("parent 1")
    logger.info("parent 2")
    wait_for(handler._delivering.locked)
    child = os.fork()
    if child == 0:
        target.gate.set()
        logger.info("child")
        handler.flush()
        os._exit(0 if target.messages == ["child"] else 1)
    target.gate.set()
    assert os.waitpid(child, 0)[1] == 0
    handler.close()
    assert target.messages == ["parent 1", "parent 2"]


def work(path: str) -> None:
    """A worker that logs and ends."""
    target = logging.FileHandler(path)
    target.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger(NAME).addHandler(BufferedHandler(target))
    logging.getLogger(NAME).error("from a worker")
    logging.getLogger(NAME).info("and again")


@FORKS
def test_workers_of_multiprocessing(logger: logging.Logger, tmp_path: Path) -> None:
    """A worker process ends without `atexit`; what it logged is written all the same."""
    path = tmp_path / "worker.log"
    process = multiprocessing.get_context("fork").Process(target=work, args=(str(path),))
    process.start()
    process.join(30)
    assert process.exitcode == 0
    assert path.read_text().splitlines() == ["from a worker", "and again"]


PROGRAM = """
import logging, sys, time
from otelml.logs.handlers import BufferedHandler, NonBlockingHandler
class Slow(logging.StreamHandler):
    def emit(self, record):
        time.sleep(0.002)
        super().emit(record)
log = logging.getLogger("x")
log.setLevel(20)
log.addHandler({handler}(Slow(sys.stdout)))
for number in range(50):
    log.info(str(number))
{end}
"""


@pytest.mark.parametrize("handler", ["NonBlockingHandler", "BufferedHandler"])
@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise KeyError('x')"])
def test_everything_is_written_at_exit(handler: str, end: str) -> None:
    """However the interpreter ends by itself, what waits is written before."""
    command = [sys.executable, "-c", PROGRAM.format(handler=handler, end=end)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.split() == [str(number) for number in range(50)]
    assert done.returncode == {"": 0, "sys.exit(3)": 3}.get(end, 1)


HANGS = """
import logging, threading, time
from otelml.logs.handlers import BufferedHandler, NonBlockingHandler
class Hangs(logging.Handler):
    def emit(self, record):
        reached.set()
        threading.Event().wait()
reached = threading.Event()
log = logging.getLogger("x")
log.addHandler({handler}(Hangs()))
log.error("a")
log.error("b")
assert reached.wait(20)
"""


@pytest.mark.parametrize("handler", ["NonBlockingHandler", "BufferedHandler"])
def test_a_target_that_hangs_does_not_hold_the_end(handler: str) -> None:
    """The program ends though the target's lock is held for ever."""
    command = [sys.executable, "-c", HANGS.format(handler=handler)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "OTELML_EXIT_TIMEOUT": "0.2"},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "")
    assert "exit_deadline" in done.stderr


def test_nobody_waits_twice(logger: logging.Logger, target: Target) -> None:
    """After one wait in vain the next ones return at once, until the target is back."""
    from otelml import settings

    settings.set_current(settings.load({"OTELML_EXIT_TIMEOUT": "20"}))
    handler = NonBlockingHandler(target)
    logger.addHandler(handler)
    target.gate.clear()
    logger.info("a")
    assert not handler.deliver(0.05)
    begin = monotonic()
    handler.flush()
    assert monotonic() - begin < 10
    target.gate.set()
    wait_for(lambda: not handler._is_stuck())
    logger.info("b")
    handler.flush()
    assert target.messages == ["a", "b"]


def test_logged_after_a_close_in_vain(logger: logging.Logger, target: Target) -> None:
    """It is counted, keeps nobody waiting, and a target that comes back gets no error of ours."""
    from otelml import settings

    settings.set_current(settings.load({"OTELML_EXIT_TIMEOUT": "0.05"}))
    handler = NonBlockingHandler(target)
    errors: list[logging.LogRecord] = []
    target.handleError = errors.append  # type: ignore[method-assign]
    logger.addHandler(handler)
    target.gate.clear()
    logger.info("a")
    handler.close()
    before = handler.dropped
    logger.info("late")
    assert (handler.dropped, handler.queue.empty()) == (before + 1, True)
    target.gate.set()
    wait_for(lambda: target.messages == ["a"])
    thread = handler._thread
    assert thread is not None
    thread.join(20)
    assert errors == []
