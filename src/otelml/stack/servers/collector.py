"""The collector of `otelml up`: shipped layers that serve the metrics, and write traces and logs to files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from otelml.stack import locate_shipped
from otelml.stack.servers import ports
from otelml.stack.servers.ports import LOOPBACK, Port
from otelml.stack.servers.service import Service

LAYERS = ("base", "redaction", "prometheus", "to-files")
_VARIABLES = {
    ports.OTLP: "OTELCOL_HTTP_PORT",
    ports.OTLP_GRPC: "OTELCOL_GRPC_PORT",
    ports.METRICS: "OTELCOL_PROMETHEUS_PORT",
    ports.COLLECTOR: "OTELCOL_METRICS_PORT",
}


def create_service(program: Path, folder: Path, chosen: Mapping[Port, int]) -> Service:
    """The collector as it will be started."""
    shipped = locate_shipped("collector-config")
    return Service(
        name="Collector",
        command=(str(program), *(f"--config={shipped / layer}.yaml" for layer in LAYERS)),
        folder=folder,
        environ={
            "OTELCOL_HOST": LOOPBACK,
            "OTELCOL_FILES_DIR": str(folder),
            **{variable: str(chosen[port]) for port, variable in _VARIABLES.items()},
        },
        ports={port: chosen[port] for port in _VARIABLES},
        about=(
            f"OTLP http://{LOOPBACK}:{chosen[ports.OTLP]}, over gRPC http://{LOOPBACK}:{chosen[ports.OTLP_GRPC]}; "
            f"metrics http://{LOOPBACK}:{chosen[ports.METRICS]}/metrics"
        ),
    )
