"""The one boundary around NVML: a question is answered, or the answer is absent and the failure counted.

What a device does not support is asked once; what takes seconds is left alone for a while; a GPU that is lost is left
alone until it answers again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

from otelml.gpu.library import LOST, NO_PERMISSION, NOT_FOUND, NOT_SUPPORTED, Library, NvmlError
from otelml.instruments import internal

SLOW_S = 1.0
"""A call that takes longer holds up what is asked after it."""

REST_S = 60.0
"""How long a slow call is left alone, and the whole GPU if a second one of the same walk is slow."""

UNINITIALIZED = 1

Failure = tuple[str, str, str]
"""A call, why it failed (`error.type`), and whom it was about (`hw.id`, or another name where that is not known)."""

_Key = tuple[str, str, tuple[Any, ...]]

_logger = logging.getLogger("otelml.gpu")


@dataclass(slots=True, eq=False)
class Asking:
    """A call that has not returned yet."""

    key: _Key
    since_s: float
    told: bool = False


class Boundary:
    """Asks a `Library`; never raises. One thread asks, any thread may count, and look at `failures`.

    Whom a call is about stands first: the `hw.id` of a device, or another name that is not left alone when it is slow.
    """

    def __init__(self, library: Library, clock: Callable[[], float] = monotonic) -> None:
        self.library = library
        self.lost: set[str] = set()
        """`hw.id` of GPUs that are lost; only `revive` asks them."""
        self.answering: set[str] = set()
        """Who has answered something since the walk began."""
        self.needs_init = False
        """Whether NVML says that it was shut down, by somebody else in this process."""
        self.is_stale = False
        """Whether a device no longer knows a call that it once answered: handles may be those of yesterday."""
        self.library_s = 0.0
        """Time spent in the library so far."""
        self._clock = clock
        self._failures: dict[Failure, int] = {}
        self._lock = threading.Lock()
        self._given_up: set[_Key] = set()
        self._answered: set[_Key] = set()
        self._resting: dict[_Key | str, float] = {}
        self._slow: dict[str, int] = {}
        self._asking: Asking | None = None

    def begin_walk(self) -> None:
        """All devices are about to be asked once."""
        self.answering.clear()
        self._slow.clear()
        self._guarded(("", "begin_walk", ()), self.library.begin_walk)

    def ask(self, whom: str, name: str, *arguments: Any) -> Any | None:
        """The answer of a call about a device, or None."""
        key = (whom, name, arguments[1:])
        return self._guarded(key, lambda: self.library.call(name, *arguments))

    def find(self, whom: str, name: str, *arguments: Any) -> Any | None:
        """As `ask`, for what may not be there: that is no failure."""
        key = (whom, name, arguments[1:])
        return self._guarded(key, lambda: self.library.call(name, *arguments), expected=NOT_FOUND)

    def has_given_up(self, whom: str, name: str, *arguments: Any) -> bool:
        """Whether this call (arguments without the handle) will not be asked again, as it is not supported."""
        return (whom, name, arguments) in self._given_up

    def fields(self, whom: str, handle: Any, ids: Sequence[int]) -> dict[int, float]:
        """Field values by id; those that fail are left out."""
        name = "nvmlDeviceGetFieldValues"
        wanted = self._still_asked(whom, name, ids)
        if not wanted:
            return {}
        answers = self._guarded((whom, name, ()), lambda: self.library.field_values(handle, wanted))
        return self._only_values(whom, name, answers)

    def take_sample(self, whom: str, handle: Any, gpu_instance: int | None) -> Any | None:
        """A GPM sample, or None."""
        name = "nvmlGpmSampleGet" if gpu_instance is None else "nvmlGpmMigSampleGet"
        return self._guarded((whom, name, ()), lambda: self.library.take_sample(handle, gpu_instance))

    def compute_metrics(self, whom: str, earlier: Any, later: Any, ids: Sequence[int]) -> dict[int, float]:
        """GPM metrics by id between two samples; those that fail are left out."""
        name = "nvmlGpmMetricsGet"
        wanted = self._still_asked(whom, name, ids)
        answers = self._guarded(
            (whom, name, ()), lambda: self.library.compute_metrics(earlier, later, wanted)
        )
        return self._only_values(whom, name, answers)

    def free_sample(self, whom: str, sample: Any) -> None:
        """Give a GPM sample back, of a lost GPU too."""
        self._guarded(
            (f"sample of {whom}", "nvmlGpmSampleFree", ()), lambda: self.library.free_sample(sample)
        )

    def revive(self, whom: str, name: str, *arguments: Any) -> bool:
        """Ask a GPU that is lost one question: whether it is back."""
        self.lost.discard(whom)
        self.ask(whom, name, *arguments)
        return whom not in self.lost

    def failures(self) -> dict[Failure, int]:
        """How many calls failed so far, by what and why."""
        asking = self._asking
        if asking is not None and self._clock() - asking.since_s > SLOW_S:
            self._tell_slow(asking)
        with self._lock:
            return dict(self._failures)

    def count(self, call: str, reason: str, whom: str = "") -> None:
        """Count a failure."""
        key = (call, reason, whom)
        with self._lock:
            self._failures[key] = self._failures.get(key, 0) + 1

    def _still_asked(self, whom: str, name: str, ids: Sequence[int]) -> list[int]:
        return [each for each in ids if (whom, name, (each,)) not in self._given_up]

    def _is_left_alone(self, key: _Key) -> bool:
        if key in self._given_up or key[0] in self.lost:
            return True
        now_s = self._clock()
        return self._resting.get(key, 0.0) > now_s or self._resting.get(key[0], 0.0) > now_s

    def _guarded(self, key: _Key, ask: Callable[[], Any], expected: int | None = None) -> Any | None:
        if self._is_left_alone(key):
            return None
        answer = None
        self._asking = asking = Asking(key, self._clock())
        try:
            answer = ask()
            self._answered.add(key)
            self.answering.add(key[0])
        except NvmlError as error:
            if error.code != expected:
                self._take_error(key, error)
        except Exception as error:  # noqa: BLE001 - whatever a library of another version makes of its answers
            self._fail(key, type(error).__name__)
        finally:
            self._asking = None
            elapsed_s = self._clock() - asking.since_s
            self.library_s += elapsed_s
        if elapsed_s > SLOW_S:
            self._tell_slow(asking)
            self._rest(key)
        return answer

    def _rest(self, key: _Key) -> None:
        """Leave alone for a while what was slow."""
        whom, name, _ = key
        if not whom.startswith(("GPU-", "MIG-")):
            return
        until_s = self._clock() + REST_S
        self._resting[key] = until_s
        self._slow[whom] = self._slow.get(whom, 0) + 1
        if self._slow[whom] > 1:
            self._resting[whom] = until_s
            internal.warn_once(
                f"gpu:slow:{whom}",
                "otelml: %s answers slowly, last %s; it is asked at most every %g s, and absent meanwhile",
                whom,
                name,
                REST_S,
            )

    def _tell_slow(self, asking: Asking) -> None:
        with self._lock:
            was_told, asking.told = asking.told, True
        if not was_told:
            whom, name, _ = asking.key
            self.count(name, "timeout", whom)
            internal.warn_once(
                f"gpu:slow:{name}",
                "otelml: NVML's %s took longer than %g s for %s; where it does, it is asked every %g s at most",
                name,
                SLOW_S,
                whom or "this machine",
                REST_S,
            )

    def _take_error(self, key: _Key, error: NvmlError) -> None:
        whom, name, arguments = key
        if error.code in NOT_SUPPORTED and key not in self._answered:
            self._given_up.add(key)
            _logger.debug("otelml: %s%r is not supported by %s", name, arguments, whom)
            return
        if error.code in NOT_SUPPORTED:
            self.is_stale = True
        if error.code == NO_PERMISSION:
            self._given_up.add(key)
        if error.code in LOST and whom:
            self.lost.add(whom)
        self.needs_init |= error.code == UNINITIALIZED
        self._fail(key, error.name)

    def _fail(self, key: _Key, reason: str) -> None:
        whom, name, _ = key
        self.count(name, reason, whom)
        # One cause may fail every call: that is said once.
        cause = "uninitialized" if reason == "uninitialized" else f"{name}:{reason}"
        internal.warn_once(
            f"gpu:{cause}",
            "otelml: NVML's %s failed with %s for %s; its values are left out, and more failures are only counted, "
            "in ml.gpu.collect.errors",
            name,
            reason,
            whom or "this machine",
        )

    def _only_values(
        self, whom: str, name: str, answers: Mapping[int, float | NvmlError] | None
    ) -> dict[int, float]:
        values = {}
        for each, answer in (answers or {}).items():
            if isinstance(answer, NvmlError):
                self._take_error((whom, name, (each,)), answer)
            else:
                self._answered.add((whom, name, (each,)))
                values[each] = answer
        return values
