"""The Alertmanager configuration that ships: amtool accepts and routes it, and a real Alertmanager inhibits by it."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from alertkit import CONFIG, Alertmanager, Slack
from rulekit import read_rules
from serverkit import PATIENCE_S, find, wait_until

Labels = dict[str, str]


def run_amtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What amtool says."""
    command = [find("amtool"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def test_amtool_accepts_the_configuration() -> None:
    """It is valid, with its template."""
    done = run_amtool("check-config", CONFIG)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 templates" in done.stdout


def receiver_of(**labels: str) -> str:
    """Who gets an alert with these labels."""
    pairs = [f"{key}={value}" for key, value in labels.items()]
    done = run_amtool("config", "routes", "test", f"--config.file={CONFIG}", *pairs)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_alert_goes_where_its_severity_says() -> None:
    """Each severity of each alert has a route, and an alert of somebody else's rules is treated as a warning."""
    for rule in read_rules():
        if "alert" in rule:
            severity = rule["labels"]["severity"]
            assert receiver_of(alertname=rule["alert"], severity=severity) == f"slack-{severity}"
    assert receiver_of(alertname="NodeDown", severity="page") == "slack-warning"


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    """One with a Slack that listens to it."""
    with Slack() as slack, Alertmanager(tmp_path, slack.url) as server:
        yield server


def post(alertmanager: Alertmanager, *alerts: Labels) -> None:
    """Tell it of alerts, as Prometheus does."""
    body = json.dumps([{"labels": labels} for labels in alerts]).encode()
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(f"{alertmanager.url}/api/v2/alerts", body, headers)
    urllib.request.urlopen(request, timeout=PATIENCE_S).close()


def test_critical_inhibits_the_same_warning(alertmanager: Alertmanager) -> None:
    """Of the same alert about the same thing; not about another disk, and not another alert."""
    disk = {"alertname": "DiskNearlyFull", "service_name": "train", "host_name": "node1"}
    data, root = "/data", "/"
    post(
        alertmanager,
        {**disk, "system_filesystem_mountpoint": data, "severity": "critical"},
        {**disk, "system_filesystem_mountpoint": data, "severity": "warning"},
        {**disk, "system_filesystem_mountpoint": root, "severity": "warning"},
        {**disk, "alertname": "MemoryNearlyFull", "severity": "warning"},
    )
    wait_until(alertmanager.inhibited, alertmanager.alerts)
    assert alertmanager.inhibited() == [{**disk, "system_filesystem_mountpoint": data, "severity": "warning"}]


def test_a_target_that_is_down_inhibits_what_else_is_known_of_it(alertmanager: Alertmanager) -> None:
    """Alerts of that process; not of another one, and not of a whole service."""
    here, there = {"job": "otelml", "instance": "a:9464"}, {"job": "otelml", "instance": "b:9464"}
    stalled = {"alertname": "TrainingStalled", **here, "severity": "critical"}
    post(
        alertmanager,
        {"alertname": "TargetDown", **here, "severity": "critical"},
        stalled,
        {"alertname": "CodebookCollapse", **there, "severity": "warning"},
        {"alertname": "InferenceErrorRateHigh", "service_name": "serve", "severity": "critical"},
    )
    wait_until(alertmanager.inhibited, alertmanager.alerts)
    assert alertmanager.inhibited() == [stalled]


def test_drift_of_the_fleet_inhibits_that_of_its_processes(alertmanager: Alertmanager) -> None:
    """Of the same feature."""
    age = {"service_name": "serve", "severity": "warning", "ml_feature_name": "age"}
    drift = {"alertname": "DriftDetected", **age, "instance": "a:9464"}
    post(alertmanager, {"alertname": "FleetDrift", **age}, drift, {**drift, "ml_feature_name": "size"})
    wait_until(alertmanager.inhibited, alertmanager.alerts)
    assert alertmanager.inhibited() == [drift]
