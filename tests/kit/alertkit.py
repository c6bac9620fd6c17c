"""An Alertmanager on the configuration that ships, a Slack for it, and rules for which a minute is a second."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from rulekit import RULES
from serverkit import ROOT, Server, fetch_json, find, free_ports, wait_until

CONFIG = ROOT / "dashboards" / "alertmanager" / "alertmanager.yaml"

HURRY = 60
"""How many times faster than with the rules that ship things happen: a minute is a second."""


class Slack:
    """Takes what is sent to a webhook of Slack; as a `with` block it listens."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        messages = self.messages

        class Webhook(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                messages.append({"path": self.path, **json.loads(body)})
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: Any) -> None:
                """Nothing on the console."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/services/T000/B000/secret"

    def wait_for(self, title: str) -> dict[str, Any]:
        """The attachment of the first message with this title."""
        return wait_until(lambda: next(iter(self.titled(title)), None), lambda: self.messages)

    def titled(self, title: str) -> list[dict[str, Any]]:
        """The attachments of all messages with this title."""
        attachments = [each for message in list(self.messages) for each in message["attachments"]]
        return [attachment for attachment in attachments if attachment["title"] == title]

    def __enter__(self) -> Slack:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Alertmanager(Server):
    """One on the configuration that ships, but for the address of Slack, and that it waits `hurry` times less."""

    def __init__(self, folder: Path, slack_url: str, hurry: int = 1) -> None:
        (port,) = free_ports(1)
        self.url = f"http://127.0.0.1:{port}"
        self.address = f"127.0.0.1:{port}"
        (folder / "slack_api_url").write_text(slack_url)
        config = hurried_config(folder / "slack_api_url", hurry)
        (folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))
        options = (
            f"--config.file={folder / 'alertmanager.yaml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address={self.address}",
            "--cluster.listen-address=",
        )
        super().__init__([find("alertmanager"), *options], folder, ports=[port])

    def alerts(self) -> list[dict[str, Any]]:
        """What it knows of."""
        return fetch_json(f"{self.url}/api/v2/alerts")

    def inhibited(self) -> list[dict[str, str]]:
        """The labels of alerts that others inhibit."""
        return [alert["labels"] for alert in self.alerts() if alert["status"]["inhibitedBy"]]


def hurried_config(slack_api_url_file: Path, hurry: int) -> dict[str, Any]:
    """The configuration that ships, with another file for the address, and with shorter times."""
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    config["global"]["slack_api_url_file"] = str(slack_api_url_file)
    config["templates"] = [str(CONFIG.with_name(name)) for name in config["templates"]]
    for route in (config["route"], *config["route"]["routes"]):
        for name in ("group_wait", "group_interval"):
            route[name] = f"{max(1000, milliseconds(route[name]) // hurry)}ms"
    return config


def milliseconds(duration: str) -> int:
    """`10s` as 10000."""
    found = re.fullmatch(r"(\d+)([smhd])", duration)
    assert found
    return int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] * 1000


def hurry(rules: str) -> str:
    """Rules for which a minute is a second: their ranges, their offsets, and how long alerts wait."""

    def shorter(found: re.Match[str]) -> str:
        return f"{found[1]}{milliseconds(found[2]) // HURRY}ms{found[3]}"

    changed = re.sub(r"(\[|offset |for: )(\d+[smhd])(\]|\b)", shorter, rules)
    return changed.replace("/ 300\n", f"/ {300 // HURRY}\n")


def write_hurried_rules(folder: Path, thresholds: Mapping[str, float] | None = None) -> list[str]:
    """Copies of the rules that ship, made to hurry; with some thresholds others."""
    copies = []
    for path in sorted(RULES.glob("*.yaml")):
        text = hurry(path.read_text(encoding="utf-8"))
        for name, value in (thresholds or {}).items():
            rule = rf"(record: otelml:threshold:{name}\n(?: +labels: .*\n)? +expr: vector)\(.*\)"
            text = re.sub(rule, rf"\1({value})", text)
        copy = folder / path.name
        copy.write_text(text)
        copies.append(str(copy))
    return copies
