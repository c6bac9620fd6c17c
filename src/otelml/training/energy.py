"""Energy of a run and of its epochs, where somebody can measure it: see `context.energy_meter`."""

from __future__ import annotations

from typing import Any

from otelml import context
from otelml.instruments import internal

EPOCH_WAIT_S = 0.25
"""How long the end of an epoch waits for the reading (about 3 ms a GPU)."""
RUN_WAIT_S = 1.0
"""The same for the end of a run."""


def start() -> Any:
    """A meter that runs from now on; None where nobody can measure."""
    meter = None
    with internal.guard("training"):
        if context.energy_meter is not None:
            meter = context.energy_meter()
    return meter


def stop(meter: Any, wait_s: float) -> float | None:
    """The joules since `start`; None where they are not known within `wait_s` seconds."""
    joules: float | None = None
    with internal.guard("training"):
        if meter is not None:
            joules = meter.stop(wait_s)
    return joules
