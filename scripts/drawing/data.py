"""What is drawn: a panel, and the series that its queries gave; and in which colours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dashboards.boards.reading import Panel

COLORS = (
    "#7EB26D", "#EAB839", "#6ED0E0", "#EF843C", "#E24D42", "#1F78C1", "#BA43A9", "#705DA0", "#508642", "#CCA300",
    "#447EBC", "#C15C17", "#890F02", "#0A437C", "#6D1F62", "#584477",
)  # fmt: skip
NAMED = {
    "green": "#299c46", "yellow": "#d9a514", "red": "#d44a3a", "orange": "#ed8128", "text": "#333333",
    "transparent": "#eef1f4",
}  # fmt: skip
GRID, TEXT, FAINT = "#e4e7eb", "#333333", "#8a8f98"


@dataclass(frozen=True)
class Series:
    """What a query gave: a name, labels, times (s since 1970) and values; an instant query gives one of each."""

    ref: str
    name: str
    labels: Mapping[str, str]
    times: np.ndarray
    values: np.ndarray

    @property
    def last(self) -> float:
        """The last value that is a number; NaN where none is."""
        numbers = self.values[~np.isnan(self.values)]
        return float(numbers[-1]) if len(numbers) else math.nan


@dataclass(frozen=True)
class Drawn:
    """A panel and its data, over the time from `start` to `end`."""

    panel: Panel
    series: Sequence[Series]
    start: float
    end: float

    @property
    def defaults(self) -> Mapping[str, Any]:
        """Its field configuration."""
        return self.panel.raw["fieldConfig"]["defaults"]

    @property
    def options(self) -> Mapping[str, Any]:
        """Its options."""
        return self.panel.raw.get("options") or {}
