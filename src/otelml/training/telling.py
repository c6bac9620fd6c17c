"""Writes the events of a run: with the run's own id, and the place in the program that they come from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

# Frames that are passed over: the training's own, and those of the thread that reads what lives on a device.
_OURS = ("otelml.training", "otelml.instruments", "otelml.context")


def tell(event: Callable[..., None], run: Mapping[str, Any], *, message: str, **fields: Any) -> None:
    """Write `event` (a function of `otelml.events`) with `fields`, and with what `run` says of the run."""
    event(message=message, stacklevel=_level_of_caller(), **fields, **run)


def _level_of_caller() -> int:
    """`stacklevel` of the first frame outside: 1 is that of `tell`."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - how `logging` finds the caller too
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith(_OURS):
        level, frame = level + 1, frame.f_back
    return level
