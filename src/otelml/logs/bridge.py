"""The bridge: every stdlib log record that a logger lets through also becomes an OTel log record, once.

It hooks `logging.Logger.filter`, the last thing that a logger asks before it calls its handlers. So no handler of
ours exists that `basicConfig`, `dictConfig` or `fileConfig` could trip over, loggers that do not propagate are seen,
and no frame of ours is on the stack while the user's handlers run: what they print, their error reports with call
stacks included, is what they would print without us.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from opentelemetry import context as otel_context
from opentelemetry._logs import LoggerProvider, LogRecord, NoOpLogger, SeverityNumber
from opentelemetry.context import Context, get_current

from otelml.events import emission
from otelml.events.emission import own_level
from otelml.instruments import internal
from otelml.logs import quiet
from otelml.logs.flat import describe_process
from otelml.logs.record import has_plain_args, read_attributes, read_message, severity, timestamp_ns
from otelml.logs.values import clean_text

MAX_LOGGERS = 4096
"""Logger names remembered; beyond that the memory starts anew."""

MAX_POSTPONED = 16
"""Records that may wait while another one is being emitted, a thread."""

# `suppress_instrumentation()` in the user's code sets both keys.
EXPORTING = getattr(otel_context, "_SUPPRESS_INSTRUMENTATION_KEY", "suppress_instrumentation")
"""Key in the context that OpenTelemetry's exporters run with: nothing that is logged there is forwarded."""
_SUPPRESS_PLAIN = "suppress_instrumentation"
_OPENTELEMETRY = "opentelemetry"
_TRANSPORTS = frozenset({_OPENTELEMETRY, "urllib3", "requests", "grpc", "http", "httpx", "httpcore"})

_SEVERITIES = {level: SeverityNumber(severity(level)) for level in range(logging.CRITICAL + 4)}
# As OpenTelemetry's own handler writes them.
_SEVERITY_TEXTS = {"WARNING": "WARN", "CRITICAL": "FATAL"}

_Filter = Callable[[logging.Logger, logging.LogRecord], Any]
Listener = Callable[[logging.LogRecord, str, dict[str, Any], "str | None"], object]
"""Takes a record with its message, its attributes (not to be changed) and its event name. Must not raise."""

listeners: list[Listener] = []
"""Who else is told of every record that is forwarded, before it is emitted."""

_install_lock = threading.Lock()
_active: Bridge | None = None
_hook: _Filter | None = None
_hooked_over: Any = None


class _ThreadState(threading.local):
    busy = False

    def __init__(self) -> None:
        self.postponed: list[tuple[logging.Logger, logging.LogRecord]] = []


