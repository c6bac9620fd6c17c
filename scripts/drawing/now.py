"""Panels of what is now: numbers, bars, columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgba

from scripts.drawing.data import COLORS, NAMED, TEXT, Drawn
from scripts.drawing.over_time import scale_values
from scripts.drawing.texts import text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 12


def draw_stat(axes: Axes, drawn: Drawn) -> None:
    """One number, and its course below."""
    axes.set_axis_off()
    each = drawn.series[0]
    color = NAMED[color_at(drawn.defaults.get("thresholds"), each.last)]
    if len(each.values) > 1 and drawn.options.get("graphMode") == "area":
        axes.fill_between(each.times, np.nan_to_num(each.values), color=to_rgba(color, 0.15), linewidth=0)
        axes.plot(each.times, each.values, color=color, linewidth=0.8)
        axes.set_xlim(drawn.start, drawn.end)
        axes.set_ylim(0, max(1e-12, float(np.nanmax(each.values)) * 2.6))
    text = text_of(each.last, drawn.panel.unit)
    axes.text(
        0.5,
        0.62,
        text,
        ha="center",
        va="center",
        color=color,
        fontsize=15,
        weight="bold",
        transform=axes.transAxes,
    )


def color_at(thresholds: Mapping[str, Any] | None, value: float) -> str:
    """The colour of the last threshold that is reached."""
    steps = (thresholds or {}).get("steps") or [{"value": None, "color": "text"}]
    reached = [step["color"] for step in steps if step.get("value") is None or value >= step["value"]]
    return str(reached[-1]) if reached else "text"


def draw_bars(axes: Axes, drawn: Drawn) -> None:
    """A horizontal bar for each series."""
    shown = list(drawn.series)[:MOST_BARS]
    values = [each.last for each in shown]
    axes.barh(range(len(shown)), values, color=[COLORS[5]] * len(shown), height=0.7)
    axes.set_yticks(range(len(shown)), [each.name for each in shown])
    axes.invert_yaxis()
    axes.set_xticks([])
    axes.set_xlim(0, max([*values, 1e-12]) * 1.25)
    for at, value in enumerate(values):
        axes.text(value, at, f" {text_of(value, drawn.panel.unit)}", va="center", fontsize=7, color=TEXT)


def draw_columns(axes: Axes, drawn: Drawn) -> None:
    """Groups of vertical bars, a bar a query."""
    key = drawn.options["xField"]
    refs = list(dict.fromkeys(each.ref for each in drawn.series))
    groups = sorted({each.labels.get(key, "") for each in drawn.series})
    names = {target.ref: target.legend for target in drawn.panel.targets}
    for at, ref in enumerate(refs):
        heights = {each.labels.get(key, ""): each.last for each in drawn.series if each.ref == ref}
        places = np.arange(len(groups)) + (at - (len(refs) - 1) / 2) * 0.4
        values = [heights.get(group, 0.0) for group in groups]
        axes.bar(places, values, width=0.38, color=COLORS[at], label=names[ref])
    axes.set_xticks(
        range(len(groups)), groups, rotation=-drawn.options.get("xTickLabelRotation", 0), ha="right"
    )
    scale_values(axes, drawn, {})
    axes.legend(fontsize=6, frameon=False, ncols=2, loc="upper right")
