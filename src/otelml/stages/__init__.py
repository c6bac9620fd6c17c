"""A stage: a timed piece of work, measured always, as a span within a budget, and as a pair of events if asked.

Not called `stage`: importing a submodule of that name would put it in the place of the function `otelml.stage`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otelml import instruments, settings
from otelml.stages import names
from otelml.stages.core import F, Stage
from otelml.stages.logged import DEPTH, LoggedStage

if TYPE_CHECKING:
    import logging

# The modules of this package share the private parts of a stage.
# ruff: noqa: SLF001


class NoopStage:
    """Every stage while telemetry is off: one shared object that does nothing. Its `duration_s` stays None."""

    __slots__ = ()
    name = ""
    duration_s: float | None = None

    def __enter__(self) -> NoopStage:
        return self

    def __exit__(self, exc_type: object, exc: object, tb: object) -> None:
        return None

    async def __aenter__(self) -> NoopStage:
        return self

    async def __aexit__(self, exc_type: object, exc: object, tb: object) -> None:
        return None

    def __call__(self, function: F) -> F:
        return function

    @property
    def items(self) -> None:
        """Accepted and forgotten."""
        return None

    @items.setter
    def items(self, value: object) -> None:
        pass


_NOOP: Any = NoopStage()


_names = names.names
_log_all = False

if TYPE_CHECKING:

    def stage(
        name: str, *, items: int | None = None, log: bool | logging.Logger = False, **attributes: Any
    ) -> Stage:
        """See `_stage_on`."""


def _stage_on(
    name: str, *, items: int | None = None, log: bool | logging.Logger = False, **attributes: Any
) -> Stage:
    """Measure a piece of work: `with otelml.stage("encode", items=len(batch)):`, or `@otelml.stage("encode")`.

    Records `ml.stage.duration` (seconds, every time), counts `ml.stage.items`, and makes a span within the budget
    (`OTELML_SPAN_BUDGET`). An exception is recorded and goes on as it is. The object may be kept and used again, also
    by several threads and tasks at once; after a block its `duration_s` says what was measured (None where telemetry is
    disabled: then nothing is measured).

    Args:
        name: a constant (`encode`, `multimodal_fusion`), not something that varies: names are limited like attributes.
        items: how many items this piece of work has (rows, samples); counted into `ml.stage.items`.
        log: True writes `stage_start` and `stage_complete` or `stage_error` events; a `logging.Logger` writes them
            there. `OTELML_STAGE_LOGS=true` turns it on for all.
        attributes: go to the span and the events, never to a metric.

    Raises:
        TypeError: `name` is not a string.
    """
    if log or _log_all:
        return _logged(name, items, log, attributes)
    # Filled here and not by an __init__: a call of a class with keywords costs 240 ns more.
    made = Stage()
    made.name = name
    made.items = items
    made.attributes = attributes
    try:
        made._state = _names[name]
    except (KeyError, TypeError):  # new, or no name
        made._state = names.of(name)
    made._start = made._cell = None
    return made


def _stage_off(
    name: str, *, items: int | None = None, log: bool | logging.Logger = False, **attributes: Any
) -> Any:
    """`stage` where telemetry is off for good: what can still be done is to write the log pair."""
    return _logged(name, items, log, attributes) if log else _NOOP


def _logged(
    name: str, items: int | None, log: bool | logging.Logger, attributes: dict[str, Any]
) -> LoggedStage:
    made = LoggedStage()
    made.name, made.items, made.attributes = name, items, attributes
    made._state = names.of(name)
    made._start = made._cell = made._span = None
    made._logger = None if isinstance(log, bool) else log
    made._depth = DEPTH
    return made


def rebuild(name: str, items: int | None, attributes: dict[str, Any], log: Any) -> Any:
    """The stage that a copy or a pickle of one is: `log` as for `stage`, or None."""
    return __getattr__("stage")(name, items=items, log=log or False, **attributes)


def reset() -> None:
    """Read again whether all stages write their log pair: when the settings change."""
    global _log_all  # noqa: PLW0603
    _log_all = settings.current().stage_logs


def __getattr__(attribute: str) -> Any:
    # `stage` is one of two functions, chosen at its first use, so that neither asks at every call.
    if attribute != "stage":
        raise AttributeError(f"module {__name__!r} has no attribute {attribute!r}")
    reset()
    chosen = _stage_on if instruments.active() else _stage_off
    chosen.__name__ = chosen.__qualname__ = "stage"
    globals()["stage"] = chosen
    return chosen


settings.change_hooks.append(reset)
