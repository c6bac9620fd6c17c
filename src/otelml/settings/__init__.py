"""Settings: one table of environment variables, read strictly by `configure()` and leniently elsewhere.

Names of OpenTelemetry's own variables must not be defined here: `opentelemetry-instrument` would take
them for options of its own command line.
"""

from __future__ import annotations

from otelml.settings.loading import (
    PROGRAM_VARIABLES,
    Problem,
    SettingsError,
    change_hooks,
    current,
    examine,
    find_unknown,
    load,
    load_lenient,
    reset,
    set_current,
)
from otelml.settings.table import SETTINGS, SIGNALS, Setting, Settings

__all__ = [
    "PROGRAM_VARIABLES",
    "SETTINGS",
    "SIGNALS",
    "Problem",
    "Setting",
    "Settings",
    "SettingsError",
    "change_hooks",
    "current",
    "examine",
    "find_unknown",
    "load",
    "load_lenient",
    "reset",
    "set_current",
]
