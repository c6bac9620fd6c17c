"""A run that was started and never ended: its status is right whatever ends the program, and however that began."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

BIN = Path(sys.executable).parent
SEES_CALLS = sys.version_info >= (3, 12)

IMPORTS = """
import asyncio, atexit, gc, os, sys, threading, weakref
import otelml

def tell():
    print("status", active.status)

atexit.register(tell)  # before the run's own, and so called after it
"""
STARTED = IMPORTS + "active = otelml.run('digits', progress=False).start()\n"


def end_of(
    *command: object, folder: Path, code: str, exit_code: int, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a program (`program.py`) to its end; its exit code must be what it would be without us."""
    (folder / "program.py").write_text(code)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "PYTEST"))}
    done = subprocess.run(
        list(map(str, command or (sys.executable, "program.py"))), cwd=folder, env=kept, input=stdin,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == exit_code, done.stderr
    return done


def status_in(done: subprocess.CompletedProcess[str]) -> str:
    """The status of the run in the end."""
    [line] = [line for line in done.stdout.splitlines() if line.startswith("status ")]
    return line.removeprefix("status ")


CATCH = "try:\n    {}\nexcept SystemExit:\n    pass\n"

ENDS = {
    "its end": ("", 0, "completed"),
    "sys.exit()": ("sys.exit()", 0, "completed"),
    "sys.exit(2)": ("sys.exit(2)", 2, "failed"),
    "sys.exit of a message": ("sys.exit('no data')", 1, "failed"),
    "sys.exit of a signal's code": ("sys.exit(143)", 143, "killed"),
    "exit(0)": ("exit(0)", 0, "completed"),
    "exit(3)": ("exit(3)", 3, "failed"),
    "quit(3)": ("quit(code=3)", 3, "failed"),
    "an exception": ("1 / 0", 1, "failed"),
    "Ctrl-C": ("raise KeyboardInterrupt", -2, "killed"),
    "raise SystemExit(1)": ("raise SystemExit(1)", 1, "failed"),
    "a caught sys.exit": (CATCH.format("sys.exit(2)"), 0, "completed"),
    "a caught exit": (CATCH.format("exit(2)"), 0, "completed"),
    "a caught raise": (CATCH.format("raise SystemExit(2)"), 0, "completed"),
    "a caught exception": ("try:\n    1 / 0\nexcept ZeroDivisionError:\n    pass", 0, "completed"),
    "good after a caught one": (CATCH.format("sys.exit(2)") + "sys.exit(0)", 0, "completed"),
    "bad after a caught one": (CATCH.format("sys.exit(0)") + "raise SystemExit(2)", 2, "failed"),
    "one that passes a finally": (
        "try:\n    sys.exit(0)\nfinally:\n    active.log({'x': 1})",
        0,
        "completed",
    ),
    "one that is kept": (
        "try:\n    sys.exit(2)\nexcept SystemExit as e:\n    kept = e\n    raise",
        2,
        "failed",
    ),
    "a thread's": (
        "thread = threading.Thread(target=sys.exit, args=(2,))\nthread.start()\nthread.join()",
        *(0, "completed"),
    ),
    "one in a coroutine": (
        "async def main():\n    await asyncio.sleep(0)\n    sys.exit(0)\nasyncio.run(main())",
        *(0, "completed"),
    ),
}


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("where", ["module", "function"])
def test_the_end_of_the_program_decides(tmp_path: Path, how: str, where: str) -> None:
    """`failed` where it failed or may have; an exit that the program catches changes nothing."""
    code, exit_code, status = ENDS[how]
    if where == "function":
        code = "def work():\n" + textwrap.indent(code or "pass", "    ") + "\nwork()\n"
    assert status_in(end_of(folder=tmp_path, code=STARTED + code, exit_code=exit_code)) == status


@pytest.mark.parametrize(("exit_code", "status"), [(0, "completed"), (3, "failed"), (143, "killed")])
@pytest.mark.parametrize("leave", ["sys.exit(main())", "raise SystemExit(main())", "leave(main())"])
def test_an_exit_that_was_looked_up_before_the_run_was_started(
    tmp_path: Path, leave: str, exit_code: int, status: str
) -> None:
    """Python evaluates `sys.exit` before `main()`: from 3.12 on the main module tells its calls, before that nobody."""
    main = f"    global active\n    active = otelml.run('digits').start()\n    return {exit_code}\n"
    code = f"from sys import exit as leave\n{IMPORTS}def main():\n{main}{leave}\n"
    done = end_of(folder=tmp_path, code=code, exit_code=exit_code)
    assert status_in(done) == (status if SEES_CALLS else "failed")


def test_an_exit_of_the_main_module_that_is_caught_says_nothing_of_a_later_one(tmp_path: Path) -> None:
    """It was good; what ended the program was not."""
    ended = "try:\n    exec('raise SystemExit(3)', {})\nfinally:\n    pass\n"
    code = f"from sys import exit as leave\n{STARTED}{CATCH.format('leave(0)')}{ended}"
    assert status_in(end_of(folder=tmp_path, code=code, exit_code=3)) == "failed"


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "1 / 0", "def f(): raise SystemExit(int())\nf()"])
def test_a_guess_says_so(tmp_path: Path, end: str) -> None:
    """Where nobody could see the exit code, and only there; with what to do about it."""
    exit_code = {"sys.exit(3)": 3, "1 / 0": 1}.get(end, 0)
    done = end_of(folder=tmp_path, code=STARTED + end, exit_code=exit_code)
    assert ("end it by `with` or `end()`" in done.stderr) is ("int" in end)


