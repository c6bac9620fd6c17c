"""Programs of the stack are found by variable, then on the PATH, then in the cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from otelml.settings import PROGRAM_VARIABLES, find_unknown
from otelml.stack.binaries import find, say_missing


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty PATH and an empty cache."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "cache" / "otelml").mkdir(parents=True)
    return {"PATH": str(tmp_path / "bin"), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def program(path: Path, built_at_s: float = 1, mode: int = 0o755) -> Path:
    """A file that may be run."""
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    os.utime(path, (built_at_s, built_at_s))
    return path


def test_nothing_is_found_where_nothing_is(environ: dict[str, str]) -> None:
    """None, and a sentence that says what would bring it."""
    assert {name: find(name, environ) for name in PROGRAM_VARIABLES} == dict.fromkeys(PROGRAM_VARIABLES)
    assert say_missing("promtool", environ) == (
        "there is no promtool: install it on the PATH (`apt install prometheus`), "
        "set OTELML_PROMTOOL=/path/to/promtool, or run `make servers` in a checkout of otelml (it needs Go)"
    )


def test_the_variable_comes_before_the_path_and_the_path_before_the_cache(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Each place is looked at only when those before it have nothing."""
    cached = program(tmp_path / "cache" / "otelml" / "otelcol-0123456789abcdef")
    assert find("otelcol", environ) == cached
    small = program(tmp_path / "bin" / "otelcol")
    assert find("otelcol", environ) == small
    contrib = program(tmp_path / "bin" / "otelcol-contrib")
    assert find("otelcol", environ) == contrib
    named = program(tmp_path / "mine")
    assert find("otelcol", environ | {"OTELML_OTELCOL": str(named)}) == named


def test_debians_name_counts(environ: dict[str, str], tmp_path: Path) -> None:
    """Its Alertmanager is `prometheus-alertmanager`."""
    packaged = program(tmp_path / "bin" / "prometheus-alertmanager")
    assert find("alertmanager", environ) == packaged


def test_a_variable_that_names_no_program_is_not_replaced_by_another(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """None, although there is one on the PATH; the sentence names variable and value."""
    program(tmp_path / "bin" / "amtool")
    wrong = environ | {"OTELML_AMTOOL": "/no/such/amtool"}
    assert find("amtool", wrong) is None
    assert say_missing("amtool", wrong) == "OTELML_AMTOOL names no program that can be run: /no/such/amtool"


def test_the_newest_built_one_is_taken_and_nothing_else_in_the_cache(
    environ: dict[str, str], tmp_path: Path
) -> None:
    """Not the small collector of the tests, nor a half-copied file, nor one that cannot be run."""
    cache = tmp_path / "cache" / "otelml"
    program(cache / "otelcol-aaaaaaaaaaaaaaaa", built_at_s=1)
    newest = program(cache / "otelcol-bbbbbbbbbbbbbbbb", built_at_s=2)
    program(cache / "otelcol-core-cccccccccccccccc", built_at_s=3)
    program(cache / "otelcol-dddddddddddddddd.4711", built_at_s=4)
    program(cache / "otelcol-eeeeeeeeeeeeeeee", built_at_s=5, mode=0o644)
    assert find("otelcol", environ) == newest


def test_the_variables_are_no_misspelt_settings() -> None:
    """`otelml doctor` and `otelml env` know them, and propose them for a misspelt one."""
    assert find_unknown(dict.fromkeys(PROGRAM_VARIABLES.values(), "/x")) == []
    assert find_unknown({"OTELML_OTELCOLL": "/x"}) == [
        "OTELML_OTELCOLL is no variable of otelml; did you mean OTELML_OTELCOL?"
    ]
