"""What ships to be deployed is accepted by the programs that read it, and what a pod would run works as processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from serverkit import (
    PATIENCE_S,
    Collector,
    Prometheus,
    Server,
    fetch,
    find,
    free_ports,
    missing,
    plain_environ,
    wait_until,
)

ROOT = Path(__file__).parents[2]
LAYERS = ROOT / "collector-config"
STACK = ROOT / "examples" / "stack"
KUBERNETES = ROOT / "examples" / "deploy" / "kubernetes"
KUBERNETES_VERSION = "1.34"
COMPOSE = yaml.safe_load((STACK / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]


def accepted(*command: str | Path, **environ: str) -> str:
    """What a checking program prints; fails the test with it where it refuses."""
    done = subprocess.run(
        command, env=plain_environ(**environ), capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def load_all(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


# -- compose


def find_errors(document: Any, schema: Any) -> list[str]:
    """Where and how `document` differs from a JSON schema, in the version that the schema names."""
    validator = jsonschema.validators.validator_for(schema)(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


def test_compose_follows_its_schema() -> None:
    """The specification's own; a key that it does not know is found."""
    schema = json.loads(find("compose-schema").read_text())
    assert find_errors(COMPOSE, schema) == []
    wrong = {**COMPOSE, "services": {"grafana": {"image": "x", "port": ["3000"]}}}
    assert len(find_errors(wrong, schema)) == 1


def test_composes_collector_starts_on_its_layers() -> None:
    """With the variables that compose sets, and the layers where they are here."""
    collector = SERVICES["collector"]
    configs = [argument.replace("/etc/otelcol", str(LAYERS)) for argument in collector["command"]]
    accepted(find("otelcol"), "validate", *configs, **collector["environment"])


@pytest.mark.parametrize(
    "config", [LAYERS / "scrape" / "prometheus.yml", STACK / "prometheus.yml"], ids=["scrape", "compose"]
)
def test_prometheus_takes_the_configurations(config: Path, tmp_path: Path) -> None:
    """With the rules that they name, all of which are there."""
    copy = tmp_path / "prometheus.yml"
    rules = ROOT / "dashboards" / "rules"
    text = (
        config.read_text()
        .replace("/etc/prometheus/rules", str(rules))
        .replace("../../dashboards/rules", str(rules))
    )
    copy.write_text(text.replace("[targets.yaml]", f"[{LAYERS / 'scrape' / 'targets.yaml'}]"))
    printed = accepted(find("promtool"), "check", "config", copy)
    assert f"{len(list(rules.glob('*.yaml')))} rule files found" in printed


def test_alertmanager_takes_the_configuration_that_notifies_nobody() -> None:
    """That of `otelml up` and of compose."""
    local = ROOT / "dashboards" / "alertmanager" / "local.yaml"
    assert "1 receivers" in accepted(find("amtool"), "check-config", local)


