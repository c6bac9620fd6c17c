"""What examples/stack and examples/deploy refer to exists: files, ports, names, releases.

No server is needed for this; tests/e2e/test_deploy.py asks the real ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
STACK = ROOT / "examples" / "stack"
DEPLOY = ROOT / "examples" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
COMPOSE = yaml.safe_load((STACK / "compose.yaml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
RELEASE = re.compile(r".+:v?\d+\.\d+\.\d+(-[a-z]+)*")


def load_all(path: Path) -> list[dict[str, Any]]:
    """The documents of a YAML file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def find_images(document: Any) -> Iterator[str]:
    """Every value of a key `image`, however deep."""
    if isinstance(document, dict):
        for key, value in document.items():
            if key == "image" and isinstance(value, str):
                yield value
            yield from find_images(value)
    elif isinstance(document, list):
        for part in document:
            yield from find_images(part)


OBJECTS = {
    document["kind"]: document
    for name in load_all(KUBERNETES / "kustomization.yaml")[0]["resources"]
    for document in load_all(KUBERNETES / name)
}
POD: dict[str, Any] = OBJECTS["Deployment"]["spec"]["template"]
CONTAINERS = [*POD["spec"]["initContainers"], *POD["spec"]["containers"]]


# -- compose


def find_mounts(service: dict[str, Any]) -> dict[str, str]:
    """Where in the container which file, folder or volume is."""
    return {mount.split(":")[1]: mount.split(":")[0] for mount in service.get("volumes", ())}


@pytest.mark.parametrize("name", SERVICES)
def test_compose_mounts_what_exists(name: str) -> None:
    """Files of this checkout, read-only, or declared volumes. Docker makes a folder of a file that is not there."""
    for mount in SERVICES[name].get("volumes", ()):
        source, _, *mode = mount.split(":")
        if source.startswith("."):
            assert (STACK / source).exists(), mount
            assert mode == ["ro"], mount
        else:
            assert source in COMPOSE["volumes"], mount


@pytest.mark.parametrize("name", SERVICES)
def test_compose_publishes_on_the_loopback_address(name: str) -> None:
    """A port without an address would be open to the network, past most firewalls."""
    assert [port for port in SERVICES[name].get("ports", ()) if not port.startswith("127.0.0.1:")] == []


def test_compose_refers_to_its_own_services() -> None:
    """In `depends_on`, and in every address within its configurations."""
    named = {other for service in SERVICES.values() for other in service.get("depends_on", ())}
    text = "\n".join(path.read_text() for path in STACK.rglob("*.y*ml"))
    named |= set(re.findall(r"(?:http://|\[|: )([a-z]+):\d+", text))
    assert named - {"http"} == set(SERVICES) - {"grafana"}
    assert set(COMPOSE["volumes"]) == {
        source
        for service in SERVICES.values()
        for source in find_mounts(service).values()
        if not source.startswith(".")
    }


@pytest.mark.parametrize("name", SERVICES)
def test_compose_starts_on_files_that_are_mounted(name: str) -> None:
    """What a command names as its configuration is in a mounted folder, or is a mounted file."""
    mounts = find_mounts(SERVICES[name])
    for argument in SERVICES[name].get("command", ()):
        option, _, value = argument.partition("=")
        if option.lstrip("-") in {"config", "config.file"}:
            target = next(target for target in mounts if value == target or value.startswith(f"{target}/"))
            assert (STACK / mounts[target] / value[len(target) :].lstrip("/")).is_file(), argument


def test_grafana_finds_boards_and_sources() -> None:
    """The boards' folder is the one that is provisioned, and links between the data sources lead to one of them."""
    (provider,) = load_all(STACK / "grafana" / "dashboards.yaml")[0]["providers"]
    assert find_mounts(SERVICES["grafana"])[provider["options"]["path"]] == "../../dashboards/grafana"
    text = (STACK / "grafana" / "datasources.yaml").read_text()
    uids = {source["uid"] for source in yaml.safe_load(text)["datasources"]}
    assert set(re.findall(r"datasourceUid: (\w+)", text)) <= uids == {"prometheus", "tempo", "loki"}


# -- releases


@pytest.mark.parametrize("image", [*find_images(SERVICES), *find_images(list(OBJECTS.values()))])
def test_images_are_releases(image: str) -> None:
    """By their whole number: `latest` is another program every day."""
    pinned = {one["name"]: one["newTag"] for one in load_all(KUBERNETES / "kustomization.yaml")[0]["images"]}
    assert RELEASE.fullmatch(f"{image}:{pinned[image]}" if image in pinned else image)


