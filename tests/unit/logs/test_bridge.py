"""Each stdlib record that a logger lets through becomes one OTel record, and nothing else changes."""

from __future__ import annotations

import gc
import logging
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry._logs import NoOpLoggerProvider, SeverityNumber
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, detach, set_value
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import (
    BatchLogRecordProcessor,
    InMemoryLogRecordExporter,
    LogRecordExporter,
    LogRecordExportResult,
    SimpleLogRecordProcessor,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otelml import settings
from otelml.instruments import internal
from otelml.logs import bridge

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER = "otelml_test.bridge"


class Recorded:
    """A provider with an exporter in memory, and the records that arrived there."""

    def __init__(self) -> None:
        self.exporter = InMemoryLogRecordExporter()
        self.provider = LoggerProvider(resource=Resource({"service.name": "s"}), shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self.exporter))

    @property
    def records(self) -> list[Any]:
        return [data.log_record for data in self.exporter.get_finished_logs()]

    @property
    def bodies(self) -> list[Any]:
        return [record.body for record in self.records]

    def one(self) -> Any:
        (record,) = self.records
        return record


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """A logger of this test that lets everything through."""
    logger = logging.getLogger(LOGGER)
    logger.setLevel(1)
    yield logger
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()
    logger.filters.clear()
    logger.propagate = True
    logger.disabled = False


@pytest.fixture
def recorded() -> Recorded:
    """The bridge, installed into memory."""
    recorded = Recorded()
    bridge.install(recorded.provider)
    return recorded


def test_what_a_record_says(logger: logging.Logger, recorded: Recorded) -> None:
    """Body, severity, time, scope and place are those of the stdlib record."""
    logger.warning("loss %.2f", 0.123)
    (data,) = recorded.exporter.get_finished_logs()
    record = data.log_record
    assert record.body == "loss 0.12"
    assert (record.severity_number, record.severity_text) == (SeverityNumber.WARN, "WARN")
    assert abs(record.timestamp - record.observed_timestamp) < 1e9
    assert data.instrumentation_scope.name == LOGGER
    assert dict(record.attributes) == {
        "code.file.path": __file__,
        "code.function.name": "test_what_a_record_says",
        "code.line.number": record.attributes["code.line.number"],
    }
    assert record.attributes["code.line.number"] > 1
    assert record.event_name is None


@pytest.mark.parametrize(
    ("level", "number", "text"),
    [
        (1, SeverityNumber.TRACE, "Level 1"),
        (9, SeverityNumber.TRACE4, "Level 9"),
        (10, SeverityNumber.DEBUG, "DEBUG"),
        (20, SeverityNumber.INFO, "INFO"),
        (25, SeverityNumber.INFO4, "Level 25"),
        (40, SeverityNumber.ERROR, "ERROR"),
        (50, SeverityNumber.FATAL, "FATAL"),
        (70, SeverityNumber.FATAL4, "Level 70"),
    ],
)
def test_severities(
    logger: logging.Logger, recorded: Recorded, level: int, number: SeverityNumber, text: str
) -> None:
    """Levels map to OpenTelemetry's bands; those below DEBUG are TRACE, those above CRITICAL stay FATAL."""
    logger.log(level, "x")
    record = recorded.one()
    assert (record.severity_number, record.severity_text) == (number, text)


def test_record_is_in_the_current_span(logger: logging.Logger, recorded: Recorded) -> None:
    """Trace and span id are those of the span that is current."""
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("t")
    with tracer.start_as_current_span("work") as span:
        logger.info("inside")
    logger.info("outside")
    inside, outside = recorded.records
    assert inside.trace_id == span.get_span_context().trace_id
    assert inside.span_id == span.get_span_context().span_id
    assert outside.trace_id == trace.INVALID_TRACE_ID


@pytest.mark.parametrize(
    ("extra", "event_name", "left"),
    [
        ({"otel.event.name": "ml.clustering", "event": "clustering", "k": 4}, "ml.clustering", {"k": 4}),
        ({"event": "clustering"}, "ml.clustering", {}),
        ({"event": "my_event"}, "my_event", {}),
        ({"otel.event.name": "a", "event": "b"}, "a", {"event": "b"}),
        ({"event": 3}, None, {"event": 3}),
        ({"event": ""}, None, {"event": ""}),
    ],
)
def test_event_names(
    logger: logging.Logger,
    recorded: Recorded,
    extra: dict[str, Any],
    event_name: str | None,
    left: dict[str, Any],
) -> None:
    """`otel.event.name`, else `event`, names the record; an event of the registry gets its prefix."""
    logger.info("x", extra=extra)
    record = recorded.one()
    assert record.event_name == event_name
    assert {k: v for k, v in record.attributes.items() if not k.startswith("code.")} == left


