"""The Alertmanager of `otelml up`: alerts show on its page, and nobody is notified unless a configuration says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from otelml.stack import locate_shipped
from otelml.stack.servers import ports
from otelml.stack.servers.ports import LOOPBACK, Port
from otelml.stack.servers.service import Service


def create_service(program: Path, folder: Path, config: Path | None, chosen: Mapping[Port, int]) -> Service:
    """Alertmanager as it will be started, with the user's `config` or the shipped one that notifies nobody."""
    number = chosen[ports.ALERTMANAGER]
    used = config or locate_shipped("dashboards") / "alertmanager" / "local.yaml"
    return Service(
        name="Alertmanager",
        command=(
            str(program),
            f"--config.file={used}",
            f"--storage.path={folder / 'data'}",
            f"--web.listen-address={LOOPBACK}:{number}",
            "--cluster.listen-address=",  # else it listens on all addresses for others of its kind
        ),
        folder=folder,
        ports={ports.ALERTMANAGER: number},
        about=f"http://{LOOPBACK}:{number}",
    )
