"""The telemetry's own state: settings, where each signal goes, whether that can be reached, who set the providers."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from otelml import settings
from otelml.configurator.decision import (
    DEFAULT_PORTS,
    DEFAULT_PROTOCOL,
    decide,
    find_port_mistake,
    otlp_endpoint,
    otlp_protocol,
)
from otelml.health import libraries
from otelml.health.findings import Finding
from otelml.settings import Settings
from otelml.settings.parsers import FILES_EXPORTER


def survey(
    findings: list[Finding], found: Settings, environ: Mapping[str, str], *, timeout_s: float
) -> dict[str, Any]:
    """`settings`, `signals` and `sentry` (where to, and whether that can be reached), `files`, `providers`."""
    _, problems = settings.examine(environ)
    unknown = settings.find_unknown(environ)
    findings += [Finding(str(problem)) for problem in problems]
    findings += [Finding(sentence) for sentence in unknown]
    return {
        "disabled": found.sdk_disabled,
        "settings": {
            row.env: row.show_value(getattr(found, row.field))
            for row in settings.SETTINGS
            if found.source(row.field) != "default"
        },
        "problems": [str(problem) for problem in problems],
        "unknown": unknown,
        "signals": {} if found.sdk_disabled else _survey_signals(findings, found, timeout_s),
        "sentry": None if found.sdk_disabled else _survey_sentry(findings, found, timeout_s),
        "files": _survey_files(findings, found),
        "providers": survey_providers(),
    }


def _survey_signals(findings: list[Finding], found: Settings, timeout_s: float) -> dict[str, Any]:
    mistake = find_port_mistake(found)
    if mistake is not None:
        findings.append(Finding(mistake))
    reached: dict[str, bool | None] = {}
    signals = {}
    for decision in decide(found).values():
        entry: dict[str, Any] = {"exporters": list(decision.exporters), "decided_by": decision.rule}
        if "otlp" in decision.exporters:
            endpoint = otlp_endpoint(found, decision.signal)
            if endpoint not in reached:
                reached[endpoint] = _reach(
                    findings, endpoint, otlp_protocol(found, decision.signal), timeout_s
                )
            entry |= {"endpoint": endpoint, "reachable": reached[endpoint]}
        signals[decision.signal] = entry
    return signals


def _survey_sentry(findings: list[Finding], found: Settings, timeout_s: float) -> dict[str, Any] | None:
    """The project that errors go to; None where there is no DSN."""
    dsn = found.sentry_dsn
    if dsn is None:
        return None
    installed = libraries.is_installed("sentry_sdk")
    if not installed:
        findings.append(
            Finding("errors cannot be reported to Sentry without sentry-sdk: pip install 'otelml[sentry]'")
        )
    return {
        "project": dsn.shown,
        "installed": installed,
        "reachable": _reach(findings, dsn.origin, DEFAULT_PROTOCOL, timeout_s),
    }


def _reach(findings: list[Finding], endpoint: str, protocol: str, timeout_s: float) -> bool | None:
    """Whether somebody listens there; None when that was not asked, or cannot be told."""
    parts = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    if not timeout_s or parts.hostname is None or parts.scheme == "unix":
        return None
    port = parts.port or (
        443 if parts.scheme == "https" else DEFAULT_PORTS[protocol] if not parts.scheme else 80
    )
    try:
        socket.create_connection((parts.hostname, port), timeout_s).close()
    except (OSError, ValueError) as error:  # a name that is none raises UnicodeError
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        findings.append(Finding(f"{endpoint} cannot be reached: {reason}"))
        return False
    return True


def _survey_files(findings: list[Finding], found: Settings) -> dict[str, Any]:
    folder = Path(found.telemetry_dir)
    wanted = any(FILES_EXPORTER in decision.exporters for decision in decide(found).values())
    writable = _is_writable(folder)
    if wanted and not writable and not found.sdk_disabled:
        findings.append(Finding(f"files cannot be written to {folder}", is_grave=True))
    return {"folder": str(folder), "used": wanted, "writable": writable}


def _is_writable(folder: Path) -> bool:
    """Whether the folder can be written to, or be made."""
    try:
        place = folder.absolute()
        while not place.exists():
            place = place.parent
        return place.is_dir() and os.access(place, os.W_OK | os.X_OK)
    except OSError:
        return False


def survey_providers() -> dict[str, str | None]:
    """The class of each global provider of this process; None where nobody has set one."""
    from otelml.configurator.present import find_present

    present = find_present()
    return {
        signal: None if provider is None else f"{type(provider).__module__}.{type(provider).__qualname__}"
        for signal, provider in (
            ("traces", present.traces),
            ("metrics", present.metrics),
            ("logs", present.logs),
        )
    }
