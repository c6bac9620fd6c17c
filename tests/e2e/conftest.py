"""What tests with a collector share: one on our layers, and a server that keeps what it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from capture import Capture
from otlpkit import LayeredCollector, Start


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts collectors on layers, each in a folder of its own, and stops them at the end."""
    running: list[LayeredCollector] = []

    def start_one(*names: str | Path, capture: Capture | None = None, **environ: str) -> LayeredCollector:
        folder = tmp_path_factory.mktemp("collector")
        collector = LayeredCollector(folder, *names, capture=capture, environ=environ)
        running.append(collector)
        collector.start()
        return collector

    yield start_one
    for collector in running:
        collector.stop()


@pytest.fixture
def capture() -> Iterator[Capture]:
    """A server that keeps what it is sent."""
    with Capture() as server:
        yield server
