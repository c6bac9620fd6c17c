"""What every test shares: a clean process state before and after."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest

from otelml import settings
from otelml.instruments import internal

if TYPE_CHECKING:
    from collections.abc import Iterator


def clear_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away every OTEL_*, OTELML_* and SENTRY_* variable of the caller's shell."""
    for name in list(os.environ):
        if name.startswith(("OTEL_", "OTELML_", "SENTRY_")):
            monkeypatch.delenv(name)


def reset_modules() -> None:
    """Call `reset()` of every loaded module of ours that keeps process-wide state."""
    for name, module in sorted(sys.modules.items()):
        reset = getattr(module, "reset", None) if name.startswith("otelml.") else None
        if callable(reset) and reset.__module__ == name:
            reset()
    # Once more, and last: another module's reset may have asked for the settings.
    settings.reset()


def stop_machinery() -> None:
    """Detach what a test attached and stop its drain thread, without importing what it did not use."""
    for name, stop in (
        ("logs.bridge", "uninstall"),
        ("instruments.drain", "detach"),
        ("instruments.timer", "stop"),
    ):
        module = sys.modules.get(f"otelml.{name}")
        if module is not None:
            getattr(module, stop)()


@pytest.fixture(autouse=True)
def fresh_process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings, instruments, counts or variables of one test reach another; what production contains, raises."""
    clear_environment(monkeypatch)
    reset_modules()
    monkeypatch.setattr(internal, "raise_errors", True)
    loggers = [logging.getLogger(name) for name in (None, "otelml")]
    before = [(logger, logger.level, list(logger.handlers), logger.propagate) for logger in loggers]
    yield
    stop_machinery()
    reset_modules()
    for logger, level, handlers, propagate in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers
        logger.propagate = propagate
