"""A file of lines that rotates, heals and never raises: the bottom of every file exporter.

Apart from `files`, which knows signals and folders, because what a full disk or a deleted folder does to a file is a
matter of its own.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
_MODE = 0o644
"""Before the umask: as any log file, and never executable."""


class LineWriter:
    """Appends whole lines to the file that `locate` names; part of a text stream's interface.

    Not thread-safe: exporters hold their lock around it. Unbuffered, so nothing is flushed twice after a fork and
    what was written survives a kill.

    Args:
        locate: returns the path, its folder made; may raise OSError. Asked whenever the file has to be opened.
        max_bytes: size from which a file is rotated, `traces.jsonl` to `traces.1.jsonl` and so on; 0 for never.
            A line longer than that has a file to itself.
        keep: rotated files kept beside the current one.
        tell: called with each OSError; what was not written is lost.
    """

    def __init__(
        self, locate: Callable[[], Path], *, max_bytes: int, keep: int, tell: Callable[[OSError], object]
    ) -> None:
        self._locate = locate
        self._max_bytes = max_bytes
        self._keep = keep
        self._tell = tell
        self._path: Path | None = None
        self._fd = -1
        self._size = 0
        self._torn = False
        self.lost_lines = 0
        """Lines that could not be written, since the beginning."""
        self.closed = False

    def write(self, text: str) -> int:
        """Append `text`, one or more whole lines. Never raises OSError; `lost_lines` goes up instead."""
        data = text.encode("utf-8", "backslashreplace")  # a lone surrogate must not cost the line
        try:
            while data:
                self._ensure_open()
                fitting = self._fitting(data)
                if not fitting:
                    self._rotate()
                    continue
                piece, data = data[:fitting], data[fitting:]
                self._write_whole(piece)
        except OSError as problem:
            self.lost_lines += data.count(b"\n")
            self._tell(problem)
        return len(text)

    def flush(self) -> None:
        """Nothing is buffered."""

    def close(self) -> None:
        """Close the file; a later write opens it again."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _fitting(self, data: bytes) -> int:
        room = self._max_bytes - self._size
        if not self._max_bytes or len(data) <= room:
            return len(data)
        whole_lines = data.rfind(b"\n", 0, max(0, room)) + 1
        if whole_lines or self._size:
            return whole_lines
        return data.find(b"\n") + 1 or len(data)

    def _write_whole(self, lines: bytes) -> None:
        """Write `lines` in one call; where the disk takes only a part, keep the whole lines of it."""
        data = b"\n" + lines if self._torn else lines
        written = 0
        try:
            # A regular file takes everything at once, or the disk is full.
            while written < len(data):
                written += os.write(self._fd, data[written:])
        except OSError:
            whole = data.rfind(b"\n", 0, written) + 1
            self.lost_lines += lines.count(b"\n", max(0, whole - len(data) + len(lines)))
            self._take_back(written, whole)
            raise
        self._size += written
        self._torn = False

    def _take_back(self, written: int, whole: int) -> None:
        """Of `written` bytes the first `whole` end with a line: cut off the rest, or else end it before the next."""
        try:
            os.ftruncate(self._fd, self._size + whole)
            self._size += whole
            self._torn = self._torn and not whole
        except OSError:
            self._size += written
            self._torn = written > whole or (self._torn and not written)

    def _ensure_open(self) -> None:
        """Open the file, anew where it was deleted or replaced since the last write."""
        if self._fd >= 0 and self._path is not None:
            with suppress(FileNotFoundError):
                ours = os.fstat(self._fd)
                if os.path.samestat(self._path.stat(), ours):
                    self._size = ours.st_size
                    return
            self.close()
        self._path = self._locate()
        self._fd = os.open(self._path, _FLAGS, _MODE)
        self._size = os.lseek(self._fd, 0, os.SEEK_END)
        self._torn = self._ends_torn()

    def _ends_torn(self) -> bool:
        """Whether a writer before us died inside a line."""
        if not self._size:
            return False
        try:
            os.lseek(self._fd, -1, os.SEEK_END)
            return os.read(self._fd, 1) != b"\n"
        except OSError as problem:
            if problem.errno in (errno.ESPIPE, errno.EINVAL):  # no regular file
                return False
            raise

    def _rotate(self) -> None:
        path = self._path
        if path is None:
            return
        self.close()
        if not self._keep:
            path.unlink()
            return
        for index in range(self._keep - 1, 0, -1):
            older = rotated(path, index)
            if older.exists():
                older.replace(rotated(path, index + 1))
        path.replace(rotated(path, 1))


def rotated(path: Path, index: int) -> Path:
    """The name of `path` after `index` rotations: `traces.jsonl`, 2 -> `traces.2.jsonl`."""
    return path.with_name(f"{path.stem}.{index}{path.suffix}")
