"""The ports of the servers beside the program: their usual numbers, what changes them, and whether they are free.

Asked before anything starts: a server that finds its port taken says so deep in its log, after others have started.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
"""Where everything listens: none of these servers asks who is there."""
_CONNECT_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Port:
    """A port that a server listens on: the option that chooses it, its usual number, and what it is for."""

    option: str
    default: int
    what: str


OTLP = Port("--otlp-port", 4318, "OTLP over HTTP")
OTLP_GRPC = Port("--otlp-grpc-port", 4317, "OTLP over gRPC")
METRICS = Port("--metrics-port", 8889, "the metrics that the collector was sent")
COLLECTOR = Port("--collector-port", 8888, "the collector's own metrics")
PROMETHEUS = Port("--prometheus-port", 9090, "Prometheus")
ALERTMANAGER = Port("--alertmanager-port", 9093, "Alertmanager")
PORTS = (OTLP, OTLP_GRPC, METRICS, COLLECTOR, PROMETHEUS, ALERTMANAGER)


def find_conflicts(ports: Mapping[Port, int]) -> Iterator[str]:
    """A sentence for each port that cannot be had: it is taken, or another server is to have it too."""
    owners: dict[int, Port] = {}
    for port, number in ports.items():
        if number in owners:
            yield f"port {number} is wanted twice: by {owners[number].option} and by {port.option}"
        elif is_taken(number):
            yield (
                f"port {number}, for {port.what}, is taken: stop what listens there, or choose another one "
                f"with {port.option}"
            )
        owners.setdefault(number, port)


def is_taken(number: int) -> bool:
    """Whether a server could not listen on `number` of the loopback address."""
    return listens(number) or not _can_be_bound(number)


def listens(number: int) -> bool:
    """Whether somebody accepts connections there. BSD lets a second server bind beside one on all addresses."""
    with suppress(OSError):
        socket.create_connection((LOOPBACK, number), _CONNECT_TIMEOUT_S).close()
        return True
    return False


def _can_be_bound(number: int) -> bool:
    with suppress(OSError):
        socket.create_server((LOOPBACK, number)).close()
        return True
    return False
