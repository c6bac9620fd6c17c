"""Recent entries: what was logged and nothing later, filtered, exported, bounded, keeping nothing alive."""

from __future__ import annotations

import csv
import datetime as dt
import gc
import json
import logging
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from otelml import context, testing
from otelml.instruments import internal
from otelml.logs import levels, recent
from otelml.logs.ml_logger import MLLogger, get_logger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# From Python 3.12 on it warns where threads are running, which is what is tested here.
FORKS = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
NAME = "otelml_test_recent"


@pytest.fixture
def logger() -> Iterator[MLLogger]:
    """An ML logger that writes nowhere."""
    logger = get_logger(NAME)
    logger.setLevel(1)
    logger.propagate = False
    yield logger
    logger.setLevel(logging.NOTSET)
    logger.propagate = True
    logger.filters.clear()


def messages(entries: list[dict[str, Any]]) -> list[str]:
    """Their messages."""
    return [entry["message"] for entry in entries]


def test_an_entry(logger: MLLogger) -> None:
    """An entry is the record's flat form."""
    logger.metric("Epoch %d", 3, metrics={"loss": 0.5}, extra={"event": "epoch"})
    (entry,) = logger.entries()
    assert entry.pop("timestamp").endswith("Z")
    assert isinstance(entry.pop("line"), int)
    assert entry == {
        "level": "METRIC", "logger": NAME, "message": "Epoch 3", "event": "epoch", "module": "test_recent",
        "function": "test_an_entry", "metrics": {"loss": 0.5},
    }  # fmt: skip


def test_filters(logger: MLLogger) -> None:
    """Level, lowest level, the last ones, experiment, start and tags, alone and together."""
    begin = dt.datetime.now(tz=dt.timezone.utc)
    logger.debug("a", tags={"phase": "train", "model": "x"})
    logger.metric("b", {"loss": 1}, tags={"phase": "train"}, extra={"experiment_id": "exp_001"})
    logger.warning("c", extra={"experiment_id": "exp_001"})
    logger.error("d", tags={"phase": "eval"})
    later = dt.datetime.now(tz=dt.timezone.utc) + dt.timedelta(seconds=60)
    assert messages(logger.entries()) == ["a", "b", "c", "d"]
    assert messages(logger.entries(level="METRIC")) == ["b"]
    assert messages(logger.entries(level=levels.METRIC)) == ["b"]
    assert messages(logger.entries(min_level="metric")) == ["b", "c", "d"]
    assert messages(logger.entries(last_n=2)) == ["c", "d"]
    assert messages(logger.entries(last_n=0)) == []
    assert messages(logger.entries(experiment_id="exp_001")) == ["b", "c"]
    assert messages(logger.entries(tags={"phase": "train"})) == ["a", "b"]
    assert messages(logger.entries(tags={"phase": "train", "model": "x"})) == ["a"]
    assert messages(logger.entries(start_time=begin.timestamp(), level="ERROR", last_n=10)) == ["d"]
    assert messages(logger.entries(start_time=begin)) == ["a", "b", "c", "d"]
    assert messages(logger.entries(start_time=later)) == []
    with pytest.raises(ValueError, match="level 'LOUD' must be"):
        logger.entries(level="LOUD")


def test_whose_entries(logger: MLLogger) -> None:
    """A logger has its own; the module has everybody's; what a level or a filter keeps back is nobody's."""
    other = get_logger(f"{NAME}.child")
    logger.addFilter(lambda record: record.getMessage() != "kept back")
    for message in ("a", "kept back"):
        logger.info(message)
    other.info("b")
    logger.setLevel("ERROR")
    logger.info("below")
    other.setLevel(logging.NOTSET)
    assert messages(logger.entries()) == ["a"]
    assert messages(other.entries()) == ["b"]
    assert messages(recent.entries()) == ["a", "b"]


def test_the_run_and_span_of_then(logger: MLLogger) -> None:
    """Run, epoch, step, trace and span are those of the moment, whenever somebody reads."""
    logger.info("before")
    scope = context.Scope("run-1", "exp_001", epoch=1, step=10)
    with testing.capture():
        from opentelemetry import trace

        token = context.push(scope)
        with trace.get_tracer("t").start_as_current_span("s") as span:
            logger.info("plain")
            logger.info("not plain", extra={"x": [1]})
        scope.step = 11
        logger.info("own", extra={"step": 99})
        context_of_span = span.get_span_context()
        read = logger.entries(experiment_id="exp_001")
        before = logger.entries()[0]
        context.pop(token)
    said = [(e["run_id"], e["epoch"], e["step"], e.get("trace_id"), e.get("span_id")) for e in read]
    ids = (f"{context_of_span.trace_id:032x}", f"{context_of_span.span_id:016x}")
    assert said == [("run-1", 1, 10, *ids), ("run-1", 1, 10, *ids), ("run-1", 1, 99, None, None)]
    assert {"run_id", "epoch", "step", "trace_id"}.isdisjoint(before)


class Big:
    """Something that should not live on."""


