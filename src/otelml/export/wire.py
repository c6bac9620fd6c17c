"""One exporter's way over the network: tries again while that makes sense, and knows what the last answer said.

It stands alone because HTTP and gRPC share it, and because the SDK's exporters give a batch up after ten seconds and
do not say why: a collector that restarts would cost everything that was sent meanwhile.
"""

from __future__ import annotations

import random
import threading
from time import monotonic
from typing import TYPE_CHECKING, TypeVar

from opentelemetry.context import Context, attach, detach

from otelml.instruments import internal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Answer = TypeVar("Answer")

LIMIT_S = 300.0
"""How long a batch is tried: as long as a collector's exporter does by default."""
FIRST_PAUSE_S = 1.0
LAST_PAUSE_S = 5.0
"""Pauses double up to this: so long after an endpoint is back, at most, it gets what waits."""
SPREAD = 0.2
"""Pauses differ by so much, so that the processes of a fleet do not come all at once."""


class UndeliveredError(Exception):
    """One attempt failed, for a reason that is worth a line to the user.

    Args:
        endpoint: the server, without a path: one line is enough for all signals.
        what: the kind of trouble, as it is said after the endpoint.
        detail: more about this case.
        passing: whether a later attempt may succeed.
        cut: whether it may at once: the server may have closed a connection that was kept open.
        after_s: seconds that the server wants to be left alone.
    """

    def __init__(
        self,
        endpoint: str,
        what: str,
        detail: str = "",
        *,
        passing: bool = True,
        cut: bool = False,
        after_s: float = 0.0,
    ) -> None:
        super().__init__(f"{endpoint} {what}{detail and f' ({detail})'}")
        self.kind = f"{endpoint} {what}"
        self.passing = passing
        self.cut = cut
        self.after_s = after_s


class Wire:
    """Sends for one exporter, one request at a time; `hurry` and `last_call` come from other threads.

    Args:
        limit_s: seconds after which a request that could not be delivered is given up.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self.rejected = 0
        """Items that the server did not take, though it took the last request."""
        self.too_large = False
        """Whether the server said so of the last request."""
        self._limit_s = limit_s
        self._awake = threading.Event()
        self._ending = False

    def send(self, attempt: Callable[[], Answer]) -> Answer:
        """What `attempt` returns, once it does.

        Raises the last UndeliveredError when no further attempt makes sense.
        """
        self.forget()
        end_s, pauses, is_first = monotonic() + self._limit_s, _pauses_s(), True
        while True:
            try:
                return attempt()
            except UndeliveredError as problem:
                at_once = problem.cut and is_first
                wait_s = 0.0 if at_once else max(problem.after_s, next(pauses))
                if not at_once:
                    _tell(problem)
                    if self._ending or not problem.passing or monotonic() + wait_s > end_s:
                        raise
            is_first = False
            self._pause(wait_s)

    def forget(self) -> None:
        """Let the next request start anew."""
        self.rejected, self.too_large = 0, False

    def hurry(self) -> None:
        """Have what waits for its next attempt tried now: somebody waits for it."""
        self._awake.set()

    def last_call(self) -> None:
        """From now on an attempt that fails is the last: the process ends."""
        self._ending = True
        self._awake.set()

    def _pause(self, wait_s: float) -> None:
        if self._awake.wait(wait_s) and not self._ending:
            self._awake.clear()


def wire_of(exporter: object) -> Wire:
    """The wire of an exporter that `otelml.export.otlp` made; for another, one that it never sends through."""
    return getattr(exporter, "wire", None) or Wire()


def _pauses_s() -> Iterator[float]:
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s * random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311 - no secret
        pause_s = min(2 * pause_s, LAST_PAUSE_S)


def _tell(problem: UndeliveredError) -> None:
    fate = "waits in queues of fixed size, and what finds no room" if problem.passing else "is lost, and"
    # Within an export nothing that is logged becomes a record; this, said once, shall.
    token = attach(Context())
    try:
        internal.warn_once(
            f"wire:{problem.kind}",
            "otelml: %s; telemetry %s is counted in otelml.internal.dropped",
            problem,
            fate,
        )
    finally:
        detach(token)
