"""The state of a GPU, as OpenTelemetry's `hw.state` has it, from what the driver says: rules without a device.

Each rule takes what NVIDIA's own documents say about a finding: the Xid catalog, "GPU Memory Error Management"
with its recovery actions, and which findings DCGM's health watches fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

State = Literal["ok", "predicted_failure", "degraded", "failed"]

STATES: Final[tuple[State, ...]] = ("ok", "predicted_failure", "degraded", "failed")
"""Values of `hw.state`, the best first: a GPU is in one of them at a time, the worst that something proves."""

# NVML_GPU_RECOVERY_ACTION_*: what the driver wants to be done for the GPU.
_OF_ACTION: Final[dict[int, State]] = {
    0: "ok",
    1: "failed",  # reset the GPU: no work can start on it before
    2: "failed",  # reboot the node: the operating system may be inconsistent
    3: "degraded",  # drain peer-to-peer traffic: a step on the way, after which the driver tells another
    4: "degraded",  # drain and reset: it goes on at a reduced capacity, and what runs is unharmed
    5: "degraded",  # recover the IMEX domain: the memory of other nodes is out of reach, its own is not
    6: "failed",  # reset its PCIe bus
    7: "failed",  # reboot the system
}
# With these the driver says that work goes on; 3 is about to become another.
_GOES_ON: Final = frozenset({0, 4, 5})


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one GPU; None is unknown, which is not the same as good.

    `xid` is the worst severity of the XID errors since start, "ok" when none came, None when nobody listens.
    `ecc_uncorrected` are the volatile errors: those since the driver was loaded or the GPU was reset.
    """

    lost: bool = False
    xid: State | None = None
    ecc_uncorrected: int | None = None
    rows_uncorrected: int | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    recovery_action: int | None = None


def worst(*states: State | None) -> State | None:
    """The worst of the known states; None when none is known."""
    known = [state for state in states if state is not None]
    return max(known, key=STATES.index, default=None)


def state_of(evidence: Evidence) -> State | None:
    """The state that the evidence proves; None when nothing at all is known."""
    return worst(*_judge(evidence))


def _judge(evidence: Evidence) -> Iterator[State | None]:
    # Fallen off the bus, or refusing every call until it is reset: there is no GPU to work with.
    yield "failed" if evidence.lost else None
    yield _judge_action(evidence.recovery_action)
    yield _judge_xid(evidence.xid, evidence.recovery_action)
    # What was in that memory is gone, and one program with it. NVIDIA: contained, reset when convenient.
    yield _either("degraded", evidence.ecc_uncorrected)
    # A spare row is ready, and used after the next reset; until then its page is out of use (DCGM warns).
    yield _either("predicted_failure", evidence.remap_pending)
    # No spare row was left for a bad one: NVIDIA replaces such a GPU (DCGM fails it). Survives a reset.
    yield _either("failed", evidence.remap_failed)
    # Rows replaced in the past are repaired, however many: they tell only that the GPU can be asked.
    yield "ok" if evidence.rows_uncorrected is not None else None


def _either(state: State, found: float | None) -> State | None:
    if found is None:
        return None
    return state if found else "ok"


def _judge_action(action: int | None) -> State | None:
    # A newer driver may ask for something not known here; that it asks means that not all is well.
    return None if action is None else _OF_ACTION.get(action, "degraded")


def _judge_xid(xid: State | None, action: int | None) -> State | None:
    # A code says what usually follows; a driver that was asked knows. NVIDIA on "no action": the GPU can be used
    # again at once by a new process. An error did happen, though, and stays visible for as long as we run.
    return "degraded" if xid == "failed" and action in _GOES_ON else xid
