"""Sentry for tests: a reporter whose events go into a list, a server that takes what Sentry takes, and Bugsink."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

from capture import Capture, Received, decompress
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport
from serverkit import PATIENCE_S, Server, find, free_ports

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


class Bugsink(Server):
    """A real server that takes what Sentry's SDKs send, groups it into issues, and has an API; data in `folder`."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.url, self.binary = f"http://127.0.0.1:{port}", find("bugsink")
        # Its control socket would lie in the user's home.
        environ = {"PYTHONPATH": str(folder), "HOME": str(folder)}
        serve = ["gunicorn", f"--bind=127.0.0.1:{port}", "--workers=1", "--threads=4", "bugsink.wsgi"]
        super().__init__([self.binary, *serve], folder, ports=[port], environ=environ)
        self._prepare(port)
        self._token = self._run("bugsink-manage", "create_auth_token").split()[-1]

    def _prepare(self, port: int) -> None:
        """A configuration that runs its tasks at once, without a second process, and a database."""
        self._run("bugsink-create-conf", "--template=local", "--host=127.0.0.1", f"--port={port}")
        with (self.folder / "bugsink_conf.py").open("a") as config:
            config.write('\nBUGSINK["PHONEHOME"] = False\n')
        self._run("bugsink-manage", "migrate")
        self._run("bugsink-manage", "migrate", "snappea", "--database=snappea")

    def create_project(self, name: str) -> str:
        """A project; its DSN."""
        team = self.ask("teams", name=f"team of {name}")
        self.ask("projects", team=team["id"], name=name)
        (dsn,) = [project["dsn"] for project in self.ask("projects")["results"] if project["name"] == name]
        return str(dsn)

    def issues(self) -> list[dict[str, Any]]:
        """The issues of project 1, each with its `events`, oldest first, as they were received."""
        found: list[dict[str, Any]] = self.ask("issues/?project=1")["results"]
        for issue in found:
            events = self.ask(f"events/?issue={issue['id']}&order=asc")["results"]
            issue["events"] = [self.ask(f"events/{event['id']}")["data"] for event in events]
        return found

    def ask(self, what: str, **body: Any) -> Any:
        """What its API answers, to a question or, with a `body`, to an order."""
        request = urllib.request.Request(
            f"{self.url}/api/canonical/0/{what}{'' if '?' in what else '/'}",
            data=json.dumps(body).encode() if body else None,
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
            return json.load(response)

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            [self.binary, *command],
            cwd=self.folder,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def title_of(event: dict[str, Any]) -> str:
    """Its last exception, else its message."""
    if "exception" in event:
        last = event["exception"]["values"][-1]
        return f"{last['type']}: {last['value']}"
    return (
        event["logentry"]["formatted"] if "formatted" in event["logentry"] else event["logentry"]["message"]
    )
