"""Events always reach the bridge, reach the console as any record would, and never harm who emits them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource

from otelml import events, settings
from otelml.instruments import internal
from otelml.logs import bridge
from otelml.logs.flat import from_record, to_flat
from otelml.semconv._generated import EVENTS
from otelml.semconv.model import Event, EventField

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TYPED = Event(
    "otelml_typed",
    "For tests.",
    "WARNING",
    (
        EventField("step", "int", "required"),
        EventField("loss", "double", "recommended"),
        EventField("phase", "string", "recommended"),
        EventField("ok", "boolean", "recommended"),
        EventField("levels", "int[]", "recommended"),
        EventField("anything", "any", "recommended"),
    ),
)


class Console(logging.Handler):
    """The user's handler: what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    @property
    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.records]


@pytest.fixture
def console() -> Iterator[Console]:
    """A handler on the root logger."""
    console = Console()
    logging.getLogger().addHandler(console)
    yield console
    logging.getLogger().removeHandler(console)


@pytest.fixture
def exporter() -> InMemoryLogRecordExporter:
    """Where the bridge sends to."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(resource=Resource({}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    bridge.install(provider)
    return exporter


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Event:
    """An event of the registry with a field of each type."""
    monkeypatch.setitem(EVENTS, TYPED.name, TYPED)
    return TYPED


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library contains is not raised, as outside of tests."""
    monkeypatch.setattr(internal, "raise_errors", False)


def arrived(exporter: InMemoryLogRecordExporter) -> list[dict[str, Any]]:
    """What arrived, in its flat form."""
    return [to_flat(data) for data in exporter.get_finished_logs()]


def test_an_event(exporter: InMemoryLogRecordExporter, console: Console) -> None:
    """Name, level, fields and the caller's place arrive; at the root's WARNING the console stays silent."""
    logging.getLogger().setLevel(logging.WARNING)
    events.emit("my_event", epoch=3, loss=np.float32(0.5))
    (flat,) = arrived(exporter)
    del flat["timestamp"], flat["line"]
    assert flat == {
        "level": "INFO", "logger": "otelml", "message": "my_event", "event": "my_event",
        "module": "test_emission", "function": "test_an_event", "epoch": 3, "loss": 0.5,
    }  # fmt: skip
    assert console.messages == []


@pytest.mark.usefixtures("typed")
def test_registry_events_have_the_prefix_and_level(exporter: InMemoryLogRecordExporter) -> None:
    """An event of the registry is `ml.<name>` for OpenTelemetry and has the registry's level unless told otherwise."""
    events.emit("otelml_typed", step=1)
    events.emit("ml.otelml_typed", step=1, level=logging.ERROR)
    records = [data.log_record for data in exporter.get_finished_logs()]
    assert [(r.event_name, r.severity_text) for r in records] == [
        ("ml.otelml_typed", "WARN"),
        ("ml.otelml_typed", "ERROR"),
    ]


@pytest.mark.parametrize(
    ("root", "own", "level", "on_console", "on_bridge"),
    [
        ("WARNING", None, "INFO", False, True),
        ("WARNING", None, "ERROR", True, True),
        ("WARNING", None, "DEBUG", False, False),
        ("INFO", None, "INFO", True, True),
        ("DEBUG", None, "DEBUG", True, True),
        ("WARNING", "INFO", "INFO", True, True),
        ("DEBUG", "ERROR", "INFO", False, False),
        ("WARNING", "DEBUG", "DEBUG", True, True),
    ],
)
def test_who_hears_an_event(
    exporter: InMemoryLogRecordExporter, console: Console, root: str, own: str | None, level: str,
    on_console: bool, on_bridge: bool,
) -> None:  # fmt: skip
    """The root's level decides about the console, OTELML_LOG_LEVEL about the bridge, the logger's own about both."""
    logging.getLogger().setLevel(root)
    logging.getLogger("otelml").setLevel(own or logging.NOTSET)
    events.emit("e", level=getattr(logging, level))
    assert bool(console.records) == on_console
    assert bool(arrived(exporter)) == on_bridge