def test_extras_of_any_type(logger: logging.Logger, recorded: Recorded) -> None:
    """Extras become attributes whatever their type, without a warning of OpenTelemetry's."""
    heard = []
    listener = logging.Handler()
    listener.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("opentelemetry").addHandler(listener)
    try:
        logger.info(
            "x",
            extra={
                "scalar": np.float32(0.5), "array": np.arange(3), "nothing": None, "nested": {"a": {1: {2}}},
                "raw": b"\x00", "error": ValueError("bad"), "big": 2**70, 7: "number as name", "": "no name",
                "loss": float("inf"),
            },
        )  # fmt: skip
    finally:
        logging.getLogger("opentelemetry").removeHandler(listener)
    attributes = {k: v for k, v in recorded.one().attributes.items() if not k.startswith("code.")}
    assert attributes == {
        "scalar": 0.5, "array": (0, 1, 2), "nothing": None, "nested": {"a": {"1": (2,)}}, "raw": b"\x00",
        "error": "ValueError: bad", "big": str(2**70), "7": "number as name", "_": "no name", "loss": float("inf"),
    }  # fmt: skip
    assert heard == []


def test_more_extras_than_opentelemetry_takes(logger: logging.Logger, recorded: Recorded) -> None:
    """Hundreds of extras all arrive: what is beyond the limit for attributes is in one mapping."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        logger.info("x", extra={f"p{n}": n for n in range(300)})
    attributes = dict(recorded.one().attributes)
    arrived = {**attributes, **attributes["otelml.extra"]}
    assert {f"p{n}": n for n in range(300)}.items() <= arrived.items()


def test_a_million_characters(logger: logging.Logger, recorded: Recorded) -> None:
    """A huge message arrives bounded, and what is left out is said."""
    logger.info("a%sz", "x" * 1_000_000)
    body = recorded.one().body
    assert len(body) < 70_000
    assert body[0] + body[-1] == "az"
    assert "characters left out" in body


@pytest.mark.parametrize(
    ("message", "args", "body"),
    [
        ("%d epochs", ("many",), "%d epochs ['many']"),
        ("no room", (1, 2), "no room [1, 2]"),
        ("%(missing)s", ({"a": 1},), "%(missing)s {'a': 1}"),
        ({"not": "text"}, (), "{'not': 'text'}"),
        ("caf\udce9", (), "caf\\udce9"),
    ],
)
def test_messages_that_cannot_be_formatted(
    logger: logging.Logger, recorded: Recorded, message: Any, args: tuple[Any, ...], body: str
) -> None:
    """A message whose arguments do not fit loses neither the message nor the arguments."""
    logger.propagate = False  # logging itself reports the error, elsewhere
    logger.addHandler(logging.NullHandler())
    logger.info(message, *args)
    assert recorded.one().body == body


def test_exceptions(logger: logging.Logger, recorded: Recorded) -> None:
    """An exception's type, message and stack are attributes, with their standard names."""

    class DivergedError(Exception):
        pass

    try:
        raise DivergedError("loss is NaN")
    except DivergedError:
        logger.exception("training failed")
    attributes = recorded.one().attributes
    assert attributes["exception.type"] == f"{__name__}.test_exceptions.<locals>.DivergedError"
    assert attributes["exception.message"] == "loss is NaN"
    assert "Traceback (most recent call last)" in attributes["exception.stacktrace"]
    assert attributes["exception.stacktrace"].endswith("DivergedError: loss is NaN\n")


def test_exc_info_without_an_exception(logger: logging.Logger, recorded: Recorded) -> None:
    """`logger.exception` outside an except block says nothing about an exception."""
    logger.exception("nothing wrong")  # noqa: LOG004 - the mistake that this is about
    assert not [name for name in recorded.one().attributes if name.startswith("exception")]


