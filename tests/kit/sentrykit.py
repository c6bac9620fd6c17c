"""A Sentry reporter whose events go into a list, and a server that takes what Sentry takes."""

from __future__ import annotations

from typing import Any

from capture import Capture, Received, decompress
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from otelml.export.sentry.client import create_options
from otelml.export.sentry.limit import RateLimit
from otelml.export.sentry.reporter import Reporter
from otelml.settings import load

DSN = "https://key@sentry.example.org/3"
RESOURCE = {
    "service.name": "train",
    "service.version": "1.2.0",
    "host.name": "node1",
    "ml.run.id": "run-1",
    "ml.distributed.rank": 2,
}


class ListTransport(Transport):
    """Keeps what it is given to send."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []

    def capture_envelope(self, envelope: Any) -> None:
        """Keep the events of an envelope."""
        self.events += [item.payload.json for item in envelope.items]


class Sentry:
    """A reporter that is started, and what it has sent."""

    def __init__(
        self, environ: dict[str, str], resource: dict[str, Any], limit: RateLimit | None = None
    ) -> None:
        self.transport = ListTransport()
        options = create_options(load({"SENTRY_DSN": DSN, **environ}), resource)
        self.reporter = Reporter(options, resource, transport=self.transport, limit=limit)
        self.reporter.start()

    @property
    def events(self) -> list[dict[str, Any]]:
        """What was sent so far."""
        return self.transport.events

    @property
    def event(self) -> dict[str, Any]:
        """The one event that was sent."""
        (event,) = self.events
        return event

    @property
    def titles(self) -> list[str]:
        """What each event is about, in few words."""
        return [title_of(event) for event in self.events]


class SentryCapture(Capture):
    """A `Capture` that also takes error events, as Sentry's endpoint for envelopes does: signal `errors`."""

    @property
    def dsn(self) -> str:
        """The DSN of its project 1."""
        return self.url.replace("//", "//public-key@") + "/1"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The error events that it took with a good answer."""
        return [
            event for received in self.of("errors") if received.status < 300 for event in received.message
        ]

    @property
    def titles(self) -> list[str]:
        """What each of these is about."""
        return [title_of(event) for event in self.events]

    def take(self, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """Keep the events of an envelope; other requests are OTLP."""
        if not path.endswith("/envelope/"):
            return super().take(path, headers, body)
        envelope = Envelope.deserialize(decompress(headers, body))
        events = [item.payload.json for item in envelope.items if item.type == "event"]
        return self.answer(Received(path, headers, "errors", events, self.status)), b"{}"


def title_of(event: dict[str, Any]) -> str:
    """Its last exception, else its message."""
    if "exception" in event:
        last = event["exception"]["values"][-1]
        return f"{last['type']}: {last['value']}"
    return (
        event["logentry"]["formatted"] if "formatted" in event["logentry"] else event["logentry"]["message"]
    )
