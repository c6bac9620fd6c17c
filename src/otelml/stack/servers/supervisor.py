"""Runs services until it is asked to stop or one of them ends, and leaves none behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

from otelml.stack.servers.service import Running, Service

READY_PATIENCE_S = 60.0
"""For a server to listen; they do within a second on a machine that is not busy."""
STOP_PATIENCE_S = 10.0
"""For a server to write down what it has; then it is killed."""
_LOOK_EVERY_S = 0.2

Tell = Callable[[str], None]


class Asked:
    """How often this process was asked to end, by Ctrl-C, SIGTERM or a closed terminal.

    A count and no exception: one that comes while a child is being started would lose it.
    """

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self.times += 1


@contextmanager
def asked_to_stop() -> Iterator[Asked]:
    """Count the requests to end in the block, instead of ending; a SIGHUP that `nohup` had ignored stays so."""
    asked = Asked()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if number != signal.SIGHUP or handler != signal.SIG_IGN:
            signal.signal(number, asked)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run(services: Sequence[Service], tell_ready: Callable[[], None], tell: Tell) -> int:
    """Start `services` in their order, call `tell_ready`, and stop them in the opposite order.

    Returns:
        The exit status: 0 when it was asked to stop, 1 when a service ended by itself or did not start.
    """
    running: list[Running] = []
    with asked_to_stop() as asked:
        try:
            failed = any(not _start(service, running, asked, tell) for service in services)
            if not failed and not asked.times:
                tell_ready()
                failed = not _watch(running, asked, tell)
        finally:
            _stop(running, asked, tell)
    return 1 if failed else 0


def _start(service: Service, running: list[Running], asked: Asked, tell: Tell) -> bool:
    """Start one and wait until it listens; True too when there was a request to stop instead."""
    if asked.times:
        return True
    try:
        running.append(Running(service))
    except OSError as problem:
        tell(f"{service.name} cannot be started: {problem}")
        return False
    end = time.monotonic() + READY_PATIENCE_S
    while not asked.times and not running[-1].is_ready():
        if not _all_live(running, tell):
            return False
        if time.monotonic() > end:
            tell(
                f"{service.name} does not listen after {READY_PATIENCE_S:.0f} s. {_describe_log(running[-1])}"
            )
            return False
        time.sleep(_LOOK_EVERY_S)
    return True


def _watch(running: Sequence[Running], asked: Asked, tell: Tell) -> bool:
    """Return True at a request to stop, False when one has ended."""
    while not asked.times:
        if not _all_live(running, tell):
            return False
        for one in running:
            one.limit_log()
        time.sleep(_LOOK_EVERY_S)
    return True


def _all_live(running: Sequence[Running], tell: Tell) -> bool:
    for one in running:
        if one.status is not None:
            tell(f"{one.service.name} has ended {_describe_status(one.status)}. {_describe_log(one)}")
            return False
    return True


def _describe_status(status: int) -> str:
    return f"with exit status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"


def _describe_log(one: Running) -> str:
    lines = one.read_last_lines()
    if not lines:
        return f"Its log, {one.service.log}, is empty."
    return "\n  ".join([f"The end of its log, {one.service.log}:", *lines])


def _stop(running: list[Running], asked: Asked, tell: Tell) -> None:
    """The last one first: what takes data in, then what keeps them. One more request kills what is left."""
    requests = asked.times
    while running:
        one = running.pop()
        one.ask_to_end()
        end = time.monotonic() + STOP_PATIENCE_S
        while one.status is None and asked.times == requests and time.monotonic() < end:
            time.sleep(_LOOK_EVERY_S)
        if one.status is None:
            tell(f"{one.service.name} has not ended yet, and is killed")
            one.kill()
