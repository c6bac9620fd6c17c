"""Progress where somebody watches: bars at the bottom of the terminal, drawn by `rich`, with everything else above.

No thread draws: bars move when the loop does, so that a fork finds no lock held by one. While they stand, what the
program prints and logs to the terminal goes through the console that draws them, line by line and as it is.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from otelml.instruments import internal, timer
from otelml.settings.ranks import read_ranks
from otelml.training.lines import describe_pace

_MAX_PARTIAL = 65_536

_lock = threading.RLock()
_bars: Bars | None = None


def are_wanted(stream: Any = None, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether bars can be drawn: on a terminal, with `rich`, by rank 0; not in CI, whatever it calls a terminal."""
    stream = sys.stderr if stream is None else stream
    if isinstance(stream, AboveBars):
        return True
    try:
        is_terminal = bool(stream.isatty())
    except Exception:  # noqa: BLE001 - no stream at all, a closed one, or one that a program made itself
        return False
    if not is_terminal or environ.get("TERM", "dumb") == "dumb" or environ.get("CI"):
        return False
    return find_spec("rich") is not None


def is_quiet_rank(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether another process of a distributed job shows the progress."""
    return read_ranks(environ).rank not in (None, 0)


class AboveBars:
    """Stands for a stream to the terminal while bars are drawn there; after that it hands on to the stream."""

    def __init__(self, stream: Any, console: Any) -> None:
        self._stream = stream
        self._console = console
        self._partial = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Show whole lines above the bars; what is no whole line yet waits for its end, or for `flush`."""
        if self._console is None:
            return int(self._stream.write(text) or 0)
        lines, newline, rest = (self._partial + text).rpartition("\n")
        self._partial = rest
        if newline:
            self._show(lines)
        if len(self._partial) > _MAX_PARTIAL:
            self.flush()
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Show what waits."""
        partial, self._partial = self._partial, ""
        if self._console is None:
            self._stream.flush()
        elif partial:
            self._show(partial)

    def _show(self, lines: str) -> None:
        self._console.out(lines, highlight=False)

    def release(self) -> None:
        """The bars are gone."""
        self._console = None
        partial, self._partial = self._partial, ""
        if partial:
            with suppress(Exception):  # the user's stream may be closed by now
                self._stream.write(partial)


def _unwrapped(stream: Any) -> Any:
    """The real stream: handlers made while other bars stood still write to what stood for it."""
    while isinstance(stream, AboveBars):
        stream = stream._stream  # noqa: SLF001 - of this module
    return stream


class Bars:
    """All bars of the process, for there is one terminal. Drawn as long as there is one."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        self._console = Console(file=sys.stderr)
        self._rich = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._standing: list[tuple[str, Any, AboveBars]] = []
        self._handlers: list[tuple[Any, AboveBars]] = []
        self.tasks = 0

    def start(self) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if _is_terminal(stream):
                above = AboveBars(stream, self._console)
                self._standing.append((name, stream, above))
                setattr(sys, name, above)
        self._redirect_handlers()
        self._rich.start()

    def _redirect_handlers(self) -> None:
        """Logging handlers made before keep the stream that they were made with."""
        by_stream = {id(stream): above for _, stream, above in self._standing}
        for reference in list(logging._handlerList):  # type: ignore[attr-defined]  # noqa: SLF001 - the only list of all
            handler = reference()
            above = by_stream.get(id(_unwrapped(vars(handler).get("stream"))))
            if above is not None and type(handler).setStream is logging.StreamHandler.setStream:
                # Without `setStream`: it takes the handler's lock, which an interrupted frame may hold.
                handler.stream = above
                self._handlers.append((handler, above))

    def stop(self) -> None:
        """Leave the bars as they are, and put back what stood in the place of what."""
        self.give_back()
        self._rich.stop()

    def give_back(self) -> None:
        """Put back streams and handlers, where they are still ours."""
        for handler, above in self._handlers:
            if handler.stream is above:
                handler.stream = above._stream  # noqa: SLF001 - of this module
        for name, stream, above in self._standing:
            if getattr(sys, name) is above:
                setattr(sys, name, stream)
            above.release()
        self._handlers, self._standing = [], []

    def add(self, description: str, total: int | None) -> Any:
        self.tasks += 1
        task = self._rich.add_task(description, total=total, note="")
        self._rich.refresh()
        return task

    def update(self, task: Any, done: int, note: str) -> None:
        self._rich.update(task, completed=done, note=note)
        self._rich.refresh()

    def remove(self, task: Any, *, keep: bool) -> None:
        self.tasks -= 1
        if keep:
            self._rich.refresh()
        else:
            self._rich.remove_task(task)
            self._rich.refresh()


class BarTrack:
    """The progress of one loop as a bar. Inner ones go away with their loop, so that a hundred epochs leave one bar."""

    def __init__(self, description: str, total: int | None, first: int) -> None:
        with _lock:
            self._bars = _started_bars()
            self._is_inner = self._bars.tasks > 0
            self._task = self._bars.add(description, total)
        self._total, self._first = total, first

    def show(self, done: int, elapsed_s: float, metrics: Mapping[str, Any], now_ns: int) -> None:  # noqa: ARG002 - as lines
        """Redraw (about 1 ms)."""
        with _lock, internal.guard("training"):
            if self._bars is _bars:
                note = describe_pace(done, self._total, elapsed_s, metrics, first=self._first)
                self._bars.update(self._task, done, note)

    def close(self, done: int, elapsed_s: float, metrics: Mapping[str, Any], now_ns: int) -> None:
        """Draw a last time; with the last bar of all, the terminal is as before."""
        self.show(done, elapsed_s, metrics, now_ns)
        with _lock, internal.guard("training"):
            if self._bars is _bars:
                self._bars.remove(self._task, keep=not self._is_inner)
                if not self._bars.tasks:
                    stop()


def _started_bars() -> Bars:
    global _bars  # noqa: PLW0603 - one terminal
    if _bars is None:
        bars = Bars()
        bars.start()
        _bars = bars
        if abandon not in timer.fork_hooks:
            timer.fork_hooks.append(abandon)
    return _bars


def stop() -> None:
    """Take the bars off the terminal: at the end of the last one, and of the program."""
    global _bars
    bars, _bars = _bars, None
    if bars is not None:
        bars.stop()


def abandon() -> None:
    """In a forked child: the bars are the parent's, what it prints is its own."""
    global _bars, _lock  # noqa: PLW0603 - of the process
    _lock = threading.RLock()
    bars, _bars = _bars, None
    if bars is not None:
        bars.give_back()


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except Exception:  # noqa: BLE001 - as in `are_wanted`
        return False


def reset() -> None:
    """For tests: nothing is drawn."""
    stop()
