"""Real programs, a real Prometheus with the rules that ship, a real Alertmanager, and a webhook instead of Slack's.

A minute is a second here: ranges and waits of the rules are changed in the copies that are loaded, and nothing else.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from alertkit import Alertmanager, Slack, write_hurried_rules
from rulekit import Rule, read_queries, read_rules
from serverkit import PATIENCE_S, ROOT, Collector, Prometheus, free_ports, plain_environ, wait_until

EVER = "10m"
"""Longer than any of the tests."""

COLLECTOR = """
receivers: {{otlp: {{protocols: {{http: {{endpoint: "127.0.0.1:{otlp}"}}}}}}}}
processors: {{memory_limiter: {{check_interval: 1s, limit_mib: 512}}}}
exporters:
  otlp_http/nowhere:
    endpoint: http://127.0.0.1:{nowhere}
    sending_queue: {{queue_size: 3, num_consumers: 1}}
    retry_on_failure: {{initial_interval: 1s, max_interval: 1s, max_elapsed_time: 2s}}
service:
  telemetry:
    metrics: {{readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {own}}}}}}}}}]}}
  pipelines:
    metrics: {{receivers: [otlp], processors: [memory_limiter], exporters: [otlp_http/nowhere]}}
    traces: {{receivers: [otlp], processors: [memory_limiter], exporters: [otlp_http/nowhere]}}
    logs: {{receivers: [otlp], processors: [memory_limiter], exporters: [otlp_http/nowhere]}}
