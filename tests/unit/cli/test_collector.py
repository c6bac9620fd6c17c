"""`otelml collector`: what is written, checked and sent, and the exit status of each."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from capture import Capture
from serverkit import free_ports

from otelml.cli import main
from otelml.stack import layers


@pytest.fixture
def fake_collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in the collector's place: it writes down its arguments, and fails where a file says so."""
    program = tmp_path / "otelcol"
    program.write_text(
        f'#!/bin/sh\necho "$@" > "{tmp_path}/arguments"\n'
        f'case "$(cat "${{2#--config=}}")" in *wrong*) echo "Error: wrong key" >&2; exit 1;; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("OTELML_OTELCOL", str(program))
    return program


def test_config_writes_the_layers_of_a_purpose(capsys: pytest.CaptureFixture[str]) -> None:
    """With comments that name the layers, the ends of each signal, and what must and can be set."""
    assert main(["collector", "config", "--for", "sentry"]) == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text) == layers.load_merged(layers.choose(["sentry"]))
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert comments[:4] == [
        "# Written by `otelml collector config` from the layers base, redaction, health, sentry.",
        "# traces go to otlp_http/sentry.",
        "# metrics go nowhere.",
        "# logs go to otlp_http/sentry.",
    ]
    assert "# SENTRY_PUBLIC_KEY: must be set" in comments
    assert "# OTELCOL_HOST: 127.0.0.1 when it is not set" in comments


def test_config_takes_layers_and_files_of_the_users(tmp_path: Path) -> None:
    """On top of a purpose; the file is written where it is wanted."""
    mine, out = tmp_path / "mine.yaml", tmp_path / "out.yaml"
    mine.write_text("exporters: {otlp_http/loki: {headers: {a: b}}}")
    command = [
        "collector",
        "config",
        "--for",
        "grafana",
        "local",
        "--with",
        "debug",
        str(mine),
        "-o",
        str(out),
    ]
    assert main(command) == 0
    assert out.read_text().startswith(
        "# Written by `otelml collector config` from the layers "
        f"base, redaction, health, debug, prometheus, grafana, {mine}.\n"
    )
    loki = yaml.safe_load(out.read_text())["exporters"]["otlp_http/loki"]
    assert (loki["headers"], loki["endpoint"]) == (
        {"a": "b"},
        "${env:LOKI_OTLP_URL:-http://127.0.0.1:3100/otlp}",
    )


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        ([], 2, "name a purpose (--for) or a layer (--with)"),
        (["--with", "no-such-layer"], 1, "no-such-layer"),
        (["--for", "local", "-o", "/no/such/folder/x.yaml"], 1, "/no/such/folder/x.yaml"),
    ],
)
def test_config_says_what_is_wrong(
    capsys: pytest.CaptureFixture[str], options: list[str], status: int, said: str
) -> None:
    """And prints nothing that could be taken for a configuration."""
    assert main(["collector", "config", *options]) == status
    captured = capsys.readouterr()
    assert (captured.out, said in captured.err) == ("", True)


def test_an_unknown_purpose_is_a_wrong_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The known ones are listed."""
    with pytest.raises(SystemExit, match="2"):
        main(["collector", "config", "--for", "grafana", "moon"])
    assert "'gateway'" in capsys.readouterr().err


def test_check_has_the_collector_validate(
    fake_collector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All files at once, in their order."""
    first, second = (tmp_path / name for name in ("a.yaml", "b.yaml"))
    first.write_text("a: ${env:HOST:-x}")
    second.write_text("b: 1")
    assert main(["collector", "check", str(first), str(second)]) == 0
    assert capsys.readouterr().out == f"{first}, {second}: valid for {fake_collector}\n"
    assert (tmp_path / "arguments").read_text().split() == [
        "validate",
        f"--config={first}",
        f"--config={second}",
    ]


