"""`MLFormatter`: lines with step, epoch and metrics where a reader of a training's log looks for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Literal, TextIO

from otelml import context
from otelml.logs.formatters import ColorFormatter, describe_extras
from otelml.logs.record import read_extras
from otelml.logs.values import to_attribute

TEXT_FORMAT = "%(asctime)s - %(name)s - %(levelname)s - %(progress)s%(message)s"
COMPACT_FORMAT = "%(asctime)s %(levelname)s %(progress)s%(message)s"
COMPACT_DATE_FORMAT = "%H:%M:%S"

_SHOWN_APART = ("step", "epoch", "metrics")


class MLFormatter(ColorFormatter):
    """`2025-11-07 12:34:56 - train - METRIC - [epoch 5, step 1000] Epoch done (loss: 0.2340, accuracy: 0.9200)`.

    Step and epoch are the record's own (`extra`), else those of the run that is open. A format of one's own has them
    as `%(progress)s`, empty where neither is known.

    Args:
        fmt, datefmt, style, validate, defaults: as `logging.Formatter`; the line above when not given.
        show_step, show_epoch, show_metrics: what is shown where it is known.
        metric_precision: digits behind the point of metrics that are no whole numbers. Numbers that would show as
            0 so, and very large ones, are written with an exponent.
        compact_mode: `12:34:56 METRIC e5 s1000 Epoch done loss=0.2340 accuracy=0.9200`.
        color, color_scheme, show_extra, stream: as for `ColorFormatter`; colours are off by default.

    Raises:
        ValueError: a `metric_precision` that is no whole number from 0 to 17; an unknown `color_scheme`.
    """

    def __init__(
        self,
        fmt: str | None = None,
        datefmt: str | None = None,
        style: Literal["%", "{", "$"] = "%",
        validate: bool = True,
        *,
        defaults: Mapping[str, Any] | None = None,
        show_step: bool = True,
        show_epoch: bool = True,
        show_metrics: bool = True,
        metric_precision: int = 4,
        compact_mode: bool = False,
        color: bool | Literal["auto"] = False,
        color_scheme: str = "default",
        show_extra: bool = True,
        stream: TextIO | None = None,
    ) -> None:
        if fmt is None:
            fmt, style = (COMPACT_FORMAT if compact_mode else TEXT_FORMAT), "%"
            datefmt = datefmt or (COMPACT_DATE_FORMAT if compact_mode else "%Y-%m-%d %H:%M:%S")
        super().__init__(
            fmt, datefmt, style, validate,
            defaults={"progress": "", **(defaults or {})},
            color=color, color_scheme=color_scheme, show_extra=show_extra, stream=stream,
        )  # fmt: skip
        if type(metric_precision) is not int or not 0 <= metric_precision <= 17:
            raise ValueError(f"metric_precision {metric_precision!r} must be a whole number from 0 to 17")
        self.show_step = show_step
        self.show_epoch = show_epoch
        self.show_metrics = show_metrics
        self.metric_precision = metric_precision
        self.compact_mode = compact_mode

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line without exception and stack."""
        progress = self._progress(record)
        if not progress:
            return super().formatMessage(record)
        shown = logging.makeLogRecord(
            {**vars(record), "progress": progress}
        )  # other handlers get the same record
        return super().formatMessage(shown)

    def describe(self, record: logging.LogRecord) -> str:
        """Metrics, and the other extras behind them."""
        metrics = self._metrics(record) if self.show_metrics else []
        others = describe_extras(record, without=(*_SHOWN_APART, "progress"))
        if self.compact_mode:
            return " ".join([*(f"{name}={value}" for name, value in metrics), *([others] if others else [])])
        parts = [*(f"{name}: {value}" for name, value in metrics), *([others[1:-1]] if others else [])]
        return f"({', '.join(parts)})" if parts else ""

    def _progress(self, record: logging.LogRecord) -> str:
        known = {**context.fields(), **read_extras(record)[0]}
        shown = (("epoch", self.show_epoch), ("step", self.show_step))
        parts = [(name, known[name]) for name, wanted in shown if wanted and known.get(name) is not None]
        if not parts:
            return ""
        if self.compact_mode:
            return "".join(f"{name[0]}{to_attribute(value)} " for name, value in parts)
        return f"[{', '.join(f'{name} {to_attribute(value)}' for name, value in parts)}] "

    def _metrics(self, record: logging.LogRecord) -> list[tuple[str, str]]:
        metrics = to_attribute(getattr(record, "metrics", None))
        if not isinstance(metrics, dict):
            return []
        return [(name, self._value(value)) for name, value in metrics.items()]

    def _value(self, value: Any) -> str:
        if not isinstance(value, float):
            return str(value)
        is_small = value != 0 and abs(value) < 0.5 * 10**-self.metric_precision
        kind = "e" if is_small or abs(value) >= 1e15 else "f"
        return f"{value:.{self.metric_precision}{kind}}"
