"""Bars on a terminal: what the program prints comes out as without them, and the terminal is whole in the end."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
from pathlib import Path

import pytest

HIDE, SHOW = "\x1b[?25l", "\x1b[?25h"
WIDTH = 100


def read_terminal(code: str, folder: Path, *, redirect: bool = False, **environ: str) -> tuple[str, int]:
    """Everything that a program shows on a terminal of 100 columns, as it is, and its exit code."""
    (folder / "program.py").write_text(code)
    main, other = pty.openpty()
    foreign = ("OTEL", "CI", "PYTHONUNBUFFERED")  # buffers are what may mix up the streams
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    with (folder / "stdout.txt").open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "program.py"],
            cwd=folder,
            env={**kept, "TERM": "xterm", "COLUMNS": str(WIDTH), "LINES": "30", **environ},
            stdin=other,
            stdout=out if redirect else other,
            stderr=other,
        )
    os.close(other)
    shown = b""
    while select.select([main], [], [], 60)[0]:
        try:
            block = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    os.close(main)
    return shown.decode(), process.wait(60)


def without_bars(shown: str) -> str:
    """What is not ours: bars stand between hiding and showing the cursor."""
    return re.sub(f"{re.escape(HIDE)}.*?{re.escape(SHOW)}", "", shown, flags=re.DOTALL)


def read_screen(shown: str) -> list[str]:
    """The lines that are to be seen in the end, by what a terminal makes of the sequences that are used here."""
    rows: dict[int, list[str]] = {}
    row, column = 0, 0
    for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|.", shown, re.DOTALL):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
        elif part == "\t":
            column += 8 - column % 8
        elif part == "\x1b[1A":
            row -= 1
        elif part == "\x1b[2K":
            rows[row] = []
        elif not part.startswith("\x1b"):
            line = rows.setdefault(row, [])
            line[column:] = [*" " * (column - len(line)), part, *line[column + 1 :]]
            column += 1
            assert column <= WIDTH, "no line here is longer than the terminal is wide"
    return ["".join(rows.get(number, [])).rstrip() for number in range(row + 1)]


EVERYTHING = r"""
import logging, os, sys
from otelml.training import progress, run
progress.PERIOD_NS = 0  # bars at each step
logging.basicConfig(format="%(message)s", level=logging.WARNING)
texts = [
    "plain\n", "tab\tseparated\tvalues\n", "\r 10%", "\r 20%", "\r100%\n", "crlf\r\n", "bell\a and back\b\bspace\n",
    "\x1b[31mred\x1b[0m\n", "form\x0cfeed\x0band\x00nul\n", "two\nlines\n\n", "no end", "", " yet", " and here\n",
    "[bold]markup[/bold] :smile: 3.14 'text'\n", "na\u00efve \u2603 \U0001f600\n", "x" * 250 + "\n", "trailing   \n",
    "a\nb", "\n", "prompt> ",
]
with run("digits", progress=os.environ["BARS"] == "1") as active:
    for epoch in active.epochs(3):
        for text in epoch.steps(texts):
            if epoch.number == 0:
                print(text, end="")
            elif epoch.number == 1:
                sys.stderr.writelines([text])
                print(text, end="", flush=True)
            else:
                sys.stdout.write(text)
                logging.warning(text)
                sys.stdout.flush()
print("after")
"""


def test_what_the_program_prints_comes_out_byte_for_byte(tmp_path: Path) -> None:
    """By print, both streams and logging: whatever it has in it, and in the same order, as with no bars at all."""
    plain, status = read_terminal(EVERYTHING, tmp_path, BARS="0")
    assert (status, HIDE in plain) == (0, False), plain
    shown, status = read_terminal(EVERYTHING, tmp_path, BARS="1")
    assert status == 0, shown
    assert shown.count(HIDE) > 20, "there were bars"
    assert without_bars(shown) == plain


BETWEEN_LINES = """
import sys
from otelml.training import progress, run
progress.PERIOD_NS = 0
with run("digits") as active:
    for epoch in active.epochs(2):
        for step in epoch.steps(range(3), description=f"steps of {epoch.number}"):
            print(f"line {step}", file=sys.stderr if step == 1 else sys.stdout)
        print("evaluating ...", end="", flush=True)
        for _ in epoch.steps(range(5), phase="eval"):
            pass
        print("\\tdone")
    active.log({"loss": 0.5})
