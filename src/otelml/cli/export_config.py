"""Write the declarative configuration (OTEL_CONFIG_FILE) that is equivalent to this environment.

Header values and passwords stay in their variables, which the file refers to. What has no declarative equivalent is
said in the file's comments. The exit status is 1 when a setting cannot be used, and nothing is written.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from otelml.settings import SettingsError, load


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write to FILE instead of printing")


def run(arguments: argparse.Namespace) -> int:
    """Write the configuration of this environment."""
    if os.environ.get("OTEL_CONFIG_FILE", "").strip():
        print("otelml: OTEL_CONFIG_FILE is set: the configuration is in that file already", file=sys.stderr)
        return 1
    try:
        text = create_yaml(os.environ)
    except SettingsError as error:
        print(f"otelml: {error}", file=sys.stderr)
        return 1
    if arguments.output is None:
        print(text, end="")
        return 0
    try:
        arguments.output.write_text(text, encoding="utf-8")
    except OSError as error:
        print(f"otelml: {arguments.output} cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def create_yaml(environ: Mapping[str, str]) -> str:
    """The configuration as YAML, with its comments. Raises SettingsError."""
    import yaml

    from otelml.configurator.declared import Declaration

    declaration = Declaration(load(environ), environ)
    document = declaration.create_document()
    notes = "".join(f"# {line}\n" for note in declaration.notes for line in _wrap(note))
    return f"{_HEAD}{notes}\n{yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000)}"


_HEAD = """\
# Written by `otelml export-config`: use it with OTEL_CONFIG_FILE=<this file>, beside otelml or without it.
"""


def _wrap(note: str) -> list[str]:
    import textwrap

    return textwrap.wrap(note, 110, initial_indent="- ", subsequent_indent="  ")
