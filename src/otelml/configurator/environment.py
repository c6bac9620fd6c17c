"""The standard variables as the SDK should see them while it builds: keywords put in, unusable values taken out.

The SDK's exporters, processors and limits read the environment themselves. This is how `configure(...)` reaches all
of them by one way, and why a malformed value is said once, by us, and then is as good as unset.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from otelml.settings import SETTINGS, Settings

# These reach the resource as arguments: there the environment's own attributes must stay beside them.
_NOT_OVERLAID = frozenset({"service_name", "resource_attributes"})

_PROVIDER_VARIABLES = tuple(f"OTEL_PYTHON_{kind}_PROVIDER" for kind in ("TRACER", "METER", "LOGGER"))


def overlay(settings: Settings) -> dict[str, str | None]:
    """Variables to set, or to unset (None), so that the environment says what `settings` says."""
    found: dict[str, str | None] = dict.fromkeys(settings.rejected)
    for setting in SETTINGS:
        given = settings.source(setting.field) == "configure()" and setting.field not in _NOT_OVERLAID
        if setting.is_standard and given:
            found[setting.env] = setting.parse.write(getattr(settings, setting.field))
    return found


def _apply(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@contextmanager
def changed_environment(wanted: Mapping[str, str | None]) -> Iterator[None]:
    """`os.environ` with `wanted` inside the block (None: without the variable); restored after it."""
    before = {name: os.environ.get(name) for name in wanted}
    _apply(wanted)
    try:
        yield
    finally:
        _apply(before)


def standard_environment(settings: Settings) -> AbstractContextManager[None]:
    """`os.environ` with `overlay(settings)` inside the block; restored after it.

    Without the variables that make the API's getters create a provider: exporters call these while they are built.
    """
    return changed_environment({**dict.fromkeys(_PROVIDER_VARIABLES), **overlay(settings)})
