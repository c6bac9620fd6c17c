"""The progress of a loop where there is no terminal, and the parts of the bars that need none."""

from __future__ import annotations

import io
from typing import Any

import pytest

from otelml import testing
from otelml.training import bars, run
from otelml.training.lines import Pace, Paces, describe_duration, describe_pace, eta_s

S = 1_000_000_000


def lines_of(telemetry: testing.Capture) -> list[dict[str, Any]]:
    """The fields of the progress events."""
    return [
        dict(data.log_record.attributes)
        for data in telemetry.logs
        if data.log_record.event_name == "ml.progress"
    ]


def test_a_loop_writes_its_first_and_its_last_line() -> None:
    """With what is done, of how much, and the latest metrics; the items come through as they are."""
    with testing.capture() as telemetry, run("a") as active:
        progress = active.progress(["x", "y", "z"], description="files")
        items = list(progress)
        assert (progress.done, progress.total) == (3, 3)
        with active.progress(total=10) as manual:
            manual.update(4, {"loss": 0.5})
            manual.update(6, {"loss": 0.25})
        telemetry.assert_conforms()
    assert items == ["x", "y", "z"]
    lines = lines_of(telemetry)
    assert [(line["description"], line["done"], line["total"]) for line in lines] == [
        *[("files", 1, 3), ("files", 3, 3), ("progress", 4, 10), ("progress", 10, 10)]
    ]
    assert lines[-1]["metrics"] == {"loss": 0.25}
    assert lines[0]["eta_seconds"] == pytest.approx(2 / lines[0]["rate"])


def test_metrics_of_a_progress_are_gauges_too() -> None:
    """As by `run.update`."""
    with testing.capture() as telemetry, run("a") as active, active.progress(total=1) as progress:
        progress.update(1, {"loss": 0.5})
        assert telemetry.value("ml.training.loss", {"ml.training.phase": "train"}) == 0.5


def test_a_thousand_short_loops_are_not_two_thousand_lines() -> None:
    """The steps of each epoch share one pace."""
    with testing.capture() as telemetry, run("a") as active:
        for epoch in active.epochs(1000):
            for _ in epoch.steps([1, 2]):
                pass
    assert len(lines_of(telemetry)) <= 6


def test_nothing_is_said_where_the_run_does_not_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """`progress=False`, and every rank but the first."""
    with testing.capture() as telemetry:
        with run("a", progress=False) as active:
            list(active.progress([1, 2]))
        monkeypatch.setenv("RANK", "1")
        monkeypatch.setenv("WORLD_SIZE", "2")
        with run("a") as active:
            list(active.progress([1, 2]))
    assert lines_of(telemetry) == []


def test_lines_come_at_growing_intervals() -> None:
    """At once, after 10 s, 20 s, 40 s, ..., and never less often than every ten minutes."""
    pace = Pace()
    due = [second for second in range(4000) if pace.is_due(second * S)]
    assert due[:7] == [0, 10, 30, 70, 150, 310, 630]
    assert {b - a for a, b in zip(due[7:], due[8:], strict=False)} == {600}


def test_the_kinds_of_loops_are_bounded() -> None:
    """A description that varies makes no more than a hundred paces."""
    paces = Paces()
    assert sum(paces.of(f"file {number}")[1] for number in range(1000)) == 100


@pytest.mark.parametrize(
    ("done", "total", "elapsed_s", "expected"),
    [
        (5, 10, 1.0, "5/s, 0:01 left"),
        (10, 10, 1.0, "10/s, in 0:01"),
        (2, None, 10.0, "5 s each, in 0:10"),
        (0, 10, 1.0, "in 0:01"),
        (1, 7201, 0.5, "2/s, 1:00:00 left"),
        (12, 10, 6.0, "2/s, in 0:06"),
    ],
)
def test_pace_in_words(done: int, total: int | None, elapsed_s: float, expected: str) -> None:
    """Rate, and what is left where that is known."""
    assert describe_pace(done, total, elapsed_s, {}) == expected


def test_what_was_done_before_says_nothing_of_the_pace() -> None:
    """A resumed run that did one epoch of the ninth to tenth in a second has one second left."""
    assert describe_pace(9, 10, 1.0, {}, first=8) == "1/s, 0:01 left"


def test_what_is_left_is_unknown_without_a_total_or_a_start() -> None:
    """And beyond the end."""
    assert (eta_s(5, 10, 2.0), eta_s(0, 10, 2.0), eta_s(5, None, 2.0), eta_s(11, 10, 2.0)) == (
        2.0,
        None,
        None,
        None,
    )
    assert describe_duration(59.6) == "1:00"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_need_a_terminal_and_nobody_who_says_that_it_is_none() -> None:
    """Not in files, closed streams, dumb terminals or CI."""
    closed = Terminal()
    closed.close()
    assert bars.are_wanted(Terminal(), {"TERM": "xterm"})
    assert not bars.are_wanted(Terminal(), {"TERM": "dumb"})
    assert not bars.are_wanted(Terminal(), {"TERM": "xterm", "CI": "1"})
    assert not bars.are_wanted(io.StringIO(), {"TERM": "xterm"})
    assert not bars.are_wanted(object(), {"TERM": "xterm"})


def test_without_rich_there_are_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an optional extra."""
    monkeypatch.setattr(bars, "find_spec", lambda name: None)
    assert not bars.are_wanted(Terminal(), {"TERM": "xterm"})


class Bars:
    """Shows on the terminal itself when it is to go, and when to come back."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal, self.are_there = terminal, True

    def step_aside(self) -> None:
        self.terminal.write("<" if self.are_there else "")
        self.are_there = False

    def come_back(self) -> None:
        self.terminal.write(">")
        self.are_there = True


def test_bars_step_aside_for_each_line() -> None:
    """From its first part to its end; afterwards everything goes straight to the stream."""
    terminal = Terminal()
    above = bars.AboveBars(terminal, Bars(terminal))
    print("one\ntwo", file=above)
    print(end="", file=above)
    print("par", end="", file=above)
    above.writelines(["tial\n", "flushed"])
    above.flush()
    print("\r", file=above)
    above.flush()
    assert terminal.getvalue() == "<one\ntwo\n><partial\n><flushed\r\n>"
    above.release()
    print("after", file=above)
    assert terminal.getvalue().endswith(">after\n")
    assert above.isatty()


def test_bars_step_aside_for_what_was_held_back() -> None:
    """Part of a line that another stream's line overtook comes out at a flush."""
    terminal = Terminal()
    standing = Bars(terminal)
    out, err = bars.AboveBars(terminal, standing), bars.AboveBars(terminal, standing)
    out.write("held back")
    err.write("line\n")
    out.flush()
    assert terminal.getvalue() == "<held backline\n><"
