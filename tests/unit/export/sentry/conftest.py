"""A reporter whose events go into a list, and what OpenTelemetry gets beside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sentry_sdk
from opentelemetry import trace
from sentrykit import RESOURCE, Sentry

from otelml import testing
from otelml.export.sentry.error_spans import ErrorSpans
from otelml.export.sentry.limit import RateLimit


@pytest.fixture
def telemetry() -> Iterator[testing.Capture]:
    """What OpenTelemetry gets, in memory, with every span, and what the set-up adds where there is a DSN."""
    with testing.capture() as captured:
        provider: Any = trace.get_tracer_provider()
        provider.add_span_processor(ErrorSpans())
        yield captured


@pytest.fixture
def clean_sentry() -> Iterator[None]:
    """No client and no scopes of one test reach another."""
    yield
    sentry_sdk.get_global_scope().set_client(None)
    for scope in (
        sentry_sdk.get_global_scope(),
        sentry_sdk.get_isolation_scope(),
        sentry_sdk.get_current_scope(),
    ):
        scope.clear()
        scope.set_client(None)


@pytest.fixture
def make_sentry(telemetry: testing.Capture, clean_sentry: None) -> Iterator[Callable[..., Sentry]]:
    """Starts a reporter: variables, resource and limit may be given."""
    made: list[Sentry] = []

    def make(
        environ: dict[str, str] | None = None,
        resource: dict[str, Any] | None = None,
        limit: RateLimit | None = None,
    ) -> Sentry:
        made.append(Sentry(environ or {}, RESOURCE if resource is None else resource, limit))
        return made[-1]

    yield make
    for sentry in made:
        sentry.reporter.stop()


@pytest.fixture
def sentry(make_sentry: Callable[..., Sentry]) -> Sentry:
    """One with nothing set but the DSN."""
    return make_sentry()
