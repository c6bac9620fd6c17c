"""Series that are read off a source when metrics are collected, such as a GPU's: for what only its owner can count.

Apart from the instruments that are recorded to: these have no buffers, and nothing to drain.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal

if TYPE_CHECKING:
    from otelml.semconv.model import Metric

Reading = tuple[float, Mapping[str, Any]]
"""A value in the metric's unit (of a counter: its total), and the attributes of its series."""

Source = Callable[[], Iterable[Reading]]
"""Returns one reading a series; a series that is not among them is absent. Must not block."""


class Observed:
    """One observable instrument of the registry and where its values come from."""

    __slots__ = ("sdk", "sdk_keys", "sources", "spec")

    def __init__(self, spec: Metric) -> None:
        self.spec = spec
        self.sources: list[Source] = []
        # What the drain knows of its counterpart in the SDK (None: no provider yet).
        self.sdk: Any = None
        self.sdk_keys: dict[int, tuple[Mapping[str, Any], Any]] = {}

    def read(self) -> list[Reading]:
        """The finite readings of all sources; one that fails is counted, said once, and gives none."""
        readings: list[Reading] = []
        for source in list(self.sources):
            with internal.guard("instruments"):
                readings += [reading for reading in source() if math.isfinite(reading[0])]
        return readings
