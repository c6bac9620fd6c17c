"""XID codes: the meanings and the states that NVIDIA's catalog gives them."""

from __future__ import annotations

import pytest

from otelml.gpu import xid
from otelml.gpu.status import STATES, State

# "Resolution Bucket (Immediate Action)" of NVIDIA's Xid catalog, read off docs.nvidia.com, without codes that it
# calls unused, those of display, vGPU and DLA, and those whose bucket is empty or depends on the message.
RESTART_APP = (
    8, 11, 13, 25, 31, 32, 39, 40, 41, 60, 68, 69, 70, 71, 72, 75, 76, 77, 80, 82, 83, 84, 85, 86, 88, 89, 94,
    *range(96, 106), *range(126, 136), 139,
)  # fmt: skip
IGNORE = (14, 37, 38, 43, 44, 63, 66, 67, 92, 93, 106, 107, 121, 137, 141, 157)
RESET_GPU = (46, 62, 64, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158)
RESTART = (79, 151)

# Where the state is not what the bucket alone gives; `xid` says why.
OTHERWISE: dict[int, State] = {
    63: "predicted_failure",
    92: "predicted_failure",
    94: "degraded",
    109: "degraded",
    121: "predicted_failure",
    136: "degraded",
    155: "degraded",
    156: "degraded",
    157: "degraded",
}


@pytest.mark.parametrize(
    ("codes", "state"), [(RESTART_APP, "ok"), (IGNORE, "ok"), (RESET_GPU, "failed"), (RESTART, "failed")]
)
def test_the_state_follows_what_nvidia_wants_done(codes: tuple[int, ...], state: State) -> None:
    """Restarting the program is none of the GPU's state, a reset is; nine exceptions are known."""
    assert {code: xid.severity(code) for code in codes} == {
        code: OTHERWISE.get(code, state) for code in codes
    }


@pytest.mark.parametrize(
    ("code", "state", "word"),
    [
        (13, "ok", "exception"),
        (31, "ok", "page fault"),
        (43, "ok", "program"),
        (45, "ok", "removed"),
        (48, "degraded", "double bit"),
        (63, "predicted_failure", "replacement"),
        (64, "failed", "could not be replaced"),
        (74, "degraded", "NVLink"),
        (79, "failed", "fallen off the bus"),
        (92, "predicted_failure", "corrected"),
        (94, "degraded", "contained to one program"),
        (95, "failed", "not contained"),
        (119, "failed", "GSP"),
        (120, "failed", "GSP"),
        (140, "failed", "uncorrectable"),
        (143, "failed", "initialization"),
        (149, "degraded", "NVLink"),
        (154, "ok", "recovery action"),
    ],
)
def test_the_codes_that_operators_know(code: int, state: State, word: str) -> None:
    """Each is told in words and has its state."""
    assert xid.severity(code) == state
    assert word in xid.describe(code)


@pytest.mark.parametrize("code", [0, -1, 1, 49, 999, 2**63])
def test_an_unknown_code_has_no_meaning_and_is_not_good(code: int) -> None:
    """It is neither hidden nor taken for the end of the GPU."""
    assert (xid.describe(code), xid.severity(code)) == ("", "degraded")


def test_every_code_stands_once_and_is_told_shortly() -> None:
    """A code in two tables would have the state of the later; a meaning is a phrase for a log line."""
    codes = [code for _, table in xid._TABLES for code in table]
    assert len(codes) == len(set(codes))
    assert len(codes) > 40
    assert tuple(state for state, _ in xid._TABLES) == STATES
    for code in codes:
        meaning = xid.describe(code)
        assert 5 < len(meaning) < 100
        assert not meaning.endswith(".")
