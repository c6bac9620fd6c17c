"""Print every setting with its value in force, and why; and who decides where each signal goes.

Reads the environment as a program started here would. Header values, keys and passwords are masked. The exit status
is 1 when a setting cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from otelml._version import __version__
from otelml.configurator.decision import Decision, decide, otlp_endpoint, otlp_protocol
from otelml.settings import SETTINGS, Settings, examine, find_unknown
from otelml.settings.parsers import FILES_EXPORTER, SENTRY_EXPORTER


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print what is in force in this environment."""
    found = describe(os.environ)
    print(json.dumps(found, indent=2) if arguments.json else "\n".join(_lines(found)))
    return 1 if found["problems"] else 0


def describe(environ: Mapping[str, str]) -> dict[str, Any]:
    """Settings, decisions and problems as plain data; everything in it may be shown."""
    settings, problems = examine(environ)
    return {
        "version": __version__,
        "signals": [] if settings.sdk_disabled else _describe_signals(settings),
        "settings": [_describe_setting(settings, row) for row in SETTINGS],
        "problems": [str(problem) for problem in problems],
        "unknown": find_unknown(environ),
    }


def _describe_setting(settings: Settings, row: Any) -> dict[str, str | None]:
    value = getattr(settings, row.field)
    return {
        "variable": row.env,
        "keyword": row.field,
        "value": None if value is None else row.show_value(value),
        "source": "default, as its value cannot be used"
        if row.env in settings.rejected
        else settings.source(row.field),
        "group": row.group,
    }


def _describe_signals(settings: Settings) -> list[dict[str, Any]]:
    if settings.config_file is not None:
        return [
            {
                "signal": signal,
                "exporters": None,
                "decided_by": "OTEL_CONFIG_FILE",
                "to": str(settings.config_file),
            }
            for signal in decide(settings)
        ]
    return [
        {
            "signal": decision.signal,
            "exporters": list(decision.exporters),
            "decided_by": decision.rule,
            "to": ", ".join(_describe_end(settings, decision, name) for name in decision.exporters)
            or "nowhere",
        }
        for decision in decide(settings).values()
    ]


def _describe_end(settings: Settings, decision: Decision, name: str) -> str:
    if name == "otlp":
        return f"OTLP {otlp_endpoint(settings, decision.signal)} ({otlp_protocol(settings, decision.signal)})"
    if name == "prometheus":
        return f"http://{settings.prometheus_host}:{settings.prometheus_port}/metrics"
    if name == SENTRY_EXPORTER and settings.sentry_dsn is not None:
        return (
            f"{settings.sentry_dsn.otlp_traces_url} ({settings.sentry_traces_sample_rate:.4g} of all traces)"
        )
    return f"files under {settings.telemetry_dir}" if name == FILES_EXPORTER else name


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"otelml {found['version']}"
    yield ""
    if not found["signals"]:
        yield "Telemetry is off: OTEL_SDK_DISABLED is true."
    for row in found["signals"]:
        yield f"{row['signal']:<8} {row['to']}  (decided by: {row['decided_by']})"
    group = None
    width = max(len(row["variable"]) for row in found["settings"] if row["group"] != "OTLP")
    for row in found["settings"]:
        if row["group"] != group:
            group = row["group"]
            yield f"\n{group}"
        yield f"  {row['variable']:<{width}}  {_show(row['value']):<20}  {row['source']}"
    yield from _complaints(found)


def _show(value: str | None) -> str:
    return "(unset)" if value is None else value or "(none)"


def _complaints(found: Mapping[str, Any]) -> Iterator[str]:
    for title, sentences in (("Cannot be used", found["problems"]), ("Unknown", found["unknown"])):
        if sentences:
            yield f"\n{title}"
            yield from (f"  {sentence}" for sentence in sentences)
