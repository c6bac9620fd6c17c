"""ML loggers are the standard's own loggers with more methods, for everybody who has them; nobody else is touched."""

from __future__ import annotations

import copy
import json
import logging
import logging.config
import pickle
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry._logs import SeverityNumber

from otelml import testing
from otelml.logs import levels, ml_logger, recent
from otelml.logs.flat import dumps, to_flat
from otelml.logs.formatters import JSONFormatter
from otelml.logs.ml_logger import MLLogger, get_logger, log_operation
from otelml.logs.setup import setup_logging

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "otelml_test_ml"
HERE = __name__.rpartition(".")[2]


@pytest.fixture
def logger() -> Iterator[MLLogger]:
    """An ML logger that lets everything through, to nobody."""
    logger = get_logger(NAME)
    logger.setLevel(1)
    logger.propagate = False
    yield logger
    logger.setLevel(logging.NOTSET)
    logger.handlers.clear()
    logger.propagate = True
    logger.disabled = False


class Kept(logging.Handler):
    """Keeps what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def test_it_is_the_logger_of_that_name() -> None:
    """The same object for everybody, with the handlers, level and filters that it had; the class for new ones stays."""
    parent, before = logging.getLogger(NAME), logging.getLogger(f"{NAME}.old")
    before.setLevel(33)
    handler = Kept()
    before.addHandler(handler)
    logger = get_logger(f"{NAME}.old")
    assert logger is before is logging.getLogger(f"{NAME}.old") is get_logger(f"{NAME}.old")
    assert isinstance(before, MLLogger)
    assert (before.level, before.handlers, before.parent) == (33, [handler], parent)
    assert logging.getLoggerClass() is logging.Logger
    assert type(logging.getLogger(f"{NAME}.other")) is logging.Logger
    before.handlers.clear()


class Own(logging.Logger):
    """Somebody's logger class."""

    def shout(self) -> str:
        return f"{self.name.upper()}!"

    def info(self, msg: object, *args: object, **kwargs: Any) -> None:
        super().info(f"own: {msg}", *args, **kwargs)


def test_a_logger_of_another_class_stays_one() -> None:
    """A logger class of the user's keeps its methods and what it overrides."""
    logging.setLoggerClass(Own)
    try:
        logging.getLogger(f"{NAME}.own")
    finally:
        logging.setLoggerClass(logging.Logger)
    logger: Any = get_logger(f"{NAME}.own")
    logger.setLevel(logging.INFO)
    logger.info("hi", metrics={"loss": 1})
    logger.metric("m", {"loss": 2})
    assert (logger.shout(), isinstance(logger, Own)) == ("OTELML_TEST_ML.OWN!", True)
    assert [(e["message"], e["metrics"]) for e in logger.entries()] == [
        ("own: hi", {"loss": 1}),
        ("m", {"loss": 2}),
    ]


def test_the_root() -> None:
    """The root logger has the methods once it was asked for, and stays the root of all."""
    root = get_logger()
    assert root is logging.getLogger() is logging.root
    assert isinstance(root, logging.RootLogger)
    assert root.isEnabledFor(levels.RESULT) == (root.level <= levels.RESULT)


def test_copies(logger: MLLogger) -> None:
    """A logger is pickled as its name, and comes back with its methods."""
    assert pickle.loads(pickle.dumps(logger)) is logger  # noqa: S301 - our own
    assert copy.deepcopy(logger) is logger
    assert pickle.loads(pickle.dumps(get_logger())) is logging.root  # noqa: S301 - our own


METHODS = {"trace": 5, "progress": 21, "metric": 22, "experiment": 23, "result": 24}


@pytest.mark.parametrize(("method", "number"), METHODS.items())
def test_levels(logger: MLLogger, method: str, number: int) -> None:
    """Each method logs at its level from that level on, with this test as its place, whatever the stack level."""

    def helper() -> None:
        getattr(logger, method)("from a helper", stacklevel=2)

    handler = Kept()
    logger.addHandler(handler)
    logger.setLevel(number)
    getattr(logger, method)("%s of %d", "one", 2)
    helper()
    logger.setLevel(number + 1)
    getattr(logger, method)("unheard")
    logger.setLevel(1)
    logger.disabled = True
    getattr(logger, method)("unheard")
    assert [(r.levelno, r.levelname, r.getMessage()) for r in handler.records] == [
        (number, method.upper(), "one of 2"),
        (number, method.upper(), "from a helper"),
    ]
    assert [(r.module, r.funcName) for r in handler.records] == [(HERE, "test_levels")] * 2


def test_the_standard_methods_have_their_place(logger: MLLogger) -> None:
    """`info`, `exception` and the others name their caller, as without us, also with a stack level."""

    def helper() -> None:
        logger.info("b", stacklevel=2)

    handler = Kept()
    logger.addHandler(handler)
    logger.info("a")
    helper()
    logger.log(17, "c", metrics={"x": 1})
    try:
        raise ValueError("bad")
    except ValueError:
        logger.exception("d", tags={"x": "y"})
    assert {r.funcName for r in handler.records} == {"test_the_standard_methods_have_their_place"}
    assert [r.levelname for r in handler.records] == ["INFO", "INFO", "Level 17", "ERROR"]
    assert handler.records[3].exc_info[0] is ValueError  # type: ignore[index]