class Bridge:
    """Turns stdlib records into OTel records of one provider. Takes no lock of its own; never raises."""

    def __init__(self, provider: LoggerProvider, level: int) -> None:
        self.provider = provider
        self.level = level
        self._floors = quiet.quiet_floors()
        self._targets: dict[str, tuple[Any, int]] = {}
        self._thread = _ThreadState()

    def forward(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """Emit `record`, which `logger` let through. A record logged meanwhile on this thread waits its turn."""
        if record.levelno < self.level:
            return
        thread = self._thread
        if thread.busy:
            self._postpone(logger, record)
            return
        thread.busy = True
        try:
            try:
                self._emit(logger, record)
            except Exception:  # handed to the guard, which so costs only the records that fail
                with internal.guard("logs"):
                    raise
            if thread.postponed:
                self._emit_postponed(thread.postponed)
        finally:
            thread.busy = False

    def _emit_postponed(self, postponed: list[tuple[logging.Logger, logging.LogRecord]]) -> None:
        """Bounded: what is emitted here may log again (a `__str__` of the user's, a finalizer, a signal handler)."""
        for _ in range(MAX_POSTPONED):
            if not postponed:
                return
            with internal.guard("logs"):
                self._emit(*postponed.pop(0))

    def _postpone(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        """What OpenTelemetry or an exporter says about this very emission would cause the next one: it ends here."""
        name = str(record.name)
        if _family(name) == _OPENTELEMETRY or _is_export(get_current(), name):
            return
        if len(self._thread.postponed) < MAX_POSTPONED:
            self._thread.postponed.append((logger, record))
        else:
            internal.count("dropped", "logs", "recursion")

    def _emit(self, logger: logging.Logger, record: logging.LogRecord) -> None:
        context = get_current()
        name = record.name
        if type(name) is not str:  # in a record made by hand it may be None
            name = str(name)
        if context and _is_export(context, name):
            return
        target, floor = self._targets.get(name) or self._find_target(name)
        if record.levelno < floor and own_level(logger) == logging.NOTSET:
            return
        if target is None and not listeners:
            return
        may_wait = not record.args or has_plain_args(record) or _has_handler(logger, record)
        attributes, event_name = read_attributes(record)
        message = read_message(record, may_wait=may_wait)
        for listener in listeners:
            listener(record, message, attributes, event_name)
        if target is None:
            return
        target.emit(
            LogRecord(
                timestamp=timestamp_ns(record),
                context=context,
                severity_text=_SEVERITY_TEXTS.get(record.levelname, record.levelname),
                severity_number=_SEVERITIES.get(record.levelno) or SeverityNumber(severity(record.levelno)),
                body=message,
                attributes=attributes,
                event_name=event_name,
            )
        )

    def _find_target(self, name: str) -> tuple[Any, int]:
        """The OTel logger for `name` (None when it does nothing) and the level from which its records pass."""
        logger = self.provider.get_logger(clean_text(name))
        target = (None if isinstance(logger, NoOpLogger) else logger, quiet.floor_of(name, self._floors))
        if len(self._targets) >= MAX_LOGGERS:
            self._targets.clear()
        self._targets[name] = target
        return target


def _is_export(context: Context, name: str) -> bool:
    """Whether a record comes out of an export in this thread; exporting it would make the next one, for ever."""
    if not context.get(EXPORTING):
        return False
    return not context.get(_SUPPRESS_PLAIN) or _family(name) in _TRANSPORTS


def _family(name: str) -> str:
    return name.partition(".")[0]


def _has_handler(logger: logging.Logger, record: logging.LogRecord) -> bool:
    """Whether a handler of the user's will format `record` anyway."""
    if not logger.hasHandlers():
        return logging.lastResort is not None and record.levelno >= logging.lastResort.level
    current: logging.Logger | None = logger
    while current is not None:
        if any(record.levelno >= handler.level for handler in current.handlers):
            return True
        current = current.parent if current.propagate else None
    return False


def install(logger_provider: LoggerProvider, level: int = logging.NOTSET) -> None:
    """Send every record of at least `level` to `logger_provider`. Again with another provider, it takes over."""
    global _active  # noqa: PLW0603 - one bridge a process
    with _install_lock:
        if _active is None or (_active.provider, _active.level) != (logger_provider, level):
            describe_process(getattr(logger_provider, "resource", None))
            _active = Bridge(logger_provider, level)
        if _hook is None:
            _put_hook()
        emission.bridged = True


def uninstall() -> None:
    """Stop. `logging` is as before, unless somebody put a hook over ours: then ours stays below, doing nothing."""
    global _active, _hook  # noqa: PLW0603 - as above
    _active = None  # first and without the lock: this alone ends it
    with _install_lock:
        if _hook is None:
            return
        if logging.Logger.__dict__.get("filter") is _hook:
            if _hooked_over is None:
                del logging.Logger.filter
            else:
                logging.Logger.filter = _hooked_over  # type: ignore[method-assign]
        _hook = None
        emission.bridged = False
        describe_process(None)


def is_installed() -> bool:
    """Whether records are being forwarded."""
    return _active is not None


def reset() -> None:
    """For tests: nobody listens."""
    listeners.clear()


def _put_hook() -> None:
    global _hook, _hooked_over  # noqa: PLW0603 - as above
    _hooked_over = logging.Logger.__dict__.get("filter")
    _hook = _make_hook(_hooked_over or _inherited_filter)
    logging.Logger.filter = _hook  # type: ignore[method-assign,assignment]


def _inherited_filter(logger: logging.Logger, record: logging.LogRecord) -> Any:
    # Looked up each time: somebody may hook that one later.
    return logging.Filterer.filter(logger, record)


def _make_hook(below: _Filter) -> _Filter:
    # Named like what it stands for: it is seen in tracebacks when a filter of the user's raises.
    def filter(self: logging.Logger, record: logging.LogRecord) -> Any:  # noqa: A001
        passed = below(self, record)
        bridge = _active
        if passed and bridge is not None and _hook is filter:
            # From Python 3.12 on a filter may put another record in the place of the given one.
            bridge.forward(self, passed if isinstance(passed, logging.LogRecord) else record)
        return passed

    return filter
