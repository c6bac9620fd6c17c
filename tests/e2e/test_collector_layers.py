"""Every layer of collector-config and every combination that its README lists is valid for a real collector.

What is wrong is refused, what must be set is asked for, and one merged file is what the collector makes of several.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from otlpkit import Start
from serverkit import PATIENCE_S, fetch, fetch_json, find, plain_environ

from otelml.cli import collector
from otelml.stack import layers

README = (layers.locate("base").parent / "README.md").read_text(encoding="utf-8")
SET = {
    "TEMPO_OTLP_ENDPOINT": "tempo:4317",
    "SENTRY_OTLP_URL": "https://sentry.example.com/api/1/integration/otlp",
    "SENTRY_PUBLIC_KEY": "0123456789abcdef",
    "GATEWAY_OTLP_URL": "http://otelcol-gateway:4318",
    "GATEWAY_RESOLVER": '{static: {hostnames: ["a:4317", "b:4317"]}}',
}
"""Values for what must be set."""

NOT_IN_OUR_BUILD = "otlp-files"


@dataclass(frozen=True)
class Row:
    """A row of the README's table."""

    wanted: str
    options: tuple[str, ...]
    layers: tuple[str, ...]
    must_be_set: tuple[str, ...]

    @property
    def files(self) -> list[Path]:
        """The files, in the order of the row."""
        return [layers.locate(layer) for layer in self.layers]


