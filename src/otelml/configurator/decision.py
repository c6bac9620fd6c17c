"""Who decides where a signal goes: an explicit exporter, else an OTLP endpoint, else the embedded default.

It stands alone, without the SDK, because the docs, `otelml env` and the tests all show this one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from otelml.settings import SIGNALS, Settings
from otelml.settings.parsers import FILES_EXPORTER, SENTRY_EXPORTER, mask_endpoint

EMBEDDED = "embedded default"
EMBEDDED_EXPORTERS = {
    "traces": (FILES_EXPORTER,),
    "metrics": ("prometheus", FILES_EXPORTER),
    "logs": (FILES_EXPORTER,),
}
DEFAULT_PROTOCOL = "http/protobuf"
DEFAULT_PORTS = {"http/protobuf": 4318, "grpc": 4317}
_OTLP_BY_PROTOCOL = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


@dataclass(frozen=True, slots=True)
class Decision:
    """The exporters of one signal, and the variable, keyword or rule that chose them."""

    signal: str
    exporters: tuple[str, ...]
    rule: str

    @property
    def is_embedded(self) -> bool:
        """Whether nobody chose anything."""
        return self.rule == EMBEDDED


def _named_by(settings: Settings, field: str, env: str) -> str:
    return f"configure({field}=...)" if settings.source(field) == "configure()" else env


def _decide(settings: Settings, signal: str) -> Decision:
    explicit = getattr(settings, f"{signal}_exporter")
    if explicit:
        exporters = tuple(dict.fromkeys(name for name in explicit if name != "none"))
        return Decision(
            signal, exporters, _named_by(settings, f"{signal}_exporter", f"OTEL_{signal.upper()}_EXPORTER")
        )
    for scope in (f"{signal}_", ""):
        if getattr(settings, f"otlp_{scope}endpoint"):
            env = f"OTEL_EXPORTER_OTLP_{scope.upper()}ENDPOINT"
            return Decision(signal, ("otlp",), _named_by(settings, f"otlp_{scope}endpoint", env))
    sentry = (SENTRY_EXPORTER,) if signal == "traces" and _is_sampled_for_sentry(settings) else ()
    return Decision(signal, (*EMBEDDED_EXPORTERS[signal], *sentry), EMBEDDED)


def _is_sampled_for_sentry(settings: Settings) -> bool:
    return settings.sentry_dsn is not None and settings.sentry_traces_sample_rate > 0


def decide(settings: Settings) -> dict[str, Decision]:
    """The decision for each signal."""
    return {signal: _decide(settings, signal) for signal in SIGNALS}


def otlp_protocol(settings: Settings, signal: str) -> str:
    """The OTLP protocol of `signal`: http/protobuf unless a variable says grpc."""
    return settings.otlp(signal, "protocol") or DEFAULT_PROTOCOL


def entry_point_name(settings: Settings, signal: str, exporter: str) -> str:
    """The entry point behind an exporter's name: `otlp` is one for each protocol."""
    return _OTLP_BY_PROTOCOL[otlp_protocol(settings, signal)] if exporter == "otlp" else exporter


def otlp_endpoint(settings: Settings, signal: str) -> str:
    """The endpoint of `signal`, OpenTelemetry's default when none is set; passwords masked."""
    default = f"http://localhost:{DEFAULT_PORTS[otlp_protocol(settings, signal)]}"
    return mask_endpoint(settings.otlp(signal, "endpoint") or default)


def find_port_mistake(settings: Settings) -> str | None:
    """A hint when OTLP over HTTP would be sent to the port that collectors use for gRPC."""
    for decision in decide(settings).values():
        if "otlp" not in decision.exporters or otlp_protocol(settings, decision.signal) == "grpc":
            continue
        endpoint = settings.otlp(decision.signal, "endpoint") or ""
        if (
            endpoint
            and urlsplit(endpoint if "://" in endpoint else f"//{endpoint}").port == DEFAULT_PORTS["grpc"]
        ):
            return (
                f"{mask_endpoint(endpoint)} has the port that collectors use for gRPC, and is sent HTTP: "
                "use port 4318, or OTEL_EXPORTER_OTLP_PROTOCOL=grpc"
            )
    return None
