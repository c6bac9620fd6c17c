"""How the demo prints: tables, durations, numbers in other units."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def show_seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    scale, unit = next(((s, u) for s, u in ((1, "s"), (1e3, "ms")) if value * s >= 1), (1e6, "us"))
    return f"{value * scale:.3g} {unit}"


def show_value(value: float | str | None, factor: float, unit: str) -> str:
    """A number in another unit; a dash for one that is not known."""
    return "-" if value is None else f"{float(value) * factor:.0f} {unit}"


def show_table(header: list[str], rows: Iterable[list[str]]) -> None:
    """Columns as wide as they need to be; the first to the left, numbers to the right."""
    table = [header, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(header))]
    for row in table:
        cells = [
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "  ".join(cells).rstrip())
