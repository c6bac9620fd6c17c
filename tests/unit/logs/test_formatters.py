"""JSON and text for the user's own handlers, from code and from `logging.config`."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import re
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from otelml.logs import bridge
from otelml.logs.flat import to_flat
from otelml.logs.formatters import ColorFormatter, JSONFormatter, PlainFormatter, is_color_wanted
from otelml.logs.ml_formatter import MLFormatter

if TYPE_CHECKING:
    from collections.abc import Iterator


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True


def make_record(message: str = "hello", level: int = logging.INFO, **extra: Any) -> logging.LogRecord:
    """A record with a place and a time of its own."""
    record = logging.LogRecord("robocache", level, "/src/cache.py", 7, message, (), None, "fuse")
    record.created = 1762518896.25
    vars(record).update(extra)
    return record


def failing_record() -> logging.LogRecord:
    """A record with an exception that was raised."""
    try:
        raise ValueError("bad")
    except ValueError:
        record = make_record("failed", logging.ERROR, step=3)
        record.exc_info = sys.exc_info()
        return record


def test_json_keys() -> None:
    """The keys are those of the flat files, with the extras beside them."""
    assert json.loads(JSONFormatter().format(make_record(event="clustering", k_clusters=4))) == {
        "timestamp": "2025-11-07T12:34:56.250000Z", "level": "INFO", "logger": "robocache", "message": "hello",
        "event": "clustering", "module": "cache", "function": "fuse", "line": 7, "k_clusters": 4,
    }  # fmt: skip


def test_json_equals_the_file() -> None:
    """For the same record, console JSON and file have the same keys and values."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(
        resource=Resource({"service.name": "s", "ml.run.id": "r", "ml.distributed.rank": 1}),
        shutdown_on_exit=False,
    )
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    bridge.install(provider)
    record = failing_record()
    vars(record).update(
        {"event": "clustering", "nested": {"a": [1]}, "message": "formatted before", "line": 9}
    )
    with TracerProvider(shutdown_on_exit=False).get_tracer("t").start_as_current_span("s"):
        logging.getLogger("robocache").handle(record)
        from_console = json.loads(JSONFormatter().format(record))
    from_file = to_flat(exporter.get_finished_logs()[0])
    assert from_console == json.loads(json.dumps(from_file))
    assert from_console["run_id"] == "r"


def test_json_timestamps() -> None:
    """Seconds since 1970, or local time for people."""
    unix = json.loads(JSONFormatter(timestamp_format="unix").format(make_record()))
    readable = json.loads(JSONFormatter(timestamp_format="readable").format(make_record()))
    assert unix["timestamp"] == 1762518896.25
    assert re.fullmatch(r"2025-11-0\d \d\d:\d\d:56", readable["timestamp"])


def test_json_without_extras() -> None:
    """Without extras the standard keys stay, and so does an exception."""
    keys = set(json.loads(JSONFormatter(include_extra=False).format(failing_record())))
    assert keys == {
        "timestamp", "level", "logger", "message", "module", "function", "line",
        "exception.type", "exception.message", "exception.stacktrace",
    }  # fmt: skip


def test_json_indent() -> None:
    """With an indent the same object takes several lines."""
    text = JSONFormatter(indent=2).format(make_record())
    assert text.startswith('{\n  "timestamp"')


def test_json_refuses_an_unknown_timestamp_format() -> None:
    """The error says what is allowed."""
    with pytest.raises(ValueError, match=r"timestamp_format 'rfc' must be one of iso, unix, readable"):
        JSONFormatter(timestamp_format="rfc")


def test_text_of_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage's event reads as one line; what the message says already is not said again."""
    monkeypatch.setenv("TZ", "UTC")
    record = make_record(
        "Completed multimodal_fusion",
        **{"otel.event.name": "ml.stage_complete", "event": "stage_complete",
           "stage": "multimodal_fusion", "elapsed_ms": 0.018},
    )  # fmt: skip
    line = PlainFormatter().format(record)
    assert re.fullmatch(
        r"2025-11-0\d \d\d:\d\d:56 - robocache - INFO - Completed multimodal_fusion \(elapsed_ms: 0.018\)",
        line,
    )


def test_text_of_extras() -> None:
    """Extras of any type are short and on the same line; an exception comes below."""
    extras = {"shape": (2, 3), "note": "two\nlines", "loss": float("nan"), "path": None, "long": "x" * 10_000}
    record = failing_record()
    vars(record).update(extras)
    first, *below = PlainFormatter("%(message)s").format(record).split("\n")
    assert first.startswith(
        'failed (step: 3, shape: [2, 3], note: "two\\nlines", loss: nan, path: null, long: xxx'
    )
    assert len(first) < 600
    assert below[0] == "Traceback (most recent call last):"
    assert below[-1] == "ValueError: bad"


def test_text_without_extras() -> None:
    """Extras can be left out."""
    assert PlainFormatter("%(message)s", show_extra=False).format(make_record(a=1)) == "hello"


