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
"""A call that takes longer blocks what is asked after it: its answer counts as none."""

REST_S = 60.0
"""How long a slow call is left alone."""

UNINITIALIZED = 1

Failure = tuple[str, str, str]
"""A call, why it failed (`error.type`), and the `hw.id` of the GPU asked ("" for none)."""

_Key = tuple[str, str, tuple[Any, ...]]

_logger = logging.getLogger("otelml.gpu")


@dataclass(slots=True, eq=False)
class _Asking:
    """A call that has not returned yet."""

    key: _Key
    since_s: float
    told: bool = False


class Boundary:
    """Asks a `Library`; never raises. One thread asks, any thread may count, and look at `failures`."""

    def __init__(self, library: Library, clock: Callable[[], float] = monotonic) -> None:
        self.library = library
        self.lost: set[str] = set()
        """`hw.id` of GPUs that are lost; only `revive` asks them."""
        self.needs_init = False
        """Whether NVML says that it was shut down, by somebody else in this process."""
        self.library_s = 0.0
        """Time spent in the library so far."""
        self._clock = clock
        self._failures: dict[Failure, int] = {}
        self._lock = threading.Lock()
        self._given_up: set[_Key] = set()
        self._resting: dict[_Key, float] = {}
        self._asking: _Asking | None = None

    def ask(self, hw_id: str, name: str, *arguments: Any) -> Any | None:
        """The answer of a call about the GPU `hw_id`, or None."""
        key = (hw_id, name, arguments[1:])
        return self._guarded(key, lambda: self.library.call(name, *arguments))

    def find(self, hw_id: str, name: str, *arguments: Any) -> Any | None:
        """As `ask`, for what may not be there: that is no failure."""
        try:
            return self.library.call(name, *arguments)
        except NvmlError as error:
            if error.code != NOT_FOUND:
                self._take_error((hw_id, name, arguments[1:]), error)
            return None

    def has_given_up(self, hw_id: str, name: str, *arguments: Any) -> bool:
        """Whether this call (arguments without the handle) will not be asked again, as it is not supported."""
        return (hw_id, name, arguments) in self._given_up

    def fields(self, hw_id: str, handle: Any, ids: Sequence[int]) -> dict[int, float]:
        """Field values by id; those that fail are left out."""
        name = "nvmlDeviceGetFieldValues"
        wanted = self._still_asked(hw_id, name, ids)
        if not wanted:
            return {}
        answers = self._guarded((hw_id, name, ()), lambda: self.library.field_values(handle, wanted))
        return self._only_values(hw_id, name, answers)

    def take_sample(self, hw_id: str, handle: Any, gpu_instance: int | None) -> Any | None:
        """A GPM sample, or None."""
        name = "nvmlGpmSampleGet" if gpu_instance is None else "nvmlGpmMigSampleGet"
        return self._guarded((hw_id, name, ()), lambda: self.library.take_sample(handle, gpu_instance))

    def compute_metrics(self, hw_id: str, earlier: Any, later: Any, ids: Sequence[int]) -> dict[int, float]:
        """GPM metrics by id between two samples; those that fail are left out."""
        name = "nvmlGpmMetricsGet"
        wanted = self._still_asked(hw_id, name, ids)
        answers = self._guarded(
            (hw_id, name, ()), lambda: self.library.compute_metrics(earlier, later, wanted)
        )
        return self._only_values(hw_id, name, answers)

    def free_sample(self, hw_id: str, sample: Any) -> None:
        """Give a GPM sample back."""
        self._guarded((hw_id, "nvmlGpmSampleFree", ()), lambda: self.library.free_sample(sample))

    def revive(self, hw_id: str, name: str, *arguments: Any) -> bool:
        """Ask a GPU that is lost one question: whether it is back."""
        self.lost.discard(hw_id)
        self.ask(hw_id, name, *arguments)
        return hw_id not in self.lost

    def failures(self) -> dict[Failure, int]:
        """How many calls failed so far, by what and why."""
        self._notice_blocked()
        with self._lock:
            return dict(self._failures)

    def count(self, call: str, reason: str, hw_id: str = "") -> None:
        """Count a failure."""
        key = (call, reason, hw_id)
        with self._lock:
            self._failures[key] = self._failures.get(key, 0) + 1

    def _still_asked(self, hw_id: str, name: str, ids: Sequence[int]) -> list[int]:
        return [each for each in ids if (hw_id, name, (each,)) not in self._given_up]

    def _guarded(self, key: _Key, ask: Callable[[], Any]) -> Any | None:
        if key in self._given_up or key[0] in self.lost or self._resting.get(key, 0.0) > self._clock():
            return None
        self._asking = asking = _Asking(key, self._clock())
        try:
            answer = ask()
        except NvmlError as error:
            answer = None
            self._take_error(key, error)
        finally:
            self._asking = None
            elapsed_s = self._clock() - asking.since_s
            self.library_s += elapsed_s
        if elapsed_s <= SLOW_S:
            return answer
        self._resting[key] = self._clock() + REST_S
        self._tell_slow(asking)
        return None

    def _notice_blocked(self) -> None:
        """Count the call that has not returned for long, from another thread than the one that waits for it."""
        asking = self._asking
        if asking is not None and self._clock() - asking.since_s > SLOW_S:
            self._tell_slow(asking)

    def _tell_slow(self, asking: _Asking) -> None:
        with self._lock:
            was_told, asking.told = asking.told, True
        if was_told:
            return
        hw_id, name, _ = asking.key
        self.count(name, "timeout", hw_id)
        internal.warn_once(
            f"gpu:slow:{name}",
            "otelml: NVML's %s takes longer than %g s; its values are left out, and it is asked every %g s at most",
            name,
            SLOW_S,
            REST_S,
        )

    def _take_error(self, key: _Key, error: NvmlError) -> None:
        hw_id, name, arguments = key
        if error.code in NOT_SUPPORTED:
            self._given_up.add(key)
            _logger.debug("otelml: %s%r is not supported by %s", name, arguments, hw_id)
            return
        if error.code == NO_PERMISSION:
            self._given_up.add(key)
        if error.code in LOST and hw_id:
            self.lost.add(hw_id)
        self.needs_init |= error.code == UNINITIALIZED
        self.count(name, error.name, hw_id)
        internal.warn_once(
            f"gpu:{name}:{error.name}",
            "otelml: NVML's %s failed with %s for %s; its values are left out, and more failures are only counted, "
            "in ml.gpu.collect.errors",
            name,
            error.name,
            hw_id or "this machine",
        )

    def _only_values(
        self, hw_id: str, name: str, answers: Mapping[int, float | NvmlError] | None
    ) -> dict[int, float]:
        values = {}
        for each, answer in (answers or {}).items():
            if isinstance(answer, NvmlError):
                self._take_error((hw_id, name, (each,)), answer)
            else:
                values[each] = answer
        return values
