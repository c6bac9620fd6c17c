"""The rotating line writer, on real files and real errors of the operating system."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from otelml.export.lines import LineWriter, rotated

if TYPE_CHECKING:
    from collections.abc import Iterator


class Place:
    """A file to write, and what its writer complained about."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[OSError] = []

    def writer(self, *, max_bytes: int = 0, keep: int = 3) -> LineWriter:
        """Another writer of it."""
        return LineWriter(self.locate, max_bytes=max_bytes, keep=keep, tell=self.problems.append)

    def locate(self) -> Path:
        """The path, its folder made."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return self.path


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A file in a folder that does not exist yet."""
    return Place(tmp_path / "run" / "traces.jsonl")


@contextmanager
def disk_full_at(size: int) -> Iterator[None]:
    """Files cannot grow beyond `size` bytes: writes are cut short there, then fail (the kernel's own limit)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_nothing_is_created_before_the_first_line(place: Place) -> None:
    """A writer that is never written to leaves neither file nor folder."""
    place.writer().flush()
    assert not place.path.parent.exists()


def test_lines_are_appended_to_what_is_there(place: Place) -> None:
    """Lines of an earlier process stay, and a second writer goes on below them."""
    place.writer().write('{"a":1}\n')
    place.writer().write('{"b":2}\n{"c":3}\n')
    assert place.path.read_text() == '{"a":1}\n{"b":2}\n{"c":3}\n'


def test_a_line_cut_off_by_a_kill_is_ended_first(place: Place) -> None:
    """A half line that a killed process left does not swallow the next one."""
    place.locate().write_text('{"whole":1}\n{"half')
    place.writer().write('{"next":2}\n')
    assert place.path.read_text() == '{"whole":1}\n{"half\n{"next":2}\n'


def test_files_are_rotated_between_lines_and_only_some_are_kept(place: Place) -> None:
    """No file is larger than the limit, all lines are whole, the oldest files go."""
    writer = place.writer(max_bytes=20, keep=2)
    for i in range(10):
        writer.write(f"line {i:03d}\n")
    names = sorted(p.name for p in place.path.parent.iterdir())
    assert names == ["traces.1.jsonl", "traces.2.jsonl", "traces.jsonl"]
    assert rotated(place.path, 2).read_text() == "line 004\nline 005\n"
    assert rotated(place.path, 1).read_text() == "line 006\nline 007\n"
    assert place.path.read_text() == "line 008\nline 009\n"


def test_a_batch_is_split_over_files_between_lines(place: Place) -> None:
    """One write of many lines fills each file as far as whole lines go."""
    place.writer(max_bytes=20, keep=9).write("".join(f"line {i:03d}\n" for i in range(5)))
    assert rotated(place.path, 2).read_text() == "line 000\nline 001\n"
    assert place.path.read_text() == "line 004\n"


def test_a_line_longer_than_the_limit_has_a_file_to_itself(place: Place) -> None:
    """It is written whole, and the next line starts another file."""
    writer = place.writer(max_bytes=10)
    for text in ("short\n", "x" * 50 + "\n", "after\n"):
        writer.write(text)
    assert rotated(place.path, 2).read_text() == "short\n"
    assert rotated(place.path, 1).read_text() == "x" * 50 + "\n"
    assert place.path.read_text() == "after\n"


def test_with_nothing_kept_the_file_starts_anew(place: Place) -> None:
    """`keep=0` bounds the disk to one file."""
    writer = place.writer(max_bytes=10, keep=0)
    for text in ("first..\n", "second.\n"):
        writer.write(text)
    assert [p.name for p in place.path.parent.iterdir()] == ["traces.jsonl"]
    assert place.path.read_text() == "second.\n"


def test_without_a_limit_a_file_is_never_rotated(place: Place) -> None:
    """`max_bytes=0` means no limit."""
    place.writer(max_bytes=0).write("x" * 100_000 + "\n")
    assert [p.name for p in place.path.parent.iterdir()] == ["traces.jsonl"]


def test_a_disk_that_fills_up_keeps_whole_lines_and_loses_the_rest(place: Place) -> None:
    """Of a batch that fits only in part the whole lines stay; half a line never does."""
    writer = place.writer()
    with disk_full_at(25):
        writer.write("line 0\nline 1\nline 2\nline 3\nline 4\n")
    assert place.path.read_text() == "line 0\nline 1\nline 2\n"
    assert writer.lost_lines == 2
    assert [p.errno for p in place.problems] == [errno.EFBIG]


def test_writing_goes_on_when_the_disk_recovers(place: Place) -> None:
    """After failures the next line stands where the last whole one ended."""
    writer = place.writer()
    with disk_full_at(10):
        writer.write("line 0\n")
        writer.write("line 1\n")
        writer.write("line 2\n")
    writer.write("line 3\n")
    assert place.path.read_text() == "line 0\nline 3\n"
    assert writer.lost_lines == 2


def test_a_device_without_space_is_told_once_a_write(tmp_path: Path) -> None:
    """ENOSPC is passed on, counted in lines, and does not raise."""
    place = Place(tmp_path / "traces.jsonl")
    place.path.symlink_to("/dev/full")
    writer = place.writer()
    writer.write("a\nb\n")
    writer.write("c\n")
    assert [p.errno for p in place.problems] == [errno.ENOSPC, errno.ENOSPC]
    assert writer.lost_lines == 3


def test_a_folder_that_cannot_be_made_is_told_and_tried_again(tmp_path: Path) -> None:
    """With a file in the folder's place each write fails; once it is gone, writing starts."""
    (tmp_path / "run").write_text("in the way")
    place = Place(tmp_path / "run" / "traces.jsonl")
    writer = place.writer()
    writer.write("lost\n")
    (tmp_path / "run").unlink()
    writer.write("kept\n")
    assert len(place.problems) == 1
    assert writer.lost_lines == 1
    assert place.path.read_text() == "kept\n"


def test_a_deleted_folder_is_made_again(place: Place) -> None:
    """Lines do not go into a file that nobody can see any more."""
    writer = place.writer()
    writer.write("gone\n")
    shutil.rmtree(place.path.parent)
    writer.write("seen\n")
    assert place.path.read_text() == "seen\n"


def test_a_file_moved_by_somebody_else_is_left_to_them(place: Place) -> None:
    """As with logrotate: after a move the next line opens a new file."""
    writer = place.writer()
    writer.write("old\n")
    place.path.rename(place.path.with_name("moved"))
    writer.write("new\n")
    assert place.path.read_text() == "new\n"


def test_lone_surrogates_do_not_cost_the_line(place: Place) -> None:
    """What UTF-8 has no form for is written as an escape."""
    place.writer().write("\ud800 é\n")
    assert place.path.read_bytes() == b"\\ud800 \xc3\xa9\n"


def test_files_are_as_readable_as_the_umask_says(place: Place) -> None:
    """Permissions are those of an ordinary file, not executable, and the descriptor is not inherited."""
    old = os.umask(0o027)
    try:
        place.writer().write("line\n")
    finally:
        os.umask(old)
    assert stat.S_IMODE(place.path.stat().st_mode) == 0o640


def test_a_closed_writer_opens_its_file_again(place: Place) -> None:
    """Closing is for the descriptor; a line that comes later is not lost."""
    writer = place.writer()
    writer.write("one\n")
    writer.close()
    writer.close()
    writer.write("two\n")
    assert place.path.read_text() == "one\ntwo\n"
