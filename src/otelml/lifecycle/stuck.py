"""Notices a signal that the main thread does not get round to.

Python handlers run in the main thread, between two bytecodes. A training process that hangs in a collective operation
never gets there: with a handler of ours it would outlive the SIGTERM that the default ends it with at once, and
`torchrun` waits 30 s for that. The interpreter tells of a signal at once through its wake-up descriptor. (Linux)
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import threading
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from otelml.instruments import internal

if TYPE_CHECKING:
    from collections.abc import Callable

_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid
_END = b"\0"


class SignalWatch:
    """Calls `noticed(signum)` on a thread of its own for each signal of this process that has a Python handler.

    There is one wake-up descriptor a process: where an event loop has it already, or takes it later, nothing is
    noticed, and signals wait for the main thread as they do with any Python handler.
    """

    def __init__(self, noticed: Callable[[int], object]) -> None:
        self._noticed = noticed
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def start(self) -> None:
        """Take the descriptor, if it is free. From the main thread only.

        Not where trio is installed: it takes the descriptor itself, and warns its user if somebody has it.
        """
        if sys.platform != "linux" or self._ends is not None or find_spec("trio") is not None:
            return
        reader, writer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # The kernel then says which process wrote: between a fork and whatever the child does first, its signals
        # would pass for ours.
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        writer.setblocking(False)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        if before != -1:
            signal.set_wakeup_fd(before)
            reader.close()
            writer.close()
            return
        self._ends = reader, writer
        threading.Thread(target=self._run, args=(reader,), name="otelml-signals", daemon=True).start()

    def stop(self) -> None:
        """Give the descriptor back, where it is still ours. From the main thread; elsewhere nothing happens."""
        if self._ends is not None and _give_back(self._ends[1].fileno()):
            (_, writer), self._ends = self._ends, None
            with suppress(OSError):
                writer.send(_END)
            writer.close()

    def abandon(self) -> None:
        """`stop` in a forked child, where the thread is the parent's."""
        if self._ends is not None and _give_back(self._ends[1].fileno()):
            for end in self._ends:
                end.close()
            self._ends = None

    def _run(self, reader: socket.socket) -> None:
        with reader:
            while True:
                written, by, *_ = reader.recvmsg(1, socket.CMSG_SPACE(_CREDENTIALS.size))
                if written in (b"", _END):
                    return
                if by and _CREDENTIALS.unpack(by[0][2])[0] == os.getpid():
                    with internal.guard("lifecycle"):
                        self._noticed(written[0])


def _give_back(ours: int) -> bool:
    """Take the wake-up descriptor away where it is `ours`; False where this thread may not."""
    try:
        current = signal.set_wakeup_fd(-1)
    except ValueError:
        return False
    if current not in (-1, ours):
        signal.set_wakeup_fd(current)
    return True


def die_of(signum: int) -> None:
    """End this process by `signum` as its default would, from any thread."""
    import ctypes

    # signal.signal() would refuse: it may only be called from the main thread, which is the one that is stuck.
    set_handler = ctypes.pythonapi.PyOS_setsig
    set_handler.argtypes, set_handler.restype = [ctypes.c_int, ctypes.c_void_p], ctypes.c_void_p
    set_handler(signum, None)
    os.kill(os.getpid(), signum)