def test_check_passes_on_what_the_collector_says(
    fake_collector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Status 1, and nothing on stdout."""
    assert fake_collector.exists()
    path = tmp_path / "a.yaml"
    path.write_text("wrong: 1")
    assert main(["collector", "check", str(path)]) == 1
    assert capsys.readouterr() == ("", "otelml: Error: wrong key\n")


def test_check_names_what_must_be_set(
    fake_collector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the collector itself is content: it takes the empty text for a variable that is not set."""
    assert fake_collector.exists()
    path = tmp_path / "a.yaml"
    path.write_text("a: key=${env:SENTRY_PUBLIC_KEY}\nb: ${env:OTHER:-}")
    assert main(["collector", "check", str(path)]) == 1
    assert capsys.readouterr() == ("", "otelml: SENTRY_PUBLIC_KEY is not set, and has no default\n")
    monkeypatch.setenv("SENTRY_PUBLIC_KEY", "cafe")
    assert main(["collector", "check", str(path)]) == 0


@pytest.mark.parametrize("text", ["a: [", None])
def test_check_names_a_file_that_is_none(
    fake_collector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    """One that is no YAML, and one that is not there."""
    assert fake_collector.exists()
    path = tmp_path / "a.yaml"
    if text is not None:
        path.write_text(text)
    assert main(["collector", "check", str(path)]) == 1
    assert "a.yaml" in capsys.readouterr().err


def test_check_without_a_collector_says_how_to_get_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 2: nothing is known of the file."""
    monkeypatch.setenv("OTELML_OTELCOL", "/no/such/otelcol")
    assert main(["collector", "check", "a.yaml"]) == 2
    assert "OTELML_OTELCOL names no program that can be run: /no/such/otelcol" in capsys.readouterr().err


def test_check_with_a_program_that_is_no_collector(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be run, and that is said."""
    program, path = tmp_path / "otelcol", tmp_path / "a.yaml"
    program.write_bytes(b"\x7fELF nonsense")
    program.chmod(0o755)
    path.write_text("a: 1")
    monkeypatch.setenv("OTELML_OTELCOL", str(program))
    assert main(["collector", "check", str(path)]) == 1
    assert f"{program} cannot be run" in capsys.readouterr().err


def write_telemetry(folder: Path) -> None:
    """A record, a span and a broken line."""
    run = folder / "train" / "run-7"
    run.mkdir(parents=True)
    record = {"timestamp": "2025-11-07T12:34:56.123456Z", "level": "INFO", "message": "said"}
    (run / "logs.jsonl").write_text(f"{json.dumps(record)}\n{{\n")
    span = {"traceId": "0" * 31 + "1", "spanId": "0" * 15 + "1", "name": "encode"}
    (run / "traces.jsonl").write_text(
        json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]}) + "\n"
    )


def test_replay_says_what_was_sent_and_what_was_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the folder of the settings; status 1 for a broken line, 0 without one."""
    write_telemetry(tmp_path / "telemetry")
    monkeypatch.setenv("OTELML_DIR", str(tmp_path / "telemetry"))
    logs = tmp_path / "telemetry" / "train" / "run-7" / "logs.jsonl"
    with Capture() as capture:
        assert main(["collector", "replay", "--to", capture.url]) == 1
        assert capsys.readouterr().out.splitlines() == [
            f"sent 1 log records, 1 spans of 2 files to {capture.url}",
            "broken: 1 lines",
            f"  {logs}:2: no line of logs",
        ]
        assert main(["collector", "replay", str(logs.with_name("traces.jsonl")), "--to", capture.url]) == 0
        assert capsys.readouterr().out == f"sent 1 spans of 1 files to {capture.url}\n"
    assert ([span.name for span in capture.spans()], len(capture.log_records())) == (["encode", "encode"], 1)


def test_replay_to_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends when its patience does."""
    write_telemetry(tmp_path)
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    assert main(["collector", "replay", str(tmp_path), "--to", url, "--patience", "0"]) == 1
    logs = tmp_path / "train" / "run-7" / "logs.jsonl"
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"sent nothing of 1 files to {url}"
    assert said[-1] == f"stopped at {logs}:1: nothing from there on was sent"


@pytest.mark.parametrize(
    ("paths", "to", "status", "said"),
    [
        ([], "http://localhost:4318", 1, "no traces, metrics or logs under"),
        (["nothing"], "http://localhost:4318", 2, "there is no nothing"),
        (["other.txt"], "http://localhost:4318", 2, "other.txt is no file of traces"),
        ([], "localhost:4318", 2, "localhost:4318 is no address"),
    ],
)
def test_replay_of_nothing(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    paths: list[str],
    to: str,
    status: int,
    said: str,
) -> None:
    """No files, a path that is none, an address that is none."""
    (tmp_path / "telemetry").mkdir()
    (tmp_path / "other.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert main(["collector", "replay", *paths, "--to", to]) == status
    assert said in capsys.readouterr().err
