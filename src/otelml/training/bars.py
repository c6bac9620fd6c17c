"""Progress where somebody watches: bars at the bottom of the terminal, with everything else above.

`rich` makes their lines; they are drawn here, because what the program prints must come out byte for byte. All that is
ours stands between hiding and showing the cursor. While the program is within a line of its own, there are no bars.

No thread draws: bars move when the loop does, so that a fork finds no lock held by one.
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

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_CLEAR, _UP = "\r\x1b[2K", "\x1b[1A"

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
    return find_spec("rich") is not None and not _is_legacy_windows()


def _is_legacy_windows() -> bool:
    """Whether the terminal is one that takes no control sequences."""
    if os.name != "nt":
        return False
    from rich.console import detect_legacy_windows

    return detect_legacy_windows()


def is_quiet_rank(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether another process of a distributed job shows the progress."""
    return read_ranks(environ).rank not in (None, 0)


class AboveBars:
    """Stands for a stream to the terminal while bars are drawn there; after that it hands on to the stream."""

    def __init__(self, stream: Any, bars: Bars) -> None:
        self._stream = stream
        self._bars: Bars | None = bars
        self._is_within_line = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> Any:
        """Write it as it is; the bars step aside for it, and come back after the end of the line."""
        with _lock:
            bars = self._bars
            if bars is None or not text:
                return self._stream.write(text)
            bars.step_aside()
            written = self._stream.write(text)
            self._is_within_line = not text.endswith("\n")
            if not self._is_within_line:
                self._stream.flush()  # before the bars, also where lines are not flushed by themselves
                bars.come_back()
            return written

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with _lock:
            if self._bars is not None and self._is_within_line:
                self._bars.step_aside()  # they may have come back after a line of another stream
            self._stream.flush()

    def release(self) -> None:
        """The bars are gone."""
        self._bars = None


def _unwrapped(stream: Any) -> Any:
    """The real stream: handlers made while other bars stood still write to what stood for it."""
    while isinstance(stream, AboveBars):
        stream = stream._stream  # noqa: SLF001 - of this module
    return stream


class _Looked:
    """The stream as `rich` looks at it, which makes lines of it and writes none: it flushes what is not due yet."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return len(text)

    def flush(self) -> None:
        pass


class Bars:
    """All bars of the process, for there is one terminal. Drawn as long as there is one."""

    def __init__(self) -> None:
        from rich import progress
        from rich.console import Console

        self._stream = _unwrapped(sys.stderr)
        looked: Any = _Looked(self._stream)
        self._console = Console(file=looked)
        self._rich = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            auto_refresh=False,
        )
        self._standing: list[tuple[str, Any, AboveBars]] = []
        self._handlers: list[tuple[Any, AboveBars]] = []
        self._lines: list[str] = []
        self._height = 0  # of what is drawn; the cursor is at its end
        self._is_aside = False
        self.tasks = 0

    def start(self) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if _is_terminal(stream):
                above = AboveBars(stream, self)
                self._standing.append((name, stream, above))
                setattr(sys, name, above)
        self._redirect_handlers()

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
        self._draw()
        if self._height:
            self._show(f"\n{_SHOW}")
            self._height = 0

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
        self._refresh()
        return task

    def update(self, task: Any, done: int, note: str) -> None:
        self._rich.update(task, completed=done, note=note)
        self._refresh()

    def remove(self, task: Any, *, keep: bool) -> None:
        self.tasks -= 1
        if not keep:
            self._rich.remove_task(task)
        self._refresh()

    def step_aside(self) -> None:
        """Make room for a line of the program's."""
        self._is_aside = True
        if self._height:
            self._show(self._erasure() + _SHOW)
            self._height = 0

    def come_back(self) -> None:
        """The line has ended. What is drawn is what was there before: a print costs no new bars."""
        self._is_aside = False
        self._draw()

    def _refresh(self) -> None:
        with self._console.capture() as capture:
            self._console.print(self._rich.get_renderable())
        text = capture.get().encode(self._console.encoding, "replace").decode(self._console.encoding)
        self._lines = text.rstrip("\n").split("\n")[1 - self._console.height :]
        self._draw()

    def _draw(self) -> None:
        if not self._is_aside:
            self._show((self._erasure() or _HIDE) + "\n".join(self._lines))
            self._height = len(self._lines)

    def _erasure(self) -> str:
        """What takes the bars away, and leaves the cursor where they began."""
        return (_UP + _CLEAR).join([_CLEAR] * self._height) if self._height else ""

    def _show(self, text: str) -> None:
        # Without a word, which a handler would have to write that may wait for this: the terminal may be gone.
        with suppress(OSError, ValueError):
            # Past the stream, in whose buffer the program may have the beginning of a line that is not due yet.
            rest = text.encode(self._console.encoding, "replace")
            while rest:
                rest = rest[os.write(self._stream.fileno(), rest) :]


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
        with internal.guard("training"), _lock:
            if self._bars is _bars:
                note = describe_pace(done, self._total, elapsed_s, metrics, first=self._first)
                self._bars.update(self._task, done, note)

    def close(self, done: int, elapsed_s: float, metrics: Mapping[str, Any], now_ns: int) -> None:
        """Draw a last time; with the last bar of all, the terminal is as before."""
        self.show(done, elapsed_s, metrics, now_ns)
        with internal.guard("training"), _lock:
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
