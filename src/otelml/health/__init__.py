"""The state of program and machine: what is installed, reachable, in force, and what is wrong with it.

`otelml doctor` prints it, `/healthz` beside `/metrics` answers with its short form.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from otelml._version import __version__
from otelml.health.findings import Finding

Status = Literal["healthy", "degraded", "unhealthy"]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found; sizes in bytes, ratios from 0 to 1, and None for what is not known."""

    status: Status
    reasons: tuple[str, ...]
    program: Mapping[str, Any] = field(default_factory=dict)
    dependencies: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    gpus: Mapping[str, Any] = field(default_factory=dict)
    telemetry: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The report as plain data; nothing in it is secret."""
        return {
            "status": self.status,
            "reasons": list(self.reasons),
            "program": dict(self.program),
            "dependencies": dict(self.dependencies),
            "resources": dict(self.resources),
            "gpus": dict(self.gpus),
            "telemetry": dict(self.telemetry),
        }


def check(*, reach: bool = True, timeout_s: float = 2.0, environ: Mapping[str, str] | None = None) -> Report:
    """Look at everything; never raises. What cannot be found out is absent, and said where it matters.

    Imports none of the libraries that it looks for, and does not touch CUDA.

    Args:
        reach: whether to connect to OTLP endpoints, and to ask a driver that nobody has opened yet.
        timeout_s: for each endpoint, and for the driver.
        environ: look at the settings of this environment, rather than at those in force in this process.
    """
    from otelml import settings
    from otelml.health import gpus, libraries, machine, telemetry

    in_force = settings.current() if environ is None else settings.examine(environ)[0]
    environ = os.environ if environ is None else environ
    limit_s = timeout_s if reach else 0.0
    findings: list[Finding] = []

    def survey(part: str, look: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        try:
            return look()
        except Exception as error:  # noqa: BLE001 - a dead mount, a folder that is gone: that is a finding, too
            findings.append(Finding(f"{part} cannot be looked at: {type(error).__name__}: {error}"))
            return {}

    resources = survey("the machine", lambda: machine.survey(findings, in_force.telemetry_dir))
    about_gpus = survey("GPUs", lambda: gpus.survey(findings, in_force, environ, timeout_s=limit_s))
    about_telemetry = survey(
        "telemetry", lambda: telemetry.survey(findings, in_force, environ, timeout_s=limit_s)
    )
    dependencies = survey("libraries", libraries.survey)
    return Report(
        status=_worst(findings),
        reasons=tuple(finding.reason for finding in findings),
        program={"otelml": __version__, "python": platform.python_version(), "executable": sys.executable},
        dependencies=dependencies,
        resources=resources,
        gpus=about_gpus,
        telemetry=about_telemetry,
    )


def report(**options: Any) -> Report:
    """`check`, and the result as the event `health`: at WARNING when degraded, at ERROR when unhealthy."""
    from otelml import events

    found = check(**options)
    events.health(
        status=found.status,
        reasons=list(found.reasons),
        dependencies=dict(found.dependencies),
        resources=dict(found.resources),
        message=f"Health: {found.status}" + "".join(f"; {reason}" for reason in found.reasons),
        stacklevel=2,
    )
    return found


def _worst(findings: list[Finding]) -> Status:
    if any(finding.is_grave for finding in findings):
        return "unhealthy"
    return "degraded" if findings else "healthy"
