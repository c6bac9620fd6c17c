"""Print the reference of all settings as Markdown, or bring a document's generated part up to date.

The part stands between the lines `<!-- settings: generated -->` and `<!-- settings: end -->`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from otelml.settings import SETTINGS, Setting

BEGIN, END = "<!-- settings: generated -->", "<!-- settings: end -->"
_TITLES = {
    "otelml": "Our own",
    "Sentry": "Sentry's, as this distribution reads them",
    "OpenTelemetry": "OpenTelemetry's own, as this distribution reads them",
    "OTLP": "OTLP",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--update", type=Path, metavar="FILE", help="rewrite the generated part of FILE")


def run(arguments: argparse.Namespace) -> int:
    """Print or update."""
    if arguments.update is None:
        print(create_reference())
        return 0
    text = arguments.update.read_text(encoding="utf-8")
    arguments.update.write_text(replace_generated(text), encoding="utf-8")
    return 0


def replace_generated(text: str) -> str:
    """`text` with its generated part made anew. Raises ValueError when it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no part between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{create_reference()}\n\n{END}{after}"


def create_reference() -> str:
    """One table a group, from the rows that also feed loading and error messages."""
    return "\n\n".join(f"### {title}\n\n" + "\n".join(_table(group)) for group, title in _TITLES.items())


def _table(group: str) -> Iterator[str]:
    yield "| variable, keyword of `configure()` | default | what it does | allowed |"
    yield "|---|---|---|---|"
    for setting in SETTINGS:
        if setting.group == group:
            yield _row(setting)


def _row(setting: Setting) -> str:
    default = setting.show_value(setting.default)
    shown = f"`{default}`" if len(default) < 40 else f"`{default[:30]}...`"
    allowed = setting.parse.allowed
    if setting.parse.as_keyword:
        allowed += f" (keyword: {setting.parse.as_keyword})"
    return (
        f"| `{setting.env}`<br>`{setting.field}` | {shown if default else ''} | {setting.doc} | {allowed} |"
    )
