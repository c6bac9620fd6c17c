"""`otelml export-config`: a declarative file from which OpenTelemetry builds what the environment would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from otelml.cli import main
from otelml.cli.export_config import create_yaml

# Built in a process of its own: providers are global, and the Prometheus reader opens a port.
BUILD = """
import json, sys
from opentelemetry import _logs, metrics, propagate, trace
from opentelemetry.configuration import configure_sdk, load_config_file

def exporter(processor):
    return processor._batch_processor._exporter

def show(made):
    found = {"type": type(made).__module__.removeprefix("opentelemetry.") + "." + type(made).__name__}
    for name in ("_endpoint", "_timeout", "_compression"):
        if hasattr(made, name):
            found[name] = str(getattr(made, name))
    client = getattr(made, "_client", None)
    if hasattr(client, "_headers"):
        found["headers"] = {key: value for key, value in client._headers.items() if key.startswith("x-")}
        found["timeout"] = client._timeout
    stream = getattr(getattr(made, "_exporter", None), "_stream", None)
    if stream is not None:
        found["path"] = stream.name
    return found

model = load_config_file(sys.argv[1])
configure_sdk(model)
tracer, meter, logger = trace.get_tracer_provider(), metrics.get_meter_provider(), _logs.get_logger_provider()
found = {"fields": sorted(propagate.get_global_textmap().fields), "distribution": model.distribution}
if hasattr(tracer, "sampler"):
    found["sampler"] = tracer.sampler.get_description()
    found["resource"] = dict(tracer.resource.attributes)
    processors = tracer._active_span_processor._span_processors
    found["traces"] = [show(exporter(processor)) for processor in processors]
    found["queue"] = processors[0]._batch_processor._max_queue_size
    found["span_attributes"] = tracer._span_limits.max_span_attributes
if hasattr(meter, "_metric_readers"):
    readers = meter._metric_readers
    found["metrics"] = [show(getattr(reader, "_exporter", reader)) for reader in readers]
    found["intervals"] = [getattr(reader, "_export_interval_millis", None) for reader in readers]
if hasattr(logger, "_multi_log_record_processor"):
    processors = logger._multi_log_record_processor._log_record_processors
    found["logs"] = [show(exporter(processor)) for processor in processors]
print(json.dumps(found, default=str))
"""


def build(
    folder: Path, environ: dict[str, str], *, variables: dict[str, str] | None = None
) -> dict[str, Any]:
    """Export the configuration of `environ`, have it built with only `variables` set, and describe the result."""
    file = folder / "otel.yaml"
    file.write_text(create_yaml(environ))
    base = {name: value for name, value in os.environ.items() if not name.startswith("OTEL")}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, file], env={**base, **(variables or {})}, cwd=folder,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def types(found: dict[str, Any], signal: str) -> list[str]:
    """The classes of the exporters of a signal, without their modules."""
    return [made["type"].rpartition(".")[2] for made in found[signal]]


def test_the_embedded_default_as_far_as_the_schema_goes(tmp_path: Path) -> None:
    """Files for each signal, the Prometheus endpoint, every 15 s, and what `ml` and `host` detect."""
    found = build(tmp_path, {"OTELML_DIR": str(tmp_path), "OTEL_EXPORTER_PROMETHEUS_PORT": "0"})
    assert types(found, "traces") == ["FileSpanExporter"]
    assert types(found, "metrics") == ["PrometheusMetricReader", "FileMetricExporter"]
    assert types(found, "logs") == ["FileLogExporter"]
    assert found["metrics"][1]["path"] == str(tmp_path / "metrics.jsonl")
    assert found["intervals"] == [None, 15000.0]
    assert {"host.name", "ml.run.id", "service.instance.id", "telemetry.distro.name"} <= set(
        found["resource"]
    )
    assert found["sampler"].startswith("ParentBased{root:AlwaysOnSampler")
    assert found["fields"] == ["baggage", "traceparent", "tracestate"]


def test_what_has_no_equivalent_is_said_in_comments() -> None:
    """The file is not taken for more than it is."""
    text = create_yaml({})
    # Where the lines break depends on the paths in them.
    comments = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
    assert "rotation by size, logs as flat JSON lines" in comments
    assert "does not move off a taken port" in comments
    assert yaml.safe_load(text)["file_format"] == "1.0"


def test_otlp_with_everything(tmp_path: Path) -> None:
    """Endpoints, headers, timeouts, compression, batches, limits, sampler and resource come out as they went in."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318/",
        "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://d:9/logs",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=hunter2,x-more=dg==",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "3",
        "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
        "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "lowmemory",
        "OTEL_METRIC_EXPORT_INTERVAL": "2500",
        "OTEL_BSP_MAX_QUEUE_SIZE": "700",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "7",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.25",
        "OTEL_PROPAGATORS": "tracecontext",
        "OTEL_SERVICE_NAME": "cost$ervice",
        "OTEL_RESOURCE_ATTRIBUTES": "team=a%20b,price=$5",
        "OTELML_SPAN_BUDGET": "all",
    }
    secrets = {"OTEL_EXPORTER_OTLP_HEADERS": environ["OTEL_EXPORTER_OTLP_HEADERS"]}
    assert "hunter2" not in create_yaml(environ)
    found = build(tmp_path, environ, variables=secrets)
    headers = {"x-key": "hunter2", "x-more": "dg=="}
    expected = {"headers": headers, "timeout": 3.0, "_compression": "Compression.GZIP"}
    assert found["traces"] == [
        {
            "type": "exporter.otlp.proto.http.trace_exporter.OTLPSpanExporter",
            "_endpoint": "http://c:4318/v1/traces",
            **expected,
        }
    ]
    assert found["metrics"][0]["_endpoint"] == "http://c:4318/v1/metrics"
    assert found["logs"][0]["_endpoint"] == "http://d:9/logs"
    assert (found["intervals"], found["queue"], found["span_attributes"]) == ([2500.0], 700, 7)
    assert found["sampler"].startswith("ParentBased{root:TraceIdRatioBased{0.25}")
    assert found["fields"] == ["traceparent", "tracestate"]
    resource = {name: found["resource"][name] for name in ("service.name", "team", "price")}
    assert resource == {"service.name": "cost$ervice", "team": "a b", "price": "$5"}
    assert found["distribution"] == {"otelml": {"span_budget": "all"}}


