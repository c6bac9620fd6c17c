"""opentelemetry-instrumentation-system-metrics as it is in a fresh process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor

from otelml.instruments import timer


@pytest.fixture
def upstream(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Any]]:
    """Its class, of which there is no instance yet and will be none after the test."""
    monkeypatch.setattr(SystemMetricsInstrumentor, "_instance", None)
    monkeypatch.setattr(timer, "fork_hooks", list(timer.fork_hooks))
    yield SystemMetricsInstrumentor
    instance = SystemMetricsInstrumentor._instance
    if instance is not None and instance.is_instrumented_by_opentelemetry:
        instance.uninstrument()