def test_level_setting(exporter: InMemoryLogRecordExporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """OTELML_LOG_LEVEL is the level from which events are telemetry."""
    monkeypatch.setenv("OTELML_LOG_LEVEL", "ERROR")
    settings.reset()
    logging.getLogger().setLevel(logging.CRITICAL)
    events.emit("a")
    events.emit("b", level=logging.ERROR)
    assert [flat["event"] for flat in arrived(exporter)] == ["b"]


def test_disabled_logger_and_disabled_logging(exporter: InMemoryLogRecordExporter, console: Console) -> None:
    """A `dictConfig` that disabled our logger silences the console only; `logging.disable` silences all."""
    logger = logging.getLogger("otelml")
    logging.getLogger().setLevel(logging.INFO)
    logger.disabled = True
    events.emit("a")
    logger.disabled = False
    logging.disable(logging.INFO)
    events.emit("b")
    logging.disable(logging.NOTSET)
    assert console.messages == []
    assert [flat["event"] for flat in arrived(exporter)] == ["a"]


def test_filters_are_obeyed(exporter: InMemoryLogRecordExporter) -> None:
    """A filter on the logger keeps an event back, also where no handler would be called."""
    logging.getLogger().setLevel(logging.WARNING)
    logger = logging.getLogger("otelml_test.events")
    logger.addFilter(lambda record: record.epoch != 2)  # type: ignore[attr-defined]
    for epoch in (1, 2, 3):
        events.emit("e", logger=logger, epoch=epoch)
    logger.filters.clear()
    assert [flat["epoch"] for flat in arrived(exporter)] == [1, 3]


def test_without_a_bridge(console: Console, caplog: pytest.LogCaptureFixture) -> None:
    """With the stdlib alone the user's handlers, and pytest's, get the event with its fields as attributes."""
    with caplog.at_level(logging.INFO):
        events.emit("e", message="epoch done", epoch=3)
    assert console.messages == ["epoch done"]
    assert caplog.record_tuples == [("otelml", logging.INFO, "epoch done")]
    assert caplog.records[0].epoch == 3  # type: ignore[attr-defined]
    assert caplog.records[0].event == "e"  # type: ignore[attr-defined]


def test_another_logger(exporter: InMemoryLogRecordExporter, console: Console) -> None:
    """An event may go through a logger of the user's, whose level then counts."""
    logger = logging.getLogger("otelml_test.robocache")
    logger.setLevel(logging.INFO)
    events.emit("e", logger=logger, message="Completed fusion")
    logger.setLevel(logging.NOTSET)
    assert [flat["logger"] for flat in arrived(exporter)] == ["otelml_test.robocache"]
    assert console.messages == ["Completed fusion"]


RESERVED = {
    name: f"field {name}" for name in (*vars(logging.makeLogRecord({})), "message", "asctime", "taskName")
}


def test_fields_named_like_logging_s_own(exporter: InMemoryLogRecordExporter, console: Console) -> None:
    """A field may be called `name`, `module`, `msg`, ...: it arrives, and the record's own stay right."""
    logging.getLogger().setLevel(logging.INFO)
    events.emit("e", {**RESERVED, "event": "field event", "level": "field level", "stacklevel": 2})
    (data,) = exporter.get_finished_logs()
    attributes = data.log_record.attributes
    assert RESERVED.items() <= dict(attributes).items()
    assert (attributes["event"], attributes["level"], attributes["stacklevel"]) == (
        "field event",
        "field level",
        2,
    )
    assert data.log_record.event_name == "e"
    assert data.log_record.body == "e"
    flat = to_flat(data)
    assert (flat["event"], flat["event_"], flat["message"], flat["message_"]) == (
        "e", "field event", "e", "field message",
    )  # fmt: skip
    (record,) = console.records
    assert (record.name, record.getMessage()) == ("otelml", "e")
    assert from_record(record)["message_"] == "field message"


def test_messages_are_not_formats(exporter: InMemoryLogRecordExporter) -> None:
    """A percent sign in a message is text."""
    events.emit("e", message="100% done")
    assert arrived(exporter)[0]["message"] == "100% done"


def helper_with_stacklevel() -> None:
    """Emit an event in the name of the caller."""
    events.emit("e", stacklevel=2)


def test_place_of_the_caller(exporter: InMemoryLogRecordExporter) -> None:
    """`stacklevel` names a caller further up, as in `logging`; more than there are is no error."""
    events.emit("e")
    helper_with_stacklevel()
    events.emit("e", stacklevel=10_000)
    first, second, third = arrived(exporter)
    assert (first["function"], second["function"]) == ("test_place_of_the_caller",) * 2
    assert second["line"] == first["line"] + 1
    assert "function" not in third


def test_exceptions(exporter: InMemoryLogRecordExporter) -> None:
    """An exception can belong to an event: a given one, or the one being handled."""
    try:
        raise ValueError("bad")
    except ValueError as error:
        events.emit("e", exc_info=error)
        events.emit("e", exc_info=True)
    events.emit("e", exc_info=True)
    types = [flat.get("exception.type") for flat in arrived(exporter)]
    assert types == ["ValueError", "ValueError", None]


@pytest.mark.usefixtures("typed")
def test_right_types_pass(exporter: InMemoryLogRecordExporter) -> None:
    """Numbers of numpy are numbers, a whole number is a double too, and `any` takes anything."""
    events.emit("otelml_typed", step=np.int64(1), loss=3, phase="train", ok=np.bool_(True), levels=(8, 6, 5))
    events.emit(
        "otelml_typed", step=1, loss=np.float32(1), ok=False, levels=np.array([8, 6, 5]), anything={1: 2}
    )
    assert len(arrived(exporter)) == 2
    assert internal.totals() == {}


@pytest.mark.usefixtures("typed")
def test_unknown_fields_are_absent(exporter: InMemoryLogRecordExporter) -> None:
    """None for a field of a registry event means unknown, and unknown is absent; in an own event it is a value."""
    events.emit("otelml_typed", step=1, loss=None)
    events.emit("own", loss=None)
    registry, own = exporter.get_finished_logs()
    assert "loss" not in registry.log_record.attributes
    assert own.log_record.attributes["loss"] is None


@pytest.mark.parametrize(
    ("name", "fields", "reason", "said"),
    [
        ("otelml_typed", {}, "missing", "event 'otelml_typed' needs the field 'step'"),
        ("otelml_typed", {"step": None}, "missing", "needs the field 'step'"),
        ("otelml_typed", {"step": "3"}, "type", "field 'step' of event 'otelml_typed' must be int, not str"),
        ("otelml_typed", {"step": True}, "type", "must be int, not bool"),
        (
            "otelml_typed",
            {"step": 1, "loss": "low"},
            "type",
            "field 'loss' of event 'otelml_typed' must be double",
        ),
        ("otelml_typed", {"step": 1, "phase": 3}, "type", "must be string, not int"),
        ("otelml_typed", {"step": 1, "ok": 1}, "type", "must be boolean, not int"),
        ("otelml_typed", {"step": 1, "levels": "865"}, "type", "must be int[], not str"),
        ("no name", {}, "name", "'no name' is no event name"),
        ("", {}, "name", "'' is no event name"),
    ],
)
@pytest.mark.usefixtures("typed", "production")
def test_wrong_fields_are_written_counted_and_said_once(
    exporter: InMemoryLogRecordExporter, caplog: pytest.LogCaptureFixture,
    name: str, fields: dict[str, Any], reason: str, said: str,
) -> None:  # fmt: skip
    """In production an event that is not as the registry says is written all the same."""
    events.emit(name, fields)
    events.emit(name, fields)
    own = [data for data in exporter.get_finished_logs() if data.instrumentation_scope.name == "otelml"]
    assert len(own) == 2
    assert internal.totals() == {("errors", "events", reason): 2}
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "otelml.internal"]
    assert said in warning


