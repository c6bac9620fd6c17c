"""The ML logger: a standard logger with levels and keywords for machine learning, which any library can use.

`get_logger(name)` is `logging.getLogger(name)`, the very object, whoever made it and when: its class becomes one that
has the methods more. The class that `logging` makes loggers of stays as it is for everybody else.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from otelml.instruments import internal
from otelml.logs import recent
from otelml.logs.levels import EXPERIMENT, METRIC, PROGRESS, RESULT, TRACE

if TYPE_CHECKING:
    import datetime as dt
    import os

    from otelml.stages.core import Stage

# From Python 3.11 on `findCaller` counts our frame; before, it starts above the frame that calls `_log`.
_OWN_FRAME = 1 if sys.version_info >= (3, 11) else 0

_lock = threading.Lock()
_classes: dict[type[logging.Logger], type[MLLogger]] = {}
_GIVES_WAY = ("trace", "metric", "experiment", "progress", "result", "log_operation", "entries", "export")


class MLLogger(logging.Logger):
    """A logger with the levels TRACE, METRIC, EXPERIMENT, PROGRESS and RESULT, made by `get_logger`.

    All methods that log also take `metrics=` (a mapping), `tags=` (a mapping) and `artifacts=` (paths), which become
    the fields of these names, beside those in `extra`.
    """

    def trace(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log at TRACE, below DEBUG."""
        if self.isEnabledFor(TRACE):
            self._log_here(TRACE, msg, args, kwargs)

    def metric(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log values at METRIC: `logger.metric("Epoch done", {"loss": 0.234, "accuracy": 0.92})`.

        A mapping behind the message is the `metrics`; a message with `%(loss).3f` is formatted with it.
        """
        if self.isEnabledFor(METRIC):
            self._log_here(METRIC, msg, args, kwargs)

    def experiment(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log what an experiment came to, at EXPERIMENT; arguments as for `metric`."""
        if self.isEnabledFor(EXPERIMENT):
            self._log_here(EXPERIMENT, msg, args, kwargs)

    def progress(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log how far something is, at PROGRESS; arguments as for `metric`."""
        if self.isEnabledFor(PROGRESS):
            self._log_here(PROGRESS, msg, args, kwargs)

    def result(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log a result at RESULT; arguments as for `metric`."""
        if self.isEnabledFor(RESULT):
            self._log_here(RESULT, msg, args, kwargs)

    def log_operation(self, name: str, /, *, items: int | None = None, **fields: Any) -> Stage:
        """A stage whose start and end are written to this logger; see the function `log_operation`."""
        return log_operation(name, items=items, logger=self, **fields)

    def entries(
        self,
        *,
        level: int | str | None = None,
        min_level: int | str | None = None,
        last_n: int | None = None,
        experiment_id: str | None = None,
        start_time: float | dt.datetime | None = None,
        tags: Mapping[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """What this logger let through lately, oldest first; see `otelml.logs.recent.select`."""
        return recent.select(
            recent.of(self.name),
            level=level,
            min_level=min_level,
            last_n=last_n,
            experiment_id=experiment_id,
            start_time=start_time,
            tags=tags,
        )

    def export(self, path: str | os.PathLike[str], format: str = "json", **filters: Any) -> int:  # noqa: A002 - the word users expect
        """Write `entries(**filters)` to a file; see `otelml.logs.recent.export`. Returns how many there were."""
        return recent.export(self.entries(**filters), path, format)

    def filter(self, record: logging.LogRecord) -> Any:
        """As every logger's; what passes is remembered for `entries`."""
        passed = super().filter(record)
        if passed:
            # From Python 3.12 on a filter may put another record in the place of the given one.
            recent.remember(self.name, passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    def _log_here(self, level: int, msg: object, args: tuple[object, ...], kwargs: dict[str, Any]) -> None:
        """Log for a method of ours, whose frame and this one are not the caller's."""
        if len(args) == 1 and isinstance(args[0], Mapping) and "metrics" not in kwargs:
            kwargs["metrics"] = args[0]
            if "%(" not in str(msg):
                args = ()
        kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1 + _OWN_FRAME
        self._log(level, msg, args, **kwargs)

    def _log(  # noqa: PLR0917 - the standard's, and three keywords
        self,
        level: int,
        msg: object,
        args: Any,
        exc_info: Any = None,
        extra: Mapping[str, object] | None = None,
        stack_info: bool = False,
        stacklevel: int = 1,
        *,
        metrics: Mapping[str, Any] | None = None,
        tags: Mapping[str, Any] | None = None,
        artifacts: Iterable[Any] | None = None,
    ) -> None:
        if metrics is not None or tags is not None or artifacts is not None:
            extra = _with_keywords(extra, metrics, tags, artifacts)
        super()._log(
            level, msg, args, exc_info=exc_info, extra=extra, stack_info=stack_info, stacklevel=stacklevel + 1
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return get_logger, (None if isinstance(self, logging.RootLogger) else self.name,)


def get_logger(name: str | None = None) -> MLLogger:
    """The logger `name` of `logging` (None: the root), with the methods of `MLLogger`.

    It is the same object as `logging.getLogger(name)`, also for those who got it there, earlier or later; its
    handlers, level, filters and parents are what they were. Only its class is another one, derived from its own. Where
    that has a method called as one of ours (`trace`, `result`, ...), its own stays.
    """
    logger = logging.getLogger(name)
    if isinstance(logger, MLLogger):
        return logger
    with _lock:
        own = type(logger)
        if own not in _classes:
            _classes[own] = _derive(own)
        logger.__class__ = _classes[own]
    return logger  # type: ignore[return-value]  # since the line before


def _derive(own: type[logging.Logger]) -> type[MLLogger]:
    """Ours in front of `own`, with the methods of `own` where it has some of the same names: its users call those."""
    theirs = {}
    for name in _GIVES_WAY:
        for kind in own.__mro__:
            if name in vars(kind):
                theirs[name] = vars(kind)[name]
                break
    if own is logging.Logger:
        return type("MLLogger", (MLLogger,), theirs) if theirs else MLLogger
    return type("MLLogger", (MLLogger, own), theirs)


def log_operation(
    name: str, /, *, items: int | None = None, logger: logging.Logger | None = None, **fields: Any
) -> Stage:
    """A stage that writes its start and its end to a log.

    `with log_operation("multimodal_fusion", batch_size=4):`

    The lines are the events `stage_start` and `stage_complete` (or `stage_error`) with `elapsed_ms`, the duration in
    milliseconds, and `fields`; like every stage it is measured in `ml.stage.duration` and is a span within the budget.
    Also a decorator.

    Args:
        name: a constant.
        items: how many items it works on.
        logger: where the lines are written to; the logger of events when not given.
        fields: go to both lines and the span.
    """
    from otelml import stages

    operation = stages.stage(name, items=items, log=logger or True)
    operation.attributes = fields  # assigned, so that a field may be called as a parameter of `stage` is
    return operation


def _with_keywords(
    extra: Mapping[str, object] | None,
    metrics: Mapping[str, Any] | None,
    tags: Mapping[str, Any] | None,
    artifacts: Any,
) -> dict[str, object]:
    """Copies: the record may be written when the program has long gone on."""
    merged = dict(extra) if extra else {}
    if metrics is not None:
        merged["metrics"] = _copy(metrics)
    if tags is not None:
        merged["tags"] = _copy(tags)
    if artifacts is not None:
        listed = not isinstance(artifacts, str) and isinstance(artifacts, Iterable)
        merged["artifacts"] = list(artifacts) if listed else [artifacts]
    return merged


def _copy(given: Any) -> Any:
    with internal.guard("logs"):
        return dict(given) if isinstance(given, Mapping) else given
    return given
