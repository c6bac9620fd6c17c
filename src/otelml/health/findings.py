"""What is wrong, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong; grave if the program or its telemetry cannot go on with it."""

    reason: str
    is_grave: bool = False