@pytest.mark.usefixtures("typed")
def test_wrong_fields_raise_in_tests() -> None:
    """Our own tests hear about an event that is not as the registry says."""
    with pytest.raises(ValueError, match="needs the field 'step'"):
        events.emit("otelml_typed")


@pytest.mark.usefixtures("production")
def test_nothing_reaches_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments of any kind, and handlers that raise, do not make `emit` raise."""

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("disk full")

    monkeypatch.setattr(logging.getLogger("otelml_test"), "handlers", [Broken()])
    logging.getLogger().setLevel(logging.INFO)
    events.emit("e", logger=logging.getLogger("otelml_test.child"))
    events.emit(object(), level="loud", message=3, stacklevel="deep")  # type: ignore[arg-type]
    assert sum(internal.totals().values()) >= 2


def test_eight_threads(exporter: InMemoryLogRecordExporter) -> None:
    """Events of eight threads all arrive."""

    def work() -> None:
        for number in range(100):
            events.emit("e", number=number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(exporter.get_finished_logs()) == 800


PROGRAM = """
import logging, sys
from otelml import events
{setup}
events.emit("quiet"); events.emit("loud", level=logging.ERROR)
assert "opentelemetry" not in sys.modules
"""


@pytest.mark.parametrize(
    ("setup", "printed"),
    [
        ("", "loud\n"),
        ("logging.basicConfig()", "ERROR:otelml:loud\n"),
        ("logging.basicConfig(level='INFO')", "INFO:otelml:quiet\nERROR:otelml:loud\n"),
        ("logging.getLogger('otelml').setLevel('ERROR')", "loud\n"),
    ],
)
def test_console_of_a_program(setup: str, printed: str, tmp_path: Path) -> None:
    """On a real console events are heard like any library's records, and OpenTelemetry is not even imported."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(setup=setup))
    done = subprocess.run(
        [sys.executable, script], env={**os.environ}, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("", printed)


@pytest.mark.usefixtures("production")
@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("warning", "WARNING"),
        ("WARN", "WARNING"),
        (" Error ", "ERROR"),
        (30, "WARNING"),
        ("loud", "INFO"),
        ([], "INFO"),
    ],
)
def test_levels_by_name(exporter: InMemoryLogRecordExporter, level: Any, written: str) -> None:
    """A level may be a name in any case; one that is none costs the level and not the event."""
    events.emit("own_event", level=level, kept=3)
    flats = [to_flat(data) for data in exporter.get_finished_logs()]
    assert [(flat["level"], flat["kept"]) for flat in flats if flat.get("event") == "own_event"] == [
        (written, 3)
    ]
    counted = {("errors", "events", "level"): 1} if written == "INFO" else {}
    assert internal.totals() == counted