def test_composes_health_checks_ask_the_right_thing(tmp_path: Path) -> None:
    """Each says yes of a server that runs, and no where none does."""
    config = ROOT / "dashboards" / "alertmanager" / "local.yaml"
    (port,) = free_ports(1)
    alertmanager = Server(
        [find("alertmanager"), f"--config.file={config}", f"--storage.path={tmp_path}",
         f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="],
        tmp_path, ports=[port],
    )  # fmt: skip
    with Prometheus(tmp_path, {}) as prometheus, alertmanager:
        for name, url in (("prometheus", prometheus.url), ("alertmanager", f"http://127.0.0.1:{port}")):
            program, *arguments = SERVICES[name]["healthcheck"]["test"][1:]
            command = [find(program), *(re.sub(r"http://[\d.:]+", url, argument) for argument in arguments)]
            accepted(*command)
            (nobody,) = free_ports(1)
            broken = [str(part).replace(url, f"http://127.0.0.1:{nobody}") for part in command]
            assert (
                subprocess.run(broken, capture_output=True, timeout=PATIENCE_S, check=False).returncode == 1
            )


# -- Kubernetes


def read_objects() -> list[dict[str, Any]]:
    """What kustomize takes, but for the generated ConfigMap."""
    (kustomization,) = load_all(KUBERNETES / "kustomization.yaml")
    return [document for name in kustomization["resources"] for document in load_all(KUBERNETES / name)]


def test_objects_follow_kubernetes_schemas() -> None:
    """Those of the version's own OpenAPI, in which a key that does not exist is an error."""
    try:
        import kubernetes_validate
    except ImportError:
        missing("no kubernetes-validate: `make compare` installs it")
    objects = [one for one in read_objects() if one["kind"] != "PodMonitor"]
    for one in objects:
        kubernetes_validate.validate(one, KUBERNETES_VERSION, strict=True)
    wrong = {**objects[0], "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, KUBERNETES_VERSION, strict=True)


def forbid_unknown(schema: Any) -> Any:
    """A CRD's schema in which keys that it does not name are errors."""
    if isinstance(schema, list):
        return [forbid_unknown(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    stricter = {key: forbid_unknown(value) for key, value in schema.items()}
    if "properties" in schema and schema.get("type") == "object":
        stricter.setdefault("additionalProperties", False)
    return stricter


def test_the_pod_monitor_follows_the_operators_schema() -> None:
    """That of the custom resource's definition."""
    (definition,) = load_all(find("podmonitor-schema"))
    schema = forbid_unknown(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    (monitor,) = [one for one in read_objects() if one["kind"] == "PodMonitor"]
    assert find_errors(monitor, schema) == []
    monitor["spec"]["podMetricsEndpoints"][0]["ports"] = 1
    assert len(find_errors(monitor, schema)) == 1


def test_kustomize_builds_it() -> None:
    """Every object is in the namespace, and the ConfigMap has the layers as they are."""
    built = accepted(find("kustomize"), "build", "--load-restrictor", "LoadRestrictionsNone", KUBERNETES)
    objects = {one["kind"]: one for one in yaml.safe_load_all(built)}
    assert set(objects) == {one["kind"] for one in read_objects()} | {"ConfigMap"}
    assert objects["ConfigMap"]["data"]["agent.yaml"] == (LAYERS / "agent.yaml").read_text()
    pod = objects["Deployment"]["spec"]["template"]["spec"]
    assert {"name": "layers", "configMap": {"name": objects["ConfigMap"]["metadata"]["name"]}} in pod[
        "volumes"
    ]


@dataclass
class Pod:
    """The containers of the Deployment as processes on this machine, with a collector as their gateway."""

    agent: Collector
    program: Server
    gateway: Path
    telemetry: Path
    ports: dict[str, int]

    def read_sent(self, kind: str) -> list[dict[str, Any]]:
        """The spans or log records that the gateway has, each with its resource's attributes."""
        path = self.gateway / f"otlp-{kind}.jsonl"
        groups, scopes, items = {
            "traces": ("resourceSpans", "scopeSpans", "spans"),
            "logs": ("resourceLogs", "scopeLogs", "logRecords"),
        }[kind]
        return [
            {**item, "resource": {one["key"]: one["value"] for one in group["resource"]["attributes"]}}
            for line in (path.read_text().splitlines() if path.exists() else ())
            for group in json.loads(line)[groups]
            for scope in group[scopes]
            for item in scope[items]
        ]

    def count_written(self) -> int:
        """The log records in the program's files."""
        return sum(len(file.read_text().splitlines()) for file in self.telemetry.rglob("logs*.jsonl"))


def read_environ(container: dict[str, Any], pod_name: str) -> dict[str, str]:
    """The variables of a container, with those filled in that Kubernetes fills in."""
    known = {"POD_NAME": pod_name, "POD_NAMESPACE": "otelml", "NODE_NAME": "node"}
    given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    return known | {
        name: re.sub(r"\$\((\w+)\)", lambda found: known[found[1]], value) for name, value in given.items()
    }


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    """What the Deployment says, with folders of this test in place of mounts, and ports that were free."""
    names = ("gateway", "gateway-grpc", "http", "grpc", "health", "otelcol", "metrics", "gateway-metrics")
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    telemetry, layers, files = tmp_path / "telemetry", tmp_path / "layers", tmp_path / "gateway"
    for folder in (telemetry, layers, files):
        folder.mkdir()
    (kustomization,) = load_all(KUBERNETES / "kustomization.yaml")
    for entry in kustomization["configMapGenerator"][0]["files"]:
        source = KUBERNETES / entry.rpartition("=")[2]
        target = layers / (entry.partition("=")[0] if "=" in entry else source.name)
        target.write_text(source.read_text().replace("0.0.0.0", "127.0.0.1"))  # noqa: S104
    (deployment,) = [one for one in read_objects() if one["kind"] == "Deployment"]
    spec = deployment["spec"]["template"]["spec"]
    environs = {
        one["name"]: {
            key: value.replace("/telemetry", str(telemetry))
            for key, value in read_environ(one, "behaviour-0").items()
        }
        for one in (*spec["initContainers"], *spec["containers"])
    }
    gateway = Collector(
        files, LAYERS / "base.yaml", LAYERS / "to-files.yaml", ports=[ports["gateway"]],
        environ={
            "OTELCOL_HTTP_PORT": str(ports["gateway"]), "OTELCOL_GRPC_PORT": str(ports["gateway-grpc"]),
            "OTELCOL_METRICS_PORT": str(ports["gateway-metrics"]), "OTELCOL_FILES_DIR": str(files),
        },
    )  # fmt: skip
    options = [a.replace("/etc/otelcol", str(layers)) for a in spec["initContainers"][0]["args"]]
    agent = Server(
        [find("otelcol"), *options], layers, ports=[ports["http"], ports["health"], ports["otelcol"]],
        environ=environs["agent"] | {
            "GATEWAY_OTLP_URL": f"http://127.0.0.1:{ports['gateway']}",
            "OTELCOL_HTTP_PORT": str(ports["http"]), "OTELCOL_GRPC_PORT": str(ports["grpc"]),
            "OTELCOL_HEALTH_PORT": str(ports["health"]), "OTELCOL_METRICS_PORT": str(ports["otelcol"]),
        },
    )  # fmt: skip
    script = Path(sys.executable).with_name("opentelemetry-instrument")
    pipeline = [sys.executable, ROOT / "examples" / "behaviour_pipeline.py"]
    program = Server(
        [script, *pipeline, *spec["containers"][0]["args"]], tmp_path, ports=[ports["metrics"]],
        environ=environs["program"] | {
            "OTEL_EXPORTER_PROMETHEUS_HOST": "127.0.0.1",
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(ports["metrics"]),
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"http://127.0.0.1:{ports['http']}/v1/traces",
        },
    )  # fmt: skip
    with gateway, agent, program:
        yield Pod(agent, program, files, telemetry, ports)


def test_a_pods_signals_take_their_ways(pod: Pod) -> None:
    """Metrics are served, traces and log records reach the gateway, with the service, the pod and the run."""
    assert fetch(f"http://127.0.0.1:{pod.ports['health']}/")
    wait_until(lambda: pod.read_sent("traces"), pod.agent.read_log)
    wait_until(lambda: pod.read_sent("logs"), pod.agent.read_log)
    metrics = fetch(f"http://127.0.0.1:{pod.ports['metrics']}/metrics")
    assert "ml_stage_duration_seconds_count{" in metrics
    assert 'service_name="behaviour"' in metrics
    assert "otelcol_receiver_accepted_spans" in fetch(f"http://127.0.0.1:{pod.ports['otelcol']}/metrics")
    span, record = pod.read_sent("traces")[0], pod.read_sent("logs")[0]
    assert span["resource"]["k8s.pod.name"] == {"stringValue": "behaviour-0"}
    for one in (span, record):
        assert one["resource"]["service.name"] == {"stringValue": "behaviour"}
        assert one["resource"]["ml.run.id"] == {"stringValue": "behaviour-0"}


def test_a_pod_that_ends_loses_no_log_record(pod: Pod) -> None:
    """The program ends at SIGTERM, the agent after it; then the gateway has every line that the program wrote."""
    wait_until(lambda: pod.read_sent("logs"), pod.agent.read_log)
    pod.program.stop()
    written = pod.count_written()
    wait_until(lambda: len(pod.read_sent("logs")) >= written, pod.agent.read_log)
    pod.agent.stop()
    assert len(pod.read_sent("logs")) == written > 0
    assert sorted(path.name for path in pod.telemetry.glob("behaviour/*")) == ["behaviour-0"]
