"""What the plugin asks NVML, as a protocol: the real library and a replayed recording answer it alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

NAMES = {
    1: "uninitialized",
    2: "invalid_argument",
    3: "not_supported",
    4: "no_permission",
    6: "not_found",
    7: "insufficient_size",
    9: "driver_not_loaded",
    10: "timeout",
    12: "library_not_found",
    13: "function_not_found",
    14: "corrupted_inforom",
    15: "gpu_is_lost",
    16: "reset_required",
    17: "operating_system",
    18: "lib_rm_version_mismatch",
    20: "memory",
    21: "no_data",
    23: "insufficient_resources",
    25: "argument_version_mismatch",
    26: "deprecated",
    27: "not_ready",
    28: "gpu_not_found",
    29: "invalid_state",
    999: "unknown",
}
"""NVML's return codes, as `error.type` has them."""

NOT_SUPPORTED = frozenset({2, 3, 13, 25, 26})
"""Codes by which this device, or this driver, says that it will never answer the call."""

NO_PERMISSION, NOT_FOUND, TIMEOUT, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 4, 6, 10, 12, 13

LOST = frozenset({15, 16, 28})
"""Codes that speak of the whole GPU: it has fallen off the bus, or needs a reset."""


class NvmlError(Exception):
    """An answer of NVML that is an error; `code` is its return code."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(self.name)

    @property
    def name(self) -> str:
        """Short and stable: `not_supported`, `gpu_is_lost`, ..., `nvml_<code>` for one not known here."""
        return NAMES.get(self.code, f"nvml_{self.code}")


class Events(Protocol):
    """The XID errors of some GPUs, as they happen."""

    def wait(self, timeout_s: float) -> tuple[str, int] | None:
        """The PCI bus id of a GPU and its XID code; None when nothing happened for so long. May raise NvmlError."""

    def close(self) -> None:
        """Stop listening."""


class Library(Protocol):
    """NVML: handles and samples are opaque, all other values plain numbers, strings, lists and dicts of these.

    Every method may raise NvmlError, and may block for as long as the driver does.
    """

    replayed: bool
    """Whether the answers come from a recording."""

    wraps_at: int | None
    """Where the PCIe byte counters (field values 197 and 198) start again at 0; None if they never do."""

    def begin_walk(self) -> None:
        """All devices are about to be asked once; a recording goes on to its next snapshot."""

    def call(self, name: str, *arguments: Any) -> Any:
        """The answer of the NVML function `name`; for a device's, its handle is the first argument."""

    def field_values(self, handle: Any, ids: Sequence[int]) -> dict[int, float | NvmlError]:
        """Field values by id, each a value or the error of that field alone."""

    def take_sample(self, handle: Any, gpu_instance: int | None = None) -> Any:
        """A GPM sample of a GPU; with `gpu_instance`, of that MIG instance of the GPU `handle`."""

    def compute_metrics(self, earlier: Any, later: Any, ids: Sequence[int]) -> dict[int, float | NvmlError]:
        """GPM metrics by id over the time between two samples, each a value or the error of that metric alone."""

    def free_sample(self, sample: Any) -> None:
        """Give a sample back."""

    def listen(self, handles: Sequence[Any]) -> Events:
        """Start listening to the XID errors of these GPUs."""

    def close(self) -> None:
        """Done with the library."""
