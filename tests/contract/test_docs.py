"""The documentation does what it says: its programs and commands run, its links lead somewhere, its names exist."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import otelml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]

PUBLIC_NAMES = [
    "DriftMonitor",
    "DriftReference",
    "DriftWindow",
    "Quantizer",
    "SettingsError",
    "__version__",
    "configure",
    "counter",
    "events",
    "export_prometheus",
    "force_flush",
    "gauge",
    "get_logger",
    "gpu",
    "health",
    "histogram",
    "inference",
    "log_operation",
    "model_conversion",
    "pipeline",
    "quality",
    "record_drift",
    "record_evaluation",
    "record_inference",
    "record_model_size",
    "record_resources",
    "run",
    "set_log_level",
    "setup_logging",
    "shutdown",
    "stage",
    "summary",
    "testing",
    "up_down_counter",
]


def read_blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of one language, also those within lists."""
    found = re.findall(rf"^ *```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


def read_commands(text: str) -> list[str]:
    """The commands in shell blocks, without comments and empty lines."""
    lines = [
        line.partition("#")[0].strip() for block in read_blocks(text, "sh") for line in block.splitlines()
    ]
    return [line for line in lines if line]


def run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run in `folder` as a user would, with this Python's programs first on the path."""
    environ = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False
    )


def read_lines(folder: Path, kind: str) -> list[dict]:
    """All JSON lines of one kind below a telemetry folder."""
    return [
        json.loads(line) for file in folder.rglob(f"{kind}*.jsonl") for line in file.read_text().splitlines()
    ]


def test_the_quick_start_has_ten_lines_and_records(tmp_path: Path) -> None:
    """The first program of the README runs, and its files hold the stages, spans and the event that it makes."""
    program = read_blocks(README, "python")[0]
    assert len(program.splitlines()) <= 10
    done = run([sys.executable, "-c", program], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "'count': 100" in done.stdout
    assert re.search(r"http://127\.0\.0\.1:\d+/metrics", done.stderr)
    assert [
        record["message"] for record in read_lines(tmp_path, "logs") if record.get("event") == "fsq_encoding"
    ] == ["Encoded"]
    assert '"ml.stage.duration"' in json.dumps(read_lines(tmp_path, "metrics"))
    assert '"ml.stage.kept"' in json.dumps(read_lines(tmp_path, "traces"))


PROGRAMS = [
    pytest.param(program, id=f"{page.name}-{number}")
    for page in PAGES
    for number, program in enumerate(read_blocks(page.read_text(encoding="utf-8"), "python"))
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_run(tmp_path: Path, program: str) -> None:
    """Every program in the README and the docs runs as it stands, without an error or a traceback."""
    done = run([sys.executable, "-W", "error", "-c", program], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", read_blocks(README, "python"))
def test_programs_run_with_telemetry_off(
    tmp_path: Path, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The README's programs run as well with the SDK disabled, and leave nothing behind but what they ask for."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    done = run([sys.executable, "-W", "error", "-c", program], tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "telemetry").exists()


@pytest.mark.parametrize("command", [c for c in read_commands(README) if not c.startswith(("make", "pip"))])
def test_commands_run(tmp_path: Path, command: str) -> None:
    """Every command of the README succeeds, also where nobody answers at the endpoint that it names."""
    (tmp_path / "train.py").write_text("import logging\nlogging.warning('training')\n")
    done = run(["bash", "-c", command], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_make_targets_exist() -> None:
    """Every `make` target that a page names is in the Makefile."""
    known = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"`make ([a-z]+)[^`]*`|^make ([a-z]+)", text, re.MULTILINE))
    assert {"demo", "test"} <= {a or b for a, b in named} <= known


def test_every_make_target_is_explained() -> None:
    """`make help` lists every target that is not a file."""
    makefile = (ROOT / "Makefile").read_text()
    listed = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))
    assert listed == set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a page leads to a file of the project."""
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


def test_public_names_are_pinned() -> None:
    """A public name comes or goes by decision, and each one can be loaded."""
    assert sorted(otelml.__all__) == PUBLIC_NAMES
    assert [name for name in PUBLIC_NAMES if getattr(otelml, name, None) is None] == []
    assert set(PUBLIC_NAMES) <= set(dir(otelml))
