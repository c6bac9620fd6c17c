"""The Prometheus of `otelml up`: the shipped configuration, with the ports and the servers that there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from otelml.stack import locate_shipped
from otelml.stack.servers import ports
from otelml.stack.servers.ports import LOOPBACK, Port
from otelml.stack.servers.service import Service

SCRAPE_INTERVAL = "5s"
"""Shorter than usual: somebody is watching."""
RETENTION_SIZE = "4GB"
"""What its data may take; the oldest go first, whatever their age."""
_HEADER = "# Written by `otelml up` at each start; changes do not last. targets.yaml is yours.\n"
_PORTS_OF_JOBS = {"otelml-collector": ports.METRICS, "otelcol": ports.COLLECTOR}


def create_service(program: Path, folder: Path, rules: Path, chosen: Mapping[Port, int]) -> Service:
    """Prometheus as it will be started; `chosen` has the ports of the servers that will run beside it."""
    import yaml

    config, targets = folder / "prometheus.yml", folder / "targets.yaml"
    shipped = locate_shipped("collector-config") / "scrape"
    document = yaml.safe_load((shipped / "prometheus.yml").read_text(encoding="utf-8"))
    adapted = adapt(document, targets=targets, rules=rules, chosen=chosen)
    files = {config: _HEADER + yaml.safe_dump(adapted, sort_keys=False)}
    if not targets.exists():
        # The user's from then on: Prometheus reads it again whenever it is changed.
        files[targets] = (shipped / "targets.yaml").read_text(encoding="utf-8")
    number = chosen[ports.PROMETHEUS]
    return Service(
        name="Prometheus",
        command=(
            str(program),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--storage.tsdb.retention.size={RETENTION_SIZE}",
            f"--web.listen-address={LOOPBACK}:{number}",
        ),
        folder=folder,
        files=files,
        ports={ports.PROMETHEUS: number},
        about=f"http://{LOOPBACK}:{number}",
    )


def adapt(
    document: Mapping[str, Any], *, targets: Path, rules: Path, chosen: Mapping[Port, int]
) -> dict[str, Any]:
    """The shipped configuration for these ports, without the jobs and the alerting of servers that do not run."""
    adapted: dict[str, Any] = {
        "global": {
            **document["global"],
            "scrape_interval": SCRAPE_INTERVAL,
            "evaluation_interval": SCRAPE_INTERVAL,
        },
        "rule_files": [str(rules / "*.yaml")],
    }
    if ports.ALERTMANAGER in chosen:
        adapted["alerting"] = {"alertmanagers": [_static(chosen[ports.ALERTMANAGER])]}
    adapted["scrape_configs"] = [
        _adapt_job(job, targets, chosen)
        for job in document["scrape_configs"]
        if job["job_name"] not in _PORTS_OF_JOBS or _PORTS_OF_JOBS[job["job_name"]] in chosen
    ]
    return adapted


def _adapt_job(job: Mapping[str, Any], targets: Path, chosen: Mapping[Port, int]) -> dict[str, Any]:
    port = _PORTS_OF_JOBS.get(job["job_name"])
    if port is None:
        return {**job, "file_sd_configs": [{"files": [str(targets)]}]}
    return {**job, **_static(chosen[port])}


def _static(number: int) -> dict[str, Any]:
    return {"static_configs": [{"targets": [f"{LOOPBACK}:{number}"]}]}
