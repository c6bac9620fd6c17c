"""How full the filesystems are that a program uses, read so that one that hangs (NFS) holds up nobody.

Apart from the other sources because each filesystem is asked on a thread, of which none stays.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from time import monotonic

from otelml.instruments import internal
from otelml.instruments.observed import Reading
from otelml.semconv._generated import (
    SYSTEM_DEVICE,
    SYSTEM_FILESYSTEM_MOUNTPOINT,
    SYSTEM_FILESYSTEM_STATE,
    SYSTEM_FILESYSTEM_TYPE,
)

INTERVAL_S = 30.0
"""How long what a filesystem said is good for."""

PATIENCE_S = 0.01
"""How long a collection waits for new answers: a local filesystem needs 0.2 ms; one that hangs is waited for once."""

FIRST_PATIENCE_S = 0.5
"""The same before the first answer, without which a short job on a busy machine would have none."""

FORGET_S = 3 * INTERVAL_S
"""After so long without an answer the space is unknown, and the series are absent."""

MOUNTS = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Space:
    """What a filesystem says of itself, in bytes. `st_dev` identifies it."""

    st_dev: int
    attributes: dict[str, str]
    used: int
    free: int
    reserved: int


class Filesystems:
    """The filesystems of some paths, each once; its methods are sources of series.

    Args:
        paths: looked at each time, so that a relative one follows the working directory.
        look: how to look at one.
        clock: seconds.
    """

    def __init__(
        self,
        paths: Sequence[str],
        look: Callable[[str], Space | None] | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._watches = [_Watch(path, look or look_at, clock) for path in dict.fromkeys(paths)]

    def read_usage(self) -> Iterator[Reading]:
        """Bytes by state; the states add up to the limit."""
        for space in self._spaces():
            for state in ("used", "free", "reserved"):
                yield getattr(space, state), {**space.attributes, SYSTEM_FILESYSTEM_STATE: state}

    def read_limit(self) -> Iterator[Reading]:
        """Bytes in all."""
        for space in self._spaces():
            yield space.used + space.free + space.reserved, space.attributes

    def read_utilization(self) -> Iterator[Reading]:
        """Used, as a fraction of what is used or free: the `Use%` of df."""
        for space in self._spaces():
            if space.used + space.free:
                yield space.used / (space.used + space.free), space.attributes

    def _spaces(self) -> list[Space]:
        is_first = any(watch.is_new for watch in self._watches)
        patient_until_s = monotonic() + (FIRST_PATIENCE_S if is_first else PATIENCE_S)
        for started in [watch.ask() for watch in self._watches]:
            if started is not None:
                started.join(max(0.0, patient_until_s - monotonic()))
        spaces: dict[int, Space] = {}
        for watch in self._watches:
            if (space := watch.space) is not None:
                spaces.setdefault(space.st_dev, space)
        return list(spaces.values())


class _Watch:
    """What is known of the filesystem of one path."""

    def __init__(self, path: str, look: Callable[[str], Space | None], clock: Callable[[], float]) -> None:
        self._path, self._look, self._clock = path, look, clock
        self._found: tuple[float, Space | None] = (float("-inf"), None)
        self._thread: Thread | None = None

    @property
    def is_new(self) -> bool:
        """Whether nobody has looked yet."""
        return self._thread is None

    @property
    def space(self) -> Space | None:
        """What was found last, unless that is too long ago."""
        at_s, space = self._found
        return space if self._clock() - at_s < FORGET_S else None

    def ask(self) -> Thread | None:
        """Start to look again if it is time, and nobody does (in a forked child nobody does)."""
        is_time = self._clock() - self._found[0] >= INTERVAL_S
        if not is_time or (self._thread is not None and self._thread.is_alive()):
            return None
        thread = Thread(target=self._find, name="otelml-filesystem", daemon=True)
        with suppress(RuntimeError):  # no thread starts while the interpreter ends
            thread.start()
            self._thread = thread
            return thread
        return None

    def _find(self) -> None:
        space = None
        # A path that is gone or forbidden is unknown; on a thread there is nobody above to contain anything else.
        with internal.guard("instrumentation"), suppress(OSError):
            space = self._look(self._path)
        self._found = (self._clock(), space)


def look_at(path: str) -> Space | None:
    """Ask the filesystem that `path` is on, or will be; None for one without space of its own, such as /proc.

    Raises:
        OSError: it cannot be asked.
    """
    place = _find_existing(Path(path).resolve())
    used, free, reserved = _read_space(place)
    if not used + free + reserved:
        return None
    mountpoint = str(_find_mountpoint(place))
    device, kind = read_mounts(MOUNTS.read_text()).get(mountpoint, ("", "")) if MOUNTS.exists() else ("", "")
    attributes = {
        SYSTEM_FILESYSTEM_MOUNTPOINT: mountpoint,
        SYSTEM_DEVICE: device,
        SYSTEM_FILESYSTEM_TYPE: kind,
    }
    known = {key: value for key, value in attributes.items() if value}
    return Space(place.stat().st_dev, known, used, free, reserved)


def read_mounts(mountinfo: str) -> dict[str, tuple[str, str]]:
    """Device and type of each mounted filesystem by its place, off the text of /proc/self/mountinfo."""
    mounts = {}
    for line in mountinfo.splitlines():
        place, _, source = line.partition(" - ")
        kind, device = source.split(" ")[:2]
        mounts[_unescape(place.split(" ")[4])] = (_unescape(device), kind)
    return mounts


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _find_existing(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if place.exists())


def _find_mountpoint(path: Path) -> Path:
    return next(place for place in (path, *path.parents) if os.path.ismount(place) or place == place.parent)


def _read_space(path: Path) -> tuple[int, int, int]:
    """Bytes used, free and reserved."""
    if not hasattr(os, "statvfs"):
        usage = shutil.disk_usage(path)
        return usage.used, usage.free, 0
    found = os.statvfs(path)
    blocks = (found.f_blocks - found.f_bfree, found.f_bavail, found.f_bfree - found.f_bavail)
    used, free, reserved = (count * found.f_frsize for count in blocks)
    return used, free, reserved
