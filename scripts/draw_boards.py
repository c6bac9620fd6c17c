"""Draws each Grafana board to a picture: the panels' own queries, asked of a Prometheus, laid out as on the board.

    python -m scripts.draw_boards --url http://127.0.0.1:9090 --minutes 60
    python -m scripts.draw_boards --gather 10     # starts the servers and programs of the tests, for ten minutes

It stands alone because it needs matplotlib, and because it is no Grafana: it shows whether queries, units, legends and
sizes are right, not how Grafana draws them.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from dashboards.boards.reading import Board, Panel, Target, fill_in, name_series, read_boards
from scripts.drawing import draw
from scripts.drawing.data import GRID, TEXT, Drawn, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROOT = Path(__file__).parents[1]
COLUMNS, CELL_WIDTH, CELL_HEIGHT, HEAD, DPI = 24, 0.52, 0.27, 0.4, 110
"""The grid of a board, the size of its cells and of what is above it in inches."""
MARGINS = {
    "stat": (0.1, 0.08),
    "table": (0.15, 0.1),
    "bargauge": (1.9, 0.15),
    "state-timeline": (1.9, 0.5),
    "heatmap": (0.6, 0.3),
    "barchart": (0.55, 0.5),
}
"""Left and bottom of a panel, in inches: room for names and legends."""
POINTS = 240
"""Of a line at most."""
PER_ROW, MOST_REPEATED = 3, 6
"""Repeated panels side by side, as the boards say, and how many of them are drawn."""


@dataclass(frozen=True)
class Source:
    """A Prometheus, and the time that is drawn."""

    url: str
    start: float
    end: float
    rate_interval: str

    @property
    def step(self) -> float:
        """Seconds between two points."""
        return max(1.0, (self.end - self.start) / POINTS)

    def builtins(self) -> dict[str, str]:
        """What Grafana fills in itself."""
        return {"__rate_interval": self.rate_interval, "__range": f"{self.end - self.start:.0f}s"}

    def ask(self, target: Target, values: Mapping[str, str]) -> list[Series]:
        """The series of one query."""
        expression = fill_in(target.expression, values)
        if target.is_instant:
            found = self._fetch("query", query=expression, time=self.end)
        else:
            found = self._fetch(
                "query_range", query=expression, start=self.start, end=self.end, step=self.step
            )
        return [self._read(target, each) for each in found]

    def options(self, variable: Mapping[str, Any], values: Mapping[str, str]) -> list[str]:
        """What a variable offers that asks for the values of a label."""
        selector, _, label = (
            fill_in(variable["query"], values).removeprefix("label_values(")[:-1].rpartition(", ")
        )
        series = self._fetch("query", query=f"count by ({label}) ({selector})", time=self.end)
        return sorted(each["metric"].get(label, "") for each in series)

    def _read(self, target: Target, found: Mapping[str, Any]) -> Series:
        points = found["values"] if "values" in found else [found["value"]]
        labels = found["metric"]
        times, values = _spread([(float(at), float(value)) for at, value in points], self)
        return Series(target.ref, name_series(target.legend, labels) or "Value", labels, times, values)

    def _fetch(self, what: str, **query: Any) -> list[Any]:
        data = urllib.parse.urlencode(query).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}", data, timeout=60) as response:  # noqa: S310 - as it was told
            return json.load(response)["data"]["result"]


def _spread(points: list[tuple[float, float]], source: Source) -> tuple[np.ndarray, np.ndarray]:
    """On the grid of the query, with NaN where there is nothing: a gap is a gap."""
    if len(points) == 1 and points[0][0] == source.end:
        return np.array([points[0][0]]), np.array([points[0][1]])
    times = np.arange(source.start, source.end + source.step / 2, source.step)
    values = np.full(len(times), np.nan)
    for at, value in points:
        values[min(len(times) - 1, round((at - source.start) / source.step))] = value
    return times, values


# -- a board


@dataclass(frozen=True)
class Placed:
    """A panel on the grid, with the variables that it is drawn for."""

    panel: Panel
    values: Mapping[str, str]
    x: int
    y: int
    width: int
    height: int


class Canvas:
    """A figure in inches from its left and top, where the board's grid begins below its title."""

    def __init__(self, rows: int) -> None:
        self.width, self.height = COLUMNS * CELL_WIDTH, rows * CELL_HEIGHT + HEAD
        self.figure = plt.figure(figsize=(self.width, self.height), dpi=DPI, facecolor="#f4f5f7")

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes with their upper left corner at a place."""
        below = self.height - y - height
        box = (x / self.width, below / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box, facecolor="white")

    def write(self, x: float, y: float, text: str, size: float) -> None:
        """Bold text."""
        place = (x / self.width, 1 - y / self.height)
        self.figure.text(*place, text, fontsize=size, weight="bold", color=TEXT, va="center")

    def save(self, path: Path) -> None:
        """As a PNG with few colours, which makes it half as large."""
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png")
        plt.close(self.figure)
        Image.open(buffer).convert("RGB").quantize(128).save(path, optimize=True)


def draw_board(board: Board, source: Source, path: Path) -> None:
    """Ask everything, and write the picture."""
    placed = list(place_panels(board, source))
    canvas = Canvas(max(each.y + each.height for each in placed))
    canvas.write(0.1, 0.2, board.title, 12)
    for title, y in _headings(placed):
        canvas.write(0.1, HEAD + y * CELL_HEIGHT + 0.15, title, 9)
    for each in placed:
        _draw_panel(canvas, each, source)
    canvas.save(path)


def place_panels(board: Board, source: Source) -> Iterator[Placed]:
    """Each panel; one that is repeated, once for each of the first values, with what is below moved down."""
    values, moved = board.defaults() | source.builtins(), 0
    for panel in board.panels:
        place = panel.raw["gridPos"]
        if repeat := panel.raw.get("repeat"):
            copies = list(_repeat(panel, repeat, source, board, values))
            yield from (replace(each, y=each.y + moved) for each in copies)
            moved += copies[-1].y - place["y"] if copies else 0
        else:
            yield Placed(panel, values, place["x"], place["y"] + moved, place["w"], place["h"])


def _repeat(
    panel: Panel, name: str, source: Source, board: Board, values: Mapping[str, str]
) -> Iterator[Placed]:
    variable = next(each for each in board.variables if each["name"] == name)
    place, width = panel.raw["gridPos"], COLUMNS // PER_ROW
    for at, option in enumerate(source.options(variable, values)[:MOST_REPEATED]):
        y = place["y"] + at // PER_ROW * place["h"]
        yield Placed(panel, {**values, name: option}, at % PER_ROW * width, y, width, place["h"])


def _headings(placed: list[Placed]) -> list[tuple[str, int]]:
    """The title of each row of panels, one above its first."""
    tops: dict[str, int] = {}
    for each in placed:
        tops.setdefault(each.panel.row, each.y - 1)
    return list(tops.items())


def _draw_panel(canvas: Canvas, placed: Placed, source: Source) -> None:
    panel = placed.panel
    x, y = placed.x * CELL_WIDTH, HEAD + placed.y * CELL_HEIGHT
    width, height = placed.width * CELL_WIDTH, placed.height * CELL_HEIGHT
    card = canvas.axes(x + 0.04, y + 0.04, width - 0.08, height - 0.08)
    card.set(xticks=[], yticks=[])
    for spine in card.spines.values():
        spine.set(color=GRID, linewidth=0.8)
    canvas.write(x + 0.12, y + 0.17, fill_in(panel.title, placed.values), 7.5)
    left, bottom = MARGINS.get(panel.kind, (0.55, 0.62))
    axes = canvas.axes(x + left, y + 0.38, width - left - 0.2, height - bottom - 0.38)
    series = [each for target in panel.targets for each in source.ask(target, placed.values)]
    draw(axes, Drawn(panel, series, source.start, source.end))


# -- command line


def gather(minutes: float, out: Path, names: list[str]) -> None:
    """Start the servers and programs of the tests, let them work for a while, draw what they did."""
    sys.path.insert(0, str(ROOT / "tests" / "kit"))
    from emitting import EmittingStack

    with (
        tempfile.TemporaryDirectory() as folder,
        EmittingStack(Path(folder), scrape_s=5, gpu_interval_s=20) as stack,
    ):
        start = time.time()
        while time.time() - start < minutes * 60:
            stack.do_rounds()
            time.sleep(1)  # a second between two rounds, as a program that waits for its users
        stack.wait_for_scrape()
        source = Source(stack.prometheus.url, start + 20, time.time(), "20s")
        draw_boards(source, out, names)


def draw_boards(source: Source, out: Path, names: list[str]) -> None:
    """Draw those of `names`, or all."""
    mpl.use("Agg")
    out.mkdir(parents=True, exist_ok=True)
    for board in read_boards():
        if not names or board.uid in names:
            path = out / f"{board.uid}.png"
            draw_board(board, source, path)
            print(f"{path} ({path.stat().st_size // 1024} KiB)", flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="UID", help="boards to draw; all when not given")
    parser.add_argument("--url", help="of a Prometheus that has the data")
    parser.add_argument(
        "--minutes", type=float, default=60, help="how far back, with --url (default: %(default)s)"
    )
    parser.add_argument(
        "--rate-interval", default="1m", help="four scrapes, with --url (default: %(default)s)"
    )
    parser.add_argument(
        "--gather", type=float, metavar="MINUTES", help="start servers and programs, and wait so long"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", help="default: %(default)s")
    options = parser.parse_args()
    if options.gather:
        gather(options.gather, options.out, options.names)
    elif options.url:
        end = time.time()
        source = Source(options.url, end - options.minutes * 60, end, options.rate_interval)
        draw_boards(source, options.out, options.names)
    else:
        parser.error("say --url or --gather")


if __name__ == "__main__":
    main()
