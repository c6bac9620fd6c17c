"""Setting handlers and levels up on request: once, reversibly, with clear errors."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest

from otelml import settings
from otelml.logs.setup import get_logger, quiet_libraries, set_log_level, setup_logging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "otelml_test.setup"


@pytest.fixture(autouse=True)
def restored_loggers() -> Iterator[None]:
    """The loggers that these tests set up are put back, and their files closed."""
    yield
    for name in (None, NAME, f"{NAME}.child", "matplotlib", "transformers"):
        logger = logging.getLogger(name)
        for handler in [handler for handler in logger.handlers if hasattr(handler, "_otelml")]:
            logger.removeHandler(handler)
            handler.close()
        if name:
            logger.setLevel(logging.NOTSET)
            logger.propagate = True


def test_console_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One call gives a logger a level, a readable console on stderr, and a file of JSON lines."""
    path = tmp_path / "deep" / "training.log"
    logger = setup_logging(NAME, "debug", output_file=path)
    logger.debug("started", extra={"seed": 42})
    assert capsys.readouterr().err.endswith(f"{NAME} - DEBUG - started (seed: 42)\n")
    assert json.loads(path.read_text())["seed"] == 42


@pytest.mark.parametrize(
    ("console", "line"), [("plain", f"{NAME} - INFO - hi\n"), ("json", '"line": '), ("none", "")]
)
def test_consoles(console: Any, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind of console writes as it says."""
    setup_logging(NAME, console=console).info("hi")
    error = capsys.readouterr().err
    assert line in error
    assert bool(error) == (console != "none")


def test_root_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a name the root is set up, and every logger is heard."""
    assert setup_logging() is logging.getLogger()
    get_logger("anybody").info("hi")
    assert capsys.readouterr().err.count("anybody - INFO - hi") == 1


def test_twice_is_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A second call replaces the handlers of the first; those of others stay."""
    logger = logging.getLogger(NAME)
    own = logging.NullHandler()
    logger.addHandler(own)
    setup_logging(NAME, output_file=tmp_path / "a.log")
    setup_logging(NAME, console="plain", output_file=tmp_path / "b.log")
    logger.info("hi")
    assert capsys.readouterr().err.count("hi") == 1
    assert (tmp_path / "a.log").read_text() == ""
    assert (tmp_path / "b.log").read_text().count("hi") == 1
    assert own in logger.handlers
    logger.removeHandler(own)


def test_no_line_twice_below_our_own_console(capsys: pytest.CaptureFixture[str]) -> None:
    """A named logger below one that we set up writes once, and still reaches what is above it."""
    setup_logging(NAME)
    child = setup_logging(f"{NAME}.child", "DEBUG")
    child.debug("marker")
    assert child.propagate
    assert capsys.readouterr().err.count("marker") == 1


def test_no_line_twice_below_the_user_s_console(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the user's handler would print the line too, the named logger prints alone, until it is undone."""
    parent = logging.getLogger(NAME)
    handler = logging.StreamHandler()
    parent.addHandler(handler)
    try:
        child = setup_logging(f"{NAME}.child")
        child.info("marker")
        assert capsys.readouterr().err.count("marker") == 1
        setup_logging(f"{NAME}.child", console="none")
        assert child.propagate
    finally:
        parent.removeHandler(handler)


@pytest.mark.parametrize(("keep", "files"), [(2, 3), (0, 1)])
def test_rotation_is_bounded(tmp_path: Path, keep: int, files: int) -> None:
    """The file is rotated by size and only so many are kept, none included."""
    logger = setup_logging(
        NAME,
        console="none",
        output_file=tmp_path / "x.log",
        format="plain",
        max_bytes=1000,
        backup_count=keep,
    )
    for _ in range(200):
        logger.info("x" * 50)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) == files
    assert max(sizes) <= 1000


def test_bounds_come_from_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without numbers in the call the settings hold."""
    monkeypatch.setenv("OTELML_FILE_MAX_BYTES", "12345")
    monkeypatch.setenv("OTELML_FILE_KEEP", "7")
    settings.reset()
    (handler,) = setup_logging(NAME, console="none", output_file=tmp_path / "x.log").handlers
    assert (handler.maxBytes, handler.backupCount) == (12345, 7)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (
            {"level": "LOUD"},
            r"level 'LOUD' must be a number from 0, or one of TRACE, DEBUG, INFO, PROGRESS, METRIC, EXPERIMENT",
        ),
        ({"level": "training.log"}, r"level 'training.log' .*; a file goes into output_file="),
        ({"level": -1}, r"level -1 must be"),
        ({"level": True}, r"level True must be"),
        ({"console": "rainbow"}, r"console 'rainbow' must be one of color, plain, json, none"),
        ({"format": "xml"}, r"format 'xml' must be one of json, plain"),
        ({"output_file": "x.log", "max_bytes": -1}, r"max_bytes -1 must be a whole number from 0"),
        ({"output_file": "x.log", "backup_count": 1.5}, r"backup_count 1.5 must be a whole number from 0"),
    ],
)
def test_errors_say_what_is_allowed(
    arguments: dict[str, Any], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bad value is a ValueError that says what is allowed, and changes nothing."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger(NAME)
    with pytest.raises(ValueError, match=error):
        setup_logging(NAME, **arguments)
    assert (logger.level, logger.handlers, list(tmp_path.iterdir())) == (logging.NOTSET, [], [])


def test_a_file_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    """The error is the system's, and the logger is as before."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        setup_logging(NAME, output_file=tmp_path / "file" / "x.log")
    assert logging.getLogger(NAME).handlers == []


def test_levels() -> None:
    """Levels are set by name or number, on the root or a named logger."""
    set_log_level(logging.DEBUG, NAME)
    assert logging.getLogger(NAME).level == logging.DEBUG
    set_log_level("warning")
    assert logging.getLogger().level == logging.WARNING
    with pytest.raises(ValueError, match="must be"):
        set_log_level("no such level")


def test_talkative_libraries_are_raised() -> None:
    """Libraries go to WARNING, except those that the user gave a level; another call may change ours."""
    logging.getLogger("transformers").setLevel(logging.DEBUG)
    setup_logging(NAME, quiet=False)
    assert logging.getLogger("matplotlib").level == logging.NOTSET
    setup_logging(NAME)
    assert logging.getLogger("matplotlib").level == logging.WARNING
    assert logging.getLogger("transformers").level == logging.DEBUG
    quiet_libraries("error")
    assert logging.getLogger("matplotlib").level == logging.ERROR
    logging.getLogger("matplotlib").setLevel(logging.INFO)
    quiet_libraries()
    assert logging.getLogger("matplotlib").level == logging.INFO


def test_which_libraries_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTELML_QUIET_LOGGERS says which, and to which level."""
    monkeypatch.setenv("OTELML_QUIET_LOGGERS", f"{NAME}=CRITICAL")
    settings.reset()
    quiet_libraries()
    assert logging.getLogger(NAME).level == logging.CRITICAL
    assert logging.getLogger("matplotlib").level == logging.NOTSET


def test_get_logger_is_the_stdlib_s() -> None:
    """Loggers are plain stdlib loggers."""
    assert get_logger("a.b") is logging.getLogger("a.b")
    assert get_logger() is logging.getLogger()