INSTRUMENT = BIN / "opentelemetry-instrument"

WAYS = {
    "a module": (sys.executable, "-m", "program"),
    "a folder": (sys.executable, "."),
    "standard input": (sys.executable, "-"),
    "a command": (sys.executable, "-c", "{code}"),
    "instrumented": (INSTRUMENT, sys.executable, "program.py"),
    "an instrumented module": (INSTRUMENT, sys.executable, "-m", "program"),
}
LEFT = [
    (CATCH.format("sys.exit(2)"), 0, "completed"),
    ("sys.exit(2)", 2, "failed"),
    ("raise SystemExit(3)", 3, "failed"),
]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("end", "exit_code", "status"), LEFT)
def test_however_the_program_is_started(
    tmp_path: Path, way: str, end: str, exit_code: int, status: str
) -> None:
    """`python -m`, a folder, a pipe, `-c`, opentelemetry-instrument."""
    code = STARTED + end
    (tmp_path / "__main__.py").write_text(code)
    command = [str(part).replace("{code}", code) for part in WAYS[way]]
    assert status_in(end_of(*command, folder=tmp_path, code=code, exit_code=exit_code, stdin=code)) == status


@pytest.mark.parametrize(
    ("end", "status"), [*((end, status) for end, _, status in LEFT), ("sys.exit(0)", "completed")]
)
def test_a_tool_that_runs_the_program_and_catches_its_exit(tmp_path: Path, end: str, status: str) -> None:
    """As some profilers do: what the program said counts, not what they make of it."""
    command = (sys.executable, "-m", "trace", "--count", "-C", "counts", "program.py")
    assert status_in(end_of(*command, folder=tmp_path, code=STARTED + end, exit_code=0)) == status


@pytest.mark.parametrize(
    ("end", "exit_code", "status"),
    [("", 0, "completed"), ("exit(3)", 3, "failed"), ("1 / 0", 0, "completed")],
)
def test_an_interactive_session(tmp_path: Path, end: str, exit_code: int, status: str) -> None:
    """It goes on after an exception; its end is the end of the input, or an exit."""
    session = STARTED + end + "\n"
    done = end_of(sys.executable, "-iq", folder=tmp_path, code="", exit_code=exit_code, stdin=session)
    assert status_in(done) == status


@pytest.mark.parametrize(
    ("outcome", "exit_code", "status"),
    [("True", 0, "completed" if SEES_CALLS else "failed"), ("False", 1, "failed")],
)
def test_a_run_that_a_test_leaves_open(tmp_path: Path, outcome: str, exit_code: int, status: str) -> None:
    """Under pytest it ends as the session does; its script is `sys.exit(main())`."""
    code = f"{STARTED}\ndef test():\n    assert {outcome}\n"
    command = (BIN / "pytest", "-q", "-s", "-p", "no:cacheprovider", "program.py")
    assert status_in(end_of(*command, folder=tmp_path, code=code, exit_code=exit_code)) == status


HOLDING = """
class Large:
    pass

def exit_with(large):
    kept.append(weakref.ref(large))
    sys.exit(2)

def start():
    large = Large()
    kept.append(weakref.ref(large))
    return otelml.run("digits", progress=False).start()

kept = []
gc.disable()
active = start()
try:
    exit_with(Large())
except SystemExit:
    pass
assert [reference() for reference in kept] == [None, None]
"""


def test_what_is_watched_keeps_nothing_alive(tmp_path: Path) -> None:
    """Variables go when they would without us: those of a function that starts the run, and of one that exits."""
    assert status_in(end_of(folder=tmp_path, code=IMPORTS + HOLDING, exit_code=0)) == "completed"


WORKERS = """
    def work(how):
        active = otelml.run(how).start()
        if how == "exception":
            1 / 0
        if how == "exit(3)":
            sys.exit(3)
        if how == "raise SystemExit(3)":
            raise SystemExit(3)

    import otelml
    otelml.configure()
    for how in ("return", "exception", "exit(3)", "raise SystemExit(3)"):
        worker = multiprocessing.get_context("fork").Process(target=work, args=(how,))
        worker.start()
        worker.join()
"""


def test_runs_of_forked_workers(program: Any) -> None:
    """They leave by `os._exit`, and before that call their finalizers, which see what ended them."""
    program.run(WORKERS, OTELML_FORK="export")
    ends = [line for line in program.lines("logs") if line.get("event") == "run_end"]
    assert {line["experiment"]: line["status"] for line in ends} == {
        "return": "completed",
        "exception": "failed",
        "exit(3)": "failed",
        "raise SystemExit(3)": "failed",
    }
