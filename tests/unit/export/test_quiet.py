"""What the SDK's exporters may still say."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from otelml.export import quiet

NAME = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    """The filter is on, and off again after the test."""
    quiet.install()
    yield
    quiet.uninstall()


def test_retries_are_silent_and_the_first_error_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """One line a signal tells the reason; the rest is counted elsewhere."""
    for _ in range(3):
        logging.getLogger(NAME).warning("Transient error, retrying")
        logging.getLogger(NAME).error("Failed to export")
    assert [record.message for record in caplog.records] == ["Failed to export"]


def test_who_debugs_the_exporter_sees_everything(caplog: pytest.LogCaptureFixture) -> None:
    """With the logger at DEBUG nothing is held back."""
    with caplog.at_level(logging.DEBUG, NAME):
        for _ in range(2):
            logging.getLogger(NAME).warning("Transient error, retrying")
    assert len(caplog.records) == 2


def test_uninstalling_leaves_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    """The loggers are as the SDK made them, and what was said is forgotten."""
    logging.getLogger(NAME).error("once")
    quiet.uninstall()
    for _ in range(2):
        logging.getLogger(NAME).error("again")
    quiet.install()
    logging.getLogger(NAME).error("anew")
    assert [record.message for record in caplog.records] == ["once", "again", "again", "anew"]
