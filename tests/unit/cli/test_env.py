"""`otelml env`: every setting with its value in force, and why."""

from __future__ import annotations

import json

import pytest

from otelml.cli import main
from otelml.cli.env import describe
from otelml.settings import SETTINGS


def value_of(found: dict, variable: str) -> tuple[str | None, str]:
    """Value and source of one variable."""
    return next((row["value"], row["source"]) for row in found["settings"] if row["variable"] == variable)


def test_every_setting_is_there_with_its_source() -> None:
    """Defaults, variables, and defaults that stand in for unusable values."""
    found = describe({"OTELML_SPAN_BUDGET": "all", "OTELML_FORK": "maybe", "OTELML_DIRR": "x"})
    assert [row["variable"] for row in found["settings"]] == [row.env for row in SETTINGS]
    assert value_of(found, "OTELML_SPAN_BUDGET") == ("all", "environment")
    assert value_of(found, "OTELML_FILE_MAX_BYTES") == ("100MiB", "default")
    assert value_of(found, "OTELML_FORK") == ("silent", "default, as its value cannot be used")
    assert found["problems"] == ["OTELML_FORK='maybe': must be one of silent, export"]
    assert found["unknown"] == ["OTELML_DIRR is no variable of otelml; did you mean OTELML_DIR?"]


def test_it_says_who_decided_where_each_signal_goes() -> None:
    """The rule, and the destination."""
    environ = {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces", "OTEL_LOGS_EXPORTER": "none"}
    assert describe(environ)["signals"] == [
        {
            "signal": "traces",
            "exporters": ["otlp"],
            "decided_by": "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "to": "OTLP http://c:4318/v1/traces (http/protobuf)",
        },
        {
            "signal": "metrics",
            "exporters": ["prometheus", "otelml_files"],
            "decided_by": "embedded default",
            "to": "http://127.0.0.1:9464/metrics, files under telemetry",
        },
        {"signal": "logs", "exporters": [], "decided_by": "OTEL_LOGS_EXPORTER", "to": "nowhere"},
    ]
    traces = describe({"SENTRY_DSN": "https://k@sentry.io/1"})["signals"][0]
    assert traces["exporters"] == ["otelml_files", "otelml_sentry"]
    assert traces["to"] == (
        "files under telemetry, https://sentry.io/api/1/integration/otlp/v1/traces (0.1 of all traces)"
    )
    assert {row["decided_by"] for row in describe({"OTEL_CONFIG_FILE": "x.yaml"})["signals"]} == {
        "OTEL_CONFIG_FILE"
    }
    assert describe({"OTEL_SDK_DISABLED": "true"})["signals"] == []


SECRETS = {
    "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer hunter2",
    "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "hunter2",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:hunter2@c:4318?key=hunter2",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "ftp://user:hunter2@c",
    "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/hunter2.pem",
    "SENTRY_DSN": "https://hunter2@sentry.io/1",
}


@pytest.mark.parametrize("arguments", [["env"], ["env", "--json"]])
def test_secrets_are_masked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """In text and JSON, in usable and unusable values."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 1
    printed = capsys.readouterr().out
    assert "authorization=***" in printed
    assert "hunter2" not in printed


def test_the_text_has_a_line_for_each_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """With nothing set the exit status is 0."""
    assert main(["env"]) == 0
    printed = capsys.readouterr().out
    assert [row.env for row in SETTINGS if f"\n  {row.env} " not in printed] == []
    assert (
        "metrics  http://127.0.0.1:9464/metrics, files under telemetry  (decided by: embedded default)"
        in printed
    )


def test_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same facts, for programs."""
    assert main(["env", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == describe({})
