"""Filesystems: the numbers of df, and one that hangs, fails or is asked too often."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from otelml.instrumentation import filesystems
from otelml.instrumentation.filesystems import FORGET_S, INTERVAL_S, Filesystems, Space, look_at, read_mounts
from otelml.instruments import internal

SHM = Path("/dev/shm")  # noqa: S108 - another filesystem; nothing is written to it
TIMEOUT_S = 60
"""For threads: there for a hang, never to measure."""


def space(number: int, **sizes: int) -> Space:
    """What a filesystem says; by default 60 used, 20 free, 20 reserved."""
    about = {"system.filesystem.mountpoint": f"/{number}"}
    return Space(number, about, **{"used": 60, "free": 20, "reserved": 20, **sizes})


@dataclass
class Disks:
    """Filesystems by path, a clock, and who was asked."""

    spaces: dict[str, Space | Exception | None]
    now_s: float = 1000.0
    asked: list[str] = field(default_factory=list)
    hanging: dict[str, threading.Event] = field(default_factory=dict)

    def look(self, path: str) -> Space | None:
        """Answer, fail or hang as told."""
        self.asked.append(path)
        if path in self.hanging:
            self.hanging[path].wait(TIMEOUT_S)
        found = self.spaces[path]
        if isinstance(found, Exception):
            raise found
        return found

    def open(self) -> Filesystems:
        """The sources."""
        return Filesystems(list(self.spaces), self.look, lambda: self.now_s)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not make a test fail: wait long for threads that do answer."""
    monkeypatch.setattr(filesystems, "PATIENCE_S", TIMEOUT_S)
    monkeypatch.setattr(filesystems, "FIRST_PATIENCE_S", TIMEOUT_S)


def places(found: Filesystems) -> list[str]:
    """Whose limits are known."""
    return [about["system.filesystem.mountpoint"] for _, about in found.read_limit()]


def wait_for(condition: Callable[[], bool]) -> None:
    """Until another thread has done its work."""
    pause = threading.Event()
    for _ in range(TIMEOUT_S * 100):
        if condition():
            return
        pause.wait(0.01)
    pytest.fail("it did not happen")


@pytest.mark.usefixtures("patient")
def test_space_is_told_by_state_in_all_and_as_a_ratio() -> None:
    """The states add up to the limit; the ratio is df's, without what is reserved."""
    disks = Disks({"a": space(1)}).open()
    about = {"system.filesystem.mountpoint": "/1"}
    assert list(disks.read_usage()) == [
        (60, {**about, "system.filesystem.state": "used"}),
        (20, {**about, "system.filesystem.state": "free"}),
        (20, {**about, "system.filesystem.state": "reserved"}),
    ]
    assert list(disks.read_limit()) == [(100, about)]
    assert list(disks.read_utilization()) == [(0.75, about)]


@pytest.mark.usefixtures("patient")
def test_a_filesystem_with_nothing_for_users_has_no_ratio() -> None:
    """Rather than a division by zero, or a 0 that means unknown."""
    disks = Disks({"a": space(1, used=0, free=0)}).open()
    assert list(disks.read_utilization()) == []
    assert list(disks.read_limit()) == [(20, {"system.filesystem.mountpoint": "/1"})]


@pytest.mark.usefixtures("patient")
def test_each_filesystem_is_there_once() -> None:
    """Two paths on one device are one filesystem, told by the first of them."""
    disks = Disks({"/": space(1), ".": space(2), "telemetry": space(1, used=61)}).open()
    assert places(disks) == ["/1", "/2"]
    assert [value for value, _ in disks.read_limit()] == [100, 100]


@pytest.mark.usefixtures("patient")
def test_an_answer_is_good_for_a_while() -> None:
    """Three metrics and any number of exporters ask a filesystem once in 30 s."""
    disks = Disks({"a": space(1)})
    found = disks.open()
    for read in (found.read_usage, found.read_limit, found.read_utilization, found.read_limit):
        assert list(read())
    disks.now_s += INTERVAL_S - 1
    disks.spaces["a"] = space(1, used=70)
    assert [value for value, _ in found.read_limit()] == [100]
    assert disks.asked == ["a"]
    disks.now_s += 1
    assert [value for value, _ in found.read_limit()] == [110]
    assert disks.asked == ["a", "a"]


def test_one_that_hangs_holds_up_nobody() -> None:
    """The others are told; it is asked by one thread only, is forgotten in time, and is back when it answers."""
    disks = Disks({"/": space(1), "nfs": space(2)})
    found = disks.open()
    wait_for(lambda: places(found) == ["/1", "/2"])
    disks.hanging["nfs"] = threading.Event()
    disks.now_s += INTERVAL_S
    wait_for(lambda: places(found) == ["/1", "/2"] and disks.asked.count("nfs") == 2)
    disks.now_s += FORGET_S - INTERVAL_S
    wait_for(lambda: places(found) == ["/1"])
    assert disks.asked.count("nfs") == 2
    disks.hanging.pop("nfs").set()
    wait_for(lambda: places(found) == ["/1", "/2"])


