"""What NVIDIA's XID error codes mean, and what each says about the GPU.

Source: "Analyzing Xid Errors with the Xid Catalog" (docs.nvidia.com/deploy/xid-errors), as of driver R590, in our
own words; for codes that only GPUs before Ampere have, the older table there. The state follows the action that the
catalog wants at once: restart the program or nothing is `ok`, reset the GPU or reboot is `failed`; what differs
from that says why.
"""

from __future__ import annotations

from typing import Final

from otelml.gpu.status import State

# The program's own doing, or over with it: the GPU serves the next one.
_OK: Final = {
    8: "GPU stopped processing: a channel timed out",
    11: "invalid commands in the push buffer",
    13: "graphics engine exception: usually an access out of bounds or an illegal instruction in a kernel",
    14: "error injected for a test",
    25: "illegal commands in the push buffer",
    31: "memory page fault: usually an access to an invalid address in a kernel",
    32: "corrupted commands in the push buffer: often the quality of the PCIe connection",
    37: "firmware error in the driver",
    38: "firmware error in the driver: watchdog timeout",
    43: "channel stopped after an error of the program, which has to end",
    44: "graphics engine fault during a context switch",
    45: "channels removed: the program was ended, or another error came before",
    60: "exception in the SEC2 engine",
    66: "illegal access by the driver",
    67: "illegal access by the driver",
    69: "graphics engine class error: invalid use of the engine",
    80: "corrupted data sent to the GPU",
    86: "exception in the optical flow accelerator",
    93: "InfoROM not written: the wear limit set for it was reached",
    106: "test message",
    107: "test message",
    137: "NVLink access refused by the other GPU: usually an illegal peer-to-peer access in a kernel",
    139: "exception in the optical flow accelerator",
    141: "error in CUDA's fast path",
    # Only tells that the recovery action changed. Which one it is now, the driver answers: see `status`.
    154: "recovery action of the GPU changed",
    162: "power smoothing works again",
    **dict.fromkeys((39, 40, 41, *range(70, 73), *range(75, 78), 85, *range(126, 136)), "copy engine error"),
    **dict.fromkeys((68, 83, 84, 88, 89, 96, 97, 98), "video decoder error"),
    **dict.fromkeys((82, *range(99, 106)), "JPEG decoder error"),
}

# Nothing was lost, but errors are corrected more often than they should be, or a part wears out.
_PREDICTED_FAILURE: Final = {
    63: "memory row or page marked for replacement, done at the next GPU reset",
    92: "high rate of corrected memory errors",
    121: "corrected errors on the C2C link to the CPU, which a GPU reset trains again",
    164: "power smoothing near the end of its life",
}

# The GPU works on, with something missing or in doubt.
_DEGRADED: Final = {
    # A reset clears it, yet on GPUs that contain errors only the programs that met it are harmed.
    48: "uncorrectable memory error (double bit)",
    54: "auxiliary power not connected to the board",
    57: "video memory interface could not be programmed",
    58: "video memory interface unstable",
    61: "internal micro-controller breakpoint or warning",
    # Links: the GPU itself computes, but not with its peers as it should. A reset trains them again.
    74: "NVLink error",
    # The program has to be restarted only, but NVIDIA wants the GPU reset when convenient.
    94: "uncorrectable memory error, contained to one program",
    # The catalog wants a reset; NVIDIA's Kubernetes device plugin calls it the program's error. Hence between.
    109: "context switch timed out",
    125: "InfoROM file system error",
    136: "link training failed",
    # How bad these are stands in a text that NVML does not pass on.
    144: "NVLink error (SAW)",
    145: "NVLink error (RLW)",
    146: "NVLink error (TLW)",
    147: "NVLink error (TREX)",
    148: "NVLink error (NVLPW)",
    149: "NVLink error (NETIR): usually a link that went down",
    150: "NVLink error (MSE)",
    155: "NVLink went down, as software asked",
    156: "faulty part of the GPU taken out of use",
    # Work may go on, says the catalog, and may meet the same again.
    157: "faulty part of the GPU could not be taken out of use",
    163: "power smoothing off",
    165: "power smoothing worn out",
    168: "errors in protected memory: reduced memory capacity",
    # Both come with 48 and tell its place.
    171: "uncorrectable memory error in DRAM",
    172: "uncorrectable memory error in SRAM",
}

# No work before a reset, a reboot or a repair.
_FAILED: Final = {
    46: "GPU stopped processing: it timed out",
    62: "internal micro-controller halted",
    64: "memory row or page could not be replaced",
    79: "GPU has fallen off the bus",
    95: "uncorrectable memory error, not contained: all programs on the GPU are affected",
    110: "security fault",
    119: "GPU system processor (GSP) did not answer in time",
    120: "error in the GPU system processor (GSP)",
    140: "uncorrectable memory error that the driver could not recover from",
    143: "GPU initialization failed",
    151: "key rotation failed: the virtual machine has to be restarted",
    158: "fatal timeout of the GPU",
    167: "fatal timeout on PCIe",
    169: "internal micro-controller (SEC2) halted",
}

_TABLES: Final[tuple[tuple[State, dict[int, str]], ...]] = (
    ("ok", _OK),
    ("predicted_failure", _PREDICTED_FAILURE),
    ("degraded", _DEGRADED),
    ("failed", _FAILED),
)
_MEANINGS: Final = {code: meaning for _, table in _TABLES for code, meaning in table.items()}
_SEVERITIES: Final[dict[int, State]] = {code: state for state, table in _TABLES for code in table}


def describe(code: int) -> str:
    """What the code means, in a few words; empty for one that is not known here."""
    return _MEANINGS.get(code, "")


def severity(code: int) -> State:
    """The state of a GPU after this error, unless something else is known that says worse.

    An unknown code is `degraded`: NVML passes on what it calls critical, so that `ok` would hide it, and NVIDIA has
    several times added codes that need no reset, so that `failed` would take working GPUs out of service.
    """
    return _SEVERITIES.get(code, "degraded")