print("after")
"""


def test_bars_stay_below_what_is_printed(tmp_path: Path) -> None:
    """Nothing is drawn over a line, or within one; the bar of the outermost loop stays when all is done."""
    shown, status = read_terminal(BETWEEN_LINES, tmp_path)
    assert status == 0, shown
    of_an_epoch = ["line 0", "line 1", "line 2", "evaluating ...  done"]
    *printed, bar, after, end = read_screen(shown)
    assert [*printed, after, end] == [*of_an_epoch, *of_an_epoch, "after", ""]
    assert re.match(r"epochs\s+━+ 2/2 .*/s", bar), bar
    assert "steps of 1" in shown


ON_A_TERMINAL = """
import logging, os, sys, time
logging.basicConfig(format="%(levelname)s %(message)s", level=logging.WARNING)
from otelml.training import progress, run
progress.PERIOD_NS = 0
before = sys.stdout, sys.stderr
with run("digits") as active:
    for epoch in active.epochs(2):
        for x in epoch.steps(range(4)):
            active.update({"loss": 1 / (1 + x)})
            if x == 1:
                print("printed [bold]as it is[/bold] " + "x" * 120)
                logging.warning("logged")
            if x == 2 and epoch.number == 1:
                sys.stdout.flush()  # or the child has a copy of what waits there
                pid = os.fork()
                if not pid:
                    print("child prints")
                    sys.stdout.flush()
                    os._exit(0)
                os.waitpid(pid, 0)
            time.sleep(0.01)
assert (sys.stdout, sys.stderr) == before
assert logging.getLogger().handlers[0].stream is sys.stderr
print("after")
"""


def test_bars_on_a_terminal_leave_prints_and_logging_alone(tmp_path: Path) -> None:
    """Bars with counts and metrics; each printed line once, whole, at the start of a line; then all is as before."""
    shown, status = read_terminal(ON_A_TERMINAL, tmp_path)
    assert status == 0, shown
    lines = without_bars(shown).split("\r\n")
    assert lines.count("printed [bold]as it is[/bold] " + "x" * 120) == 2
    assert lines.count("WARNING logged") == 2
    assert shown.count("child prints") == 1, "a child writes where the cursor stands"
    assert "epoch 1" in shown
    assert "loss 0.25" in shown
    assert "2/2" in shown
    assert "/s" in shown
    assert lines[-2:] == ["after", ""]


def test_output_that_goes_to_a_file_stays_there(tmp_path: Path) -> None:
    """Bars are drawn on the terminal of stderr; what is printed goes where stdout goes."""
    shown, status = read_terminal(ON_A_TERMINAL, tmp_path, redirect=True)
    assert status == 0, shown
    out = (tmp_path / "stdout.txt").read_text().splitlines()
    assert out.count("after") == 1
    assert [line for line in out if line.startswith("printed")] == [
        "printed [bold]as it is[/bold] " + "x" * 120
    ] * 2
    assert "epoch 1" in shown
    assert "printed" not in shown


@pytest.mark.parametrize("environ", [{"CI": "true"}, {"TERM": "dumb"}, {"RANK": "1", "WORLD_SIZE": "2"}])
def test_no_bars_in_ci_on_a_dumb_terminal_and_on_other_ranks(tmp_path: Path, environ: dict[str, str]) -> None:
    """Nothing is drawn."""
    shown, status = read_terminal(ON_A_TERMINAL, tmp_path, **environ)
    assert status == 0, shown
    assert "\x1b[" not in shown
    assert "epoch" not in shown


def test_a_terminal_is_whole_again_after_ctrl_c_and_sigterm(tmp_path: Path) -> None:
    """The cursor is back, whatever ended the program while bars stood."""
    for end in ("raise KeyboardInterrupt", "os.kill(os.getpid(), 15)", "sys.exit(2)"):
        code = ON_A_TERMINAL.replace("time.sleep(0.01)", end).replace(
            "from otelml.training import progress, run",
            "import otelml; otelml.configure(quiet=True)\nfrom otelml.training import progress, run",
        )
        shown, status = read_terminal(code, tmp_path)
        assert status != 0
        assert 0 < shown.count(HIDE) == shown.count(SHOW), (end, shown)
        assert shown.rindex(SHOW) > shown.rindex(HIDE), (end, shown)