class Mute:
    """An object without a text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


@pytest.mark.parametrize(
    "formatter", [ColorFormatter(color=False), PlainFormatter(), MLFormatter(), JSONFormatter()]
)
@pytest.mark.parametrize(
    ("message", "args", "said"),
    [
        ("%d steps", ("two",), "%d steps ["),
        (Mute(), (), "Mute"),
        ("%s", (Mute(),), "Mute"),
        ("a", ("b",), "a ["),
    ],
)
def test_a_message_that_has_no_text_is_a_line(
    formatter: logging.Formatter, message: Any, args: tuple[Any, ...], said: str
) -> None:
    """It costs no record, and stays as it is for other handlers."""
    record = make_record()
    record.msg, record.args = message, args
    assert said in formatter.format(record)
    assert (record.msg, record.args) == (message, args)


def test_colors() -> None:
    """On a terminal the level is coloured, and the record itself stays as it is for other handlers."""
    record = make_record(level=logging.ERROR, a=1)
    line = ColorFormatter("{levelname}:{message}", style="{", stream=Terminal()).format(record)
    assert line == "\x1b[31mERROR\x1b[0m:hello \x1b[2m(a: 1)\x1b[0m"
    assert record.levelname == "ERROR"
    assert PlainFormatter("%(levelname)s").format(record) == "ERROR (a: 1)"


@pytest.mark.parametrize(
    ("stream", "environ", "wanted"),
    [
        (Terminal(), {}, True),
        (io.StringIO(), {}, False),
        (Terminal(), {"NO_COLOR": "1"}, False),
        (Terminal(), {"NO_COLOR": ""}, True),
        (Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"FORCE_COLOR": "1"}, True),
        (Terminal(), {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        (None, {}, False),
    ],
)
def test_when_colors_are_wanted(stream: Any, environ: dict[str, str], wanted: bool) -> None:
    """Only on a terminal, never with NO_COLOR, always with FORCE_COLOR."""
    assert is_color_wanted(stream, environ) is wanted


def test_a_closed_stream_has_no_colors() -> None:
    """A closed stream is no terminal, and no error."""
    closed = Terminal()
    closed.close()
    assert is_color_wanted(closed, {}) is False or closed.isatty()


CONFIG = """
version: 1
disable_existing_loggers: false
formatters:
  by_class:
    class: otelml.logs.formatters.JSONFormatter
    format: '%(asctime)s %(levelname)s %(name)s %(message)s'
  by_factory:
    (): otelml.logs.formatters.JSONFormatter
    timestamp_format: unix
    include_extra: false
  text:
    class: otelml.logs.formatters.ColorFormatter
    format: '%(levelname)s %(message)s'
    datefmt: '%H:%M'
  plain:
    (): otelml.logs.formatters.PlainFormatter
    fmt: '%(name)s %(message)s'
handlers:
  by_class: {class: logging.StreamHandler, formatter: by_class, stream: 'ext://sys.stdout'}
  by_factory: {class: logging.StreamHandler, formatter: by_factory, stream: 'ext://sys.stdout'}
  text: {class: logging.StreamHandler, formatter: text, stream: 'ext://sys.stdout'}
  plain: {class: logging.StreamHandler, formatter: plain, stream: 'ext://sys.stdout'}
loggers:
  conv2d: {level: INFO, handlers: [by_class, by_factory, text, plain], propagate: false}
"""


@pytest.fixture
def conv2d() -> Iterator[logging.Logger]:
    """The logger of CONFIG, put back afterwards."""
    logger = logging.getLogger("conv2d")
    yield logger
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def test_from_yaml(conv2d: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """All formatters can be named in a `logging.config` file, by class path and as a factory."""
    logging.config.dictConfig(yaml.safe_load(CONFIG))
    conv2d.info("epoch %d", 3, extra={"loss": 0.5})
    by_class, by_factory, text, plain = capsys.readouterr().out.splitlines()
    assert json.loads(by_class)["loss"] == 0.5
    assert isinstance(json.loads(by_factory)["timestamp"], float)
    assert "loss" not in json.loads(by_factory)
    assert text == "INFO epoch 3 (loss: 0.5)"
    assert plain == "conv2d epoch 3 (loss: 0.5)"


INI = """
[loggers]
keys=root,conv2d
[handlers]
keys=out
[formatters]
keys=json
[logger_root]
handlers=
[logger_conv2d]
level=INFO
handlers=out
propagate=0
qualname=conv2d
[handler_out]
class=StreamHandler
args=(sys.stdout,)
formatter=json
[formatter_json]
class=otelml.logs.formatters.JSONFormatter
"""


def test_from_ini(conv2d: logging.Logger, capsys: pytest.CaptureFixture[str]) -> None:
    """The old ini form works too."""
    logging.config.fileConfig(io.StringIO(INI), disable_existing_loggers=False)
    conv2d.info("hello")
    assert json.loads(capsys.readouterr().out)["message"] == "hello"
