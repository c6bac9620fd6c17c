"""What is generated from the registry is what the registry says now."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from otelml.semconv import _generated
from otelml.semconv.codegen import constants, functions, tables
from otelml.semconv.codegen.__main__ import ROOT, main, render_files
from otelml.semconv.codegen.registry import load

GENERATED = Path("src/otelml/semconv/_generated.py")
FUNCTIONS = Path("src/otelml/events/_generated.py")
REGISTRY = Path("src/otelml/semconv/registry")
PAGES = [f"{name}.md" for name in ("attributes", "events", "metrics", "resource", "spans")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the registry and of what is generated from it."""
    for folder in (REGISTRY, Path("docs/reference")):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for file in (GENERATED, FUNCTIONS):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    return tmp_path


def test_the_command_finds_everything_up_to_date() -> None:
    """`python -m otelml.semconv.codegen --check` passes on the checkout."""
    command = [sys.executable, "-m", "otelml.semconv.codegen", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "path", [GENERATED, FUNCTIONS, *(Path("docs/reference") / page for page in PAGES)], ids=str
)
def test_an_edited_or_missing_file_is_noticed(
    checkout: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The check fails, names the file and what to do, and changes nothing."""
    for spoil in (lambda file: file.write_text(file.read_text() + "\n"), Path.unlink):
        spoil(checkout / path)
        before = (checkout / path).exists()
        with pytest.raises(SystemExit) as end:
            main(["--check", "--root", str(checkout)])
        assert end.value.code == 1
        assert capsys.readouterr().err == f"Not what the registry gives: {path}. Run `make generate`.\n"
        assert (checkout / path).exists() == before


def test_a_changed_declaration_is_noticed_and_written(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A new unit in YAML makes the check fail until the files are generated again."""
    file = checkout / REGISTRY / "model.yaml"
    file.write_text(file.read_text().replace("unit: By", "unit: KiBy"))
    with pytest.raises(SystemExit):
        main(["--check", "--root", str(checkout)])
    assert main(["--root", str(checkout)]) == 0
    assert capsys.readouterr().out == f"Written: {GENERATED}, docs/reference/metrics.md\n"
    assert 'unit="KiBy"' in (checkout / GENERATED).read_text()
    assert main(["--check", "--root", str(checkout)]) == 0


def test_a_broken_registry_is_said_and_nothing_is_written(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text names the culprit; the exit code tells it from a difference."""
    file = checkout / REGISTRY / "model.yaml"
    file.write_text(file.read_text().replace("ref: ml.model.format", "ref: ml.model.shape"))
    with pytest.raises(SystemExit) as end:
        main(["--root", str(checkout)])
    assert end.value.code == 2
    assert "ml.model.size refers to the attribute ml.model.shape" in capsys.readouterr().err


def test_generation_gives_the_same_every_time() -> None:
    """Two renderings are equal, in the order of names, whatever the order of the files."""
    assert render_files(ROOT) == render_files(ROOT)
    listed = re.findall(r'^METRIC_\w+ = Metric\(\n    name="(.*)"', constants.render(load()), re.MULTILINE)
    assert listed == sorted(listed)


def test_the_module_says_what_the_yaml_says() -> None:
    """Every declaration arrives in the generated module with all of its parts."""
    registry = load()
    assert registry.metrics == _generated.METRICS
    assert registry.spans == _generated.SPANS
    assert {event.name: event for event in registry.events.values()} == _generated.EVENTS
    assert {key: a for key, a in registry.attributes.items() if "." in key} == _generated.ATTRIBUTES
    for key in _generated.ATTRIBUTES:
        assert getattr(_generated, constants.constant(key)) == key
    for sort, table in (
        ("METRIC", _generated.METRICS),
        ("EVENT", _generated.EVENTS),
        ("SPAN", _generated.SPANS),
    ):
        for name, spec in table.items():
            assert getattr(_generated, f"{sort}_{constants.constant(name)}") is spec


def test_the_formatter_leaves_the_module_alone(tmp_path: Path) -> None:
    """What is generated is laid out as ruff lays it out, so that the two never fight."""
    if importlib.util.find_spec("ruff") is None:
        pytest.skip("ruff is not installed: pip install -e '.[dev]'")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "generated.py").write_text(constants.render(load()))
    (tmp_path / "functions.py").write_text(functions.render(load()))
    command = [
        sys.executable,
        "-m",
        "ruff",
        "format",
        "--check",
        "--no-cache",
        "generated.py",
        "functions.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_the_generated_module_needs_neither_yaml_nor_the_sdk() -> None:
    """Programs that use the constants load no parser and no telemetry SDK."""
    code = (
        "import sys, otelml.semconv._generated\n"
        "print([name for name in sys.modules if name.startswith(('yaml', 'opentelemetry'))])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_every_metric_has_its_place_in_the_tables() -> None:
    """The headings of the metrics' page cover all names, each once."""
    page = tables.render(load())["metrics.md"]
    named = re.findall(r"^\| `([a-z_.]+)` \|", page, re.MULTILINE)
    assert sorted(named) == sorted(_generated.METRICS)


def test_a_bar_does_not_break_a_table() -> None:
    """Cells are escaped."""
    assert tables.render_table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |\n"
