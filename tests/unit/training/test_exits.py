"""The ways out of a program are watched while a run needs it, and are as they were before and after."""

from __future__ import annotations

import builtins
import sys
from _sitebuiltins import Quitter
from typing import Any

import pytest

from otelml.training import exits, run


def ways_out() -> tuple[Any, ...]:
    """What stands where the program looks for an exit."""
    return sys.exit, builtins.exit, builtins.quit, Quitter.__call__


def test_exits_are_watched_from_the_first_start_to_the_last_end() -> None:
    """Not in blocks; `exit` and `quit` are the objects that they were, and say so."""
    before = ways_out()
    with run("block"):
        assert ways_out() == before
    first, second = run("a").start(), run("b").start()
    first.end()
    assert sys.exit is not before[0]
    assert Quitter.__call__ is not before[3]
    assert (builtins.exit, repr(builtins.exit)) == (before[1], repr(before[1]))
    second.end()
    assert ways_out() == before


@pytest.mark.parametrize("code", [None, 0, 3, "no data"])
def test_a_watched_exit_is_the_exit(code: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same exception with the same code, from each of them."""
    monkeypatch.setattr(sys, "stdin", None)  # `exit` and `quit` close it
    active = run("a").start()
    for leave in (sys.exit, builtins.exit, builtins.quit):
        with pytest.raises(SystemExit) as caught:
            leave(code)
        assert type(caught.value) is SystemExit
        assert caught.value.code == code
    active.end()


def test_who_puts_a_function_over_ours_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours stays below it then, and hands on."""
    active = run("a").start()
    below = sys.exit

    def own(code: int) -> None:
        below(code + 1)

    monkeypatch.setattr(sys, "exit", own)
    active.end()
    assert sys.exit is own
    with pytest.raises(SystemExit, match="4"):
        sys.exit(3)
    monkeypatch.undo()
    exits.unwatch()
    assert exits.read_end() == ("completed", None), "nothing is noted any more"


def test_an_exit_that_was_looked_up_during_a_run_is_one_after_it() -> None:
    """`sys.exit(finish())`, where the run ends in `finish`."""
    active = run("a").start()
    leave = sys.exit
    active.end()
    with pytest.raises(SystemExit, match="3"):
        leave(3)
    again = run("a").start()
    assert sys.exit is leave
    again.end()
