"""What becomes an issue: failed stages, inferences and runs, errors in the log, exceptions that nobody catches.

Each once: the same exception may come by all of these ways. Where the program has a client of its own, nothing is
reported: the events of that one get the surroundings, and go where they went.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from otelml.export.sentry import issues, once, surroundings
from otelml.export.sentry.breadcrumbs import Breadcrumbs
from otelml.export.sentry.client import COMPONENT, create_ledger, create_transport_class, hush
from otelml.export.sentry.hooks import ExceptionHooks
from otelml.export.sentry.limit import RateLimit
from otelml.instruments import internal
from otelml.logs import bridge
from otelml.settings.dsn import read_dsn
from otelml.stages import failures

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from otelml.stages.failures import Failure

Describe = Callable[[], dict[str, Any]]
"""Makes the rest of an event, once it is known that it will be sent."""

_TELEMETRY = ("opentelemetry.", "sentry_sdk.")
"""Loggers whose troubles are not the program's; those of an export are not heard of at all."""

_STAGE_ERROR = "ml.stage_error"
_KNOWN = "otelml"
"""Key in Sentry's hint, under which an event of ours has its `_Known`."""


class _Known(NamedTuple):
    """What the reporter knows of what failed, beside its surroundings."""

    identity: Mapping[str, Any]
    ids: once.Ids | None


_NOTHING = _Known({}, None)


