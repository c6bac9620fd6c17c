"""`otelml up`, a process of its own, with fake servers: what it prints and starts, and that nothing outlives it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import fakeserver
import pytest
import yaml
from serverkit import PATIENCE_S, free_ports, plain_environ, wait_until

OPTIONS = (
    "--otlp-port", "--otlp-grpc-port", "--metrics-port", "--collector-port", "--prometheus-port", "--alertmanager-port",
)  # fmt: skip
PROGRAMS = ("alertmanager", "prometheus", "otelcol")


@dataclass
class Up:
    """A folder with fake servers in it, and `otelml up` there."""

    folder: Path
    environ: dict[str, str]
    numbers: list[int] = field(default_factory=lambda: free_ports(len(OPTIONS)))
    process: subprocess.Popen[str] | None = None

    @property
    def journal(self) -> Path:
        """What happened to the servers."""
        return self.folder / "journal"

    @property
    def command(self) -> list[str]:
        """With all ports chosen."""
        ports = [part for pair in zip(OPTIONS, map(str, self.numbers), strict=True) for part in pair]
        return [sys.executable, "-m", "otelml", "up", *ports]

    def install(self, *names: str) -> None:
        """Put fake programs on the PATH."""
        fakeserver.install(self.folder / "bin", *names)

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            [*self.command, *options], cwd=self.folder, env=self.environ,
            capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip

    def start(self, *options: str) -> str:
        """Start it, and return what it printed once all is ready."""
        self.process = subprocess.Popen(
            [*self.command, *options], cwd=self.folder, env=self.environ,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        output: IO[str] = self.process.stdout  # type: ignore[assignment]
        printed = ""
        for line in output:
            printed += line
            if "Ctrl-C" in line:
                break
        return printed

    def end(self, number: signal.Signals | None = None) -> tuple[int, str]:
        """Its exit status and the rest of stderr, after a signal if there is one."""
        assert self.process is not None
        if number is not None:
            self.process.send_signal(number)
        _, errors = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, errors

    def has_left(self) -> list[int]:
        """Servers that still run."""
        return [pid for pid in fakeserver.read_pids(self.journal) if fakeserver.is_alive(pid)]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """No server is installed yet; caches and PATH of this machine are out of sight."""
    programs = tmp_path / "bin"
    programs.mkdir()
    environ = plain_environ(
        PATH=os.pathsep.join([str(programs), "/usr/bin", "/bin"]),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        FAKE_JOURNAL=str(tmp_path / "journal"),
        FAKE_CUE=str(tmp_path / "cue"),
        # Those of Debian, which may be in /usr/bin.
        **{f"OTELML_{name.upper()}": str(programs / name) for name in PROGRAMS},
    )
    found = Up(tmp_path, environ)
    yield found
    if found.process is not None:
        found.process.kill()
        found.process.communicate()
        for pid in found.has_left():  # where a test has failed
            os.kill(pid, signal.SIGKILL)


def read_yaml(path: Path) -> dict:
    """A configuration."""
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_it_starts_what_it_finds_and_ends_it_in_order(up: Up, number: signal.Signals) -> None:
    """Everything is listening when the addresses are printed; Ctrl-C stops what takes data in first."""
    up.install(*PROGRAMS)
    printed = up.start()
    otlp, grpc, metrics, _, prometheus, alertmanager = up.numbers
    assert printed == (
        f"  Alertmanager  http://127.0.0.1:{alertmanager}\n"
        f"  Prometheus    http://127.0.0.1:{prometheus}\n"
        f"  Collector     OTLP http://127.0.0.1:{otlp}, over gRPC http://127.0.0.1:{grpc}; "
        f"metrics http://127.0.0.1:{metrics}/metrics\n"
        f"  files         {up.folder}/telemetry/stack\n"
        "Run a program with\n"
        f"  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{otlp} opentelemetry-instrument python train.py\n"
        "Ctrl-C stops the servers.\n"
    )
    for port in up.numbers:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S).close()
    assert up.end(number) == (0, "otelml: starting Alertmanager, Prometheus, Collector ...\n")
    assert fakeserver.read_journal(up.journal) == [
        *((name, "started") for name in PROGRAMS),
        *((name, "ended") for name in reversed(PROGRAMS)),
    ]


@pytest.mark.skipif(
    sys.platform != "linux", reason="other kernels do not end the children of a killed process"
)
def test_a_kill_leaves_nothing_behind(up: Up) -> None:
    """`kill -9` of otelml ends the servers too, one that does not listen to SIGTERM included."""
    up.install(*PROGRAMS)
    up.environ["FAKE_DEAF"] = "prometheus"
    up.start()
    assert len(up.has_left()) == 3
    up.end(signal.SIGKILL)
    wait_until(lambda: not up.has_left(), up.has_left)


def test_one_that_dies_takes_the_others_along(up: Up) -> None:
    """It is named, with the end of its log, and the exit status is 1."""
    up.install(*PROGRAMS)
    up.environ["FAKE_DYING"] = "prometheus"
    up.start()
    (up.folder / "cue").touch()
    status, errors = up.end()
    assert status == 1
    assert "otelml: Prometheus has ended with exit status 3. The end of its log" in errors
    assert "prometheus: the disk is on fire" in errors
    assert up.has_left() == []


def test_a_taken_port_is_named_and_nothing_starts(up: Up) -> None:
    """With the option that chooses another one."""
    up.install(*PROGRAMS)
    with socket.create_server(("127.0.0.1", up.numbers[4])):
        done = up.run()
    assert done.returncode == 2
    assert done.stderr == (
        f"otelml: port {up.numbers[4]}, for Prometheus, is taken: stop what listens there, or choose another one "
        "with --prometheus-port\n"
    )
    assert not up.journal.exists()
    assert not (up.folder / "telemetry").exists()


def test_without_any_server_it_says_how_to_get_each(up: Up) -> None:
    """And ends with status 2."""
    for name in PROGRAMS:
        del up.environ[f"OTELML_{name.upper()}"]
    up.environ["PATH"] = str(up.folder / "bin")
    done = up.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert re.findall(r"^otelml: there is no (\w+)", done.stderr, re.MULTILINE) == list(PROGRAMS)


def test_prometheus_alone_asks_the_program(up: Up) -> None:
    """No collector, no Alertmanager: neither is in its configuration, and a program needs nothing set."""
    up.install("prometheus")
    printed = up.start()
    assert "\n  opentelemetry-instrument python train.py\n" in printed
    folder = up.folder / "telemetry" / "stack" / "prometheus"
    config = read_yaml(folder / "prometheus.yml")
    assert [job["job_name"] for job in config["scrape_configs"]] == ["otelml"]
    assert "alerting" not in config
    assert read_yaml(folder / "targets.yaml")[0]["targets"][0] == "127.0.0.1:9464"
    status, errors = up.end(signal.SIGINT)
    assert status == 0
    assert errors.count("names no program that can be run") == 2


def test_the_collector_alone_says_where_its_metrics_are(up: Up) -> None:
    """For a Prometheus somewhere else."""
    up.install("otelcol")
    printed = up.start()
    assert f"metrics http://127.0.0.1:{up.numbers[2]}/metrics" in printed
    assert up.end(signal.SIGINT)[0] == 0


def test_all_parts_know_of_each_other(up: Up) -> None:
    """Prometheus has the chosen ports of all others, and the shipped rules."""
    up.install(*PROGRAMS)
    up.start()
    config = read_yaml(up.folder / "telemetry" / "stack" / "prometheus" / "prometheus.yml")
    _, _, metrics, collector, _, alertmanager = up.numbers
    targets = {
        job["job_name"]: job["static_configs"][0]["targets"]
        for job in config["scrape_configs"]
        if "static_configs" in job
    }
    assert targets == {
        "otelml-collector": [f"127.0.0.1:{metrics}"],
        "otelcol": [f"127.0.0.1:{collector}"],
    }
    assert config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] == [
        f"127.0.0.1:{alertmanager}"
    ]
    assert config["rule_files"] == [f"{Path(__file__).parents[3]}/dashboards/rules/*.yaml"]


def test_check_prints_everything_and_does_nothing(up: Up) -> None:
    """The commands, the files that it would write and the logs; nothing is written or started."""
    up.install("prometheus", "otelcol")
    done = up.run("--check", "--dir", "here")
    assert done.returncode == 0
    assert (
        f"  {up.folder}/bin/prometheus --config.file={up.folder}/here/prometheus/prometheus.yml"
        in done.stdout
    )
    assert f"  writes {up.folder}/here/prometheus/targets.yaml\n" in done.stdout
    assert f"  logs to {up.folder}/here/collector.log\n" in done.stdout
    assert "OTELML_ALERTMANAGER names no program" in done.stderr
    assert sorted(path.name for path in up.folder.iterdir()) == ["bin"]


def test_a_program_may_be_named_from_here(up: Up) -> None:
    """Servers run in folders of their own, and are found there too."""
    up.install("prometheus")
    up.environ["OTELML_PROMETHEUS"] = "bin/prometheus"
    assert "Prometheus" in up.start()
    assert up.end(signal.SIGINT)[0] == 0


def test_the_users_targets_and_notifications_are_used(up: Up) -> None:
    """`targets.yaml` is the user's once it is there; a configuration of Alertmanager's is handed on."""
    up.install("prometheus", "alertmanager")
    targets = up.folder / "telemetry" / "stack" / "prometheus" / "targets.yaml"
    targets.parent.mkdir(parents=True)
    targets.write_text("- targets: [127.0.0.1:1]\n")
    (up.folder / "own.yml").write_text("route: {receiver: me}\nreceivers: [{name: me}]\n")
    (up.folder / "mine").mkdir()
    (up.folder / "mine" / "rules.yaml").write_text("groups: []\n")
    up.start("--alertmanager-config", "own.yml", "--rules", "mine")
    assert targets.read_text() == "- targets: [127.0.0.1:1]\n"
    assert read_yaml(targets.with_name("prometheus.yml"))["rule_files"] == [f"{up.folder}/mine/*.yaml"]
    assert up.end(signal.SIGINT)[0] == 0
    checked = up.run("--check", "--alertmanager-config", "own.yml")
    assert f"--config.file={up.folder}/own.yml" in checked.stdout


def test_nohup_is_respected(up: Up) -> None:
    """Where SIGHUP was ignored it stays so: a closed terminal leaves the servers running."""
    up.install("prometheus")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        up.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert up.process is not None
    up.process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        up.process.wait(1)
    assert up.end(signal.SIGINT)[0] == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--prometheus-port", "0"),
        ("--prometheus-port", "65536"),
        ("--prometheus-port", "many"),
        ("--rules", "bin"),
        ("--alertmanager-config", "bin"),
    ],
)
def test_what_cannot_be_used_is_refused(up: Up, options: tuple[str, str]) -> None:
    """A number that is no port, a folder without rules, no file: as a wrong command line."""
    done = up.run(*options)
    assert (done.returncode, f"argument {options[0]}: " in done.stderr) == (2, True)
