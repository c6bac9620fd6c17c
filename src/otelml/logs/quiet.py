"""Which libraries are too talkative below some level, unless their loggers were given a level of their own.

Alone because two things ask: `setup_logging`, which raises those loggers, and the bridge, which only leaves their
records out and touches nobody's logging configuration.
"""

from __future__ import annotations

import logging

from otelml import settings


def quiet_floors(level: int | None = None) -> dict[str, int]:
    """Level from which records pass, by library (`OTELML_QUIET_LOGGERS`); `level` puts one for all of them."""
    return {
        name: logging.getLevelName(own) if level is None else level
        for name, own in settings.current().quiet_loggers
    }


def floor_of(name: str, floors: dict[str, int]) -> int:
    """The level for logger `name`: that of the nearest logger above it, or itself, in `floors`; else 0."""
    while name:
        if name in floors:
            return floors[name]
        name = name.rpartition(".")[0]
    return logging.NOTSET
