"""The settings as a declarative configuration, the other way round from `declarative`: for `otelml export-config`.

It needs no SDK: the schema is OpenTelemetry's, https://github.com/open-telemetry/opentelemetry-configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from otelml.configurator.decision import DEFAULT_PORTS, Decision, decide, otlp_protocol
from otelml.settings import SETTINGS, Settings
from otelml.settings.parsers import FILES_EXPORTER, SENTRY_EXPORTER, mask_endpoint, ratio, write_value

_FILE_FORMAT = "1.0"
_STANDARD_INTERVAL_S = 60.0
_PER_RUN = frozenset({"run_id"})
_ENVIRONMENT_ONLY = frozenset({"disabled_instrumentations", "log_correlation", "run_id"})
_LIMITS = {
    "tracer_provider": {
        "attribute_value_length_limit": "span_attribute_value_length_limit",
        "attribute_count_limit": "span_attribute_count_limit",
        "event_count_limit": "span_event_count_limit",
        "link_count_limit": "span_link_count_limit",
        "event_attribute_count_limit": "event_attribute_count_limit",
        "link_attribute_count_limit": "link_attribute_count_limit",
    },
    "logger_provider": {
        "attribute_value_length_limit": "logrecord_attribute_value_length_limit",
        "attribute_count_limit": "logrecord_attribute_count_limit",
    },
    "attribute_limits": {
        "attribute_value_length_limit": "attribute_value_length_limit",
        "attribute_count_limit": "attribute_count_limit",
    },
}


def _literal(text: str) -> str:
    return text.replace("$", "$$")  # a lone $ would start a reference to a variable


def _without_none(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


class Declaration:
    """Builds the document; `notes` is what it cannot say."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings = settings
        self._environ = environ
        self.notes: list[str] = []

    def create_document(self) -> dict[str, Any]:
        """The document, ready for YAML or JSON."""
        decisions = decide(self._settings)
        document = _without_none(
            file_format=_FILE_FORMAT,
            disabled=True if self._settings.sdk_disabled else None,
            resource=self._resource(),
            propagator={
                "composite_list": ",".join(self._settings.propagators or ("tracecontext", "baggage"))
            },
            attribute_limits=self._limits("attribute_limits"),
            tracer_provider=self._tracer_provider(decisions["traces"]),
            meter_provider=self._meter_provider(decisions["metrics"]),
            logger_provider=self._logger_provider(decisions["logs"]),
            distribution=self._distribution(),
        )
        self._note_rest()
        return document

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    # -- resource and our own settings

    def _resource(self) -> dict[str, Any]:
        settings = self._settings
        named = dict.fromkeys(["ml", "service", "host", *(settings.resource_detectors or ())])
        if "*" in named:
            self._note("OTEL_EXPERIMENTAL_RESOURCE_DETECTORS=* has no equivalent: name the detectors.")
        detectors: list[dict[str, Any]] = [
            {name: {}} for name in named if name not in ("*", "otel", "service_instance")
        ]
        found: dict[str, Any] = {"detection/development": {"detectors": detectors}}
        if settings.resource_attributes:
            found["attributes_list"] = _literal(write_value(settings.resource_attributes))
        if settings.service_name:
            found["attributes"] = [{"name": "service.name", "value": _literal(settings.service_name)}]
        return found

    def _distribution(self) -> dict[str, Any] | None:
        mine = {
            row.field: f"${{{row.env}}}"
            if row.secret
            else _literal(row.parse.write(getattr(self._settings, row.field)))
            for row in SETTINGS
            if not row.is_standard
            and row.field not in _PER_RUN
            and self._settings.source(row.field) != "default"
        }
        return {"otelml": mine} if mine else None

    # -- providers

    def _tracer_provider(self, decision: Decision) -> dict[str, Any] | None:
        if not decision.exporters:
            self._note(
                "OTEL_TRACES_EXPORTER=none: no tracer provider, where otelml makes one without exporters."
            )
            return None
        settings = self._settings
        if SENTRY_EXPORTER in decision.exporters:
            self._note(
                "Traces to Sentry have no equivalent: errors go there, traces only where the file says."
            )
        return _without_none(
            processors=[
                self._batch("bsp", self._exporter(decision.signal, name))
                for name in decision.exporters
                if name != SENTRY_EXPORTER
            ],
            limits=self._limits("tracer_provider"),
            sampler=self._sampler(),
            id_generator={settings.id_generator: {}} if settings.id_generator else None,
        )

    def _logger_provider(self, decision: Decision) -> dict[str, Any] | None:
        if not decision.exporters:
            self._note(
                "OTEL_LOGS_EXPORTER=none: no logger provider, where otelml makes one without exporters."
            )
            return None
        return _without_none(
            processors=[
                self._batch("blrp", self._exporter(decision.signal, name)) for name in decision.exporters
            ],
            limits=self._limits("logger_provider"),
        )

    def _meter_provider(self, decision: Decision) -> dict[str, Any] | None:
        if not decision.exporters:
            self._note(
                "OTEL_METRICS_EXPORTER=none: no meter provider, so `otelml.summary()` has nothing to read."
            )
            return None
        return _without_none(
            readers=[self._reader(name) for name in decision.exporters],
            exemplar_filter=self._settings.exemplar_filter,
        )

    def _batch(self, prefix: str, exporter: dict[str, Any]) -> dict[str, Any]:
        return {
            "batch": {
                "schedule_delay": _milliseconds(getattr(self._settings, f"{prefix}_schedule_delay_s")),
                "export_timeout": _milliseconds(getattr(self._settings, f"{prefix}_export_timeout_s")),
                "max_queue_size": getattr(self._settings, f"{prefix}_max_queue_size"),
                "max_export_batch_size": getattr(self._settings, f"{prefix}_max_export_batch_size"),
                "exporter": exporter,
            }
        }

    def _limits(self, section: str) -> dict[str, int] | None:
        rows = _LIMITS[section].items()
        return _without_none(**{name: getattr(self._settings, field) for name, field in rows}) or None

    def _sampler(self) -> dict[str, Any]:
        name = self._settings.sampler or "parentbased_always_on"
        root = name.removeprefix("parentbased_")
        if root == "traceidratio":
            sampler: dict[str, Any] = {
                "trace_id_ratio_based": {"ratio": ratio.read(self._settings.sampler_arg or "1")}
            }
        else:
            sampler = {root: {}}
        if root not in ("traceidratio", "always_on", "always_off"):
            self._note(
                f"The sampler {name} is a plug-in: here it gets no argument, and needs an entry point in the "
                "group opentelemetry_sampler."
            )
            return {name: {}}
        return {"parent_based": {"root": sampler}} if name.startswith("parentbased_") else sampler

    # -- readers and exporters

    def _reader(self, name: str) -> dict[str, Any]:
        settings = self._settings
        if name == "prometheus":
            self._note(
                "The declared Prometheus endpoint is OpenTelemetry's own: it does not move off a taken port, and has "
                "neither the `_ratio` suffixes nor the labels `service_name`, `ml_distributed_rank` and `host_name`."
            )
            endpoint = {"host": settings.prometheus_host, "port": settings.prometheus_port}
            return {"pull": {"exporter": {"prometheus/development": endpoint}}}
        embedded = name == FILES_EXPORTER or settings.source("metric_interval_s") != "default"
        interval_s = settings.metric_interval_s if embedded else _STANDARD_INTERVAL_S
        return {
            "periodic": {
                "interval": _milliseconds(interval_s),
                "timeout": _milliseconds(settings.metric_timeout_s),
                "exporter": self._exporter("metrics", name),
            }
        }

    def _exporter(self, signal: str, name: str) -> dict[str, Any]:
        if name in ("otlp", "otlp_proto_http", "otlp_proto_grpc"):
            return self._otlp(signal, name)
        if name == "otlp_json_file":
            return {"otlp_file/development": {}}
        return self._file(signal) if name == FILES_EXPORTER else {name: {}}

    def _file(self, signal: str) -> dict[str, Any]:
        folder = self._settings.telemetry_dir.absolute()
        self._note(
            f"The embedded files become one OTLP/JSON file a signal under {folder}, which must exist. What has no "
            "equivalent: folders by service and run, a set a process, rotation by size, logs as flat JSON lines."
        )
        return {"otlp_file/development": {"output_stream": f"file://{folder}/{signal}.jsonl"}}

    def _otlp(self, signal: str, name: str) -> dict[str, Any]:
        settings = self._settings
        protocol = {"otlp_proto_http": "http/protobuf", "otlp_proto_grpc": "grpc"}.get(name)
        protocol = protocol or otlp_protocol(settings, signal)
        timeout_s = settings.otlp(signal, "timeout")
        found = _without_none(
            endpoint=self._endpoint(signal, protocol),
            headers_list=self._headers(signal),
            compression=settings.otlp(signal, "compression"),
            timeout=None if timeout_s is None else _milliseconds(timeout_s),
            tls=self._tls(signal, protocol),
        )
        if signal == "metrics":
            temporality = settings.temporality
            found |= _without_none(
                temporality_preference="low_memory" if temporality == "lowmemory" else temporality,
                default_histogram_aggregation=settings.histogram_aggregation,
            )
        return {"otlp_grpc" if protocol == "grpc" else "otlp_http": found}

    def _endpoint(self, signal: str, protocol: str) -> str:
        own = getattr(self._settings, f"otlp_{signal}_endpoint")
        general = self._settings.otlp_endpoint or f"http://localhost:{DEFAULT_PORTS[protocol]}"
        endpoint = own or general
        path = (
            "" if own or protocol == "grpc" else f"v1/{signal}" if endpoint.endswith("/") else f"/v1/{signal}"
        )
        if mask_endpoint(endpoint) != endpoint:
            scope = f"{signal.upper()}_" if own else ""
            return f"${{OTEL_EXPORTER_OTLP_{scope}ENDPOINT}}{path}"
        return _literal(endpoint) + path

    def _headers(self, signal: str) -> str | None:
        own = getattr(self._settings, f"otlp_{signal}_headers")
        if not (own or self._settings.otlp_headers):
            return None
        variable = f"OTEL_EXPORTER_OTLP_{signal.upper() + '_' if own else ''}HEADERS"
        if "%" in self._environ.get(variable, ""):
            self._note(
                f"{variable} has percent-encoded values, which the file cannot decode: the exporters read the "
                "variable themselves."
            )
            return None
        return f"${{{variable}}}"

    def _tls(self, signal: str, protocol: str) -> dict[str, Any] | None:
        settings = self._settings
        files = {"ca_file": "certificate", "key_file": "client_key", "cert_file": "client_certificate"}
        values = {key: settings.otlp(signal, name) for key, name in files.items()}
        found: dict[str, Any] = {
            key: _literal(str(value)) for key, value in values.items() if value is not None
        }
        if protocol == "grpc" and settings.otlp(signal, "insecure") is not None:
            found["insecure"] = settings.otlp(signal, "insecure")
        if found:
            self._note(
                "The Python SDK does not apply `tls` yet: its exporters read OTEL_EXPORTER_OTLP_CERTIFICATE, "
                "_CLIENT_KEY, _CLIENT_CERTIFICATE and _INSECURE themselves, so leave these set."
            )
        return found or None

    def _note_rest(self) -> None:
        if any(row.secret and getattr(self._settings, row.field) for row in SETTINGS):
            self._note(
                "Values of headers and DSNs are not written here: set the variables that this file refers to."
            )
        for row in SETTINGS:
            if row.field in _ENVIRONMENT_ONLY and self._settings.source(row.field) != "default":
                self._note(f"{row.env} has no equivalent, and works as a variable beside the file.")