def test_stack_info_and_thread(logger: logging.Logger, recorded: Recorded) -> None:
    """A requested stack, and the name of a thread other than the main one, are attributes."""
    thread = threading.Thread(target=lambda: logger.info("x", stack_info=True), name="loader-3")
    thread.start()
    thread.join()
    attributes = recorded.one().attributes
    assert attributes["thread.name"] == "loader-3"
    assert attributes["code.stacktrace"].startswith("Stack (most recent call last)")


@pytest.mark.usefixtures("recorded")
def test_the_record_stays_as_it_is(logger: logging.Logger) -> None:
    """Handlers get the record as they would without the bridge: no attribute more, none changed."""
    seen: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: seen.append(dict(vars(record)))  # type: ignore[method-assign]
    logger.addHandler(handler)
    given = {"a": [1]}
    try:
        raise ValueError("x")
    except ValueError:
        logger.info("m %s", "n", extra={"given": given}, exc_info=True)
    standard = vars(logging.makeLogRecord({}))
    assert set(seen[0]) - set(standard) == {"given"}
    assert seen[0]["given"] is given
    assert (seen[0]["msg"], seen[0]["args"], seen[0]["exc_text"]) == ("m %s", ("n",), None)


def test_levels_and_filters_decide(logger: logging.Logger, recorded: Recorded) -> None:
    """What a logger's level, `disabled`, `logging.disable` or filter keeps back does not arrive."""
    logger.setLevel(logging.WARNING)
    logger.info("below the level")
    logger.addFilter(lambda record: "secret" not in record.getMessage())
    logger.warning("secret")
    logging.disable(logging.WARNING)
    logger.warning("disabled for all")
    logging.disable(logging.NOTSET)
    logger.disabled = True
    logger.error("disabled logger")
    logger.disabled = False
    logger.error("this one")
    assert recorded.bodies == ["this one"]


def test_own_level(logger: logging.Logger) -> None:
    """The bridge's own level keeps back what is below it."""
    recorded = Recorded()
    bridge.install(recorded.provider, level=logging.WARNING)
    logger.info("no")
    logger.warning("yes")
    assert recorded.bodies == ["yes"]


def test_loggers_that_do_not_propagate_are_seen(logger: logging.Logger, recorded: Recorded) -> None:
    """Neither `propagate` nor the presence of handlers matters."""
    logger.propagate = False
    logger.info("alone")
    logger.addHandler(logging.NullHandler())
    logger.addHandler(logging.NullHandler())
    logger.info("two handlers")
    assert recorded.bodies == ["alone", "two handlers"]


def test_a_handler_that_raises(logger: logging.Logger, recorded: Recorded) -> None:
    """A handler's exception goes to the caller as without us, and the record has arrived."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("disk full")

    logger.addHandler(Broken())
    with pytest.raises(OSError, match="disk full"):
        logger.info("x")
    assert recorded.bodies == ["x"]


@pytest.mark.usefixtures("recorded")
def test_no_frame_while_handlers_run(logger: logging.Logger) -> None:
    """On the stack of a handler there is logging and the user's code, nothing of ours."""
    import traceback

    stacks: list[list[str]] = []
    handler = logging.Handler()
    handler.emit = lambda record: stacks.append([f.filename for f in traceback.extract_stack()])  # type: ignore[method-assign]
    logger.addHandler(handler)
    logger.info("x")
    assert not [filename for filename in stacks[0] if "otelml/logs" in filename]


def test_install_twice_and_takeover(logger: logging.Logger, recorded: Recorded) -> None:
    """Installing again changes nothing; with another provider, that one gets the records from then on."""
    bridge.install(recorded.provider)
    logger.info("once")
    other = Recorded()
    bridge.install(other.provider)
    logger.info("to the other")
    assert (recorded.bodies, other.bodies) == (["once"], ["to the other"])


def test_uninstall_restores_logging(logger: logging.Logger) -> None:
    """After `uninstall` the Logger class is exactly as before, and nothing arrives."""
    before = dict(vars(logging.Logger))
    recorded = Recorded()
    bridge.install(recorded.provider)
    assert bridge.is_installed()
    bridge.uninstall()
    bridge.uninstall()
    logger.info("x")
    assert dict(vars(logging.Logger)) == before
    assert not bridge.is_installed()
    assert recorded.bodies == []