def test_there_is_one_collector() -> None:
    """The release whose components the layers were written for and are tested with."""
    (version,) = {
        yaml.safe_load(manifest.read_text())["dist"]["version"]
        for manifest in (ROOT / "collector-config").glob("builder.*.yaml")
    }
    images = [*find_images(SERVICES), *find_images(list(OBJECTS.values()))]
    collectors = [image for image in images if "collector" in image]
    assert collectors == [f"otel/opentelemetry-collector-contrib:{version}"] * 2


# -- Kubernetes


def test_selectors_find_the_pods() -> None:
    """Deployment, Service, PodMonitor and NetworkPolicy select by labels that the pods have."""
    specs = {kind: OBJECTS[kind]["spec"] for kind in ("Deployment", "Service", "PodMonitor", "NetworkPolicy")}
    selectors = [
        specs["Deployment"]["selector"]["matchLabels"],
        specs["Service"]["selector"],
        specs["PodMonitor"]["selector"]["matchLabels"],
        specs["NetworkPolicy"]["podSelector"]["matchLabels"],
    ]
    assert [one for one in selectors if not one.items() <= POD["metadata"]["labels"].items()] == []


def test_ports_are_those_of_the_containers() -> None:
    """By name or number, wherever one is referred to."""
    ports = {port["name"]: port["containerPort"] for one in CONTAINERS for port in one["ports"]}
    probes = [
        one[probe]["httpGet"]["port"]
        for one in CONTAINERS
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if probe in one
    ]
    service = OBJECTS["Service"]
    endpoints = OBJECTS["PodMonitor"]["spec"]["podMetricsEndpoints"]
    named = [
        *probes,
        *(endpoint["port"] for endpoint in endpoints),
        service["spec"]["ports"][0]["targetPort"],
    ]
    assert set(named) <= set(ports)
    numbers = [
        int(service["metadata"]["annotations"]["prometheus.io/port"]),
        service["spec"]["ports"][0]["port"],
    ]
    assert numbers == [ports["metrics"]] * 2
    allowed = [port["port"] for port in OBJECTS["NetworkPolicy"]["spec"]["ingress"][0]["ports"]]
    assert allowed == [ports[endpoint["port"]] for endpoint in endpoints]


def test_volumes_are_declared_and_layers_are_in_the_config_map() -> None:
    """Each mount has its volume, and each layer that the agent starts on is a file of the generated ConfigMap."""
    volumes = {volume["name"] for volume in POD["spec"]["volumes"]}
    assert {mount["name"] for one in CONTAINERS for mount in one["volumeMounts"]} == volumes
    (generated,) = load_all(KUBERNETES / "kustomization.yaml")[0]["configMapGenerator"]
    files = {
        entry.partition("=")[0].rpartition("/")[2]: entry.rpartition("=")[2] for entry in generated["files"]
    }
    assert [path for path in files.values() if not (KUBERNETES / path).is_file()] == []
    arguments = [argument for argument in CONTAINERS[0]["args"] if argument.startswith("--config")]
    assert arguments == [f"--config=/etc/otelcol/{name}" for name in files]
    assert {"configMap": {"name": generated["name"]}, "name": "layers"} in POD["spec"]["volumes"]


def test_pods_fit_the_strictest_standard() -> None:
    """As the namespace demands: no root, no privilege, nothing writable but the volumes."""
    enforced = OBJECTS["Namespace"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert enforced == "restricted"
    assert POD["spec"]["securityContext"]["runAsNonRoot"]
    assert POD["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for one in CONTAINERS:
        assert one["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "memory" in one["resources"]["limits"]


# -- the image


def test_the_image_is_made_of_what_exists() -> None:
    """From one release of Python; what is copied is there and not ignored; the user is the pods', and not root."""
    text = (DEPLOY / "Dockerfile").read_text()
    (base,) = {line.split()[1] for line in text.splitlines() if line.startswith("FROM")}
    assert RELEASE.fullmatch(base)
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    kept = [
        line[1:] for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line[:1] == "!"
    ]
    assert sorted(copied) == sorted(kept)
    assert [source for source in copied if not (ROOT / source).exists()] == []
    (user,) = re.findall(r"^USER (\d+)$", text, re.MULTILINE)
    assert int(user) == POD["spec"]["securityContext"]["runAsUser"]