def test_the_first_answer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short job exports once: its filesystems are there, however late the thread that asks gets its turn."""
    monkeypatch.setattr(filesystems, "PATIENCE_S", 0)
    monkeypatch.setattr(filesystems, "FIRST_PATIENCE_S", TIMEOUT_S)
    disks = Disks({"/": space(1)}, hanging={"/": threading.Event()})
    threading.Timer(0.05, disks.hanging["/"].set).start()
    assert places(disks.open()) == ["/1"]


@pytest.mark.usefixtures("patient")
def test_one_that_cannot_be_asked_is_absent() -> None:
    """A path that is gone, or forbidden, or has no space of its own."""
    disks = Disks({"a": FileNotFoundError("gone"), "b": None, "c": space(3)})
    assert places(disks.open()) == ["/3"]
    assert internal.totals() == {}


@pytest.mark.usefixtures("patient")
def test_a_mistake_of_ours_is_contained_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the thread it would otherwise be a traceback on the program's stderr."""
    monkeypatch.setattr(internal, "raise_errors", False)
    assert places(Disks({"a": ValueError("odd"), "b": space(2)}).open()) == ["/2"]
    assert internal.totals() == {("errors", "instrumentation", "ValueError"): 1}


@pytest.mark.usefixtures("patient")
def test_what_was_known_stays_where_no_thread_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the interpreter ends Python starts none."""
    disks = Disks({"a": space(1)})
    found = disks.open()
    assert places(found) == ["/1"]

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    disks.now_s += INTERVAL_S
    assert places(found) == ["/1"]


def read_df(path: Path) -> dict[str, Any]:
    """What df of coreutils says."""
    columns = ("source", "fstype", "target", "size", "used", "avail", "pcent")
    command = ["df", "-B1", f"--output={','.join(columns)}", str(path)]
    line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1]
    return dict(zip(columns, line.split(), strict=True))


@pytest.mark.skipif(sys.platform != "linux", reason="runs df of coreutils")
@pytest.mark.parametrize("place", [Path("/"), SHM, Path.cwd()], ids=str)
def test_the_numbers_are_those_of_df(place: Path) -> None:
    """Place, device, type and size exactly; what others write meanwhile may change the rest."""
    said, found = read_df(place), look_at(str(place))
    assert found is not None
    assert found.attributes == {
        "system.filesystem.mountpoint": said["target"],
        "system.device": said["source"],
        "system.filesystem.type": said["fstype"],
    }
    assert found.used + found.free + found.reserved == int(said["size"])
    assert (found.used, found.free) == pytest.approx((int(said["used"]), int(said["avail"])), abs=2**28)
    ratio = found.used / (found.used + found.free)
    assert math.ceil(ratio * 100) == pytest.approx(int(said["pcent"].rstrip("%")), abs=1)


def test_a_folder_that_is_not_there_yet_is_where_it_will_be(tmp_path: Path) -> None:
    """The telemetry folder is made with the first file."""
    there, later = look_at(str(tmp_path)), look_at(str(tmp_path / "telemetry" / "run"))
    assert there is not None
    assert later is not None
    assert (later.st_dev, later.attributes) == (there.st_dev, there.attributes)


def test_a_relative_path_follows_the_working_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program may go elsewhere."""
    monkeypatch.chdir("/")
    found = look_at(".")
    assert found is not None
    assert found.attributes["system.filesystem.mountpoint"] == "/"


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_filesystem_without_space_is_none() -> None:
    """As /proc, and others that the kernel makes up."""
    assert look_at("/proc") is None


MOUNTINFO = r"""
436 435 0:52 / / rw,relatime master:1 - overlay overlay rw,lowerdir=/a:/b - c,upperdir=/d
27 436 254:0 / /mnt/my\040data rw,relatime - ext4 /dev/vda rw,discard
28 436 0:61 / /data rw,relatime shared:3 master:2 - nfs4 filer.lan:/export/data rw,vers=4.2
29 28 0:62 / /data rw - tmpfs none rw
""".lstrip("\n")


def test_mounts_are_read_as_the_kernel_writes_them() -> None:
    """Optional fields of any number, spaces in octal, and the last of two on one place, which hides the first."""
    assert read_mounts(MOUNTINFO) == {
        "/": ("overlay", "overlay"),
        "/mnt/my data": ("/dev/vda", "ext4"),
        "/data": ("none", "tmpfs"),
    }