class Reporter:
    """Reports to Sentry from `start` to `stop`.

    Args:
        options: of `sentry_sdk.init`.
        resource: attributes of the resource.
        transport: in the place of Sentry's own: a class or an object of `sentry_sdk.transport.Transport`.
        limit: how many issues a minute.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        resource: Mapping[str, Any],
        *,
        transport: Any = None,
        limit: RateLimit | None = None,
    ) -> None:
        self.ledger = create_ledger()
        self._options = {**options, "transport": transport or create_transport_class(self.ledger)}
        self._resource = resource
        self._limit = limit or RateLimit()
        self._breadcrumbs = Breadcrumbs()
        self._hooks = ExceptionHooks(self.report_uncaught)
        self._client: Any = None
        self._active = False

    @property
    def description(self) -> str:
        """For the start-up line."""
        if self._client is None:
            return "errors only by the program's own Sentry client"
        return f"errors {read_dsn(self._options['dsn']).shown}"

    def start(self) -> None:
        """Set Sentry up, unless the program has; and listen."""
        import sentry_sdk

        if not sentry_sdk.get_client().is_active():
            self._init()
        self._active = True
        sentry_sdk.get_global_scope().add_event_processor(self._process)
        failures.listeners.append(self.report_failure)
        bridge.listeners.append(self.hear)
        self._hooks.install()
        hush()
        self._is_in_force()

    def stop(self, *, close: bool = True) -> None:
        """Report no more. Does not wait for what has not been sent.

        `close`: end the thread that sends; in a forked child there is none.
        """
        import sentry_sdk

        self._active = False
        self._hooks.uninstall()
        for listeners, own in ((failures.listeners, self.report_failure), (bridge.listeners, self.hear)):
            if own in listeners:
                listeners.remove(own)  # type: ignore[arg-type]
        client, self._client = self._client, None
        if client is not None and sentry_sdk.get_client() is client:
            sentry_sdk.get_global_scope().set_client(None)
        if client is not None and close:
            client.close(timeout=0)

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Send what waits; False where that took longer, or something could not be delivered."""
        if self._client is None:
            return True
        lost_before = self.ledger.lost
        self._client.flush(timeout=timeout_millis / 1000)
        return self.ledger.waiting + self.ledger.in_flight == 0 and self.ledger.lost == lost_before

    def after_fork_in_child(self, *, silent: bool) -> None:
        """From zero: what waits is the parent's to send, and the thread that sends and its locks are in the parent."""
        self.ledger.renew()
        self._limit.renew()
        self._breadcrumbs.clear()
        if silent:
            self.stop(close=False)
        elif self._client is not None and self._is_in_force():
            self._init()

    def _init(self) -> None:
        import sentry_sdk

        sentry_sdk.init(**self._options)
        self._client = sentry_sdk.get_client()

    def _is_in_force(self) -> bool:
        """Whether our client is the one in force; the program may set up its own at any time."""
        import sentry_sdk

        if sentry_sdk.get_client() is self._client:
            return True
        internal.inform_once(
            "sentry:own-client",
            "otelml: the program has a Sentry client of its own, which stays: otelml reports no errors, and adds run, "
            "stage, model, rank and service to those that the program reports",
        )
        return False

    # -- what is told

    def report_failure(self, failure: Failure) -> None:
        """A stage, an inference or a run has failed."""
        with internal.guard(COMPONENT):
            known, kind = (
                _Known(failure.identity, surroundings.ids_of(failure.span)),
                ("failure", failure.name),
            )
            if failure.error is None:
                self._report_message(kind, lambda: issues.describe_failure(failure), known)
            else:
                mechanism = {"type": "otelml"}
                self._report_exception(failure.error, mechanism, lambda: issues.describe_work(failure), known)

    def report_uncaught(self, error: BaseException, where: str) -> None:
        """Nobody catches `error`. The one that ends the program is sent whatever was sent before it."""
        mechanism = {"type": where, "handled": False}
        self._report_exception(error, mechanism, issues.describe_thread, always=where == "excepthook")

    def hear(
        self, record: logging.LogRecord, message: str, attributes: dict[str, Any], event_name: str | None
    ) -> None:
        """A log record: a crumb, and from ERROR on an issue."""
        with internal.guard(COMPONENT):
            if record.levelno >= logging.ERROR and not str(record.name).startswith(_TELEMETRY):
                self._report_record(record, message, attributes, event_name)
            if record.levelno >= logging.INFO or event_name:
                self._breadcrumbs.add(record, message, attributes, event_name)

    def _report_record(
        self, record: logging.LogRecord, message: str, attributes: Mapping[str, Any], event_name: str | None
    ) -> None:
        if event_name == _STAGE_ERROR and sys.exc_info()[1] is not None:
            return  # the stage has told of it

        error = issues.error_of(record)
        if error is not None:
            mechanism = {"type": "logging", "handled": True}
            self._report_exception(
                error, mechanism, lambda: issues.describe_record(record, message, attributes, None)
            )
        else:
            place = (record.name, record.pathname, record.lineno)
            self._report_message(
                place, lambda: issues.describe_record(record, message, attributes, event_name)
            )

    # -- what is sent

    def _report_exception(
        self,
        error: BaseException,
        mechanism: Mapping[str, Any],
        describe: Describe,
        known: _Known = _NOTHING,
        *,
        always: bool = False,
    ) -> None:
        if not once.is_failure(error) or once.is_reported(error, sent=always) or not self._is_in_force():
            return
        admitted = self._admits(issues.kind_of(error)) or always
        once.mark(error, sent=admitted)
        if admitted:
            from sentry_sdk.utils import event_from_exception

            event, hint = event_from_exception(
                error, client_options=self._client.options, mechanism=dict(mechanism)
            )
            self._capture({**event, **describe()}, hint, known)

    def _report_message(self, kind: Hashable, describe: Describe, known: _Known = _NOTHING) -> None:
        if self._is_in_force() and self._admits(kind):
            self._capture(describe(), {}, known)

    def _admits(self, kind: Hashable) -> bool:
        if self._limit.admits(kind):
            return True
        internal.count("dropped", COMPONENT, "rate_limit")
        internal.warn_once(
            "sentry:limit",
            "otelml: more errors a minute than are sent to Sentry; the rest is counted in otelml.internal.dropped",
        )
        return False

    def _capture(self, event: Any, hint: dict[str, Any], known: _Known) -> None:
        import sentry_sdk

        sentry_sdk.capture_event(event, hint={**hint, _KNOWN: known})

    # -- what is added

    def _process(self, event: Any, hint: Any) -> Any:
        """Sentry asks this of every event, the program's own among them; None drops it."""
        if not self._active or event.get("type"):  # transactions are no errors
            return event
        known = hint.get(_KNOWN)
        ours = self._is_in_force()
        if ours and known is None and self._is_second(hint):
            return None
        with internal.guard(COMPONENT):
            self._complete(event, hint, known or _NOTHING, ours=ours)
        return event

    def _is_second(self, hint: Mapping[str, Any]) -> bool:
        """Whether the program reports what has been reported; if not, it has been now."""
        error = issues.error_in(hint)
        if error is None:
            return False
        if once.is_reported(error, sent=True):
            return True
        once.mark(error, sent=True)
        return False

    def _complete(self, event: Any, hint: Mapping[str, Any], known: _Known, *, ours: bool) -> None:
        error = issues.error_in(hint)
        ids = known.ids or (None if error is None else once.place_of(error))
        surroundings.add(event, surroundings.describe(self._resource, known.identity))
        surroundings.link(event, ids, ours=ours)
        if ours:
            event["contexts"].setdefault("runtime", surroundings.runtime())
            crumbs = event.setdefault("breadcrumbs", {}).setdefault("values", [])
            crumbs.extend(self._breadcrumbs.read())
            crumbs.sort(key=lambda crumb: crumb["timestamp"])
