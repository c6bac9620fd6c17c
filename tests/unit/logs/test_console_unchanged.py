"""The user's console and logging configuration are, byte for byte, what they would be without the bridge.

Each program runs twice in a process of its own, without and with the bridge.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PROLOGUE = """
import json, logging, logging.config, os, sys, warnings
def bridged():
    if os.environ.get("BRIDGED"):
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
        from otelml.logs import bridge
        global exporter
        exporter = InMemoryLogRecordExporter()
        provider = LoggerProvider(shutdown_on_exit=False)
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        bridge.install(provider)
def done():
    if os.environ.get("BRIDGED"):
        with open(os.environ["BRIDGED"], "w") as file:
            json.dump([data.log_record.body for data in exporter.get_finished_logs()], file)
"""

NOTHING = """
bridged()
logging.info("info"); logging.getLogger("a").warning("warning"); logging.getLogger("a.b").error("error %s", 1)
done()
"""
NOTHING_MODULE = """
bridged()
logging.warning("implicit basicConfig")
logging.getLogger("x").warning("y")
print(logging.getLogger().handlers, logging.getLogger().level)
done()
"""
BASIC_BEFORE = """
logging.basicConfig(level=logging.INFO, stream=sys.stdout)
bridged()
logging.getLogger("a").info("hello"); logging.getLogger("a").debug("no"); logging.info("root")
print(logging.getLogger().handlers, logging.Logger.manager.disable)
done()
"""
BASIC_AFTER = """
bridged()
logging.basicConfig(level=logging.INFO, format="%(levelname)s|%(name)s|%(funcName)s|%(lineno)d|%(message)s")
logging.getLogger("a").info("hello"); logging.getLogger("a").debug("no"); logging.info("root")
logging.basicConfig(level=logging.DEBUG)
logging.debug("second basicConfig does nothing")
logging.basicConfig(level=logging.DEBUG, force=True)
logging.debug("forced")
print(logging.getLogger().handlers)
done()
"""
DICT = """
early = logging.getLogger("early"); sub = logging.getLogger("app.sub")
bridged()
logging.config.dictConfig({
    "version": 1, "disable_existing_loggers": True,
    "formatters": {"f": {"format": "%(name)s %(levelname)s %(message)s"}},
    "handlers": {"out": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout", "formatter": "f"}},
    "loggers": {"app": {"level": "INFO", "handlers": ["out"], "propagate": False}},
    "root": {"level": "ERROR", "handlers": ["out"]},
})
early.error("disabled"); sub.info("info"); logging.getLogger("app").debug("no"); logging.getLogger("new").error("e")
print(early.disabled, logging.getLogger("app").propagate, logging.getLogger().handlers)
done()
"""
FILE = """
import io
bridged()
logging.config.fileConfig(io.StringIO('''
[loggers]
keys=root,app
[handlers]
keys=out
[formatters]
keys=f
[logger_root]
level=WARNING
handlers=out
[logger_app]
level=DEBUG
handlers=out
propagate=0
qualname=app
[handler_out]
class=StreamHandler
args=(sys.stdout,)
formatter=f
[formatter_f]
format=%(name)s:%(message)s
'''))
logging.getLogger("app").debug("d"); logging.getLogger("b").info("i"); logging.getLogger("b").warning("w")
done()
"""
WARNINGS = """
bridged()
logging.captureWarnings(True)
warnings.warn("captured")
logging.captureWarnings(False)
warnings.warn("not captured")
done()
"""
BAD_FORMAT = """
bridged()
logging.basicConfig(level=logging.INFO)
def train():
    logging.getLogger("a").info("%d epochs", "many")
train()
done()
"""
RAISING = """
bridged()
class Broken(logging.Handler):
    def emit(self, record):
        raise OSError("disk full")
logging.getLogger().addHandler(Broken())
def train():
    logging.getLogger("a").error("x")
try:
    train()
except OSError:
    import traceback
    traceback.print_exc()
done()
"""
EXTRAS = """
bridged()
class Show(logging.Formatter):
    def format(self, record):
        return " ".join(sorted(set(vars(record)))) + " " + record.getMessage()
handler = logging.StreamHandler(); handler.setFormatter(Show())
logging.getLogger().addHandler(handler)
logging.getLogger("a").error("x", extra={"loss": 1, "event": "e"})
try:
    logging.getLogger("a").error("x", extra={"message": 1})
except KeyError as error:
    print(error)
done()
"""
NO_LAST_RESORT = """
bridged()
logging.lastResort = None
logging.getLogger("a").warning("x"); logging.getLogger("a").warning("y")
done()
"""
QUEUE = """
import logging.handlers, queue
bridged()
channel = queue.Queue()
handler = logging.StreamHandler(sys.stdout)
listener = logging.handlers.QueueListener(channel, handler)
logging.getLogger().addHandler(logging.handlers.QueueHandler(channel))
listener.start()
logging.getLogger("a").error("x %s", 1)
listener.stop()
done()
"""
SHUTDOWN = """
bridged()
import atexit, threading
logging.basicConfig(level=logging.INFO)
atexit.register(lambda: logging.info("at exit"))
def work():
    logging.getLogger("t").info("from a thread")
thread = threading.Thread(target=work); thread.start(); thread.join()
done()
logging.shutdown()
"""

PROGRAMS = {
    "nothing": (NOTHING, ["warning", "error 1"]),
    "nothing, module function": (NOTHING_MODULE, ["implicit basicConfig", "y"]),
    "basicConfig before": (BASIC_BEFORE, ["hello", "root"]),
    "basicConfig after": (BASIC_AFTER, ["hello", "root", "forced"]),
    "dictConfig": (DICT, ["info", "e"]),
    "fileConfig": (FILE, ["d", "w"]),
    "captureWarnings": (WARNINGS, 1),
    "bad format": (BAD_FORMAT, ["%d epochs ['many']"]),
    "raising handler": (RAISING, ["x"]),
    "extras": (EXTRAS, ["x"]),
    "no lastResort": (NO_LAST_RESORT, ["x", "y"]),
    "queue": (QUEUE, ["x 1"]),
    "shutdown": (SHUTDOWN, ["from a thread"]),
}


@dataclass(frozen=True)
class Outcome:
    """What a program left on its console."""

    returncode: int
    stdout: str
    stderr: str


def run(script: Path, bridged: Path | None) -> Outcome:
    """Run the program, with the bridge if there is a file to write what arrived to."""
    environ = {**os.environ, **({"BRIDGED": str(bridged)} if bridged else {})}
    done = subprocess.run([sys.executable, script], env=environ, capture_output=True, text=True, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("name", PROGRAMS)
def test_console_is_byte_for_byte_the_same(name: str, tmp_path: Path) -> None:
    """A program prints the same with the bridge as without it, and its records arrive once each."""
    program, expected = PROGRAMS[name]
    script, bodies = tmp_path / "program.py", tmp_path / "bodies.json"
    script.write_text(PROLOGUE + program)
    without, with_bridge = run(script, None), run(script, bodies)
    assert without.returncode == 0, without.stderr
    assert with_bridge == without
    assert without.stdout + without.stderr != ""
    arrived = json.loads(bodies.read_text())
    assert (len(arrived) if isinstance(expected, int) else arrived) == expected


def test_the_comparison_can_fail(tmp_path: Path) -> None:
    """A handler on the root logger, the usual way, would be found out by these comparisons."""
    script = tmp_path / "program.py"
    script.write_text(
        PROLOGUE.replace("bridge.install(provider)", "logging.getLogger().addHandler(logging.NullHandler())")
        + BASIC_AFTER
    )
    assert run(script, None) != run(script, tmp_path / "bodies.json")
