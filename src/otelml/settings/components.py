"""Components that installed packages offer by name: exporters, samplers, propagators, detectors.

It stands alone because both the check of a setting and the building of what it names look them up here.
"""

from __future__ import annotations

import importlib.metadata
from functools import cache
from typing import Any


@cache
def _entry_points() -> Any:  # the class differs before Python 3.12
    # Scanning all installed packages takes 10 to 30 ms: once a process, and only when something is named.
    return importlib.metadata.entry_points()


def installed(group: str) -> frozenset[str]:
    """The names on offer in an entry point group."""
    return frozenset(_entry_points().select(group=group).names)


def entry_points_of(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    """The entry points of a group, in the order of installation."""
    return tuple(_entry_points().select(group=group))


def load(group: str, name: str) -> Any:
    """Import what `name` stands for.

    Raises LookupError when nothing of that name is installed, and whatever its import raises.
    """
    found = next(iter(_entry_points().select(group=group, name=name)), None)
    if found is None:
        raise LookupError(f"no {name!r} is installed in {group}")
    return found.load()
