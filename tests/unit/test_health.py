"""Health: what is found is true, what is wrong is named with a weight, and nothing is imported or touched for it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from otelml import health, settings, testing
from otelml.cli import main
from otelml.health import libraries, machine
from otelml.health.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In an empty folder, and without a GPU that somebody hints at."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def listener() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_machine_is_as_psutil_and_the_system_say() -> None:
    """Sizes against two other sources; on a machine with room nothing is wrong."""
    resources = health.check().resources
    assert resources["memory"]["total_bytes"] == psutil.virtual_memory().total
    assert resources["memory"]["available_bytes"] == pytest.approx(psutil.virtual_memory().available, rel=0.1)
    assert resources["disk"]["total_bytes"] == shutil.disk_usage(".").total
    assert resources["cpu"] == {
        "count": os.cpu_count(),
        "usable": len(psutil.Process().cpu_affinity()),
        "load_1m": pytest.approx(os.getloadavg()[0], abs=2),
    }


def test_libraries_are_known_by_their_metadata() -> None:
    """Present ones with their version, absent ones as such; `loaded` is about this process."""
    found = health.check(reach=False).dependencies
    assert found["psutil"] == {
        "installed": True,
        "version": importlib.metadata.version("psutil"),
        "loaded": True,
    }
    assert found["coremltools"] == {"installed": False, "version": None, "loaded": False}


def test_nothing_is_imported_to_look_for_it() -> None:
    """numpy and scikit-learn are found without being loaded."""
    code = (
        "from otelml import health; import sys; health.check(reach=False); "
        "print([name for name in ('numpy', 'sklearn', 'scipy', 'pandas', 'torch') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("used", "expected"),
    [
        (0.5, []),
        (0.95, [Finding("memory is 95% used")]),
        (0.99, [Finding("memory is 99% used", is_grave=True)]),
    ],
)
def test_memory_that_runs_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, used: float, expected: list[Finding]
) -> None:
    """Degraded first, then grave."""
    memory = psutil.virtual_memory()._replace(total=1000, available=round(1000 * (1 - used)))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    findings: list[Finding] = []
    machine.survey(findings, tmp_path)
    assert [finding for finding in findings if "memory" in finding.reason] == expected


def test_a_full_disk_is_grave(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the report says unhealthy, and which disk."""
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type(usage)(1000, 995, 5))
    report = health.check(reach=False)
    assert report.status == "unhealthy"
    (reason,) = report.reasons
    assert reason.startswith("the disk of ")
    assert reason.endswith(" is 100% full")


