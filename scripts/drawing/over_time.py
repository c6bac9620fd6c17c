"""Panels over time: lines, heatmaps, bands of states; and their axes and legends."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import to_rgba
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator

from dashboards.boards.reading import Panel
from scripts.drawing.data import COLORS, GRID, NAMED, TEXT, Drawn, Series
from scripts.drawing.texts import text_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LEGEND_ROWS = 3
"""A picture cannot be scrolled: what does not fit is counted."""


def draw_lines(axes: Axes, drawn: Drawn) -> None:
    """Lines or stacked areas; limits are dashed."""
    custom = drawn.defaults.get("custom") or {}
    limits = [each for each in drawn.series if _is_limit(drawn.panel, each)]
    lines = [each for each in drawn.series if each not in limits]
    stacked = (custom.get("stacking") or {}).get("mode") == "normal"
    base = np.zeros(0)
    for at, each in enumerate(lines):
        color = COLORS[at % len(COLORS)]
        if stacked:
            base = _stack(axes, each, base, color)
        else:
            axes.plot(each.times, each.values, color=color, linewidth=1, label=each.name)
    for each in limits:
        axes.plot(
            each.times, each.values, color=NAMED["red"], linewidth=1, linestyle=(0, (6, 4)), label=each.name
        )
    scale_values(axes, drawn, custom)
    _show_time(axes, drawn)
    if (drawn.options.get("legend") or {}).get("placement") == "right":
        _show_table(axes, drawn, lines)
    else:
        _show_names(axes)


def _stack(axes: Axes, each: Series, base: np.ndarray, color: str) -> np.ndarray:
    """All series of a range query are on one grid of times, but for where they are absent."""
    values = np.nan_to_num(each.values)
    base = base if len(base) == len(values) else np.zeros(len(values))
    axes.fill_between(
        each.times, base, base + values, color=to_rgba(color, 0.6), linewidth=0, label=each.name
    )
    return base + values


def _is_limit(panel: Panel, each: Series) -> bool:
    patterns = [over["matcher"]["options"].strip("/") for over in panel.raw["fieldConfig"]["overrides"]]
    return any(re.search(pattern, each.name) for pattern in patterns)


def scale_values(axes: Axes, drawn: Drawn, custom: Mapping[str, Any]) -> None:
    """The vertical axis: from 0 or logarithmic, in the panel's unit."""
    low, high = axes.get_ylim()
    unit = drawn.panel.unit
    if (custom.get("scaleDistribution") or {}).get("type") == "log":
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if _decades(drawn) < 2 else (1,)))
        axes.minorticks_off()
    else:
        axes.set_ylim(
            min(low, 0) if custom.get("axisSoftMin") == 0 and low > -0.1 else low,
            drawn.defaults.get("max", high),
        )
        if not any(np.nan_to_num(each.values).any() for each in drawn.series):
            axes.set_ylim(0, 1)
        axes.yaxis.set_major_locator(_marks(unit))
    axes.yaxis.set_major_formatter(lambda value, _: text_of(value, unit))
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _decades(drawn: Drawn) -> float:
    values = np.concatenate([each.values for each in drawn.series])
    positive = values[np.isfinite(values) & (values > 0)]
    return float(np.log10(positive.max() / positive.min())) if len(positive) else 0.0


def _marks(unit: str) -> MaxNLocator:
    if unit in {"bytes", "binBps"}:
        return _Binary(nbins=5)
    return MaxNLocator(nbins=5, integer=unit == "locale")


