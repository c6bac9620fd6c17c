"""What `otelml up` will start: which servers, in which order, on which files and ports. Nothing is started here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from otelml.stack import binaries
from otelml.stack.servers import alertmanager, collector, ports, prometheus
from otelml.stack.servers.ports import LOOPBACK, Port
from otelml.stack.servers.service import Service

PORTS_OF = {
    "alertmanager": (ports.ALERTMANAGER,),
    "prometheus": (ports.PROMETHEUS,),
    "otelcol": (ports.OTLP, ports.OTLP_GRPC, ports.METRICS, ports.COLLECTOR),
}
"""In the order of starting: each finds those that it sends to."""


@dataclass(frozen=True)
class Plan:
    """What will be started, in this order, and what is known before that.

    Args:
        missing: a sentence for each server that there is no program for.
        conflicts: a sentence for each port that cannot be had.
    """

    folder: Path
    services: tuple[Service, ...]
    missing: tuple[str, ...]
    conflicts: tuple[str, ...]

    @property
    def program(self) -> str:
        """How to start a program so that these servers hear of it; without a collector Prometheus asks it."""
        plain = "opentelemetry-instrument python train.py"
        otlp = next((s.ports[ports.OTLP] for s in self.services if ports.OTLP in s.ports), None)
        return f"OTEL_EXPORTER_OTLP_ENDPOINT=http://{LOOPBACK}:{otlp} {plain}" if otlp else plain

    @property
    def can_start(self) -> bool:
        """Whether there is something to start and nothing in its way."""
        return bool(self.services) and not self.conflicts


def create_plan(
    folder: Path,
    *,
    numbers: Mapping[Port, int],
    rules: Path,
    alertmanager_config: Path | None = None,
    find: Callable[[str], Path | None] = binaries.find,
) -> Plan:
    """The plan for the programs that `find` finds."""
    # Absolute, for they run in folders of their own.
    programs = {name: found.absolute() for name in PORTS_OF if (found := find(name))}
    chosen = {port: numbers[port] for name in programs for port in PORTS_OF[name]}

    def create_services() -> Iterator[Service]:
        if program := programs.get("alertmanager"):
            yield alertmanager.create_service(program, folder / "alertmanager", alertmanager_config, chosen)
        if program := programs.get("prometheus"):
            yield prometheus.create_service(program, folder / "prometheus", rules, chosen)
        if program := programs.get("otelcol"):
            yield collector.create_service(program, folder / "collector", chosen)

    return Plan(
        folder=folder,
        services=tuple(create_services()),
        missing=tuple(binaries.say_missing(name) for name in PORTS_OF if name not in programs),
        conflicts=tuple(ports.find_conflicts(chosen)),
    )