@pytest.mark.parametrize("how", ["args", "extra", "metrics", "exception"])
def test_nothing_is_kept_alive(how: str) -> None:
    """An entry holds no object of the program's."""

    def log() -> weakref.ref[Big]:
        big = Big()
        record = logging.makeLogRecord({"msg": "x", "levelno": 20, "name": NAME})
        if how == "args":
            record.args = (big,)
        elif how == "exception":
            record.exc_info = (ValueError, ValueError(big), None)
        else:
            setattr(record, how, {"big": big} if how == "metrics" else big)
        recent.remember(NAME, record)
        return weakref.ref(big)

    reference = log()
    gc.collect()
    assert reference() is None
    assert len(recent.entries()) == 1


def test_bounds(logger: MLLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest go, by number and by weight."""
    monkeypatch.setattr(recent, "MAX_ENTRIES", 3)
    for number in range(5):
        logger.info("%d", number)
    assert messages(logger.entries()) == ["2", "3", "4"]
    monkeypatch.setattr(recent, "MAX_CHARACTERS", 5_000)
    for extra in ({"text": "x" * 2_000}, {"list": ["x" * 2_000]}, {"text": "y" * 2_000}):
        logger.info("heavy", extra=extra)
    assert len(logger.entries()) == 2
    assert recent._weight == sum(entry.weight for entry in recent._entries) <= 5_000


def test_one_that_is_heavier_than_all(logger: MLLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry beyond the bound is not kept, and the next ones are."""
    monkeypatch.setattr(recent, "MAX_CHARACTERS", 1_000)
    logger.info("x" * 10_000)
    assert logger.entries() == []
    logger.info("small")
    assert messages(logger.entries()) == ["small"]


class Sore:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_odd_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records made by hand, and values that raise, do no harm."""
    sore = {"msg": "%s %s", "args": (Sore(),), "sore": Sore(), "levelno": 20}
    for given in ({"msg": {"a": 1}, "args": None}, sore, {"msg": "%(a)s", "args": {"a": 1}}):
        recent.remember(NAME, logging.makeLogRecord(given))
    assert messages(recent.entries())[2] == "1"
    monkeypatch.setattr(internal, "raise_errors", False)
    recent.remember(NAME, logging.makeLogRecord({"msg": "x", "created": None}))
    assert sum(internal.totals().values()) <= 1


def test_threads(logger: MLLogger) -> None:
    """Entries of eight threads are all there."""

    def work() -> None:
        for number in range(200):
            logger.info("%d", number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(logger.entries()) == 1600


@FORKS
def test_a_forked_child_starts_from_zero(logger: MLLogger) -> None:
    """What the parent logged is the parent's, and a lock held by another of its threads holds nobody up."""
    logger.info("parent")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with recent._lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    child = os.fork()
    if child == 0:
        logger.info("child")
        os._exit(0 if messages(logger.entries()) == ["child"] else 1)
    done.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
    assert messages(logger.entries()) == ["parent"]


def test_export(logger: MLLogger, tmp_path: Path) -> None:
    """JSON has the entries as they are; CSV a column for each key, with JSON where a value is no text or number."""
    logger.metric('Quote " and, comma\nline', {"loss": float("nan")}, tags={"a": "é"})
    logger.error("b", extra={"code": 7})
    assert logger.export(tmp_path / "new" / "log.json") == 2
    assert logger.export(str(tmp_path / "log.csv"), format="csv", level="METRIC") == 1
    assert logger.export(tmp_path / "all.csv", "csv") == 2
    assert json.loads((tmp_path / "new" / "log.json").read_text()) == [
        {**logger.entries()[0], "metrics": {"loss": "NaN"}}, logger.entries()[1],
    ]  # fmt: skip
    with (tmp_path / "all.csv").open(newline="", encoding="utf-8") as file:
        first, second = csv.DictReader(file)
    assert (first["message"], first["metrics"], first["tags"]) == (
        'Quote " and, comma\nline', '{"loss": "NaN"}', '{"a": "é"}',
    )  # fmt: skip
    assert (first["code"], second["code"], second["metrics"]) == ("", "7", "")
    with (tmp_path / "log.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.reader(file))) == 2


def test_export_of_nothing(logger: MLLogger, tmp_path: Path) -> None:
    """Nothing is an empty list; a format that is none is an error that says what is allowed."""
    assert logger.export(tmp_path / "log.json") == 0
    assert json.loads((tmp_path / "log.json").read_text()) == []
    assert logger.export(tmp_path / "log.csv", format="csv") == 0
    with pytest.raises(ValueError, match="format 'xml' must be one of json, csv"):
        logger.export(tmp_path / "log.xml", format="xml")


def test_no_formulas(logger: MLLogger, tmp_path: Path) -> None:
    """A text that a spreadsheet would compute gets an apostrophe; numbers stay numbers."""
    for message in ("=1+1", "+1", "-1", "@x", "\t=x", "a=b"):
        logger.info(message, extra={"=column": -0.5, "count": -3})
    logger.export(tmp_path / "log.csv", "csv")
    with (tmp_path / "log.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["message"] for row in rows] == ["'=1+1", "'+1", "'-1", "'@x", "'\t=x", "a=b"]
    assert {(row["'=column"], row["count"]) for row in rows} == {("-0.5", "-3")}