def test_the_order_of_the_levels() -> None:
    """TRACE below DEBUG; the four between INFO and WARNING, progress the lowest and results the highest."""
    order = ["TRACE", "DEBUG", "INFO", "PROGRESS", "METRIC", "EXPERIMENT", "RESULT", "WARNING"]
    numbers = [logging.getLevelName(name) for name in order]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(
    ("method", "number"),
    [
        ("trace", SeverityNumber.TRACE),
        ("debug", SeverityNumber.DEBUG),
        ("info", SeverityNumber.INFO),
        ("progress", SeverityNumber.INFO2),
        ("metric", SeverityNumber.INFO3),
        ("experiment", SeverityNumber.INFO4),
        ("result", SeverityNumber.INFO4),
        ("warning", SeverityNumber.WARN),
    ],
)
def test_severities(logger: MLLogger, method: str, number: SeverityNumber) -> None:
    """In OpenTelemetry each level has its number, and its name as text; in the flat file its name."""
    with testing.capture() as captured:
        getattr(logger, method)("x")
        (data,) = captured.logs
    text = {"warning": "WARN"}.get(method, method.upper())
    assert (data.log_record.severity_number, data.log_record.severity_text) == (number, text)
    assert to_flat(data)["level"] == method.upper()


def test_keywords(logger: MLLogger) -> None:
    """Metrics, tags and artifacts are fields beside the extras; a mapping behind the message is the metrics."""
    with testing.capture() as captured:
        logger.metric(
            "Epoch done", {"loss": 0.25}, tags={"phase": "train"}, artifacts="m.pkl", extra={"epoch": 3}
        )
        logger.info("Step", metrics={"loss": 0.5}, artifacts=["a", "b"])
        logger.result("accuracy %(acc).1f", {"acc": 0.945})
        logger.progress("100% done", {"completed": 100})
        logger.experiment("none")
        flats = [json.loads(dumps(to_flat(data))) for data in captured.logs]
    drop = {"timestamp", "logger", "module", "function", "line"}
    assert [{k: v for k, v in flat.items() if k not in drop} for flat in flats] == [
        {
            "level": "METRIC", "message": "Epoch done", "metrics": {"loss": 0.25}, "tags": {"phase": "train"},
            "artifacts": ["m.pkl"], "epoch": 3,
        },
        {"level": "INFO", "message": "Step", "metrics": {"loss": 0.5}, "artifacts": ["a", "b"]},
        {"level": "RESULT", "message": "accuracy 0.9", "metrics": {"acc": 0.945}},
        {"level": "PROGRESS", "message": "100% done", "metrics": {"completed": 100}},
        {"level": "EXPERIMENT", "message": "none"},
    ]  # fmt: skip


def test_metrics_that_change_later(logger: MLLogger) -> None:
    """What was logged is what the values were."""
    metrics = {"loss": 1.0}
    handler = Kept()
    logger.addHandler(handler)
    logger.metric("a", metrics)
    logger.info("b", extra={"own": metrics})
    metrics["loss"] = 2.0
    assert handler.records[0].metrics == {"loss": 1.0}  # type: ignore[attr-defined]
    assert [entry.get("metrics", entry.get("own")) for entry in logger.entries()] == [
        {"loss": 1.0},
        {"loss": 1.0},
    ]


CONFIGS = {
    "level": {"version": 1, "loggers": {NAME: {"level": "METRIC"}}},
    "old loggers disabled": {"version": 1, "disable_existing_loggers": True, "root": {"level": "RESULT"}},
    "handler": {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"h": {"class": "logging.NullHandler", "level": "EXPERIMENT"}},
        "loggers": {NAME: {"handlers": ["h"], "level": "TRACE"}},
    },
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_dict_config(logger: MLLogger, config: dict[str, Any]) -> None:
    """Level names stand in configurations, and methods and names outlive them."""
    root = logging.getLogger().level
    logging.config.dictConfig(config)
    logging.getLogger().setLevel(root)
    logger.disabled = False
    logger.setLevel("METRIC")
    logger.metric("heard", {"loss": 1})
    logger.progress("unheard")
    assert [(e["level"], e["message"]) for e in logger.entries()] == [("METRIC", "heard")]


PROGRAM = """
import logging, logging.config, sys
{before}
import otelml.logs.levels
logging.config.dictConfig({{"version": 1, "root": {{"level": "RESULT"}}}})
print(logging.root.level, [logging.getLevelName(n) for n in (5, 7, 21, 24)], logging.getLevelName("TRACE"))
"""


