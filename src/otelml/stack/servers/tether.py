"""Children that end with their parent, even when it is killed and can no longer end them itself."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def create_tether() -> Callable[[], None] | None:
    """For `preexec_fn`: the kernel kills the child when the thread that started it ends. None where it cannot.

    Linux alone can. The call is looked up here, before the fork, so that the child takes no lock that another
    thread may have held. Call it, and start the child, on the main thread: the tie is to the starting thread.
    """
    if sys.platform != "linux":
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()

    def tie() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the tie was made
            os._exit(1)

    return tie