def test_grpc_console_and_none(tmp_path: Path) -> None:
    """The protocol chooses the exporter; a signal that goes nowhere has no provider."""
    environ = {
        "OTEL_TRACES_EXPORTER": "otlp,console",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "otlp_json_file",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
    }
    found = build(tmp_path, environ)
    assert types(found, "traces") == ["OTLPSpanExporter", "ConsoleSpanExporter"]
    assert ".grpc." in found["traces"][0]["type"]
    assert found["traces"][0]["_endpoint"] == "c:4317"
    assert types(found, "logs") == ["FileLogExporter"]
    assert "metrics" not in found
    assert "no meter provider" in create_yaml(environ)


@pytest.mark.parametrize(
    ("sampler", "description"),
    [
        ("always_on", "AlwaysOnSampler"),
        ("always_off", "AlwaysOffSampler"),
        ("traceidratio", "TraceIdRatioBased{0.1}"),
    ],
)
def test_samplers_without_a_parent(tmp_path: Path, sampler: str, description: str) -> None:
    """The root sampler alone, a percentage as its ratio."""
    environ = {"OTEL_TRACES_SAMPLER": sampler, "OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none",
               "OTEL_LOGS_EXPORTER": "none"}  # fmt: skip
    if sampler == "traceidratio":
        environ["OTEL_TRACES_SAMPLER_ARG"] = "10%"
    assert build(tmp_path, environ)["sampler"] == description


def test_secrets_become_references() -> None:
    """Headers and endpoints with passwords; percent-encoded headers stay in the variable, with a word why."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:hunter2@c:4318",
        "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "authorization=Bearer%20hunter2",
        "OTEL_EXPORTER_OTLP_LOGS_HEADERS": "k=hunter2",
        "SENTRY_DSN": "https://hunter2@sentry.io/1",
    }
    text = create_yaml(environ)
    assert "hunter2" not in text
    document = yaml.safe_load(text)
    traces = document["tracer_provider"]["processors"][0]["batch"]["exporter"]["otlp_http"]
    logs = document["logger_provider"]["processors"][0]["batch"]["exporter"]["otlp_http"]
    assert traces == {"endpoint": "${OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces"}
    assert logs["headers_list"] == "${OTEL_EXPORTER_OTLP_LOGS_HEADERS}"
    assert document["distribution"] == {"otelml": {"sentry_dsn": "${SENTRY_DSN}"}}
    assert "OTEL_EXPORTER_OTLP_TRACES_HEADERS has percent-encoded values" in text


def test_traces_to_sentry_have_no_equivalent() -> None:
    """They are left out, and that is said; the rest of the traces goes where it went."""
    text = create_yaml({"SENTRY_DSN": "https://k@sentry.io/1"})
    assert "Traces to Sentry have no equivalent" in text
    (processor,) = yaml.safe_load(text)["tracer_provider"]["processors"]
    assert list(processor["batch"]["exporter"]) == ["otlp_file/development"]


def test_the_command_prints_or_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With unusable settings, or where a file is in use already, it writes nothing and fails."""
    assert main(["export-config"]) == 0
    assert capsys.readouterr().out == create_yaml({})
    file = tmp_path / "otel.yaml"
    assert main(["export-config", "-o", str(file)]) == 0
    assert file.read_text() == create_yaml({})
    monkeypatch.setenv("OTELML_FORK", "maybe")
    assert main(["export-config"]) == 1
    assert "OTELML_FORK='maybe'" in capsys.readouterr().err
    monkeypatch.setenv("OTEL_CONFIG_FILE", str(file))
    assert main(["export-config"]) == 1
    assert "OTEL_CONFIG_FILE is set" in capsys.readouterr().err
