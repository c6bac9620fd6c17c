"""Ports: taken ones, and ones that are wanted twice, are named with the option that chooses another."""

from __future__ import annotations

import socket

from serverkit import free_ports

from otelml.stack.servers import ports


def test_free_ports_have_no_conflicts() -> None:
    """Nothing is said of ports that nobody listens on."""
    first, second = free_ports(2)
    assert list(ports.find_conflicts({ports.OTLP: first, ports.PROMETHEUS: second})) == []


def test_a_taken_port_is_named_with_its_option() -> None:
    """Also one that is bound by somebody who does not listen, or listens on all addresses."""
    with socket.create_server(("", 0)) as all_addresses, socket.socket() as bound:
        bound.bind((ports.LOOPBACK, 0))
        numbers = [all_addresses.getsockname()[1], bound.getsockname()[1]]
        said = list(ports.find_conflicts(dict(zip((ports.OTLP, ports.ALERTMANAGER), numbers, strict=True))))
    advice = "is taken: stop what listens there, or choose another one with"
    assert said == [
        f"port {numbers[0]}, for OTLP over HTTP, {advice} --otlp-port",
        f"port {numbers[1]}, for Alertmanager, {advice} --alertmanager-port",
    ]


def test_a_port_wanted_twice_is_named() -> None:
    """Two servers cannot have one port, free as it may be."""
    (number,) = free_ports(1)
    assert list(ports.find_conflicts({ports.OTLP: number, ports.PROMETHEUS: number})) == [
        f"port {number} is wanted twice: by --otlp-port and by --prometheus-port"
    ]


def test_usual_numbers_and_options_differ() -> None:
    """So that the defaults go together, and each option means one port."""
    assert len({port.default for port in ports.PORTS}) == len({port.option for port in ports.PORTS}) == 6