class _Binary(MaxNLocator):
    """Marks at round numbers of KiB, MiB, GiB."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        size = 1024.0 ** max(0, math.floor(math.log(max(vmax, 1), 1024)))
        return np.asarray(super().tick_values(vmin / size, vmax / size)) * size


def _show_time(axes: Axes, drawn: Drawn) -> None:
    axes.set_xlim(drawn.start, drawn.end)
    marks = np.linspace(drawn.start, drawn.end, 5)[:-1]
    form = "%H:%M" if drawn.end - drawn.start > 300 else "%H:%M:%S"
    axes.set_xticks(marks, [datetime.fromtimestamp(mark, timezone.utc).strftime(form) for mark in marks])


def _show_names(axes: Axes) -> None:
    """As many of the names below as there is room for."""
    handles, names = axes.get_legend_handles_labels()
    shown = {name: handle for handle, name in zip(handles, names, strict=True) if name}
    longest = max((len(name) for name in shown), default=1)
    across = max(1, min(len(shown), int(axes.get_window_extent().width / (longest * 5.4 + 30))))
    kept = dict(list(shown.items())[: across * LEGEND_ROWS - (len(shown) > across * LEGEND_ROWS)])
    if len(kept) < len(shown):
        kept[f"and {len(shown) - len(kept)} more"] = Line2D([], [], linestyle="none")
    axes.legend(
        kept.values(), kept.keys(), loc="upper left", bbox_to_anchor=(-0.02, -0.09), ncols=across, fontsize=6,
        frameon=False, handlelength=1.2, columnspacing=1.0, labelspacing=0.25, handletextpad=0.4, borderpad=0.1,
    )  # fmt: skip


def _show_table(axes: Axes, drawn: Drawn, lines: Sequence[Series]) -> None:
    """Names, last and greatest values at the right, by the latter."""
    box = axes.get_position()
    axes.set_position((box.x0, box.y0 - 0.3 * box.height, box.width * 0.72, box.height * 1.3))
    colors = {id(each): COLORS[at % len(COLORS)] for at, each in enumerate(lines)}
    ordered = sorted(lines, key=lambda each: -float(np.nanmax(each.values)))
    fits = int(axes.get_window_extent().height / axes.figure.dpi * 72 / 8.5) - 1
    for at, text in ((1.02, "Name"), (1.24, "Last"), (1.32, "Max")):
        axes.text(at, 1, text, fontsize=6, weight="bold", color=TEXT, transform=axes.transAxes, va="center")
    for line, each in enumerate(ordered[:fits], start=1):
        y = 1 - line / (fits + 1) * 1.02
        texts = (
            each.name,
            *(text_of(value, drawn.panel.unit) for value in (each.last, float(np.nanmax(each.values)))),
        )
        axes.text(
            1.008, y, "\u25ac", fontsize=6, color=colors[id(each)], transform=axes.transAxes, va="center"
        )
        for at, text in zip((1.02, 1.24, 1.32), texts, strict=True):
            axes.text(at, y, text, fontsize=6, color=TEXT, transform=axes.transAxes, va="center")


def draw_heatmap(axes: Axes, drawn: Drawn) -> None:
    """How much each bucket was hit; the darker the more, by the root."""
    rows = sorted(drawn.series, key=lambda each: float(each.labels["le"]))
    bounds = [float(each.labels["le"]) for each in rows]
    times = sorted({time for each in rows for time in each.times})
    cumulative = np.array([np.interp(times, each.times, each.values) for each in rows])
    hits = np.diff(cumulative, axis=0, prepend=0).clip(min=0)
    used = np.flatnonzero(hits.sum(axis=1) > 0)
    low, high = max(0, used[0] - 1), min(len(bounds), used[-1] + 2)
    hits = np.where(hits[low:high] > 1e-9, hits[low:high], np.nan)
    mesh = axes.pcolormesh(
        times,
        np.arange(high - low),
        np.sqrt(hits),
        shading="nearest",
        cmap="Oranges",
        vmin=0,
        rasterized=True,
    )
    mesh.set_edgecolor("face")
    every = 1 + (high - low) // 10
    marks = range(0, high - low, every)
    axes.set_yticks(
        [mark + 0.5 for mark in marks], [text_of(bounds[low + mark], drawn.panel.unit) for mark in marks]
    )
    axes.set_ylim(-0.5, high - low - 0.5)
    _show_time(axes, drawn)


def draw_states(axes: Axes, drawn: Drawn) -> None:
    """A band for each series."""
    meanings = drawn.defaults["mappings"][0]["options"]
    for at, each in enumerate(reversed(drawn.series)):
        step = float(np.diff(each.times).min()) if len(each.times) > 1 else drawn.end - drawn.start
        for time, value in zip(each.times, each.values, strict=True):
            color = meanings.get(f"{value:g}", {}).get("color", GRID)
            axes.broken_barh([(time, step)], (at - 0.4, 0.8), color=NAMED.get(color, color), linewidth=0)
    axes.set_yticks(range(len(drawn.series)), [each.name for each in reversed(drawn.series)])
    axes.set_ylim(-0.6, len(drawn.series) - 0.4)
    _show_time(axes, drawn)
    for text, color in ((each["text"], each["color"]) for each in meanings.values()):
        axes.plot([], [], color=NAMED.get(color, color), linewidth=5, label=text)
    _show_names(axes)