"""


class Patient:
    """A process of tests/kit/patient.py, in one of its roles."""

    def __init__(self, folder: Path, role: str, *, ill: bool, **environ: str) -> None:
        folder.mkdir()
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "kit" / "patient.py"), role],
            cwd=folder, env=plain_environ(OTELML_GPU_INTERVAL="1s", **environ),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True,
        )  # fmt: skip
        self.make(ill=ill)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n", Path(self.log.name).read_text()

    def make(self, *, ill: bool) -> None:
        """Make it ill, or well."""
        assert self.process.stdin is not None
        self.process.stdin.write("ill\n" if ill else "well\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """End it, however it is."""
        self.process.kill()
        self.process.communicate(timeout=PATIENCE_S)
        self.log.close()


class Ward:
    """Programs in their roles, and the Prometheus that watches them; as a `with` block it is all stopped at the end."""

    def __init__(self, folder: Path, alertmanager: str | None = None, **thresholds: float) -> None:
        self.folder = folder
        *ports, self.collector_port, self.exporter_port = free_ports(7)
        self.ports = iter(ports)
        self.patients: list[Patient] = []
        # A scrape has a second here, so one that nobody answers takes less than the threshold that ships.
        rules = write_hurried_rules(folder, {"target_down": 0.6, **thresholds})
        targets = {
            "otelml": ports,
            "otelcol": [self.collector_port],
            "otelml-collector": [self.exporter_port],
        }
        config: dict[str, Any] = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": rules,
            "scrape_configs": [
                {
                    "job_name": job,
                    "honor_labels": True,
                    "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in chosen]}],
                }
                for job, chosen in targets.items()
            ],
        }
        if alertmanager:
            config["alerting"] = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        self.prometheus = Prometheus(folder, config)

    def admit(self, role: str, *, ill: bool, **environ: str) -> Patient:
        """A program that Prometheus scrapes."""
        port = next(self.ports)
        environ["OTEL_EXPORTER_PROMETHEUS_PORT"] = str(port)
        name = f"{role}-{port}"
        self.patients.append(Patient(self.folder / name, role, ill=ill, **environ))
        return self.patients[-1]

    def fired(self) -> set[tuple[str, str]]:
        """The alerts that have fired so far, with their severities."""
        found = self.prometheus.query(f'count_over_time(ALERTS{{alertstate="firing"}}[{EVER}])')
        return {(row["metric"]["alertname"], row["metric"]["severity"]) for row in found}

    def firing(self, alert: str) -> list[dict[str, Any]]:
        """Those of one name that are firing now."""
        return [each for each in self.prometheus.alerts() if each["labels"]["alertname"] == alert]

    def wait_for_evaluations(self, count: int) -> None:
        """Until the rules have been evaluated so many times."""
        expression = f"count_over_time(otelml:threshold:fleet_drift[{EVER}])"
        wait_until(lambda: (self.prometheus.value(expression) or 0) >= count, expression, 3 * PATIENCE_S)

    def __enter__(self) -> Ward:
        self.prometheus.start()
        return self

    def __exit__(self, *_: object) -> None:
        for patient in self.patients:
            patient.stop()
        self.prometheus.stop()


def rank(number: int) -> dict[str, str]:
    """The environment of one rank of two."""
    return {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}


def test_an_alert_reaches_slack_and_is_resolved(tmp_path: Path) -> None:
    """Requests fail: Slack gets a message in its format, with what is wrong and what to do, and one when it is over."""
    with (
        Slack() as slack,
        Alertmanager(tmp_path, slack.url, hurry=60) as alertmanager,
        Ward(tmp_path, alertmanager.address) as ward,
    ):
        server = ward.admit("server", ill=True)
        message = slack.wait_for("critical: InferenceErrorRateHigh in server")
        assert message["color"] == "danger"
        assert message["fallback"] == message["title"]
        text = message["text"].splitlines()
        assert text[0] == "*server: requests to digits fail*"
        assert text[1].endswith("% of the requests of the last five minutes failed.")
        assert "<https://otelml.invalid/docs/runbook.md#inferenceerrorratehigh|runbook>" in text[2]
        assert "/graph?g0.expr=otelml%3Ainference_failures" in text[2]
        assert slack.messages[0]["path"] == "/services/T000/B000/secret"
        # The warning of the same name fires too, and is held back.
        warning = {"alertname": "InferenceErrorRateHigh", "severity": "warning"}
        wait_until(lambda: [each for each in alertmanager.inhibited() if warning.items() <= each.items()])
        assert not slack.titled("warning: InferenceErrorRateHigh in server")
        server.make(ill=False)
        message = slack.wait_for("resolved: InferenceErrorRateHigh in server")
        assert message["color"] == "good"
        assert message["text"].startswith("*server: requests to digits fail* (resolved)")


def test_programs_that_are_well_raise_no_alert(tmp_path: Path) -> None:
    """Not in an hour: a server, two ranks, and a training that ends with its process."""
    with Ward(tmp_path) as ward:
        ward.admit("server", ill=False)
        ward.admit("trainer", ill=False, **rank(0))
        ward.admit("trainer", ill=False, **rank(1))
        finished = ward.admit("finished", ill=False)
        finished.process.wait(PATIENCE_S)
        ward.wait_for_evaluations(60)
        assert ward.fired() == set()
        # They were all seen: three go on, and one is known to be gone.
        wait_until(lambda: ward.prometheus.value('sum(up{job="otelml"})') == 3)
        wait_until(lambda: ward.prometheus.value("count(otelml:target:down)") == 1)


def test_a_training_behind_a_collector_ends_in_peace(tmp_path: Path) -> None:
    """The collector shows what it knew for a while (its `metric_expiration`): no alert. When it ends itself, one."""
    hurried = tmp_path / "hurried.yaml"
    hurried.write_text(yaml.safe_dump({"exporters": {"prometheus": {"metric_expiration": "5s"}}}))
    layers = [ROOT / "collector-config" / "base.yaml", ROOT / "collector-config" / "prometheus.yaml", hurried]
    otlp, grpc = free_ports(2)
    with Ward(tmp_path) as ward:
        ports = {
            "OTELCOL_HTTP_PORT": otlp,
            "OTELCOL_GRPC_PORT": grpc,
            "OTELCOL_METRICS_PORT": ward.collector_port,
            "OTELCOL_PROMETHEUS_PORT": ward.exporter_port,
        }
        environ = {name: str(port) for name, port in ports.items()}
        collector = Collector(tmp_path, *layers, ports=[otlp], environ=environ, binary="otelcol-core")
        with collector:
            pushing = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{otlp}"}
            ward.admit("finished", ill=False, OTEL_METRIC_EXPORT_INTERVAL="500", **pushing)
            is_open = 'otelml:training_run:open{job="finished",service_name="finished",instance!=""}'
            wait_until(lambda: ward.prometheus.query(is_open), is_open)
            wait_until(lambda: not ward.prometheus.query(is_open), is_open)
            ward.wait_for_evaluations(45)
            assert ward.fired() == set()
        (alert,) = wait_until(lambda: ward.firing("TargetDown"), ward.prometheus.alerts)
        assert alert["labels"]["job"] == "otelcol"


@pytest.fixture
def send_in_vain(tmp_path: Path) -> Iterator[Callable[[int], str]]:
    """Starts a collector that cannot deliver, with its own metrics at a port; returns where to send to."""
    started: list[Collector] = []

    def start(own: int) -> str:
        otlp, nowhere = free_ports(2)
        config = tmp_path / "collector.yaml"
        config.write_text(COLLECTOR.format(otlp=otlp, nowhere=nowhere, own=own))
        started.append(Collector(tmp_path, config, ports=[otlp, own], binary="otelcol-core"))
        started[-1].start()
        return f"http://127.0.0.1:{otlp}"

    yield start
    for server in started:
        server.stop()


def missing(ward: Ward, rules: list[Rule]) -> set[str]:
    """What has not been recorded and what has not fired yet."""
    found = ward.prometheus.query(f'count by (__name__) (last_over_time({{__name__=~".+:.+"}}[{EVER}]))')
    recorded = {row["metric"]["__name__"] for row in found}
    wanted = {rule["record"] for rule in rules if "record" in rule}
    alerts = {(rule["alert"], rule["labels"]["severity"]) for rule in rules if "alert" in rule}
    return (wanted - recorded) | {" ".join(alert) for alert in alerts - ward.fired()}


def test_programs_that_are_ill_raise_every_alert(tmp_path: Path, send_in_vain: Callable[[int], str]) -> None:
    """Every alert fires, every rule records something, every query of the runbook has an answer.

    So no expression asks for what nobody emits. Memory and disk are as they are: their thresholds are lower. Thresholds
    are loaded, so that one alert cannot fire.
    """
    rules = [rule for rule in read_rules() if rule.get("alert") != "ThresholdsMissing"]
    with Ward(tmp_path, memory_nearly_full=0, disk_nearly_full=0) as ward:
        url = send_in_vain(ward.collector_port)
        server = ward.admit("server", ill=True)
        ward.admit("trainer", ill=True, **rank(0))
        ward.admit("trainer", ill=True, **rank(1))
        ward.admit("stalled", ill=True)
        pushing = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_METRIC_EXPORT_INTERVAL": "500"}
        ward.admit("server", ill=True, **pushing)
        gone = {"TargetDown critical", "otelml:target:down"}
        wait_until(lambda: missing(ward, rules) <= gone, lambda: missing(ward, rules), 3 * PATIENCE_S)
        unanswered = [query for query in read_queries() if not ward.prometheus.query(query)]
        server.process.kill()
        wait_until(lambda: not missing(ward, rules), lambda: missing(ward, rules))
        alerts = ward.prometheus.alerts()
        assert [query for query in unanswered if not ward.prometheus.query(query)] == []
    assert [alert for alert in alerts if "<no value>" in str(alert) or "error expanding" in str(alert)] == []
    nameless = {alert["labels"]["alertname"] for alert in alerts if "service_name" not in alert["labels"]}
    assert nameless <= {"CollectorLosesTelemetry", "CollectorQueueNearlyFull"}


def test_a_training_that_hangs_is_down(tmp_path: Path) -> None:
    """Stopped, it takes connections and answers none, unlike one that has ended; when it goes on the alert is over."""
    with Ward(tmp_path) as ward:
        trainer = ward.admit("trainer", ill=False, **rank(1))
        wait_until(lambda: ward.prometheus.query("ml_training_steps_total"))
        trainer.process.send_signal(signal.SIGSTOP)
        (alert,) = wait_until(lambda: ward.firing("TargetDown"), ward.prometheus.alerts)
        assert alert["labels"]["service_name"] == "trainer"
        assert alert["labels"]["ml_distributed_rank"] == "1"
        trainer.process.send_signal(signal.SIGCONT)
        wait_until(lambda: not ward.firing("TargetDown"), ward.prometheus.alerts)