@pytest.mark.parametrize(
    ("before", "printed"),
    [
        ("", "24 ['TRACE', 'Level 7', 'PROGRESS', 'RESULT'] 5"),
        ("logging.addLevelName(21, 'NOTICE')", "24 ['TRACE', 'Level 7', 'NOTICE', 'RESULT'] 5"),
        ("logging.addLevelName(7, 'TRACE')", "24 ['TRACE', 'TRACE', 'PROGRESS', 'RESULT'] 7"),
    ],
)
def test_names_in_use_stay(before: str, printed: str) -> None:
    """A name or number that somebody took is theirs; ours is known beside it."""
    command = [sys.executable, "-c", PROGRAM.format(before=before)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == printed


def test_log_operation(logger: MLLogger) -> None:
    """A stage with its pair of lines, the fields on both and on the span, and how long it took."""
    with testing.capture() as captured:
        with logger.log_operation("multimodal_fusion", batch_size=4, name="a", log="b") as operation:
            pass
        flats = [to_flat(data) for data in captured.logs]
        (span,) = captured.spans
        assert captured.value("ml.stage.duration", {"ml.stage.name": "multimodal_fusion"}) == 1
        captured.assert_conforms()
    fields = {"stage": "multimodal_fusion", "batch_size": 4, "name": "a", "log": "b"}
    assert [(f["message"], f["event"], f["level"], f["logger"], f["function"]) for f in flats] == [
        ("Starting multimodal_fusion", "stage_start", "INFO", NAME, "test_log_operation"),
        ("Completed multimodal_fusion", "stage_complete", "INFO", NAME, "test_log_operation"),
    ]
    assert all(fields.items() <= flat.items() for flat in flats)
    assert flats[1]["elapsed_ms"] == pytest.approx(1e3 * operation.duration_s)  # type: ignore[operator]
    assert (span.name, span.attributes["batch_size"]) == ("multimodal_fusion", 4)  # type: ignore[index]


def test_log_operation_that_fails() -> None:
    """Without a logger the lines are events of the library's; an exception goes on as it is."""
    error = ValueError("bad batch")
    with testing.capture() as captured:
        with pytest.raises(ValueError) as raised, log_operation("encode", items=3):
            raise error
        flats = [to_flat(data) for data in captured.logs]
    assert raised.value is error
    assert [(f["event"], f["logger"], f["items"]) for f in flats] == [
        ("stage_start", "otelml", 3), ("stage_error", "otelml", 3),
    ]  # fmt: skip
    assert (flats[1]["error_type"], flats[1]["error_message"]) == ("ValueError", "bad batch")


def test_set_up_loggers_have_the_methods() -> None:
    """`setup_logging` returns one, with JSON that has the level's name."""
    logger = setup_logging(f"{NAME}.setup", "METRIC", console="none")
    handler = Kept()
    logger.addHandler(handler)
    logger.metric("x", {"loss": 1})
    assert '"level": "METRIC"' in JSONFormatter().format(handler.records[0])
    logger.handlers.clear()


@pytest.mark.parametrize("metrics", [3, None, "text", [("a", 1)], {1: object()}, {"x": float("nan")}])
def test_whatever_metrics_are(logger: MLLogger, metrics: Any) -> None:
    """Nothing that is given as metrics raises."""
    logger.info("x", metrics=metrics, tags=metrics, artifacts=metrics)
    assert logger.entries()[0]["message"] == "x"


def test_nothing_is_shared() -> None:
    """The modules have no state but the classes that they made and what is remembered."""
    assert ml_logger._classes.keys() <= {logging.Logger, logging.RootLogger, Own}
    assert recent.entries() == []


class Taken(logging.Logger):
    """Somebody's logger class with names that are ours too."""

    def result(self, msg: str) -> str:
        return f"theirs: {msg}"

    entries = ("one", "two")


class Child(Taken):
    """Inherits them, and has one more."""

    def trace(self) -> str:
        return "their trace"


def test_own_names_win() -> None:
    """Where a logger's class has a method called as one of ours, its users get theirs; the rest is ours."""
    logging.setLoggerClass(Child)
    try:
        logging.getLogger(f"{NAME}.taken")
    finally:
        logging.setLoggerClass(logging.Logger)
    logger: Any = get_logger(f"{NAME}.taken")
    logger.setLevel(logging.INFO)
    logger.metric("m", {"loss": 2})
    assert (logger.result("x"), logger.entries, logger.trace()) == (
        "theirs: x",
        ("one", "two"),
        "their trace",
    )
    assert [entry["message"] for entry in recent.entries()] == ["m"]


CONFIGURED = """
import logging.config, sys
import otelml
otelml.configure(service_name="levels", sdk_disabled=True)
logging.config.dictConfig({"version": 1, "root": {"level": "METRIC"}})
print(logging.root.level, [name for name in ("numpy", "torch", "pandas") if name in sys.modules])
"""


def test_configure_makes_the_names_known() -> None:
    """After `configure`, also where telemetry is off, `logging.config` takes them."""
    done = subprocess.run([sys.executable, "-c", CONFIGURED], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "22 []"
