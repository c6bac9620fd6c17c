"""Errors to Sentry, from programs that have a DSN: what becomes an issue, once, and where and in which run it was.

Stands apart from OpenTelemetry's signals, as Sentry makes no issues of these (docs/sentry.md). Without a DSN nothing
of it is loaded, `sentry_sdk` least of all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal

if TYPE_CHECKING:
    from otelml.export.sentry.reporter import Reporter
    from otelml.settings import Settings


def start(settings: Settings, resource: Mapping[str, Any], *, transport: Any = None) -> Reporter | None:
    """Report errors from now on; None where there is no DSN, or no sentry-sdk, which is said.

    Args:
        settings: those of the process.
        resource: attributes of the resource.
        transport: as for `Reporter`.
    """
    if settings.sentry_dsn is None:
        return None
    try:
        import sentry_sdk  # noqa: F401 - whether it can be
    except ImportError:
        internal.warn_once(
            "sentry:missing",
            "otelml: there is a SENTRY_DSN, but errors cannot be reported without sentry-sdk: "
            "pip install 'otelml[sentry]'",
        )
        return None
    with internal.guard("sentry"):
        from otelml.export.sentry.client import create_options
        from otelml.export.sentry.reporter import Reporter

        reporter = Reporter(create_options(settings, resource), resource, transport=transport)
        reporter.start()
        return reporter
    return None
