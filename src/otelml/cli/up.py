"""Run a collector, Prometheus and Alertmanager beside your programs, as many of them as are installed, until Ctrl-C.

Configurations, data and logs lie in ./telemetry/stack, and the next start goes on with them. Everything listens on
127.0.0.1 only. The exit status is 0 after Ctrl-C or SIGTERM, 1 when a server ended by itself or did not start, 2 when
there is nothing to start or a port is taken.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from otelml.stack.servers.plan import Plan


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from otelml.stack.servers.ports import PORTS

    parser.add_argument("--check", action="store_true", help="print what would be started, and start nothing")
    parser.add_argument(
        "--dir", type=Path, metavar="DIR", help="for all files (telemetry/stack; OTELML_DIR counts)"
    )
    parser.add_argument(
        "--rules", type=_rules, metavar="DIR", help="rules and alerts, *.yaml (those of otelml)"
    )
    parser.add_argument(
        "--alertmanager-config",
        type=_file,
        metavar="FILE",
        help="who is notified (nobody; alerts show on its page)",
    )
    for port in PORTS:
        parser.add_argument(
            port.option,
            type=_port,
            default=port.default,
            metavar="PORT",
            help=f"{port.what} ({port.default})",
        )


def _port(text: str) -> int:
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError("must be a port, 1 to 65535")
    return number


def _rules(text: str) -> Path:
    if not any(Path(text).glob("*.yaml")):  # Prometheus would start without any, and say nothing
        raise argparse.ArgumentTypeError(f"{text} is no folder with *.yaml files")
    return Path(text)


def _file(text: str) -> Path:
    if not Path(text).is_file():
        raise argparse.ArgumentTypeError(f"there is no file {text}")
    return Path(text)


def run(arguments: argparse.Namespace) -> int:
    """Start them, wait, stop them."""
    if sys.platform == "win32":
        _tell("`up` runs on Linux and macOS")
        return 2
    plan = _plan(arguments)
    if arguments.check:
        print("\n".join(_describe(plan)))
    for sentence in (*plan.missing, *plan.conflicts):
        _tell(sentence)
    if not plan.can_start:
        return 2
    return 0 if arguments.check else _run(plan)


def _plan(arguments: argparse.Namespace) -> Plan:
    from otelml import settings
    from otelml.stack import locate_shipped
    from otelml.stack.servers.plan import create_plan
    from otelml.stack.servers.ports import PORTS

    config = arguments.alertmanager_config
    return create_plan(
        (arguments.dir or settings.current().telemetry_dir / "stack").absolute(),
        numbers={port: getattr(arguments, port.option[2:].replace("-", "_")) for port in PORTS},
        rules=(arguments.rules or locate_shipped("dashboards") / "rules").absolute(),
        alertmanager_config=config and config.absolute(),
    )


def _describe(plan: Plan) -> Iterator[str]:
    for service in plan.services:
        yield f"{service.name}: {service.about}"
        variables = (f"{name}={shlex.quote(value)}" for name, value in service.environ.items())
        yield f"  {' '.join([*variables, shlex.join(service.command)])}"
        for path in service.files:
            yield f"  writes {path}"
        yield f"  logs to {service.log}"


def _run(plan: Plan) -> int:
    from otelml.stack.servers import supervisor

    def tell_ready() -> None:
        print("\n".join(_introduce(plan)), flush=True)

    _tell(f"starting {', '.join(service.name for service in plan.services)} ...")
    return supervisor.run(plan.services, tell_ready, _tell)


def _introduce(plan: Plan) -> Iterator[str]:
    width = max(len(service.name) for service in plan.services)
    for service in plan.services:
        yield f"  {service.name:<{width}}  {service.about}"
    yield f"  {'files':<{width}}  {plan.folder}"
    yield f"Run a program with\n  {plan.program}\nCtrl-C stops the servers."


def _tell(what: str) -> None:
    print(f"otelml: {what}", file=sys.stderr, flush=True)