def test_uninstall_under_another_hook(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody hooked over ours, theirs goes on working, ours is silent, and a new install counts once."""
    recorded = Recorded()
    bridge.install(recorded.provider)
    ours = logging.Logger.filter
    calls = []

    def theirs(self: logging.Logger, record: logging.LogRecord) -> Any:
        calls.append(record.msg)
        return ours(self, record)

    monkeypatch.setattr(logging.Logger, "filter", theirs)
    logger.info("both")
    bridge.uninstall()
    logger.info("theirs only")
    bridge.install(recorded.provider)
    logger.info("both again")
    bridge.uninstall()
    assert logging.Logger.filter is theirs
    assert calls == ["both", "theirs only", "both again"]
    assert recorded.bodies == ["both", "both again"]
    monkeypatch.undo()
    logging.Logger.filter = ours  # type: ignore[method-assign]
    logger.info("ours from before stays silent")
    del logging.Logger.filter
    assert recorded.bodies == ["both", "both again"]


def test_a_hook_below_is_kept(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook that was there before ours is called, obeyed, and put back."""

    def theirs(_logger: logging.Logger, record: logging.LogRecord) -> bool:
        return record.msg != "no"

    monkeypatch.setattr(logging.Logger, "filter", theirs, raising=False)
    recorded = Recorded()
    bridge.install(recorded.provider)
    logger.info("no")
    logger.info("yes")
    bridge.uninstall()
    assert logging.Logger.filter is theirs
    assert recorded.bodies == ["yes"]


def test_beside_a_hook_on_call_handlers(
    logger: logging.Logger, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library that wraps `callHandlers`, as error trackers do, and the bridge leave each other alone."""
    original, seen = logging.Logger.callHandlers, []

    def theirs(self: logging.Logger, record: logging.LogRecord) -> None:
        seen.append(record.msg)
        original(self, record)

    monkeypatch.setattr(logging.Logger, "callHandlers", theirs)
    logger.info("x")
    assert (seen, recorded.bodies) == (["x"], ["x"])


def test_text_that_logs(logger: logging.Logger, recorded: Recorded) -> None:
    """A `__str__` that logs is recorded too, after the record that it is part of, and ends nowhere in a loop."""

    class Chatty:
        def __str__(self) -> str:
            logger.info("asked for my text")
            return "chatty"

    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    logger.info("%s", Chatty())
    assert recorded.bodies == ["chatty", "asked for my text"]


def test_text_that_logs_itself(logger: logging.Logger, recorded: Recorded) -> None:
    """A `__str__` that logs its own object ends after a bounded number of records, and the rest is counted."""

    class Endless:
        def __str__(self) -> str:
            for _ in range(5):
                logger.info("%s", self)
            return "endless"

    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    logger.info("%s", Endless())
    assert 1 < len(recorded.bodies) <= 1 + bridge.MAX_POSTPONED
    assert internal.totals()["dropped", "logs", "recursion"] > 0


class NoisyExporter(LogRecordExporter):
    """Logs while it exports, as transports do."""

    def __init__(self, *loggers: str) -> None:
        self.loggers = loggers
        self.bodies: list[Any] = []

    def export(self, batch: Any) -> LogRecordExportResult:
        self.bodies.extend(data.log_record.body for data in batch)
        for name in self.loggers:
            logging.getLogger(name).error("export of %d records failed", len(batch))
        return LogRecordExportResult.FAILURE

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True


@pytest.mark.parametrize("name", ["opentelemetry.exporter.otlp", "urllib3.connectionpool", "my.exporter"])
@pytest.mark.parametrize("processor", [SimpleLogRecordProcessor, BatchLogRecordProcessor])
def test_an_exporter_that_logs_makes_no_loop(logger: logging.Logger, processor: Any, name: str) -> None:
    """What is logged while logs are exported is not exported itself, in any thread, under any name."""
    exporter = NoisyExporter(name)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor(exporter))
    bridge.install(provider)
    logger.info("x")
    provider.force_flush()
    provider.force_flush()
    provider.shutdown()
    assert exporter.bodies == ["x"]


def test_opentelemetry_outside_an_export(recorded: Recorded) -> None:
    """What OpenTelemetry's loggers say at other times is a record like any other."""
    logging.getLogger("opentelemetry.sdk.something").warning("views overlap")
    assert recorded.bodies == ["views overlap"]


def test_suppressed_code_of_the_user_is_heard(logger: logging.Logger, recorded: Recorded) -> None:
    """`suppress_instrumentation()` of the user silences transports, not the program; an export silences all."""
    with suppress_instrumentation():
        logger.info("the program")
        logging.getLogger("urllib3.connectionpool").warning("retrying")
    token = attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    logger.info("within an export")
    detach(token)
    assert recorded.bodies == ["the program"]


class FailingProvider(LoggerProvider):
    """A provider whose loggers raise."""

    def get_logger(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no logger today")


def test_errors_of_ours_stay_inside(logger: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure in the bridge is counted and said once; the caller notices nothing."""
    monkeypatch.setattr(internal, "raise_errors", False)
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    monkeypatch.setattr(logging.getLogger("otelml.internal"), "handlers", [handler])
    bridge.install(FailingProvider(shutdown_on_exit=False))
    logger.info("one")
    logger.info("two")
    assert internal.totals()["errors", "logs", "RuntimeError"] >= 2
    assert len(said) == 1
    assert "no logger today" in said[0]


def test_after_an_error_the_bridge_goes_on(logger: logging.Logger, recorded: Recorded) -> None:
    """KeyboardInterrupt in the middle of a record passes through and leaves the bridge working."""

    class Interrupting:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        logger.info("%s", Interrupting())
    logger.info("next")
    assert recorded.bodies == ["next"]


def test_a_provider_that_does_nothing(logger: logging.Logger) -> None:
    """With the API's no-op provider records are not even read."""

    class Untouchable:
        def __str__(self) -> str:
            raise AssertionError("formatted for nobody")

    logger.propagate = False
    bridge.install(NoOpLoggerProvider())
    logger.addHandler(logging.NullHandler())
    logger.info("%s", Untouchable())


def test_talkative_libraries(recorded: Recorded) -> None:
    """Libraries of OTELML_QUIET_LOGGERS arrive from WARNING on, unless somebody gave their logger a level."""
    root, library = logging.getLogger(), logging.getLogger("matplotlib.font_manager")
    root.setLevel(logging.DEBUG)
    library.debug("scoring fonts")
    library.warning("no such font")
    logging.getLogger("matplotlib_of_mine").debug("another one")
    parent = logging.getLogger("matplotlib")
    parent.setLevel(logging.DEBUG)
    try:
        library.debug("asked for")
    finally:
        parent.setLevel(logging.NOTSET)
    assert recorded.bodies == ["no such font", "another one", "asked for"]


def test_quiet_loggers_are_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTELML_QUIET_LOGGERS says which libraries those are, and from which level they arrive."""
    monkeypatch.setenv("OTELML_QUIET_LOGGERS", "chatty=ERROR")
    settings.reset()
    recorded = Recorded()
    bridge.install(recorded.provider)
    logging.getLogger("chatty.part").warning("no")
    logging.getLogger("chatty.part").error("yes")
    assert recorded.bodies == ["yes"]


class CudaScalar:
    """A tensor on a GPU: reading it would make the program wait."""

    shape, dtype = (), "torch.float32"
    __module__ = "torch"

    def __init__(self) -> None:
        self.reads = 0
        self.device = type("device", (), {"type": "cuda", "__str__": lambda self: "cuda:0"})()

    def __str__(self) -> str:
        self.reads += 1
        return "0.5"


def test_a_message_never_waits_for_a_device(logger: logging.Logger, recorded: Recorded) -> None:
    """An argument on a GPU is read only when a handler of the user's reads it anyway."""
    loss = CudaScalar()
    logger.propagate = False
    logger.addHandler(logging.NullHandler(logging.ERROR))
    logger.info("loss %s", loss)
    assert loss.reads == 0
    logger.error("loss %s", loss)
    assert recorded.bodies == ["loss %s ['CudaScalar(shape=(), dtype=float32, device=cuda:0)']", "loss 0.5"]


def test_eight_threads(logger: logging.Logger, recorded: Recorded) -> None:
    """Each record of eight threads arrives once, in the order of its thread."""
    logger.propagate = False
    logger.addHandler(logging.NullHandler())

    def work(number: int) -> None:
        for n in range(500):
            logger.info("%d %d", number, n, extra={"n": n})

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(recorded.bodies) == sorted(f"{number} {n}" for number in range(8) for n in range(500))
    for number in range(8):
        own = [body for body in recorded.bodies if body.startswith(f"{number} ")]
        assert own == [f"{number} {n}" for n in range(500)]


def test_install_from_many_threads(logger: logging.Logger) -> None:
    """Concurrent installs and uninstalls leave one hook or none."""
    recorded = Recorded()
    before = dict(vars(logging.Logger))

    def work() -> None:
        for _ in range(200):
            bridge.install(recorded.provider)
            bridge.uninstall()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    bridge.install(recorded.provider)
    logger.info("x")
    bridge.uninstall()
    assert recorded.bodies == ["x"]
    assert dict(vars(logging.Logger)) == before


def test_records_are_let_go(logger: logging.Logger) -> None:
    """The bridge keeps no record, and nothing that was in it, alive."""

    class Big:
        pass

    class Drop:
        def on_emit(self, record: Any) -> None: ...
        def shutdown(self) -> None: ...
        def force_flush(self, timeout_millis: int = 0) -> bool:
            return True

    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(Drop())  # type: ignore[arg-type]
    bridge.install(provider)
    logger.propagate = False
    for _ in range(10):
        logger.info("x", extra={"big": Big()})
    gc.collect()
    assert not [thing for thing in gc.get_objects() if type(thing) is Big]


def test_handmade_records(recorded: Recorded) -> None:
    """Records made by hand or received from elsewhere arrive too, whatever they lack."""
    logging.getLogger("receiver").handle(logging.makeLogRecord({"msg": "bare", "levelno": 30}))
    logging.getLogger("receiver").handle(
        logging.makeLogRecord({"msg": "x", "levelno": 40, "exc_text": "Traceback ...", "name": "far.away"})
    )
    bare, remote = recorded.exporter.get_finished_logs()
    assert (bare.log_record.body, dict(bare.log_record.attributes)) == ("bare", {})
    assert remote.log_record.attributes["exception.stacktrace"] == "Traceback ..."
    assert remote.instrumentation_scope.name == "far.away"


def test_many_logger_names(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory for logger names is bounded."""
    monkeypatch.setattr(bridge, "MAX_LOGGERS", 10)
    receiver = logging.getLogger("receiver")
    for number in range(100):
        receiver.handle(logging.makeLogRecord({"msg": "x", "levelno": 30, "name": f"n{number}"}))
    assert len(recorded.bodies) == 100
    assert bridge._active is not None
    assert len(bridge._active._targets) <= 10


def test_correlation_ids_are_not_repeated(logger: logging.Logger, recorded: Recorded) -> None:
    """The ids that OpenTelemetry's logging instrumentation writes into records do not become attributes."""
    logger.info(
        "x", extra={"otelTraceID": "0", "otelSpanID": "0", "otelServiceName": "s", "otelTraceSampled": False}
    )
    assert {name.partition(".")[0] for name in recorded.one().attributes} == {"code"}


def test_listeners_are_told_of_what_is_forwarded(logger: logging.Logger, recorded: Recorded) -> None:
    """Record, message, attributes and event name; not of what a quiet library says, nor of what an exporter does."""
    heard: list[Any] = []
    bridge.listeners.append(lambda *told: heard.append(told))
    with warnings.catch_warnings():
        logger.info("step %d", 3, extra={"event": "tuned", "loss": 0.5})
        logging.getLogger("matplotlib").info("quiet")
        with suppress_instrumentation():
            logging.getLogger("urllib3.connectionpool").warning("retrying")
    ((record, message, attributes, event_name),) = heard
    assert (record.name, message, event_name) == (LOGGER, "step 3", "tuned")
    assert attributes["loss"] == 0.5
    assert len(recorded.records) == 1


def test_listeners_hear_where_no_records_are_exported(logger: logging.Logger) -> None:
    """A provider that does nothing is enough; one that raises costs the record nothing but itself."""
    heard: list[str] = []
    bridge.listeners.append(lambda _, message, *__: heard.append(message))
    bridge.install(NoOpLoggerProvider())
    logger.info("heard")
    assert heard == ["heard"]
