"""Tables: the queries of a panel joined by their labels, a column each, coloured by thresholds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgba

from dashboards.boards.reading import Panel
from scripts.drawing.data import NAMED, TEXT, Drawn
from scripts.drawing.now import color_at
from scripts.drawing.texts import text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_table(axes: Axes, drawn: Drawn) -> None:
    """As many rows as there is room for."""
    axes.set_axis_off()
    headings, rows, units, steps = _read_table(drawn)
    height = axes.get_window_extent().height / axes.figure.dpi * 72
    fits = max(1, int(height / 11.5) - 1)
    widths = _column_widths(headings, rows, units)
    for at, heading in enumerate(headings):
        _write(axes, widths[at], 0, fits, heading, weight="bold")
    for line, row in enumerate(rows[:fits], start=1):
        for at, cell in enumerate(row):
            value = cell if isinstance(cell, str) else text_of(cell, units[at])
            color = "transparent" if isinstance(cell, str) else color_at(steps[at], cell)
            background = None if color in ("transparent", "text") else to_rgba(NAMED[color], 0.35)
            _write(axes, widths[at], line, fits, value, background=background)


def _write(
    axes: Axes,
    place: float,
    line: int,
    fits: int,
    text: str,
    *,
    weight: str = "normal",
    background: Any = None,
) -> None:
    box = {"facecolor": background, "edgecolor": "none", "pad": 1.2} if background else None
    y = 1 - (line + 0.5) / (fits + 1)
    axes.text(
        place, y, text, fontsize=7, color=TEXT, weight=weight, va="center", bbox=box, transform=axes.transAxes
    )


def _column_widths(
    headings: Sequence[str], rows: Sequence[Sequence[Any]], units: Sequence[str]
) -> list[float]:
    """Where each column begins, from 0 to 1: as wide as its longest text."""
    texts = [
        [cell if isinstance(cell, str) else text_of(cell, units[at]) for cell in column]
        for at, column in enumerate(zip(*rows, strict=True))
    ]
    longest = [max(map(len, [heading, *column])) + 3 for heading, column in zip(headings, texts, strict=True)]
    starts = np.cumsum([0, *longest[:-1]]) / sum(longest)
    return [float(start) for start in starts]


def _read_table(drawn: Drawn) -> tuple[list[str], list[list[Any]], list[str], list[Any]]:
    """Headings, rows, and each column's unit and thresholds: the queries joined by their labels, as `merge` does."""
    organize = next(each for each in drawn.panel.raw["transformations"] if each["id"] == "organize")[
        "options"
    ]
    names, refs = organize["renameByName"], [target.ref for target in drawn.panel.targets]
    keys = [name for name in names if not name.startswith("Value")]
    cells: dict[tuple[str, ...], dict[str, float]] = {}
    for each in drawn.series:
        row = tuple(each.labels.get(key, "") for key in keys)
        cells.setdefault(row, {})[each.ref] = each.last
    headings = [names[key] for key in keys] + [names[f"Value #{ref}"] for ref in refs]
    rows: list[list[Any]] = [
        [*row, *(found.get(ref, math.nan) for ref in refs)] for row, found in cells.items()
    ]
    units, steps = _read_overrides(drawn.panel, headings)
    for sort in drawn.options.get("sortBy") or []:
        at = headings.index(sort["displayName"])
        rows.sort(key=lambda row: (math.isnan(row[at]), -row[at]))
    return headings, rows, units, steps


def _read_overrides(panel: Panel, headings: Sequence[str]) -> tuple[list[str], list[Any]]:
    found: dict[str, dict[str, Any]] = {}
    for override in panel.raw["fieldConfig"]["overrides"]:
        values = {each["id"]: each["value"] for each in override["properties"]}
        found.setdefault(override["matcher"]["options"], {}).update(values)
    return (
        [found.get(heading, {}).get("unit", panel.unit) for heading in headings],
        [found.get(heading, {}).get("thresholds") for heading in headings],
    )
