"""Reads boards back from their JSON as Grafana would: panels, queries, variables filled in. For tests and pictures.

It stands alone, without the SDK, so that what is tested and drawn is what ships.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "grafana"


@dataclass(frozen=True)
class Target:
    """A query of a panel."""

    ref: str
    expression: str
    legend: str
    is_instant: bool


@dataclass(frozen=True)
class Panel:
    """A panel, and `raw` as it stands in the file."""

    row: str
    title: str
    kind: str
    unit: str
    targets: tuple[Target, ...]
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class Board:
    """A board, and `raw` as it stands in the file."""

    uid: str
    title: str
    panels: tuple[Panel, ...]
    raw: Mapping[str, Any]

    @property
    def variables(self) -> list[Mapping[str, Any]]:
        """Those that are filled by a query."""
        return [each for each in self.raw["templating"]["list"] if each["type"] == "query"]

    def defaults(self) -> dict[str, str]:
        """What the variables are when the board is opened: all, or the one default."""
        return {each["name"]: each.get("allValue") or each["current"]["value"] for each in self.variables}


def read_boards(folder: Path = FOLDER) -> list[Board]:
    """All of them, by file name."""
    return [read_board(path) for path in sorted(folder.glob("*.json"))]


def read_board(path: Path) -> Board:
    """One of them."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    return Board(raw["uid"], raw["title"], tuple(_read_panels(raw["panels"])), raw)


def _read_panels(panels: list[Mapping[str, Any]]) -> Iterator[Panel]:
    row = ""
    for raw in panels:
        if raw["type"] == "row":
            row = raw["title"]
            continue
        targets = tuple(
            Target(each["refId"], each["expr"], each.get("legendFormat", ""), bool(each.get("instant")))
            for each in raw["targets"]
        )
        yield Panel(
            row, raw["title"], raw["type"], raw["fieldConfig"]["defaults"].get("unit", ""), targets, raw
        )


def fill_in(text: str, values: Mapping[str, str]) -> str:
    """`$name` and `${name}` replaced by the values there are; others stay."""
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", lambda found: values.get(found[1] or found[2], found[0]), text)


def name_series(legend: str, labels: Mapping[str, str]) -> str:
    """What a series is called: `{{label}}` replaced, by nothing where it has none, and spaces tidied."""
    text = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: labels.get(found[1], ""), legend)
    return " ".join(text.replace("()", "").split())
