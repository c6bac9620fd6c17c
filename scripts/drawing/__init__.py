"""Draws panels with matplotlib, a function for each kind of panel that the boards have."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from scripts.drawing.data import FAINT, TEXT, Drawn
from scripts.drawing.now import draw_bars, draw_columns, draw_stat
from scripts.drawing.over_time import draw_heatmap, draw_lines, draw_states
from scripts.drawing.tables import draw_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS: dict[str, Callable[[Axes, Drawn], None]] = {
    "timeseries": draw_lines,
    "heatmap": draw_heatmap,
    "state-timeline": draw_states,
    "stat": draw_stat,
    "bargauge": draw_bars,
    "barchart": draw_columns,
    "table": draw_table,
}


def draw(axes: Axes, drawn: Drawn) -> None:
    """Draw it, whatever its kind."""
    axes.tick_params(labelsize=6.5, colors=TEXT, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    if not any(np.isfinite(each.values).any() for each in drawn.series):
        _draw_nothing(axes)
        return
    _KINDS[drawn.panel.kind](axes, drawn)


def _draw_nothing(axes: Axes) -> None:
    axes.set_axis_off()
    axes.text(
        0.5, 0.5, "No data", ha="center", va="center", color=FAINT, fontsize=9, transform=axes.transAxes
    )
