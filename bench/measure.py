"""Measures calls against one another: interleaved in one process, the minimum of many rounds, so that noise cancels."""

from __future__ import annotations

import gc
import os
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

Loop = "Callable[[int], object]"


@dataclass(frozen=True)
class Row:
    """One line of a table: what was measured, in ns a call, and the limit it is held to."""

    name: str
    ns: float
    limit: str = ""
    holds: bool | None = None


def interleave(
    loops: dict[str, Callable[[int], object]],
    *,
    calls: int = 4000,
    rounds: int = 25,
    between: Callable[[], object],
) -> dict[str, float]:
    """ns a call of each loop (a function that makes `n` calls), less an empty loop's; `between` runs after each."""
    best = dict.fromkeys(["empty loop", *loops], float("inf"))
    everything = {"empty loop": _empty, **loops}
    gc.collect()
    for _ in range(rounds):
        for name, loop in everything.items():
            start = perf_counter_ns()
            loop(calls)
            best[name] = min(best[name], (perf_counter_ns() - start) / calls)
            between()
    empty = best.pop("empty loop")
    return {name: ns - empty for name, ns in best.items()}


def _empty(n: int) -> None:
    for _ in range(n):
        pass


def floor(n: int) -> None:
    """F: two readings of the clock, the least that any timing costs."""
    clock = perf_counter_ns
    for _ in range(n):
        clock()
        clock()


def pin_to_one_core() -> None:
    """Keep the process on one core, where the system can: moving costs more than what is measured."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def show(title: str, rows: list[Row], f_ns: float, p_ns: float) -> bool:
    """Print a table; whether every limit in it holds."""
    print(f"\n{title}\n{'':44}{'ns':>10}{'x F':>8}{'x P':>8}  limit")
    for row in rows:
        verdict = "" if row.holds is None else "  ok" if row.holds else "  OVER"
        print(f"{row.name:44}{row.ns:10.1f}{row.ns / f_ns:8.2f}{row.ns / p_ns:8.2f}  {row.limit}{verdict}")
    return all(row.holds is not False for row in rows)
