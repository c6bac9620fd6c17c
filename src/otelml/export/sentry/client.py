"""Sentry's client as this distribution sets it up: nothing patched, nothing collected unasked, every event counted.

`sentry_sdk` is imported in these functions alone, so only where there is a DSN.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from opentelemetry import context

from otelml.export.delivery import Ledger
from otelml.export.sentry.privacy import mask_event
from otelml.instruments import internal
from otelml.logs import bridge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from otelml.settings import Settings

COMPONENT = "sentry"
QUEUE_SIZE = 100
"""Events that wait at most, as in Sentry's own SDK."""
_NOISY = ("urllib3.connectionpool", "urllib3.connection", "urllib3.util.retry")


def create_options(settings: Settings, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `sentry_sdk.init`, but for the transport; `attributes` are the resource's.

    `send_default_pii` stays unset, which is off: newer versions warn where it is given.
    """
    return {
        "dsn": str(settings.sentry_dsn),
        "environment": settings.sentry_environment or _read_environment(attributes),
        # An empty one keeps the SDK from starting git to find one; it is taken out of the event again.
        "release": settings.sentry_release or _read_release(attributes) or "",
        "server_name": attributes.get("host.name"),
        "default_integrations": False,
        "auto_enabling_integrations": False,
        "auto_session_tracking": False,
        "include_local_variables": False,  # tensors and data, and `repr` of either may take seconds
        "max_request_body_size": "never",
        "send_client_reports": False,  # what is lost is in otelml.internal.dropped
        "enable_backpressure_handling": False,
        "transport_queue_size": QUEUE_SIZE,
        "in_app_exclude": ["otelml"],
        "before_send": _before_send,
    }


def _read_environment(attributes: Mapping[str, Any]) -> str | None:
    found = attributes.get("deployment.environment.name") or attributes.get("deployment.environment")
    return None if found is None else str(found)


def _read_release(attributes: Mapping[str, Any]) -> str | None:
    found = attributes.get("service.version") or attributes.get("vcs.ref.head.revision")
    return None if found is None else str(found)


def _before_send(event: dict[str, Any], hint: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - Sentry's signature
    if not event.get("release"):
        event.pop("release", None)
    return mask_event(event)


def create_ledger() -> Ledger:
    """Counts what becomes of the events."""
    return Ledger("errors", "sentry", QUEUE_SIZE, COMPONENT)


def create_transport_class(ledger: Ledger) -> type:
    """Sentry's HTTP transport that enters into `ledger` what becomes of each event, and sends without a word."""
    from sentry_sdk.transport import HttpTransport

    class CountingTransport(HttpTransport):
        def __init__(self, options: dict[str, Any]) -> None:
            super().__init__(options)
            self._failed = False
            # Imports a codec, as every look-up of a host name does: if the thread that sends did so while the program
            # forks, the child's would wait for the lock of that import for ever.
            "localhost".encode("idna")
            self._worker.start()  # at exit, when the first error may come, no thread can be started any more

        def capture_envelope(self, envelope: Any) -> None:
            if ledger.admit():
                super().capture_envelope(envelope)

        def _send_envelope(self, envelope: Any) -> None:
            ledger.hand_over(1)
            self._failed, lost = False, 1
            token = context.attach(context.set_value(bridge.EXPORTING, True))
            try:
                super()._send_envelope(envelope)
                lost = int(self._failed)
            finally:
                context.detach(token)
                ledger.settle(1, lost=lost)

        def on_dropped_event(self, reason: str) -> None:
            self._failed = True
            internal.warn_once(
                f"sentry:{reason}",
                "otelml: an error was not delivered to Sentry (%s); further ones are counted in "
                "otelml.internal.dropped",
                reason,
            )

    return CountingTransport


class Unheard(logging.Filter):
    """Keeps what the HTTP library says of its retries for us off the program's console: the ledger knows."""

    def filter(self, record: logging.LogRecord) -> bool:  # noqa: ARG002 - who logs decides, not what
        """Whether the record may be seen."""
        return not context.get_value(bridge.EXPORTING)


_unheard = Unheard()


def hush() -> None:
    """Put the filter on the loggers, for good: what is being sent when reporting ends is sent to its end."""
    for name in _NOISY:
        logging.getLogger(name).addFilter(_unheard)
