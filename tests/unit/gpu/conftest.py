"""A recorded H200, a clock that tests move, and walks over both."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest

from otelml.gpu.boundary import Boundary
from otelml.gpu.discovery import discover
from otelml.gpu.replay import ReplayLibrary
from otelml.gpu.session import Options
from otelml.gpu.walker import Walker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from otelml.gpu.library import Library
    from otelml.gpu.snapshot import Snapshot


@dataclass
class Clock:
    """A monotonic clock that stands still unless it is moved."""

    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Rig:
    """Walks over a library, without threads."""

    library: Library
    clock: Clock = field(default_factory=Clock)
    devices: str = "rank"
    environ: Mapping[str, str] = field(default_factory=dict)
    serial_number: bool = False

    def __post_init__(self) -> None:
        self.boundary = Boundary(self.library, self.clock)
        options = Options(
            open_library=lambda: self.library,
            say_no_library=lambda _: None,
            devices=self.devices,
            environ=self.environ,
            serial_number=self.serial_number,
        )
        found, self.notes = discover(self.boundary, options)
        self.walker = Walker(self.boundary, found, clock=self.clock)

    def walk(self, times: int = 1, every_s: float = 5.0) -> Snapshot:
        """Walk so often, and return the last snapshot."""
        for _ in range(times):
            snapshot = self.walker.walk()
            self.clock.now_s += every_s
        return snapshot

    def series(self, snapshot: Snapshot, metric: str, *keys: str) -> dict[Any, float]:
        """The values of a metric, by the attributes named (one: its value; several: a tuple)."""
        found = {tuple(attributes.get(k) for k in keys): v for v, attributes in snapshot.series(metric)}
        return {key[0] if len(keys) == 1 else key: value for key, value in found.items()}


@pytest.fixture
def recording() -> dict[str, Any]:
    """The built-in recording, to be changed at will."""
    text = (resources.files("otelml") / "gpu" / "recordings" / "h200.json").read_text()
    return copy.deepcopy(json.loads(text))


@pytest.fixture
def make_rig() -> Callable[..., Rig]:
    """`Rig` over a library, or over recordings in a state."""

    def make(source: Any, state: str | None = "load", **options: Any) -> Rig:
        library = source if hasattr(source, "begin_walk") else ReplayLibrary(source, state)
        return Rig(library, **options)

    return make


@pytest.fixture
def rig(make_rig: Callable[..., Rig], recording: dict[str, Any]) -> Rig:
    """One H200 under load."""
    return make_rig([recording])
