"""The detector `ml`, and how what it finds joins what OpenTelemetry itself detects."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from opentelemetry.sdk.resources import Resource, ResourceDetector, get_aggregated_resources

from otelml._version import __version__
from otelml.resource.launch import (
    Program,
    find_parent_service,
    find_program,
    find_run_id,
    is_worker_process,
)
from otelml.resource.revision import read_revision
from otelml.settings.ranks import read_ranks

_NAMELESS = "python"


class MLResourceDetector(ResourceDetector):
    """Detects program, run id, ranks, git revision and the distribution; what is unknown is left out."""

    def __init__(
        self,
        raise_on_error: bool = False,
        *,
        environ: Mapping[str, str] | None = None,
        program: Program | None = None,
        run_id: str | None = None,
    ) -> None:
        super().__init__(raise_on_error=raise_on_error)
        self._environ = os.environ if environ is None else environ
        self._program = program or find_program()
        self._run_id = run_id

    def detect(self) -> Resource:
        """Return the attributes; reads the environment and a few files of git, and starts no process."""
        ranks = read_ranks(self._environ)
        found = {
            "telemetry.distro.name": "otelml",
            "telemetry.distro.version": __version__,
            "service.name": find_parent_service(self._environ) or self._program.name,
            "ml.run.id": self._find_run_id(),
            "ml.distributed.rank": ranks.rank,
            "ml.distributed.local_rank": ranks.local_rank,
            "ml.distributed.world_size": ranks.world_size,
            "vcs.ref.head.revision": self._read_revision(),
        }
        return Resource({key: value for key, value in found.items() if value is not None})

    def _find_run_id(self) -> str | None:
        given = self._run_id or self._environ.get("OTELML_RUN_ID", "").strip()
        return find_run_id(self._environ, given or None, is_worker=is_worker_process())

    def _read_revision(self) -> str | None:
        return read_revision(self._program.folder) if self._program.folder else None


def _host_detector() -> ResourceDetector | None:
    found = next(iter(entry_points(group="opentelemetry_resource_detector", name="host")), None)
    return found.load()() if found else None


def default_service_name(program: Program | None = None) -> str:
    """`service.name` where nobody gave one: the main script's, so that two programs do not become one service."""
    return find_parent_service(os.environ) or (program or find_program()).name or _NAMELESS


def create_resource(
    service_name: str | None = None, run_id: str | None = None, attributes: Mapping[str, Any] | None = None
) -> Resource:
    """The resource of this process.

    What is detected here gives way to what the environment says (OTEL_RESOURCE_ATTRIBUTES, OTEL_SERVICE_NAME, the
    detectors it names), and that to `attributes`. `service_name`, then the script's name, stand in for a missing one.
    """
    detectors = [detector for detector in (_host_detector(), MLResourceDetector(run_id=run_id)) if detector]
    resource = get_aggregated_resources(detectors, Resource({"host.name": socket.gethostname()}))
    resource = resource.merge(Resource.create()).merge(Resource(dict(attributes or {})))
    if str(resource.attributes["service.name"]).startswith("unknown_service"):
        resource = resource.merge(Resource({"service.name": service_name or default_service_name()}))
    return resource