def read_rows(heading: str) -> list[list[str]]:
    """The cells of the table under `heading`, without its head."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def read_combinations() -> list[Row]:
    """The table of combinations."""
    return [
        Row(
            wanted, tuple(options.strip("`").split()), tuple(names.split()), tuple(re.findall(r"\w+", needed))
        )
        for wanted, options, names, needed in read_rows("Which layers")
    ]


ROWS = read_combinations()


def ask(row: Row) -> object:
    """A row as a parameter, named by its layers."""
    return pytest.param(row, id="-".join(row.layers))


BY_OPTIONS = [ask(row) for row in ROWS if row.options]
VALID = [ask(row) for row in ROWS if NOT_IN_OUR_BUILD not in row.layers]
NEEDY = [ask(row) for row in ROWS if row.must_be_set and NOT_IN_OUR_BUILD not in row.layers]


def validate(
    *files: Path, environ: Mapping[str, str], binary: str = "otelcol"
) -> subprocess.CompletedProcess[str]:
    """What the collector says of `files`."""
    return run_collector("validate", *files, environ=environ, binary=binary)


def run_collector(
    command: str,
    *files: Path,
    environ: Mapping[str, str],
    binary: str = "otelcol",
    options: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """One of the collector's commands, on `files`."""
    return subprocess.run(
        [find(binary), command, *options, *(f"--config={file}" for file in files)],
        env=plain_environ(**environ), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip


def test_the_tables_are_whole() -> None:
    """Every layer is in a combination and in the list of layers; every variable is listed with its default."""
    names = {file.stem for file in layers.locate("base").parent.glob("*.yaml")}
    assert set(layers.LAYERS) == names - {"builder.core", "builder.full"}
    assert {layer for row in ROWS for layer in row.layers} == set(layers.LAYERS)
    listed = {name.strip("`"): default.strip("`") for name, default, _ in read_rows("Variables")}
    variables = layers.find_variables(layers.load_merged(map(layers.locate, layers.LAYERS)))
    assert listed == {name: default or "must be set" for name, default in variables.items()}
    assert {name for name, default in variables.items() if default is None} == set(SET)


@pytest.mark.parametrize("row", BY_OPTIONS)
def test_the_command_of_a_row_gives_its_layers(row: Row) -> None:
    """The options in the table choose the layers in the table, redaction among them."""
    parser = argparse.ArgumentParser()
    collector.add_arguments(parser)
    given = parser.parse_args(["config", *row.options])
    assert layers.choose(given.purposes, given.more) == row.files
    assert "redaction" in row.layers


@pytest.mark.parametrize("row", VALID)
def test_a_combination_is_valid(row: Row) -> None:
    """With what must be set, and nothing else."""
    small = "redaction" not in row.layers
    needed = {name: SET[name] for name in row.must_be_set}
    done = validate(*row.files, environ=needed, binary="otelcol-core" if small else "otelcol")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("layer", [name for name in layers.LAYERS[1:] if name != NOT_IN_OUR_BUILD])
def test_a_layer_is_valid_on_the_base(layer: str) -> None:
    """Each by itself; but `agent` also needs the layer whose list it completes."""
    below = ("base", "health") if layer == "agent" else ("base",)
    done = validate(*map(layers.locate, (*below, layer)), environ=SET)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("row", NEEDY)
def test_what_must_be_set_is_asked_for(row: Row) -> None:
    """The row names exactly what has no default; without it the collector does not start, and says where."""
    variables = layers.find_variables(layers.load_merged(row.files))
    assert {name for name, default in variables.items() if default is None} == set(row.must_be_set)
    done = validate(*row.files, environ={})
    assert done.returncode == 1
    assert re.search(r"endpoint|no resolvers specified", done.stderr), done.stderr


def test_a_missing_key_is_warned_of_by_name(start: Start) -> None:
    """The collector starts without Sentry's key, which is only a part of a header; its log says what is not set."""
    collector = start("base", "sentry", SENTRY_OTLP_URL=SET["SENTRY_OTLP_URL"])
    warnings = [line for line in collector.complaints() if "unset environment variable" in line]
    assert [re.search(r'"name": "(\w+)"', line)[1] for line in warnings] == ["SENTRY_PUBLIC_KEY"]


def test_the_layer_in_the_readme_is_valid(tmp_path: Path) -> None:
    """On the layers that it says it is for."""
    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    mine = tmp_path / "mine.yaml"
    mine.write_text(text)
    done = validate(*layers.choose(["grafana"], [str(mine)]), environ=SET)
    assert (done.returncode, done.stderr) == (0, "")


def test_gateways_may_be_found_by_dns() -> None:
    """The other form of the variable that the README gives."""
    environ = {"GATEWAY_RESOLVER": "{dns: {hostname: otelcol-gateways}}"}
    done = validate(*layers.choose(["load-balancing"]), environ=environ)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_collector_tells_how_it_is(start: Start) -> None:
    """It answers the health check, and serves metrics about itself without `_total` in their names."""
    collector = start("base", "health")
    assert fetch_json(f"http://127.0.0.1:{collector.health_port}")["status"] == "Server available"
    own = fetch(f"http://127.0.0.1:{collector.self_port}/metrics")
    assert re.search(r"^otelcol_process_uptime(\{.*\})? \d", own, re.MULTILINE)


def test_validation_can_fail(tmp_path: Path) -> None:
    """A key that does not exist, a component that the build does not have, and a list that another layer replaced."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("processors: {memory_limiter: {limit_mebibytes: 5}}")
    done = validate(layers.locate("base"), wrong, environ={})
    assert (done.returncode, "limit_mebibytes" in done.stderr) == (1, True)
    done = validate(layers.locate("base"), layers.locate("redaction"), environ={}, binary="otelcol-core")
    assert (done.returncode, 'unknown type: "redaction"' in done.stderr) == (1, True)
    wrong.write_text("service: {pipelines: {traces/in: {exporters: [nop]}}}")
    done = validate(layers.locate("base"), wrong, environ={})
    assert (done.returncode, "forward/clean" in done.stderr) == (1, True)


def test_the_file_layer_has_the_keys_of_a_file_receiver(tmp_path: Path) -> None:
    """`otlp_json_file` is not in our build; apart from its name its settings are those of `file_log`, which is."""
    row = next(row for row in ROWS if NOT_IN_OUR_BUILD in row.layers)
    done = validate(*row.files, environ=SET)
    assert (done.returncode, 'unknown type: "otlp_json_file"' in done.stderr) == (1, True)
    text = layers.locate(NOT_IN_OUR_BUILD).read_text(encoding="utf-8").replace("otlp_json_file", "file_log")
    as_logs = tmp_path / "as-logs.yaml"
    as_logs.write_text(text.replace("traces/files", "logs/traces").replace("metrics/files", "logs/metrics"))
    others = [file for file in row.files if file.stem != NOT_IN_OUR_BUILD]
    done = validate(*others, as_logs, environ=SET)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("row", VALID)
def test_one_merged_file_is_what_the_collector_makes_of_several(row: Row, tmp_path: Path) -> None:
    """Both give the same configuration, every value included."""
    merged = tmp_path / "merged.yaml"
    merged.write_text(collector.create_config(row.files))
    assert resolved(merged) == resolved(*row.files)
    assert "${env:OTELCOL_HOST:-127.0.0.1}" in merged.read_text()


def resolved(*files: Path) -> object:
    """The configuration that the collector reads from `files`, with all defaults, as plain data."""
    done = run_collector("print-config", *files, environ=SET, options=("--mode=unredacted",))
    assert done.returncode == 0, done.stderr
    return yaml.safe_load(done.stdout)


@pytest.mark.parametrize("row", VALID)
def test_memory_is_limited_wherever_something_comes_in(row: Row) -> None:
    """`memory_limiter` is the first processor of every pipeline whose data does not come from another one."""
    document = layers.load_merged(row.files)
    connectors = document["connectors"].keys()
    entrances = {
        name: pipeline.get("processors", [None])[0]
        for name, pipeline in document["service"]["pipelines"].items()
        if not connectors >= set(pipeline["receivers"])
    }
    assert set(entrances.values()) == {"memory_limiter"}, entrances


@pytest.mark.parametrize("row", VALID)
def test_no_metrics_are_made_of_spans(row: Row) -> None:
    """Connectors only lead from one place to the next of the same signal."""
    assert {name.partition("/")[0] for name in layers.load_merged(row.files)["connectors"]} == {"forward"}