def test_an_endpoint_that_answers(listener: int) -> None:
    """It is reachable, for each of the signals that go there."""
    report = health.check(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{listener}"})
    assert report.status == "healthy"
    assert {entry["reachable"] for entry in report.telemetry["signals"].values()} == {True}


def test_an_endpoint_that_does_not(listener: int) -> None:
    """Degraded, said once for the three signals; credentials stay masked."""
    url = f"http://user:secret@127.0.0.1:{free_port()}"
    report = health.check(environ={"OTEL_EXPORTER_OTLP_ENDPOINT": url})
    assert report.status == "degraded"
    (reason,) = report.reasons
    assert "cannot be reached" in reason
    assert "secret" not in json.dumps(report.as_dict())
    assert {entry["reachable"] for entry in report.telemetry["signals"].values()} == {False}
    assert health.check(reach=False, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": url}).status == "healthy"


def test_sentry_is_looked_at_where_there_is_a_dsn(
    listener: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where errors go, without the key, whether that can be reached, and whether sentry-sdk is there."""
    assert health.check(reach=False, environ={}).telemetry["sentry"] is None
    dsn = f"http://s3cret@127.0.0.1:{listener}/7"
    found = health.check(environ={"SENTRY_DSN": dsn})
    project = f"http://127.0.0.1:{listener}/7"
    assert found.telemetry["sentry"] == {"project": project, "installed": True, "reachable": True}
    assert found.status == "healthy"
    assert "s3cret" not in json.dumps(found.as_dict())
    monkeypatch.setenv("SENTRY_DSN", dsn)
    monkeypatch.setattr(libraries, "is_installed", lambda _: False)
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert f"errors   {project}, reachable, sentry-sdk is not installed" in printed
    assert "pip install 'otelml[sentry]'" in printed


def test_settings_that_cannot_be_used_are_named() -> None:
    """As `otelml env` names them, and misspelt ones too."""
    report = health.check(reach=False, environ={"OTELML_SPAN_BUDGET": "many", "OTELML_SPAM": "1"})
    assert report.status == "degraded"
    assert [reason.split("=")[0].split()[0] for reason in report.reasons] == [
        "OTELML_SPAN_BUDGET",
        "OTELML_SPAM",
    ]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    """It cannot be written to, by nobody."""
    (tmp_path / "taken").write_text("")
    report = health.check(reach=False, environ={"OTELML_DIR": str(tmp_path / "taken")})
    assert report.status == "unhealthy"
    assert report.telemetry["files"]["writable"] is False


def test_a_gpu_that_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked once where the plugin does not run; its state counts."""
    monkeypatch.setenv("OTELML_NVML_REPLAY", "h200")
    settings.reset()
    report = health.check()
    (device,) = report.gpus["devices"]
    assert (device["name"], device["state"]) == ("NVIDIA H200 (replayed)", "ok")
    assert device["memory_limit_bytes"] == 150754820096
    assert report.status == "healthy"


def test_a_gpu_that_is_expected_and_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Degraded, with the reason; where none is expected that is fine."""
    from otelml import gpu

    monkeypatch.setattr(gpu, "look", lambda _: (None, "the NVIDIA driver is not loaded"))
    assert health.check(environ={"CUDA_VISIBLE_DEVICES": "0"}).reasons == (
        "no GPU: the NVIDIA driver is not loaded",
    )
    monkeypatch.setattr(gpu, "is_expected", lambda _: False)
    assert health.check(environ={}).reasons == ()


def test_a_driver_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time-out is the answer."""
    import threading

    from otelml import gpu

    hang = threading.Event()
    monkeypatch.setattr(gpu, "look", lambda _: hang.wait(30) or (None, None))
    report = health.check(timeout_s=0.1)
    hang.set()
    assert report.gpus["problem"] == "the driver did not answer within 0.1 s"


def test_who_set_the_providers() -> None:
    """Nobody at first, the SDK's classes within a capture."""
    with testing.capture():
        providers = health.check(reach=False).telemetry["providers"]
    assert providers["metrics"] == "opentelemetry.sdk.metrics._internal.MeterProvider"


def test_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """`report()` writes it, at the level of the status."""
    with testing.capture() as captured:
        health.report(reach=False)
        monkeypatch.setenv("OTELML_SPAM", "1")
        health.report(reach=False)
        health.report(reach=False, environ={"OTELML_DIR": sys.executable})
        records = [log.log_record for log in captured.logs if log.log_record.event_name == "ml.health"]
        captured.assert_conforms()
    assert [record.severity_text for record in records] == ["INFO", "WARN", "ERROR"]
    assert [record.attributes["status"] for record in records] == ["healthy", "degraded", "unhealthy"]


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Text and JSON say the same, and the exit status is for scripts."""
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("healthy: otelml ")
    assert f"  psutil                         {importlib.metadata.version('psutil')}" in text
    assert main(["doctor", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["status"] == "healthy"
    monkeypatch.setenv("OTELML_SPAM", "1")
    assert main(["doctor"]) == 1
    monkeypatch.setenv("OTELML_DIR", sys.executable)
    settings.reset()
    assert main(["doctor"]) == 2
    assert "  ! files cannot be written to" in capsys.readouterr().out


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    """A finding, not an error: a probe must not fail because of what it is there to tell."""
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        "import os, json; from otelml import health; os.rmdir(os.getcwd()); "
        "print(json.dumps(health.check(reach=False).as_dict()))"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=gone, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout)
    assert found["status"] == "unhealthy"
    assert any("No such file" in reason for reason in found["reasons"])
    assert found["dependencies"]["psutil"]["installed"]


@pytest.mark.parametrize(
    "environ",
    [{"OTELML_DIR": "x" * 300}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://.foo:4318"}],
    ids=["name too long", "no host name"],
)
def test_what_cannot_be_is_a_finding(environ: dict[str, str]) -> None:
    """Settings that read well and lead nowhere."""
    report = health.check(environ=environ, timeout_s=0.5)
    assert report.status != "healthy"
    assert report.resources["memory"]


@pytest.mark.parametrize("timeout", ["nan", "-1", "inf", "1e12", "soon"])
def test_a_time_out_that_is_none(timeout: str) -> None:
    """As argparse says it: a sentence and status 2."""
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--timeout", timeout])
    assert ended.value.code == 2
