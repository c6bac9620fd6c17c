"""Stages that also write their start and their end as events."""

from __future__ import annotations

import logging
from time import perf_counter_ns as _clock
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal
from otelml.stages import decorators, spans
from otelml.stages.core import F, Stage

if TYPE_CHECKING:
    from types import TracebackType

DEPTH = 6


class LoggedStage(Stage):
    """A stage that writes `stage_start` and `stage_complete` (or `stage_error`) events around its block.

    The first is out before the clock starts and the second after it stopped: a hang is visible, and what they cost
    is not in the duration.
    """

    __slots__ = ("_depth", "_logger")

    _logger: logging.Logger | None
    # Frames from `events.emit` up to the user's own, whose place the events carry.
    _depth: int

    def __enter__(self) -> Stage:
        return self._enter_slowly()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._exit_slowly(_clock(), exc)

    async def __aenter__(self) -> Stage:
        return self._enter_slowly()

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._exit_slowly(_clock(), exc)

    def _log_start(self) -> None:
        self._emit("stage_start", f"Starting {self.name}")

    def _log_end(self, elapsed_ns: int, error: BaseException | None) -> None:
        elapsed_ms = elapsed_ns / 1e6
        if error is None:
            self._emit("stage_complete", f"Completed {self.name}", elapsed_ms=elapsed_ms)
        else:
            said = {"error_type": spans.error_type(error), "error_message": spans.error_text(error)}
            self._emit("stage_error", f"Failed {self.name}", 40, elapsed_ms=elapsed_ms, **said)

    def _emit(self, event: str, message: str, level: int = 20, **fields: Any) -> None:
        from otelml import events

        known = {"stage": self.name, **fields}
        if self.items is not None:
            known["items"] = self.items
        with internal.guard("stage"):
            events.emit(
                event,
                self.attributes | known,
                level=level,
                message=message,
                logger=self._logger,
                stacklevel=self._depth,
            )

    def __reduce__(self) -> tuple[Any, ...]:
        from otelml import stages

        return stages.rebuild, (self.name, self.items, self.attributes, self._logger or True)

    def __call__(self, function: F) -> F:
        self._depth = DEPTH + 1
        return decorators.decorate(self, function, always_enter=True)
