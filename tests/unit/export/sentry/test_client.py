"""Sentry's client as it is set up: what is sent over HTTP, what became of it, and that nobody hears of it."""

from __future__ import annotations

import builtins
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import sentry_sdk
from sentrykit import DSN, RESOURCE, SentryCapture
from serverkit import wait_until

from otelml.export import sentry
from otelml.export.sentry.client import create_options
from otelml.export.sentry.reporter import Reporter
from otelml.instruments import internal
from otelml.settings import load

pytestmark = pytest.mark.usefixtures("telemetry", "clean_sentry")
log = logging.getLogger("train")


def reporter_to(url: str) -> Reporter:
    """One that is started, over HTTP."""
    reporter = Reporter(create_options(load({"SENTRY_DSN": url}), RESOURCE), RESOURCE)
    reporter.start()
    return reporter


def test_an_error_is_sent_and_accounted_for() -> None:
    """To the endpoint of the project, with its key; after a flush nothing waits."""
    with SentryCapture() as server:
        reporter = reporter_to(server.dsn)
        log.error("bad")
        assert reporter.force_flush(60_000) is True
        reporter.stop()
    (received,) = server.received
    assert received.path == "/api/1/envelope/"
    assert "sentry_key=public-key" in received.headers["x-sentry-auth"]
    assert server.titles == ["bad"]
    assert (reporter.ledger.delivered, reporter.ledger.undelivered) == (1, 0)


@pytest.mark.parametrize("status", [429, 500, 413])
def test_what_the_server_refuses_is_counted(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And said once, however often it happens."""
    said: list[str] = []
    monkeypatch.setattr(internal, "_say", lambda message, *args, **_: said.append(message % args))
    with SentryCapture(status) as server:
        reporter = reporter_to(server.dsn)
        log.error("first")
        log.error("second")
        assert reporter.force_flush(60_000) is False
        reporter.stop()
    assert (reporter.ledger.delivered, reporter.ledger.lost) == (0, 2)
    assert internal.totals()["dropped", "sentry", "errors_undelivered"] == 2
    assert len(said) == (2 if status == 429 else 1)  # after a 429 the client holds back by itself
    assert "not delivered to Sentry" in said[0]


def test_a_flush_has_its_deadline() -> None:
    """A server that hangs costs no more; what waits is known."""
    with SentryCapture(hangs=True) as server:
        reporter = reporter_to(server.dsn)
        log.error("first")
        log.error("second")
        assert reporter.force_flush(50) is False
        assert reporter.ledger.undelivered == 2
        reporter.stop()


def test_a_full_queue_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than a hundred wait."""
    monkeypatch.setattr(internal, "_say", lambda *_, **__: None)
    with SentryCapture(hangs=True) as server:
        reporter = reporter_to(server.dsn)
        for _ in range(110):
            sentry_sdk.capture_message("again")
        assert 0 < internal.totals()["dropped", "sentry", "errors_queue_full"] <= 10
        assert reporter.ledger.waiting <= 100
        reporter.stop()


def test_the_console_does_not_hear_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where nobody listens the HTTP library warns of each retry; what the program itself does with it is heard."""
    monkeypatch.setattr(internal, "_say", lambda *_, **__: None)
    reporter = reporter_to("http://k@127.0.0.1:9/1")
    handler = logging.StreamHandler()
    logging.getLogger().addHandler(handler)
    try:
        sentry_sdk.capture_message("x")
        assert reporter.force_flush(60_000) is False
        logging.getLogger("urllib3.connectionpool").warning("of the program")
    finally:
        logging.getLogger().removeHandler(handler)
        reporter.stop()
    assert capsys.readouterr().err == "of the program\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("silent", [True, False])
def test_a_forked_child_starts_from_zero(*, silent: bool) -> None:
    """What waits is sent by the parent, once; a child that exports sends its own, a silent one nothing."""
    with SentryCapture(hangs=True) as server:
        reporter = reporter_to(server.dsn)
        log.error("of the parent")
        wait_until(lambda: server.received)
        server.hangs = False
        child = os.fork()
        if child == 0:
            delivered = -1
            try:
                reporter.after_fork_in_child(silent=silent)
                log.error("of the child")
                assert reporter.force_flush(60_000)
                delivered = reporter.ledger.delivered
            finally:
                os._exit(delivered + 1)
        assert os.waitpid(child, 0)[1] >> 8 == (1 if silent else 2)
        assert reporter.ledger.undelivered == 1
        reporter.stop()
    assert server.titles == (["of the parent"] if silent else ["of the parent", "of the child"])


def test_without_a_dsn_there_is_nothing() -> None:
    """No reporter, and no client."""
    assert sentry.start(load({}), RESOURCE) is None
    assert not sentry_sdk.get_client().is_active()


def test_without_sentry_sdk_that_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In one line, with what to install."""
    real: Callable[..., Any] = builtins.__import__

    def without_sentry(name: str, *rest: Any) -> Any:
        if name.startswith("sentry_sdk"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_sentry)
    for _ in range(2):
        assert sentry.start(load({"SENTRY_DSN": DSN}), RESOURCE) is None
    assert [record.getMessage() for record in caplog.records] == [
        "otelml: there is a SENTRY_DSN, but errors cannot be reported without sentry-sdk: pip install 'otelml[sentry]'"
    ]


@pytest.mark.parametrize(("dsn", "loaded"), [("", "False"), (DSN, "True")])
def test_sentry_sdk_is_loaded_only_where_there_is_a_dsn(dsn: str, loaded: str, tmp_path: Any) -> None:
    """By the whole distribution, set up and used."""
    code = (
        "import logging, sys, otelml\n"
        "otelml.configure()\n"
        "logging.getLogger('x').error('bad')\n"
        "with otelml.stage('s'): pass\n"
        "print('sentry_sdk' in sys.modules)\n"
    )
    environ = {
        **os.environ,
        "SENTRY_DSN": dsn,
        "OTEL_EXPORTER_PROMETHEUS_PORT": "0",
        "OTELML_EXIT_TIMEOUT": "0.05",
    }
    program = [sys.executable, "-c", code]
    done = subprocess.run(program, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == loaded, done.stderr
