"""The state of a GPU: every rule alone, and what happens where several speak."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otelml.gpu.status import STATES, Evidence, State, state_of, worst
from otelml.semconv._generated import ATTRIBUTES, HW_STATE

GOOD = Evidence(
    xid="ok",
    ecc_uncorrected=0,
    rows_uncorrected=0,
    remap_pending=False,
    remap_failed=False,
    recovery_action=0,
)
SEVERITIES: tuple[State | None, ...] = (None, *STATES)

evidences = st.builds(
    Evidence,
    lost=st.booleans(),
    xid=st.sampled_from(SEVERITIES),
    ecc_uncorrected=st.none() | st.integers(0, 3),
    rows_uncorrected=st.none() | st.integers(0, 3),
    remap_pending=st.none() | st.booleans(),
    remap_failed=st.none() | st.booleans(),
    recovery_action=st.none() | st.integers(0, 9),
)


def test_the_states_are_those_of_the_registry() -> None:
    """`hw.state` has these four members, and no other."""
    assert set(STATES) == set(ATTRIBUTES[HW_STATE].members)


def test_nothing_known_is_no_state() -> None:
    """A GPU that was not lost and of which nothing is known is not called good."""
    assert state_of(Evidence()) is None


@pytest.mark.parametrize(
    ("known", "state"),
    [
        ({"lost": True}, "failed"),
        ({"xid": "ok"}, "ok"),
        ({"xid": "predicted_failure"}, "predicted_failure"),
        ({"xid": "degraded"}, "degraded"),
        ({"xid": "failed"}, "failed"),
        ({"ecc_uncorrected": 0}, "ok"),
        ({"ecc_uncorrected": 1}, "degraded"),
        ({"rows_uncorrected": 0}, "ok"),
        ({"rows_uncorrected": 12}, "ok"),
        ({"remap_pending": False}, "ok"),
        ({"remap_pending": True}, "predicted_failure"),
        ({"remap_failed": False}, "ok"),
        ({"remap_failed": True}, "failed"),
        ({"recovery_action": 0}, "ok"),
        ({"recovery_action": 1}, "failed"),
        ({"recovery_action": 2}, "failed"),
        ({"recovery_action": 3}, "degraded"),
        ({"recovery_action": 4}, "degraded"),
        ({"recovery_action": 5}, "degraded"),
        ({"recovery_action": 6}, "failed"),
        ({"recovery_action": 7}, "failed"),
        ({"recovery_action": 99}, "degraded"),
    ],
)
def test_each_finding_alone(known: dict[str, object], state: State) -> None:
    """One thing known decides, and good values of the rest do not change it."""
    assert state_of(Evidence(**known)) == state
    assert state_of(dataclasses.replace(GOOD, **{"recovery_action": None, **known})) == state


@pytest.mark.parametrize(
    ("known", "state"),
    [
        ({}, "ok"),
        ({"remap_pending": True, "ecc_uncorrected": 1}, "degraded"),
        ({"remap_pending": True, "recovery_action": 1}, "failed"),
        ({"xid": "predicted_failure", "ecc_uncorrected": 2, "recovery_action": 4}, "degraded"),
        ({"lost": True, "recovery_action": None}, "failed"),
    ],
)
def test_the_worst_finding_decides(known: dict[str, object], state: State) -> None:
    """A pending row does not hide that the GPU wants a reset."""
    assert state_of(dataclasses.replace(GOOD, **known)) == state


@pytest.mark.parametrize(
    ("action", "state"),
    [
        (None, "failed"),
        (0, "degraded"),
        (1, "failed"),
        (3, "failed"),
        (4, "degraded"),
        (5, "degraded"),
        (8, "failed"),
    ],
)
def test_a_driver_that_says_that_work_goes_on_softens_an_xid(action: int | None, state: State) -> None:
    """The code usually takes a reset; where the driver says that the GPU can be used, it has not failed."""
    assert state_of(Evidence(xid="failed", recovery_action=action)) == state


def test_a_lost_gpu_stays_failed_whatever_was_read_before() -> None:
    """The last answers of a GPU that fell off the bus may all have been good."""
    assert state_of(dataclasses.replace(GOOD, lost=True)) == "failed"


@pytest.mark.parametrize(
    ("states", "found"),
    [
        ((), None),
        ((None, None), None),
        ((None, "ok"), "ok"),
        (("ok", "degraded", "predicted_failure"), "degraded"),
        (("failed", None, "ok"), "failed"),
    ],
)
def test_the_worst_of_several_states(states: tuple[State | None, ...], found: State | None) -> None:
    """Unknown ones do not count; none known is none."""
    assert worst(*states) == found


@given(evidences)
def test_a_state_is_known_exactly_where_something_is(evidence: Evidence) -> None:
    """Only a GPU that answers and tells nothing has none."""
    assert (state_of(evidence) is None) == (evidence == Evidence())


@given(evidences, st.sampled_from([field.name for field in dataclasses.fields(Evidence)]))
def test_bad_news_never_makes_it_better(evidence: Evidence, name: str) -> None:
    """The worst value of any field leaves the state as it is, or makes it worse."""
    bad = {
        "lost": True,
        "xid": "failed",
        "ecc_uncorrected": 9,
        "rows_uncorrected": 9,
        "remap_pending": True,
        "remap_failed": True,
        "recovery_action": 2,
    }
    before, after = state_of(evidence), state_of(dataclasses.replace(evidence, **{name: bad[name]}))
    assert worst(before, after) == after
