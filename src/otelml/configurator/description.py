"""The start-up line: where everything goes, in one line on stderr."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from otelml.configurator.decision import Decision, otlp_endpoint, otlp_protocol
from otelml.settings import SIGNALS, Settings
from otelml.settings.parsers import FILES_EXPORTER, SENTRY_EXPORTER


def _show_folder(folder: Path | None) -> str:
    if folder is None:
        return "files"
    path = folder if folder.is_absolute() else Path.cwd() / folder
    shown = f"./{path.relative_to(Path.cwd())}" if path.is_relative_to(Path.cwd()) else str(path)
    return f"files {shown}/"


def _show_exporter(settings: Settings, signal: str, name: str, folder: Path | None, url: str | None) -> str:
    if name == FILES_EXPORTER:
        return _show_folder(folder)
    if name == "prometheus":
        return url or "no endpoint (no port is free)"
    if name == "otlp":
        protocol = " (grpc)" if otlp_protocol(settings, signal) == "grpc" else ""
        return f"OTLP {otlp_endpoint(settings, signal)}{protocol}"
    return f"Sentry ({100 * settings.sentry_traces_sample_rate:.3g}%)" if name == SENTRY_EXPORTER else name


def describe_destinations(
    settings: Settings, decisions: Iterable[Decision], folder: Path | None, prometheus_url: str | None
) -> list[str]:
    """Each destination with the signals that go there; all three signals need no naming."""
    signals_by_destination: dict[str, list[str]] = {}
    for decision in decisions:
        for name in decision.exporters or ("off",):
            shown = _show_exporter(settings, decision.signal, name, folder, prometheus_url)
            signals_by_destination.setdefault(shown, []).append(decision.signal)
    return [
        shown if len(signals) == len(SIGNALS) else f"{', '.join(signals)} {shown}"
        for shown, signals in sorted(signals_by_destination.items(), key=lambda item: len(item[1]))
    ]


def describe_resource(attributes: Mapping[str, Any]) -> str:
    """Service, run and rank, as far as they are known."""
    parts = [f"service {attributes['service.name']}"]
    if "ml.run.id" in attributes:
        parts.append(f"run {attributes['ml.run.id']}")
    if "ml.distributed.rank" in attributes:
        size = attributes.get("ml.distributed.world_size")
        parts.append(f"rank {attributes['ml.distributed.rank']}" + (f" of {size}" if size else ""))
    return ", ".join(parts)


def print_line(parts: Iterable[str]) -> None:
    """Write the line to stderr; a closed or missing stderr is no reason to fail."""
    try:
        sys.stderr.write(f"otelml: {' · '.join(parts)}\n")
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):
        return
